//! When a rule holds, and why there is one -> Raw. In: one `allow` entry or conduit. Out: its schedule and its words.

use toml::de::DeTable;

use super::{Reader, prose};
use crate::{
    diagnostic::{At, Diagnostic},
    model::{Schedule, Source, Window},
    policy::{language::WINDOW, raw::RawTerms, values::MAX_WINDOWS},
};

pub(in crate::policy) const SOURCES: [(&str, Source); 3] = [
    (Source::Hand.name(), Source::Hand),
    (Source::Learned.name(), Source::Learned),
    (Source::Mud.name(), Source::Mud),
];

impl Reader<'_, '_> {
    pub(super) fn terms(&mut self, table: &DeTable<'_>) -> RawTerms {
        let source = self.string(table, "source");
        let source = source.and_then(|leaf| self.word("BH0230", &leaf, "source", &SOURCES));
        RawTerms {
            schedule: self.schedule(table),
            comment: prose(self, table, "comment"),
            owner: prose(self, table, "owner"),
            ticket: prose(self, table, "ticket"),
            source: source.unwrap_or_default(),
        }
    }

    fn schedule(&mut self, table: &DeTable<'_>) -> Option<Schedule> {
        let expires = self.date_time(table, "expires").and_then(|leaf| self.moment(&leaf));
        let windows = self.windows(table);
        (expires.is_some() || !windows.is_empty()).then_some(Schedule { expires, windows })
    }

    fn windows(&mut self, table: &DeTable<'_>) -> Vec<Window> {
        let example =
            "windows = [{ days = [\"mon-fri\"], from = \"06:00\", to = \"18:00\", zone = \"UTC\" }]";
        let tables = self.tables(table, "windows", example);
        if let Some(list) = table.get("windows")
            && list.get_ref().as_array().is_some_and(|list| list.is_empty())
        {
            let at = self.at(list.span());
            self.not_empty(at, 0, "windows", "leave `windows` out if the rule holds at any time of the week");
        }
        if let Some((at, _)) = tables.get(MAX_WINDOWS) {
            let location = self.out.locate(*at);
            let found =
                Diagnostic::error("BH0232", format!("{} windows of one rule are too many", tables.len()));
            let help = format!("write at most {MAX_WINDOWS}: a window may have several days");
            self.out.push(found.at(location, "").help(help));
            return Vec::new();
        }
        let mut found: Vec<Window> =
            tables.into_iter().filter_map(|(at, table)| self.window(at, table)).collect();
        found.sort();
        found.dedup();
        found
    }

    fn window(&mut self, at: At, table: &DeTable<'_>) -> Option<Window> {
        self.keys(table, &WINDOW, "a window");
        let missing = [
            ("days", "say on which days it begins: `days = [\"mon-fri\"]`"),
            ("from", "say when it begins: `from = \"06:00\"`"),
            ("to", "say when it ends: `to = \"18:00\"`"),
            ("zone", "say by whose clocks: `zone = \"Europe/Berlin\"`, or `zone = \"UTC\"`"),
        ];
        for (key, help) in missing {
            self.required(at, table, key, "the window", help);
        }
        let days = self.strings(table, "days");
        if let Some(days) = &days {
            self.not_empty(
                days.at,
                days.value.len(),
                "days",
                "name the days on which it begins, as in `mon-fri`",
            );
        }
        let days = days
            .map(|days| days.value.iter().filter_map(|leaf| self.days(leaf)).fold(0, |all, days| all | days));
        let from = self.string(table, "from");
        let start = from.as_ref().and_then(|leaf| self.time_of_day(leaf));
        let to = self.string(table, "to");
        let end = to.as_ref().and_then(|leaf| self.time_of_day(leaf));
        let zone = self.string(table, "zone").and_then(|leaf| self.time_zone(&leaf));
        let ((start, from), (end, to)) = (start.zip(from)?, end.zip(to)?);
        let (start, end) = self.span(&from, start, &to, end)?;
        let days = days.filter(|days| *days != 0)?;
        Some(Window { days, from: start, to: end, zone: zone? })
    }

    /// Reports a key that must be there and is not.
    pub(super) fn required(&mut self, at: At, table: &DeTable<'_>, key: &str, what: &str, help: &str) {
        if !table.contains_key(key) {
            let location = self.out.locate(at);
            let found = Diagnostic::error("BH0110", format!("{what} does not say `{key}`"));
            self.out.push(found.at(location, "").help(help));
        }
    }
}
