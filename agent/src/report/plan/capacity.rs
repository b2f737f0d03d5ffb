//! How full the kernel's tables become, and how much of them a change touches. In: the tables before and after. Out:
//! numbers.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
};

use bulkhead_common::{
    layout::{EndRow, MAX_SCHEDULES, RuleKey, RuleRow},
    lookup::identity,
};
use serde::{Deserialize, Serialize};

use crate::compile::{Limits, NO_RULE, Tables};

/// How much of something a policy needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// What of.
    pub what: String,
    /// The policy before needs so many.
    pub before: usize,
    /// The policy after needs so many.
    pub after: usize,
    /// There is room for so many.
    pub limit: u32,
    /// How full that is before, percent, rounded up.
    pub percent_before: u32,
    /// How full that is after, percent, rounded up.
    pub percent_after: u32,
}

pub(super) fn of(old: &Tables, new: &Tables, limits: &Limits) -> Vec<Capacity> {
    type Count = fn(&Tables) -> usize;
    let all: [(&str, Count, u32); 9] = [
        ("devices", |t| t.devices.len(), limits.devices),
        ("rules", |t| t.rules.len(), limits.rules),
        ("schedules", |t| t.schedules.len(), MAX_SCHEDULES - 1),
        ("rows of rules", |t| t.rows.len(), limits.rows),
        ("rows of hardware addresses", |t| t.macs.len(), limits.rows),
        ("rows of addresses", |t| t.addresses.len(), limits.rows),
        ("rows of networks", |t| t.networks.len(), limits.rows),
        ("rows of services", |t| t.services.len(), limits.rows),
        ("rows of leases", |t| t.leased.len(), limits.rows),
    ];
    let one = |(what, count, limit): (&str, Count, u32)| {
        let (before, after) = (count(old), count(new));
        let percent = |n: usize| {
            let percent = (n as u64).saturating_mul(100).div_ceil(u64::from(limit).max(1));
            u32::try_from(percent).unwrap_or(u32::MAX)
        };
        let what = what.to_owned();
        Capacity {
            percent_before: percent(before),
            percent_after: percent(after),
            what,
            before,
            after,
            limit,
        }
    };
    all.into_iter().map(one).collect()
}

/// Numbers that mean the same in both tables: a device by its name and a rule by its holder and text, as the data path
/// keeps them from one revision to the next.
struct Lasting<'t> {
    devices: HashMap<&'t str, u32>,
    rules: HashMap<(&'t str, &'t str), u32>,
    segments: HashMap<&'t str, u16>,
}

impl<'t> Lasting<'t> {
    fn of(tables: [&'t Tables; 2]) -> Self {
        let mut found = Self { devices: HashMap::new(), rules: HashMap::new(), segments: HashMap::new() };
        for tables in tables {
            for device in &tables.devices {
                let next = u32::try_from(found.devices.len() + 1).unwrap_or(u32::MAX);
                found.devices.entry(&device.name).or_insert(next);
            }
            for rule in &tables.rules {
                let next = u32::try_from(found.rules.len() + 1).unwrap_or(u32::MAX);
                found.rules.entry((&rule.holder, &rule.text)).or_insert(next);
            }
            for name in &tables.segments {
                let next = u16::try_from(found.segments.len() + 1).unwrap_or(u16::MAX);
                found.segments.entry(name).or_insert(next);
            }
        }
        found
    }

    fn device(&self, tables: &Tables, id: u32) -> u32 {
        tables.device(id).and_then(|device| self.devices.get(&*device.name)).copied().unwrap_or(0)
    }

    fn segment(&self, tables: &Tables, at: u16) -> u16 {
        let name = usize::from(at).checked_sub(1).and_then(|at| tables.segments.get(at));
        name.and_then(|name| self.segments.get(&**name)).copied().unwrap_or(0)
    }

    fn end(&self, tables: &Tables, name: u32) -> u32 {
        if name & identity::DEVICE == 0 {
            return name;
        }
        identity::DEVICE | self.device(tables, name & !identity::DEVICE)
    }

    fn rules(&self, tables: &Tables) -> Vec<(RuleKey, RuleRow)> {
        let ids: Vec<u32> = tables
            .rules
            .iter()
            .map(|rule| self.rules.get(&(&*rule.holder, &*rule.text)).copied().unwrap_or(0))
            .collect();
        let rows = tables.rows.iter().map(|(key, row)| {
            let RuleKey { initiator, responder, class } = *key;
            let key = RuleKey {
                initiator: self.end(tables, initiator),
                responder: self.end(tables, responder),
                class,
            };
            let rule = match row.rule {
                NO_RULE => NO_RULE,
                dense => (dense as usize).checked_sub(1).and_then(|at| ids.get(at)).copied().unwrap_or(0),
            };
            (key, RuleRow { rule, ..*row })
        });
        sorted(rows.collect())
    }

    fn ends<K: Copy>(&self, tables: &Tables, ends: &BTreeMap<K, EndRow>) -> Vec<(K, EndRow)> {
        let rows = ends.iter().map(|(key, row)| {
            let (device, segment) = (self.device(tables, row.device), self.segment(tables, row.segment));
            (*key, EndRow { device, segment, ..*row })
        });
        rows.collect()
    }
}

fn sorted<K: Ord, V>(mut rows: Vec<(K, V)>) -> Vec<(K, V)> {
    rows.sort_by(|(a, _), (b, _)| a.cmp(b));
    rows
}

/// How many rows differ between two policies: come, go, or say something else.
pub(super) fn rows_changed(old: &Tables, new: &Tables) -> usize {
    let lasting = Lasting::of([old, new]);
    let plain = |tables: &Tables| {
        let Tables { networks, leased, services, .. } = tables;
        let networks: Vec<_> = networks.iter().map(|(a, b)| (*a, *b)).collect();
        let leased: Vec<_> = leased.iter().map(|(a, b)| (*a, *b)).collect();
        let services: Vec<_> = services.iter().map(|(a, b)| (*a, *b)).collect();
        (networks, leased, services)
    };
    let (before, after) = (plain(old), plain(new));
    differing(&lasting.rules(old), &lasting.rules(new))
        + differing(&lasting.ends(old, &old.macs), &lasting.ends(new, &new.macs))
        + differing(&lasting.ends(old, &old.addresses), &lasting.ends(new, &new.addresses))
        + differing(&before.0, &after.0)
        + differing(&before.1, &after.1)
        + differing(&before.2, &after.2)
}

/// Rows of two sorted tables that are not the same in both.
fn differing<K: Ord, V: PartialEq>(old: &[(K, V)], new: &[(K, V)]) -> usize {
    let (mut at, mut to, mut count) = (0, 0, 0);
    while at < old.len() || to < new.len() {
        let order = match (old.get(at), new.get(to)) {
            (Some((a, _)), Some((b, _))) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        let same = order.is_eq() && old[at].1 == new[to].1;
        count += usize::from(!same);
        at += usize::from(order.is_le());
        to += usize::from(order.is_ge());
    }
    count
}
