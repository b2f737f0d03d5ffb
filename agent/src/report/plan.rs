//! What would change if another policy came into force: rules and devices in the words of their authors, who newly
//! reaches whom, conversations that would stop, and how full the tables become.
//!
//! In: the policy in force and the one to come, both with their tables, and what the kernel remembers of conversations. Out:
//! a [`Plan`], bounded whatever the size of the policies; [`Plan::text`] is the same for a person.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    compile::{Limits, Tables},
    diagnostic::Listed,
    model::{Criticality, Mode, Peer, Policy},
};

mod bounded;
mod capacity;
mod denials;
mod diff;
mod flows;
mod identity;
mod reach;
mod said;
mod text;
pub use capacity::Capacity;
pub use denials::{Denials, Drops, KnownCount, KnownDenial, Past, Uncounted};
pub use diff::{Became, Changes, Diff};
pub use flows::{Conversations, KnownFlow, Stopped, World};
pub use identity::IdentityChange;
pub use reach::{Reach, Reachability};
pub use said::{Definition, DeviceSaid, RuleSaid, Said};

/// Version of [`Plan`] as JSON: it grows when a key changes its meaning or goes.
pub const VERSION: u32 = 1;
/// Steps that are followed when nobody says how many.
pub const HOPS: u32 = 3;
/// The most steps that are followed.
pub const MOST_HOPS: u32 = 8;
/// Entries of each list; what is beyond is counted.
const LISTED: usize = 200;
/// Names of rules that a definition concerns.
const CONCERNED: usize = 5;

/// A policy with its tables.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// What it says.
    pub policy: &'a Policy,
    /// What the kernel would look up.
    pub tables: &'a Tables,
}

/// What is to be planned.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// Steps that are followed from host to host, 1 to [`MOST_HOPS`].
    pub hops: u32,
    /// What time it is.
    pub now: Timestamp,
    /// How much room the tables have.
    pub limits: Limits,
    /// What the kernel remembers, where a kernel was asked.
    pub flows: Option<(&'a [KnownFlow], &'a World)>,
    /// What the agent remembers of denied packets; looked at where a kernel was asked.
    pub past: &'a Past,
}

/// A device whose mode changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeChange {
    /// Its name.
    pub device: String,
    /// How much harm its stop does.
    pub criticality: String,
    /// The mode in force; none for a device that comes.
    pub before: Option<String>,
    /// The mode to come; none for a device that goes.
    pub after: Option<String>,
    /// Whether what is denied is dropped now, and would pass.
    pub leaves_enforcement: bool,
}

/// A device that comes, goes or becomes another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceChange {
    /// Its name.
    pub device: String,
    /// `added`, `removed` or `changed`.
    pub change: String,
    /// What it is, or of a device that changes what becomes different: before and after.
    pub properties: BTreeMap<String, [Option<String>; 2]>,
}

/// A network or service that comes, goes or becomes another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionChange {
    /// `network`, `service`, `multicast` or `remediation`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What it was; none when it comes.
    pub before: Option<String>,
    /// What it becomes; none when it goes.
    pub after: Option<String>,
    /// Rules of the new policy that name it, with their holders.
    pub concerns: Listed<String>,
}

/// Rules that come, go or become others.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuleChanges {
    /// Permissions that there were not.
    pub added: Listed<RuleSaid>,
    /// Permissions that there are no more.
    pub removed: Listed<RuleSaid>,
    /// Permissions that become others of the same holder.
    pub changed: Listed<Became>,
    /// The same permissions in other words.
    pub reworded: Listed<Became>,
}

