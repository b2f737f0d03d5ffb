//! The explanations of the codes against the agent: every code that is used is explained and the other way round, and
//! the examples are what they say. The generated documents are the present ones.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use bulkhead_agent::{
    config::{language as config, parse_config},
    diagnostic::{Diagnostic, Example, Explanation, Severity, codes, codes_markdown, render_text},
    language::reference,
    lint::lint,
    policy::{SourceFile, language as policy, resolve_texts},
    record::schema,
};
use jiff::Timestamp;

/// Codes that one policy text on a page cannot give: sizes, numbers of files, and what only a gateway or a folder knows.
const NOT_SHOWN: [&str; 21] = [
    "BH0003", "BH0004", "BH0005", "BH0008", "BH0232", "BH0323", "BH0334", "BH0335", "BH0336", "BH0406",
    "BH0407", "BH0408", "BH0416", "BH0420", "BH0510", "BH0514", "BH0515", "BH0517", "BH0701", "BH0702",
    "BH0703",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every string literal of the agent's source that is a code.
fn used() -> BTreeSet<String> {
    let source = root().parent().expect("the checkout").join("agent/src");
    let mut pending = vec![source.clone()];
    let mut found = BTreeSet::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("part of the checkout");
            pending.extend(entries.map(|entry| entry.expect("readable").path()));
        } else if path.extension().is_some_and(|e| e == "rs")
            && !is_beside(path.strip_prefix(&source).expect("below it"))
        {
            let text = fs::read_to_string(&path).expect("Rust is UTF-8");
            let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let quoted = code.split('"').filter(|word| word.len() == 6 && word.starts_with("BH"));
            found.extend(quoted.filter(|word| word[2..].parse::<u16>().is_ok()).map(str::to_owned));
        }
    }
    found
}

/// Tests, and those who sort findings by their codes: to name a code there is not to find anything.
fn is_beside(path: &Path) -> bool {
    let sorting = ["policy/cascade.rs", "cli/check/output.rs"];
    let test = path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")));
    test || sorting.iter().any(|sorting| path == Path::new(sorting))
}

#[test]
fn a_code_is_used_exactly_when_it_is_explained() {
    let explained: BTreeSet<String> = codes().keys().map(|code| (*code).to_owned()).collect();
    let used = used();
    assert!(used.len() > 80, "the search has gone blind: {used:?}");
    let strange: Vec<&String> = used.symmetric_difference(&explained).collect();
    assert!(strange.is_empty(), "used or explained, not both: {strange:?}");
}

/// When the examples are judged.
fn now() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().expect("a moment")
}

/// What an example gives: every finding, and the text a reader would see.
fn found(code: &str, examples: &[Example]) -> (Vec<Diagnostic>, String) {
    assert!(examples.iter().all(|example| example.notation == "toml"), "{code}");
    if code.starts_with("BH06") {
        let [example] = examples else { panic!("{code}: a configuration is one file") };
        let (_, found, sources) = parse_config("bulkhead.toml", example.text);
        let text = render_text(&found, &sources, false);
        return (found, text);
    }
    let files: Vec<SourceFile> = examples
        .iter()
        .enumerate()
        .map(|(number, example)| SourceFile {
            path: format!("{number}.toml"),
            text: format!("{}\n", example.text),
        })
        .collect();
    let outcome = resolve_texts(&files);
    let mut found = outcome.diagnostics;
    found.extend(outcome.policy.iter().flat_map(|policy| lint(policy, now())));
    let text = render_text(&found, &outcome.sources, false);
    (found, text)
}

#[test]
fn every_example_is_what_it_says() {
    for Explanation { code, severity, wrong, right, .. } in codes().values() {
        if NOT_SHOWN.contains(code) {
            assert!(
                wrong.iter().chain(right).all(|example| example.notation != "toml"),
                "{code} can be shown"
            );
            continue;
        }
        let (findings, text) = found(code, wrong);
        let said: BTreeSet<&str> =
            findings.iter().filter(|found| found.severity == *severity).map(|found| found.code).collect();
        assert_eq!(said, BTreeSet::from([*code]), "{code}, wrong:\n{text}");
        let (findings, text) = found(code, right);
        let clean = findings.iter().all(|found| found.severity == Severity::Warning && found.code != *code);
        assert!(clean, "{code}, right:\n{text}");
    }
}

#[test]
fn the_generated_documents_are_the_present_ones() {
    let records = serde_json::to_string_pretty(&schema()).expect("a schema is JSON");
    let documents: [(&str, String); 4] = [
        ("policy-reference.md", reference(&policy::ROOT, policy::TITLE)),
        ("config-reference.md", reference(&config::ROOT, config::TITLE)),
        ("records.schema.json", records),
        ("diagnostics.md", codes_markdown()),
    ];
    for (name, wanted) in documents {
        let path: PathBuf = root().join("../docs").join(name);
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found.trim_end() == wanted.trim_end(), "docs/{name} is out of date: run `cargo xtask docs`");
    }
}
