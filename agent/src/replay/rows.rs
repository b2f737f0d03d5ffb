//! Rows of a history meet the tables. Of each kind the first packet and the answer are made up again and judged, once however many days it
//! has; where a rule holds at times, once for each hour in which the kind was seen.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr},
};

use bulkhead_common::{
    decide::{Decision, Verdict},
    layout::{SegmentRow, Settings},
};
use ipnet::IpNet;

use super::{
    Place, Setting,
    report::Report,
    tally::{Denied, Tally},
    touching::{self, Touching},
    words,
};
use crate::{
    compile::{Begun, Calendar, Field, Host, Party, Placed, is_allowed},
    model::{Peer, Policy},
    traffic::{End, Hours, Kind, Row, Seen, Service, Unseen},
};

/// Times of which rows are missing that are told one by one.
const MOST_GAPS: usize = 20;
/// Answers about whoever nobody knows that are remembered.
const MOST_GUESTS: usize = 1 << 16;

/// Judges rows, which come kind by kind.
pub fn rows(setting: Setting<'_>, rows: impl IntoIterator<Item = Row>) -> Report {
    let mut found = Rows::new(setting);
    rows.into_iter().for_each(|row| found.add(&row));
    found.report()
}

/// Rows, and what became of them so far.
pub struct Rows<'a> {
    setting: Setting<'a>,
    host: Host<'a>,
    field: Field,
    /// The kind at hand.
    current: Option<Current>,
    calendar: Calendar<'a>,
    gaps: usize,
    /// Whether some device may do this with a known end, as the one that begins or as the other.
    guests: HashMap<(End, Service, bool), bool>,
    tally: Tally<'a>,
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

