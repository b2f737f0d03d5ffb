//! When a rule holds: until a date, and within weekly windows. No clock is asked here; time is an argument.

use jiff::Timestamp;

/// When a rule holds: before it expires, and while one of its windows is open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Schedule {
    /// From then on it never holds again.
    pub expires: Option<Timestamp>,
    /// Sorted, without duplicates; empty means at any time of the week.
    pub windows: Vec<Window>,
}

/// A span of time that comes again every week.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// The days on which it begins: bit 0 is Monday, bit 6 Sunday. Never 0.
    pub days: u8,
    /// Minute of the day at which it begins, 0-1439.
    pub from: u16,
    /// Minute of the day at which it ends, 1-1440; not after `from` means on the next day.
    pub to: u16,
    /// Name of the time zone in the IANA database, such as `Europe/Berlin`.
    pub zone: String,
}
