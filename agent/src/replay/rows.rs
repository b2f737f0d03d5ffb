//! Rows of a history meet the tables. Of each kind the first packet and the answer are made up again and judged, once however many days it
//! has; where a rule holds at times, once for each hour in which the kind was seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use bulkhead_common::{
    address::Address,
    decide::{Action, Decision, Verdict, decide},
    layout::Settings,
    lookup::Rules,
    parse::Packet,
    reason::Reason,
    wire::mac,
};
use ipnet::IpNet;
use jiff::Timestamp;

use super::{
    Place, Setting,
    report::Report,
    tally::{Denied, Tally},
    words,
};
use crate::{
    compile::{Host, Memory, NEXT_HOP, Opening, Placed, STRANGER, Seat, Supposed},
    model::{Mac, Peer},
    traffic::{End, Hours, Kind, Row, Seen, Unseen},
};

/// Kinds that are judged before the hosts forget what they remember of them.
const CHUNK: u32 = 4096;
/// The port from which conversations begin.
const CLIENT_PORT: u16 = 50_000;
/// Seconds of an hour.
const HOUR: i64 = 3600;
/// Times of which rows are missing that are told one by one.
const MOST_GAPS: usize = 20;
/// Minutes of which it is remembered which schedules were open.
const MOST_MINUTES: usize = 1 << 14;

/// Judges rows, which come kind by kind.
pub fn rows(setting: Setting<'_>, rows: impl IntoIterator<Item = Row>) -> Report {
    let mut found = Rows::new(setting);
    rows.into_iter().for_each(|row| found.add(&row));
    found.report()
}

/// Rows, and what became of them so far.
pub struct Rows<'a> {
    setting: Setting<'a>,
    hosts: Vec<Stand<'a>>,
    /// Kinds since the hosts forgot.
    judged: u32,
    /// The kind at hand.
    current: Option<Current>,
    /// Which schedules were open in a minute.
    open: BTreeMap<i64, Vec<u64>>,
    gaps: usize,
    tally: Tally<'a>,
}

/// A host at a place.
struct Stand<'a> {
    host: Host<'a>,
    anywhere: bool,
}

/// A kind whose rows are coming.
struct Current {
    kind: Kind,
    begun: Begun,
    /// What is said of it whenever it is; none where that is a matter of time.
    always: Option<Decision>,
    /// What was seen at times when it is allowed, and when it is not.
    allowed: Option<Seen>,
    denied: Option<(Seen, Decision)>,
    rule: u32,
    last: i64,
}

/// How a kind begins.
#[derive(Clone, Copy)]
struct Begun {
    opening: Opening,
    leases: [Option<(Address, u64)>; 2],
    ends: [u32; 2],
    /// Whether the question passes no gateway: the gateway asks.
    asked_by_gateway: bool,
    to_group: bool,
}

impl<'a> Rows<'a> {
    /// None yet.
    pub fn new(setting: Setting<'a>) -> Self {
        // Nothing is taken on trust, and no flow is one too many.
        let settings = Settings { adopt_until: 0, flow_cap: 0, ..setting.placed.settings };
        let host = |place: &Place| {
            let Place { segment, vlans, anywhere } = place.clone();
            let placed = Placed { segment, vlans, settings, ..setting.placed.clone() };
            Stand { host: Host::new(setting.tables, placed), anywhere }
        };
        Self {
            hosts: setting.places.iter().map(host).collect(),
            judged: 0,
            current: None,
            open: BTreeMap::new(),
            gaps: 0,
            tally: Tally::new(setting),
            setting,
        }
    }

    /// The next row. Rows of one kind come one after the other, from its first day on.
    pub fn add(&mut self, row: &Row) {
        self.tally.totals.rows += 1;
        self.tally.seen(row.seen.first, row.seen.last);
        if self.current.as_ref().is_none_or(|current| current.kind != row.kind) {
            self.finish();
            let current = self.begin(row.kind);
            self.current = Some(current);
        }
        let Some(mut current) = self.current.take() else { return };
        match current.always {
            Some(decision) => current.add(&row.seen, &decision),
            None => self.by_hours(&mut current, row),
        }
        self.current = Some(current);
    }

