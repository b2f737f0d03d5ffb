//! A policy for some devices first: they get what the new policy says about them, all others keep the old one.
//!
//! In: both policies and the names of the devices. Out: one policy, or what of the new one cannot be told apart from the
//! old. A permission between two ends is the new policy's if one of the ends is a named device, and the old policy's
//! otherwise. Only who is named as a device, or through a class, a zone or a group, is an end in this sense: a rule
//! that reaches a device by `any` or by a network belongs to its other end.
//!
//! A class that has members on both sides is two classes of one name, each with its own rules; so are zones and
//! groups. Networks, services and multicast groups are one for all: where they differ and both sides need them, the
//! policy cannot be applied to some devices alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    diagnostic::closest,
    model::{
        ClassId, Device, DeviceId, GroupId, Holder, Multicast, MulticastId, Network, NetworkId, Peer, Policy,
        Rule, Service, ServiceId, ZoneId,
    },
};

mod labels;
mod shared;

use labels::Labels;
use shared::{Merged, merge};

/// Why a policy cannot be applied to some devices alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotApart {
    /// A name that no device has, in either policy.
    #[error("unknown device `{name}`{hint}")]
    Unknown {
        /// The name.
        name: String,
        /// What may have been meant; empty, or a line of its own.
        hint: String,
    },
    /// What both sides need and have differently, a phrase each.
    #[error(
        "the policy cannot be applied to these devices alone\n  {}\nhint: give what differs another name, name the other devices too, or apply it to all",
        .0.join("\n  ")
    )]
    Shared(Vec<String>),
}

/// Which policy something comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Old,
    New,
}

/// One rule on its way: ends are named as in the result, but for networks and multicast groups, which are still those
/// of its side.
struct Part<'p> {
    side: Side,
    rule: &'p Rule,
    holder: Holder,
    initiators: Vec<Peer>,
    responders: Vec<Peer>,
}

/// Peers of one end of a rule.
#[derive(Default)]
struct Ends {
    named: Vec<Peer>,
    others: Vec<Peer>,
}

/// Both policies with the devices of the result.
struct Split<'p> {
    old: &'p Policy,
    new: &'p Policy,
    /// The devices that get the new policy.
    named: &'p BTreeSet<String>,
    /// Place of each device of the result.
    ids: BTreeMap<&'p str, DeviceId>,
    labels: Labels,
}

/// The policy in which the named devices have what `new` says, and all others what `old` says. For no devices that is
/// `old`, for all of both it is `new`.
///
/// # Errors
/// [`NotApart`], with everything that stands in the way.
pub fn only(old: &Policy, new: &Policy, named: &BTreeSet<String>) -> Result<Policy, NotApart> {
    let all = known(old, new, named)?;
    if named.is_empty() {
        return Ok(old.clone());
    }
    if all.iter().all(|name| named.contains(*name)) {
        return Ok(new.clone());
    }
    let kept = old.devices.iter().filter(|d| !named.contains(&d.name)).map(|d| (d, Side::Old));
    let taken = new.devices.iter().filter(|d| named.contains(&d.name)).map(|d| (d, Side::New));
    let mut devices: Vec<(&Device, Side)> = kept.chain(taken).collect();
    devices.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    let ids = (0..).map(DeviceId).zip(&devices).map(|(id, (device, _))| (device.name.as_str(), id)).collect();
    let split = Split { old, new, named, ids, labels: Labels::of(old, new, named) };
    split.join(&devices)
}

/// The devices of both policies, if all that are named are among them.
///
/// # Errors
/// [`NotApart::Unknown`].
pub fn known<'a>(
    old: &'a Policy,
    new: &'a Policy,
    named: &BTreeSet<String>,
) -> Result<BTreeSet<&'a str>, NotApart> {
    let all: BTreeSet<&str> = old.devices.iter().chain(&new.devices).map(|d| d.name.as_str()).collect();
    let Some(name) = named.iter().find(|name| !all.contains(name.as_str())) else { return Ok(all) };
    let hint = closest(name, all.iter().copied()).map(|h| format!("\nhelp: did you mean `{h}`?"));
    Err(NotApart::Unknown { name: name.clone(), hint: hint.unwrap_or_default() })
}

