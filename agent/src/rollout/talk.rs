//! Whether tables allow a conversation: its first packet and the answer are made up of what is known of both ends, and judged by `decide`.
//!
//! In: who with whom, over what; from a packet also who sent it, as it was seen. Out: what is decided, with the rule that lets it begin.

use std::{collections::BTreeSet, net::IpAddr};

use bulkhead_common::{
    address::Address,
    decide::{Decision, Verdict, decide},
    lookup::Rules as _,
    parse::Packet,
    wire::mac,
};

use crate::{
    compile::{Host, NEXT_HOP, Opening, STRANGER, Seat, Supposed, Tables},
    model::{Device, Mac, Policy},
    traffic::{End, Kind},
};

/// The port from which conversations begin where none is known.
const CLIENT_PORT: u16 = 50_000;

/// A packet as it was seen, as far as its kind does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Whether it was sent by who answers.
    pub answers: bool,
    /// From this hardware address.
    pub mac: Mac,
    /// With this tag; 0 without one.
    pub vlan: u16,
}

/// A conversation as tables are asked about it.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    opening: Opening,
    leases: [Option<(Address, u64)>; 2],
    /// What the gateway asks never passes the program: its answers do.
    asked_by_gateway: bool,
    to_group: bool,
    /// Which of both packets was seen where the host is: that of who answers, or that of who began.
    seen: Option<bool>,
}

/// A policy with its tables, as it was or is in force.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// What it says.
    pub policy: &'a Policy,
    /// What packets meet.
    pub tables: &'a Tables,
}

impl<'a> Side<'a> {
    /// The device at an end.
    pub fn device_at(&self, end: &End) -> Option<&'a Device> {
        let by_mac = end.mac.and_then(|m| self.tables.macs.get(&mac::from_octets(m.0)));
        let by_address = || end.address.and_then(|a| self.tables.addresses.get(&Address::from(a)));
        let row = by_mac.filter(|row| row.device != 0).or_else(by_address)?;
        self.policy.devices.get((row.device as usize).checked_sub(1)?)
    }
}

impl Talk {
    /// A conversation as these tables would see it, and the packet of it that was seen.
    pub fn of(kind: &Kind, sent: Option<Sent>, side: &Side<'_>, gateway: &BTreeSet<IpAddr>) -> Self {
        let seat = |end: &End, is_seen: bool, nobody: u64| {
            let device = side.device_at(end);
            let own = device.and_then(|device| device.macs.first()).map(|m| mac::from_octets(m.0));
            let known = end.mac.map(|m| mac::from_octets(m.0));
            let seen = sent.filter(|_| is_seen);
            let group = end.address.and_then(group_mac);
            Seat {
                address: end.address.map(Address::from).unwrap_or_default(),
                mac: seen
                    .map(|sent| mac::from_octets(sent.mac.0))
                    .or(known)
                    .or(group)
                    .or(own)
                    .unwrap_or(nobody),
                vlan: match seen {
                    Some(sent) => sent.vlan,
                    None => device.and_then(|device| device.vlan).unwrap_or(0),
                },
            }
        };
        let answers = sent.is_some_and(|sent| sent.answers);
        let lease = |end: &End| {
            let known = end.address.zip(end.mac)?;
            Some((Address::from(known.0), mac::from_octets(known.1.0)))
        };
        let opening = Opening {
            from: seat(&kind.from, !answers, STRANGER),
            to: seat(&kind.to, answers, NEXT_HOP),
            protocol: kind.service.protocol,
            service: kind.service.number,
            client_port: CLIENT_PORT,
            v4: kind.from.address.is_some_and(|address| address.is_ipv4()),
        };
        Self {
            opening,
            leases: [lease(&kind.from), lease(&kind.to)],
            asked_by_gateway: kind.from.address.is_some_and(|address| gateway.contains(&address)),
            to_group: opening.to.mac & mac::GROUP != 0,
            seen: sent.map(|sent| sent.answers),
        }
    }