    /// A time of which rows are missing.
    pub fn gap(&mut self, gap: &Unseen) {
        let Unseen { from, to, why, count } = *gap;
        self.gaps += 1;
        if self.gaps <= MOST_GAPS {
            let count = if count > 0 { format!(" ({count} missing)") } else { String::new() };
            let (from, to) = (words::moment(from), words::moment(to));
            self.tally.notes.push(format!("nothing is known of {from} to {to}: {}{count}", why.text()));
        }
    }

    /// What came of it.
    pub fn report(mut self) -> Report {
        self.finish();
        if let Some(more @ 1..) = self.gaps.checked_sub(MOST_GAPS) {
            self.tally.notes.push(format!("{more} more times of which rows are missing"));
        }
        self.tally.report()
    }

    fn begin(&mut self, kind: Kind) -> Current {
        self.judged += 1;
        if self.judged.is_multiple_of(CHUNK) {
            self.hosts.iter_mut().for_each(|place| place.host.adopt(Memory::default(), 1));
        }
        let begun = self.asked_group(&kind).unwrap_or_else(|| self.begun(&kind));
        let tables = self.setting.tables;
        let always = if tables.schedules.is_empty() {
            Some(self.judge(&begun))
        } else {
            // Whether time makes a difference is seen where all is open, and where nothing is.
            let closed = self.at(&vec![0; tables.schedules.len()], &begun);
            let open = self.at(&vec![u64::MAX; tables.schedules.len()], &begun);
            (is_allowed(&closed) || !is_allowed(&open)).then_some(closed)
        };
        Current { kind, begun, always, allowed: None, denied: None, rule: 0, last: i64::MIN }
    }

    /// A question to a group that nobody remembers: the kernel keeps who asked. Of those that rules name it is one that may be
    /// asked, at whatever time; none where there is none.
    fn asked_group(&mut self, kind: &Kind) -> Option<Begun> {
        let asker = kind.from.address?;
        if !kind.to.address?.is_unspecified() {
            return None;
        }
        let policy = self.setting.policy;
        let responders = policy.rules.iter().flat_map(|rule| &rule.responders);
        let groups: BTreeSet<IpAddr> = responders
            .flat_map(|peer| match peer {
                Peer::Multicast(id) => {
                    policy.multicasts[id.0 as usize].cidrs.iter().map(IpNet::addr).collect()
                }
                Peer::Broadcast => vec![IpAddr::V4(Ipv4Addr::BROADCAST)],
                Peer::Device(_) | Peer::Class(_) | Peer::Zone(_) | Peer::Group(_) => Vec::new(),
                Peer::Network(_) | Peer::Gateway | Peer::Any => Vec::new(),
            })
            .filter(|group| group.is_ipv4() == asker.is_ipv4())
            .collect();
        let open = vec![u64::MAX; self.setting.tables.schedules.len()];
        self.hosts.iter_mut().for_each(|place| place.host.reschedule(open.clone()));
        let mut questions = groups.into_iter().map(|group| self.begun(&Kind { to: End::at(group), ..*kind }));
        questions.find(|begun| is_allowed(&self.judge(begun)))
    }

    fn at(&mut self, deadlines: &[u64], begun: &Begun) -> Decision {
        for place in &mut self.hosts {
            place.host.reschedule(deadlines.to_vec());
        }
        self.judge(begun)
    }

