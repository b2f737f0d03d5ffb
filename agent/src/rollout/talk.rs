//! Whether tables allow a conversation: its first packet and the answer are made up of what is known of both ends ([`Begun`]), and judged by
//! `decide`.
//!
//! In: who with whom, over what; from a packet also who sent it, as it was seen. Out: what is decided, with the rule that lets it begin.

use bulkhead_common::{
    address::Address,
    decide::{Decision, decide},
    lookup::Rules as _,
    wire::mac,
};

use crate::{
    compile::{Begun, Host, Tables, Who},
    model::{Device, Mac, Policy},
    traffic::{End, Kind},
};

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
    begun: Begun,
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
    /// A conversation between those who are at its ends, and the packet of it that was seen.
    pub fn of(kind: &Kind, sent: Option<Sent>, who: &Who<'_>) -> Self {
        let mut begun = Begun::of(kind, who);
        if let Some(Sent { answers, mac: Mac(octets), vlan }) = sent {
            let seat = if answers { &mut begun.opening.to } else { &mut begun.opening.from };
            (seat.mac, seat.vlan) = (mac::from_octets(octets), vlan);
        }
        Self { begun, seen: sent.map(|sent| sent.answers) }
    }

    /// What is decided of it: of its first packet, and if that passes of the answer.
    pub fn judged(&self, host: &Host<'_>) -> Decision {
        self.begun.asked(|packet, answers| {
            let supposed = self.begun.supposed(host, 0);
            if self.seen == Some(answers) {
                return decide(packet, &supposed);
            }
            // Where the other one arrives nobody saw: on the segment of its sender.
            let row = supposed.mac(packet.source_mac);
            let own = if row.device != 0 { row.segment } else { supposed.endpoint(&packet.source).segment };
            decide(packet, &self.begun.supposed(host, own))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::{
        compile::{Limits, Placed, compile, is_allowed},
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
        let placed = Placed::default();
        let who = Who::new(&policy, &placed);
        let host = Host::new(&tables, placed.clone());
        let decision = Talk::of(&kind, sent, &who).judged(&host);
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
