//! When a rule holds. In: one leaf of a rule or a window. Out: a moment, days, a time of day, a time zone.

use jiff::Timestamp;
use toml::value::Datetime;

use super::{Leaf, Reader};
use crate::{
    diagnostic::quote,
    model::{DAYS, time_zone, time_zones},
};

/// Windows of one rule: each is looked at whenever the rule may open or close.
pub(in crate::policy) const MAX_WINDOWS: usize = 32;

/// Minutes of a day.
const DAY: u16 = 1440;

impl Reader<'_, '_> {
    /// `2027-01-31T18:00:00Z`: without an offset it would be another moment on another machine.
    pub(in crate::policy) fn moment(&mut self, leaf: &Leaf<Datetime>) -> Option<Timestamp> {
        let written = leaf.value.to_string();
        let text = Leaf { value: written.clone(), at: leaf.at };
        let help = match (leaf.value.date, leaf.value.time, leaf.value.offset) {
            (Some(_), Some(_), Some(_)) => {
                // RFC 3339 has four digits for a year; what ended before 1970 was never a rule of a gateway.
                let moment =
                    written.parse::<Timestamp>().ok().filter(|moment| *moment >= Timestamp::UNIX_EPOCH);
                if moment.is_some() {
                    return moment;
                }
                let message = format!("{} is not a date a rule can end on", quote(&written));
                return self.refuse("BH0229", &text, message, "write a date from 1970 to 9999");
            }
            (Some(_), Some(_), None) => {
                format!(
                    "say by whose clocks: `{written}Z` for UTC, or `{written}+01:00` for one hour ahead of it"
                )
            }
            (Some(date), None, _) => {
                format!(
                    "say the time and by whose clocks, as in `{date}T18:00:00Z` or `{date}T18:00:00+01:00`"
                )
            }
            (None, _, _) => "write date, time and offset, as in `2027-01-31T18:00:00Z`".to_owned(),
        };
        self.refuse("BH0229", &text, format!("{} is not one moment everywhere", quote(&written)), &help)
    }

    /// `mon-fri` or `sun`, as bits.
    pub(in crate::policy) fn days(&mut self, leaf: &Leaf<String>) -> Option<u8> {
        let (first, last) = leaf.value.split_once('-').unwrap_or((&leaf.value, &leaf.value));
        let mut place = |word: &str| {
            let found = DAYS.iter().position(|day| *day == word);
            if found.is_none() {
                let help =
                    "write `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`, or a range such as `mon-fri`";
                let lowered = word.to_lowercase();
                let whole = DAYS.iter().copied().find(|day| lowered.starts_with(day));
                let help = match whole.or_else(|| self.out.suggest(word, DAYS)) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => help.to_owned(),
                };
                self.refuse::<()>("BH0228", leaf, format!("{} is not a day of the week", quote(word)), &help);
            }
            found
        };
        let (first, last) = (place(first)?, place(last)?);
        // `fri-mon` goes over the end of the week.
        let length = (last + 7 - first) % 7;
        Some((0..=length).fold(0, |days, offset| days | 1 << ((first + offset) % 7)))
    }

    /// `06:00`, in minutes; `24:00` is the end of the day.
    pub(in crate::policy) fn time_of_day(&mut self, leaf: &Leaf<String>) -> Option<u16> {
        let digits = |text: &str| {
            (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<u16>().ok())?
        };
        let parts = leaf.value.split_once(':');
        let parts = parts.and_then(|(hour, minute)| digits(hour).zip(digits(minute)));
        if let Some((hour, minute)) = parts
            && minute < 60
            && hour * 60 + minute <= DAY
        {
            return Some(hour * 60 + minute);
        }
        let message = format!("{} is not a time of day", quote(&leaf.value));
        self.refuse("BH0227", leaf, message, "write hours and minutes from `00:00` to `24:00`, as in `06:30`")
    }

    /// When a window begins and ends, in minutes; an end that is not later is on the next day.
    pub(in crate::policy) fn span(
        &mut self,
        from: &Leaf<String>,
        start: u16,
        to: &Leaf<String>,
        end: u16,
    ) -> Option<(u16, u16)> {
        if start == DAY {
            let help = "write `00:00`, and the day that begins then";
            return self.refuse(
                "BH0231",
                from,
                "a window cannot begin at the end of its day".to_owned(),
                help,
            );
        }
        if start == end {
            let help = "for the whole day write `from = \"00:00\"` and `to = \"24:00\"`";
            return self.refuse("BH0231", to, "a window cannot end when it begins".to_owned(), help);
        }
        Some((start, if end == 0 { DAY } else { end }))
    }

    /// `Europe/Berlin`, in the spelling of the database.
    pub(in crate::policy) fn time_zone(&mut self, leaf: &Leaf<String>) -> Option<String> {
        let found = time_zone(&leaf.value);
        if found.is_some() {
            return found;
        }
        let zones = time_zones();
        let wrong = leaf.value.as_str();
        let city = |name: &str| name.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(wrong));
        let meant = zones.iter().map(String::as_str).find(|name| city(name));
        let meant = meant.or_else(|| self.out.suggest(wrong, zones.iter().map(String::as_str)));
        let help = match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "write a name of the IANA database, as in `Europe/Berlin` or `UTC`".to_owned(),
        };
        self.refuse("BH0226", leaf, format!("unknown time zone {}", quote(wrong)), &help)
    }
}
