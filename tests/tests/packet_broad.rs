//! The law of broad denials: what is said of one packet holds for all with its broad key.
//!
//! In: random policies and settings, frames of the packet table changed at random, and frames between strangers and
//! everybody. Out: whatever frame has the broad key of one whose denial holds for whole networks gets the same decision, but for
//! its ports. And the law has teeth: a denial that depends on more breaks it.

mod packet;

use std::collections::HashMap;

use bulkhead_agent::compile::{Host, Tables, flat, wide};
use bulkhead_common::{
    address::Address,
    cache::{broad, key::Seeds},
    decide::{self, Decision, Ends, Verdict},
    flat::{self as pages, Page},
    lookup::Rules,
    parse::{Packet, parse},
    reason::Reason,
};
use bulkhead_tests::frame::{frame, names};
use packet::{
    LO, Setup, gateway,
    invent::{self, ANY},
    keys::{Key, key},
    mutate,
    random::{self, Random},
    setup::ENDLESS,
    tables,
};

const POLICIES: u64 = 120;
const FRAMES: usize = 4000;
const SEEDS: Seeds = [3, 5];
/// The number of the table of repeats.
const TABLE: u32 = 7;

/// The flat table of a policy, as the kernel has it.
fn flat(tables: &Tables) -> Vec<Page> {
    let networks = tables.networks.iter().map(|(prefix, identity)| (wide(prefix), *identity));
    let hosts = tables.addresses.keys().copied().chain(gateway().into_iter().map(Address::from));
    flat::pages(networks, hosts)
}

/// A frame of somebody with a stranger, of whom most networks are full, or the answer.
fn strange(random: &mut Random, all: &[&str]) -> Vec<u8> {
    let somebody = random.pick(all);
    let [from, to] = [(); 2].map(|()| *random.pick(&[502_u16, 123, 53, 67, 68, 40_000, 161, 22, 319]));
    let kind = *random.pick(&["udp", "udp", "tcp"]);
    let flags = if kind == "tcp" { *random.pick(&[" S", " A", " SA", " RA"]) } else { "" };
    let tag = *random.pick(&["", "", " vlan=7"]);
    let (ends, at) = if random.once_in(2) {
        (format!("{somebody}>internet"), 16)
    } else {
        (format!("internet>{somebody}"), 12)
    };
    let mut frame = frame(&format!("{ends} {kind} {from}>{to}{flags}{tag}")).expect("it is well formed");
    let stranger = *random.pick(&STRANGERS);
    let at = at + if tag.is_empty() { 14 } else { 18 };
    frame[at..at + 4].copy_from_slice(&stranger);
    frame
}

const STRANGERS: [[u8; 4]; 9] = [
    [10, 20, 9, 77],
    [10, 20, 8, 3],
    [10, 9, 0, 60],
    [10, 9, 0, 61],
    [10, 9, 1, 9],
    [10, 9, 1, 10],
    [203, 0, 113, 5],
    [198, 51, 100, 9],
    [8, 8, 8, 8],
];

/// How many frames met a denial that was made for another; or two that break the law. `holds` says what is remembered.
fn law(
    policies: std::ops::Range<u64>,
    holds: impl Fn(&Packet, &Ends, &Decision) -> bool,
) -> Result<usize, String> {
    let corpus = random::corpus();
    let mut met = 0;
    for seed in policies {
        let mut random = Random::new(seed);
        let text = invent::policy(&mut random, ANY);
        let compiled = tables(&[("policy.toml", &text)]);
        let flat = flat(&compiled);
        let setup = Setup { cap: 0, ..random::setup(&mut random) };
        let mut host = Host::new(&compiled, setup.placed(&ENDLESS));
        host.set_now(1);
        host.reschedule(compiled.deadlines(packet::calendar(), 0));
        let mut known: HashMap<[u64; 4], (Decision, Vec<u8>)> = HashMap::new();
        let all: Vec<&str> = names().collect();
        let few: Vec<&str> = (0..4).map(|_| *random.pick(&all)).chain(["gw", "time"]).collect();
        for _ in 0..FRAMES {
            let frame = if random.once_in(8) {
                mutate::frame(&mut random, &corpus)
            } else {
                strange(&mut random, &few)
            };
            let mut packet = parse(frame.as_slice());
            let leases = host.memory().leases;
            let mut ends = Ends::unknown();
            decide::recognise(&mut packet, &host, &mut ends);
            let mut judgement = decide::judge(&packet, &ends, &host);
            decide::settle(&packet, &ends, &host, &mut judgement);
            let found = decide::account(&packet, &ends, host.head().shapes, &judgement);
            // Whoever remembers a verdict where there are leases looks at their stamp.
            if host.memory().leases != leases {
                known.clear();
            }
            let Some(Key::V4(words)) = key(&frame, u64::from(LO)) else { continue };
            let Some((words, _)) = broad::key(&SEEDS, &words, TABLE, |_, address| {
                let is_leased = leases.contains_key(&Address::v4(address));
                pages::identity(address, |page, at| flat[page as usize][at]).filter(|_| !is_leased)
            }) else {
                continue;
            };
            match known.get(&words) {
                Some((first, before)) if *first != found => {
                    let hex =
                        |frame: &[u8]| frame.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                    return Err(format!(
                        "seed {seed}\n{first:?}\n{}\n{found:?}\n{}\n{text}",
                        hex(before),
                        hex(&frame)
                    ));
                }
                Some(_) => met += 1,
                None if packet.fault.is_none() && holds(&packet, &ends, &found) => {
                    known.insert(words, (found, frame));
                }
                None => {}
            }
        }
    }
    Ok(met)
}

#[test]
fn frames_with_one_broad_key_get_one_decision() {
    let met =
        law(0..POLICIES, broad::holds).unwrap_or_else(|two| panic!("one broad key, two decisions\n{two}"));
    assert!(met > FRAMES * 4, "only {met} frames met a denial that was made for another");
}

#[test]
fn denial_that_depends_on_more_breaks_the_law() {
    type Held = fn(&Packet, &Ends, &Decision) -> bool;
    let of = |reason, held: Held| {
        law(0..POLICIES, move |packet, ends, decision| {
            let is_it = decision.verdict == Verdict::Deny(reason) && held(packet, ends, decision);
            is_it || broad::holds(packet, ends, decision)
        })
    };
    let other: [(Reason, Held); 5] = [
        (Reason::ServiceNotAllowed, |_, _, _| true),
        (Reason::WrongDirection, |_, _, _| true),
        (Reason::NoFlow, |_, _, _| true),
        (Reason::Unmanaged, |_, ends, _| ends.destination().is_gateway()),
        (Reason::Unmanaged, |packet, _, _| packet.is_to_group()),
    ];
    for (n, (reason, held)) in other.into_iter().enumerate() {
        let found = of(reason, held);
        assert!(found.is_err(), "{n}: {reason:?} holds for all: {found:?}");
    }
}
