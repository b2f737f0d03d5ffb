//! Recorded frames meet the tables, one after the other, on the clock of the recording. Flows, fragments and leases are remembered as the
//! data path remembers them.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use bulkhead_common::{
    bytes::Bytes,
    decide::{Action, Decision, Ends, Verdict, decide, recognise},
    layout::Settings,
    lookup::Rules,
    parse::{self, Packet, parse},
    reason::Reason,
    wire::{mac, protocol},
};
use jiff::Timestamp;

use super::{
    Place, Setting,
    kinds::{Conversations, Part},
    report::{Other, Report},
    tally::{Denied, Tally},
    words::moment,
};
use crate::{
    compile::{Host, Placed, Supposed},
    model::Mac,
    policy::Remedy,
    traffic::{Day, Hours, Kind, Seen},
};

/// Kinds of conversations that are told apart.
const MOST_KINDS: usize = 1 << 18;
/// Flows that the host remembers; some frames may pass before it is looked at.
const MOST_FLOWS: usize = 1 << 18;
const ROOM_EVERY: u64 = 1 << 16;
/// ns of a second and of a minute.
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;

/// What became of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It was judged.
    Decided(Decision),
    /// Too little of it was recorded.
    Cut,
}

/// Recorded frames, and what became of them so far.
pub struct Frames<'a> {
    setting: Setting<'a>,
    host: Host<'a>,
    /// Which of the places the host is at.
    place: usize,
    anywhere: bool,
    /// The minute for which schedules are open.
    minute: Option<u64>,
    conversations: Conversations,
    kinds: HashMap<Kind, Sighting>,
    /// How many of them there may be, and at how many refused ones attempts make room again.
    pub(super) most: usize,
    room_at: u64,
    others: BTreeMap<(u32, u8), Strange>,
    words: BTreeMap<&'static str, u64>,
    tally: Tally<'a>,
}

/// What was seen of one kind.
struct Sighting {
    seen: Seen,
    /// Devices at its ends.
    ends: [u32; 2],
    /// Packets that were allowed.
    allowed: u64,
    /// Why others were not: the reason that tells most, whether it is of a packet that goes forward, and what happens to them.
    denied: Option<(Reason, bool, Action)>,
    /// Packets without a flow.
    late: u64,
    /// What happened to packets without a flow of conversations that had passed and were not over.
    broken_off: Option<Action>,
}

/// Denied packets that are no conversation.
struct Strange {
    first: u64,
    packets: u64,
    dropped: u64,
    ends: [String; 2],
}

/// Bytes that remember whether somebody wanted to read what was not recorded.
struct Watched<'b, B: ?Sized> {
    bytes: &'b B,
    missed: Cell<bool>,
}

impl<B: Bytes + ?Sized> Bytes for Watched<'_, B> {
    fn len(&self) -> u32 {
        self.bytes.len()
    }

    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let found = self.bytes.array(offset);
        let end = offset.saturating_add(N) as u64;
        if found.is_none() && end <= u64::from(self.bytes.len()) {
            self.missed.set(true);
        }
        found
    }
}

/// Reads a frame, unless what is missing of it would have been read.
pub(super) fn read<B: Bytes + ?Sized>(bytes: &B) -> Option<Packet> {
    let watched = Watched { bytes, missed: Cell::new(false) };
    let packet = parse(&watched);
    (!watched.missed.get()).then_some(packet)
}

impl<'a> Frames<'a> {
    /// None yet, at the first place. Conversations under way are taken over until [`Settings::adopt_until`], on the clock of the frames.
    pub fn new(setting: Setting<'a>, settings: Settings) -> Self {
        let Place { segment, vlans, anywhere } = setting.places.first().cloned().unwrap_or_default();
        let placed = Placed { segment, vlans, settings, ..setting.placed.clone() };
        Self {
            host: Host::new(setting.tables, placed),
            place: 0,
            anywhere,
            minute: None,
            conversations: Conversations::default(),
            kinds: HashMap::new(),
            most: MOST_KINDS,
            room_at: 0,
            others: BTreeMap::new(),
            words: BTreeMap::new(),
            tally: Tally::new(setting),
            setting,
        }
    }

