//! Whether the kernel still holds what the agent put there: every table of the slot in force, what packets read besides,
//! the word that names the slot, the pins, and the programs behind the links.
//!
//! Nobody else has business in these maps; whoever edits one by hand changes what passes. Out: what differs, each with
//! how often and where first. Reading a map takes a call or two for each entry.

use std::{collections::BTreeMap, fmt, path::Path};

use aya::maps::{MapError, MapInfo};
use bulkhead_common::{
    cache::key::INTERFACES,
    layout::{Active, Head, MAX_SCHEDULES, SegmentKey, SegmentRow, ServiceKey},
};

use super::{
    Dataplane, DataplaneError, Entry, Runtime, kernel,
    pins::maps,
    read,
    settings::{peers, ports},
};
use crate::diagnostic::counted;

/// Something in the kernel that is not as the agent left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// A map or a link by its name, such as `RULES` or `eth1`.
    pub what: String,
    /// How it differs.
    pub how: String,
    /// Whether writing the tables anew mends it.
    pub is_written: bool,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.how)
    }
}

/// The maps of which each slot has a table.
pub(super) const TABLES: [&str; 7] = ["MACS", "ADDRESSES", "NETWORKS", "FLAT", "SERVICES", "RULES", "NAMED"];

/// What the agent put into maps that outlive revisions.
#[derive(Debug, Default)]
pub(super) struct Placed {
    pub(super) runtime: Option<Runtime>,
    pub(super) segments: BTreeMap<SegmentKey, SegmentRow>,
}

impl Dataplane {
    /// Compares the kernel with what this process has put there; `links` are those that should lead to its program. Empty
    /// before the first policy. Both slots are compared: the one that is not in force is the next policy's.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn drift(&mut self, links: &[String]) -> Result<Vec<Drift>, DataplaneError> {
        let mut found = Vec::new();
        let (Some(at), Some(applied)) = (self.in_force, &self.applied) else { return Ok(found) };
        let index = u32::try_from(at).unwrap_or_default();
        let active = self.active()?;
        let wanted = Active { slot: index, generation: applied.generation, ..active };
        if active != wanted {
            found.push(drift("ACTIVE", format!("names {active:?}, not {wanted:?}")));
        }
        let head = Head {
            generation: applied.generation,
            shapes: applied.tables.shapes,
            revision: applied.tables.revision.short(),
        };
        if self.heads.get(&index, 0).map_err(read("HEADS"))? != head {
            found.push(drift("HEADS", "says something else of the slot in force".to_owned()));
        }
        found.extend(self.in_slot(at)?);
        for spare in (0..self.slots.len()).filter(|slot| *slot != at) {
            let there = self.in_slot(spare)?;
            if !there.is_empty() {
                // Nothing is built on it: the next policy makes its tables anew.
                self.distrust();
            }
            found.extend(there.into_iter().map(|drift| Drift {
                how: format!("{} (in the tables that the next policy would have changed)", drift.how),
                ..drift
            }));
        }
        self.besides(&mut found)?;
        let ours = self.programs()?;
        self.outside(&ours, links, &mut found);
        Ok(found)
    }

    /// What differs in one slot.
    fn in_slot(&self, at: usize) -> Result<Vec<Drift>, DataplaneError> {
        let mut found = Vec::new();
        let index = u32::try_from(at).unwrap_or_default();
        let Some(slot) = &self.slots[at] else { return Ok(found) };
        if let (Some(ours), Some(there)) = (self.inner_maps[at], self.inner_maps(index)) {
            for (name, (ours, there)) in TABLES.into_iter().zip(ours.into_iter().zip(there)) {
                if ours != there {
                    found.push(drift(name, "another table was put in its place".to_owned()));
                }
            }
        }
        found.extend(rows("MACS", slot.macs.rows(), slot.macs.map.iter())?);
        found.extend(rows("ADDRESSES", slot.addresses.rows(), slot.addresses.map.iter())?);
        let trie = slot.networks.map.iter().map(|row| row.map(|(k, v)| ((k.prefix_len(), k.data()), v)));
        found.extend(rows("NETWORKS", slot.networks.rows(), trie)?);
        let pages = (0..).zip(slot.flat.map.iter()).map(|(number, page)| page.map(|page| (number, page)));
        found.extend(rows("FLAT", slot.flat.rows(), pages)?);
        let trie = slot.services.map.iter().map(|row| row.map(|(k, v)| ((k.prefix_len(), k.data()), v)));
        found.extend(rows("SERVICES", slot.services.rows(), trie)?);
        found.extend(rows("RULES", slot.rules.rows(), slot.rules.map.iter())?);
        found.extend(rows("NAMED", slot.named.rows(), slot.named.map.iter())?);
        for (schedule, until) in &self.deadlines[at] {
            let there =
                self.schedules.get(&(index * MAX_SCHEDULES + schedule), 0).map_err(read("SCHEDULES"))?;
            if there != *until {
                found.push(drift("SCHEDULES", format!("schedule {schedule} ends at another time")));
            }
        }
        Ok(found)
    }

    /// The kernel's id of each table of a slot; `None` when the kernel does not tell.
    pub(super) fn inner_maps(&self, slot: u32) -> Option<[u32; TABLES.len()]> {
        let mut ids = [0; TABLES.len()];
        for (id, name) in ids.iter_mut().zip(TABLES) {
            *id = kernel::inner_map(&self.pins.map(name), slot).ok()?;
        }
        Some(ids)
    }

    /// Has the next [`Dataplane::apply`] write every row anew, whatever is thought to be in its slot. What is known of the
    /// slot in force stays, to be compared with.
    pub fn distrust(&mut self) {
        let others = (0..self.slots.len()).filter(|slot| Some(*slot) != self.in_force);
        for slot in others {
            self.slots[slot] = None;
            self.deadlines[slot].clear();
        }
    }

    /// Writes again what packets read besides the policy.
    ///
    /// # Errors
    /// When a map cannot be written.
    pub fn restore(&mut self) -> Result<(), DataplaneError> {
        if let Some(runtime) = self.placed.runtime.clone() {
            self.configure(&runtime)?;
        }
        let segments = self.placed.segments.clone();
        for (key, row) in &segments {
            self.set_segment(*key, *row)?;
        }
        self.retain_segments(&segments.into_keys().collect())?;
        self.redirect_all()
    }

    /// What packets read besides the policy.
    fn besides(&self, found: &mut Vec<Drift>) -> Result<(), DataplaneError> {
        let segments: Vec<_> = self.placed.segments.iter().map(|(key, row)| (*key, *row)).collect();
        found.extend(rows("SEGMENTS", &segments, self.segments.iter())?);
        let wanted: Vec<_> = (0..INTERFACES).map(|ifindex| (ifindex, self.redirect_of(ifindex))).collect();
        let there = (0..).zip(self.redirects.iter()).map(|(ifindex, to)| to.map(|to| (ifindex, to)));
        found.extend(rows("REDIRECTS", &wanted, there)?);
        let Some(runtime) = &self.placed.runtime else { return Ok(()) };
        if self.settings()? != runtime.settings {
            found.push(drift("SETTINGS", "timeouts or switches were changed".to_owned()));
        }
        let trusted: Vec<_> = runtime.trusted.iter().map(|key| (*key, 1)).collect();
        found.extend(rows("TRUSTED", &trusted, self.trusted.iter())?);
        let wanted: Vec<_> = peers(&runtime.management_peers).into_iter().collect();
        let there = self.management_peers.iter().map(|row| row.map(|(k, v)| ((k.prefix_len(), k.data()), v)));
        found.extend(rows("MGMT_PEERS", &wanted, there)?);
        let wanted: BTreeMap<(u32, ServiceKey), u32> = ports(&runtime.management_services)
            .iter()
            .map(|prefix| ((prefix.bits, prefix.key()), 1))
            .collect();
        let wanted: Vec<_> = wanted.into_iter().collect();
        let there = self.management_ports.iter().map(|row| row.map(|(k, v)| ((k.prefix_len(), k.data()), v)));
        found.extend(rows("MGMT_PORTS", &wanted, there)?);
        Ok(())
    }

    /// What is pinned, and what runs behind the links that should lead to a program of this agent.
    fn outside(&self, ours: &[(u32, Entry)], links: &[String], found: &mut Vec<Drift>) {
        let mut say = |what: &str, how: String| {
            found.push(Drift { what: what.to_owned(), how, is_written: false });
        };
        for spec in maps() {
            let pinned = identity(&self.pins.map(spec.name));
            match (pinned, self.map_ids.get(spec.name)) {
                (Some(there), Some(ours)) if there == *ours => {}
                (Some(_), _) => say(spec.name, "another map is pinned in its place".to_owned()),
                (None, _) => say(spec.name, "its pin is gone: the next agent would not find it".to_owned()),
            }
        }
        for name in links {
            match kernel::link_info(&self.pins.link(name)) {
                Ok(link) if ours.iter().any(|(id, _)| *id == link.program) => {}
                Ok(link) => say(
                    name,
                    format!("program {} is behind its link, which is none of this agent", link.program),
                ),
                Err(error) => say(name, format!("its link cannot be looked at: {error}")),
            }
        }
    }
}

