//! One configured interface: what was found of it, and what keeps it from being as configured.
//!
//! In: the interfaces as the kernel lists them. Out: whether something must be done about this one, and the words
//! for `status`.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bulkhead_common::{
    cache::key::INTERFACES,
    layout::{SegmentKey, SegmentRow},
    lookup::{ANY_VLAN, segment_flag},
};

use crate::{
    config::{self, Forward},
    dataplane::{self, AttachMode, Attached, Dataplane, DataplaneError, Entry, Obstacle, Offloads, probe},
};

/// One configured interface as it is now.
pub(super) struct Nic {
    pub(super) config: config::Interface,
    /// The segment it is by itself, then those of its VLANs, each with its number.
    pub(super) segments: Vec<(u16, config::Segment)>,
    /// Which counters are its own.
    pub(super) counter: u32,
    /// Its index while it exists.
    pub(super) index: Option<u32>,
    /// In which mode our program runs on it.
    pub(super) attached: Option<AttachMode>,
    /// Which entry of it.
    pub(super) entry: Option<Entry>,
    /// Why it is not as configured.
    pub(super) problem: Option<String>,
    /// Since when it has been known to be there without our program.
    pub(super) open_since: Option<Instant>,
    /// How long it was, the last time it came while the agent ran.
    pub(super) open: Option<Duration>,
    /// The MTU for which the entry was chosen.
    pub(super) mtu: u32,
    /// Receive queues: how many CPUs can share its work.
    pub(super) rx_queues: u32,
    /// Why the entry for its MTU does not run.
    pub(super) refused: Option<String>,
    /// What the driver does to frames that no program can make good, a sentence each.
    pub(super) obstacles: Vec<String>,
    /// What is wrong with the link of its pair.
    pub(super) link_note: Option<String>,
    /// Whether what passes it may leave directly.
    pub(super) forwards: bool,
    /// Why it may not, although it is configured so.
    forward_note: Option<String>,
    /// Its ports when it is a bond, by index: there the kernel runs a bond's program, and the frames are theirs.
    /// Without those that are configured themselves.
    pub(super) ports: Vec<u32>,
    /// The indexes its rows were written for, and where what passes was sent.
    written: Option<(Vec<u32>, u32)>,
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

/// The ids of our loaded entries.
pub(super) type Programs = [(u32, Entry)];

impl Nic {
    pub(super) fn new(
        config: config::Interface,
        segments: Vec<(u16, config::Segment)>,
        counter: u32,
    ) -> Self {
        Self {
            config,
            segments,
            counter,
            index: None,
            attached: None,
            entry: None,
            problem: None,
            open_since: None,
            open: None,
            mtu: 0,
            rx_queues: 0,
            refused: None,
            obstacles: Vec::new(),
            link_note: None,
            forwards: false,
            forward_note: None,
            ports: Vec::new(),
            written: None,
        }
    }

    pub(super) fn state(&self) -> NicState {
        match (self.index, self.attached) {
            (None, _) => NicState::Missing,
            (Some(_), None) => NicState::Open,
            (Some(_), Some(_)) => NicState::Enforced,
        }
    }

