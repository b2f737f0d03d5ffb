//! Two directions that were told apart become one conversation, and it is found out who began.
//!
//! The first of the two waits for the other for a while, unless it says by itself who began. What comes later of a conversation, as exporters
//! tell of long ones every few minutes, is added to it.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use bulkhead_common::{
    layout::is_answered,
    wire::{icmp, protocol, tcp},
};

use super::record::Part;
use crate::{
    flowlog::Flow,
    traffic::{Day, End, Hours, Kind, Seen},
};

/// Conversations that are remembered; of twice as many the older half is forgotten.
pub(super) const REMEMBERED: usize = 1 << 15;
/// How long one direction waits for the other, ms.
pub(super) const WAIT: i64 = 60_000;
/// A datagram after so much silence begins another conversation, ms: as recorded traffic is told apart.
const SILENCE: i64 = 180_000;

/// What ended no later than so long after what another exporter told of is the same, ms: their clocks are not one. Later it is more of it: the
/// other one may have failed.
const APART: i64 = 10_000;

/// What both directions of a conversation have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    low: (End, u16),
    high: (End, u16),
    protocol: u8,
    /// Of ICMP the request, of frames the EtherType.
    number: u16,
}

/// One direction.
#[derive(Clone, Copy)]
struct Half {
    part: Part,
    /// Which of the two came first.
    order: u8,
}

/// What is known of a conversation.
#[derive(Clone, Copy, Default)]
struct Known {
    /// On which side of the key stands who began, and at which port who answers; none as long as that is open.
    decided: Option<(u8, u16)>,
    /// What waits, by side.
    halves: [Option<Half>; 2],
    /// By side: until when it was told, ms since 1970, and by which exporter.
    told: [Option<(i64, IpAddr)>; 2],
    answered: bool,
    /// It stands among those that wait: once, however often it is told of.
    waits: bool,
}

/// Conversations whose beginning is known or waited for.
#[derive(Default)]
pub(super) struct Joined {
    young: HashMap<Key, Known>,
    old: HashMap<Key, Known>,
    /// Since when who waits, in order, ms.
    waiting: VecDeque<(i64, Key)>,
    /// Parts that another exporter had told of.
    pub(super) repeated: u64,
}

impl Joined {
    /// Takes a part of a conversation that an exporter told of at `now`, ms since 1970, and hands over what is complete.
    pub(super) fn take(&mut self, part: Part, exporter: IpAddr, now: i64, each: &mut impl FnMut(Flow)) {
        let (key, side) = key(&part);
        self.make_room(&key, each);
        let older = self.old.remove(&key);
        let known = self.young.entry(key).or_insert_with(|| older.unwrap_or_default());
        let at = usize::from(side);
        if let Some((until, by)) = known.told[at]
            && by != exporter
            && part.last <= until.saturating_add(APART)
        {
            self.repeated += 1;
            return;
        }
        if is_another(known, &part, at) {
            if let Some(flow) = decide(known) {
                each(flow);
            }
            *known = Known { waits: known.waits, ..Known::default() };
        }
        let until = known.told[at].map_or(part.last, |(until, _)| until.max(part.last));
        known.told[at] = Some((until, exporter));
        if let Some((initiator, port)) = known.decided {
            each(more(known, &part, side == initiator, port));
            return;
        }
        match &mut known.halves[at] {
            Some(half) => half.part = both(&half.part, &part),
            empty => {
                let order = u8::from(known.told[1 - at].is_some());
                *empty = Some(Half { part, order });
            }
        }
        let is_complete = known.halves.iter().all(Option::is_some);
        if is_complete || is_clear(&part) {
            each.call(decide(known));
        } else if !std::mem::replace(&mut known.waits, true) {
            self.waiting.push_back((now, key));
        }
    }

