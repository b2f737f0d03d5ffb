//! Words that several rooms say alike.

/// `1 device`, `2 devices`; of several words the first is counted: `2 flows that are allowed`.
pub fn counted(count: usize, what: &str) -> String {
    if count == 1 {
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
        let said = [0, 1, 2].map(|count| counted(count, "flow that is live"));
        assert_eq!(said, ["0 flows that are live", "1 flow that is live", "2 flows that are live"]);
        assert_eq!([1, 3].map(|count| counted(count, "rule")), ["1 rule", "3 rules"]);
    }
}
