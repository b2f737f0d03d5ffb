//! Policy text against what a reader is told about it.
//!
//! `policy/broken` holds what people get wrong: each case has at least one error, every finding has a code, a
//! place and help, and the whole text is a snapshot. `policy/well-formed` and the examples in `policies/`
//! resolve without a finding. Mutations of all of them neither panic nor steer a terminal.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use bulkhead_agent::{
    config::parse_config,
    diagnostic::{Severity, render_json, render_text},
    model::Policy,
    policy::{Outcome, SourceFile, built_in, resolve_texts},
};
use proptest::prelude::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let listing = fs::read_dir(folder).expect("the corpus is part of the checkout");
    let mut paths: Vec<PathBuf> = listing.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    path.file_name().expect("not a root").to_string_lossy().into_owned()
}

/// The policy files of one case: a file, or all `.toml` files of a folder. Paths are relative to the corpus.
fn case(path: &Path) -> Vec<SourceFile> {
    let read = |path: &Path, shown: String| SourceFile {
        path: shown,
        text: fs::read_to_string(path).expect("the corpus is UTF-8"),
    };
    if path.is_file() {
        return vec![read(path, name(path))];
    }
    let files = entries(path).into_iter().filter(|file| file.extension().is_some_and(|e| e == "toml"));
    files.map(|file| read(&file, format!("{}/{}", name(path), name(&file)))).collect()
}

fn shown(outcome: &Outcome) -> String {
    render_text(&outcome.diagnostics, &outcome.sources, false)
}

fn snapshots() -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../policy/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind_to_scope()
}

#[test]
fn every_broken_policy_is_refused_with_message_place_and_help() {
    let cases = entries(&root().join("policy/broken"));
    assert!(cases.len() >= 30, "the corpus has shrunk to {} cases", cases.len());
    let _bound = snapshots();
    let mut codes = BTreeSet::new();
    for path in cases {
        let outcome = resolve_texts(&case(&path));
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(outcome.policy.is_none(), "{stem} resolves");
        assert!(outcome.diagnostics.iter().any(|d| d.severity == Severity::Error), "{stem} has no error");
        for found in &outcome.diagnostics {
            let number = found.code.strip_prefix("BH").filter(|n| n.len() == 4);
            assert!(number.is_some_and(|n| n.parse::<u16>().is_ok()), "{stem}: code {}", found.code);
            assert!(found.location().is_some(), "{stem}: {} has no place", found.message);
            assert!(found.help.as_ref().is_some_and(|help| !help.is_empty()), "{stem}: {}", found.message);
            assert!(!found.message.ends_with('.'), "{stem}: {}", found.message);
            codes.insert(found.code);
        }
        let text = shown(&outcome);
        let sends = |c: char| c != '\n' && c.is_control();
        assert!(!text.contains(sends), "{stem} sends a control character to the terminal");
        assert!(render_json(&outcome.diagnostics, &outcome.sources).starts_with("{\"version\":1,"));
        insta::assert_snapshot!(stem, text);
    }
    assert!(codes.len() >= 60, "the corpus covers only {codes:?}");
}

#[test]
fn no_snapshot_is_left_without_its_case() {
    let stems = |folder: &str, prefix: &str| -> BTreeSet<String> {
        let paths = entries(&root().join(folder));
        let stem = |path: &PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
        paths.iter().map(|path| format!("{prefix}{}", stem(path))).collect()
    };
    let mut cases = stems("policy/broken", "");
    cases.extend(stems("policy/doubtful", "doubtful-"));
    assert_eq!(stems("policy/snapshots", ""), cases);
}

#[test]
fn every_well_formed_policy_resolves_without_a_finding() {
    let cases = entries(&root().join("policy/well-formed"));
    assert!(!cases.is_empty());
    for path in cases {
        let outcome = resolve_texts(&case(&path));
        assert!(outcome.diagnostics.is_empty(), "{}\n{}", name(&path), shown(&outcome));
        assert!(outcome.policy.is_some());
    }
}

#[test]
fn a_doubtful_policy_resolves_with_its_warnings() {
    let _bound = snapshots();
    for path in entries(&root().join("policy/doubtful")) {
        let outcome = resolve_texts(&case(&path));
        assert!(outcome.policy.is_some(), "{}\n{}", name(&path), shown(&outcome));
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        insta::assert_snapshot!(format!("doubtful-{stem}"), shown(&outcome));
    }
}

#[test]
fn every_example_resolves_without_a_finding() {
    let examples = entries(&root().join("../policies"));
    let examples: Vec<_> = examples.into_iter().filter(|path| path.is_dir()).collect();
    assert!(examples.len() >= 3);
    for path in examples {
        let outcome = resolve_texts(&case(&path));
        assert!(outcome.diagnostics.is_empty(), "{}\n{}", name(&path), shown(&outcome));
        let policy = outcome.policy.expect("no finding, so a policy");
        assert!(!policy.rules.is_empty());
        assert!(path.join("README.md").is_file(), "{} has no README", name(&path));
        expected(&path, &policy);
    }
}

