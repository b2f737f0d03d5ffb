//! From when on something is a habit. The reasons for each number are in docs/learn.md.

/// The time that is looked at, seconds since 1970 (UTC); both ends are part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// What began earlier is not learned.
    pub since: i64,
    /// What went on later is not learned.
    pub until: i64,
}

impl Span {
    /// All that was ever seen.
    pub const EVER: Self = Self { since: i64::MIN, until: i64::MAX };

    /// Whether a time lies in it, from one moment to another.
    pub fn holds(self, first: i64, last: i64) -> bool {
        self.since <= first && last <= self.until
    }
}

/// The thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What is looked at.
    pub span: Span,
    /// On so many days something must have been seen.
    pub days: u32,
    /// So many conversations must have begun, or it must have gone on in as many hours as `hours` says.
    pub flows: u64,
    /// In so many different hours, where fewer conversations began: a session that never ends.
    pub hours: u32,
    /// Of the days that were looked at, percent: on fewer of them it is not steady.
    pub steady: u32,
    /// So many partners or ports that one source tries on one day make a scan.
    pub fan_out: u32,
    /// A probe has at most so many conversations of one kind on a day.
    pub probe_flows: u64,
    /// A probe sends at most so many packets in a conversation.
    pub probe_packets: u64,
    /// A baseline is complete with so many days,
    pub complete_days: u32,
    /// so many of the 168 hours of the week,
    pub complete_hours: u32,
    /// and nothing new for so many days.
    pub quiet_days: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            span: Span::EVER,
            days: 2,
            flows: 3,
            hours: 24,
            steady: 80,
            fan_out: 10,
            probe_flows: 12,
            probe_packets: 4,
            complete_days: 14,
            complete_hours: 168,
            quiet_days: 7,
        }
    }
}
