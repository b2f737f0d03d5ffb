//! Which conversations would stop: each one that the kernel remembers begins again, once under the old tables and once
//! under the new, and [`decide`] says of both what becomes of its first packet and of the answer.
//!
//! In: tables, how the agent runs, and what is remembered. Out: conversations that are allowed now and would not be. A
//! flow does not say on which segment it began, so every one is asked; a rule's window counts as it was when the flow was last
//! seen. A host is who the old policy says, for so it was seen. What that leaves open, such as its hardware address, is
//! taken to be as the new one says, and [`super::identity`] tells of it.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use bulkhead_common::{
    address::Address,
    decide::{Action, Decision, Verdict, decide},
    layout::{Lease, NamedKey, NamedRow, SegmentRow, Settings},
    parse::Packet,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Listed, Side, identity};
use crate::{
    compile::{Host, Memory, NamedPeer, NamedPermission, Placed, Supposed, network_of},
    model::{Criticality, Selector, spelled},
};

mod packet;
use packet::{Opening, openings};

/// A conversation that the kernel allowed and still remembers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownFlow {
    /// Who started it.
    pub from: IpAddr,
    /// Who answers; the unspecified address when a group was asked and whoever answers is not known yet.
    pub to: IpAddr,
    /// Over what.
    pub protocol: u8,
    /// The responder's port; of ICMP the type, times 256.
    pub service: u16,
    /// The initiator's port.
    pub client_port: u16,
    /// Device that started it, and device that answers: dense ids of the old tables, 0 when it is none.
    pub devices: [u32; 2],
    /// The rule that allowed it, dense id of the old tables; 0 when that is gone.
    pub rule: u32,
    /// For how long it has been silent.
    pub idle: Duration,
    /// Whether it is not over yet, as far as the settings say.
    pub live: bool,
}

/// What a decision depends on besides a policy.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Every kind of segment, see [`crate::config::Config::alike`].
    pub segments: Vec<SegmentRow>,
    /// Everything else but schedules and names.
    pub placed: Placed,
    /// Who has leased what.
    pub leases: BTreeMap<Address, Lease>,
    /// Monotonic time, ns.
    pub now: u64,
}

/// A conversation that would not be allowed any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Who started it: a device's name, `gateway`, or nothing known.
    pub from: Option<String>,
    /// Its address.
    pub from_ip: String,
    /// Who answers.
    pub to: Option<String>,
    /// Its address; `a group` when many were asked at once.
    pub to_ip: String,
    /// Like `tcp/502`.
    pub service: String,
    /// How many conversations differ in the initiator's port alone.
    pub flows: usize,
    /// Whether one of them is not over yet.
    pub live: bool,
    /// For how many seconds all have been silent.
    pub idle_seconds: u64,
    /// How much harm a stop of the more critical end does.
    pub criticality: Option<String>,
    /// Whether its packets would be dropped, rather than reported.
    pub dropped: bool,
    /// The word for why it would be denied.
    pub reason: String,
    /// The same as a sentence.
    pub explanation: String,
    /// The rule that allows it now.
    pub rule: Option<String>,
    /// `file:line` of it.
    pub place: Option<String>,
}

/// What became of the conversations that were looked at.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Conversations {
    /// How many are not over yet.
    pub live: usize,
    /// How many others are remembered and not too old.
    pub recent: usize,
    /// Those that would be dropped; their number counts conversations between the same ends over the same service once.
    pub stop: Listed<Stopped>,
    /// Those that would be reported.
    pub report: Listed<Stopped>,
}

/// Flows judged before the hosts forget what they remember of them.
const CHUNK: usize = 4096;

/// A conversation and what would become of it.
struct Judged<'f> {
    flow: &'f KnownFlow,
    count: usize,
    decision: Decision,
    criticality: Option<Criticality>,
}

