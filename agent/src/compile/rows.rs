//! Rules -> rows: one for each pair of names and each class of services that a rule permits.
//!
//! Of rules that overlap, the first in the order of the tables is the one that is counted, unless it holds only at times
//! and another always; where all hold at times, the row is open whenever one of them is.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_common::{
    layout::{MAX_SCHEDULES, RuleKey, RuleRow},
    lookup::{class, identity, shape},
};

use super::{
    Limits, NO_RULE, NamedPeer, TooLarge, dense, fits, identities::Identities, named::Named,
    services::Services,
};
use crate::model::{Policy, Rule, Schedule};

/// The rows of a policy.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) rows: BTreeMap<RuleKey, RuleRow>,
    pub(super) shapes: u32,
    /// Schedule `i` is `i + 1` in the rows: open whenever one of these is.
    pub(super) schedules: Vec<Vec<Schedule>>,
    pub(super) named: Vec<NamedPeer>,
}

/// Sets of schedules, numbered as they come.
#[derive(Default)]
pub(super) struct Interned {
    numbers: BTreeMap<BTreeSet<Schedule>, u32>,
    sets: Vec<BTreeSet<Schedule>>,
    /// Which numbers were made one.
    unions: BTreeMap<Vec<u32>, u32>,
}

impl Interned {
    fn number(&mut self, set: BTreeSet<Schedule>) -> u32 {
        if let Some(number) = self.numbers.get(&set) {
            return *number;
        }
        self.sets.push(set.clone());
        let number = dense(self.sets.len() - 1);
        self.numbers.insert(set, number);
        number
    }

    /// One number for whatever is open when one of these is; several, sorted.
    fn any(&mut self, numbers: &[u32]) -> u32 {
        if let Some(number) = self.unions.get(numbers) {
            return *number;
        }
        let all = numbers.iter().flat_map(|number| &self.sets[*number as usize - 1]);
        let union = all.cloned().collect();
        let number = self.number(union);
        self.unions.insert(numbers.to_vec(), number);
        number
    }
}

pub(super) fn of(
    policy: &Policy,
    rules: &[&Rule],
    identities: &Identities,
    services: &Services,
    limits: &Limits,
) -> Result<Rows, TooLarge> {
    let mut out = Rows::default();
    let mut interned = Interned::default();
    let mut permitted = Permitted::default();
    let mut named = Named::of(policy);
    for (index, rule) in rules.iter().enumerate() {
        let schedule =
            rule.schedule.clone().map_or(0, |schedule| interned.number(BTreeSet::from([schedule])));
        let row = RuleRow { rule: dense(index), schedule };
        let mut classes: Vec<u32> =
            rule.services.iter().flat_map(|service| services.classes_of(*service)).copied().collect();
        classes.sort_unstable();
        classes.dedup();
        for (from, initiators) in rule.initiators.iter().map(|peer| identities.of_peer(*peer)) {
            for (to, responders) in rule.responders.iter().map(|peer| identities.of_peer(*peer)) {
                let (initiators, responders) = (initiators.as_slice(), responders.as_slice());
                if initiators.is_empty() || responders.is_empty() {
                    continue;
                }
                out.shapes |= shape::of(from, to);
                let pairs = initiators.iter().flat_map(|from| responders.iter().map(move |to| (*from, *to)));
                for (initiator, responder) in pairs {
                    permitted.permit((initiator, responder), &classes, row, &mut interned, limits)?;
                }
            }
        }
        named.add(rule, row, &classes, &mut interned, limits)?;
    }
    out.rows = permitted.rows(&mut interned).into_iter().collect();
    out.named = named.peers(&mut interned, limits)?;
    out.shapes |= if out.named.is_empty() { 0 } else { shape::NAMED };
    for peer in &policy.remediation {
        let (kind, names) = identities.of_peer(*peer);
        out.shapes |= shape::of(shape::ANYONE, kind) | shape::of(kind, shape::ANYONE);
        for peer in names.as_slice().iter().copied() {
            let row = RuleRow { rule: NO_RULE, schedule: 0 };
            let class = class::REMEDIATION;
            out.rows.insert(RuleKey { initiator: identity::ANY, responder: peer, class }, row);
            out.rows.insert(RuleKey { initiator: peer, responder: identity::ANY, class }, row);
        }
    }
    fits("rows", out.rows.len(), limits.rows)?;
    out.number_schedules(&interned);
    let room = MAX_SCHEDULES - 1;
    if out.schedules.len() > room as usize {
        return Err(TooLarge { what: "schedules", needed: out.schedules.len() as u64, limit: room });
    }
    Ok(out)
}