impl<'p> Split<'p> {
    fn join(&self, devices: &[(&Device, Side)]) -> Result<Policy, NotApart> {
        let mut problems = claims(devices);
        let parts: Vec<Part<'_>> = self.kept_rules().chain(self.taken_rules()).collect();
        if peer_names(self.old, &self.old.remediation) != peer_names(self.new, &self.new.remediation) {
            problems.push(
                "the peers of quarantined devices are others in it, and they are one list for all".into(),
            );
        }
        let used = |side: Side| {
            let parts = parts.iter().filter(move |part| part.side == side);
            parts.flat_map(|part| part.initiators.iter().chain(&part.responders)).copied()
        };
        let old_used = || used(Side::Old).chain(self.old.remediation.iter().copied());
        let services = |side: Side| -> BTreeSet<u32> {
            let parts = parts.iter().filter(|part| part.side == side);
            parts.flat_map(|part| &part.rule.services).map(|id| id.0).collect()
        };
        let (old, new) = (self.old, self.new);
        let networks = merge(
            "network",
            (&old.networks, old_used().filter_map(Peer::network).map(|id| id.0).collect()),
            (&new.networks, used(Side::New).filter_map(Peer::network).map(|id| id.0).collect()),
            same_network,
            &mut problems,
        );
        let multicasts = merge(
            "multicast group",
            (&old.multicasts, old_used().filter_map(Peer::multicast).map(|id| id.0).collect()),
            (&new.multicasts, used(Side::New).filter_map(Peer::multicast).map(|id| id.0).collect()),
            |a: &Multicast, b| (&a.cidrs, &a.macs) == (&b.cidrs, &b.macs),
            &mut problems,
        );
        let services = merge(
            "service",
            (&old.services, services(Side::Old)),
            (&new.services, services(Side::New)),
            |a: &Service, b| a.selectors == b.selectors,
            &mut problems,
        );
        for (device, _) in devices {
            if networks.list.iter().any(|network| network.name == device.name) {
                problems
                    .push(format!("`{}` is a device on one side and a network on the other", device.name));
            }
        }
        if !problems.is_empty() {
            return Err(NotApart::Shared(problems));
        }
        let rules = parts.into_iter().map(|part| part.rule(&networks, &multicasts, &services));
        let mut rules: Vec<Rule> = rules.collect();
        let place = |rule: &Rule| (rule.location.path.clone(), rule.location.line, rule.location.column);
        rules.sort_by_cached_key(|rule| (rule.holder, place(rule), rule.initiators.clone()));
        let remediation = old.remediation.iter().flat_map(|peer| self.everyone(*peer));
        let remediation: BTreeSet<Peer> =
            remediation.map(|peer| shared_peer(peer, Side::Old, &networks, &multicasts)).collect();
        let Labels { classes, zones, groups } = &self.labels;
        Ok(Policy {
            devices: devices.iter().map(|(device, side)| self.labelled(device, *side)).collect(),
            networks: networks.list,
            classes: classes.list.clone(),
            zones: zones.list.clone(),
            groups: groups.list.clone(),
            multicasts: multicasts.list,
            services: services.list,
            rules,
            remediation: remediation.into_iter().collect(),
        })
    }

    /// The device with its class, zone and groups as the result numbers them.
    fn labelled(&self, device: &Device, side: Side) -> Device {
        let Labels { classes, zones, groups } = &self.labels;
        let mut groups: Vec<GroupId> =
            device.groups.iter().filter_map(|id| groups.at(side, id.0)).map(GroupId).collect();
        groups.sort_unstable();
        Device {
            class: device.class.and_then(|id| classes.at(side, id.0)).map(ClassId),
            zone: device.zone.and_then(|id| zones.at(side, id.0)).map(ZoneId),
            groups,
            ..device.clone()
        }
    }

