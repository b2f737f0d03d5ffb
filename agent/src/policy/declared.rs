//! What a file declares, without judging it: by that one recognises which file a changed copy replaces.

use std::collections::BTreeSet;

use toml::de::DeTable;

use super::language::ROOT;
use crate::language::Kind;

/// The kind and the name of everything with a name: (`device`, `press-plc`). A text with mistakes declares what can
/// be recognised of it.
pub fn declared(text: &str) -> BTreeSet<(String, String)> {
    let (document, _) = DeTable::parse_recoverable(text);
    let mut found = BTreeSet::new();
    for key in ROOT.keys().filter(|key| matches!(key.kind, Kind::Named(..))) {
        let tables = document.get_ref().get(key.name).and_then(|value| value.get_ref().as_table());
        for name in tables.into_iter().flat_map(|tables| tables.keys()) {
            found.insert((key.name.to_owned(), name.get_ref().to_string()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_with_a_name_is_declared_even_in_a_broken_text() {
        let text = "version = 1\n[device.plc]\nip = 10.0.0\n[service.poll]\n[quarantine]\npeers = \"plc\"\n";
        let found: Vec<String> =
            declared(text).into_iter().map(|(kind, name)| format!("{kind} {name}")).collect();
        assert_eq!(found, ["device plc", "service poll"]);
    }
}