/// Rows as rules come, sorted when there are many: a tree would be searched for each of them.
pub(super) struct Permitted {
    rows: Vec<(RuleKey, RuleRow)>,
    /// How many there may be before they are joined: rules that overlap must not take more room than their rows.
    bound: usize,
}

impl Default for Permitted {
    fn default() -> Self {
        Self { rows: Vec::new(), bound: JOIN }
    }
}

/// Rows before they are joined for the first time.
const JOIN: usize = 1 << 16;

impl Permitted {
    /// Notes what a rule permits between two.
    pub(super) fn permit(
        &mut self,
        (initiator, responder): (u32, u32),
        classes: &[u32],
        row: RuleRow,
        interned: &mut Interned,
        limits: &Limits,
    ) -> Result<(), TooLarge> {
        let key = |class| RuleKey { initiator, responder, class };
        self.rows.extend(classes.iter().map(|class| (key(*class), row)));
        // That there is some rule between two is so at any time.
        self.rows.push((key(class::PAIR), RuleRow { schedule: 0, ..row }));
        if self.rows.len() < self.bound {
            return Ok(());
        }
        self.join(interned);
        fits("rows", self.rows.len(), limits.rows)
    }

    /// One row for each key, in the order of the keys.
    pub(super) fn rows(mut self, interned: &mut Interned) -> Vec<(RuleKey, RuleRow)> {
        self.join(interned);
        self.rows
    }

    /// Leaves one row for each key, in the order of the keys.
    fn join(&mut self, interned: &mut Interned) {
        // Stable: of equal keys the first is that of the first rule.
        self.rows.sort_by_key(|(key, _)| *key);
        for of_one in self.rows.chunk_by_mut(|(a, _), (b, _)| a == b) {
            if of_one.len() == 1 {
                continue;
            }
            let always = of_one.iter().find(|(_, row)| row.schedule == 0).copied();
            let mut schedules: Vec<u32> = of_one.iter().map(|(_, row)| row.schedule).collect();
            schedules.sort_unstable();
            schedules.dedup();
            match (always, &schedules[..]) {
                (Some(always), _) => of_one[0] = always,
                (None, [_]) => {}
                (None, several) => of_one[0].1.schedule = interned.any(several),
            }
        }
        self.rows.dedup_by_key(|(key, _)| *key);
        self.bound = JOIN.max(self.rows.len() * 2);
    }
}

impl Rows {
    /// Gives the schedules that rows still have numbers in the order of what they say.
    fn number_schedules(&mut self, interned: &Interned) {
        if interned.sets.is_empty() {
            return;
        }
        let named = self.named.iter().flat_map(|peer| &peer.permissions).map(|permission| permission.row);
        let used: BTreeSet<u32> =
            self.rows.values().copied().chain(named).map(|row| row.schedule).filter(|s| *s != 0).collect();
        let mut sets: Vec<(&BTreeSet<Schedule>, u32)> =
            used.iter().map(|number| (&interned.sets[*number as usize - 1], *number)).collect();
        sets.sort();
        let numbers: BTreeMap<u32, u32> =
            sets.iter().enumerate().map(|(index, (_, old))| (*old, dense(index))).collect();
        let renumber = |row: &mut RuleRow| row.schedule = numbers.get(&row.schedule).copied().unwrap_or(0);
        self.rows.values_mut().for_each(renumber);
        let named = self.named.iter_mut().flat_map(|peer| &mut peer.permissions);
        named.for_each(|permission| renumber(&mut permission.row));
        self.schedules = sets.into_iter().map(|(set, _)| set.iter().cloned().collect()).collect();
        if !self.schedules.is_empty() {
            self.shapes |= shape::SCHEDULED;
        }
    }
}
