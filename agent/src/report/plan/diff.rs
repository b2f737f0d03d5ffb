//! What two policies say differently, in their authors' words. In: two policies. Out: a [`Diff`], which applied to what the
//! old one says gives what the new one says.
//!
//! Rules are compared by what they permit; where they stand is no difference, and what else is written beside them is only
//! their wording.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, VecDeque},
};

use serde::{Deserialize, Serialize};

use super::said::{Definition, DeviceSaid, RuleSaid, Said};

/// Pairs of rules of one holder that are compared to find the ones that became each other.
const MOST_PAIRS: usize = 1 << 20;

/// What became of things that have names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes<K, V> {
    /// Only in the new policy.
    pub added: BTreeMap<K, V>,
    /// Only in the old one.
    pub removed: BTreeMap<K, V>,
    /// In both, and different: before and after.
    pub changed: BTreeMap<K, (V, V)>,
}

/// A rule before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Became {
    /// As the old policy has it.
    pub before: RuleSaid,
    /// As the new policy has it.
    pub after: RuleSaid,
}

/// The difference between two policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// Devices by name.
    pub devices: Changes<String, DeviceSaid>,
    /// Networks, services and whatever else rules refer to.
    pub definitions: Changes<Definition, String>,
    /// Permissions that there were not.
    pub added: Vec<RuleSaid>,
    /// Permissions that there are no more.
    pub removed: Vec<RuleSaid>,
    /// Permissions that became others of the same holder.
    pub changed: Vec<Became>,
    /// The same permissions in other words.
    pub reworded: Vec<Became>,
}

impl<K: Ord + Clone, V: Eq + Clone> Changes<K, V> {
    fn between(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>) -> Self {
        let only = |these: &BTreeMap<K, V>, those: &BTreeMap<K, V>| {
            let only = these.iter().filter(|(key, _)| !those.contains_key(key));
            only.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let both = old.iter().filter_map(|(key, before)| Some((key, before, new.get(key)?)));
        let changed = both.filter(|(_, before, after)| before != after);
        Self {
            added: only(new, old),
            removed: only(old, new),
            changed: changed.map(|(key, b, a)| (key.clone(), (b.clone(), a.clone()))).collect(),
        }
    }

    fn apply(&self, old: &BTreeMap<K, V>) -> BTreeMap<K, V> {
        let mut new = old.clone();
        self.removed.keys().for_each(|key| drop(new.remove(key)));
        new.extend(self.added.iter().map(|(key, value)| (key.clone(), value.clone())));
        new.extend(self.changed.iter().map(|(key, (_, after))| (key.clone(), after.clone())));
        new
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        let Self { added, removed, changed } = self;
        added.is_empty() && removed.is_empty() && changed.is_empty()
    }
}

impl Diff {
    /// What leads from one policy to the other.
    pub fn between(old: &Said, new: &Said) -> Self {
        let mut diff = Self {
            devices: Changes::between(&old.devices, &new.devices),
            definitions: Changes::between(&old.definitions, &new.definitions),
            added: Vec::new(),
            removed: Vec::new(),
            changed: Vec::new(),
            reworded: Vec::new(),
        };
        let (mut at, mut to) = (0, 0);
        while at < old.rules.len() || to < new.rules.len() {
            let order = match (old.rules.get(at), new.rules.get(to)) {
                (Some(a), Some(b)) => a.meaning().cmp(&b.meaning()),
                (Some(_), None) => Ordering::Less,
                (None, _) => Ordering::Greater,
            };
            let alike = |rules: &[RuleSaid], from: usize| {
                rules[from..].iter().take_while(|rule| rule.meaning() == rules[from].meaning()).count()
            };
            let before = if order.is_le() { alike(&old.rules, at) } else { 0 };
            let after = if order.is_ge() { alike(&new.rules, to) } else { 0 };
            diff.same_meaning(&old.rules[at..at + before], &new.rules[to..to + after]);
            (at, to) = (at + before, to + after);
        }
        diff.pair_up(|a, b| a.initiators == b.initiators && a.responders == b.responders);
        diff.pair_up(|a, b| {
            let common = |a: &[String], b: &[String]| a.iter().any(|name| b.contains(name));
            a.services == b.services
                && a.schedule == b.schedule
                && common(&a.initiators, &b.initiators)
                && common(&a.responders, &b.responders)
        });
        diff
    }