/// What would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// See [`VERSION`].
    pub version: u32,
    /// The revision in force.
    pub before: String,
    /// The revision to come.
    pub after: String,
    /// Whether there is any difference, words included.
    pub changes: bool,
    /// Conversations that are allowed and would be dropped.
    pub breaks: usize,
    /// What becomes of the conversations of today; absent when no agent was asked.
    pub conversations: Option<Conversations>,
    /// Devices that are cut off if what is new about who they are is not true.
    pub identities: Listed<IdentityChange>,
    /// Kinds of denied packets that pass today and would be dropped, and devices of which some may be.
    pub drops: usize,
    /// What becomes of denied packets that pass today; absent when no agent was asked.
    pub denials: Option<Denials>,
    /// Devices for which denied traffic is dropped now, and would pass.
    pub released: usize,
    /// Devices whose mode changes, those that leave enforcement first.
    pub modes: Listed<ModeChange>,
    /// Rules.
    pub rules: RuleChanges,
    /// Devices, modes left out.
    pub devices: Listed<DeviceChange>,
    /// What rules refer to.
    pub definitions: Listed<DefinitionChange>,
    /// Who reaches whom.
    pub reachability: Reachability,
    /// How full the tables become.
    pub capacity: Vec<Capacity>,
    /// Rows of tables that come, go or say something else.
    pub rows_changed: usize,
    /// Warnings about the policy to come, rendered.
    pub warnings: String,
    /// What a person should know besides: a line each.
    pub notes: Vec<String>,
}

impl Plan {
    /// Whether something that passes today would be dropped, or may be.
    pub fn hurts(&self) -> bool {
        self.breaks + self.drops > 0
    }

    /// The same with warnings about the policy to come and with what else should be known, as far as there is room.
    #[must_use]
    pub fn remarked(self, warnings: String, mut notes: Vec<String>) -> Self {
        let more = notes.len().saturating_sub(LISTED);
        notes.truncate(LISTED);
        notes.extend((more > 0).then(|| format!("... and {more} more like these")));
        Self { warnings: bounded::lines(warnings), notes, ..self }
    }
}

/// Compares a policy with the one in force.
pub fn plan(old: Side<'_>, new: Side<'_>, asked: &Asked<'_>) -> Plan {
    let diff = Diff::between(&Said::of(old.policy), &Said::of(new.policy));
    let conversations =
        asked.flows.map(|(flows, world)| flows::judge((&old, &new), flows, world, asked.now, LISTED));
    let denials =
        asked.flows.map(|(_, world)| denials::judge((&old, &new), asked.past, world, asked.now, LISTED));
    let hops = asked.hops.clamp(1, MOST_HOPS);
    let modes = modes(&diff, old.policy, new.policy);
    let changes = !diff.is_empty() || old.tables.revision != new.tables.revision;
    let mut plan = Plan {
        version: VERSION,
        before: old.tables.revision.to_string(),
        after: new.tables.revision.to_string(),
        changes,
        breaks: conversations.as_ref().map_or(0, |found| found.stop.total()),
        conversations,
        identities: identity::changes((&old, &new), asked.flows, LISTED),
        drops: denials.as_ref().map_or(0, |found| found.drop.total() + found.unknown.total()),
        denials,
        released: modes.iter().filter(|change| change.leaves_enforcement).count(),
        modes: Listed::of(modes, LISTED),
        devices: Listed::of(devices(&diff), LISTED),
        definitions: definitions(&diff, old.policy, new.policy),
        reachability: reach::compare(old.policy, new.policy, hops, asked.now, LISTED),
        capacity: capacity::of(old.tables, new.tables, &asked.limits),
        rows_changed: capacity::rows_changed(old.tables, new.tables),
        rules: RuleChanges {
            added: Listed::of(diff.added, LISTED),
            removed: Listed::of(diff.removed, LISTED),
            changed: Listed::of(diff.changed, LISTED),
            reworded: Listed::of(diff.reworded, LISTED),
        },
        warnings: String::new(),
        notes: Vec::new(),
    };
    bounded::shorten(&mut plan);
    plan
}

