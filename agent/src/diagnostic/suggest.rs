//! Did-you-mean. In: a wrong name and the right ones. Out: the nearest, when it is near enough.

/// Longer names are never compared: the cost grows with the product of the lengths.
const MAX_LENGTH: usize = 64;

/// The name nearest to `wrong`: at most one slip in three characters; of equals the first in alphabet.
pub fn closest<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    if wrong.len() > MAX_LENGTH {
        return None;
    }
    let lowered = wrong.to_lowercase();
    let allowed = (wrong.chars().count() / 3).max(1);
    names
        .into_iter()
        .filter(|name| name.len() <= MAX_LENGTH && name.len().abs_diff(lowered.len()) <= allowed + 1)
        .map(|name| (strsim::damerau_levenshtein(&lowered, name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
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
        assert_eq!(closest(&"x".repeat(5000), names), None);
    }
}
