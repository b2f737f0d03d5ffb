//! What is shipped for monitoring systems names only metrics and labels that there are, their own tools take it, and each alert
//! is raised when it should be and only then.

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
const CASES: &str = "packaging/prometheus/bulkhead.test.yml";
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
    for path in [RULES, CASES, DASHBOARD] {
        let text = fs::read_to_string(shipped(path)).expect("it is shipped");
        for name in names(&text) {
            assert!(known.iter().any(|known| known == name), "`{path}` names `{name}`, which is no metric");
            used.insert(name.to_owned());
        }
    }
    assert!(used.len() > 15, "{used:?}");
}

/// The labels that a scrape adds, and those of an alert.
const FOREIGN: [&str; 6] = ["job", "instance", "alertname", "alertstate", "severity", "__name__"];

/// Every metric of a text that has a selector, with the label, operator and value of each of its matchers.
fn matchers(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    // The dashboard is JSON, where quotes are escaped.
    let text = text.replace("\\\"", "\"");
    let selectors = text.match_indices("bulkhead_").filter_map(|(at, _)| {
        let (name, rest) = text[at..].split_once('{')?;
        let whole = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let inside = rest.split_once('}').filter(|_| whole)?.0;
        let matchers = inside.split(',').map(|matcher| {
            let (label, value) = matcher.split_once('=').unwrap_or_else(|| panic!("`{matcher}` in {name}"));
            (label.trim().trim_end_matches('!').to_owned(), value.trim_matches(['~', '"']).to_owned())
        });
        Some((name.to_owned(), matchers.collect()))
    });
    selectors.collect()
}

#[test]
fn rules_and_dashboard_name_labels_and_values_that_there_are() {
    let manual = fs::read_to_string(shipped("docs/metrics.md")).expect("it is shipped");
    let mut values = 0;
    for path in [RULES, CASES, DASHBOARD] {
        let text = fs::read_to_string(shipped(path)).expect("it is shipped");
        for (name, matchers) in matchers(&text) {
            let family = FAMILIES.iter().find(|family| family.sample() == name);
            let labels = family.unwrap_or_else(|| panic!("`{name}` is no metric")).labels;
            for (label, value) in matchers.iter().filter(|(label, _)| !FOREIGN.contains(&label.as_str())) {
                assert!(labels.contains(&label.as_str()), "`{path}`: `{name}` has no label `{label}`");
                let rows: Vec<&str> =
                    manual.lines().filter(|line| line.starts_with(&format!("| `{label}`"))).collect();
                let is_told = rows.iter().any(|row| row.contains(&format!("`{value}`")));
                assert!(rows.is_empty() || is_told, "`{path}`: `{label}` of `{name}` is never `{value}`");
                values += usize::from(is_told);
            }
        }
    }
    assert!(values > 20, "{values}");
}

/// The labels of all metrics that a text names.
fn labels(text: &str) -> BTreeSet<&'static str> {
    let families = names(text).into_iter().filter_map(|name| FAMILIES.iter().find(|f| f.sample() == name));
    families.flat_map(|family| family.labels.iter().copied()).collect()
}

#[test]
fn texts_of_alerts_and_legends_show_labels_that_there_are() {
    let rules = fs::read_to_string(shipped(RULES)).expect("it is shipped");
    let mut shown = 0;
    for alert in rules.split("- alert: ").skip(1) {
        for label in alert.split("{{ $labels.").skip(1).filter_map(|rest| rest.split(' ').next()) {
            assert!(FOREIGN.contains(&label) || labels(alert).contains(label), "`{label}` in {alert}");
            shown += 1;
        }
    }
    let dashboard = fs::read_to_string(shipped(DASHBOARD)).expect("it is shipped");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
    for target in dashboard["panels"]
        .as_array()
        .expect("panels")
        .iter()
        .flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default())
    {
        let (query, legend) = (target["expr"].as_str().expect("a query"), &target["legendFormat"]);
        let by = query.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
        let by = by.flat_map(|labels| labels.split(", "));
        let legend = legend.as_str().unwrap_or_default();
        let legend = legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
        for label in by.chain(legend) {
            assert!(labels(query).contains(label), "`{label}` in {query}");
            shown += 1;
        }
    }
    assert!(shown > 30, "{shown}");
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

/// Runs the cases of the alerts with some rules.
fn try_rules(test: &str, rules: &str) -> Option<(bool, String)> {
    let folder = tempfile::tempdir().expect("a folder");
    let cases = folder.path().join("bulkhead.test.yml");
    fs::copy(shipped(CASES), &cases).expect("it is shipped");
    fs::write(folder.path().join("bulkhead.rules.yml"), rules).expect("written");
    promtool(test, &["test", "rules", cases.to_str().expect("a path of text")], "")
}

/// The rules with another query for one alert.
fn with_query(rules: &str, alert: &str, query: &str) -> String {
    let (before, rest) = rules.split_once(&format!("- alert: {alert}\n")).expect("it is there");
    let indent = " ".repeat(8);
    let (_, query_and_more) = rest.split_once(&format!("{indent}expr: ")).expect("a query");
    let after = query_and_more.split_inclusive('\n').skip(1).skip_while(|line| line.starts_with("         "));
    let after: String = after.collect();
    format!("{before}- alert: {alert}\n{indent}expr: {query}\n{after}")
}

#[test]
fn each_alert_is_raised_when_it_should_be_and_only_then() {
    let test = "each_alert_is_raised_when_it_should_be_and_only_then";
    let rules = fs::read_to_string(shipped(RULES)).expect("it is shipped");
    let Some((fine, said)) = try_rules(test, &rules) else { return };
    assert!(fine, "{said}");
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    let all = |query| alerts.iter().fold(rules.clone(), |rules, alert| with_query(&rules, alert, query));
    // Cases that take alerts that are never raised, or always, say nothing of them.
    let (fine, said) = try_rules(test, &all("vector(1) == 0")).expect("it was there");
    for alert in &alerts {
        assert!(!fine && said.contains(alert), "no case misses {alert}:\n{said}");
    }
    let (fine, said) = try_rules(test, &all("vector(1)")).expect("it was there");
    for alert in &alerts {
        let raised = format!("{{alertname=\"{alert}\"}}");
        assert!(!fine && said.contains(&raised), "no case finds {alert} too much:\n{said}");
    }
}

#[test]
fn promtool_takes_a_page() {
    let snapshot = Snapshot { version: "1".to_owned(), revision: "c4c4".to_owned(), ..Snapshot::default() };
    let page = classic(&open_metrics(snapshot));
    let Some((fine, said)) = promtool("promtool_takes_a_page", &["check", "metrics"], &page) else { return };
    assert!(fine && said.trim().is_empty(), "{said}\n{page}");
}
