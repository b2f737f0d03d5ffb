//! What the services of a rule come to. In: a policy. Out: for each list of services that rules have, its ranges, folded;
//! and whether one list has all that another has. Rules share few lists, so each is looked at once.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
};

use bulkhead_common::wire::{protocol, pseudo};

use crate::model::{Layer, Policy, Rule, Selector, ServiceId};

/// The traffic of every rule.
pub(super) struct Traffic {
    /// The list of each rule.
    of_rule: Vec<usize>,
    lists: Vec<Ranges>,
    /// Whether the first has all of the second.
    answers: RefCell<HashMap<(usize, usize), bool>>,
}

/// Folded ranges: none touches another.
pub(super) struct Ranges {
    selectors: Vec<Selector>,
    /// Ports, types and the like, each counted once.
    pub(super) ports: u64,
    /// Whether all of it is IP.
    pub(super) is_ip: bool,
    /// Whether some of it is.
    pub(super) has_ip: bool,
    /// Whether some of it has ports.
    pub(super) has_ports: bool,
}

impl Ranges {
    /// Whether a packet to this port is part of it.
    pub(super) fn holds(&self, protocol: u8, port: u16) -> bool {
        self.selectors.iter().any(|s| s.protocol == protocol && (s.low..=s.high).contains(&port))
    }
}

impl Traffic {
    pub(super) fn of(policy: &Policy) -> Self {
        let mut numbers: BTreeMap<&[ServiceId], usize> = BTreeMap::new();
        let mut lists = Vec::new();
        let of_rule = policy.rules.iter().map(|rule| {
            *numbers.entry(&rule.services).or_insert_with(|| {
                lists.push(ranges(policy, rule));
                lists.len() - 1
            })
        });
        let of_rule = of_rule.collect();
        Self { of_rule, lists, answers: RefCell::default() }
    }

    /// The traffic of a rule, by its place in the policy.
    pub(super) fn ranges(&self, rule: usize) -> &Ranges {
        &self.lists[self.of_rule[rule]]
    }

    /// Whether the first rule's services have all that the second's have.
    pub(super) fn covers(&self, wide: usize, narrow: usize) -> bool {
        let (wide, narrow) = (self.of_rule[wide], self.of_rule[narrow]);
        if wide == narrow {
            return true;
        }
        *self.answers.borrow_mut().entry((wide, narrow)).or_insert_with(|| {
            let wide = &self.lists[wide].selectors;
            self.lists[narrow].selectors.iter().all(|inner| {
                // The last range that begins before it or with it is the only one that can hold it.
                let after = wide.partition_point(|s| (s.protocol, s.low) <= (inner.protocol, inner.low));
                let outer = after.checked_sub(1).map(|at| wide[at]);
                outer.is_some_and(|outer| outer.protocol == inner.protocol && inner.high <= outer.high)
            })
        })
    }
}

fn ranges(policy: &Policy, rule: &Rule) -> Ranges {
    let all = rule.services.iter().flat_map(|id| &policy.services[id.0 as usize].selectors);
    let mut all: Vec<Selector> = all.copied().collect();
    all.sort_unstable();
    let mut selectors: Vec<Selector> = Vec::new();
    for selector in all {
        match selectors.last_mut() {
            Some(last)
                if last.protocol == selector.protocol
                    && u32::from(selector.low) <= u32::from(last.high) + 1 =>
            {
                last.high = last.high.max(selector.high);
            }
            Some(_) | None => selectors.push(selector),
        }
    }
    let is_ip = |selector: &Selector| selector.layer() == Layer::Network;
    Ranges {
        ports: selectors.iter().map(width).sum(),
        is_ip: selectors.iter().all(is_ip),
        has_ip: selectors.iter().any(is_ip),
        has_ports: selectors.iter().any(|selector| PORTS.contains(&selector.protocol)),
        selectors,
    }
}

/// Protocols with ports.
const PORTS: [u8; 3] = [protocol::TCP, protocol::UDP, protocol::SCTP];

/// How many ports a range has; of ICMP how many types, and a protocol without ports counts as one.
fn width(selector: &Selector) -> u64 {
    let Selector { protocol, low, high } = *selector;
    match protocol {
        protocol::ICMP | protocol::ICMPV6 => u64::from(high >> 8) - u64::from(low >> 8) + 1,
        protocol::TCP | protocol::UDP | protocol::SCTP | pseudo::ETHERTYPE | pseudo::LLC => {
            u64::from(high) - u64::from(low) + 1
        }
        0..=u8::MAX => 1,
    }
}
