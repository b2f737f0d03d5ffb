//! Does the gateway do what it says: the agent sends itself a packet that nothing allows, once where that is watched and once
//! where it is dropped, through the program that judges every packet. What passed must have passed, what was dropped must
//! have been, and both must have been counted and told.
//!
//! The packets come from the loopback interface, which nothing is attached to, so nobody else can send the like.

use std::time::{Duration, Instant};

use bulkhead_common::{
    layout::{InterfaceCounters, SegmentKey, SegmentRow, ViolationKey},
    lookup::{ANY_VLAN, Unmanaged},
    reason::Reason,
};

use super::agent::{Agent, NOBODY};
use crate::{
    config::Config,
    control::ProbeStatus,
    dataplane::{DataplaneError, Tally, XdpAction},
    model::Mode,
    record::Modes,
};

/// Index of the loopback interface in every network namespace (`LOOPBACK_IFINDEX`, Linux net/flow.h).
const LOOPBACK: u32 = 1;
/// The name of it.
const LOOPBACK_NAME: &str = "lo";
/// A frame of an EtherType for local experiments (IEEE 802 88-B5), between locally administered addresses: the shortest that
/// Ethernet knows.
const FRAME: [u8; 60] = {
    let mut frame = [0; 60];
    let head = [0x02, 0xbb, 0, 0, 0, 4, 0x02, 0xbb, 0, 0, 0, 3, 0x88, 0xb5];
    let mut at = 0;
    while at < head.len() {
        frame[at] = head[at];
        at += 1;
    }
    frame
};
/// The interface's counters of whatever is not configured.
const ELSEWHERE: u32 = 0;
/// A frame that has not arrived by then never will: two drains of the repeats, and more.
const PATIENCE: Duration = Duration::from_secs(5);

/// From this version on a test run holds the network's interrupts off, as a NIC does (`bpf_test_run` in net/bpf/test_run.c). Before, a
/// packet of a NIC may be judged in the middle of ours, on the same CPU and in the same memory.
const UNDISTURBED: (u32, u32) = (6, 6);

/// What is known of the probes.
#[derive(Debug, Default)]
pub(super) struct Honesty {
    /// Why there are none.
    obstacle: Option<String>,
    began: Option<Instant>,
    /// Frames that were sent and did not come back yet.
    out: u64,
    /// Frames that came back and are in no record yet.
    untold: u64,
    /// What the kernel had lost before the last probe.
    lost: u64,
    is_under_way: bool,
    /// What the last probe found that has ended.
    status: Option<ProbeStatus>,
}

impl Honesty {
    /// Of an agent with this configuration on a kernel of this version.
    pub(super) fn new(config: &Config, kernel: (u32, u32)) -> Self {
        let obstacle = if config.violations.heartbeat == Duration::ZERO {
            Some("the configuration switches it off (`[violations] heartbeat`)".to_owned())
        } else if config.interfaces.iter().any(|interface| interface.name == LOOPBACK_NAME) {
            Some(format!(
                "packets of the configured interface `{LOOPBACK_NAME}` could be taken for the agent's own"
            ))
        } else if kernel < UNDISTURBED {
            let ((major, minor), (since_major, since_minor)) = (kernel, UNDISTURBED);
            Some(format!(
                "Linux {major}.{minor} could mix the agent's packets with those of a NIC, {since_major}.{since_minor} could not"
            ))
        } else {
            None
        };
        Self { obstacle, ..Self::default() }
    }

    /// Why there are no probes.
    pub(super) fn obstacle(&self) -> Option<&str> {
        self.obstacle.as_deref()
    }

    /// What the last probe found that has ended: one that is under way refutes nothing.
    pub(super) fn status(&self) -> Option<&ProbeStatus> {
        self.status.as_ref()
    }

    fn begin(&mut self) {
        self.is_under_way = true;
    }

    fn conclude(&mut self, found: ProbeStatus) {
        (self.is_under_way, self.status) = (false, Some(found));
    }

    /// Takes a denied packet that the agent sent itself; `false` when it is somebody else's.
    pub(super) fn take(&mut self, key: &ViolationKey, packets: u64) -> bool {
        if key.ifindex != LOOPBACK || self.obstacle.is_some() {
            return false;
        }
        self.out = self.out.saturating_sub(packets);
        self.untold += packets;
        true
    }

    /// Packets that the next sign of life accounts for.
    pub(super) fn untold(&self) -> u64 {
        self.untold
    }

    /// They were told.
    pub(super) fn told(&mut self, packets: u64) {
        self.untold = self.untold.saturating_sub(packets);
    }
}

/// The counters that a denied packet of nobody's moves.
#[derive(Clone, Copy)]
struct Counted {
    violations: u64,
    unmanaged: u64,
    interface: InterfaceCounters,
}

/// What a packet must meet.
#[derive(Clone, Copy)]
struct Expected {
    unmanaged: Unmanaged,
    action: XdpAction,
}

const EXPECTED: [Expected; 2] = [
    Expected { unmanaged: Unmanaged::Monitor, action: XdpAction::Pass },
    Expected { unmanaged: Unmanaged::Drop, action: XdpAction::Drop },
];