pub(super) fn judge(
    (old, new): (&Side<'_>, &Side<'_>),
    known: &[KnownFlow],
    world: &World,
    now: Timestamp,
    most: usize,
) -> Conversations {
    let live = known.iter().filter(|flow| flow.live).count();
    let mut alike: BTreeMap<(IpAddr, IpAddr, u8, u16), (&KnownFlow, usize)> = BTreeMap::new();
    for flow in known {
        let key = (flow.from, flow.to, flow.protocol, flow.service);
        let (first, count) = alike.entry(key).or_insert((flow, 0));
        *count += 1;
        // The one that tells most of them all: live rather than over, and the last that was heard.
        if (!flow.live, flow.idle, flow.client_port) < (!first.live, first.idle, first.client_port) {
            *first = flow;
        }
    }
    let mut flows: Vec<(&KnownFlow, usize)> = alike.into_values().collect();
    let timed = !old.tables.schedules.is_empty() || !new.tables.schedules.is_empty();
    if timed {
        // Schedules are looked at once for each minute in which something was seen last.
        flows.sort_by_key(|(flow, _)| minute(now, flow.idle));
    }
    let names = names(old, new, flows.iter().map(|(flow, _)| *flow));
    let owners = identity::owners(new.policy);
    let memory = Memory { leases: world.leases.clone(), ..Memory::default() };
    let mut hosts: Vec<[Host<'_>; 2]> = Vec::new();
    for segment in &world.segments {
        let host = |side: &Side<'_>, names: &BTreeMap<NamedKey, NamedRow>| Placed {
            deadlines: side.tables.deadlines_as_of(now, now),
            named: names.clone(),
            ..placed(world, *segment)
        };
        let pair = [Host::new(old.tables, host(old, &names[0])), Host::new(new.tables, host(new, &names[1]))];
        pair.iter().for_each(|host| host.set_now(world.now));
        hosts.push(pair);
    }
    let mut judged: Vec<Judged<'_>> = Vec::new();
    let mut then = now;
    for chunk in flows.chunks(CHUNK) {
        hosts.iter_mut().flatten().for_each(|host| host.adopt(memory.clone(), 1));
        for (flow, count) in chunk {
            let seen = minute(now, flow.idle);
            if timed && seen != then {
                then = seen;
                let both = [old, new].map(|side| side.tables.deadlines_as_of(then, now));
                for [before, after] in &mut hosts {
                    before.reschedule(both[0].clone());
                    after.reschedule(both[1].clone());
                }
            }
            let ends = [(flow.devices[0], flow.from), (flow.devices[1], flow.to)];
            let ends = ends.map(|(id, address)| identity::of_end(id, address, (old, new), &owners));
            let openings = openings(flow, ends, old, world);
            let decisions =
                openings.iter().flat_map(|opening| hosts.iter().filter_map(|pair| becomes(opening, pair)));
            let denied = decisions.filter(|decision| matches!(decision.verdict, Verdict::Deny(_)));
            if let Some(decision) = denied.max_by_key(|decision| decision.action == Action::Drop) {
                let ends = flow.devices.iter().filter_map(|id| old.tables.device(*id));
                let criticality = ends.map(|device| device.criticality).max();
                judged.push(Judged { flow, count: *count, decision, criticality });
            }
        }
    }
    judged.sort_by(|a, b| {
        let key = |one: &Judged<'_>| (std::cmp::Reverse(one.criticality), !one.flow.live, one.flow.idle);
        key(a).cmp(&key(b)).then_with(|| a.flow.cmp(b.flow))
    });
    let told = |wanted: Action| {
        let all = judged.iter().filter(|one| one.decision.action == wanted);
        let total = all.clone().count();
        let list: Vec<Stopped> = all.take(most).map(|one| stopped(one, old, world)).collect();
        Listed { more: total - list.len(), list }
    };
    Conversations { live, recent: known.len() - live, stop: told(Action::Drop), report: told(Action::Pass) }
}

