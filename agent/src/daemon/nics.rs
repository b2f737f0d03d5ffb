//! Keeps the program on the configured NICs, whatever happens to them.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use bulkhead_common::layout::InterfaceRow;

use crate::{
    config::{self, Config},
    dataplane::{AttachMode, Attached, Dataplane, DataplaneError, probe},
};

/// One configured interface as it is now.
pub(super) struct Nic {
    pub(super) config: config::Interface,
    /// Which counters are its own.
    pub(super) counter: u32,
    /// Its index while it exists.
    pub(super) index: Option<u32>,
    /// In which mode our program runs on it.
    pub(super) attached: Option<AttachMode>,
    /// Why it is not as configured.
    pub(super) problem: Option<String>,
    /// Since when it has been known to be there without our program.
    open_since: Option<Instant>,
    /// How long it was, the last time it came while the agent ran.
    pub(super) open: Option<Duration>,
}

/// What became of a configured interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NicState {
    /// Our program runs on it.
    Enforced,
    /// It is there, and our program is not on it.
    Open,
    /// There is no interface of that name.
    Missing,
}

impl Nic {
    pub(super) fn state(&self) -> NicState {
        match (self.index, self.attached) {
            (None, _) => NicState::Missing,
            (Some(_), None) => NicState::Open,
            (Some(_), Some(_)) => NicState::Enforced,
        }
    }
}

impl NicState {
    /// The word in `status`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Open => "open",
            Self::Missing => "missing",
        }
    }
}

/// All configured interfaces, and the gateway's own addresses.
pub(super) struct Nics {
    pub(super) list: Vec<Nic>,
    pub(super) addresses: std::collections::BTreeSet<Ipv4Addr>,
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
        let list = config.interfaces.iter().zip(counters).map(|(interface, counter)| Nic {
            config: interface.clone(),
            counter,
            index: None,
            attached: None,
            problem: None,
            open_since: None,
            open: None,
        });
        let list = list.collect();
        dataplane.follow_names()?;
        let mut nics = Self {
            list,
            addresses: probe::own_addresses()?,
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
        self.list.iter().filter_map(|nic| Some((nic.index?, nic.config.name.clone()))).collect()
    }

    /// Looks at every interface and attaches where our program is missing. Returns what changed, a
    /// sentence each. `heard` is when the agent learnt that there is something to look at.
    pub(super) fn look_after(
        &mut self,
        dataplane: &mut Dataplane,
        heard: Instant,
    ) -> Result<Vec<String>, DataplaneError> {
        let there = probe::interfaces()?;
        let ours = dataplane.program_id();
        let mut news = Vec::new();
        let as_it_was = |nic: &Nic| {
            let found = there.iter().find(|i| i.name == nic.config.name);
            found.is_some_and(|i| {
                Some(i.index) == nic.index && i.xdp.is_some_and(|xdp| Some(xdp.program) == ours)
            })
        };
        let changed = !self.list.iter().all(as_it_was);
        if changed {
            dataplane.follow_names()?;
        }
        for nic in &mut self.list {
            let found = there.iter().find(|i| i.name == nic.config.name);
            let index = found.map(|i| i.index);
            let runs = found.and_then(|i| i.xdp).is_some_and(|xdp| Some(xdp.program) == ours);
            if runs && index == nic.index {
                continue;
            }
            if let Some(before) = nic.index
                && index != nic.index
            {
                self.renamed.insert(before, nic.config.name.clone());
            }
            if index.is_none() || index != nic.index {
                nic.open_since = None;
            }
            nic.index = index;
            nic.attached = None;
            let since = *nic.open_since.get_or_insert(heard);
            match attach(nic, dataplane) {
                Ok(Attached::New) if self.looked => {
                    let open = since.elapsed();
                    news.push(format!(
                        "attached to `{}`, open for {open:.1?} since it came",
                        nic.config.name
                    ));
                    nic.open = Some(open);
                }
                // How long it was there before the agent came is not known.
                Ok(Attached::New) => news.push(format!("attached to `{}`", nic.config.name)),
                Ok(Attached::Adopted) => news.push(format!("took over the program on `{}`", nic.config.name)),
                Err(error) => {
                    let problem = error.to_string();
                    if nic.problem.as_ref() != Some(&problem) {
                        news.push(problem.clone());
                    }
                    nic.problem = Some(problem);
                }
            }
        }
        self.looked = true;
        if !news.is_empty() {
            // Rows of NICs that are gone would fill the table in the end.
            dataplane.retain_interfaces(&there.iter().map(|i| i.index).collect())?;
        }
        // Only what was just changed must be looked at again.
        let there = if changed { probe::interfaces()? } else { there };
        self.note_modes(ours, &there);
        if changed || !self.renamed.is_empty() {
            self.look_for_strays(dataplane, &there)?;
        }
        Ok(news)
    }

    /// Notes in which mode our program really runs, as the kernel says.
    fn note_modes(&mut self, ours: Option<u32>, there: &[probe::Interface]) {
        for nic in &mut self.list {
            let found = there.iter().find(|i| Some(i.index) == nic.index);
            let running = found.and_then(|i| i.xdp).filter(|xdp| Some(xdp.program) == ours);
            nic.attached = running.map(|xdp| xdp.mode);
            if let Some(mode) = nic.attached {
                nic.problem = mode_note(nic, mode);
                nic.open_since = None;
            }
        }
    }

    /// The gateway's own addresses, if they are others than those that were applied.
    pub(super) fn changed_addresses(
        &self,
    ) -> Result<Option<std::collections::BTreeSet<Ipv4Addr>>, DataplaneError> {
        let now = probe::own_addresses()?;
        Ok((now != self.addresses).then_some(now))
    }
}

fn attach(nic: &Nic, dataplane: &mut Dataplane) -> Result<Attached, DataplaneError> {
    let missing = || DataplaneError::NoInterface { name: nic.config.name.clone() };
    let index = nic.index.ok_or_else(missing)?;
    // The row first: not one packet is judged by the defaults of an unknown interface.
    let row = InterfaceRow {
        counter: nic.counter,
        unmanaged: nic.config.unmanaged.code(),
        management: u8::from(nic.config.management),
        pad: [0; 2],
    };
    dataplane.set_interface(index, row)?;
    dataplane.attach(&nic.config.name, wanted(nic))
}

fn wanted(nic: &Nic) -> AttachMode {
    match nic.config.attach {
        config::Attach::Native => AttachMode::Native,
        config::Attach::Generic => AttachMode::Generic,
    }
}

fn mode_note(nic: &Nic, mode: AttachMode) -> Option<String> {
    let name = &nic.config.name;
    if mode != wanted(nic) {
        return Some(format!(
            "`{name}` is enforced in {} mode as an earlier agent attached it, and configured for {}: `bulkhead detach --interface {name} --yes` lets it change, with a gap",
            mode.name(),
            wanted(nic).name()
        ));
    }
    (mode == AttachMode::Generic).then(|| format!("`{name}` is enforced in GENERIC mode, which is slow"))
}
