//! Ids that stay: a device or rule keeps its number, and with it its counters, from one revision to the next.
//!
//! Compiled tables number densely, so that the same policy gives the same tables. The kernel's counters
//! outlive revisions and agents, so their numbers must too. The registry is a pinned map from a name's
//! hash to its number: it exists exactly as long as the counters do.

use std::{
    collections::{self, BTreeMap, HashSet},
    fmt,
};

use aya::maps::{HashMap, Map, MapData, MapError};
use bulkhead_common::layout::MAX_INTERFACES;
use sha2::{Digest, Sha256};

use super::{Applied, error::DataplaneError, pins::Pins};
use crate::compile::{NO_RULE, RuleEntry, Tables};

const MAP: &str = "IDS";

type Name = [u8; 16];

/// What the registry must become for a revision. Until it is written, the numbers of the enforcing policy hold.
pub(super) struct Plan {
    pub(super) ids: StableIds,
    forgotten: Vec<Name>,
    named: Vec<(Name, u32)>,
}

/// The registry of stable ids.
pub(super) struct Ids {
    map: HashMap<MapData, Name, u32>,
    /// What the map holds: nobody else writes it, and reading it takes two calls for each name.
    known: collections::HashMap<Name, u32>,
    /// Whether the last change of it was written whole, and its policy came in force.
    is_whole: bool,
    limits: [u32; 2],
}

/// The kinds of things that have ids; each counts from 1.
#[derive(Clone, Copy)]
enum Kind {
    Device,
    Rule,
    Interface,
}

/// Dense ids of a revision translated into stable ones: index `dense - 1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StableIds {
    /// Of each device.
    pub devices: Vec<u32>,
    /// Of each rule.
    pub rules: Vec<u32>,
    /// Ids that were taken from names the policy no longer has; their counters must be cleared.
    pub reused_devices: Vec<u32>,
    /// See `reused_devices`.
    pub reused_rules: Vec<u32>,
}

impl StableIds {
    /// The stable id of a dense device id; 0 stays 0.
    pub fn device(&self, dense: u32) -> u32 {
        (dense as usize).checked_sub(1).and_then(|i| self.devices.get(i)).copied().unwrap_or(0)
    }

    /// The stable id of a dense rule id; 0 stays 0, and so does the mark of rows that are no rule's.
    pub fn rule(&self, dense: u32) -> u32 {
        if dense == NO_RULE {
            return NO_RULE;
        }
        (dense as usize).checked_sub(1).and_then(|i| self.rules.get(i)).copied().unwrap_or(0)
    }
}

impl Ids {
    /// Opens the pinned registry or makes one.
    pub(super) fn open(pins: &Pins, devices: u32, rules: u32) -> Result<Self, DataplaneError> {
        let path = pins.map(MAP);
        let fail = |act| move |source| DataplaneError::Map { act, map: MAP, source };
        if !path.exists() {
            let map: HashMap<MapData, Name, u32> =
                HashMap::create(devices.saturating_add(rules).saturating_add(MAX_INTERFACES), 0)
                    .map_err(fail("create"))?;
            map.pin(&path).map_err(|source| DataplaneError::PinMap { map: MAP, source })?;
        }
        let data = MapData::from_pin(&path).map_err(fail("open the pinned"))?;
        let map = HashMap::try_from(Map::from_map_data(data).map_err(fail("open the pinned"))?)
            .map_err(fail("open the pinned"))?;
        let known: Result<_, MapError> = map.iter().collect();
        Ok(Self { known: known.map_err(fail("read"))?, is_whole: true, map, limits: [devices, rules] })
    }

    /// Finds every device and rule of `tables` its stable id, new ones where there was none. Nothing is written: a
    /// policy that is refused must not take numbers from the one that goes on enforcing. `before` is what was applied
    /// last: what it has too keeps its number without a question.
    pub(super) fn plan(&self, tables: &Tables, before: Option<&Applied>) -> Result<Plan, DataplaneError> {
        // After half a change the numbers of what was applied may be others' by now.
        let before = before.filter(|_| self.is_whole);
        let mut plan = Plan { ids: StableIds::default(), forgotten: Vec::new(), named: Vec::new() };
        let mut kept =
            Kept::new(before.map(|applied| (&applied.tables.devices[..], &applied.ids.devices[..])));
        let devices: Vec<Wanted<'_>> = (tables.devices.iter())
            .map(|device| Wanted {
                id: kept.id(device, |a, b| a.name == b.name),
                holder: "",
                text: &device.name,
                nth: 0,
            })
            .collect();
        (plan.ids.devices, plan.ids.reused_devices) = self.assign(Kind::Device, &devices, &mut plan)?;
        let mut kept = Kept::new(before.map(|applied| (&applied.tables.rules[..], &applied.ids.rules[..])));
        let same = |a: &RuleEntry, b: &RuleEntry| a.text == b.text && a.holder == b.holder;
        let mut nth = 0;
        let mut last: Option<&RuleEntry> = None;
        let rules: Vec<Wanted<'_>> = (tables.rules.iter())
            .map(|rule| {
                // Rules that differ in when they hold alone are next to each other.
                nth = if last.is_some_and(|last| same(last, rule)) { nth + 1 } else { 0 };
                last = Some(rule);
                Wanted { id: kept.id(rule, same), holder: &rule.holder, text: &rule.text, nth }
            })
            .collect();
        (plan.ids.rules, plan.ids.reused_rules) = self.assign(Kind::Rule, &rules, &mut plan)?;
        Ok(plan)
    }

