//! What is shipped for monitoring systems names only metrics that there are, and their own tools take it.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use bulkhead_agent::metrics::{FAMILIES, Family, Kind, Snapshot, classic, open_metrics};
use bulkhead_tests::skip::{Tier, skip};

const RULES: &str = "packaging/prometheus/bulkhead.rules.yml";
const DASHBOARD: &str = "packaging/grafana/bulkhead.json";

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Runs `promtool`; `None` when it is not there.
fn promtool(test: &str, words: &[&str], input: &str) -> Option<(bool, String)> {
    let ran = Command::new("promtool")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = ran else {
        skip(Tier::Metrics, test, "`promtool` is not installed: apt-get install prometheus");
        return None;
    };
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let done = child.wait_with_output().expect("it ends");
    let said = [done.stdout, done.stderr].concat();
    Some((done.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

/// Every name of a metric in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !word(c)).filter(|name| name.starts_with("bulkhead_")).collect()
}

#[test]
fn rules_and_dashboard_name_metrics_that_there_are() {
    let known: Vec<String> = FAMILIES.iter().map(Family::sample).collect();
    let mut used = BTreeSet::new();
    for path in [RULES, DASHBOARD] {
        let text = fs::read_to_string(shipped(path)).expect("it is shipped");
        for name in names(&text) {
            assert!(known.iter().any(|known| known == name), "`{path}` names `{name}`, which is no metric");
            used.insert(name.to_owned());
        }
    }
    assert!(used.len() > 15, "{used:?}");
}

#[test]
fn the_manual_has_every_metric_with_its_labels() {
    let text = fs::read_to_string(shipped("docs/metrics.md")).expect("it is shipped");
    for family in FAMILIES {
        let Family { help, kind, labels, .. } = family;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let row = format!("| `{}` | {kind} | {} | {help} |", family.sample(), labels.join(" "));
        assert!(text.lines().any(|line| line == row), "`docs/metrics.md` has no row\n{row}");
    }
    let told = names(&text).into_iter().find(|name| !FAMILIES.iter().any(|family| family.sample() == **name));
    assert_eq!(told, None, "which is no metric");
}

#[test]
fn dashboard_is_json_with_a_data_source_to_choose() {
    let text = fs::read_to_string(shipped(DASHBOARD)).expect("it is shipped");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(dashboard["__inputs"][0]["pluginId"], "prometheus");
    let panels = dashboard["panels"].as_array().expect("panels");
    for panel in panels {
        assert_eq!(panel["datasource"]["uid"], "${DS_PROMETHEUS}", "{panel}");
        assert!(panel["targets"].as_array().is_some_and(|targets| !targets.is_empty()), "{panel}");
    }
}

#[test]
fn promtool_takes_the_alert_rules() {
    let path = shipped(RULES);
    let test = "promtool_takes_the_alert_rules";
    let words = ["check", "rules", path.to_str().expect("a path of text")];
    let Some((fine, said)) = promtool(test, &words, "") else { return };
    assert!(fine, "{said}");
}

#[test]
fn promtool_takes_a_page() {
    let snapshot = Snapshot { version: "1".to_owned(), revision: "c4c4".to_owned(), ..Snapshot::default() };
    let page = classic(&open_metrics(snapshot));
    let Some((fine, said)) = promtool("promtool_takes_a_page", &["check", "metrics"], &page) else { return };
    assert!(fine && said.trim().is_empty(), "{said}\n{page}");
}
