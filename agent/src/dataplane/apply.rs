//! A policy change between two packets: the new tables are built beside the old, one word is flipped.
//!
//! Each packet reads the word once and stays with the slot it found, so it is decided by exactly one
//! revision. Whatever fails before the flip leaves the old revision enforcing.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

use bulkhead_common::{
    layout::{Active, Head, InterfaceCounters, MAX_SCHEDULES, NamedKey, NamedRow, SLOTS, Traffic},
    reason::CODES,
};

use super::{
    Applied, Dataplane, DataplaneError, MapError, StableIds, kernel, monotonic_ns, read,
    slot::{Image, Moment, Slot},
    write,
};
use crate::compile::Tables;

impl Dataplane {
    /// Enforces `tables` from the next packet on. `gateway` are the gateway's own addresses; where a
    /// device claims one of them, the gateway's claim holds. `segments` are the numbers of the configuration's
    /// segments by their names.
    ///
    /// # Errors
    /// The old revision enforces unchanged when a table cannot be made or does not fit, or a device names a segment
    /// that there is not.
    pub fn apply(
        &mut self,
        tables: impl Into<Arc<Tables>>,
        gateway: &BTreeSet<IpAddr>,
        segments: &BTreeMap<String, u16>,
        moment: &Moment,
    ) -> Result<&Applied, DataplaneError> {
        let tables = tables.into();
        let segments = segment_ids(&tables, segments)?;
        let plan = self.ids.plan(&tables, self.applied.as_ref())?;
        let image = Image::of(&tables, &plan.ids, gateway, &segments, moment, self.spare_named);
        let old = self.active()?;
        let next = Active {
            slot: if old.generation == 0 { 0 } else { (old.slot + 1) % SLOTS },
            generation: old.generation.checked_add(1).unwrap_or(1),
            ..old.next_edition()
        };
        let begun = Instant::now();
        // Packets that chose this slot when it was last in force have left before anything in it changes.
        kernel::rcu_grace()?;
        // Until it is whole again, nothing is known of it: a failure has it made anew next time.
        let kept = self.slots[next.slot as usize].take();
        let (slot, written) = Slot::become_(kept, image)?;
        self.put(next.slot, &slot)?;
        self.inner_maps[next.slot as usize] = self.inner_maps(next.slot);
        self.write_deadlines(next.slot, &moment.deadlines)?;
        let head =
            Head { generation: next.generation, shapes: tables.shapes, revision: tables.revision.short() };
        self.heads.set(next.slot, head, 0).map_err(write("HEADS"))?;

        self.ids.commit(&plan)?;
        let ids = plan.ids;
        if !(ids.reused_devices.is_empty() && ids.reused_rules.is_empty()) {
            // What is remembered of packets of whoever had a number before is counted for him, but for those of the moment until the
            // flip.
            self.collect_or_warn();
        }
        self.clear_reused(&ids)?;
        self.active.set(0, next.word(), 0).map_err(write("ACTIVE"))?;

        self.ids.settle();

        let flip = begun.elapsed();
        self.slots[next.slot as usize] = Some(slot);
        self.in_force = Some(next.slot as usize);
        Ok(self.applied.insert(Applied { tables, ids, generation: next.generation, written, flip }))
    }

    /// Fills the slot of the next change with what is in force, so that the change writes no more than it changes.
    /// Packets notice nothing.
    ///
    /// # Errors
    /// When a table cannot be made; the next change makes it.
    pub fn rehearse(&mut self) -> Result<(), DataplaneError> {
        let Some(slot) = self.in_force.and_then(|slot| self.slots[slot].as_ref()) else { return Ok(()) };
        let next = (self.active()?.slot + 1) % SLOTS;
        if self.slots[next as usize].is_none() {
            let copy = slot.copy()?;
            // Packets that chose the slot when an earlier agent filled it have left before its tables are others.
            kernel::rcu_grace()?;
            self.put(next, &copy)?;
            self.inner_maps[next as usize] = self.inner_maps(next);
            self.slots[next as usize] = Some(copy);
        }
        Ok(())
    }

