//! Rules that come close. In: a policy and two ends. Out: what it does allow between them, and what an address is called.

use std::{cmp::Reverse, net::IpAddr};

use ipnet::IpNet;

use serde::{Deserialize, Serialize};

use super::{RuleEntry, Tables};
use crate::model::{DeviceId, Multicast, Network, Peer, Policy};

/// As many are told of.
const MOST: usize = 3;

/// A rule and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRef {
    /// The rule in one line.
    pub text: String,
    /// In whose name it is written: `device NAME`, `class NAME` or `conduit`.
    pub holder: String,
    /// `file:line`.
    pub place: String,
    /// Why it exists.
    pub comment: Option<String>,
}

impl From<&RuleEntry> for RuleRef {
    fn from(entry: &RuleEntry) -> Self {
        Self {
            text: entry.text.clone(),
            holder: entry.holder.clone(),
            place: format!("{}:{}", entry.location.path, entry.location.line),
            comment: entry.comment.clone(),
        }
    }
}

/// Who one end is, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The device that it is.
    pub device: Option<DeviceId>,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Whether it is this gateway.
    pub gateway: bool,
}

/// Rules between two ends, whatever they are about: first those that let `from` begin, then the others.
pub fn nearest(policy: &Policy, tables: &Tables, from: Known, to: Known) -> Vec<RuleRef> {
    let means = |peers: &[Peer], end: Known| peers.iter().any(|peer| is_meant(policy, *peer, end));
    let along =
        policy.rules.iter().filter(|rule| means(&rule.initiators, from) && means(&rule.responders, to));
    let against =
        policy.rules.iter().filter(|rule| means(&rule.initiators, to) && means(&rule.responders, from));
    let entries = along
        .chain(against)
        .take(MOST)
        .filter_map(|rule| tables.rules.iter().find(|entry| entry.location == rule.location));
    let mut found: Vec<RuleRef> = Vec::new();
    for entry in entries {
        let one = RuleRef::from(entry);
        // Between two devices of one zone a rule may run both ways.
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

fn is_meant(policy: &Policy, peer: Peer, end: Known) -> bool {
    let Known { device, ip, gateway } = end;
    match peer {
        Peer::Device(_) | Peer::Class(_) | Peer::Zone(_) | Peer::Group(_) => {
            device.is_some_and(|id| policy.means(peer, id))
        }
        Peer::Network(id) => {
            let network: &Network = &policy.networks[id.0 as usize];
            ip.is_some_and(|ip| network.holds(ip)) || device.is_some_and(|id| policy.means(peer, id))
        }
        Peer::Multicast(id) => {
            let group: &Multicast = &policy.multicasts[id.0 as usize];
            ip.is_some_and(|ip| group.cidrs.iter().any(|cidr| cidr.contains(&ip)))
        }
        Peer::Gateway => gateway,
        Peer::Broadcast => ip.is_some_and(|ip| matches!(ip, IpAddr::V4(ip) if ip.is_broadcast())),
        Peer::Any => true,
    }
}

/// The smallest network around an address.
pub fn network_of(policy: &Policy, address: IpAddr) -> Option<String> {
    let around = policy.networks.iter().filter(|network| network.holds(address));
    let bits = |network: &&Network| {
        let holding = network.cidrs.iter().filter(|cidr| cidr.contains(&address));
        Reverse(holding.map(IpNet::prefix_len).max())
    };
    around.min_by_key(bits).map(|network| network.name.clone())
}
