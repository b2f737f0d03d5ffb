//! A policy as its authors would read it aloud: names instead of ids, so that two policies can be laid side by side.
//!
//! In: a policy. Out: its devices, its rules and what they refer to, in words that mean the same in every policy.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use crate::model::{Device, Holder, Network, Policy, Rule, Selector, Word, spelled};

/// A device by its properties: the word of a policy file, and what stands there.
pub type DeviceSaid = BTreeMap<String, String>;

/// The property of a device by which its mode goes.
pub(super) const MODE: &str = "mode";

/// Something that rules refer to by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Definition {
    /// `network`, `service`, `multicast` or `remediation`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// A rule in words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleSaid {
    /// In whose allow list: `device NAME`, `class NAME` or `conduit`.
    pub holder: String,
    /// Who starts, sorted.
    pub initiators: Vec<String>,
    /// Who answers, sorted.
    pub responders: Vec<String>,
    /// Over what, sorted.
    pub services: Vec<String>,
    /// When it holds; none is always.
    pub schedule: Option<String>,
    /// Why it exists.
    pub comment: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// The change it was made under.
    pub ticket: Option<String>,
    /// `hand`, `learned` or `mud`.
    pub source: String,
    /// How many devices have it.
    pub devices: usize,
    /// `file:line`.
    pub place: String,
}

/// What a policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// By name.
    pub devices: BTreeMap<String, DeviceSaid>,
    /// What each is.
    pub definitions: BTreeMap<Definition, String>,
    /// Sorted.
    pub rules: Vec<RuleSaid>,
}

impl RuleSaid {
    fn of(policy: &Policy, rule: &Rule, members: &[usize]) -> Self {
        // What a group holds is a part of what the rule permits.
        let word = |word: &Word| match word.holds.as_slice() {
            [] => word.text.clone(),
            holds => {
                let names = holds.iter().map(|id| policy.networks[id.0 as usize].name.clone());
                format!("{} ({})", word.text, joined(names).unwrap_or_default())
            }
        };
        let [initiators, responders] = match &rule.words {
            Some(words) => [&words[0], &words[1]].map(|words| words.iter().map(word).collect()),
            None => policy.ends(rule).map(|names| {
                let mut names: Vec<String> = names.into_iter().map(Cow::into_owned).collect();
                names.sort();
                names
            }),
        };
        let services = rule.services.iter().map(|id| policy.services[id.0 as usize].name.clone());
        Self {
            holder: policy.holder_name(rule.holder),
            initiators,
            responders,
            services: services.collect(),
            schedule: rule.schedule.as_ref().map(ToString::to_string),
            comment: rule.comment.clone(),
            owner: rule.owner.clone(),
            ticket: rule.ticket.clone(),
            source: rule.source.name().to_owned(),
            devices: match rule.holder {
                Holder::Device(_) => 1,
                Holder::Class(id) => members[id.0 as usize],
                Holder::Conduit => 0,
            },
            place: format!("{}:{}", rule.location.path, rule.location.line),
        }
    }

    /// What it permits: all else is wording.
    pub fn meaning(&self) -> (&str, &[String], &[String], &[String], Option<&str>) {
        let Self { holder, initiators, responders, services, schedule, .. } = self;
        (holder, initiators, responders, services, schedule.as_deref())
    }

    /// What is written beside it.
    pub fn wording(&self) -> [Option<&str>; 4] {
        let Self { comment, owner, ticket, source, .. } = self;
        [comment.as_deref(), owner.as_deref(), ticket.as_deref(), Some(source)]
    }

    /// Whether it is the same rule in the same words, wherever it stands.
    pub fn same(&self, other: &Self) -> bool {
        self.meaning() == other.meaning() && self.wording() == other.wording()
    }

    /// `hmi -> plc modbus`.
    pub fn text(&self) -> String {
        let list = |names: &[String]| names.join(", ");
        format!("{} -> {} {}", list(&self.initiators), list(&self.responders), list(&self.services))
    }
}

impl Said {
    /// What a policy says.
    pub fn of(policy: &Policy) -> Self {
        let mut members = vec![0; policy.classes.len()];
        for class in policy.devices.iter().filter_map(|device| device.class) {
            members[class.0 as usize] += 1;
        }
        let mut rules: Vec<RuleSaid> =
            policy.rules.iter().map(|rule| RuleSaid::of(policy, rule, &members)).collect();
        rules.sort();
        let devices = policy.devices.iter().map(|device| (device.name.clone(), properties(policy, device)));
        Self { devices: devices.collect(), definitions: definitions(policy), rules }
    }
}

pub(super) fn properties(policy: &Policy, device: &Device) -> DeviceSaid {
    let Device {
        name: _,
        macs,
        addresses,
        dynamic,
        segment,
        vlan,
        zone: _,
        class: _,
        groups,
        criticality,
        mode,
        comment: _,
        location: _,
    } = device;
    let dhcp = dynamic.then(|| "dhcp".to_owned());
    let said = [
        ("mac", joined(macs.iter().map(ToString::to_string))),
        ("ip", joined(addresses.iter().map(ToString::to_string).chain(dhcp))),
        ("segment", segment.clone()),
        ("vlan", vlan.map(|vlan| vlan.to_string())),
        ("zone", policy.zone_of(device).map(str::to_owned)),
        ("class", policy.class_of(device).map(str::to_owned)),
        ("groups", joined(groups.iter().map(|id| policy.groups[id.0 as usize].name.clone()))),
        ("criticality", Some(criticality.name().to_owned())),
        (MODE, Some(mode.name().to_owned())),
    ];
    said.into_iter().filter_map(|(word, said)| Some((word.to_owned(), said?))).collect()
}

fn joined(all: impl Iterator<Item = String>) -> Option<String> {
    let all: Vec<String> = all.collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// What the built-in library defines is the same in every policy.
fn definitions(policy: &Policy) -> BTreeMap<Definition, String> {
    let definition = |kind: &str, name: &str| Definition { kind: kind.to_owned(), name: name.to_owned() };
    let networks =
        policy.networks.iter().map(|network| (definition("network", &network.name), extent(network)));
    let services = policy.services.iter().filter(|service| !service.built_in).map(|service| {
        let selectors = service.selectors.iter().copied().map(spelled);
        (definition("service", &service.name), joined(selectors).unwrap_or_default())
    });
    let multicasts = policy.multicasts.iter().filter(|group| !group.built_in).map(|group| {
        let members =
            group.cidrs.iter().map(ToString::to_string).chain(group.macs.iter().map(ToString::to_string));
        (definition("multicast", &group.name), joined(members).unwrap_or_default())
    });
    let peers = joined(policy.remediation.iter().map(|peer| policy.peer_name(*peer).into_owned()));
    let remediation = peers.map(|peers| (definition("remediation", "peers"), peers));
    networks.chain(services).chain(multicasts).chain(remediation).collect()
}

fn extent(network: &Network) -> String {
    let Network { name: _, cidrs, except, names, comment: _, location: _ } = network;
    let all = joined(cidrs.iter().map(ToString::to_string).chain(names.iter().cloned())).unwrap_or_default();
    match joined(except.iter().map(ToString::to_string)) {
        Some(except) => format!("{all} except {except}"),
        None => all,
    }
}

/// Ranges of ports in words.
pub(super) fn ranges(selectors: &[Selector]) -> String {
    joined(selectors.iter().copied().map(spelled)).unwrap_or_default()
}