    /// Hands over what has waited long enough for its other direction; `now` in ms since 1970.
    pub(super) fn settle(&mut self, now: i64, each: &mut impl FnMut(Flow)) {
        while let Some((since, key)) = self.waiting.front().copied()
            && now.saturating_sub(since) >= WAIT
        {
            self.waiting.pop_front();
            let Some(known) = self.young.get_mut(&key).or_else(|| self.old.get_mut(&key)) else { continue };
            known.waits = false;
            if let Some(flow) = decide(known) {
                each(flow);
            }
        }
    }

    /// Hands over whatever waits.
    pub(super) fn end(&mut self, each: &mut impl FnMut(Flow)) {
        self.settle(i64::MAX, each);
    }

    /// How many conversations are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// How many wait for their other direction.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn make_room(&mut self, key: &Key, each: &mut impl FnMut(Flow)) {
        if self.young.len() < REMEMBERED || self.young.contains_key(key) {
            return;
        }
        let forgotten = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        let mut late: Vec<Flow> =
            forgotten.into_values().filter_map(|mut known| decide(&mut known)).collect();
        late.sort_by_key(|flow| (flow.seen.first, flow.kind));
        late.into_iter().for_each(&mut *each);
        let Self { old, waiting, .. } = self;
        waiting.retain(|(_, key)| old.contains_key(key));
    }
}

/// Hands over what there is.
trait Call {
    fn call(&mut self, flow: Option<Flow>);
}

impl<F: FnMut(Flow)> Call for F {
    fn call(&mut self, flow: Option<Flow>) {
        if let Some(flow) = flow {
            self(flow);
        }
    }
}

fn key(part: &Part) -> (Key, u8) {
    let (from, to) = ((part.from, part.ports[0]), (part.to, part.ports[1]));
    let number = part.number.map_or(0, |number| request(part.protocol, number).unwrap_or(number));
    let (low, high, side) = if from <= to { (from, to, 0) } else { (to, from, 1) };
    (Key { low, high, protocol: part.protocol, number }, side)
}

/// Type and code of what was asked, of an answer of ICMP.
fn request(protocol: u8, number: u16) -> Option<u16> {
    if !protocol::is_icmp(protocol) {
        return None;
    }
    icmp::request_of(protocol, number.to_be_bytes()[0]).map(|request| u16::from(request) << 8)
}

/// Whether a part begins another conversation between the same ports.
fn is_another(known: &Known, part: &Part, at: usize) -> bool {
    let Some((until, _)) = known.told[at] else { return false };
    if part.protocol == protocol::TCP
        && let Some(flags) = part.flags
    {
        // A connection that is told of in pieces is opened in the first of them.
        return flags & tcp::SYN != 0 && part.first > until;
    }
    let last = known.told.iter().flatten().map(|(until, _)| *until).max().unwrap_or(until);
    part.first.saturating_sub(last) > SILENCE
}

/// Whether it says by itself who began.
fn is_clear(part: &Part) -> bool {
    part.begins.is_some() || sends_first(part).is_some()
}

/// Whether the sender began, where the packets tell.
fn sends_first(part: &Part) -> Option<bool> {
    let kind = part.number.map(|number| number.to_be_bytes()[0]);
    match (part.protocol, part.flags, kind) {
        (protocol::TCP, Some(flags), _) if flags & (tcp::SYN | tcp::ACK) == tcp::SYN => Some(true),
        (protocol::ICMP | protocol::ICMPV6, _, Some(kind)) => {
            if icmp::is_request(part.protocol, kind) {
                Some(true)
            } else {
                icmp::request_of(part.protocol, kind).map(|_| false)
            }
        }
        _ => None,
    }
}

