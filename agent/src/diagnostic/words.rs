//! Words that several rooms say alike.

use std::fmt::Display;

/// `1 device`, `2 devices`; of several words the first is counted: `2 flows that are allowed`.
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, what: &str) -> String {
    if count == N::from(1) {
        return format!("1 {what}");
    }
    match what.split_once(" that is ") {
        Some((what, rest)) => format!("{count} {what}s that are {rest}"),
        None => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_agrees_with_its_number() {
        let said = [0_u64, 1, 2].map(|count| counted(count, "flow that is live"));
        assert_eq!(said, ["0 flows that are live", "1 flow that is live", "2 flows that are live"]);
        assert_eq!([1_u32, 3].map(|count| counted(count, "rule")), ["1 rule", "3 rules"]);
    }
}
