//! What is new, told as records at a pace that a flood of forged addresses does not change.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use super::super::agent::Agent;
use crate::{
    diagnostic::counted,
    inventory::{Change, Kind, News, Of},
    record::{End, Novelty, Severity, Sighting, VERSION},
};

/// Records that are told at once after a time of silence: the first look at a cell.
const BURST: u32 = 60;
/// After which there may be one more.
const EACH: Duration = Duration::from_secs(10);
/// What is only counted is told so often.
const SUMMARY: Duration = Duration::from_secs(60);

/// How many changes are told.
pub(super) struct Pace {
    left: u32,
    refilled: Instant,
    /// Changes without a record of their own since the agent began.
    untold: u64,
    /// Those of them that no record has counted yet.
    owed: u64,
    summed: Instant,
    /// Whether there is no later time to say so.
    is_last: bool,
}

impl Default for Pace {
    fn default() -> Self {
        let now = Instant::now();
        Self { left: BURST, refilled: now, untold: 0, owed: 0, summed: now, is_last: false }
    }
}

impl Pace {
    pub(super) fn untold(&self) -> u64 {
        self.untold
    }

    /// Whether one more may be told.
    fn allows(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.refilled);
        let more = u32::try_from(passed.as_nanos() / EACH.as_nanos()).unwrap_or(BURST).min(BURST);
        if self.left.saturating_add(more) >= BURST {
            (self.left, self.refilled) = (BURST, now);
        } else {
            self.left += more;
            self.refilled += EACH * more;
        }
        let allows = self.left > 0;
        self.left -= u32::from(allows);
        allows
    }

    /// The agent ends.
    fn is_last(&mut self) {
        self.is_last = true;
    }

    fn skip(&mut self, changes: u64) {
        self.untold = self.untold.saturating_add(changes);
        self.owed = self.owed.saturating_add(changes);
    }

    /// How many were only counted, when it is time to say so.
    fn owes(&mut self, now: Instant) -> Option<u64> {
        let is_time = self.is_last || now.saturating_duration_since(self.summed) >= SUMMARY;
        if self.owed == 0 || !is_time {
            return None;
        }
        self.summed = now;
        Some(std::mem::take(&mut self.owed))
    }
}

/// A change with the name of its device in the policy, and where it was heard.
pub(super) struct New {
    pub(super) change: Change,
    pub(super) known: Option<String>,
    pub(super) on: Option<String>,
}

impl New {
    /// Whether somebody wants to know at once: that a device of the policy is there is no news, and hosts make themselves IPv6 addresses
    /// every day.
    pub(super) fn is_told(&self) -> bool {
        match &self.change.news {
            News::NewDevice => self.known.is_none(),
            News::NewAddress { address, .. } => {
                address.parse().is_ok_and(|address: IpAddr| address.is_ipv4())
            }
            News::Changed { .. } => true,
        }
    }

    fn sighting(self) -> Sighting {
        let Self { change, known, on } = self;
        let explanation = match &known {
            Some(name) => format!("`{name}`: {change}"),
            None => change.to_string(),
        };
        let (mac, own) = match change.of {
            Of::Mac(mac) => (Some(mac.to_string()), None),
            Of::Address(address) => (None, Some(address)),
        };
        let empty = nothing(explanation);
        let sighting = Sighting {
            time: format!("{:.6}", change.time),
            source: End { name: known.clone(), mac, ip: own, port: None },
            device: known,
            interface: on,
            ..empty
        };
        match change.news {
            News::NewDevice => {
                Sighting { severity: Severity::Medium, change: Novelty::NewDevice, ..sighting }
            }
            News::NewAddress { address, evidence } => Sighting {
                change: Novelty::NewAddress,
                source: End { ip: address.parse().ok().or(own), ..sighting.source },
                evidence: Some(evidence.name().to_owned()),
                ..sighting
            },
            News::Changed { fact, before, now, evidence } => Sighting {
                severity: if fact == Kind::Name { Severity::Low } else { Severity::Medium },
                change: Novelty::Changed,
                fact: Some(fact.name().to_owned()),
                before: Some(before),
                now: Some(now),
                evidence: Some(evidence.name().to_owned()),
                ..sighting
            },
        }
    }
}