/// Decides who began, and adds up what waits; none where nothing does.
fn decide(known: &mut Known) -> Option<Flow> {
    let halves = std::mem::take(&mut known.halves);
    let (initiator, opened) = initiator(&halves)?;
    let side = usize::from(initiator);
    let [there, back] = [halves[side], halves[1 - side]].map(|half| half.map(|half| half.part));
    // The service is named by who answers: the port that who began sends to.
    let port = there.map(|part| part.ports[1]).or_else(|| back.map(|part| part.ports[0]))?;
    known.decided = Some((initiator, port));
    let answered = back.is_some_and(|back| answers(&back));
    known.answered = answered;
    let mut flow = match (there, back) {
        (Some(there), Some(back)) => {
            let mut flow = seen(&there, true, port);
            flow.seen.add(&seen(&back, false, port).seen);
            // Neither waited for the other.
            flow.seen.pause = 0;
            flow
        }
        (Some(there), None) => seen(&there, true, port),
        (None, Some(back)) => seen(&back, false, port),
        (None, None) => return None,
    };
    flow.seen.flows = 1;
    flow.seen.opened = u64::from(opened);
    flow.seen.answered = u64::from(answered);
    Some(flow)
}

/// On which side stands who began, and whether that is known.
fn initiator(halves: &[Option<Half>; 2]) -> Option<(u8, bool)> {
    let sides = || halves.iter().zip(0_u8..).filter_map(|(half, side)| Some((half.as_ref()?, side)));
    let first = sides().min_by_key(|(half, _)| half.order)?;
    let of = |side: u8, sends: bool| if sends { side } else { side ^ 1 };
    if let Some((side, sends)) = sides().find_map(|(half, side)| Some((side, half.part.begins?))) {
        return Some((of(side, sends), true));
    }
    if let Some((side, sends)) = sides().find_map(|(half, side)| Some((side, sends_first(&half.part)?))) {
        return Some((of(side, sends), true));
    }
    let times = halves.each_ref().map(|half| half.as_ref().map(|half| half.part.first));
    let earlier = match times {
        [Some(low), Some(high)] if low != high => Some(u8::from(high < low)),
        _ => None,
    };
    // Both directions of a connection were seen from their first packet on.
    let is_whole = sides().count() == 2
        && sides().all(|(half, _)| half.part.flags.is_some_and(|flags| flags & tcp::SYN != 0));
    if let Some(side) = earlier.filter(|_| is_whole) {
        return Some((side, true));
    }
    let by_ports = sides().find_map(|(half, side)| {
        let [from, to] = half.part.ports;
        let tells = |answers: bool| half.part.is_ported() && answers;
        if tells(is_answered(from, to)) {
            Some(side ^ 1)
        } else {
            tells(is_answered(to, from)).then_some(side)
        }
    });
    Some((by_ports.or(earlier).unwrap_or(first.1), false))
}

/// A reset alone is no answer (RFC 9293 3.5.2).
fn answers(back: &Part) -> bool {
    back.flags.is_none_or(|flags| flags & tcp::SYN != 0 || flags & tcp::RST == 0)
}

/// Something more of a conversation.
fn more(known: &mut Known, part: &Part, forward: bool, port: u16) -> Flow {
    let mut flow = seen(part, forward, port);
    if !forward && !known.answered && answers(part) {
        known.answered = true;
        flow.seen.answered = 1;
    }
    flow
}

/// What a part adds to the conversation that it belongs to.
fn seen(part: &Part, forward: bool, port: u16) -> Flow {
    let [from, to] = if forward { [part.from, part.to] } else { [part.to, part.from] };
    let mut service = part.service(port);
    if let Some(asked) = request(part.protocol, service.number) {
        service.number = asked;
    }
    let [first, last] = [part.first, part.last].map(|ms| ms.div_euclid(1000));
    let mut seen = Seen { last, hours: Hours::between(Day::of(first), first, last), ..Seen::at(first) };
    let side = usize::from(!forward);
    seen.packets[side] = part.packets;
    seen.bytes[side] = part.bytes;
    Flow { kind: Kind { from, to, service }, seen }
}

/// Two pieces of one direction.
fn both(one: &Part, more: &Part) -> Part {
    Part {
        packets: one.packets.saturating_add(more.packets),
        bytes: one.bytes.saturating_add(more.bytes),
        first: one.first.min(more.first),
        last: one.last.max(more.last),
        flags: match (one.flags, more.flags) {
            (Some(one), Some(more)) => Some(one | more),
            (one, more) => one.or(more),
        },
        ..*one
    }
}
