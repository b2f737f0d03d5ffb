//! Packets that are told together: what they have in common, how many they are, and what one of them looked like.

use std::collections::BTreeSet;

use bulkhead_common::layout::{Event, Repeats, START_BYTES, ViolationKey};

/// Packets that are told together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// What they have in common; what differs is zero, but for a scan's most frequent reason.
    pub key: ViolationKey,
    /// How many, never 0.
    pub packets: u64,
    /// Bytes of whole frames.
    pub bytes: u64,
    /// Monotonic time of the first, ns. Never later than `last_ns`.
    pub first_ns: u64,
    /// Monotonic time of the last, ns.
    pub last_ns: u64,
    /// The earliest packet that came as an event; `None` when none did.
    pub sample: Option<Box<Sample>>,
    /// What makes them one.
    pub fold: Fold,
}

/// What makes packets one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fold {
    /// They are the same violation.
    Alike,
    /// One source tries many targets.
    Scan(Box<Tried>),
    /// They were too many to tell apart: the key has no ends then.
    Others,
}

/// What a scan has tried since it was last told.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tried {
    /// Distinct destination hosts.
    pub hosts: u64,
    /// Distinct ports with their protocol; protocols, types and EtherTypes where there are none.
    pub ports: u64,
    /// Stable ids of the devices that violations were counted for.
    pub devices: BTreeSet<u32>,
    /// Whether there were more than are told apart.
    pub at_least: bool,
    /// Every reason there was.
    pub reasons: BTreeSet<u8>,
    /// Whether there was more than one protocol: the key has the first.
    pub mixed: bool,
}

/// One packet, as its event showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Monotonic time, ns.
    pub time_ns: u64,
    /// The port that the key leaves out, see [`Event::other_port`].
    pub other_port: u16,
    len: u8,
    start: [u8; START_BYTES],
}

impl Sample {
    /// The start of the frame.
    pub fn bytes(&self) -> &[u8] {
        &self.start[..usize::from(self.len).min(START_BYTES)]
    }
}

impl Aggregate {
    pub(in crate::observe) fn of_event(event: &Event) -> Self {
        let Event { abi: _, len, time, key, other_port, tcp_flags: _, kept, pad: _, start } = *event;
        Self {
            key,
            packets: 1,
            bytes: u64::from(len),
            first_ns: time,
            last_ns: time,
            sample: Some(Box::new(Sample { time_ns: time, other_port, len: kept, start })),
            fold: Fold::Alike,
        }
    }

    pub(super) fn of_repeats(key: &ViolationKey, repeats: &Repeats) -> Self {
        let Repeats { packets, bytes, first, last } = *repeats;
        let (first_ns, last_ns) = (first.min(last), last);
        let fold = if key.others == 0 { Fold::Alike } else { Fold::Others };
        Self { key: *key, packets, bytes, first_ns, last_ns, sample: None, fold }
    }

    /// Only what the violations that were too many have in common.
    pub(super) fn without_ends(self) -> Self {
        Self { key: self.key.without_ends(), fold: Fold::Others, ..self }
    }

    /// Both together, as `self`.
    pub(super) fn and(self, other: Self) -> Self {
        let sample = match (self.sample, other.sample) {
            (Some(one), Some(another)) if another.time_ns < one.time_ns => Some(another),
            (one, another) => one.or(another),
        };
        Self {
            key: self.key,
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
            first_ns: self.first_ns.min(other.first_ns),
            last_ns: self.last_ns.max(other.last_ns),
            sample,
            fold: self.fold,
        }
    }
}