fn nothing(explanation: String) -> Sighting {
    Sighting {
        v: VERSION,
        time: format!("{:.6}", jiff::Timestamp::now()),
        gateway: String::new(),
        boot: String::new(),
        seq: 0,
        severity: Severity::Low,
        change: Novelty::More,
        device: None,
        source: End { name: None, mac: None, ip: None, port: None },
        interface: None,
        fact: None,
        before: None,
        now: None,
        evidence: None,
        explanation,
        more: 0,
        count: 0,
    }
}

impl Agent {
    /// The inventory is written, and what it has heard of new is told, or counted in a last record.
    pub(in crate::daemon) fn end_inventory(&mut self) {
        let Some(inventory) = &mut self.inventory else { return };
        inventory.finish();
        inventory.pace.is_last();
        self.tell_of_sightings();
    }

    /// Tells what the inventory has heard of new.
    pub(in crate::daemon) fn tell_of_sightings(&mut self) {
        let Some(inventory) = &mut self.inventory else { return };
        let (waiting, beyond) = inventory.news();
        let pace = &mut inventory.pace;
        let now = Instant::now();
        pace.skip(beyond);
        let mut told = Vec::new();
        for new in waiting {
            if pace.allows(now) {
                told.push(new.sighting());
            } else {
                pace.skip(1);
            }
        }
        if let Some(more) = pace.owes(now) {
            let why =
                format!("{} more: `bulkhead inventory --changes` has the last ones", counted(more, "change"));
            told.push(Sighting { more, ..nothing(why) });
        }
        self.reporter.sightings(told);
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{inventory::Evidence, model::Mac};

    #[test]
    fn flood_is_told_at_a_pace_and_all_of_it_is_counted() {
        let begun = Instant::now();
        let mut pace = Pace::default();
        let told = (0..10_000).filter(|_| pace.allows(begun)).count();
        assert_eq!(told, BURST as usize);
        pace.skip(10_000 - told as u64);
        assert_eq!(pace.owes(begun), None);
        // One more for every ten seconds, and the rest at once.
        assert!(!pace.allows(begun + EACH / 2));
        let later = begun + EACH * 3;
        assert_eq!((0..10).filter(|_| pace.allows(later)).count(), 3);
        assert_eq!(pace.owes(begun + SUMMARY * 2), Some(9_940));
        assert_eq!((pace.owes(begun + SUMMARY * 4), pace.untold()), (None, 9_940));
        // At the end it is said at once.
        pace.skip(2);
        assert_eq!(pace.owes(begun + SUMMARY * 2), None);
        pace.is_last();
        assert_eq!(pace.owes(begun + SUMMARY * 2), Some(2));
        // Silence fills it again, and not beyond its measure.
        let long = begun + EACH * 10 * BURST;
        assert_eq!((0..1000).filter(|_| pace.allows(long)).count(), BURST as usize);
    }

    #[test]
    fn what_is_told_names_its_device_and_both_values() {
        let time = Timestamp::from_second(1_780_000_000).expect("a time");
        let of = Of::Mac(Mac([2, 0, 0, 0, 0, 1]));
        let new = |news, known: Option<&str>| New {
            change: Change { time, of, news },
            known: known.map(str::to_owned),
            on: Some("cell0 vlan 10".to_owned()),
        };
        assert!(!new(News::NewDevice, Some("plc")).is_told());
        assert!(new(News::NewDevice, None).is_told());
        let v6 = News::NewAddress { address: "fd00::1".to_owned(), evidence: Evidence::Nd };
        assert!(!new(v6, None).is_told());
        let changed = News::Changed {
            fact: Kind::Firmware,
            before: "v1".to_owned(),
            now: "v2".to_owned(),
            evidence: Evidence::Modbus,
        };
        let one = new(changed, Some("plc")).sighting();
        let words = [&one.fact, &one.before, &one.now, &one.evidence, &one.device, &one.interface];
        let words = words.map(|word| word.as_deref().unwrap_or("-"));
        assert_eq!(words, ["firmware", "v1", "v2", "modbus", "plc", "cell0 vlan 10"]);
        assert_eq!((one.severity, one.source.mac.as_deref()), (Severity::Medium, Some("02:00:00:00:00:01")));
    }
}