    /// A frame arrives at one of the places, ns since 1970.
    pub fn arrive<B: Bytes + ?Sized>(&mut self, frame: &B, time: u64, place: usize) -> Judged {
        self.tally.totals.frames += 1;
        if self.tally.totals.frames.is_multiple_of(ROOM_EVERY) {
            self.host.make_room(MOST_FLOWS);
        }
        let seconds = seconds(time);
        self.tally.seen(seconds, seconds);
        let Some(packet) = read(frame) else {
            self.tally.totals.cut += 1;
            return Judged::Cut;
        };
        self.be_at(place, time);
        let (decision, shown) = if self.anywhere {
            let row = self.host.mac(packet.source_mac);
            let segment =
                if row.device != 0 { row.segment } else { self.host.endpoint(&packet.source).segment };
            decided(&packet, &Supposed { rules: &self.host, segment, leases: [None; 2] })
        } else {
            decided(&packet, &self.host)
        };
        self.count(&packet, &shown, &decision, time);
        Judged::Decided(decision)
    }

    /// One that the interface sent itself.
    pub fn leave(&mut self, time: u64) {
        self.tally.totals.frames += 1;
        self.tally.totals.outbound += 1;
        self.tally.seen(seconds(time), seconds(time));
    }

    /// Something that a person should know.
    pub fn note(&mut self, note: String) {
        self.tally.notes.push(note);
    }

    fn be_at(&mut self, place: usize, time: u64) {
        self.host.set_now(time);
        if place != self.place
            && let Some(Place { segment, vlans, anywhere }) = self.setting.places.get(place)
        {
            self.host.move_to(*segment, vlans.clone());
            (self.place, self.anywhere) = (place, *anywhere);
        }
        let minute = time / MINUTE;
        if !self.setting.tables.schedules.is_empty() && self.minute != Some(minute) {
            self.minute = Some(minute);
            let seconds = seconds(minute * MINUTE);
            let then = Timestamp::from_second(seconds).unwrap_or(self.setting.now);
            self.host.reschedule(self.setting.tables.deadlines_as_of(then, self.setting.now));
        }
    }

    fn count(&mut self, packet: &Packet, shown: &Packet, decision: &Decision, time: u64) {
        let (word, reason) = match decision.verdict {
            Verdict::Allow(grant) => (grant.name(), None),
            Verdict::Deny(reason) => (reason.name(), Some(reason)),
        };
        *self.words.entry(word).or_default() += 1;
        if decision.rule != 0 {
            self.tally.used(decision.rule, 1, seconds(time));
        }
        let part = match shown.fault {
            None => self.conversations.part(shown, time, reason.is_none()),
            Some(_) => None,
        };
        match (part, reason) {
            (Some(part), _) => self.converse(packet, &part, decision, reason, time),
            (None, Some(reason)) => self.strange(packet, decision, reason, time),
            (None, None) => {}
        }
    }

    fn converse(
        &mut self,
        packet: &Packet,
        part: &Part,
        decision: &Decision,
        reason: Option<Reason>,
        time: u64,
    ) {
        let Part { kind, forward, begins, opens, answers, goes_on } = *part;
        let ends = [decision.source, decision.destination];
        let ends = if forward { ends } else { [ends[1], ends[0]] };
        let moment = seconds(time);
        if self.kinds.len() >= self.most && !self.kinds.contains_key(&kind) {
            self.forget_attempts();
        }
        let full = self.kinds.len() >= self.most;
        let sighting = match self.kinds.get_mut(&kind) {
            Some(sighting) => sighting,
            None if full => {
                self.tally.totals.refused += u64::from(begins || self.tally.totals.refused == 0);
                return;
            }
            None => self.kinds.entry(kind).or_insert_with(|| Sighting {
                seen: Seen::at(moment),
                ends,
                allowed: 0,
                denied: None,
                late: 0,
                broken_off: None,
            }),
        };
        let Sighting { seen, ends: known, allowed, denied, late, broken_off } = sighting;
        for (known, end) in known.iter_mut().zip(ends) {
            *known = if *known == 0 { end } else { *known };
        }
        let side = usize::from(!forward);
        seen.flows += u64::from(begins);
        seen.opened += u64::from(opens);
        seen.answered += u64::from(answers);
        seen.packets[side] += 1;
        seen.bytes[side] += u64::from(packet.len);
        seen.first = seen.first.min(moment);
        seen.last = seen.last.max(moment);
        if Day::of(moment) == Day::of(seen.first) {
            seen.hours = seen.hours | Hours::of(moment);
        }
        let Some(reason) = reason else {
            *allowed += 1;
            return;
        };
        seen.denied += 1;
        seen.dropped += u64::from(decision.action == Action::Drop);
        let is_late = Remedy::of(reason) == Remedy::Flow;
        *late += u64::from(is_late);
        if is_late && goes_on && *broken_off != Some(Action::Drop) {
            *broken_off = Some(decision.action);
        }
        let weight = |reason: Reason, forward: bool| (Remedy::of(reason) != Remedy::Flow, forward);
        let tells_more = denied
            .is_none_or(|(before, was_forward, _)| weight(before, was_forward) < weight(reason, forward));
        if tells_more {
            *denied = Some((reason, forward, decision.action));
        }
    }

