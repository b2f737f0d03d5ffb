//! Did-you-mean. In: a wrong name and the right ones. Out: the nearest, when it is near enough.

/// Longer names are never compared: the cost grows with the product of the lengths.
const MAX_LENGTH: usize = 64;

/// A word of at least so many bytes is taken for the beginning of the only name that begins with it.
const MIN_STEM: usize = 4;

/// The name nearest to `wrong`: at most one slip in three characters; of equals the first in alphabet. Otherwise the only
/// name that begins so: `critical` for `criticality`.
pub fn closest<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    if wrong.len() > MAX_LENGTH {
        return None;
    }
    let lowered = wrong.to_lowercase();
    let allowed = (wrong.chars().count() / 3).max(1);
    let mut nearest: Option<(usize, &str)> = None;
    let mut longer: Vec<&str> = Vec::new();
    for name in names.into_iter().filter(|name| name.len() <= MAX_LENGTH) {
        if name.len().abs_diff(lowered.len()) <= allowed + 1 {
            let found = (strsim::damerau_levenshtein(&lowered, name), name);
            if found.0 <= allowed && nearest.is_none_or(|best| found < best) {
                nearest = Some(found);
            }
        }
        if lowered.len() >= MIN_STEM && name.starts_with(&lowered) && longer.len() < 2 {
            longer.push(name);
        }
    }
    let only = if let [only] = longer[..] { Some(only) } else { None };
    nearest.map(|(_, name)| name).or(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_forgiven_and_a_different_word_is_not() {
        let names = ["historian", "hmi-1", "hmi-2"];
        assert_eq!(closest("historan", names), Some("historian"));
        assert_eq!(closest("hmi-3", names), Some("hmi-1"));
        assert_eq!(closest("HISTORIAN", names), Some("historian"));
        assert_eq!(closest("printer", names), None);
        assert_eq!(closest("critical", ["criticality", "comment"]), Some("criticality"));
        assert_eq!(closest("mult", ["multicast-a", "multicast-b"]), None);
        assert_eq!(closest(&"x".repeat(5000), names), None);
    }
}