/// `expected.txt` must name what the policy knows; the verdicts are for the tests of `why`.
fn expected(path: &Path, policy: &Policy) {
    let text = fs::read_to_string(path.join("expected.txt")).expect("each example says what it allows");
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let mut verdicts = BTreeSet::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (flow, verdict) = line.split_once(" -> ").unwrap_or_else(|| panic!("{}: {line}", name(path)));
        let words: Vec<&str> = flow.split_whitespace().collect();
        let [from, to, service] = words.as_slice() else { panic!("{}: {line}", name(path)) };
        for end in [from, to] {
            let network = policy.networks.iter().any(|network| network.name == **end);
            let group = policy.multicasts.iter().any(|group| group.name == **end);
            let word = ["gateway", "broadcast", "any"].contains(end);
            let known = network || group || word || policy.device(end).is_some();
            assert!(known || end.parse::<std::net::IpAddr>().is_ok(), "{}: {end} in {line}", name(path));
        }
        assert!(policy.service(service).is_some() || built_in().contains_key(*service), "{line}");
        verdicts.insert(verdict);
    }
    assert_eq!(verdicts.into_iter().collect::<Vec<_>>(), ["allow", "deny"], "{}", name(path));
}

/// All texts of the corpus and the examples, as seeds for mutation.
fn seeds() -> Vec<Vec<SourceFile>> {
    ["policy/broken", "policy/well-formed", "policy/doubtful", "../policies"]
        .iter()
        .flat_map(|folder| entries(&root().join(folder)))
        .map(|path| case(&path))
        .collect()
}

/// One edit: at a place (in thousandths of the text) some bytes go and some text comes.
type Edit = (u16, u8, &'static str);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let pieces = prop::sample::select(vec![
        "",
        "[",
        "]",
        "[[",
        "\"",
        "'",
        "=",
        "\n",
        ",",
        ".",
        "#",
        "{",
        "}",
        "\u{0}",
        "\u{1b}[2J",
        "\u{202e}",
        "\u{fc}",
        "[device.hmi]\n",
        "[[device.hmi.allow]]\n",
        "zone:cell-1",
        "class:panel",
        "any",
        "gateway",
        "group:x",
        "multicast:mdns",
        "broadcast",
        "[multicast.line]\n",
        "dhcp",
        "ethertype = \"0x8892\"\n",
        "::ffff:10.0.0.1",
        "fe80::1",
        "0",
        "-1",
        "65536",
        "9223372036854775808",
        "10.0.0.0/8",
        "ff:ff:ff:ff:ff:ff",
        "version = 1\n",
        "\"\"\"",
        "\\u",
        "to = \"any\"\n",
        "\r\n",
        "1e9",
        "inf",
        "2027-01-31",
    ]);
    prop::collection::vec((0..=1000_u16, any::<u8>(), pieces), 0..12)
}

fn mutate(text: &str, edits: &[Edit]) -> String {
    let mut text = text.to_owned();
    for (place, gone, piece) in edits {
        let boundary =
            |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let start = boundary(text.len() * usize::from(*place) / 1000);
        let end = boundary(start + usize::from(gone % 16)).max(start);
        text.replace_range(start..end, piece);
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_reader_panic(seed in any::<prop::sample::Index>(), edits in edits()) {
        let seeds = seeds();
        let mut files = seed.get(&seeds).clone();
        for file in &mut files {
            file.text = mutate(&file.text, &edits);
        }
        let outcome = resolve_texts(&files);
        let refused = outcome.diagnostics.iter().any(|d| d.severity == Severity::Error);
        prop_assert_eq!(outcome.policy.is_none(), refused);
        for found in &outcome.diagnostics {
            prop_assert!(found.location().is_some() && found.help.is_some(), "{:?}", found);
        }
        let sends = |c: char| c != '\n' && c.is_control();
        prop_assert!(!shown(&outcome).contains(sends));
        render_text(&outcome.diagnostics, &outcome.sources, true);
        // The same text as a configuration: everything is unknown, nothing panics.
        for file in &files {
            let (config, found, sources) = parse_config(&file.path, &file.text);
            prop_assert!(config.is_none());
            render_text(&found, &sources, false);
        }
    }

    #[test]
    fn the_order_of_files_does_not_matter(seed in any::<prop::sample::Index>(), order in any::<u64>(), edits in edits()) {
        let seeds: Vec<_> = seeds().into_iter().filter(|files| files.len() > 1).collect();
        let mut files = seed.get(&seeds).clone();
        // Half of the cases are whole policies, the other half have mistakes, whose order matters as well.
        if order % 2 == 0 {
            files[0].text = mutate(&files[0].text, &edits);
        }
        let before = resolve_texts(&files);
        let turn = usize::try_from(order % 97).unwrap_or(0) % files.len();
        files.rotate_left(turn);
        files.swap(0, 1);
        let after = resolve_texts(&files);
        prop_assert_eq!(before.policy, after.policy);
        prop_assert_eq!(before.diagnostics, after.diagnostics);
    }
}