    /// Hour by hour. A kind is seen somewhere in its hour: the minute in which it was first or last seen, where that is known, else the
    /// first of the hour.
    fn by_hours(&mut self, current: &mut Current, row: &Row) {
        let Seen { first, last, hours, .. } = row.seen;
        // Not every source tells hours.
        let hours = if hours.bits() == 0 { Hours::between(row.day, first, last) } else { hours };
        let (mut some, mut none): (Vec<i64>, Vec<i64>) = (Vec::new(), Vec::new());
        let mut denied = None;
        for hour in (0..24).filter(|hour| hours.bits() & 1 << hour != 0) {
            let begin = row.day.begin() + i64::from(hour) * HOUR;
            let moment = if (begin..begin + HOUR).contains(&first) {
                first
            } else if (begin..begin + HOUR).contains(&last) {
                last
            } else {
                begin
            };
            let open = self.open_at(moment.div_euclid(60) * 60);
            let decision = self.at(&open, &current.begun);
            if is_allowed(&decision) {
                current.rule = decision.rule;
                some.push(moment);
            } else {
                denied = Some(decision);
                none.push(moment);
            }
        }
        // How much happened in which hour is not known: each hour has its share.
        let all = (some.len() + none.len()).max(1) as u64;
        let share = |moments: &[i64]| {
            let part = moments.len() as u64;
            let of = |count: u64| {
                let share = u128::from(count) * u128::from(part) / u128::from(all);
                u64::try_from(share).unwrap_or(count).max(u64::from(count > 0))
            };
            let Seen { flows, opened, answered, packets, bytes, .. } = row.seen;
            let (Some(first), Some(last)) = (moments.first(), moments.last()) else { return None };
            Some(Seen {
                flows: of(flows),
                opened: of(opened),
                answered: of(answered),
                packets: packets.map(of),
                bytes: bytes.map(of),
                first: *first,
                last: *last,
                ..row.seen
            })
        };
        if let Some(seen) = share(&some) {
            current.last = current.last.max(seen.last);
            merge(&mut current.allowed, &seen);
        }
        if let (Some(seen), Some(decision)) = (share(&none), denied) {
            current.deny(&seen, &decision);
        }
    }

    fn open_at(&mut self, minute: i64) -> Vec<u64> {
        if self.open.len() >= MOST_MINUTES {
            self.open.clear();
        }
        let Setting { tables, now, .. } = self.setting;
        let then = Timestamp::from_second(minute).unwrap_or(now);
        self.open.entry(minute).or_insert_with(|| tables.deadlines_as_of(then, now)).clone()
    }

    fn finish(&mut self) {
        let Some(Current { kind, begun, allowed, denied, rule, last, .. }) = self.current.take() else {
            return;
        };
        if let Some(seen) = &allowed {
            let [there, back] = seen.packets;
            self.tally.used(rule, there.saturating_add(back).max(1), last);
        }
        match (denied, allowed) {
            (Some((seen, decision)), _) => {
                let Verdict::Deny(reason) = decision.verdict else { return };
                let by_name = self.setting.is_by_name(&kind, begun.ends);
                let denied = Denied { kind, seen, reason, action: decision.action, ends: begun.ends };
                self.tally.denied(denied, by_name);
            }
            (None, Some(seen)) => self.tally.allowed(seen.flows),
            (None, None) => {}
        }
    }

    fn begun(&self, kind: &Kind) -> Begun {
        let setting = &self.setting;
        let ends = [setting.device_at(&kind.from), setting.device_at(&kind.to)];
        let seat = |end: &End, device: u32, nobody: u64| {
            let device = setting.device(device);
            let own = device.and_then(|device| device.macs.first()).map(|m| mac::from_octets(m.0));
            let known = end.mac.map(|m| mac::from_octets(m.0));
            Seat {
                address: end.address.map(Address::from).unwrap_or_default(),
                mac: known.or_else(|| end.address.and_then(group_mac)).or(own).unwrap_or(nobody),
                vlan: device.and_then(|device| device.vlan).unwrap_or(0),
            }
        };
        let lease =
            |end: &End| end.address.zip(end.mac).map(|(ip, m)| (Address::from(ip), mac::from_octets(m.0)));
        let opening = Opening {
            from: seat(&kind.from, ends[0], STRANGER),
            to: seat(&kind.to, ends[1], NEXT_HOP),
            protocol: kind.service.protocol,
            service: kind.service.number,
            client_port: CLIENT_PORT,
            v4: kind.from.address.is_some_and(|address| address.is_ipv4()),
        };
        Begun {
            opening,
            leases: [lease(&kind.from), lease(&kind.to)],
            ends,
            asked_by_gateway: kind.from.address.is_some_and(|address| setting.is_gateway(address)),
            to_group: opening.to.mac & mac::GROUP != 0,
        }
    }

