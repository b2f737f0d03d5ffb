//! One rule of a proposal, before it has words.

use std::collections::BTreeSet;

use bulkhead_common::wire::protocol;

use crate::{
    learn::{Doubt, Party, Talk},
    model::{ClassId, DeviceId, Peer, Policy, Selector},
    traffic::Service,
};

/// For whom rules are proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// For every device.
    All,
    /// For one.
    Device(DeviceId),
    /// For those of a class.
    Class(ClassId),
}

/// Who has a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// A device.
    Device(DeviceId),
    /// A class: each of its devices.
    Class(ClassId),
}

/// Which way it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Others begin.
    From,
    /// The holder begins.
    To,
}

/// One word of the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Term {
    /// Just who was seen.
    Seen(Party),
    /// A class, zone, group or network around them.
    Around(Peer),
}

/// One word of what it is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// Just what was seen; of ICMP the type with all of its codes.
    Seen(Service),
    /// Ports from one to another.
    Range(Selector),
    /// A service of the policy or the library, and all that it is.
    Named(String, Vec<Selector>),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who has it.
    pub holder: Holder,
    /// Which way it runs.
    pub key: Key,
    /// The other end.
    pub terms: BTreeSet<Term>,
    /// Over what.
    pub whats: BTreeSet<What>,
    /// What was seen of it, ascending.
    pub talks: Vec<Talk>,
    /// How many combinations of initiator, responder and service it admits.
    pub admits: u64,
    /// How many of them nobody saw.
    pub price: u64,
    /// How it was made wider than what was seen, in words.
    pub widened: Vec<String>,
    /// Why a person has to decide; none of what is learned.
    pub doubts: Vec<Doubt>,
}

impl Holder {
    /// The devices behind it.
    pub(super) fn devices(self, policy: &Policy) -> BTreeSet<DeviceId> {
        match self {
            Self::Device(id) => BTreeSet::from([id]),
            Self::Class(class) => members(policy, Peer::Class(class)),
        }
    }
}

/// The devices that a name means by what they are.
pub(super) fn members(policy: &Policy, peer: Peer) -> BTreeSet<DeviceId> {
    let ids = (0..).map(DeviceId).zip(&policy.devices).map(|(id, _)| id);
    ids.filter(|id| policy.means(peer, *id)).collect()
}

impl What {
    /// All that it is.
    pub(super) fn selectors(&self) -> Vec<Selector> {
        match self {
            Self::Seen(service) if protocol::is_icmp(service.protocol) => {
                let low = service.number & 0xff00;
                vec![Selector { protocol: service.protocol, low, high: low | 0xff }]
            }
            Self::Seen(service) if has_numbers(service.protocol) => vec![service.selector()],
            Self::Seen(service) => vec![Selector { protocol: service.protocol, low: 0, high: u16::MAX }],
            Self::Range(selector) => vec![*selector],
            Self::Named(_, selectors) => selectors.clone(),
        }
    }

    /// Whether it is that.
    pub(super) fn holds(&self, service: Service) -> bool {
        let holds =
            |s: &Selector| s.protocol == service.protocol && (s.low..=s.high).contains(&service.number);
        self.selectors().iter().any(holds)
    }
}

/// Whether services of the protocol differ by a number.
pub(super) fn has_numbers(protocol: u8) -> bool {
    use bulkhead_common::wire::pseudo;
    matches!(
        protocol,
        protocol::TCP
            | protocol::UDP
            | protocol::SCTP
            | protocol::ICMP
            | protocol::ICMPV6
            | pseudo::ETHERTYPE
            | pseudo::LLC
    )
}