    /// What of the old rules is between devices that keep them.
    fn kept_rules(&self) -> impl Iterator<Item = Part<'p>> {
        let parts = self.old.rules.iter().map(|rule| Part {
            side: Side::Old,
            rule,
            holder: self.holder(rule.holder, Side::Old),
            initiators: self.ends(&rule.initiators, Side::Old).others,
            responders: self.ends(&rule.responders, Side::Old).others,
        });
        parts.filter(Part::allows)
    }

    /// What of the new rules has a named device at an end.
    fn taken_rules(&self) -> impl Iterator<Item = Part<'p>> {
        let parts = self.new.rules.iter().flat_map(|rule| {
            let (from, to) = (self.ends(&rule.initiators, Side::New), self.ends(&rule.responders, Side::New));
            let all = sorted(to.named.iter().chain(&to.others).copied().collect());
            let holder = self.holder(rule.holder, Side::New);
            let part =
                |initiators, responders| Part { side: Side::New, rule, holder, initiators, responders };
            [part(from.named, all), part(from.others, to.named)]
        });
        parts.filter(Part::allows)
    }

    fn policy(&self, side: Side) -> &'p Policy {
        match side {
            Side::Old => self.old,
            Side::New => self.new,
        }
    }

    /// The peers of one end as the result names them.
    fn ends(&self, peers: &[Peer], side: Side) -> Ends {
        let mut ends = Ends::default();
        for peer in peers {
            match peer {
                Peer::Device(id) => {
                    let name = self.policy(side).devices[id.0 as usize].name.as_str();
                    let to = if self.named.contains(name) { &mut ends.named } else { &mut ends.others };
                    to.extend(self.ids.get(name).map(|id| Peer::Device(*id)));
                }
                Peer::Class(_) | Peer::Zone(_) | Peer::Group(_) => self.members(*peer, side, &mut ends),
                Peer::Network(_) | Peer::Multicast(_) | Peer::Gateway | Peer::Broadcast | Peer::Any => {
                    ends.others.push(*peer);
                }
            }
        }
        Ends { named: sorted(ends.named), others: sorted(ends.others) }
    }

    /// A class, zone or group: on the side of the named devices the new one, which no other device is in; for the
    /// others the old one, or where its members are not the same, the members one by one.
    fn members(&self, peer: Peer, side: Side, ends: &mut Ends) {
        let means = |policy: &'p Policy, peer: Peer| -> BTreeSet<&'p str> {
            let devices = (0..).map(DeviceId).zip(&policy.devices);
            devices.filter(|(id, _)| policy.means(peer, *id)).map(|(_, d)| d.name.as_str()).collect()
        };
        let members = means(self.policy(side), peer);
        if side == Side::New && members.iter().any(|name| self.named.contains(*name)) {
            ends.named.extend(self.labels.peer(Side::New, peer));
        }
        let others: BTreeSet<&str> = (members.into_iter())
            .filter(|name| !self.named.contains(*name) && self.ids.contains_key(name))
            .collect();
        if others.is_empty() {
            return;
        }
        let as_kept = match side {
            Side::Old => Some(peer),
            Side::New => self.labels.of_the_same_name(peer),
        };
        let kept: Option<BTreeSet<&str>> = as_kept.map(|peer| {
            means(self.old, peer).into_iter().filter(|name| !self.named.contains(*name)).collect()
        });
        match as_kept.filter(|_| kept == Some(others.clone())) {
            Some(peer) => ends.others.extend(self.labels.peer(Side::Old, peer)),
            None => ends.others.extend(others.iter().map(|name| Peer::Device(self.ids[name]))),
        }
    }

    /// In whose name a rule stands in the result.
    fn holder(&self, holder: Holder, side: Side) -> Holder {
        let found = match holder {
            Holder::Device(id) => {
                let name = self.policy(side).devices[id.0 as usize].name.as_str();
                self.ids.get(name).copied().map(Holder::Device)
            }
            Holder::Class(id) => {
                let own = self.labels.classes.at(side, id.0);
                let kept = || {
                    self.labels
                        .classes
                        .same
                        .get(&id.0)
                        .and_then(|old| self.labels.classes.at(Side::Old, *old))
                };
                own.or_else(kept).map(|id| Holder::Class(ClassId(id)))
            }
            Holder::Conduit => None,
        };
        // A rule of a class that nobody here is in is one between the devices that it names.
        found.unwrap_or(Holder::Conduit)
    }

    /// Whoever a peer of the old quarantine list means, on either side.
    fn everyone(&self, peer: Peer) -> Vec<Peer> {
        match peer {
            Peer::Device(id) => {
                let name = self.old.devices[id.0 as usize].name.as_str();
                self.ids.get(name).map(|id| Peer::Device(*id)).into_iter().collect()
            }
            Peer::Class(_) | Peer::Zone(_) | Peer::Group(_) => {
                let taken = self.labels.taken_of_the_same_name(peer);
                self.labels.peer(Side::Old, peer).into_iter().chain(taken).collect()
            }
            Peer::Network(_) | Peer::Multicast(_) | Peer::Gateway | Peer::Broadcast | Peer::Any => vec![peer],
        }
    }
}