    /// Writes what was planned. Numbers that change hands are only then as before for [`Ids::plan`] when
    /// [`Ids::settle`] was told that the policy they are for is in force.
    pub(super) fn commit(&mut self, plan: &Plan) -> Result<(), DataplaneError> {
        let Plan { ids: _, forgotten, named } = plan;
        self.is_whole = false;
        for name in forgotten {
            let fail = |source| DataplaneError::Map { act: "clear", map: MAP, source };
            self.map.remove(name).map_err(fail)?;
            self.known.remove(name);
        }
        for (name, id) in named {
            let fail = |source| DataplaneError::Map { act: "write", map: MAP, source };
            self.map.insert(name, id, 0).map_err(fail)?;
            self.known.insert(*name, *id);
        }
        Ok(())
    }

    /// What was committed is in force.
    pub(super) fn settle(&mut self) {
        self.is_whole = true;
    }

    /// The stable id of each interface of a configuration.
    pub(super) fn interfaces(&mut self, names: &[String]) -> Result<(Vec<u32>, Vec<u32>), DataplaneError> {
        let mut plan = Plan { ids: StableIds::default(), forgotten: Vec::new(), named: Vec::new() };
        let names: Vec<Wanted<'_>> =
            names.iter().map(|name| Wanted { id: None, holder: "", text: name, nth: 0 }).collect();
        let assigned = self.assign(Kind::Interface, &names, &mut plan)?;
        self.commit(&plan)?;
        self.settle();
        Ok(assigned)
    }

    fn assign(
        &self,
        kind: Kind,
        names: &[Wanted<'_>],
        plan: &mut Plan,
    ) -> Result<(Vec<u32>, Vec<u32>), DataplaneError> {
        let (what, limit) = match kind {
            Kind::Device => ("devices", self.limits[0]),
            Kind::Rule => ("rules", self.limits[1]),
            Kind::Interface => ("interfaces", MAX_INTERFACES),
        };
        let mut ids = Vec::with_capacity(names.len());
        let mut new: Vec<(usize, Name)> = Vec::new();
        for (place, wanted) in names.iter().enumerate() {
            let id = wanted.id.or_else(|| {
                let name = wanted.hash(kind);
                let known = self.known.get(&name).copied();
                if known.is_none() {
                    new.push((place, name));
                }
                known
            });
            ids.push(id.unwrap_or(0));
        }
        if new.is_empty() {
            return Ok((ids, Vec::new()));
        }
        let of_kind = |(name, id): (&Name, &u32)| (name[0] == kind as u8).then_some((*id, *name));
        let ours: BTreeMap<u32, Name> = self.known.iter().filter_map(of_kind).collect();
        let wanted: HashSet<u32> = ids.iter().copied().collect();
        // First the numbers nobody ever had, then those of names that are gone.
        let mut free = (1..limit).filter(|id| !ours.contains_key(id));
        let mut gone = ours.iter().filter(|(id, _)| !wanted.contains(*id));
        let mut reused = Vec::new();
        let mut given: collections::HashMap<Name, u32> = collections::HashMap::new();
        for (place, name) in new {
            let id = match given.get(&name).copied().or_else(|| free.next()) {
                Some(id) => id,
                None => {
                    let (id, old) = gone.next().ok_or_else(|| DataplaneError::NoId {
                        what,
                        name: names[place].to_string(),
                        limit,
                    })?;
                    reused.push(*id);
                    plan.forgotten.push(*old);
                    *id
                }
            };
            if given.insert(name, id).is_none() {
                plan.named.push((name, id));
            }
            ids[place] = id;
        }
        Ok((ids, reused))
    }
}

/// A thing that needs a number.
struct Wanted<'a> {
    /// The number it is known to have.
    id: Option<u32>,
    /// Of a rule.
    holder: &'a str,
    text: &'a str,
    /// Of several alike, which one.
    nth: u32,
}

impl Wanted<'_> {
    fn hash(&self, kind: Kind) -> Name {
        match kind {
            Kind::Device | Kind::Interface => hash(kind, self.text.as_bytes()),
            Kind::Rule if self.nth == 0 => hash(kind, format!("{}\n{}", self.holder, self.text).as_bytes()),
            Kind::Rule => hash(kind, format!("{}\n{}\n{}", self.holder, self.text, self.nth).as_bytes()),
        }
    }
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.holder {
            "" => write!(f, "{}", self.text),
            holder => write!(f, "{holder}: {}", self.text),
        }
    }
}

/// The numbers of what was applied last. Both lists have one order, so what is in both is met in passing.
struct Kept<'a, T> {
    all: &'a [T],
    ids: &'a [u32],
    next: usize,
}

/// How far a list is searched for what it may not have.
const AHEAD: usize = 64;

impl<'a, T> Kept<'a, T> {
    fn new(before: Option<(&'a [T], &'a [u32])>) -> Self {
        let (all, ids) = before.unwrap_or_default();
        Self { all, ids, next: 0 }
    }

    /// The number of the same thing, if it is near.
    fn id(&mut self, wanted: &T, same: impl Fn(&T, &T) -> bool) -> Option<u32> {
        let near = self.all.iter().skip(self.next).take(AHEAD).position(|one| same(one, wanted))?;
        let place = self.next + near;
        self.next = place + 1;
        self.ids.get(place).copied()
    }
}

/// 120 bits of SHA-256 behind one byte for the kind.
fn hash(kind: Kind, name: &[u8]) -> Name {
    let digest = Sha256::digest(name);
    let mut out = [0; 16];
    out.copy_from_slice(&digest[..16]);
    out[0] = kind as u8;
    out
}
