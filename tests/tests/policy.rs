//! Policy text against what a reader is told about it.
//!
//! `policy/broken` holds what people get wrong: each case has at least one error, every finding has a code, a
//! place and help, and the whole text is a snapshot. `policy/configuration` is the same for the agent's configuration. `policy/well-formed` and the examples in `policies/`
//! resolve without a finding. Mutations of all of them neither panic nor steer a terminal.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use bulkhead_agent::{
    config::parse_config,
    diagnostic::{Severity, render_json, render_text, sort},
    language::{as_json, schema},
    lint::lint,
    model::Policy,
    policy::{MAX_FILE_BYTES, MAX_FILES, Outcome, SourceFile, built_in, language, resolve_texts},
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

/// What a reader is told about a policy that resolves, at a moment that does not pass.
fn checked(files: &[SourceFile]) -> Outcome {
    let mut outcome = resolve_texts(files);
    let now = "2026-06-01T12:00:00Z".parse().expect("a moment");
    outcome.diagnostics.extend(outcome.policy.iter().flat_map(|policy| lint(policy, now)));
    sort(&mut outcome.diagnostics);
    outcome
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
fn every_broken_configuration_is_refused_with_message_place_and_help() {
    let _bound = snapshots();
    for path in entries(&root().join("policy/configuration")) {
        let text = fs::read_to_string(&path).expect("UTF-8");
        let (config, found, sources) = parse_config(&name(&path), &text);
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(config.is_none(), "{stem} can be used");
        assert!(found.iter().all(|d| d.location().is_some() && d.help.is_some()), "{stem}: {found:?}");
        insta::assert_snapshot!(format!("configuration-{stem}"), render_text(&found, &sources, false));
    }
}

/// Policies beyond a bound, by name.
fn oversized() -> Vec<(&'static str, Vec<SourceFile>)> {
    let file = |path: &str, text: String| SourceFile { path: path.to_owned(), text };
    vec![
        ("file", vec![file("a.toml", "#".repeat(MAX_FILE_BYTES + 1))]),
        (
            "files",
            (0..=MAX_FILES).map(|n| file(&format!("{n:04}.toml"), "version = 1\n".to_owned())).collect(),
        ),
        (
            "twice",
            vec![file("a.toml", "version = 1\n".to_owned()), file("a.toml", "version = 1\n".to_owned())],
        ),
        (
            "problems",
            vec![file(
                "a.toml",
                format!(
                    "version = 1\n[device.plc]\n{}",
                    (0..1_200).map(|n| format!("key-{n} = 1\n")).collect::<String>()
                ),
            )],
        ),
    ]
}

#[test]
fn what_is_too_much_is_refused_and_said_in_a_few_lines() {
    let _bound = snapshots();
    for (name, files) in oversized() {
        let outcome = resolve_texts(&files);
        assert!(outcome.policy.is_none(), "{name}");
        // What is shown is bounded whatever was given.
        assert!(shown(&outcome).len() < 1 << 20, "{name}");
        let last = outcome.diagnostics.len().saturating_sub(1);
        insta::assert_snapshot!(
            format!("oversized-{name}"),
            render_text(&outcome.diagnostics[last..], &outcome.sources, false)
        );
    }
}

#[test]
fn one_typo_in_three_thousand_lines_is_pointed_at() {
    use std::fmt::Write;
    let mut text = "version = 1\n[network.office]\ncidr = \"10.9.0.0/24\"\n".to_owned();
    for n in 0..500 {
        let service = if n == 377 { "modbsu" } else { "modbus" };
        let _ = write!(
            text,
            "[device.plc-{n}]\nip = \"10.{}.{}.11\"\n[[device.plc-{n}.allow]]\nfrom = \"office\"\nservice = \"{service}\"\n\n",
            n / 200,
            n % 200
        );
    }
    assert!(text.lines().count() > 3000);
    let outcome = resolve_texts(&[SourceFile { path: "plant.toml".into(), text: text.clone() }]);
    let [found] = &outcome.diagnostics[..] else { panic!("{}", shown(&outcome)) };
    let place = found.location().expect("a place");
    assert_eq!((found.code, &text[place.span.clone()]), ("BH0304", "\"modbsu\""));
    let line = text.lines().position(|line| line.contains("modbsu")).expect("it is there") + 1;
    assert_eq!((place.line as usize, place.column), (line, 11));
    assert_eq!(found.help.as_deref(), Some("did you mean `modbus`?"));
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
    cases.extend(stems("policy/configuration", "configuration-"));
    cases.extend(oversized().into_iter().map(|(name, _)| format!("oversized-{name}")));
    assert_eq!(stems("policy/snapshots", ""), cases);
}

#[test]
fn every_well_formed_policy_resolves_without_a_finding() {
    let cases = entries(&root().join("policy/well-formed"));
    assert!(!cases.is_empty());
    for path in cases {
        let outcome = checked(&case(&path));
        assert!(outcome.diagnostics.is_empty(), "{}\n{}", name(&path), shown(&outcome));
        assert!(outcome.policy.is_some());
    }
}

#[test]
fn a_doubtful_policy_resolves_with_its_warnings() {
    let _bound = snapshots();
    for path in entries(&root().join("policy/doubtful")) {
        let outcome = checked(&case(&path));
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
        let outcome = checked(&case(&path));
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

/// The JSON Schema of policy files, ready to judge.
fn policy_schema() -> &'static jsonschema::Validator {
    static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        jsonschema::draft202012::new(&schema(&language::ROOT, language::TITLE)).expect("a schema")
    });
    &SCHEMA
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
        "[zone.cell-1]\n",
        "[group.x]\nmembers = [\"group:x\", \"zone:cell-1\"]\n",
        "[[conduit]]\nfrom = \"zone:cell-1\"\n",
        "expires = 2027-01-31T18:00:00Z\n",
        "windows = [{ days = \"mon-fri\", from = \"22:00\", to = \"06:00\", zone = \"UTC\" }]\n",
        "include = \"modbus\"\n",
        "dns = \"*.vendor.example\"\n",
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
        for found in outcome.policy.iter().flat_map(|policy| lint(policy, jiff::Timestamp::UNIX_EPOCH)) {
            prop_assert!(found.location().is_some() && found.help.is_some(), "{:?}", found);
            prop_assert_eq!(found.severity, Severity::Warning);
        }
        // What the agent takes an editor must not mark.
        if outcome.policy.is_some() {
            for file in &files {
                let document: toml::Table = toml::from_str(&file.text).expect("it was read");
                let document = as_json(&toml::Value::Table(document));
                let judged = policy_schema().validate(&document);
                prop_assert!(judged.is_ok(), "{:?}\n{}", judged, file.text);
            }
        }
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
        let lints = |outcome: &Outcome| {
            outcome.policy.as_ref().map(|policy| lint(policy, jiff::Timestamp::UNIX_EPOCH))
        };
        prop_assert_eq!(lints(&before), lints(&after));
        prop_assert_eq!(before.policy, after.policy);
        prop_assert_eq!(before.diagnostics, after.diagnostics);
    }
}
