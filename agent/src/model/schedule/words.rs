//! A schedule in its author's words. In: a schedule. Out: `until 2027-01-31 18:00 UTC, mon-fri 06:00-18:00 Europe/Berlin`.

use std::fmt;

use super::{Schedule, Window};

/// The days of the week as policies write them, Monday first.
pub const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(expires) = self.expires {
            let date = jiff::tz::TimeZone::UTC.to_datetime(expires);
            let exact = date.second() != 0 || date.subsec_nanosecond() != 0;
            let time = if exact { date.time().to_string() } else { date.strftime("%H:%M").to_string() };
            write!(f, "until {} {time} UTC", date.date())?;
        }
        for (index, window) in self.windows.iter().enumerate() {
            let between = match (index, self.expires) {
                (0, None) => "",
                (0, Some(_)) => ", ",
                (_, _) => " or ",
            };
            write!(f, "{between}{window}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.day_words().join(",");
        write!(f, "{days} {}-{} {}", clock(self.from), clock(self.to), self.zone)
    }
}

impl Window {
    /// Its days as a policy writes them: `mon-fri`, `sun`.
    pub fn day_words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut day = 0;
        while day < DAYS.len() {
            let length = (day..DAYS.len()).take_while(|day| self.days >> day & 1 == 1).count();
            match length {
                0 => {}
                1 => words.push(DAYS[day].to_owned()),
                2 => words.extend([DAYS[day].to_owned(), DAYS[day + 1].to_owned()]),
                3.. => words.push(format!("{}-{}", DAYS[day], DAYS[day + length - 1])),
            }
            day += length.max(1);
        }
        words
    }
}

/// A minute of the day as a clock shows it; the end of the day is `24:00`.
pub fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}
