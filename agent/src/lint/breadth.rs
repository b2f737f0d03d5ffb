//! How much each rule admits: initiators x responders x ports. In: a policy. Out: the numbers of every rule, for reviews,
//! and a warning for rules that admit more than anybody needs.
//!
//! A device counts as one. An IPv4 network counts its addresses; an IPv6 prefix counts as the IPv4 prefix of a place of
//! that size does, or else every LAN would dwarf all else: `/64` as `/24`, `/48` as `/16`, `/32` as `/8`. `any` counts the IPv4
//! addresses. What a list names twice counts twice.

use std::cmp::Reverse;

use ipnet::IpNet;

use super::{
    Findings, grouped,
    traffic::{Ranges, Traffic},
};
use crate::{
    diagnostic::{Diagnostic, quote},
    model::{Criticality, DeviceId, Network, Peer, Policy, Rule, RuleId},
};

/// A rule that admits more than anybody needs.
const BROAD: &str = "BH0508";

/// More addresses than a `/16` are no site any more; together with [`WIDE_PORTS`] they are a hole.
const WIDE_ADDRESSES: u64 = 1 << 16;
/// Half of the ports of one protocol: somebody did not know which ones are used.
const WIDE_PORTS: u64 = 1 << 15;
/// As many addresses as a `/8` are everybody; nobody means everybody when it is about a device of
/// [`CRITICAL`] or above.
const EVERYBODY: u64 = 1 << 24;
/// From here on a stop does harm.
const CRITICAL: Criticality = Criticality::High;

/// What `any` counts.
const ANY: u64 = 1 << 32;

/// How much a rule admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Score {
    /// The rule, by its place in the policy.
    pub rule: RuleId,
    /// Who may start.
    pub initiators: u64,
    /// Who may be reached.
    pub responders: u64,
    /// Over how many ports, message types or ethertypes.
    pub ports: u64,
}

impl Score {
    /// All combinations of the three.
    pub fn combinations(&self) -> u128 {
        let Self { rule: _, initiators, responders, ports } = *self;
        u128::from(initiators).saturating_mul(u128::from(responders)).saturating_mul(u128::from(ports))
    }
}

/// Every rule with what it admits, widest first, then by place.
pub fn scores(policy: &Policy) -> Vec<Score> {
    let traffic = Traffic::of(policy);
    let sizes = Sizes::of(policy);
    let mut all: Vec<Score> =
        (0..policy.rules.len()).map(|at| sizes.score(at, &policy.rules[at], traffic.ranges(at))).collect();
    all.sort_by_cached_key(|score| {
        let place = &policy.rules[score.rule.0 as usize].location;
        (Reverse(score.combinations()), place.path.clone(), place.span.start)
    });
    all
}

pub(super) fn check(policy: &Policy, traffic: &Traffic, out: &mut Findings) {
    let sizes = Sizes::of(policy);
    for (at, rule) in policy.rules.iter().enumerate() {
        let ranges = traffic.ranges(at);
        let score = sizes.score(at, rule, ranges);
        let Score { rule: _, initiators, responders, ports } = score;
        let is_hole = ports >= WIDE_PORTS && initiators.max(responders) > WIDE_ADDRESSES;
        let at_stake = sizes.worst(&rule.responders).filter(|(worst, _)| *worst >= CRITICAL);
        let is_exposed = initiators >= EVERYBODY && ranges.has_ip && at_stake.is_some();
        if !is_hole && !is_exposed {
            continue;
        }
        // Of ICMP and of protocols without ports.
        let unit = if ranges.has_ports { "port" } else { "type" };
        let ports = format!("{} {unit}{}", grouped(ports), if ports == 1 { "" } else { "s" });
        let message = if initiators >= responders {
            let whom = sizes.named(&rule.responders);
            format!("the rule admits {} x {ports} to {whom}", addresses(&rule.initiators, initiators))
        } else {
            let who = sizes.named(&rule.initiators);
            format!("the rule lets {who} reach {} x {ports}", addresses(&rule.responders, responders))
        };
        let help = if is_exposed && !is_hole {
            "name who needs it: devices, a zone, a group or a network"
        } else {
            "name the services that are needed, and the networks; `bulkhead check --scores` shows what each rule admits"
        };
        out.push(Diagnostic::warning(BROAD, message).at(rule.location.clone(), "").help(help));
    }
}

fn addresses(peers: &[Peer], count: u64) -> String {
    if peers.contains(&Peer::Any) {
        "every address".to_owned()
    } else {
        format!("{} addresses", grouped(count))
    }
}

/// The devices that matter most of a class, a zone or a group, and how many there are.
#[derive(Clone, Copy, Default)]
struct Members {
    count: u64,
    worst: Option<(Criticality, DeviceId)>,
}