impl Agent {
    /// Probes when it is time, and ends a probe that is under way. Whether a sign of life is due: it says what the probe found,
    /// and accounts for its packets.
    pub(super) fn look_for_honesty(&mut self) -> bool {
        let every = self.config.violations.heartbeat;
        if self.end_probe() {
            return true;
        }
        if every == Duration::ZERO || self.reporter.honesty.began.is_some_and(|began| began.elapsed() < every)
        {
            return false;
        }
        self.reporter.honesty.began = Some(Instant::now());
        if self.reporter.honesty.obstacle.is_some() {
            return true;
        }
        self.begin_probe();
        !self.reporter.honesty.is_under_way
    }

    /// Devices by their mode.
    pub(super) fn modes(&self) -> Modes {
        let mut modes = Modes::default();
        for device in &self.in_force.policy.devices {
            match device.mode {
                Mode::Monitor => modes.monitor += 1,
                Mode::Enforce => modes.enforce += 1,
                Mode::Quarantine => modes.quarantine += 1,
            }
        }
        modes
    }

    /// Tells every receiver that the agent is there, and how it is.
    pub(super) fn tell_of_life(&mut self) {
        let counted = self.dataplane.tally().map(|tally| tally.violations).unwrap_or_default();
        let revision = Some(self.revision()).filter(|revision| !revision.is_empty());
        let warnings = self.all_warnings();
        self.reporter.heartbeat(counted, revision, self.modes(), &warnings);
    }

    fn begin_probe(&mut self) {
        let tally = self.dataplane.tally();
        let found = tally.and_then(|tally| {
            self.reporter.honesty.lost = tally.lost;
            self.send_canaries(&tally)
        });
        let faults = match found {
            Ok(faults) => faults,
            Err(error) => vec![format!("whether it does is not known: {error}")],
        };
        self.reporter.honesty.begin();
        if !faults.is_empty() {
            self.reporter.honesty.out = 0;
            self.conclude_probe(faults);
        }
    }

    /// Sends the packets; what was wrong with what became of them.
    fn send_canaries(&mut self, tally: &Tally) -> Result<Vec<String>, DataplaneError> {
        let key = SegmentKey { ifindex: LOOPBACK, vlan: ANY_VLAN, pad: 0 };
        let mut faults = Vec::new();
        let mut before = self.counted(tally)?;
        self.reporter.honesty.out = 0;
        for expected in EXPECTED {
            let row = SegmentRow { unmanaged: expected.unmanaged.code(), ..SegmentRow::default() };
            self.dataplane.set_segment(key, row)?;
            let action = self.dataplane.test_run(&FRAME)?;
            self.reporter.honesty.out += 1;
            let after = self.counted(&self.dataplane.tally()?)?;
            faults.extend(judged(expected, action, &before, &after));
            before = after;
        }
        Ok(faults)
    }

    fn counted(&self, tally: &Tally) -> Result<Counted, DataplaneError> {
        Ok(Counted {
            violations: tally.violations,
            unmanaged: self.dataplane.device_counts(NOBODY - 1)?[usize::from(Reason::Unmanaged.code())],
            interface: self.dataplane.interface_counts(ELSEWHERE)?,
        })
    }

    /// A probe is over when its packets have come back, or never will. Whether it is over now.
    fn end_probe(&mut self) -> bool {
        let Some(began) = self.reporter.honesty.began else { return false };
        if !self.reporter.honesty.is_under_way {
            return false;
        }
        if self.reporter.honesty.out == 0 {
            self.conclude_probe(Vec::new());
            return true;
        }
        if began.elapsed() < PATIENCE {
            return false;
        }
        // Under a flood there is no room for anybody's, which has a counter of its own.
        let lost = self.dataplane.tally().is_ok_and(|tally| tally.lost > self.reporter.honesty.lost);
        self.reporter.honesty.out = 0;
        let missing = "denied packets are counted and not told".to_owned();
        self.conclude_probe(if lost { Vec::new() } else { vec![missing] });
        true
    }

    fn conclude_probe(&mut self, faults: Vec<String>) {
        if faults.is_empty() {
            if self.warnings.remove("probe").is_some() {
                tracing::info!("packets meet what their mode says again");
            }
        } else {
            let note = format!("packets do not meet what their mode says: {}", faults.join("; "));
            if self.warnings.insert("probe", note.clone()).as_ref() != Some(&note) {
                tracing::error!("{note}");
            }
        }
        self.reporter.honesty.conclude(ProbeStatus { checked: jiff::Timestamp::now().to_string(), faults });
    }
}

