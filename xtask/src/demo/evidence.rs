//! Holds the violation log against what was seen on the wire.
//!
//! In: records and frames by step. Out: how much of each step is recorded as it must be, and every record that says
//! something wrong. Nothing here touches the lab: the same text gives the same answer.

use std::{collections::BTreeMap, net::Ipv4Addr};

use bulkhead_tests::lab::Mac;
use serde_json::Value;

use super::attack::{Addresses, Frames, Step};

/// Whose records count, and what they must say of the action.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attack {
    pub(super) mac: Mac,
    pub(super) addresses: Addresses,
    /// `passed` or `dropped`.
    pub(super) action: &'static str,
}

/// What the log says of an attack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Recorded {
    /// Sum of `count` over records with the right reason, device and action.
    pub(super) right: Frames,
    /// The same sum over the other records of the attacker, by what they say.
    pub(super) wrong: BTreeMap<String, u64>,
}

impl Attack {
    /// Reads the attacker's records out of all.
    pub(super) fn recorded(&self, records: &[Value]) -> Recorded {
        let mut recorded = Recorded::default();
        let mac = self.mac.to_string();
        for record in records.iter().filter(|record| record["source"]["mac"] == mac.as_str()) {
            let step = self.step(record);
            let fits = step.expected().is_some_and(|expected| {
                record["reason"] == expected.reason
                    && record["device"] == expected.device
                    && record["action"] == self.action
            });
            // A record without a count is as wrong as one with a wrong reason.
            let count = record["count"].as_u64();
            let sum = match count {
                Some(_) if fits => recorded.right.entry(step).or_insert(0),
                Some(_) | None => {
                    let word = |key: &str| record[key].as_str().unwrap_or("none");
                    let (reason, device, action) = (word("reason"), word("device"), word("action"));
                    let says = format!("{}: {action}, {reason} (device {device})", step.name());
                    recorded.wrong.entry(says).or_insert(0)
                }
            };
            *sum += count.unwrap_or(0);
        }
        recorded
    }

    fn step(&self, record: &Value) -> Step {
        let source = record["source"]["ip"].as_str().and_then(|ip| ip.parse::<Ipv4Addr>().ok());
        let port = record["destination"]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let (is_arp, is_tcp) = (record["protocol"] == "arp", record["protocol"] == "tcp");
        match (source, port) {
            (Some(source), _) if is_arp => self.addresses.arp(source),
            (Some(source), Some(port)) if is_tcp => self.addresses.tcp(source, port),
            // What is left of a scan after its first ports is one record, without a port.
            (Some(source), None) if is_tcp && record["scan"].is_object() => {
                if source == self.addresses.attacker { Step::Scan } else { Step::Other }
            }
            (Some(_) | None, Some(_) | None) => Step::Other,
        }
    }
}

/// The sum of `count` over all records.
pub(super) fn packets(records: &[Value]) -> u64 {
    records.iter().filter_map(|record| record["count"].as_u64()).sum()
}

/// What was counted in between.
pub(super) fn since(before: &Frames, after: &Frames) -> Frames {
    let more = |(step, count): (&Step, &u64)| {
        let more = count - before.get(step).copied().unwrap_or(0).min(*count);
        (more > 0).then_some((*step, more))
    };
    after.iter().filter_map(more).collect()
}

