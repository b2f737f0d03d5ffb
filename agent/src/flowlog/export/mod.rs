//! Flows that routers and switches export: NetFlow version 5, version 9 (RFC 3954) and IPFIX (RFC 7011). Datagrams in, flows out.
//!
//! Templates are those of one exporter's address, port and source or observation domain. What comes before its template waits for it. The two
//! directions of a conversation, which most exporters tell of apart, become one flow. All of it has bounds, and what was not read is counted.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
};

use super::Flow;

mod exporter;
mod fields;
mod joined;
mod record;
#[cfg(test)]
mod tests;

use exporter::{Exporter, Message};
use joined::Joined;

/// Exporters that are told apart, by address, port and domain. Each address has a share of them, and within it who was silent longest makes
/// room.
pub const MOST_EXPORTERS: usize = 64;
/// What is told now ended no later than this after now, and began no earlier than this before it, ms: an hour, and two days.
const AHEAD: i64 = 3_600_000;
const BEHIND: i64 = 2 * 86_400_000;
/// Exporters that are named as sampling.
const MOST_SAMPLED: usize = 256;

/// Who tells: an address may have several, each with templates and numbers of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Scope {
    from: SocketAddr,
    version: u16,
    domain: u32,
}

/// What became of datagrams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Datagrams, or messages of a file.
    pub datagrams: u64,
    /// Those that are no NetFlow 5, NetFlow 9 or IPFIX, or damaged.
    pub damaged: u64,
    /// Sets of records whose end could not be read.
    pub damaged_sets: u64,
    /// Records of flows that were read.
    pub records: u64,
    /// Sets of records whose template has not come yet.
    pub without_template: u64,
    /// Datagrams (NetFlow 9) or records (NetFlow 5, IPFIX) that never came, by the numbers of the exporters.
    pub missing: u64,
    /// Records that another exporter had told of.
    pub repeated: u64,
    /// Records that are no flow, by the reason.
    pub left_out: BTreeMap<&'static str, u64>,
    /// Exporters that were forgotten to make room, with their templates.
    pub forgotten: u64,
    /// Exporters that look at one packet of so many.
    pub sampled: BTreeMap<IpAddr, u64>,
}

/// Exporters, and what they told of conversations that are not complete.
pub struct Exports {
    exporters: HashMap<Scope, Exporter>,
    /// How many of them one address may be.
    share: usize,
    joined: Joined,
    heard: Heard,
    /// Counts datagrams, to know who was silent longest.
    turn: u64,
    /// The latest time of any message, ms since 1970.
    latest: i64,
}

impl Exports {
    /// None yet, from anywhere.
    pub fn new() -> Self {
        Self::of(1)
    }

    /// None yet, from so many addresses: whoever forges the one takes nothing from the other.
    pub fn of(addresses: usize) -> Self {
        Self {
            exporters: HashMap::new(),
            share: (MOST_EXPORTERS / addresses.max(1)).max(1),
            joined: Joined::default(),
            heard: Heard::default(),
            turn: 0,
            latest: 0,
        }
    }

    /// Takes a datagram that came from an exporter at a moment, ms since 1970 (without it, when it was sent), and hands over the flows that
    /// are complete.
    pub fn take(&mut self, datagram: &[u8], from: SocketAddr, now: Option<i64>, each: &mut impl FnMut(Flow)) {
        self.heard.datagrams += 1;
        self.turn += 1;
        let Some((version, domain)) = beginning(datagram) else {
            self.heard.damaged += 1;
            return;
        };
        let scope = Scope { from, version, domain };
        let known = self.exporters.remove(&scope);
        let is_new = known.is_none();
        let mut exporter = known.unwrap_or_default();
        exporter.turn = self.turn;
        let packet = exporter.read(datagram, &mut self.heard);
        let message = packet.map(|packet| exporter.message(packet, &mut self.heard));
        if !is_new || message.is_some() {
            self.make_room(&scope);
            exporter.has_told |= message.as_ref().is_some_and(|message| !message.records.is_empty());
            self.exporters.insert(scope, exporter);
        }
        if let Some(Message { sent, records, sampled }) = message {
            if let Some(every) = sampled
                && (self.heard.sampled.len() < MOST_SAMPLED || self.heard.sampled.contains_key(&from.ip()))
            {
                self.heard.sampled.insert(from.ip(), every);
            }
            let told = now;
            let now = now.unwrap_or(sent.at);
            self.latest = self.latest.max(now);
            for fields in &records {
                match record::parts(fields, &sent).and_then(|(there, back)| {
                    let of_now = |part: &record::Part| told.is_none_or(|now| is_of_late(part, now));
                    let both = of_now(&there) && back.as_ref().is_none_or(of_now);
                    if both { Ok((there, back)) } else { Err("its times are far from now") }
                }) {
                    Ok((there, back)) => {
                        self.heard.records += 1;
                        self.joined.take(there, from.ip(), now, each);
                        if let Some(back) = back {
                            self.joined.take(back, from.ip(), now, each);
                        }
                    }
                    Err(why) => *self.heard.left_out.entry(why).or_default() += 1,
                }
            }
        }
        self.joined.settle(now.unwrap_or(self.latest), each);
    }