/// The kernel's id of each pinned map.
pub(super) fn identities(pins: &super::Pins) -> BTreeMap<&'static str, u32> {
    maps().iter().filter_map(|spec| Some((spec.name, identity(&pins.map(spec.name))?))).collect()
}

fn identity(path: &Path) -> Option<u32> {
    MapInfo::from_pin(path).ok().map(|info| info.id())
}

fn drift(what: &str, how: String) -> Drift {
    Drift { what: what.to_owned(), how, is_written: true }
}

/// Compares what is wanted, sorted by key, with what is there in any order.
fn rows<K: Ord + Copy + fmt::Debug, V: PartialEq + Copy + fmt::Debug>(
    map: &'static str,
    wanted: &[(K, V)],
    there: impl Iterator<Item = Result<(K, V), MapError>>,
) -> Result<Option<Drift>, DataplaneError> {
    let (mut changed, mut foreign, mut same) = (Vec::new(), Vec::new(), 0);
    for row in there {
        let (key, value) = match row {
            Ok(row) => row,
            // It was taken out while the map was read: it counts as missing.
            Err(MapError::KeyNotFound) => continue,
            Err(source) => return Err(read(map)(source)),
        };
        match wanted.binary_search_by(|(known, _)| known.cmp(&key)) {
            Ok(at) if wanted[at].1 == value => same += 1,
            Ok(_) => changed.push(key),
            Err(_) => foreign.push(key),
        }
    }
    let missing = wanted.len().saturating_sub(same + changed.len());
    let mut said = Vec::new();
    if missing > 0 {
        said.push(format!("{} missing", counted(missing, "row")));
    }
    for (keys, word) in [(changed, "changed"), (foreign, "not the agent's")] {
        if let Some(first) = keys.iter().min() {
            said.push(format!("{} {word}, the first {first:?}", counted(keys.len(), "row")));
        }
    }
    Ok((!said.is_empty()).then(|| drift(map, said.join("; "))))
}
