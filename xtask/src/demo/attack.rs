//! What the attacker does, and whose doing a frame is at either end of the way.
//!
//! In: a lab. Out: frames by [`Step`], counted where they leave the attacker and where they arrive at the PLC. Counting
//! at the attacker's interface takes in what its own stack adds: resets, acknowledgements, second attempts.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::Result;
use bulkhead_tests::lab::{
    Lab, Seen, Sniffer,
    attack::{Answer, Attacker, Judge, Origin},
    modbus::Write,
    sniffer::Counts,
    topology::MODBUS,
};

/// The register the attacker writes to.
pub(super) const REGISTER: u16 = 50;

const PORTS: std::ops::Range<u16> = 490..520;
const SPOOFED: u16 = 20;
/// In enforce mode nobody answers: this is how long the attacker listens to the silence. Shorter than the first
/// retransmission of a SYN (RFC 6298 2.1: one second).
const ANSWER_WITHIN: Duration = Duration::from_millis(600);
const SOON: Duration = Duration::from_secs(5);

/// One thing the attacker does, as far as a frame or a record can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// SYNs to ports of the PLC, but for the Modbus port.
    Scan,
    /// TCP to the Modbus port in its own name: the scan's probe and the attempt to write.
    Modbus,
    /// The HMI's address from the attacker's MAC: SYNs and Modbus writes.
    Spoof,
    /// ARP: the HMI's address is said to be at the attacker's MAC.
    ArpHmi,
    /// ARP: the PLC's address is said to be at the attacker's MAC.
    ArpPlc,
    /// Anything else from the attacker. There should be none.
    Other,
}

/// What the policy must say of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) reason: &'static str,
    pub(super) device: &'static str,
}

impl Step {
    /// In the order of the story.
    pub(super) const ALL: [Self; 6] =
        [Self::Scan, Self::Modbus, Self::Spoof, Self::ArpHmi, Self::ArpPlc, Self::Other];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Scan => "port scan",
            Self::Modbus => "Modbus write (and probe)",
            Self::Spoof => "HMI's address, other MAC",
            Self::ArpHmi => "forged ARP for the HMI",
            Self::ArpPlc => "forged ARP for the PLC",
            Self::Other => "anything else",
        }
    }

    /// `None` for what must not occur at all.
    pub(super) fn expected(self) -> Option<Expected> {
        let (reason, device) = match self {
            Self::Scan | Self::Modbus => ("unknown-peer", "plc"),
            Self::Spoof => ("source-mac-mismatch", "hmi"),
            Self::ArpHmi => ("address-conflict", "hmi"),
            Self::ArpPlc => ("address-conflict", "plc"),
            Self::Other => return None,
        };
        Some(Expected { reason, device })
    }
}

/// The addresses by which steps are told apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) attacker: Ipv4Addr,
    pub(super) hmi: Ipv4Addr,
    pub(super) plc: Ipv4Addr,
}

impl Addresses {
    pub(super) fn of(lab: &Lab) -> Self {
        Self { attacker: lab.attacker().ip, hmi: lab.host("hmi").ip, plc: lab.plc().ip }
    }

    /// The step a TCP packet to `port` belongs to.
    pub(super) fn tcp(&self, source: Ipv4Addr, port: u16) -> Step {
        if source == self.hmi {
            Step::Spoof
        } else if source != self.attacker {
            Step::Other
        } else if port == MODBUS {
            Step::Modbus
        } else {
            Step::Scan
        }
    }

    /// The step an ARP message belongs to.
    pub(super) fn arp(&self, claimed: Ipv4Addr) -> Step {
        if claimed == self.hmi {
            Step::ArpHmi
        } else if claimed == self.plc {
            Step::ArpPlc
        } else {
            Step::Other
        }
    }