    /// The interface of its name.
    pub(super) fn found<'a>(&self, there: &'a [probe::Interface]) -> Option<&'a probe::Interface> {
        there.iter().find(|i| i.name == self.config.name)
    }

    /// Whether our program runs on the interface that had this name at the last look, and suits its MTU.
    pub(super) fn is_well(&self, there: &[probe::Interface], programs: &Programs) -> bool {
        let Some(found) = self.found(there).filter(|i| Some(i.index) == self.index) else { return false };
        let Some((mode, entry)) = runs(found, programs) else { return false };
        let [suiting, _] = Entry::suiting(found.mtu, mode);
        // An MTU that is as it was has been tried.
        found.mtu == self.mtu || suiting == entry
    }

    /// Everything that is not as configured, a sentence each.
    pub(super) fn problems(&self) -> Vec<String> {
        let notes = [&self.link_note, &self.forward_note].into_iter().flatten();
        self.problem.iter().chain(&self.obstacles).chain(notes).cloned().collect()
    }

    /// Looks which ports it has, and says so when they are others than before.
    pub(super) fn note_ports(
        &mut self,
        there: &[probe::Interface],
        configured: &BTreeSet<String>,
    ) -> Option<String> {
        let ports = self.found(there).map(|found| probe::ports(found, there)).unwrap_or_default();
        let (mut indexes, names): (Vec<_>, Vec<_>) = ports
            .into_iter()
            .filter(|port| !configured.contains(&port.name))
            .map(|port| (port.index, format!("`{}`", port.name)))
            .unzip();
        indexes.sort_unstable();
        if indexes == self.ports {
            return None;
        }
        self.ports = indexes;
        let name = &self.config.name;
        Some(match names.is_empty() {
            true => format!("`{name}` is a bond without ports now"),
            false => format!("the ports of `{name}` are {}", names.join(", ")),
        })
    }

    /// The indexes under which its frames arrive.
    pub(super) fn indexes(&self) -> impl Iterator<Item = u32> {
        self.index.into_iter().chain(self.ports.iter().copied())
    }

    /// Writes what packets of its segments need to know, if that changed; whether it had. `redirect` is where what
    /// passes goes: the index of the other side of a pair, [`bulkhead_common::lookup::NOWHERE`] while that is missing,
    /// [`bulkhead_common::lookup::DIRECTLY`], 0 for the stack.
    pub(super) fn write_rows(
        &mut self,
        dataplane: &mut Dataplane,
        redirect: u32,
    ) -> Result<bool, DataplaneError> {
        let wanted = self.index.map(|_| (self.indexes().collect::<Vec<_>>(), redirect));
        if self.written == wanted {
            return Ok(false);
        }
        for index in wanted.iter().flat_map(|(indexes, _)| indexes) {
            for (key, row) in self.rows(*index, redirect) {
                dataplane.set_segment(key, row)?;
            }
        }
        self.written = wanted;
        Ok(true)
    }

    /// Looks at what the driver does to frames, and changes it where the configuration consents. Returns what is
    /// new, a sentence each.
    pub(super) fn preflight(&mut self, there: &[probe::Interface]) -> Vec<String> {
        let mut news = Vec::new();
        let peer = self.config.pair.as_ref();
        let peer = peer.and_then(|pair| there.iter().find(|i| i.name == pair.peer));
        let mut obstacles = Vec::new();
        self.rx_queues = 0;
        for found in self.receivers(there) {
            let name = &found.name;
            self.rx_queues += dataplane::queues(name).unwrap_or_default().rx;
            // Who does not answer has none of these offloads, or is gone.
            let nothing = Offloads { rx_vlan: false, lro: false };
            let mut offloads = dataplane::offloads(name).unwrap_or(nothing);
            if offloads != nothing && self.config.fix_offloads {
                match dataplane::switch_off(name) {
                    Ok(()) => {
                        let now = dataplane::offloads(name).unwrap_or(offloads);
                        let was =
                            [(offloads.rx_vlan && !now.rx_vlan, "rxvlan"), (offloads.lro && !now.lro, "lro")];
                        for (_, word) in was.into_iter().filter(|(changed, _)| *changed) {
                            news.push(format!("switched {word} of `{name}` off"));
                        }
                        offloads = now;
                    }
                    Err(error) => obstacles.push(format!("`{name}`: {error}")),
                }
            }
            for Obstacle { seen, fix } in dataplane::obstacles(found, offloads, peer) {
                obstacles.push(format!("`{name}` {seen}\nhint: {fix}"));
            }
        }
        if obstacles != self.obstacles {
            news.extend(obstacles.iter().filter(|o| !self.obstacles.contains(o)).cloned());
            self.obstacles = obstacles;
        }
        news
    }

    /// The interfaces whose drivers receive its frames: its ports when it is a bond.
    fn receivers<'a>(&self, there: &'a [probe::Interface]) -> Vec<&'a probe::Interface> {
        let ports: Vec<_> = there.iter().filter(|i| self.ports.contains(&i.index)).collect();
        if ports.is_empty() { self.found(there).into_iter().collect() } else { ports }
    }

    /// Puts the program on it.
    pub(super) fn attach(&self, dataplane: &mut Dataplane) -> Result<Attached, DataplaneError> {
        let missing = || DataplaneError::NoInterface { name: self.config.name.clone() };
        self.index.ok_or_else(missing)?;
        dataplane.attach(&self.config.name, self.wanted())
    }

    /// The rows of its segments while it has this index, and what passes goes to `redirect`.
    pub(super) fn rows(&self, ifindex: u32, redirect: u32) -> Vec<(SegmentKey, SegmentRow)> {
        let rows = self.segments.iter().map(|(id, segment)| {
            let vlan = segment.vlan.unwrap_or(ANY_VLAN);
            let own = segment.vlan.is_none() && self.segments.len() > 1;
            let row = segment.row(*id);
            let flags = row.flags | if own { segment_flag::HAS_VLANS } else { 0 };
            (
                SegmentKey { ifindex, vlan, pad: 0 },
                SegmentRow { counter: self.counter, redirect, flags, ..row },
            )
        });
        rows.collect()
    }

    /// Notes which entry really runs and in which mode, as the kernel says.
    pub(super) fn note_running(&mut self, there: &[probe::Interface], programs: &Programs) {
        let found = self.found(there).filter(|found| Some(found.index) == self.index);
        let running = found.and_then(|found| runs(found, programs));
        self.attached = running.map(|(mode, _)| mode);
        self.entry = running.map(|(_, entry)| entry);
        if let Some(mode) = self.attached {
            self.problem = self.refused.clone().or_else(|| self.mode_note(mode));
            self.open_since = None;
        }
    }

    /// Hands what would leave directly to the kernel, because a look at the interfaces failed.
    pub(super) fn hand_over(
        &mut self,
        dataplane: &mut Dataplane,
        why: &DataplaneError,
    ) -> Result<(), DataplaneError> {
        if !std::mem::take(&mut self.forwards) {
            return Ok(());
        }
        let name = &self.config.name;
        self.forward_note =
            Some(format!("`{name}` hands everything to the kernel, and not directly on: {why}"));
        self.write_rows(dataplane, 0).map(drop)
    }

    /// Notes whether what passes it may leave directly, as it is now. `foreign` is why nothing may on this gateway.
    pub(super) fn note_forwarding(&mut self, there: &[probe::Interface], foreign: Option<&str>) {
        let name = &self.config.name;
        let found = self.found(there).filter(|_| self.config.forward == Forward::Direct);
        // One that came since it was looked at is looked at next.
        let found = found.filter(|found| Some(found.index) == self.index);
        let obstacle = match found {
            None => None,
            Some(_) if self.attached != Some(AttachMode::Native) => {
                Some("it is not enforced in its driver".to_owned())
            }
            Some(found) if found.controller.is_some() => Some("it is a port of another interface".to_owned()),
            Some(_) if !self.ports.is_empty() => Some("it is a bond".to_owned()),
            Some(found) if found.index >= INTERFACES => {
                Some(format!("its index {} is above {}", found.index, INTERFACES - 1))
            }
            Some(_) if !self.obstacles.is_empty() => {
                Some("its driver does not hand frames over as they came".to_owned())
            }
            Some(found) => {
                let unsent = dataplane::unsent(name, found.index).map(|why| format!("it {why}"));
                unsent.or_else(|| foreign.map(str::to_owned))
            }
        };
        self.forwards = found.is_some() && obstacle.is_none();
        // That it is not enforced at all is told by itself.
        let obstacle = obstacle.filter(|_| self.attached.is_some());
        self.forward_note = obstacle
            .map(|why| format!("`{name}` hands everything to the kernel, and not directly on: {why}"));
    }

    fn wanted(&self) -> AttachMode {
        match self.config.attach {
            config::Attach::Native => AttachMode::Native,
            config::Attach::Generic => AttachMode::Generic,
        }
    }

    fn mode_note(&self, mode: AttachMode) -> Option<String> {
        let name = &self.config.name;
        if mode != self.wanted() {
            return Some(format!(
                "`{name}` is enforced in {} mode as an earlier agent attached it, and configured for {}: `bulkhead detach --interface {name} --yes` lets it change, with a gap",
                mode.name(),
                self.wanted().name()
            ));
        }
        (mode == AttachMode::Generic).then(|| format!("`{name}` is enforced in GENERIC mode, which is slow"))
    }
}

