//! What time does to tables: until when each of their schedules is open. The revision stays.

use jiff::Timestamp;

use super::Tables;
use crate::model::Schedule;

impl Tables {
    /// Until when each schedule is open, on the monotonic clock in ns, at a moment that both clocks show. 0 is closed,
    /// [`u64::MAX`] is open for good.
    pub fn deadlines(&self, now: Timestamp, monotonic: u64) -> Vec<u64> {
        let until = |any: &Vec<Schedule>| {
            let Some(end) = any.iter().filter_map(|schedule| schedule.open_until(now)).max() else {
                return 0;
            };
            if end == Timestamp::MAX {
                return u64::MAX;
            }
            let left = end.duration_since(now).as_nanos();
            monotonic.saturating_add(u64::try_from(left).unwrap_or(0))
        };
        self.schedules.iter().map(until).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        compile::{Limits, compile},
        policy::{SourceFile, resolve_texts},
    };

    const ROOM: Limits = Limits { devices: 16, rules: 16, rows: 1000 };

    #[test]
    fn a_row_is_open_whenever_one_of_its_rules_is() {
        let text = r#"version = 1
[device.plc]
ip = "10.1.0.1"
[[device.plc.allow]]
from = "any"
service = "ssh"
expires = 2027-01-01T00:00:00Z
[[device.plc.allow]]
from = "any"
service = ["ssh", "https"]
windows = [{ days = "mon", from = "08:00", to = "10:00", zone = "UTC" }]
[[device.plc.allow]]
from = "any"
service = "ntp"
"#;
        let files = [SourceFile { path: "p.toml".into(), text: text.into() }];
        let policy = resolve_texts(&files).policy.expect("it is valid");
        let tables = compile(&policy, &ROOM).expect("it is small");
        assert_eq!(tables.schedules.len(), 2, "the window alone, and both where both allow the same");
        let at = |time: &str| {
            let mut found = tables.deadlines(time.parse().expect("a time"), 1_000);
            found.sort();
            found
        };
        let hour = 3_600_000_000_000;
        // A Sunday; a Monday in the window; a Monday after everything.
        assert_eq!(at("2026-12-27T00:00:00Z"), [0, 1_000 + 5 * 24 * hour]);
        assert_eq!(at("2026-12-28T09:00:00Z")[0], 1_000 + hour);
        assert_eq!(at("2027-01-04T10:00:00Z"), [0, 0]);
        assert_eq!(at("2027-01-04T09:30:00Z"), [1_000 + hour / 2; 2]);
    }
}