    /// Rules that permit the same: the same words stay, other words are a rewording, and the rest came or went.
    fn same_meaning(&mut self, old: &[RuleSaid], new: &[RuleSaid]) {
        let mut left: VecDeque<&RuleSaid> = VecDeque::new();
        let mut fresh: Vec<&RuleSaid> = new.iter().collect();
        for rule in old {
            match fresh.iter().position(|other| other.wording() == rule.wording()) {
                Some(same) => drop(fresh.remove(same)),
                None => left.push_back(rule),
            }
        }
        for after in fresh {
            match left.pop_front() {
                Some(before) => {
                    self.reworded.push(Became { before: before.clone(), after: after.clone() });
                }
                None => self.added.push(after.clone()),
            }
        }
        self.removed.extend(left.into_iter().cloned());
    }

    /// Joins a rule that went and one of the same holder that came, where they are alike.
    fn pair_up(&mut self, alike: impl Fn(&RuleSaid, &RuleSaid) -> bool) {
        let mut by_holder: BTreeMap<&str, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for (index, rule) in self.removed.iter().enumerate() {
            by_holder.entry(&rule.holder).or_default().0.push(index);
        }
        for (index, rule) in self.added.iter().enumerate() {
            by_holder.entry(&rule.holder).or_default().1.push(index);
        }
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        for (gone, mut came) in by_holder.into_values() {
            if gone.len().saturating_mul(came.len()) > MOST_PAIRS {
                continue;
            }
            for before in gone {
                let found = came.iter().position(|after| alike(&self.removed[before], &self.added[*after]));
                pairs.extend(found.map(|found| (before, came.remove(found))));
            }
        }
        pairs.sort_unstable();
        let became = pairs.iter().map(|(before, after)| Became {
            before: self.removed[*before].clone(),
            after: self.added[*after].clone(),
        });
        self.changed.extend(became);
        self.changed.sort_by(|a, b| a.after.cmp(&b.after));
        let keep = |rules: &mut Vec<RuleSaid>, paired: Vec<usize>| {
            let mut index = 0;
            rules.retain(|_| {
                index += 1;
                paired.binary_search(&(index - 1)).is_err()
            });
        };
        let mut after: Vec<usize> = pairs.iter().map(|(_, after)| *after).collect();
        after.sort_unstable();
        keep(&mut self.removed, pairs.iter().map(|(before, _)| *before).collect());
        keep(&mut self.added, after);
    }

    /// What the old policy says, changed so: what the new one says, places in files excepted.
    pub fn apply(&self, old: &Said) -> Said {
        let Self { devices, definitions, added, removed, changed, reworded } = self;
        let became = || changed.iter().chain(reworded);
        let mut gone: Vec<&RuleSaid> = removed.iter().chain(became().map(|rule| &rule.before)).collect();
        let mut rules: Vec<RuleSaid> = Vec::new();
        for rule in &old.rules {
            match gone.iter().position(|gone| gone.same(rule)) {
                Some(found) => drop(gone.swap_remove(found)),
                None => rules.push(rule.clone()),
            }
        }
        rules.extend(added.iter().chain(became().map(|rule| &rule.after)).cloned());
        rules.sort();
        Said { devices: devices.apply(&old.devices), definitions: definitions.apply(&old.definitions), rules }
    }

    /// Whether nothing changes, words included.
    pub fn is_empty(&self) -> bool {
        self.permits_the_same() && self.reworded.is_empty()
    }

    /// Whether no packet can be judged otherwise.
    pub fn permits_the_same(&self) -> bool {
        let Self { devices, definitions, added, removed, changed, reworded: _ } = self;
        devices.is_empty()
            && definitions.is_empty()
            && added.is_empty()
            && removed.is_empty()
            && changed.is_empty()
    }
}