    /// What is said of it where it fares best: a row does not say where it was seen.
    fn judge(&self, begun: &Begun) -> Decision {
        let mut first = None;
        for place in &self.hosts {
            let decision = place.judge(begun);
            if is_allowed(&decision) {
                return decision;
            }
            first.get_or_insert(decision);
        }
        first.unwrap_or(Decision {
            verdict: Verdict::Deny(Reason::NoPolicy),
            action: Action::Pass,
            mode: bulkhead_common::mode::Mode::Monitor,
            device: 0,
            source: 0,
            destination: 0,
            rule: 0,
        })
    }
}

impl Current {
    fn add(&mut self, seen: &Seen, decision: &Decision) {
        if is_allowed(decision) {
            self.rule = decision.rule;
            self.last = self.last.max(seen.last);
            merge(&mut self.allowed, seen);
        } else {
            self.deny(seen, decision);
        }
    }

    fn deny(&mut self, seen: &Seen, decision: &Decision) {
        match &mut self.denied {
            Some((known, _)) => known.add(seen),
            None => self.denied = Some((*seen, *decision)),
        }
    }
}

impl Stand<'_> {
    /// What becomes of the first packet, and if that passes of the answer.
    fn judge(&self, begun: &Begun) -> Decision {
        let Begun { opening, asked_by_gateway, to_group, .. } = begun;
        // What the gateway asks never passes the program: its answers do.
        let question = (!asked_by_gateway).then(|| self.ask(&opening.question(), begun));
        let goes_on = question.as_ref().is_none_or(is_allowed);
        let answer = opening.answer().filter(|_| goes_on && !to_group);
        let answer = answer.map(|packet| self.ask(&packet, begun));
        match (question, answer) {
            (Some(question), Some(answer)) if is_allowed(&answer) => {
                // The rule that let it begin is the one that counts.
                Decision { rule: if question.rule == 0 { answer.rule } else { question.rule }, ..question }
            }
            (_, Some(answer)) => answer,
            (Some(question), None) => question,
            // A message of the gateway that nobody answers.
            (None, None) => self.ask(&opening.question(), begun),
        }
    }

    fn ask(&self, packet: &Packet, begun: &Begun) -> Decision {
        let Begun { leases, .. } = *begun;
        let supposed = Supposed { rules: &self.host, segment: 0, leases };
        let segment = if self.anywhere {
            let row = supposed.mac(packet.source_mac);
            if row.device != 0 { row.segment } else { supposed.endpoint(&packet.source).segment }
        } else {
            0
        };
        decide(packet, &Supposed { segment, ..supposed })
    }
}

fn is_allowed(decision: &Decision) -> bool {
    matches!(decision.verdict, Verdict::Allow(_))
}

fn merge(into: &mut Option<Seen>, seen: &Seen) {
    match into {
        Some(known) => known.add(seen),
        None => *into = Some(*seen),
    }
}

/// The hardware address of a group.
fn group_mac(address: IpAddr) -> Option<u64> {
    if address == IpAddr::from([255, 255, 255, 255]) {
        return Some(mac::BROADCAST);
    }
    address.is_multicast().then(|| mac::from_octets(Mac::of_group(address).0))
}
