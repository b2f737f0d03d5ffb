//! Keeps the program on the configured NICs, whatever happens to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Instant,
};

use bulkhead_common::lookup::{DIRECTLY, DIRECTLY_V4, NOWHERE};

use super::{
    nic::{Nic, runs},
    pairs::Pairs,
};
use crate::{
    config::{Config, Forward},
    dataplane::{Attached, Dataplane, DataplaneError, foreign, probe},
};

/// All configured interfaces, and the gateway's own addresses.
pub(super) struct Nics {
    pub(super) list: Vec<Nic>,
    pairs: Pairs,
    pub(super) addresses: BTreeSet<IpAddr>,
    /// Whether the kernel forwards IPv6, as it was at the last look.
    routes_v6: bool,
    /// Whether there was a look already.
    looked: bool,
    /// Interfaces that an earlier configuration left enforcing.
    pub(super) left_over: Vec<String>,
    /// NICs that have another name than the one they were attached by: index and that name.
    renamed: BTreeMap<u32, String>,
    /// The same as sentences, for those that are still enforced under a name that is not configured.
    pub(super) moved: Vec<String>,
}

impl Nics {
    /// The interfaces of a configuration, none of them attached yet.
    pub(super) fn new(config: &Config, dataplane: &mut Dataplane) -> Result<Self, DataplaneError> {
        let names: Vec<String> = config.interfaces.iter().map(|i| i.name.clone()).collect();
        let counters = dataplane.interface_counters(&names)?;
        let list = config.interfaces.iter().zip(counters);
        let list = list.map(|(interface, counter)| {
            Nic::new(interface.clone(), config.segments_on(&interface.name), counter)
        });
        let list: Vec<Nic> = list.collect();
        dataplane.follow_names()?;
        let mut nics = Self {
            pairs: Pairs::among(&list),
            list,
            addresses: probe::own_addresses()?,
            routes_v6: false,
            looked: false,
            left_over: Vec::new(),
            renamed: BTreeMap::new(),
            moved: Vec::new(),
        };
        nics.look_for_strays(dataplane, &probe::interfaces()?)?;
        Ok(nics)
    }

    /// Notes what is enforced under a name that is not configured.
    fn look_for_strays(
        &mut self,
        dataplane: &Dataplane,
        there: &[probe::Interface],
    ) -> Result<(), DataplaneError> {
        let Self { list, left_over, renamed, moved, .. } = self;
        *left_over = dataplane.pins().links()?;
        left_over.retain(|name| !list.iter().any(|nic| nic.config.name == *name));
        renamed.retain(|index, was| there.iter().any(|i| i.index == *index && i.name != *was));
        moved.clear();
        for (index, was) in renamed {
            let now = there.iter().find(|i| i.index == *index).map(|i| &i.name);
            if let Some(at) = left_over.iter().position(|name| Some(name) == now) {
                let now = left_over.remove(at);
                moved.push(format!("`{was}` is now called `{now}` and still enforced"));
            }
        }
        Ok(())
    }

    /// Names by interface index, for records.
    pub(super) fn names(&self) -> BTreeMap<u32, String> {
        let named = |nic: &Nic| nic.indexes().map(|i| (i, nic.config.name.clone())).collect::<Vec<_>>();
        self.list.iter().flat_map(named).collect()
    }

    /// Looks at every interface and attaches where our program is missing. Returns what changed, a
    /// sentence each. `heard` is when the agent learnt that there is something to look at. After a look that failed nothing leaves
    /// directly: nobody knows what it would pass by.
    pub(super) fn look_after(
        &mut self,
        dataplane: &mut Dataplane,
        heard: Instant,
    ) -> Result<Vec<String>, DataplaneError> {
        let looked = self.look_at(dataplane, heard);
        if let Err(error) = &looked {
            for nic in &mut self.list {
                if let Err(error) = nic.hand_over(dataplane, error) {
                    tracing::error!("`{}` may still forward directly: {error}", nic.config.name);
                }
            }
        }
        looked
    }

