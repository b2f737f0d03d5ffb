//! Ids that stay: a device or rule keeps its number, and with it its counters, from one revision to the next.
//!
//! Compiled tables number densely, so that the same policy gives the same tables. The kernel's counters
//! outlive revisions and agents, so their numbers must too. The registry is a pinned map from a name's
//! hash to its number: it exists exactly as long as the counters do.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::{HashMap, Map, MapData, MapError};
use bulkhead_common::layout::MAX_INTERFACES;
use sha2::{Digest, Sha256};

use super::{error::DataplaneError, pins::Pins};
use crate::compile::{NO_RULE, Tables};

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
    known: BTreeMap<Name, u32>,
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
        Ok(Self { known: known.map_err(fail("read"))?, map, limits: [devices, rules] })
    }

    /// Finds every device and rule of `tables` its stable id, new ones where there was none. Nothing is written: a
    /// policy that is refused must not take numbers from the one that goes on enforcing.
    pub(super) fn plan(&self, tables: &Tables) -> Result<Plan, DataplaneError> {
        let known = &self.known;
        let devices: Vec<String> = tables.devices.iter().map(|d| d.name.clone()).collect();
        let rules: Vec<String> = tables.rules.iter().map(|r| format!("{}\n{}", r.holder, r.text)).collect();
        let mut plan = Plan { ids: StableIds::default(), forgotten: Vec::new(), named: Vec::new() };
        (plan.ids.devices, plan.ids.reused_devices) =
            self.assign(Kind::Device, &devices, known, &mut plan.forgotten, &mut plan.named)?;
        (plan.ids.rules, plan.ids.reused_rules) =
            self.assign(Kind::Rule, &rules, known, &mut plan.forgotten, &mut plan.named)?;
        Ok(plan)
    }

    /// Writes what was planned.
    pub(super) fn commit(&mut self, plan: &Plan) -> Result<(), DataplaneError> {
        let Plan { ids: _, forgotten, named } = plan;
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

    /// The stable id of each interface of a configuration.
    pub(super) fn interfaces(&mut self, names: &[String]) -> Result<(Vec<u32>, Vec<u32>), DataplaneError> {
        let known = &self.known;
        let mut plan = Plan { ids: StableIds::default(), forgotten: Vec::new(), named: Vec::new() };
        let assigned = self.assign(Kind::Interface, names, known, &mut plan.forgotten, &mut plan.named)?;
        self.commit(&plan)?;
        Ok(assigned)
    }

    fn assign(
        &self,
        kind: Kind,
        names: &[String],
        known: &BTreeMap<Name, u32>,
        forgotten: &mut Vec<Name>,
        named: &mut Vec<(Name, u32)>,
    ) -> Result<(Vec<u32>, Vec<u32>), DataplaneError> {
        let (what, limit) = match kind {
            Kind::Device => ("devices", self.limits[0]),
            Kind::Rule => ("rules", self.limits[1]),
            Kind::Interface => ("interfaces", MAX_INTERFACES),
        };
        let hashes: Vec<Name> = names.iter().map(|name| hash(kind, name)).collect();
        let wanted: BTreeSet<Name> = hashes.iter().copied().collect();
        let ours: BTreeMap<u32, Name> =
            known.iter().filter(|(name, _)| name[0] == kind as u8).map(|(name, id)| (*id, *name)).collect();
        // First the numbers nobody ever had, then those of names that are gone.
        let mut free = (1..limit).filter(|id| !ours.contains_key(id));
        let mut gone = ours.iter().filter(|(_, name)| !wanted.contains(*name));
        let mut reused = Vec::new();
        let mut given: BTreeMap<Name, u32> = BTreeMap::new();
        let mut ids = Vec::with_capacity(names.len());
        for (name, text) in hashes.iter().zip(names) {
            let id = match known.get(name).or_else(|| given.get(name)) {
                Some(id) => *id,
                None => {
                    let id = match free.next() {
                        Some(id) => id,
                        None => {
                            let (id, old) = gone.next().ok_or_else(|| DataplaneError::NoId {
                                what,
                                name: text.replace('\n', ": "),
                                limit,
                            })?;
                            reused.push(*id);
                            forgotten.push(*old);
                            *id
                        }
                    };
                    named.push((*name, id));
                    given.insert(*name, id);
                    id
                }
            };
            ids.push(id);
        }
        Ok((ids, reused))
    }
}

/// 120 bits of SHA-256 behind one byte for the kind.
fn hash(kind: Kind, name: &str) -> Name {
    let digest = Sha256::digest(name.as_bytes());
    let mut out = [0; 16];
    out.copy_from_slice(&digest[..16]);
    out[0] = kind as u8;
    out
}
