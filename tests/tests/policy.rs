//! Policy text against what a reader is told about it.
//!
//! `policy/broken` holds what people get wrong: each case has at least one error, every finding has a code, a
//! place and help, and the whole text is a snapshot. `policy/well-formed` and the examples in `policies/`
//! resolve without a finding.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use bulkhead_agent::{
    diagnostic::{Severity, render_json, render_text},
    model::Policy,
    policy::{Outcome, SourceFile, built_in, resolve_texts},
};

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
        assert!(render_json(&outcome.diagnostics).starts_with("{\"version\":1,"));
        insta::assert_snapshot!(stem, text);
    }
    assert!(codes.len() >= 40, "the corpus covers only {codes:?}");
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
            let known = network || policy.device(end).is_some() || ["gateway", "any"].contains(end);
            assert!(known || end.parse::<std::net::IpAddr>().is_ok(), "{}: {end} in {line}", name(path));
        }
        assert!(policy.service(service).is_some() || built_in().contains_key(*service), "{line}");
        verdicts.insert(verdict);
    }
    assert_eq!(verdicts.into_iter().collect::<Vec<_>>(), ["allow", "deny"], "{}", name(path));
}
