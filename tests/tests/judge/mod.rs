//! Two judges over one policy: Bulkhead's data path, and nftables with conntrack.
//!
//! In: policy text and scripts of real packets. Out: what came through each, step by step, and every difference in words.
//! They share the packets and the reader of policy text, and nothing behind it.

pub(crate) mod chance;
pub(crate) mod exceptions;
pub(crate) mod frames;
pub(crate) mod nft;
pub(crate) mod plant;
pub(crate) mod policies;
pub(crate) mod random;
pub(crate) mod scripts;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
};

use bulkhead_agent::{
    compile::{Limits, compile},
    dataplane::{AttachMode, Attached, CacheSizes, Dataplane, Moment, Runtime, Sizes},
    diagnostic::render_text,
    model::Policy,
    policy::{SourceFile, resolve_texts},
};
use bulkhead_common::{
    layout::{SegmentKey, SegmentRow, Settings},
    lookup::{ANY_VLAN, Unmanaged, setting},
};
use bulkhead_tests::{
    lab::{link, requirements},
    skip::{Tier, skip},
};

use frames::{Extra, UDP, Way};
use plant::{LAST, Marks, Plant, Side};
use scripts::{Script, ethernet};

/// Longer than any test.
const FOREVER: u64 = u64::MAX;
const CACHE: CacheSizes = CacheSizes { v4: 64, v6: 32, hops: 0 };
const SIZES: Sizes =
    Sizes { devices: 64, rules: 65_536, flows: 65_536, violations: 1024, ring_bytes: 65_536, cache: CACHE };

/// How both judges treat a segment in the middle of a TCP connection that they did not see begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Midstream {
    /// It is denied.
    Strict,
    /// It is taken up where a rule allows its direction.
    TakenUp,
}

/// Both gateways.
pub(crate) struct Court {
    bulkhead: Plant,
    dataplane: Dataplane,
    nft: Plant,
}

/// The judges, or `None` after the skip was recorded.
pub(crate) fn court(test: &str) -> Option<Court> {
    if let Err(reason) = requirements() {
        skip(Tier::Netns, test, &reason);
        return None;
    }
    if let Some(reason) = nft::missing() {
        skip(Tier::Netns, test, &reason);
        return None;
    }
    plant::stay_on_one_processor();
    Some(Court::convene())
}

impl Court {
    pub(crate) fn convene() -> Self {
        let bulkhead = Plant::build("bulkhead").expect("the requirements were tried");
        let nft = Plant::build("nft").expect("the requirements were tried");
        let root = bulkhead.room.pin_outside("judge");
        let opened = bulkhead.gateway.run(|| Dataplane::open(&root, SIZES));
        let (mut dataplane, _events, _samples) = opened.unwrap_or_else(|error| panic!("{error}"));
        dataplane.configure(&runtime(Midstream::Strict)).expect("the settings fit");
        for side in Side::BOTH {
            let name = side.interface();
            let ifindex = link::index(&bulkhead.gateway, name).expect("it was made");
            let row = SegmentRow {
                counter: ifindex,
                segment: u16::from(side == Side::East) + 1,
                unmanaged: Unmanaged::Drop.code(),
                ..SegmentRow::default()
            };
            dataplane
                .set_segment(SegmentKey { ifindex, vlan: ANY_VLAN, pad: 0 }, row)
                .expect("there is room");
            let attached = bulkhead.gateway.run(|| dataplane.attach(name, AttachMode::Native));
            let attached = attached.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(attached, Attached::New);
        }
        Self { bulkhead, dataplane, nft }
    }

    /// Both judges decide by this policy from the next packet on.
    pub(crate) fn enact(&mut self, text: &str, midstream: Midstream) -> Policy {
        let policy = read(text).unwrap_or_else(|why| panic!("{why}\n{text}"));
        let limits = Limits { devices: 63, rules: 65_535, rows: 1 << 20 };
        let tables = compile(&policy, &limits).expect("the policies are small");
        let applied = self.dataplane.apply(tables, &BTreeSet::new(), &BTreeMap::new(), &Moment::default());
        applied.unwrap_or_else(|error| panic!("{error}"));
        self.dataplane.configure(&runtime(midstream)).expect("the settings fit");
        let ruleset = nft::ruleset(&policy).unwrap_or_else(|why| panic!("{why}\n{text}"));
        nft::load(&self.nft.gateway, &ruleset);
        // Off, conntrack takes nothing up. Windows are none of Bulkhead's business.
        let loose = if midstream == Midstream::TakenUp { "1" } else { "0" };
        for (key, value) in [("tcp_loose", loose), ("tcp_be_liberal", "1")] {
            let key = format!("net/netfilter/nf_conntrack_{key}");
            link::set(&self.nft.gateway, &key, value).expect("the ruleset asks for conntrack");
        }
        policy
    }

