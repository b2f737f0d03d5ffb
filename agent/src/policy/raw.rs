//! What the files say, before names are looked up: every leaf is a valid value and keeps its place.
//!
//! In: nothing (these are values). Out: what [`super::parse`] fills and [`super::resolve`] reads.

use std::net::IpAddr;

use ipnet::IpNet;

use super::reader::Leaf;
use crate::{
    diagnostic::At,
    model::{Criticality, Mac, Mode, Schedule, Selector, Source},
};

/// The contents of one file.
#[derive(Debug, Default)]
pub(super) struct RawFile {
    pub(super) devices: Vec<RawDevice>,
    pub(super) classes: Vec<RawClass>,
    pub(super) zones: Vec<RawZone>,
    pub(super) groups: Vec<RawGroup>,
    pub(super) conduits: Vec<RawConduit>,
    pub(super) networks: Vec<RawNetwork>,
    pub(super) multicasts: Vec<RawMulticast>,
    pub(super) services: Vec<RawService>,
    pub(super) quarantine: Vec<Leaf<RawPeer>>,
}

#[derive(Debug)]
pub(super) struct RawDevice {
    pub(super) name: Leaf<String>,
    pub(super) macs: Vec<Leaf<Mac>>,
    pub(super) addresses: Vec<Leaf<IpAddr>>,
    /// Whether `ip` says that a lease gives the address.
    pub(super) dynamic: bool,
    pub(super) segment: Option<String>,
    pub(super) vlan: Option<u16>,
    pub(super) zone: Option<Leaf<String>>,
    pub(super) class: Option<Leaf<String>>,
    /// `None` leaves it to the class.
    pub(super) criticality: Option<Criticality>,
    /// `None` leaves it to the class.
    pub(super) mode: Option<Mode>,
    pub(super) comment: Option<String>,
    pub(super) allow: Vec<RawAllow>,
}

#[derive(Debug)]
pub(super) struct RawClass {
    pub(super) name: Leaf<String>,
    /// What its devices have that do not say their own.
    pub(super) criticality: Option<Criticality>,
    pub(super) mode: Option<Mode>,
    pub(super) comment: Option<String>,
    pub(super) allow: Vec<RawAllow>,
}

#[derive(Debug)]
pub(super) struct RawZone {
    pub(super) name: Leaf<String>,
    pub(super) comment: Option<String>,
    pub(super) owner: Option<String>,
}

#[derive(Debug)]
pub(super) struct RawGroup {
    pub(super) name: Leaf<String>,
    pub(super) members: Vec<Leaf<RawPeer>>,
    pub(super) comment: Option<String>,
}

/// What two zones may say to each other.
#[derive(Debug)]
pub(super) struct RawConduit {
    pub(super) at: At,
    pub(super) from: Vec<Leaf<RawPeer>>,
    pub(super) to: Vec<Leaf<RawPeer>>,
    pub(super) services: Vec<Leaf<String>>,
    pub(super) terms: RawTerms,
}

#[derive(Debug)]
pub(super) struct RawNetwork {
    pub(super) name: Leaf<String>,
    pub(super) cidrs: Vec<Leaf<IpNet>>,
    pub(super) except: Vec<Leaf<IpNet>>,
    /// DNS names, in lower case and without the final dot.
    pub(super) names: Vec<Leaf<String>>,
    /// Whether names are all it has.
    pub(super) is_by_name: bool,
    pub(super) comment: Option<String>,
}

/// A multicast group, without the prefix by which rules name it.
#[derive(Debug)]
pub(super) struct RawMulticast {
    pub(super) name: Leaf<String>,
    pub(super) cidrs: Vec<IpNet>,
    pub(super) macs: Vec<Mac>,
}

#[derive(Debug)]
pub(super) struct RawService {
    pub(super) name: Leaf<String>,
    pub(super) selectors: Vec<Selector>,
    /// Names of services whose traffic it is too.
    pub(super) includes: Vec<Leaf<String>>,
}

/// One `allow` entry.
#[derive(Debug)]
pub(super) struct RawAllow {
    pub(super) at: At,
    /// `None` when the entry did not say it in a usable way; its names are looked up all the same.
    pub(super) direction: Option<Direction>,
    pub(super) peers: Vec<Leaf<RawPeer>>,
    pub(super) services: Vec<Leaf<String>>,
    pub(super) terms: RawTerms,
}

/// When a rule holds, and why there is one.
#[derive(Debug)]
pub(super) struct RawTerms {
    pub(super) schedule: Option<Schedule>,
    pub(super) comment: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) ticket: Option<String>,
    pub(super) source: Source,
}

/// Which end the named peers are; the device is the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// The peers start the conversation.
    From,
    /// The device starts it.
    To,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum RawPeer {
    Gateway,
    Broadcast,
    Any,
    /// A multicast group, without its prefix.
    Multicast(String),
    Zone(String),
    Class(String),
    Group(String),
    /// A device or a network.
    Named(String),
}