/// What is wrong with what became of a packet. Others may be counted at the same time: each counter has moved at least.
fn judged(expected: Expected, action: XdpAction, before: &Counted, after: &Counted) -> Vec<String> {
    let Expected { unmanaged, action: wanted } = expected;
    let mut faults = Vec::new();
    if action != wanted {
        faults.push(match unmanaged {
            Unmanaged::Monitor | Unmanaged::Pass => {
                format!("a packet that is only watched did not pass: {action:?}")
            }
            Unmanaged::Drop => format!("a packet that is to be dropped was not: {action:?}"),
        });
    }
    let word = match unmanaged {
        Unmanaged::Monitor | Unmanaged::Pass => "would be dropped",
        Unmanaged::Drop => "is dropped",
    };
    let moved = |counter: fn(&Counted) -> u64| counter(after) > counter(before);
    let outcome = match wanted {
        XdpAction::Pass => moved(|c| c.interface.would_drop.packets) && moved(|c| c.interface.passed.packets),
        XdpAction::Drop | XdpAction::Other(_) => moved(|c| c.interface.dropped.packets),
    };
    let counters = [
        ("among the violations", moved(|c| c.violations)),
        ("by its reason", moved(|c| c.unmanaged)),
        ("for its interface", outcome),
    ];
    let still: Vec<&str> = counters.into_iter().filter(|(_, moved)| !moved).map(|(name, _)| name).collect();
    if !still.is_empty() {
        faults.push(format!("a packet that {word} is not counted {}", still.join(", nor ")));
    }
    faults
}

#[cfg(test)]
mod tests {
    use bulkhead_common::layout::Traffic;

    use super::*;
    use crate::config::parse_config;

    fn counted(passed: u64, dropped: u64) -> Counted {
        let traffic = |packets| Traffic { packets, bytes: 60 * packets };
        Counted {
            violations: passed + dropped,
            unmanaged: passed + dropped,
            interface: InterfaceCounters {
                seen: traffic(passed + dropped),
                passed: traffic(passed),
                would_drop: traffic(passed),
                dropped: traffic(dropped),
                remembered: 0,
            },
        }
    }

    #[test]
    fn what_meets_its_mode_and_is_counted_is_honest() {
        let [watched, dropped] = EXPECTED;
        assert_eq!(judged(watched, XdpAction::Pass, &counted(1, 0), &counted(2, 0)), [""; 0]);
        // Somebody else's packets at the same time are no fault.
        assert_eq!(judged(dropped, XdpAction::Drop, &counted(2, 0), &counted(7, 3)), [""; 0]);
    }

    #[test]
    fn what_is_not_as_the_mode_says_is_told() {
        let [watched, dropped] = EXPECTED;
        assert_eq!(
            judged(watched, XdpAction::Drop, &counted(0, 0), &counted(0, 1)),
            [
                "a packet that is only watched did not pass: Drop",
                "a packet that would be dropped is not counted for its interface"
            ]
        );
        assert_eq!(
            judged(dropped, XdpAction::Pass, &counted(0, 0), &counted(0, 0)),
            [
                "a packet that is to be dropped was not: Pass",
                "a packet that is dropped is not counted among the violations, nor by its reason, nor for its interface"
            ]
        );
    }

    #[test]
    fn what_was_found_holds_until_the_next_probe_has_ended() {
        let found = |fault: &[&str]| ProbeStatus {
            checked: "2026-03-02T10:00:07Z".to_owned(),
            faults: fault.iter().map(|&fault| fault.to_owned()).collect(),
        };
        let mut honesty = Honesty::default();
        honesty.begin();
        assert!(honesty.is_under_way && honesty.status().is_none());
        honesty.conclude(found(&["a packet that is to be dropped was not: Pass"]));
        honesty.begin();
        assert!(honesty.is_under_way && honesty.status().is_some_and(|status| status.faults.len() == 1));
        honesty.conclude(found(&[]));
        assert!(!honesty.is_under_way && honesty.status().is_some_and(|status| status.faults.is_empty()));
    }

    #[test]
    fn only_what_came_from_the_loopback_interface_is_our_own() {
        let mut honesty = Honesty { out: 2, ..Honesty::default() };
        let key = |ifindex| ViolationKey { ifindex, ..ViolationKey::default() };
        assert!(!honesty.take(&key(2), 1));
        assert!(honesty.take(&key(LOOPBACK), 1));
        assert_eq!((honesty.out, honesty.untold()), (1, 1));
        honesty.told(1);
        assert_eq!(honesty.untold(), 0);
    }

    #[test]
    fn where_packets_could_be_mixed_up_there_is_no_probe() {
        let parsed = |text: &str| parse_config("bulkhead.toml", text).0.expect("a configuration");
        let config = parsed("[interface.eth0]\n");
        assert_eq!(Honesty::new(&config, (6, 6)).obstacle(), None);
        assert!(
            Honesty::new(&config, (6, 1)).obstacle().is_some_and(|why| why.contains("Linux 6.1 could mix"))
        );
        let mut watched = Honesty::new(&parsed("[interface.lo]\n"), (6, 18));
        assert!(watched.obstacle().is_some_and(|why| why.contains("`lo`")));
        assert!(!watched.take(&ViolationKey { ifindex: LOOPBACK, ..ViolationKey::default() }, 1));
        let silent = parsed("[interface.eth0]\n\n[violations]\nheartbeat = \"0s\"\n");
        assert!(Honesty::new(&silent, (6, 18)).obstacle().is_some());
    }
}