    /// What is decided of it: of its first packet, and if that passes of the answer.
    pub fn judged(&self, host: &Host<'_>) -> Decision {
        let Self { opening, leases, asked_by_gateway, to_group, seen } = *self;
        let ask = |packet: &Packet, answers: bool| {
            let supposed = Supposed { rules: host, segment: 0, leases };
            if seen == Some(answers) {
                return decide(packet, &supposed);
            }
            // Where the other one arrives nobody saw: on the segment of its sender.
            let row = supposed.mac(packet.source_mac);
            let own = if row.device != 0 { row.segment } else { supposed.endpoint(&packet.source).segment };
            decide(packet, &Supposed { segment: own, ..supposed })
        };
        let question = (!asked_by_gateway).then(|| ask(&opening.question(), false));
        let goes_on = question.as_ref().is_none_or(is_allowed);
        let answer = opening.answer().filter(|_| goes_on && !to_group).map(|packet| ask(&packet, true));
        match (question, answer) {
            (Some(question), Some(answer)) if is_allowed(&answer) => {
                // The rule that let it begin is the one that counts.
                Decision { rule: if question.rule == 0 { answer.rule } else { question.rule }, ..question }
            }
            (_, Some(answer)) => answer,
            (Some(question), None) => question,
            (None, None) => ask(&opening.question(), false),
        }
    }
}

/// Whether it is.
pub fn is_allowed(decision: &Decision) -> bool {
    matches!(decision.verdict, Verdict::Allow(_))
}

/// The hardware address of a group.
fn group_mac(address: IpAddr) -> Option<u64> {
    if address == IpAddr::from([255, 255, 255, 255]) {
        return Some(mac::BROADCAST);
    }
    address.is_multicast().then(|| mac::from_octets(Mac::of_group(address).0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compile::{Limits, Placed, compile},
        policy::{SourceFile, resolve_texts},
        traffic::Service,
    };

    const HMI: [u8; 4] = [10, 0, 0, 1];
    const PLC: [u8; 4] = [10, 0, 0, 2];

    fn made(services: &str) -> (Policy, Tables) {
        let text = format!(
            "version = 1\n[device.hmi]\nmac = \"00:1d:9c:00:00:01\"\nip = \"10.0.0.1\"\nmode = \"enforce\"\n\
             [device.plc]\nmac = \"00:1d:9c:00:00:02\"\nip = \"10.0.0.2\"\nmode = \"enforce\"\n\
             [[device.plc.allow]]\nfrom = \"hmi\"\nservice = [{services}]\n"
        );
        let outcome = resolve_texts(&[SourceFile { path: "a.toml".into(), text }]);
        let policy = outcome.policy.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics));
        let tables = compile(&policy, &Limits { devices: 8, rules: 8, rows: 1000 }).expect("it fits");
        (policy, tables)
    }

    fn asks(services: &str, [from, to]: [[u8; 4]; 2], sent: Option<Sent>) -> (bool, u32) {
        let (policy, tables) = made(services);
        let [from, to] = [from, to].map(|ip| End::at(IpAddr::from(ip)));
        let kind = Kind { from, to, service: Service { protocol: 6, number: 502 } };
        let side = Side { policy: &policy, tables: &tables };
        let host = Host::new(&tables, Placed::default());
        let decision = Talk::of(&kind, sent, &side, &BTreeSet::new()).judged(&host);
        (is_allowed(&decision), decision.rule)
    }

    #[test]
    fn a_conversation_is_allowed_by_its_rule_in_its_direction() {
        assert_eq!(asks("\"modbus\"", [HMI, PLC], None), (true, 1));
        assert!(!asks("\"ssh\"", [HMI, PLC], None).0);
        assert!(!asks("\"modbus\"", [PLC, HMI], None).0);
    }

    #[test]
    fn who_sent_the_packet_that_was_seen_counts_and_not_who_should_have() {
        let by = |answers, last| Some(Sent { answers, mac: Mac([0, 0x1d, 0x9c, 0, 0, last]), vlan: 0 });
        // Of either end, from its own hardware address, and from another's.
        for (answers, own) in [(false, 1), (true, 2)] {
            assert!(asks("\"modbus\"", [HMI, PLC], by(answers, own)).0);
            assert!(!asks("\"modbus\"", [HMI, PLC], by(answers, 9)).0);
        }
    }
}
