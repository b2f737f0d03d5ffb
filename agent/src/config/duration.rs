//! Times as people write them. In: `10m`, `1h30m`. Out: a duration, and the other way round.

use std::time::Duration;

/// Seconds of each unit, longest first.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// `5d`, `1h30m`, `10s`; `None` for anything else, a missing unit included.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, seconds) = UNITS.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        total = total.checked_add(number.checked_mul(seconds)?)?;
    }
    (!text.is_empty()).then(|| Duration::from_secs(total))
}

/// The shortest spelling that [`parse`] reads back.
pub fn show(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match UNITS.into_iter().find(|(_, unit)| seconds >= *unit && seconds.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

/// With every unit that it has, as a clock would say it: `1h30m`, `9m30s`. Read back by [`parse`] too.
pub fn spell(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    let mut text = String::new();
    for (name, unit) in UNITS {
        if rest >= unit {
            text += &format!("{}{name}", rest / unit);
            rest %= unit;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_spellings_are_read() {
        for (text, seconds) in [("0s", 0), ("10m", 600), ("1h30m", 5400), ("5d", 432_000), ("90s", 90)] {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in
            ["", "10", "m", "10 m", "-1s", "1.5h", "10ms", "99999999999999999999s", "300000000000000d"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for seconds in [0, 1, 59, 60, 90, 3600, 86_400, 90_061] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(parse(&show(duration)), Some(duration));
            assert_eq!(parse(&spell(duration)), Some(duration));
        }
    }

    #[test]
    fn time_that_is_left_is_spelt_in_every_unit() {
        let spelt = [0, 59, 60, 570, 3661, 90_000].map(|seconds| spell(Duration::from_secs(seconds)));
        assert_eq!(spelt, ["0s", "59s", "1m", "9m30s", "1h1m1s", "1d1h"]);
    }
}
