//! Networks that have DNS names: what each device may do at addresses that it learns by one of them.
//!
//! In: rules, one after the other. Out: one peer for each such network, sorted by device, so that an answer of a resolver is
//! matched without a look at anybody else's rules.

use std::{collections::HashMap, net::IpAddr};

use bulkhead_common::{
    layout::{RuleKey, RuleRow},
    lookup::shape,
};
use ipnet::IpNet;

use super::{
    Limits, Party, ServicePrefix, Tables, TooLarge, Who, dense, fits,
    rows::{Interned, Permitted},
};
use crate::{
    model::{DeviceId, Network, NetworkId, Peer, Policy, Rule, covers},
    traffic::{Kind, Service},
};

/// DNS names that rules name, and what they permit at the addresses behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPeer {
    /// In lower case, a leading `*.` for every name below.
    pub names: Vec<String>,
    /// Addresses that are not part of it, whatever a name says.
    pub except: Vec<IpNet>,
    /// To whom, over what: by device, then by class.
    pub permissions: Vec<NamedPermission>,
}

/// A permission at addresses that a device learned by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedPermission {
    /// Dense id of the device.
    pub device: u32,
    /// Service class, or the marker for some service.
    pub class: u32,
    /// Dense rule id and schedule.
    pub row: RuleRow,
}

impl NamedPeer {
    /// Whether it is meant by a name.
    pub fn has_name(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| covers(pattern, name))
    }

    /// Whether an address is part of it for whoever learned it under a name.
    pub fn holds(&self, name: &str, address: IpAddr) -> bool {
        self.has_name(name) && !self.except.iter().any(|prefix| prefix.contains(&address))
    }

    /// What it permits a device.
    pub fn of_device(&self, device: u32) -> &[NamedPermission] {
        let from = self.permissions.partition_point(|one| one.device < device);
        let rest = &self.permissions[from..];
        &rest[..rest.partition_point(|one| one.device == device)]
    }
}

impl Tables {
    /// What a device may do by name.
    pub fn named_for(&self, device: u32) -> impl Iterator<Item = (&NamedPeer, &[NamedPermission])> {
        let from = self.by_name.partition_point(|(one, _)| *one < device);
        let own = self.by_name[from..].iter().take_while(move |(one, _)| *one == device);
        own.filter_map(|(_, at)| self.named.get(*at as usize)).map(move |peer| (peer, peer.of_device(device)))
    }

    /// What allows a kind of conversation to the device that begins it, under a name that the device may have learned for the address: one
    /// that may be anywhere and that nothing else in the policy means.
    pub fn may_be_named(&self, who: &Who<'_>, kind: &Kind) -> impl Iterator<Item = &NamedPermission> {
        let device = who.sender(&kind.from).device().map(|DeviceId(id)| dense(id as usize));
        let to = kind.to.address.filter(|_| who.receiver(&kind.to) == Party::Internet);
        let class = self.class_of(kind.service);
        let asked = device.zip(to).zip(class).filter(|_| self.shapes & shape::NAMED != 0);
        asked.into_iter().flat_map(move |((device, address), class)| {
            let peers = self.named_for(device);
            let meant =
                peers.filter(move |(peer, _)| !peer.except.iter().any(|prefix| prefix.contains(&address)));
            meant.flat_map(|(_, permissions)| permissions).filter(move |one| one.class == class)
        })
    }

    /// The class of a service, if rules name it.
    fn class_of(&self, Service { protocol, number }: Service) -> Option<u32> {
        let around = |bits| self.services.get(&ServicePrefix::around(protocol, number, bits)).copied();
        (0..=24).rev().find_map(around)
    }
}

/// Who is in which peer.
pub(super) fn by_device(named: &[NamedPeer]) -> Vec<(u32, u32)> {
    let all = (0..).zip(named).flat_map(|(at, peer)| {
        let devices = peer.permissions.chunk_by(|a, b| a.device == b.device);
        devices.map(move |of_one| (of_one[0].device, at))
    });
    let mut all: Vec<(u32, u32)> = all.collect();
    all.sort_unstable();
    all
}

/// What the rules read so far permit by name.
pub(super) struct Named<'p> {
    policy: &'p Policy,
    networks: Vec<(NetworkId, &'p Network)>,
    /// Dense ids of the devices that a peer means, ascending; each is looked for once, however many rules name it.
    members: HashMap<Peer, Vec<u32>>,
    /// Rows between a device and a network.
    permitted: Permitted,
}

impl<'p> Named<'p> {
    pub(super) fn of(policy: &'p Policy) -> Self {
        let networks = (0..).map(NetworkId).zip(&policy.networks);
        Self {
            policy,
            networks: networks.filter(|(_, network)| !network.names.is_empty()).collect(),
            members: HashMap::new(),
            permitted: Permitted::default(),
        }
    }

    /// Notes what a rule permits.
    pub(super) fn add(
        &mut self,
        rule: &Rule,
        row: RuleRow,
        classes: &[u32],
        interned: &mut Interned,
        limits: &Limits,
    ) -> Result<(), TooLarge> {
        let Self { policy, networks, members, permitted } = self;
        for (network, _) in networks.iter().filter(|(id, _)| rule.responders.contains(&Peer::Network(*id))) {
            for peer in &rule.initiators {
                let devices = members.entry(*peer).or_insert_with(|| members_of(policy, *peer));
                for initiator in devices.iter().copied() {
                    permitted.permit((initiator, network.0), classes, row, interned, limits)?;
                }
            }
        }
        Ok(())
    }

    /// What all of them permit, in the order of the networks.
    pub(super) fn peers(self, interned: &mut Interned, limits: &Limits) -> Result<Vec<NamedPeer>, TooLarge> {
        let rows = self.permitted.rows(interned);
        fits("rows", rows.len(), limits.rows)?;
        let mut found: HashMap<u32, Vec<NamedPermission>> = HashMap::new();
        for (RuleKey { initiator: device, responder, class }, row) in rows {
            found.entry(responder).or_default().push(NamedPermission { device, class, row });
        }
        let peers = self.networks.into_iter().filter_map(|(id, network)| {
            let permissions = found.remove(&id.0)?;
            Some(NamedPeer { names: network.names.clone(), except: network.except.clone(), permissions })
        });
        Ok(peers.collect())
    }
}

fn members_of(policy: &Policy, peer: Peer) -> Vec<u32> {
    match peer {
        Peer::Device(id) => vec![dense(id.0 as usize)],
        Peer::Class(_)
        | Peer::Zone(_)
        | Peer::Group(_)
        | Peer::Network(_)
        | Peer::Multicast(_)
        | Peer::Gateway
        | Peer::Broadcast
        | Peer::Any => (0..)
            .map(DeviceId)
            .zip(&policy.devices)
            .filter(|(id, _)| policy.means(peer, *id))
            .map(|(id, _)| dense(id.0 as usize))
            .collect(),
    }
}