impl Part<'_> {
    fn allows(&self) -> bool {
        !self.initiators.is_empty() && !self.responders.is_empty()
    }

    fn rule(
        self,
        networks: &Merged<Network>,
        multicasts: &Merged<Multicast>,
        services: &Merged<Service>,
    ) -> Rule {
        let Part { side, rule, holder, initiators, responders } = self;
        // Of a part of a rule its author's words would say too much.
        let is_whole = initiators.len() == rule.initiators.len() && responders.len() == rule.responders.len();
        let peers = |list: Vec<Peer>| {
            sorted(list.into_iter().map(|peer| shared_peer(peer, side, networks, multicasts)).collect())
        };
        let services = rule.services.iter().map(|id| ServiceId(services.at(side, id.0)));
        let mut words = rule.words.clone().filter(|_| is_whole);
        for id in words.iter_mut().flat_map(|ends| ends.iter_mut()).flatten().flat_map(|word| &mut word.holds)
        {
            *id = NetworkId(networks.at(side, id.0));
        }
        Rule {
            holder,
            initiators: peers(initiators),
            responders: peers(responders),
            words,
            services: sorted(services.collect()),
            ..rule.clone()
        }
    }
}

/// A peer whose network or multicast group is numbered as in the result.
fn shared_peer(peer: Peer, side: Side, networks: &Merged<Network>, multicasts: &Merged<Multicast>) -> Peer {
    match peer {
        Peer::Network(id) => Peer::Network(NetworkId(networks.at(side, id.0))),
        Peer::Multicast(id) => Peer::Multicast(MulticastId(multicasts.at(side, id.0))),
        Peer::Device(_)
        | Peer::Class(_)
        | Peer::Zone(_)
        | Peer::Group(_)
        | Peer::Gateway
        | Peer::Broadcast
        | Peer::Any => peer,
    }
}

fn same_network(a: &Network, b: &Network) -> bool {
    (&a.cidrs, &a.except, &a.names) == (&b.cidrs, &b.except, &b.names)
}

fn peer_names(policy: &Policy, peers: &[Peer]) -> BTreeSet<String> {
    peers.iter().map(|peer| policy.peer_name(*peer).into_owned()).collect()
}

/// Hardware addresses and addresses that a device of either side claims.
fn claims(devices: &[(&Device, Side)]) -> Vec<String> {
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    let mut problems = Vec::new();
    for (device, _) in devices {
        let macs = device.macs.iter().map(ToString::to_string);
        for claim in macs.chain(device.addresses.iter().map(ToString::to_string)) {
            let owner = owners.entry(claim.clone()).or_insert(&device.name);
            if *owner != device.name {
                problems.push(format!("`{claim}` would belong to `{owner}` and to `{}`", device.name));
            }
        }
    }
    problems
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort_unstable();
    list.dedup();
    list
}

#[cfg(test)]
mod tests;
