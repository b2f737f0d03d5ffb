//! A kind of conversation that was seen begins once more. In: who, whom, over what, and on which segments packets may be seen. Out: what
//! the tables say of its first packet and of the answer.

use std::{collections::BTreeMap, net::IpAddr};

use bulkhead_common::{
    address::Address,
    decide::{Action, Decision, Verdict, decide},
    layout::SegmentRow,
    lookup::Rules,
    parse::Packet,
    wire::mac,
};

use super::{Host, Memory, NEXT_HOP, Opening, Party, STRANGER, Seat, Supposed, Who};
use crate::{
    model::{DeviceId, Mac},
    traffic::{End, Kind},
};

/// The port from which conversations begin.
const CLIENT_PORT: u16 = 50_000;

/// On which segments packets may be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// Any: nobody says which there are. Each sender is on the one on which its device must be seen, and all have these switches.
    Anywhere(SegmentRow),
    /// These, each with its VLAN. A sender is on the one on which its device must be seen; where the policy does not say which that is,
    /// on the one on which it fares worst. At least one.
    Segments(Vec<(Option<u16>, SegmentRow)>),
}

impl Field {
    /// Of the segments of a configuration, each with its VLAN; `defaults` where there are none.
    pub fn of(mut segments: Vec<(Option<u16>, SegmentRow)>, defaults: SegmentRow) -> Self {
        // Those with the same switches stand together.
        segments.sort_by_key(|(_, row)| switches(row));
        if segments.is_empty() { Self::Anywhere(defaults) } else { Self::Segments(segments) }
    }
}

fn switches(row: &SegmentRow) -> (u32, u8, u8) {
    let SegmentRow { counter: _, redirect: _, infrastructure, segment: _, unmanaged, flags } = *row;
    (infrastructure, unmanaged, flags)
}

/// How a kind begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The first packet and the answer.
    pub opening: Opening,
    /// Who began, and who answers.
    pub parties: [Party; 2],
    leases: [Option<(Address, u64)>; 2],
    /// Whether the question passes no program: the gateway asks.
    asked_by_gateway: bool,
    /// On which segment each end was seen, where another policy says so; 0 where it is as these tables say.
    segments: [u16; 2],
}

impl Begun {
    /// Of a kind that was seen.
    pub fn of(kind: &Kind, who: &Who<'_>) -> Self {
        let is_group = |end: &End| end.mac.is_some_and(Mac::is_group);
        let lease = |end: &End| {
            let (address, Mac(octets)) = end.address.zip(end.mac).filter(|_| !is_group(end))?;
            Some((Address::from(address), mac::from_octets(octets)))
        };
        // Frames stand in the order in which they were seen, whoever they are: both may speak.
        let mut parties = who.parties(kind);
        if parties[0].1 != kind.from {
            parties.reverse();
        }
        let [from, to] = parties;
        let opening = Opening {
            from: seat(who, from, STRANGER),
            to: seat(who, to, NEXT_HOP),
            protocol: kind.service.protocol,
            service: kind.service.number,
            client_port: CLIENT_PORT,
            v4: kind.from.address.is_some_and(|address| address.is_ipv4()),
        };
        Self {
            opening,
            parties: [from.0, to.0],
            leases: [lease(&kind.from), lease(&kind.to)],
            asked_by_gateway: from.0 == Party::Gateway,
            segments: [0; 2],
        }
    }

    /// The same packets with what another policy knows of their senders, for ends that it has as devices and where `differs` says that
    /// this one has them otherwise: the hardware address, the tag and the segment (0 for any) with which it lets them pass.
    #[must_use]
    pub fn sent_as(mut self, known: &Self, differs: [bool; 2], segments: [u16; 2]) -> Self {
        self.segments = segments;
        let Opening { from, to, .. } = &mut self.opening;
        let ends = [(from, known.opening.from), (to, known.opening.to)];
        for ((seat, seen), differs) in ends.into_iter().zip(differs) {
            if differs && seen.mac != STRANGER && seen.mac != NEXT_HOP {
                seat.mac = seen.mac;
            }
            if differs && seen.vlan != 0 {
                seat.vlan = seen.vlan;
            }
        }
        self
    }

    /// The devices at its ends by their dense ids; 0 where it is none's.
    pub fn devices(&self) -> [u32; 2] {
        self.parties.map(|party| party.device().map_or(0, |DeviceId(id)| id + 1))
    }

    /// What becomes of the first packet, and if that passes of the answer. The host forgets what it remembers.
    pub fn meets(&self, host: &mut Host<'_>, field: &Field) -> Decision {
        host.adopt(Memory::default(), 1);
        self.asked(|packet, answers| self.worst(host, field, packet, !answers))
    }