impl<'a> Rows<'a> {
    /// None yet.
    pub fn new(setting: Setting<'a>) -> Self {
        // Nothing is taken on trust, and no flow is one too many.
        let settings = Settings { adopt_until: 0, flow_cap: 0, ..setting.placed.settings };
        Self {
            host: Host::new(setting.tables, Placed { settings, ..setting.placed.clone() }),
            field: field(setting.places),
            current: None,
            calendar: Calendar::new(setting.tables, setting.now),
            gaps: 0,
            guests: HashMap::new(),
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

    /// The same, and what becomes of the conversations of each device that had any, by its name.
    pub fn touching(setting: Setting<'a>) -> Self {
        let mut rows = Self::new(setting);
        rows.tally.touching = Some(BTreeMap::new());
        rows
    }

    /// What came of it, device by device as well if these are [`Rows::touching`].
    pub fn reports(mut self) -> (Report, BTreeMap<String, Touching>) {
        self.finish();
        let touching = self.tally.touching.take().unwrap_or_default();
        let touching = touching::told(&self.setting, touching);
        (self.report(), touching)
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
        let begun = self.asked_group(&kind).unwrap_or_else(|| Begun::of(&kind, &self.tally.who));
        let count = self.setting.tables.schedules.len();
        // Whether time makes a difference is seen where all is closed, and where nothing is.
        let closed = self.at(&vec![0; count], &begun);
        let always = if count == 0 || is_allowed(&closed) {
            Some(closed)
        } else {
            let open = self.at(&vec![u64::MAX; count], &begun);
            (!is_allowed(&open)).then_some(closed)
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
        let open = vec![u64::MAX; self.setting.tables.schedules.len()];
        let questions: Vec<Begun> = groups(self.setting.policy, asker)
            .into_iter()
            .map(|group| Begun::of(&Kind { to: End::at(group), ..*kind }, &self.tally.who))
            .collect();
        questions.into_iter().find(|begun| is_allowed(&self.at(&open, begun)))
    }

    fn at(&mut self, deadlines: &[u64], begun: &Begun) -> Decision {
        self.host.reschedule(deadlines.to_vec());
        begun.meets(&mut self.host, &self.field)
    }

    /// Hour by hour. A kind is seen somewhere in its hour: it is judged at the moments at which that may have been, and what is worst counts.
    fn by_hours(&mut self, current: &mut Current, row: &Row) {
        let Seen { first, last, hours, .. } = row.seen;
        // Not every source tells hours.
        let hours = if hours.bits() == 0 { Hours::between(row.day, first, last) } else { hours };
        let (mut some, mut none): (Vec<[i64; 2]>, Vec<[i64; 2]>) = (Vec::new(), Vec::new());
        let mut denied = None;
        for edges in hours.edges(row.day, first, last) {
            let mut worse = None;
            for (moment, open) in self.calendar.during(edges) {
                let decision = self.at(&open, &current.begun);
                if !is_allowed(&decision) {
                    worse = Some((moment, decision));
                    break;
                }
                current.rule = decision.rule;
            }
            match worse {
                Some((moment, decision)) => {
                    denied = Some(decision);
                    none.push([moment, edges[1]]);
                }
                // What is allowed is heard at the begin of its hour at least.
                None => some.push([edges[0]; 2]),
            }
        }
        // How much happened in which hour is not known: each hour has its share.
        let all = (some.len() + none.len()).max(1) as u64;
        let share = |moments: &[[i64; 2]]| {
            let part = moments.len() as u64;
            let of = |count: u64| {
                let share = u128::from(count) * u128::from(part) / u128::from(all);
                u64::try_from(share).unwrap_or(count).max(u64::from(count > 0))
            };
            let Seen { flows, opened, answered, packets, bytes, .. } = row.seen;
            let (Some([first, _]), Some([_, last])) = (moments.first(), moments.last()) else { return None };
            Some(Seen {
                flows: of(flows),
                opened: of(opened),
                // What was answered was so in whichever of its hours.
                answered: of(answered).max(u64::from(row.seen.is_answered())),
                packets: packets.map(of),
                bytes: bytes.map(of),
                first: *first,
                last: *last,
                ..row.seen
            })
        };
        if let Some(seen) = share(&some) {
            current.allow(&seen);
        }
        if let (Some(seen), Some(decision)) = (share(&none), denied) {
            current.deny(&seen, &decision);
        }
    }

    /// Whether it would be allowed if whoever nobody knows were one of the devices. Of two whom nobody knows anything may be.
    fn may_be_allowed(&mut self, kind: &Kind, nobodys: [bool; 2]) -> bool {
        let (known, unknown) = match nobodys {
            [true, false] => (kind.to, kind.from),
            [false, true] => (kind.from, kind.to),
            [true, true] | [false, false] => return true,
        };
        let asked = (known, kind.service, nobodys[0]);
        if let Some(answer) = self.guests.get(&asked) {
            return *answer;
        }
        let open = vec![u64::MAX; self.setting.tables.schedules.len()];
        let macs = self.setting.policy.devices.iter().filter_map(|device| device.macs.first());
        let answer = unknown.address.is_some_and(|address| {
            macs.into_iter().any(|mac| {
                let guest = End::leased(address, *mac);
                let kind =
                    if nobodys[0] { Kind { from: guest, ..*kind } } else { Kind { to: guest, ..*kind } };
                let begun = Begun::of(&kind, &self.tally.who);
                self.host.reschedule(open.clone());
                is_allowed(&begun.meets(&mut self.host, &self.field))
            })
        });
        if self.guests.len() >= MOST_GUESTS {
            self.guests.clear();
        }
        self.guests.insert(asked, answer);
        answer
    }

    fn finish(&mut self) {
        let Some(Current { kind, begun, allowed, denied, rule, last, .. }) = self.current.take() else {
            return;
        };
        if let Some(seen) = &allowed {
            let [there, back] = seen.packets;
            self.tally.used(rule, there.saturating_add(back).max(1), last);
            if let Some(all) = &mut self.tally.touching {
                touching::allowed(all, begun.devices());
            }
        }
        match (denied, allowed) {
            (Some((seen, decision)), _) => {
                let Verdict::Deny(reason) = decision.verdict else { return };
                let is_link_local = |end: &End| match end.address {
                    Some(IpAddr::V6(v6)) => v6.is_unicast_link_local(),
                    Some(IpAddr::V4(_)) | None => false,
                };
                // Of whoever makes his address of nothing that is known no packet can be made: it is his hardware address that counts.
                let is_nobodys = |(end, party)| party == Party::Unknown && is_link_local(end);
                let nobodys = [(&kind.from, begun.parties[0]), (&kind.to, begun.parties[1])].map(is_nobodys);
                let unknown = nobodys.contains(&true) && self.may_be_allowed(&kind, nobodys);
                let (action, ends) = (decision.action, begun.devices());
                self.tally.denied(Denied { kind, seen, reason, action, ends, unknown, broken_off: false });
            }
            (None, Some(seen)) => self.tally.allowed(seen.flows),
            (None, None) => {}
        }
    }
}

/// The groups that rules name and that somebody with this address may ask.
pub(super) fn groups(policy: &Policy, asker: IpAddr) -> BTreeSet<IpAddr> {
    let responders = policy.rules.iter().flat_map(|rule| &rule.responders);
    responders
        .flat_map(|peer| match peer {
            Peer::Multicast(id) => policy.multicasts[id.0 as usize].cidrs.iter().map(IpNet::addr).collect(),
            Peer::Broadcast => vec![IpAddr::V4(Ipv4Addr::BROADCAST)],
            Peer::Device(_) | Peer::Class(_) | Peer::Zone(_) | Peer::Group(_) => Vec::new(),
            Peer::Network(_) | Peer::Gateway | Peer::Any => Vec::new(),
        })
        .filter(|group| group.is_ipv4() == asker.is_ipv4())
        .collect()
}

/// On which segments the traffic of these places may have been.
pub(super) fn field(places: &[Place]) -> Field {
    let of_place = |place: &Place| {
        let vlans: Vec<_> = place.vlans.iter().map(|(vlan, row)| (Some(*vlan), *row)).collect();
        std::iter::once((None, place.segment)).chain(vlans)
    };
    let configured = places.iter().filter(|place| !place.anywhere).flat_map(of_place).collect();
    let defaults = places.iter().find(|place| place.anywhere).map(|place| place.segment);
    Field::of(configured, defaults.unwrap_or(SegmentRow::default()))
}

impl Current {
    fn add(&mut self, seen: &Seen, decision: &Decision) {
        if is_allowed(decision) {
            self.rule = decision.rule;
            self.allow(seen);
        } else {
            self.deny(seen, decision);
        }
    }

    fn allow(&mut self, seen: &Seen) {
        self.last = self.last.max(seen.last);
        merge(&mut self.allowed, seen);
    }

    fn deny(&mut self, seen: &Seen, decision: &Decision) {
        match &mut self.denied {
            Some((known, _)) => known.add(seen),
            None => self.denied = Some((*seen, *decision)),
        }
    }
}

fn merge(into: &mut Option<Seen>, seen: &Seen) {
    match into {
        Some(known) => known.add(seen),
        None => *into = Some(*seen),
    }
}