/// What the new tables say of a conversation that the old ones let begin: of its first packet, or if that passes of the
/// answer.
fn becomes(opening: &Opening, [before, after]: &[Host<'_>; 2]) -> Option<Decision> {
    let judged = |(packet, segment): &(Packet, u16)| {
        let ask = |rules| decide(packet, &Supposed { rules, segment: *segment, leases: [None; 2] });
        let allowed = |decision: &Decision| matches!(decision.verdict, Verdict::Allow(_));
        allowed(&ask(before)).then(|| ask(after)).map(|decision| (allowed(&decision), decision))
    };
    let (goes_on, first) = judged(&opening.question)?;
    let answer = opening.answer.as_ref().filter(|_| goes_on).and_then(judged);
    Some(answer.map_or(first, |(_, decision)| decision))
}

/// Where and how packets are judged anew.
pub(super) fn placed(world: &World, segment: SegmentRow) -> Placed {
    // Nothing is taken on trust, and no flow is one too many.
    let settings = Settings { adopt_until: 0, flow_cap: 0, ..world.placed.settings };
    Placed { segment, settings, ..world.placed.clone() }
}

/// The minute in which something was seen last: windows open and close with the minutes.
pub(super) fn minute(now: Timestamp, idle: Duration) -> Timestamp {
    let idle = SignedDuration::try_from(idle).unwrap_or(SignedDuration::MAX);
    let seen = now.saturating_sub(idle).unwrap_or(Timestamp::MIN);
    Timestamp::from_second(seen.as_second().div_euclid(60) * 60).unwrap_or(seen)
}

/// What both tables permit at addresses that were learned by name: where the old rule names names, the address is behind
/// one of them.
fn names<'f>(
    old: &Side<'_>,
    new: &Side<'_>,
    flows: impl Iterator<Item = &'f KnownFlow>,
) -> [BTreeMap<NamedKey, NamedRow>; 2] {
    let mut found = [BTreeMap::new(), BTreeMap::new()];
    let named_rules: BTreeMap<u32, &[String]> = old
        .tables
        .named
        .iter()
        .flat_map(|peer| peer.permissions.iter().map(|one| (one.row.rule, peer.names.as_slice())))
        .collect();
    for flow in flows {
        let [from, 0] = flow.devices else { continue };
        let Some(names) = named_rules.get(&flow.rule) else { continue };
        let name = old.tables.device(from).map(|device| device.name.as_str());
        let ids = [old.policy, new.policy]
            .map(|policy| name.and_then(|name| policy.device(name)).map_or(0, |(id, _)| id.0 + 1));
        for (side, tables) in [old.tables, new.tables].into_iter().enumerate() {
            let means = |peer: &&NamedPeer| names.iter().all(|name| peer.holds(name, flow.to));
            let permissions = tables.named.iter().filter(means).flat_map(|peer| peer.of_device(ids[side]));
            for NamedPermission { device, class, row } in permissions.copied() {
                let key = NamedKey { address: Address::from(flow.to), device, class };
                let there = found[side].entry(key).or_insert(NamedRow { row, expires: u64::MAX });
                // A rule that always holds counts before one that holds at times.
                if there.row.schedule != 0 && row.schedule == 0 {
                    there.row = row;
                }
            }
        }
    }
    found
}

fn stopped(one: &Judged<'_>, old: &Side<'_>, world: &World) -> Stopped {
    let Judged { flow, count, decision, criticality } = one;
    let (reason, explanation) = match decision.verdict {
        Verdict::Allow(grant) => (grant.name(), grant.text()),
        Verdict::Deny(reason) => (reason.name(), reason.text()),
    };
    let named = |id: u32, address: IpAddr| match old.tables.device(id) {
        Some(device) => Some(device.name.clone()),
        None if world.placed.gateway.contains(&address) => Some("gateway".to_owned()),
        None => network_of(old.policy, address),
    };
    let rule = old.tables.rule(flow.rule);
    Stopped {
        from: named(flow.devices[0], flow.from),
        from_ip: flow.from.to_string(),
        to: named(flow.devices[1], flow.to),
        to_ip: if flow.to.is_unspecified() { "a group".to_owned() } else { flow.to.to_string() },
        service: spelled(Selector { protocol: flow.protocol, low: flow.service, high: flow.service }),
        flows: *count,
        live: flow.live,
        idle_seconds: flow.idle.as_secs(),
        criticality: criticality.map(|c| c.name().to_owned()),
        dropped: decision.action == Action::Drop,
        reason: reason.to_owned(),
        explanation: explanation.to_owned(),
        rule: rule.map(|rule| format!("{} ({})", rule.text, rule.holder)),
        place: rule.map(|rule| format!("{}:{}", rule.location.path, rule.location.line)),
    }
}