    /// Says anew until when the schedules in force are open, monotonic ns. Only what changed is written.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn reschedule(&mut self, deadlines: &[u64]) -> Result<(), DataplaneError> {
        match self.in_force {
            Some(slot) => {
                if self.write_deadlines(u32::try_from(slot).unwrap_or(0), deadlines)? {
                    self.edited()?;
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether anything changed.
    fn write_deadlines(&mut self, slot: u32, deadlines: &[u64]) -> Result<bool, DataplaneError> {
        let known = &mut self.deadlines[slot as usize];
        let mut changed = false;
        // Index 0 is the schedule that is always open.
        for (index, until) in (1..).zip(deadlines) {
            if known.get(&index) != Some(until) {
                self.schedules.set(slot * MAX_SCHEDULES + index, until, 0).map_err(write("SCHEDULES"))?;
                known.insert(index, *until);
                changed = true;
            }
        }
        Ok(changed)
    }

    /// Permits a device something at an address that it learned by name, from the next packet on; device and rule have
    /// their dense ids. `false` when there is no room, or no policy.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn learn_name(&mut self, key: NamedKey, row: NamedRow) -> Result<bool, DataplaneError> {
        let (Some(slot), Some(applied)) = (self.in_force, &self.applied) else { return Ok(false) };
        let Some(slot) = &mut self.slots[slot] else { return Ok(false) };
        let mut row = row;
        row.row.rule = applied.ids.rule(row.row.rule);
        let key = NamedKey { device: applied.ids.device(key.device), ..key };
        let known = slot.named.row(&key);
        let goes_on = known.is_some_and(|known| known.row == row.row && known.expires > monotonic_ns());
        let put = slot.named.insert(key, row, "NAMED")?;
        // A name that is asked for again changes no verdict: a device could make all of them be forgotten all the time.
        if put && !goes_on {
            self.edited()?;
        }
        Ok(put)
    }

    /// Takes back what [`Dataplane::learn_name`] permitted.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn forget_name(&mut self, key: NamedKey) -> Result<(), DataplaneError> {
        let (Some(slot), Some(applied)) = (self.in_force, &self.applied) else { return Ok(()) };
        let Some(slot) = &mut self.slots[slot] else { return Ok(()) };
        slot.named.remove(&NamedKey { device: applied.ids.device(key.device), ..key }, "NAMED")
    }

    /// Puts the inner tables that were made anew into a slot that no packet looks at.
    fn put(&mut self, at: u32, slot: &Slot) -> Result<(), DataplaneError> {
        let Self { macs, addresses, networks, flat, services, rules, named, .. } = self;
        // Each set waits for a grace period inside the kernel (maybe_wait_bpf_programs): all at once take as long as one.
        std::thread::scope(|scope| {
            let mut sets = Vec::new();
            macro_rules! set {
                ($($outer:ident $name:literal,)*) => {
                    $(if slot.$outer.is_new {
                        sets.push(scope.spawn(|| $outer.set(at, &slot.$outer.map, 0).map_err(write($name))));
                    })*
                };
            }
            set! {
                macs "MACS",
                addresses "ADDRESSES",
                networks "NETWORKS",
                flat "FLAT",
                services "SERVICES",
                rules "RULES",
                named "NAMED",
            }
            sets.into_iter().try_for_each(|set| set.join().expect("setting a map does not panic"))
        })
    }

    /// The slot and generation in force; generation 0 before the first policy.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn active(&self) -> Result<Active, DataplaneError> {
        let word = self.active.get(&0, 0).map_err(read("ACTIVE"))?;
        Ok(Active::from_word(word))
    }

    /// Makes packets forget every verdict that is remembered: something it may depend on was written.
    ///
    /// # Errors
    /// When the map cannot be read or written.
    pub(super) fn edited(&mut self) -> Result<(), DataplaneError> {
        let next = self.active()?.next_edition();
        self.active.set(0, next.word(), 0).map_err(write("ACTIVE"))
    }

    /// Generation and the start of the revision of each slot, as the kernel has them.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn heads(&self) -> Result<Vec<Head>, DataplaneError> {
        (0..SLOTS).map(|slot| self.heads.get(&slot, 0).map_err(read("HEADS"))).collect()
    }

    /// Which counters each interface has, in the order of `names`: the same ones for as long as the maps live.
    ///
    /// # Errors
    /// When more than 63 interfaces are configured, or a map cannot be written.
    pub fn interface_counters(&mut self, names: &[String]) -> Result<Vec<u32>, DataplaneError> {
        let (ids, reused) = self.ids.interfaces(names)?;
        for id in reused {
            zero(&mut self.port_counts, id, InterfaceCounters::default()).map_err(write("PORT_COUNTS"))?;
        }
        Ok(ids)
    }

    /// A number taken over from a forgotten name starts counting at zero.
    fn clear_reused(&mut self, ids: &StableIds) -> Result<(), DataplaneError> {
        for id in &ids.reused_devices {
            zero(&mut self.device_counts, *id, [0; CODES as usize]).map_err(write("DEVICE_COUNTS"))?;
        }
        for id in &ids.reused_rules {
            zero(&mut self.rule_counts, *id, Traffic::default()).map_err(write("RULE_COUNTS"))?;
        }
        Ok(())
    }
}

fn zero<V: aya::Pod>(
    map: &mut super::PerCpuArray<super::MapData, V>,
    index: u32,
    zero: V,
) -> Result<(), MapError> {
    let cpus = map.get(&index, 0)?.len();
    let values = aya::maps::PerCpuValues::try_from(vec![zero; cpus])?;
    map.set(index, values, 0)
}

/// The configuration's number of each segment of the tables, at its place in them plus one.
fn segment_ids(tables: &Tables, known: &BTreeMap<String, u16>) -> Result<Vec<u16>, DataplaneError> {
    let mut ids = vec![0];
    for name in &tables.segments {
        let unknown = || DataplaneError::NoSegment {
            name: name.clone(),
            known: known.keys().cloned().collect::<Vec<_>>().join("`, `"),
        };
        ids.push(known.get(name).copied().ok_or_else(unknown)?);
    }
    Ok(ids)
}
