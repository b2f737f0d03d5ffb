//! What was seen on the wire, added up: who began to talk to whom, over what, how much, and in which hours of which days.
//!
//! In: flows, from wherever they are known (the kernel, a capture, another sensor's log). Out: one [`Row`] for each [`Kind`] of flow and
//! day. A row knows addresses and no names: who they belong to is asked of a policy when it is read.

use std::{cmp::Ordering, fmt, net::IpAddr};

use bulkhead_common::wire::protocol;

use crate::model::{Mac, Selector};

mod hours;
mod sum;
pub use hours::{Day, Hours};
pub use sum::Sum;

/// One end of a flow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End {
    /// None of frames that are not IP.
    pub address: Option<IpAddr>,
    /// The hardware address, where the address alone does not say who it is: there is none, or it is leased and may go to somebody else.
    pub mac: Option<Mac>,
}

impl End {
    /// An address that is always the same host's.
    pub fn at(address: IpAddr) -> Self {
        Self { address: Some(address), mac: None }
    }

    /// An address that was leased to a host.
    pub fn leased(address: IpAddr, mac: Mac) -> Self {
        Self { address: Some(address), mac: Some(mac) }
    }

    /// The sender or receiver of frames that are not IP.
    pub fn hardware(mac: Mac) -> Self {
        Self { address: None, mac: Some(mac) }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.mac) {
            (Some(address), None) => write!(f, "{address}"),
            (Some(address), Some(mac)) => write!(f, "{address} ({mac})"),
            (None, Some(mac)) => write!(f, "{mac}"),
            (None, None) => f.write_str("nobody"),
        }
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a flow is about: a protocol and its number, as [`Selector`] has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    /// IP protocol number, or one of [`bulkhead_common::wire::pseudo`].
    pub protocol: u8,
    /// The responder's port; of ICMP `type << 8 | code`; of frames the ethertype or service access point; 0 of what has no ports.
    pub number: u16,
}

impl Service {
    /// The same as far as rules tell apart: of ICMP its type without the code.
    #[must_use]
    pub fn unit(self) -> Self {
        if protocol::is_icmp(self.protocol) { Self { number: self.number & 0xff00, ..self } } else { self }
    }

    /// The selector that means this and nothing else.
    pub fn selector(self) -> Selector {
        Selector { protocol: self.protocol, low: self.number, high: self.number }
    }
}

/// Flows that differ in nothing a policy could tell apart, but for time and the initiator's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Who began.
    pub from: End,
    /// Who answers; a multicast or broadcast address when many are asked at once.
    pub to: End,
    /// Over what.
    pub service: Service,
}

/// How much was seen of flows of one kind, within one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How many began. A flow that goes on over midnight begins once.
    pub flows: u64,
    /// Of how many the first packet was seen, so that who began is known and not guessed from ports.
    pub opened: u64,
    /// How many were answered.
    pub answered: u64,
    /// Packets from who began, and from who answers.
    pub packets: [u64; 2],
    /// Bytes of their frames, likewise.
    pub bytes: [u64; 2],
    /// Packets in both directions that the policy of their time denied.
    pub denied: u64,
    /// Those of them that were dropped.
    pub dropped: u64,
    /// When the first packet was seen, seconds since 1970 (UTC).
    pub first: i64,
    /// When the last one was.
    pub last: i64,
    /// The longest time between two signs of life, s; as fine as whoever looked.
    pub pause: u32,
    /// In which hours of the day.
    pub hours: Hours,
}

impl Seen {
    /// Nothing yet, at a moment.
    pub fn at(moment: i64) -> Self {
        Self {
            flows: 0,
            opened: 0,
            answered: 0,
            packets: [0; 2],
            bytes: [0; 2],
            denied: 0,
            dropped: 0,
            first: moment,
            last: moment,
            pause: 0,
            hours: Hours::of(moment),
        }
    }

    /// Whether anybody answered, on this day or before it: what goes on without having begun here was answered earlier. Attempts that are
    /// refused send few packets: a SYN is repeated six times (`tcp_syn_retries`, tcp(7)). Whoever was seen to begin was seen to be answered, or was
    /// not: he may ask as often as he likes from one port.
    pub fn is_answered(&self) -> bool {
        const TRIES: u64 = 8;
        let goes_on = self.packets[1] > 0 && self.packets[0] > self.flows.saturating_mul(TRIES);
        self.answered > 0 || (self.opened == 0 && goes_on)
    }

    /// Whether its conversations over this IP protocol came to something. Of TCP that is more than a handshake in both directions: a port that is
    /// open or closed answers everybody (RFC 9293 3.5.2), and several times who does not complete the handshake (3.8.1).
    pub fn is_exchange(&self, protocol: u8) -> bool {
        let [there, back] = self.packets;
        match protocol {
            protocol::TCP => {
                let least = self.answered.max(1).saturating_mul(2);
                self.is_answered() && there >= least && back >= least
            }
            _ => self.is_answered() && back > 0,
        }
    }