    fn look_at(&mut self, dataplane: &mut Dataplane, heard: Instant) -> Result<Vec<String>, DataplaneError> {
        self.routes_v6 = foreign::routes_v6();
        let there = probe::interfaces()?;
        let programs = dataplane.programs()?;
        let mut news = Vec::new();
        let configured: BTreeSet<String> = self.list.iter().map(|nic| nic.config.name.clone()).collect();
        for nic in &mut self.list {
            news.extend(nic.note_ports(&there, &configured));
            news.extend(nic.preflight(&there));
        }
        let changed = !self.list.iter().all(|nic| nic.is_well(&there, &programs));
        if changed {
            dataplane.follow_names()?;
        }
        let indexes: BTreeMap<&str, u32> = there.iter().map(|i| (i.name.as_str(), i.index)).collect();
        for nic in &mut self.list {
            if nic.is_well(&there, &programs) {
                nic.mtu = nic.found(&there).map_or(0, |i| i.mtu);
                continue;
            }
            let found = nic.found(&there);
            let index = found.map(|i| i.index);
            let ran = found.is_some_and(|i| runs(i, &programs).is_some());
            if let Some(before) = nic.index
                && index != nic.index
            {
                self.renamed.insert(before, nic.config.name.clone());
            }
            if index.is_none() || index != nic.index {
                nic.open_since = None;
            }
            nic.index = index;
            nic.forwards = false;
            nic.mtu = found.map_or(0, |i| i.mtu);
            nic.refused = None;
            let since = *nic.open_since.get_or_insert(heard);
            let name = nic.config.name.clone();
            // The rows first: not one packet is judged by the defaults of an unknown interface.
            let rows = nic.write_rows(dataplane, redirect(nic, &indexes, self.routes_v6));
            match rows.and_then(|_| nic.attach(dataplane)) {
                Ok(Attached::New) if self.looked => {
                    let open = since.elapsed();
                    news.push(format!("attached to `{name}`, open for {open:.1?} since it came"));
                    nic.open = Some(open);
                }
                // How long it was there before the agent came is not known.
                Ok(Attached::New) => news.push(format!("attached to `{name}`")),
                Ok(Attached::Adopted) => {
                    news.push(format!("took over the program on `{name}`, for an MTU of {}", nic.mtu));
                }
                Err(error) => {
                    let problem = error.to_string();
                    if nic.problem.as_ref() != Some(&problem) {
                        news.push(problem.clone());
                    }
                    // What ran goes on; the reason stays until the MTU changes again.
                    nic.refused = ran.then(|| problem.clone());
                    nic.problem = Some(problem);
                }
            }
        }
        self.looked = true;
        if !news.is_empty() {
            // Rows of NICs that are gone would fill the table in the end.
            let present = self.list.iter().flat_map(|nic| nic.indexes().map(|index| nic.rows(index, 0)));
            let keep = present.flatten().map(|(key, _)| key).collect();
            dataplane.retain_segments(&keep)?;
        }
        // Only what was just changed must be looked at again.
        let later = if changed { Some(probe::interfaces()?) } else { None };
        let there = later.as_ref().unwrap_or(&there);
        let programs = dataplane.programs()?;
        let foreign = self.foreign_to_forwarding();
        let mut written = Ok(());
        for nic in &mut self.list {
            nic.note_running(there, &programs);
            nic.note_forwarding(there, foreign.as_deref());
            // What is well may have a peer that came back, or a bond another port.
            // One that fails is no reason to leave the others as they were.
            let wrote = nic.write_rows(dataplane, redirect(nic, &indexes, self.routes_v6));
            written = written.and(wrote.map(drop));
        }
        written?;
        news.extend(self.pairs.tend(&mut self.list, there, Instant::now()));
        if changed || !self.renamed.is_empty() {
            self.look_for_strays(dataplane, there)?;
        }
        Ok(news)
    }

    /// What is on this gateway that packets sent directly would pass by, and must not; or that there is no way for them.
    fn foreign_to_forwarding(&self) -> Option<String> {
        let obstacles = match self.list.iter().filter(|nic| nic.config.forward == Forward::Direct).count() {
            0 => Vec::new(),
            1 => vec!["no other interface forwards directly".to_owned()],
            _ => foreign::obstacles(),
        };
        (!obstacles.is_empty()).then(|| obstacles.join("; "))
    }

    /// Whether the kernel has begun or ceased to forward IPv6 since the last look.
    pub(super) fn has_other_forwarding(&self) -> bool {
        foreign::routes_v6() != self.routes_v6
    }

    /// Leaves the links as somebody should find them who has no agent.
    pub(super) fn leave(&self) -> Result<Vec<String>, DataplaneError> {
        Ok(self.pairs.lift(&self.list, &probe::interfaces()?))
    }

    /// The gateway's own addresses, if they are others than those that were applied.
    pub(super) fn changed_addresses(&self) -> Result<Option<BTreeSet<IpAddr>>, DataplaneError> {
        let now = probe::own_addresses()?;
        Ok((now != self.addresses).then_some(now))
    }
}

/// Where what passes an interface goes.
fn redirect(nic: &Nic, indexes: &BTreeMap<&str, u32>, routes_v6: bool) -> u32 {
    match &nic.config.pair {
        Some(pair) => indexes.get(pair.peer.as_str()).copied().unwrap_or(NOWHERE),
        None if nic.forwards && routes_v6 => DIRECTLY,
        None if nic.forwards => DIRECTLY_V4,
        None => 0,
    }
}