/// Which of our entries runs on an interface, and in which mode.
pub(super) fn runs(found: &probe::Interface, programs: &Programs) -> Option<(AttachMode, Entry)> {
    let xdp = found.xdp?;
    programs.iter().find(|(id, _)| *id == xdp.program).map(|(_, entry)| (xdp.mode, *entry))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn there(ports: &[(u32, &str)]) -> Vec<probe::Interface> {
        let bond = probe::Interface { index: 9, name: "team0".into(), ..probe::Interface::default() };
        let port = |(index, name): &(u32, &str)| probe::Interface {
            index: *index,
            name: (*name).into(),
            bond: Some(9),
            ..probe::Interface::default()
        };
        ports.iter().map(port).chain([bond]).collect()
    }

    #[test]
    fn interface_that_was_made_anew_forwards_nothing_directly() {
        let config = config::Interface {
            name: "team0".into(),
            role: config::Role::DeviceSide,
            attach: config::Attach::Native,
            forward: Forward::Direct,
            pair: None,
            fix_offloads: false,
        };
        let mut nic = Nic::new(config, Vec::new(), 1);
        nic.attached = Some(AttachMode::Native);
        // It had another index when it was looked at, or was not there.
        for index in [Some(8), None] {
            (nic.index, nic.forwards) = (index, true);
            nic.note_forwarding(&there(&[]), None);
            assert!(!nic.forwards, "{index:?}");
        }
    }

    #[test]
    fn ports_of_a_bond_are_followed_but_not_those_with_a_segment_of_their_own() {
        let config = config::Interface {
            name: "team0".into(),
            role: config::Role::DeviceSide,
            attach: config::Attach::Native,
            forward: Forward::Kernel,
            pair: None,
            fix_offloads: false,
        };
        let mut nic = Nic::new(config, Vec::new(), 1);
        nic.index = Some(9);
        let configured = BTreeSet::from(["team0".to_owned(), "eth3".to_owned()]);
        let mut look =
            |ports| (nic.note_ports(&there(ports), &configured), nic.indexes().collect::<Vec<_>>());
        assert_eq!(look(&[]), (None, vec![9]));
        let said = |text: &str| Some(text.to_owned());
        assert_eq!(
            look(&[(5, "eth2"), (4, "eth1"), (6, "eth3")]),
            (said("the ports of `team0` are `eth2`, `eth1`"), vec![9, 4, 5])
        );
        assert_eq!(look(&[(4, "eth1"), (5, "eth2")]), (None, vec![9, 4, 5]));
        assert_eq!(look(&[(5, "eth2")]), (said("the ports of `team0` are `eth2`"), vec![9, 5]));
        assert_eq!(look(&[]), (said("`team0` is a bond without ports now"), vec![9]));
    }
}