    /// What becomes of the first packet, and if that passes of the answer, where each of them (and whether it is the answer) is asked
    /// about.
    pub fn asked(&self, mut ask: impl FnMut(&Packet, bool) -> Decision) -> Decision {
        let to_many = self.opening.to.mac & mac::GROUP != 0;
        // What the gateway asks and answers never passes the program: only what it is asked and answered does.
        let question = (!self.asked_by_gateway).then(|| ask(&self.opening.question(), false));
        let goes_on = question.as_ref().is_none_or(is_allowed);
        let is_heard = goes_on && !to_many && self.parties[1] != Party::Gateway;
        let answer = self.opening.answer().filter(|_| is_heard);
        let answer = answer.map(|packet| ask(&packet, true));
        match (question, answer) {
            (Some(question), Some(answer)) if is_allowed(&answer) => {
                // The rule that let it begin is the one that counts.
                Decision { rule: if question.rule == 0 { answer.rule } else { question.rule }, ..question }
            }
            (_, Some(answer)) => answer,
            (Some(question), None) => question,
            // A message of the gateway that nobody answers.
            (None, None) => ask(&self.opening.question(), false),
        }
    }

    /// What the leases say that both ends showed when they were seen.
    pub fn supposed<'h, 't>(&self, host: &'h Host<'t>, segment: u16) -> Supposed<'h, Host<'t>> {
        Supposed { rules: host, segment, leases: self.leases }
    }

    /// What becomes of a packet on the segment of its sender, or where it fares worst. One that begins is never helped by the flow of
    /// another segment.
    fn worst(&self, host: &mut Host<'_>, field: &Field, packet: &Packet, begins: bool) -> Decision {
        let supposed = Supposed { rules: &*host, segment: 0, leases: self.leases };
        let row = supposed.mac(packet.source_mac);
        let seen = self.segments[usize::from(!begins)];
        let own = if row.device != 0 { row.segment } else { supposed.endpoint(&packet.source).segment };
        let bound = if seen != 0 { seen } else { own };
        let rows = match field {
            Field::Anywhere(row) => return self.ask(host, *row, bound, packet),
            Field::Segments(rows) => rows,
        };
        let own = rows.iter().find(|(_, row)| bound != 0 && row.segment == bound);
        let on_vlan = |(vlan, _): &&(Option<u16>, SegmentRow)| *vlan == Some(packet.vlan);
        let is_tagged = packet.vlan != 0 && rows.iter().any(|one| on_vlan(&one));
        let possible = rows.iter().filter(|one| match own {
            Some(own) => *one == own,
            None => !is_tagged || on_vlan(one),
        });
        let mut worst: Option<Decision> = None;
        let mut fared = None;
        for (_, row) in possible {
            // Segments with the same switches say the same.
            if own.is_none() && fared.replace(switches(row)) == Some(switches(row)) {
                continue;
            }
            if begins && worst.is_some() {
                host.adopt(Memory::default(), 1);
            }
            let decision = self.ask(host, *row, 0, packet);
            if worst.is_none_or(|worst| harm(&worst) < harm(&decision)) {
                worst = Some(decision);
            }
        }
        worst.unwrap_or_else(|| self.ask(host, SegmentRow::default(), 0, packet))
    }

    fn ask(&self, host: &mut Host<'_>, row: SegmentRow, segment: u16, packet: &Packet) -> Decision {
        host.move_to(row, BTreeMap::new());
        decide(packet, &Supposed { rules: &*host, segment, leases: self.leases })
    }
}

/// An end as its packets show it.
fn seat(who: &Who<'_>, (party, end): (Party, End), nobody: u64) -> Seat {
    let device = party.device().map(|id| who.device(id));
    let made = || end.address.and_then(|address| who.maker(address)).map(|(_, mac)| mac);
    let own = || device.and_then(|device| device.macs.first().copied());
    let many = || {
        let everybody = (party == Party::Broadcast).then_some(Mac(mac::octets(mac::BROADCAST)));
        everybody.or_else(|| end.address.filter(IpAddr::is_multicast).map(Mac::of_group))
    };
    let known = end.mac.or_else(many).or_else(made).or_else(own);
    Seat {
        address: end.address.map(Address::from).unwrap_or_default(),
        mac: known.map_or(nobody, |Mac(octets)| mac::from_octets(octets)),
        vlan: device.and_then(|device| device.vlan).unwrap_or(0),
    }
}

/// Whether the verdict is allow, whatever becomes of the packet.
pub fn is_allowed(decision: &Decision) -> bool {
    matches!(decision.verdict, Verdict::Allow(_))
}

/// How much harm it does.
fn harm(decision: &Decision) -> u8 {
    match (decision.verdict, decision.action) {
        (Verdict::Allow(_), _) => 0,
        (Verdict::Deny(_), Action::Pass) => 1,
        (Verdict::Deny(_), Action::Drop) => 2,
    }
}