    /// Hands over flows that have waited long enough for their other direction; `now` in ms since 1970.
    pub fn settle(&mut self, now: i64, each: &mut impl FnMut(Flow)) {
        self.joined.settle(now, each);
    }

    /// Hands over whatever waits.
    pub fn end(&mut self, each: &mut impl FnMut(Flow)) {
        self.joined.end(each);
    }

    /// What became of everything so far.
    pub fn heard(&self) -> Heard {
        Heard { repeated: self.joined.repeated, ..self.heard.clone() }
    }

    /// How many exporters are remembered.
    pub fn exporters(&self) -> usize {
        self.exporters.len()
    }

    fn make_room(&mut self, scope: &Scope) {
        let is_his = |other: &Scope| other.from.ip() == scope.from.ip();
        let is_full = self.exporters.keys().filter(|other| is_his(other)).count() >= self.share;
        if !is_full && self.exporters.len() < MOST_EXPORTERS.max(self.share) {
            return;
        }
        // Who never told of a flow goes first.
        let others = self.exporters.iter().filter(|(other, _)| !is_full || is_his(other));
        let silent =
            others.min_by_key(|(_, exporter)| (exporter.has_told, exporter.turn)).map(|(scope, _)| *scope);
        if let Some(silent) = silent {
            self.exporters.remove(&silent);
            self.heard.forgotten += 1;
        }
    }
}

impl Default for Exports {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a part that is told now, ms since 1970, may be true: whose clock is wrong, or who forges, would push out what was seen here on real
/// days.
fn is_of_late(part: &record::Part, now: i64) -> bool {
    part.last <= now.saturating_add(AHEAD) && part.first >= now.saturating_sub(BEHIND)
}

/// The version, and which part of the exporter tells: the engine, source or observation domain. None of what is no export.
fn beginning(datagram: &[u8]) -> Option<(u16, u32)> {
    let word = |at: usize| Some(u16::from_be_bytes(datagram.get(at..at + 2)?.try_into().ok()?));
    let long = |at: usize| Some(u32::from_be_bytes(datagram.get(at..at + 4)?.try_into().ok()?));
    match word(0)? {
        version @ 5 => Some((version, u32::from(word(20)?))),
        version @ 9 => Some((version, long(16)?)),
        version @ 10 => Some((version, long(12)?)),
        _ => None,
    }
}

/// Whether a datagram is one of an exporter, as far as its lengths tell.
pub fn is_export(datagram: &[u8]) -> bool {
    let word = |at: usize| Some(usize::from(u16::from_be_bytes(datagram.get(at..at + 2)?.try_into().ok()?)));
    let sets = |from: usize| {
        let mut at = from;
        while at < datagram.len() {
            match word(at + 2) {
                Some(length) if length >= 4 => at += length,
                Some(_) | None => return false,
            }
        }
        at == datagram.len() && at > from
    };
    match (word(0), word(2)) {
        (Some(5), Some(count)) => (1..=30).contains(&count) && datagram.len() == 24 + 48 * count,
        (Some(9), Some(_)) => sets(20),
        (Some(10), Some(length)) => length == datagram.len() && sets(16),
        _ => false,
    }
}