    /// The step a frame belongs to; `None` when it is not the attacker's, or honest ARP, which no network can do without.
    fn step(&self, judge: &Judge, seen: &Seen) -> Option<Step> {
        match judge.origin(seen) {
            Origin::Others | Origin::AttackerArp => None,
            Origin::ForgedArp => {
                Some(seen.arp_sender().map_or(Step::Other, |(_, claimed)| self.arp(claimed)))
            }
            Origin::Forged | Origin::AttackerStack => Some(
                seen.transport()
                    .filter(|transport| transport.tcp.is_some())
                    .map_or(Step::Other, |transport| self.tcp(*transport.src.ip(), transport.dst.port())),
            ),
        }
    }
}

/// Frames by step.
pub(super) type Frames = Counts<Step>;

/// Sees the attacker's frames leave, and arrive.
pub(super) struct Watch {
    sent: Sniffer<Step>,
    reached: Sniffer<Step>,
}

impl Watch {
    pub(super) fn start(lab: &Lab) -> Result<Self> {
        let addresses = Addresses::of(lab);
        let (attacker, plc) = (lab.attacker(), lab.plc());
        let (here, there) = (Judge::at_plant(lab), Judge::at_plc(lab));
        let sent = Sniffer::start(&attacker.namespace, attacker.interface, move |seen| {
            seen.outgoing.then(|| addresses.step(&here, seen)).flatten()
        })?;
        let reached = Sniffer::start(&plc.namespace, plc.interface, move |seen| {
            (!seen.outgoing).then(|| addresses.step(&there, seen)).flatten()
        })?;
        Ok(Self { sent, reached })
    }

    /// Frames that left the attacker's interface so far.
    pub(super) fn sent(&self) -> Result<Frames> {
        self.sent.counts()
    }

    /// Frames that arrived at the PLC's interface so far.
    pub(super) fn reached(&self) -> Result<Frames> {
        self.reached.counts()
    }

    /// Waits until the sniffer has seen what was sent by hand.
    fn has_left(&self, step: Step, count: u64) -> Result<()> {
        let what = format!("{count} frames of the step `{}` to leave", step.name());
        let enough = |frames: &Frames| frames.get(&step).is_some_and(|seen| *seen >= count);
        self.sent.wait_until(&what, SOON, enough).map(drop)
    }
}

/// Which of its tricks the attacker plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tricks {
    /// All but forged ARP: in monitor mode it would poison the PLC's neighbour table, and that is what monitor means.
    WithoutArp,
    /// All.
    All,
}

/// What the attacker learned.
pub(super) struct Learned {
    /// Ports scanned, and how many answered.
    pub(super) ports: u64,
    pub(super) answered: usize,
    /// Ports that are open.
    pub(super) open: Vec<u16>,
    /// How the write ended.
    pub(super) write: Write,
}

/// Plays the tricks once, writing `value` to the PLC's [`REGISTER`].
pub(super) fn play(lab: &Lab, watch: &Watch, tricks: Tricks, value: u16) -> Result<Learned> {
    let before = watch.sent()?;
    let so_far = |step: Step| before.get(&step).copied().unwrap_or(0);
    let attacker = Attacker::new(lab)?;
    let ports: Vec<u16> = PORTS.collect();
    let scan = attacker.scan(&ports, ANSWER_WITHIN)?;
    // One of the ports is the Modbus port.
    watch.has_left(Step::Scan, so_far(Step::Scan) + scan.sent - 1)?;
    let write = attacker.write(REGISTER, value, ANSWER_WITHIN)?;
    let spoofed =
        attacker.spoofed_syns("hmi", SPOOFED)? + attacker.spoofed_writes("hmi", SPOOFED, REGISTER, value)?;
    watch.has_left(Step::Spoof, so_far(Step::Spoof) + spoofed)?;
    match tricks {
        Tricks::WithoutArp => {}
        Tricks::All => {
            attacker.arp_spoof()?;
            watch.has_left(Step::ArpPlc, so_far(Step::ArpPlc) + 1)?;
        }
    }
    let open = scan.answers.iter().filter(|(_, answer)| **answer == Answer::Open);
    let open = open.map(|(port, _)| *port).collect();
    Ok(Learned { ports: scan.sent, answered: scan.answers.len(), open, write })
}