impl Members {
    fn add(&mut self, criticality: Criticality, id: DeviceId) {
        self.count += 1;
        if self.worst.is_none_or(|(worst, _)| criticality > worst) {
            self.worst = Some((criticality, id));
        }
    }
}

/// How much each name stands for.
struct Sizes<'p> {
    policy: &'p Policy,
    classes: Vec<Members>,
    zones: Vec<Members>,
    groups: Vec<Members>,
    networks: Vec<u64>,
}

impl<'p> Sizes<'p> {
    fn of(policy: &'p Policy) -> Self {
        let mut sizes = Self {
            policy,
            classes: vec![Members::default(); policy.classes.len()],
            zones: vec![Members::default(); policy.zones.len()],
            groups: vec![Members::default(); policy.groups.len()],
            networks: policy.networks.iter().map(size).collect(),
        };
        for (id, device) in (0..).map(DeviceId).zip(&policy.devices) {
            let criticality = device.criticality;
            if let Some(class) = device.class {
                sizes.classes[class.0 as usize].add(criticality, id);
            }
            if let Some(zone) = device.zone {
                sizes.zones[zone.0 as usize].add(criticality, id);
            }
            for group in &device.groups {
                sizes.groups[group.0 as usize].add(criticality, id);
            }
        }
        sizes
    }

    fn score(&self, at: usize, rule: &Rule, ranges: &Ranges) -> Score {
        let count =
            |peers: &[Peer]| peers.iter().fold(0, |sum: u64, peer| sum.saturating_add(self.count(*peer)));
        Score {
            rule: RuleId(u32::try_from(at).unwrap_or(u32::MAX)),
            initiators: count(&rule.initiators).min(ANY),
            responders: count(&rule.responders).min(ANY),
            ports: ranges.ports,
        }
    }

    fn count(&self, peer: Peer) -> u64 {
        match peer {
            Peer::Device(_) | Peer::Multicast(_) | Peer::Gateway | Peer::Broadcast => 1,
            Peer::Class(_) | Peer::Zone(_) | Peer::Group(_) => self.members(peer).map_or(0, |m| m.count),
            Peer::Network(id) => self.networks[id.0 as usize],
            Peer::Any => ANY,
        }
    }

    fn members(&self, peer: Peer) -> Option<Members> {
        match peer {
            Peer::Class(id) => Some(self.classes[id.0 as usize]),
            Peer::Zone(id) => Some(self.zones[id.0 as usize]),
            Peer::Group(id) => Some(self.groups[id.0 as usize]),
            Peer::Device(id) => {
                let mut one = Members::default();
                one.add(self.policy.devices[id.0 as usize].criticality, id);
                Some(one)
            }
            Peer::Network(_) | Peer::Multicast(_) | Peer::Gateway | Peer::Broadcast | Peer::Any => None,
        }
    }

    /// The device among them whose stop does the most harm.
    fn worst(&self, peers: &[Peer]) -> Option<(Criticality, DeviceId)> {
        let all = peers.iter().filter_map(|peer| self.members(*peer)?.worst);
        all.max_by_key(|(criticality, id)| (*criticality, Reverse(*id)))
    }

    /// `` `press-plc` (safety) ``, `` `class:plc` (up to safety) ``, `` `hmi-1` and 3 more (up to high) ``.
    fn named(&self, peers: &[Peer]) -> String {
        let Some(first) = peers.first() else { return String::new() };
        let more = if peers.len() > 1 { format!(" and {} more", peers.len() - 1) } else { String::new() };
        let is_one = peers.len() == 1 && matches!(first, Peer::Device(_));
        let harm = match self.worst(peers) {
            Some((criticality, _)) if is_one => format!(" ({})", criticality.name()),
            Some((criticality, _)) => format!(" (up to {})", criticality.name()),
            None => String::new(),
        };
        format!("{}{more}{harm}", quote(&self.policy.peer_name(*first)))
    }
}

/// Addresses of a network; one for each name.
fn size(network: &Network) -> u64 {
    let count = |prefixes: &[IpNet]| {
        prefixes.iter().fold(0, |sum: u64, prefix| sum.saturating_add(addresses_of(prefix)))
    };
    let left = count(&network.cidrs).saturating_sub(count(&network.except)).min(ANY);
    left.saturating_add(network.names.len() as u64).max(1)
}

fn addresses_of(prefix: &IpNet) -> u64 {
    let bits = match prefix {
        IpNet::V4(v4) => 32 - v4.prefix_len(),
        IpNet::V6(v6) if v6.prefix_len() > 64 => (128 - v6.prefix_len()).min(8),
        IpNet::V6(v6) => (8 + (64 - v6.prefix_len()) / 2).min(32),
    };
    1 << bits
}