    /// Plays the scripts side by side, each step of all before the next of any. What came through Bulkhead and nftables.
    pub(crate) fn play(&self, scripts: &[Script], plant: u8) -> [Marks; 2] {
        let steps = scripts.iter().map(|script| script.steps.len()).max().unwrap_or(0);
        let mut came = [Marks::new(), Marks::new()];
        for step in 0..steps {
            for side in Side::BOTH {
                let now = scripts.iter().filter(|script| goes_on(script, step, &came));
                let now = now.filter_map(|script| script.steps.get(step)).filter(|step| step.side == side);
                let frames: Vec<Vec<u8>> = now.flat_map(|step| step.frames.clone()).collect();
                if frames.is_empty() {
                    continue;
                }
                let last = last(side, plant);
                for gateway in [&self.bulkhead, &self.nft] {
                    gateway.send(side, &frames, &last).unwrap_or_else(|error| {
                        panic!("{} from {side:?}: {error:#}", gateway.gateway.name())
                    });
                }
            }
            came[0].append(&mut self.bulkhead.take());
            came[1].append(&mut self.nft.take());
        }
        came
    }
}

/// Whether a script's hosts have heard enough to go on.
fn goes_on(script: &Script, step: usize, came: &[Marks; 2]) -> bool {
    let mut before = script.steps.iter().take(step);
    !script.patient || before.all(|step| came.iter().all(|came| step.marks.is_subset(came)))
}

/// What every policy must allow: the packet that says that all before it were judged.
pub(crate) fn herald(plant: u8) -> String {
    format!(
        "[device.herald]\nip = \"10.1.{plant}.250\"\nmode = \"enforce\"\n\n[network.beacon]\n\
         cidr = \"10.2.{plant}.250/32\"\n\n[service.last]\nudp = \"9\"\n\n[[device.herald.allow]]\n\
         to = \"beacon\"\nservice = \"last\"\n\n[[device.herald.allow]]\nfrom = \"beacon\"\nservice = \"last\"\n\n"
    )
}

fn last(side: Side, plant: u8) -> Vec<u8> {
    let (west, east) = (Ipv4Addr::new(10, 1, plant, 250), Ipv4Addr::new(10, 2, plant, 250));
    let west_to_east = Way { from: IpAddr::V4(west), to: IpAddr::V4(east) };
    let way = if side == Side::West { west_to_east } else { west_to_east.back() };
    let body = frames::udp(way, [9, 9], b"last");
    let packet = frames::packets(way, LAST, UDP, &body, Extra::Nothing).concat();
    ethernet(side, side.router_mac(), way.from, &packet)
}

/// A policy, or what is wrong with its text.
pub(crate) fn read(text: &str) -> Result<Policy, String> {
    let files = [SourceFile { path: "judge.toml".to_owned(), text: text.to_owned() }];
    let outcome = resolve_texts(&files);
    outcome.policy.ok_or_else(|| render_text(&outcome.diagnostics, &outcome.sources, false))
}

fn runtime(midstream: Midstream) -> Runtime {
    let settings = Settings {
        adopt_until: 0,
        tcp_idle: FOREVER,
        opening_idle: FOREVER,
        closing_idle: FOREVER,
        udp_idle: FOREVER,
        icmp_idle: FOREVER,
        fragment_idle: FOREVER,
        lease_idle: 0,
        flow_window: 0,
        flow_cap: 0,
        flags: if midstream == Midstream::Strict { setting::STRICT } else { 0 },
    };
    Runtime { settings, ..Runtime::default() }
}

/// Every step of which the judges say different things, with the whole script around it.
pub(crate) fn differences(scripts: &[Script], came: &[Marks; 2]) -> String {
    let mut told = String::new();
    for script in scripts {
        if script.steps.iter().all(|step| passed(&step.marks, &came[0]) == passed(&step.marks, &came[1])) {
            continue;
        }
        writeln!(told, "{}:", script.name).expect("to a string");
        for step in &script.steps {
            let [bulkhead, nft] = [0, 1].map(|judge| passed(&step.marks, &came[judge]));
            let differs = if bulkhead == nft { "" } else { "   <-- differs" };
            writeln!(told, "  {}: bulkhead {bulkhead}, nftables {nft}{differs}", step.text)
                .expect("to a string");
        }
    }
    told
}

/// `passes`, `is dropped`, or how many of its fragments pass.
pub(crate) fn passed(marks: &Marks, came: &Marks) -> String {
    let through = marks.intersection(came).count();
    if through == marks.len() {
        "passes".to_owned()
    } else if through == 0 {
        "drops".to_owned()
    } else {
        format!("passes {through} of {}", marks.len())
    }
}