/// All steps together.
pub(super) fn total(frames: &Frames) -> u64 {
    frames.values().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTACKER: Mac = Mac([2, 0, 10, 20, 2, 66]);

    fn attack() -> Attack {
        let addresses = Addresses {
            attacker: [10, 20, 2, 66].into(),
            hmi: [10, 20, 2, 20].into(),
            plc: [10, 20, 1, 11].into(),
        };
        Attack { mac: ATTACKER, addresses, action: "dropped" }
    }

    /// `mac ip protocol port reason device action count`, as in the log; `-` is null.
    fn record(text: &str) -> Value {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [mac, ip, protocol, port, reason, device, action, count] = words[..] else {
            panic!("eight words: `{text}`")
        };
        serde_json::json!({
            "source": {"mac": mac, "ip": ip},
            "destination": {"port": port.parse::<u16>().ok()},
            "protocol": protocol, "reason": reason, "device": device, "action": action,
            "count": count.parse::<u64>().expect("a count"),
        })
    }

    #[test]
    fn counts_of_a_step_add_up_over_its_records() {
        let records = [
            record("02:00:0a:14:02:42 10.20.2.66 tcp 490 unknown-peer plc dropped 1"),
            record("02:00:0a:14:02:42 10.20.2.66 tcp 491 unknown-peer plc dropped 2"),
            record("02:00:0a:14:02:42 10.20.2.66 tcp 502 unknown-peer plc dropped 4"),
            record("02:00:0a:14:02:42 10.20.2.20 tcp 502 source-mac-mismatch hmi dropped 1"),
            record("02:00:0a:14:02:42 10.20.2.20 tcp 502 source-mac-mismatch hmi dropped 39"),
            record("02:00:0a:14:02:42 10.20.2.20 arp - address-conflict hmi dropped 1"),
            record("02:00:0a:14:02:42 10.20.1.11 arp - address-conflict plc dropped 1"),
        ];
        let Recorded { right, wrong } = attack().recorded(&records);
        let expected =
            [(Step::Scan, 3), (Step::Modbus, 4), (Step::Spoof, 40), (Step::ArpHmi, 1), (Step::ArpPlc, 1)];
        assert_eq!((right, wrong), (Frames::from(expected), BTreeMap::new()));
        assert_eq!(packets(&records), 49);
    }

    #[test]
    fn what_is_left_of_a_scan_is_its_step() {
        let mut rest = record("02:00:0a:14:02:42 10.20.2.66 tcp - unknown-peer plc dropped 14");
        assert_eq!(attack().recorded(&[rest.clone()]).right, Frames::new());
        rest["scan"] = serde_json::json!({"hosts": 1, "ports": 14, "devices": 1, "at_least": false});
        assert_eq!(attack().recorded(&[rest]).right, Frames::from([(Step::Scan, 14)]));
    }

    #[test]
    fn what_others_did_is_not_the_attackers() {
        let answer = record("02:00:0a:14:01:0b 10.20.1.11 tcp 20000 unknown-peer plc dropped 30");
        assert_eq!(attack().recorded(&[answer]), Recorded::default());
    }

    #[test]
    fn wrong_reason_device_or_action_is_no_evidence() {
        let records = [
            record("02:00:0a:14:02:42 10.20.2.66 tcp 490 no-rule plc dropped 1"),
            record("02:00:0a:14:02:42 10.20.2.66 tcp 490 unknown-peer hmi dropped 2"),
            record("02:00:0a:14:02:42 10.20.2.66 tcp 490 unknown-peer plc passed 3"),
            record("02:00:0a:14:02:42 10.20.2.66 tcp 491 unknown-peer plc passed 3"),
            record("02:00:0a:14:02:42 10.20.2.66 udp 9999 unknown-peer plc dropped 4"),
        ];
        let Recorded { right, wrong } = attack().recorded(&records);
        assert_eq!(right, Frames::new());
        let wrong: Vec<_> = wrong.into_iter().collect();
        let expected = [
            ("anything else: dropped, unknown-peer (device plc)", 4),
            ("port scan: dropped, no-rule (device plc)", 1),
            ("port scan: dropped, unknown-peer (device hmi)", 2),
            ("port scan: passed, unknown-peer (device plc)", 3 + 3),
        ];
        assert_eq!(wrong, expected.map(|(says, count)| (says.to_owned(), count)));
    }

    #[test]
    fn only_what_is_new_is_counted_for_a_phase() {
        let before = Frames::from([(Step::Scan, 29), (Step::Modbus, 7)]);
        let after = Frames::from([(Step::Scan, 58), (Step::Modbus, 7), (Step::Spoof, 40)]);
        let new = since(&before, &after);
        assert_eq!(new, Frames::from([(Step::Scan, 29), (Step::Spoof, 40)]));
        assert_eq!(total(&new), 69);
    }
}
