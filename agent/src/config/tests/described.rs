//! What the language says of the configuration is what the agent reads: keys, defaults, ranges.

use super::*;
use crate::language::{Key, Kind, Table};

#[test]
fn every_key_that_is_described_is_read_and_no_other() {
    use crate::policy::reader::log;
    let text = "[interface.a.infrastructure]\n[segment.b]\nvlan = 1\n[management]\n[infrastructure]\n[flows]\n[names]\n[violations]\n[sink.c]\n[metrics]\n[audit]\n[drift]\n[history]\n[history.collector]\n[inventory]\n[rollout]\n[limits]\n[signing]\n";
    let asked = log::asked(|| {
        parse_config("c.toml", text);
    });
    assert_eq!(asked, log::described(&language::ROOT));
}

/// Each table that has one place in a configuration, with the way there.
fn single_tables() -> Vec<(String, &'static Table)> {
    let inner = |key: &'static Key| match key.kind {
        Kind::Table(table) => Some((format!("[{}]\n", key.name), table)),
        Kind::Named(table, _) if key.name == "interface" => Some(("[interface.eth0]\n".to_owned(), table)),
        Kind::Named(..)
        | Kind::Entries(_)
        | Kind::One(_)
        | Kind::Many(_)
        | Kind::Integer { .. }
        | Kind::Boolean
        | Kind::Word(_)
        | Kind::Time => None,
    };
    let below = language::ROOT.keys().filter_map(inner);
    std::iter::once((String::new(), &language::ROOT)).chain(below).collect()
}

#[test]
fn the_described_defaults_are_those_of_the_agent() {
    let mut text = String::new();
    for (header, table) in single_tables() {
        text += &header;
        for key in table.keys() {
            text += &key.default.map(|default| format!("{} = {default}\n", key.name)).unwrap_or_default();
        }
    }
    assert!(text.lines().count() > 30, "{text}");
    assert_eq!(read(&text), read(UPLINK), "{text}");
}

#[test]
fn the_described_ranges_are_those_of_the_agent() {
    for (header, table) in single_tables() {
        for key in table.keys() {
            let Kind::Integer { low, high } = key.kind else { continue };
            for (value, fits) in [(low - 1, false), (low, true), (high, true), (high + 1, false)] {
                let found = codes(&format!("{UPLINK}{header}{} = {value}\n", key.name));
                assert_eq!(!found.contains(&"BH0606"), fits, "{} = {value}", key.name);
            }
        }
    }
}
