//! What a rule is called in a label: by what it says, so that it keeps its series wherever it stands in its file.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// Characters of a rule's text that a label has. A rule may name any number of services.
pub const MOST_TEXT: usize = 200;

/// The label of a rule; of several that differ in when they hold alone, of the `nth`.
pub fn rule_label(text: &str, nth: u32) -> String {
    let mut label = match text.char_indices().nth(MOST_TEXT) {
        None => text.to_owned(),
        Some((end, _)) => {
            let mut label = format!("{}... ", &text[..end]);
            for byte in &Sha256::digest(text)[..4] {
                let _ = write!(label, "{byte:02x}");
            }
            label
        }
    };
    if nth > 0 {
        let _ = write!(label, " ({})", nth + 1);
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_called_by_what_it_says() {
        assert_eq!(rule_label("hmi -> plc modbus", 0), "hmi -> plc modbus");
        assert_eq!(rule_label("hmi -> plc modbus", 1), "hmi -> plc modbus (2)");
    }

    #[test]
    fn long_rules_are_cut_and_still_told_apart() {
        let long = |last: &str| rule_label(&format!("hmi -> plc {}{last}", "ü, ".repeat(100)), 0);
        assert_eq!(long("http").chars().count(), MOST_TEXT + "... 01234567".len());
        assert_eq!(long("http"), long("http"));
        assert_ne!(long("http"), long("https"));
        let whole = "x".repeat(MOST_TEXT);
        assert_eq!(rule_label(&whole, 0), whole);
    }
}