    /// Adds what was seen of the same kind on the same day.
    pub fn add(&mut self, more: &Self) {
        let Self { flows, opened, answered, packets, bytes, denied, dropped, first, last, pause, hours } =
            *more;
        let add = |counter: &mut u64, more: u64| *counter = counter.saturating_add(more);
        add(&mut self.flows, flows);
        add(&mut self.opened, opened);
        add(&mut self.answered, answered);
        for side in 0..2 {
            add(&mut self.packets[side], packets[side]);
            add(&mut self.bytes[side], bytes[side]);
        }
        add(&mut self.denied, denied);
        add(&mut self.dropped, dropped);
        // Between the two there was silence, where one ended before the other began.
        let between = (first - self.last).max(self.first - last).max(0);
        self.pause = self.pause.max(pause).max(u32::try_from(between).unwrap_or(u32::MAX));
        self.first = self.first.min(first);
        self.last = self.last.max(last);
        self.hours = self.hours | hours;
    }
}

/// What was seen of one kind of flow on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who, whom, over what.
    pub kind: Kind,
    /// When.
    pub day: Day,
    /// How much.
    pub seen: Seen,
}

impl Row {
    /// Kind by kind, each from its first day on: the order in which rows are read.
    pub fn in_order(&self, other: &Self) -> Ordering {
        (self.kind, self.day).cmp(&(other.kind, other.day))
    }
}

/// A time in which something happened that is in no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unseen {
    /// Since when, seconds since 1970 (UTC).
    pub from: i64,
    /// Until when.
    pub to: i64,
    /// Why.
    pub why: Why,
    /// Packets or flows that are known to be missing; 0 when nobody counted.
    pub count: u64,
}

/// Why something that happened is in no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The agent did not run, or the clock was set ahead.
    Stopped,
    /// The kernel forgot flows to make room for others before they were read.
    Forgotten,
    /// Denied packets were too many to be told apart.
    Untold,
    /// There was no room for another row.
    Full,
    /// Rows could not be written.
    Unwritten,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Stopped, Self::Forgotten, Self::Untold, Self::Full, Self::Unwritten];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Forgotten => "forgotten",
            Self::Untold => "untold",
            Self::Full => "full",
            Self::Unwritten => "unwritten",
        }
    }

    /// The same as a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Self::Stopped => "the agent did not run, or the clock was set ahead",
            Self::Forgotten => "the kernel made room for newer flows before these were read",
            Self::Untold => "denied packets were too many to be told apart",
            Self::Full => "there was no room for flows of another kind",
            Self::Unwritten => "the history could not be written",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_between_two_sights_is_a_pause() {
        let mut seen = Seen { last: 1_050, ..Seen::at(1_000) };
        seen.add(&Seen { last: 1_200, pause: 7, ..Seen::at(1_080) });
        assert_eq!((seen.first, seen.last, seen.pause), (1_000, 1_200, 30));
        // What overlaps pauses no longer than each does.
        seen.add(&Seen { last: 1_300, ..Seen::at(1_100) });
        assert_eq!((seen.last, seen.pause), (1_300, 30));
        // What comes late and was earlier.
        seen.add(&Seen { last: 900, ..Seen::at(890) });
        assert_eq!((seen.first, seen.pause), (890, 100));
    }

    #[test]
    fn refusals_and_half_a_handshake_are_no_exchange() {
        let seen = |flows, answered, packets| Seen { flows, answered, packets, ..Seen::at(0) };
        for (what, one, answered, exchange) in [
            ("a conversation", seen(1, 1, [5, 4]), true, true),
            ("one that goes on from before", seen(0, 0, [86_400, 86_400]), true, true),
            ("and an attempt beside it", seen(1, 0, [86_401, 86_400]), true, true),
            ("refused", seen(3, 0, [3, 3]), false, false),
            ("refused again and again", seen(1_000, 0, [6_000, 6_000]), false, false),
            ("half a handshake, answered six times", seen(1, 1, [1, 6]), true, false),
            ("a handshake and no more", seen(1, 1, [3, 1]), true, false),
            ("silence", seen(10, 0, [60, 0]), false, false),
        ] {
            assert_eq!((one.is_answered(), one.is_exchange(protocol::TCP)), (answered, exchange), "{what}");
        }
        assert!(seen(1, 1, [1, 1]).is_exchange(protocol::UDP));
    }

    #[test]
    fn counters_stay_where_they_can_count_no_further() {
        let mut seen = Seen { packets: [u64::MAX, 1], ..Seen::at(0) };
        seen.add(&Seen { packets: [5, 5], ..Seen::at(0) });
        assert_eq!(seen.packets, [u64::MAX, 6]);
    }

    #[test]
    fn ends_say_what_is_known_of_them() {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let address = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(End::at(address).to_string(), "10.0.0.1");
        assert_eq!(End::leased(address, mac).to_string(), "10.0.0.1 (02:00:00:00:00:01)");
        assert_eq!(End::hardware(mac).to_string(), "02:00:00:00:00:01");
    }
}
