//! Which devices and rules have series of their own, and what they are called.
//!
//! In: counters by stable number, and names. Out: numbers under names, those of the others under one.

use std::collections::BTreeMap;

use bulkhead_common::{
    layout::Traffic,
    reason::{CODES, Grant, Reason},
};

use crate::{
    compile::RuleEntry,
    dataplane::DeviceCounts,
    metrics::{DeviceNumbers, MOST_DEVICES, MOST_RULES, OTHERS, Places, RuleNumbers, rule_label},
};

/// Which devices and rules have series of their own.
pub(super) struct Series {
    devices: Places<{ CODES as usize }>,
    rules: Places<2>,
}

impl Default for Series {
    fn default() -> Self {
        Self { devices: Places::new(MOST_DEVICES), rules: Places::new(MOST_RULES) }
    }
}

impl Series {
    pub(super) fn devices(
        &mut self,
        names: &BTreeMap<u32, &str>,
        counts: &BTreeMap<u32, DeviceCounts>,
    ) -> Vec<DeviceNumbers> {
        let (own, others) = self.devices.look(counts);
        let own = own.iter().filter_map(|id| Some((*names.get(id)?, counts.get(id)?)));
        let all = own.chain(others.iter().map(|sum| (OTHERS, sum)));
        all.map(|(name, counts)| DeviceNumbers { name: name.to_owned(), packets: counted(counts) }).collect()
    }

    pub(super) fn rules(
        &mut self,
        names: &BTreeMap<u32, (&str, String)>,
        counts: &BTreeMap<u32, [u64; 2]>,
    ) -> Vec<RuleNumbers> {
        let (own, others) = self.rules.look(counts);
        let own = own.iter().filter_map(|id| {
            let (holder, rule) = names.get(id)?;
            Some((*holder, rule.as_str(), counts.get(id)?))
        });
        let all = own.chain(others.iter().map(|sum| (OTHERS, OTHERS, sum)));
        all.map(|(holder, rule, [packets, bytes])| RuleNumbers {
            holder: holder.to_owned(),
            rule: rule.to_owned(),
            traffic: Traffic { packets: *packets, bytes: *bytes },
        })
        .collect()
    }
}

/// In whose name each rule is written, and what it is called.
pub(super) fn labels(rules: &[RuleEntry]) -> impl Iterator<Item = (&str, String)> {
    let mut nth = 0;
    let mut last: Option<&RuleEntry> = None;
    rules.iter().map(move |rule| {
        // Rules that differ in when they hold alone are next to each other, as where they got their numbers.
        let alike = last.is_some_and(|last| last.text == rule.text && last.holder == rule.holder);
        nth = if alike { nth + 1 } else { 0 };
        last = Some(rule);
        (rule.holder.as_str(), rule_label(&rule.text, nth))
    })
}

/// Those of which there were any.
fn counted(counts: &DeviceCounts) -> Vec<(&'static str, &'static str, u64)> {
    let grants = Grant::ALL.iter().map(|grant| ("allow", grant.name(), counts[usize::from(grant.code())]));
    let reasons =
        Reason::ALL.iter().map(|reason| ("deny", reason.name(), counts[usize::from(reason.code())]));
    grants.chain(reasons).filter(|(.., packets)| *packets > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{diagnostic::Location, model::Source};

    #[test]
    fn every_code_is_told_under_its_verdict() {
        let counts: DeviceCounts = [3; CODES as usize];
        let told = counted(&counts);
        assert_eq!(told.len(), Grant::ALL.len() + Reason::ALL.len());
        assert!(told.contains(&("allow", "rule", 3)) && told.contains(&("deny", "no-rule", 3)));
        assert_eq!(counted(&[0; CODES as usize]), []);
    }

    fn rule(holder: &str, text: &str, line: u32) -> RuleEntry {
        RuleEntry {
            text: text.to_owned(),
            holder: holder.to_owned(),
            schedule: None,
            comment: None,
            owner: None,
            ticket: None,
            source: Source::default(),
            location: Location { path: "plant.toml".into(), line, column: 1, span: 0..0 },
        }
    }

    #[test]
    fn a_rule_keeps_its_labels_wherever_it_stands() {
        let rules = |first| {
            [
                rule("device plc", "hmi -> plc modbus", first),
                rule("device plc", "hmi -> plc modbus", first + 1),
                rule("device rtu", "hmi -> plc modbus", first + 2),
            ]
        };
        let told = |rules: &[RuleEntry]| -> Vec<String> {
            labels(rules).map(|(holder, rule)| format!("{holder}: {rule}")).collect()
        };
        assert_eq!(
            told(&rules(7)),
            [
                "device plc: hmi -> plc modbus",
                "device plc: hmi -> plc modbus (2)",
                "device rtu: hmi -> plc modbus"
            ]
        );
        assert_eq!(told(&rules(7)), told(&rules(8)));
    }

    #[test]
    fn labels_are_bounded_and_sums_are_kept() {
        let many = 3 * u32::try_from(MOST_DEVICES).expect("a small number");
        let mut series = Series::default();
        let names: Vec<String> = (0..many).map(|id| format!("device-{id}")).collect();
        let names: BTreeMap<u32, &str> = (0..many).zip(names.iter().map(String::as_str)).collect();
        let rules: BTreeMap<u32, (&str, String)> =
            (0..many).map(|id| (id, ("conduit", format!("rule-{id}")))).collect();
        let mut told = |growth: u64| {
            let mut counts: DeviceCounts = [0; CODES as usize];
            let of = |id: u32| growth * u64::from(id);
            let devices = (0..many).map(|id| {
                counts[usize::from(Reason::Unmanaged.code())] = of(id);
                (id, counts)
            });
            let devices = series.devices(&names, &devices.collect());
            let rules = series.rules(&rules, &(0..many).map(|id| (id, [of(id), 60 * of(id)])).collect());
            let all: u64 = (0..many).map(of).sum();
            assert_eq!((devices.len(), rules.len()), (MOST_DEVICES + 1, MOST_RULES + 1));
            assert_eq!(devices.iter().map(DeviceNumbers::denied).sum::<u64>(), all);
            assert_eq!(rules.iter().map(|one| one.traffic.packets).sum::<u64>(), all);
            let (device, rule) = (devices.last().expect("many"), rules.last().expect("many"));
            assert_eq!((&*device.name, &*rule.holder, &*rule.rule), (OTHERS, OTHERS, OTHERS));
            assert_eq!(rule.traffic.bytes, 60 * rule.traffic.packets);
            [device.denied(), rule.traffic.packets]
        };
        let before = told(1);
        assert_eq!(told(2), before.map(|packets| 2 * packets));
    }
}
