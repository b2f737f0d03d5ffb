//! What the files say, before names are looked up: every leaf is a valid value and keeps its place.
//!
//! In: nothing (these are values). Out: what [`super::parse`] fills and [`super::resolve`] reads.

use std::net::IpAddr;

use ipnet::IpNet;

use super::reader::Leaf;
use crate::{
    diagnostic::At,
    model::{Criticality, Mac, Mode, Selector},
};

/// The contents of one file.
#[derive(Debug, Default)]
pub(super) struct RawFile {
    pub(super) devices: Vec<RawDevice>,
    pub(super) classes: Vec<RawClass>,
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
    pub(super) criticality: Criticality,
    pub(super) mode: Mode,
    pub(super) comment: Option<String>,
    pub(super) allow: Vec<RawAllow>,
}

#[derive(Debug)]
pub(super) struct RawClass {
    pub(super) name: Leaf<String>,
    pub(super) allow: Vec<RawAllow>,
}

#[derive(Debug)]
pub(super) struct RawNetwork {
    pub(super) name: Leaf<String>,
    pub(super) cidrs: Vec<Leaf<IpNet>>,
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
}

/// One `allow` entry.
#[derive(Debug)]
pub(super) struct RawAllow {
    pub(super) at: At,
    /// `None` when the entry did not say it in a usable way; its names are looked up all the same.
    pub(super) direction: Option<Direction>,
    pub(super) peers: Vec<Leaf<RawPeer>>,
    pub(super) services: Vec<Leaf<String>>,
    pub(super) comment: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) ticket: Option<String>,
}

/// Which end the named peers are; the device is the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// The peers start the conversation.
    From,
    /// The device starts it.
    To,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RawPeer {
    Gateway,
    Broadcast,
    Any,
    /// A multicast group, without its prefix.
    Multicast(String),
    Zone(String),
    Class(String),
    /// A device or a network.
    Named(String),
}