    /// What nobody answered makes room for what is talked about: a scan at the beginning shuts nobody out. Of what could not be answered
    /// nothing is known before the end.
    fn forget_attempts(&mut self) {
        if self.tally.totals.refused < self.room_at {
            return;
        }
        let answerable =
            |kind: &Kind| matches!(kind.service.protocol, protocol::TCP | protocol::ICMP | protocol::ICMPV6);
        let is_attempt =
            |kind: &Kind, sighting: &mut Sighting| answerable(kind) && !sighting.seen.is_answered();
        for (kind, sighting) in self.kinds.extract_if(is_attempt) {
            settle(&mut self.tally, kind, &sighting);
        }
        // Where that gained little it is not tried with every frame.
        let gained = self.most.saturating_sub(self.kinds.len());
        if gained < self.most / 16 {
            self.room_at = self.tally.totals.refused + (self.most / 16) as u64;
        }
    }

    fn strange(&mut self, packet: &Packet, decision: &Decision, reason: Reason, time: u64) {
        let strange = self.others.entry((decision.device, reason.code())).or_insert_with(|| Strange {
            first: time,
            packets: 0,
            dropped: 0,
            ends: ends_of(packet),
        });
        strange.packets += 1;
        strange.dropped += u64::from(decision.action == Action::Drop);
    }

    /// What came of it.
    pub fn report(mut self) -> Report {
        let mut kinds: Vec<(Kind, Sighting)> = self.kinds.drain().collect();
        kinds.sort_by_key(|(kind, _)| *kind);
        kinds.into_iter().for_each(|(kind, sighting)| settle(&mut self.tally, kind, &sighting));
        self.tally.totals.words =
            self.words.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
        let mut others: Vec<((u32, u8), Strange)> = self.others.into_iter().collect();
        others.sort_by_key(|(key, strange)| (std::cmp::Reverse((strange.dropped, strange.packets)), *key));
        for ((device, code), Strange { first, packets, dropped, ends: [source, destination] }) in others {
            let Some(reason) = Reason::from_code(code) else { continue };
            let device = self.setting.device(device).map(|device| device.name.clone());
            let help = match Remedy::of(reason) {
                Remedy::Other(advice) => {
                    Some(advice.replace("DEVICE", device.as_deref().unwrap_or("DEVICE")))
                }
                Remedy::Rule | Remedy::Flow => None,
            };
            self.tally.others.push(Other {
                device,
                reason: reason.name().to_owned(),
                explanation: reason.text().to_owned(),
                packets,
                dropped,
                source,
                destination,
                first: moment(seconds(first)),
                help,
            });
        }
        self.tally.report()
    }
}

/// What came of a kind.
fn settle(tally: &mut Tally<'_>, kind: Kind, sighting: &Sighting) {
    let Sighting { seen, ends, allowed, denied, late, broken_off } = *sighting;
    let new =
        |reason, action, broken_off| Denied { kind, seen, reason, action, ends, unknown: false, broken_off };
    let denied = denied.filter(|(reason, ..)| allowed == 0 || Remedy::of(*reason) != Remedy::Flow);
    match (denied, broken_off) {
        (Some((reason, _, action)), _) => tally.denied(new(reason, action, false)),
        (None, Some(action)) => tally.denied(new(Reason::NoFlow, action, true)),
        (None, None) => {
            tally.totals.late_packets += late;
            tally.allowed(seen.flows);
        }
    }
}

/// The decision, and the packet with what was found out about it on the way: the ports of a later fragment.
fn decided<R: Rules>(packet: &Packet, rules: &R) -> (Decision, Packet) {
    let (mut shown, mut ends) = (*packet, Ends::unknown());
    recognise(&mut shown, rules, &mut ends);
    (decide(packet, rules), shown)
}

pub(super) fn seconds(time: u64) -> i64 {
    i64::try_from(time / SECOND).unwrap_or(i64::MAX)
}

/// Who sends to whom, as far as it was read.
fn ends_of(packet: &Packet) -> [String; 2] {
    let is_ip = matches!(packet.kind, parse::Kind::Ip | parse::Kind::Neighbor | parse::Kind::Arp);
    if is_ip && !packet.source.is_unspecified() {
        return [packet.source, packet.destination].map(|address| IpAddr::from(address).to_string());
    }
    [packet.source_mac, packet.destination_mac].map(|address| Mac(mac::octets(address)).to_string())
}