fn modes(diff: &Diff, old: &Policy, new: &Policy) -> Vec<ModeChange> {
    let Changes { added, removed, changed } = &diff.devices;
    let names = changed.iter().filter(|(_, (a, b))| a.get(said::MODE) != b.get(said::MODE));
    let names = names.map(|(name, _)| name).chain(added.keys()).chain(removed.keys());
    let mut found: Vec<(bool, Criticality, ModeChange)> = Vec::new();
    for name in names {
        let [before, after] = [old, new].map(|policy| policy.device(name).map(|(_, device)| device));
        let criticality = after.or(before).map(|device| device.criticality).unwrap_or_default();
        let [was, is] = [before, after].map(|device| device.map(|device| device.mode));
        let leaves = was.is_some_and(Mode::enforces) && !is.is_some_and(Mode::enforces);
        // A device that comes or goes is told of as a device, unless somebody is protected no more.
        if (before.is_none() || after.is_none()) && !leaves {
            continue;
        }
        let word = |mode: Option<Mode>| mode.map(|mode| mode.name().to_owned());
        let change = ModeChange {
            device: name.clone(),
            criticality: criticality.name().to_owned(),
            before: word(was),
            after: word(is),
            leaves_enforcement: leaves,
        };
        found.push((!leaves, criticality, change));
    }
    found.sort_by(|a, b| (a.0, b.1, &a.2.device).cmp(&(b.0, a.1, &b.2.device)));
    found.into_iter().map(|(_, _, change)| change).collect()
}

fn devices(diff: &Diff) -> Vec<DeviceChange> {
    let Changes { added, removed, changed } = &diff.devices;
    let whole = |said: &DeviceSaid, side: usize| {
        let property = |(word, said): (&String, &String)| {
            let mut both = [None, None];
            both[side] = Some(said.clone());
            (word.clone(), both)
        };
        said.iter().map(property).collect()
    };
    let change = |device: &String, change: &str, properties| DeviceChange {
        device: device.clone(),
        change: change.to_owned(),
        properties,
    };
    let removed = removed.iter().map(|(name, said)| change(name, "removed", whole(said, 0)));
    let added = added.iter().map(|(name, said)| change(name, "added", whole(said, 1)));
    let changed = changed.iter().filter_map(|(name, (before, after))| {
        let words = before.keys().chain(after.keys().filter(|word| !before.contains_key(*word)));
        let words = words.filter(|word| *word != said::MODE && before.get(*word) != after.get(*word));
        let properties: BTreeMap<String, [Option<String>; 2]> =
            words.map(|word| (word.clone(), [before, after].map(|said| said.get(word).cloned()))).collect();
        (!properties.is_empty()).then(|| change(name, "changed", properties))
    });
    removed.chain(changed).chain(added).collect()
}

fn definitions(diff: &Diff, old: &Policy, new: &Policy) -> Listed<DefinitionChange> {
    let Changes { added, removed, changed } = &diff.definitions;
    let removed = removed.iter().map(|(what, before)| (what, Some(before), None));
    let changed = changed.iter().map(|(what, (before, after))| (what, Some(before), Some(after)));
    let added = added.iter().map(|(what, after)| (what, None, Some(after)));
    // Each entry takes a look at every rule: only those that are told.
    let Listed { list, more } = Listed::of(changed.chain(removed).chain(added).collect(), LISTED);
    let one = |(what, before, after): (&Definition, Option<&String>, Option<&String>)| {
        let Definition { kind, name } = what;
        DefinitionChange {
            kind: kind.clone(),
            name: name.clone(),
            before: before.cloned(),
            after: after.cloned(),
            concerns: concerned(if after.is_some() { new } else { old }, what),
        }
    };
    Listed { list: list.into_iter().map(one).collect(), more }
}

/// The rules of a policy that name something.
fn concerned(policy: &Policy, what: &Definition) -> Listed<String> {
    let names = |peer: &Peer| match peer {
        Peer::Network(id) => what.kind == "network" && policy.networks[id.0 as usize].name == what.name,
        Peer::Multicast(id) => what.kind == "multicast" && policy.multicasts[id.0 as usize].name == what.name,
        Peer::Device(_)
        | Peer::Class(_)
        | Peer::Zone(_)
        | Peer::Group(_)
        | Peer::Gateway
        | Peer::Broadcast
        | Peer::Any => false,
    };
    let service = policy.service(&what.name).map(|(id, _)| id).filter(|_| what.kind == "service");
    let rules = policy.rules.iter().filter(|rule| {
        rule.initiators.iter().chain(&rule.responders).any(names)
            || service.is_some_and(|id| rule.services.contains(&id))
    });
    let said = |rule: &crate::model::Rule| {
        let holder = policy.holder_name(rule.holder);
        format!("{holder} ({}:{})", rule.location.path, rule.location.line)
    };
    Listed::of(rules.map(said).collect(), CONCERNED)
}

#[cfg(test)]
mod tests;
