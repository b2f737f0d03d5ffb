//! Diagnostics as SARIF 2.1.0 (OASIS), which code review and scanning services read.
//!
//! In: diagnostics, the texts they point into, and the folder that relative addresses start from. Out: one log with one
//! run; its rules are the explanations of the codes that occur.

use std::{collections::BTreeSet, fmt::Write};

use serde_json::{Value, json};

use super::{Diagnostic, Explanation, Label, Location, Severity, Sources, codes};

/// Where the shape is defined.
const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// Name of the folder that relative addresses start from.
const BASE: &str = "SRCROOT";

/// One SARIF log. `base` is an absolute folder: paths below it become relative to it.
pub fn render_sarif(diagnostics: &[Diagnostic], sources: &Sources, base: &str) -> Value {
    let used: Vec<&str> =
        diagnostics.iter().map(|found| found.code).collect::<BTreeSet<_>>().into_iter().collect();
    let rules: Vec<Value> = used.iter().filter_map(|code| codes().get(code)).map(rule).collect();
    let place = Places { sources, base };
    let results: Vec<Value> = diagnostics.iter().map(|found| place.result(found, &used)).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "bulkhead",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "invocations": [{ "executionSuccessful": true }],
            "originalUriBaseIds": { BASE: { "uri": format!("{}/", file_uri(base.trim_end_matches('/'))) } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn level(severity: Severity) -> &'static str {
    severity.name()
}

fn rule(explained: &Explanation) -> Value {
    let Explanation { code, severity, title, text, wrong, right } = explained;
    let mut markdown = (*text).to_owned();
    let mut plain = text.replace('`', "'");
    for (word, examples) in [("Wrong", wrong), ("Right", right)] {
        for example in examples {
            let _ = write!(markdown, "\n\n{word}:\n\n```{}\n{}\n```", example.notation, example.text);
            let _ = write!(plain, "\n\n{word}:\n\n{}", example.text);
        }
    }
    json!({
        "id": code,
        "shortDescription": { "text": title },
        "fullDescription": { "text": text.replace('`', "'"), "markdown": text },
        "help": { "text": plain, "markdown": markdown },
        "defaultConfiguration": { "level": level(*severity) },
    })
}

struct Places<'a> {
    sources: &'a Sources,
    base: &'a str,
}

impl Places<'_> {
    fn result(&self, found: &Diagnostic, rules: &[&str]) -> Value {
        let Diagnostic { code, severity, message, labels, help } = found;
        let text = match help {
            Some(help) => format!("{message}\nhelp: {help}"),
            None => message.clone(),
        };
        let (primary, others): (Vec<&Label>, Vec<&Label>) = labels.iter().partition(|label| label.primary);
        let locations: Vec<Value> = primary.iter().map(|label| self.location(label)).collect();
        let mut result = json!({
            "ruleId": code,
            "level": level(*severity),
            "message": { "text": text },
            "locations": locations,
        });
        if codes().contains_key(code) {
            let explained = rules.iter().filter(|rule| codes().contains_key(**rule));
            result["ruleIndex"] = json!(explained.take_while(|rule| *rule != code).count());
        }
        if !others.is_empty() {
            let related = others.iter().enumerate().map(|(id, label)| {
                let mut location = self.location(label);
                location["id"] = json!(id + 1);
                location
            });
            result["relatedLocations"] = Value::Array(related.collect());
        }
        result
    }

    fn location(&self, label: &Label) -> Value {
        let Label { location, text, primary: _ } = label;
        let (end_line, end_column) = self.sources.end(location);
        let Location { path, line, column, span } = location;
        let mut found = json!({ "physicalLocation": {
            "artifactLocation": self.artifact(path),
            "region": {
                "startLine": line,
                "startColumn": column,
                "endLine": end_line,
                "endColumn": end_column,
                "byteOffset": span.start,
                "byteLength": span.len(),
            },
        } });
        if !text.is_empty() {
            found["message"] = json!({ "text": text });
        }
        found
    }

    fn artifact(&self, path: &str) -> Value {
        let below =
            path.strip_prefix(self.base.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'));
        match below {
            Some(below) => json!({ "uri": encode(below), "uriBaseId": BASE }),
            None if path.starts_with('/') => json!({ "uri": file_uri(path) }),
            None => json!({ "uri": encode(path.trim_start_matches("./")), "uriBaseId": BASE }),
        }
    }
}

fn file_uri(path: &str) -> String {
    format!("file://{}", encode(path))
}

/// A path as the path of a URI: everything but unreserved characters and `/` as percent and hexadecimal (RFC 3986 2).
fn encode(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{At, FileId};

    #[test]
    fn a_finding_over_two_files_has_a_place_and_a_related_one() {
        let sources =
            Sources::new([("/p/a.toml", "\u{fc} = 1\n[device.plc]\n"), ("b c.toml", "[device.plc]\n")]);
        let at = |file, start, end| sources.locate(At { file: FileId(file), start, end });
        let found = Diagnostic::error("BH0305", "device `plc` is declared twice")
            .at(at(1, 8, 11), "declared again")
            .also(at(0, 0, 2), "declared first here")
            .help("rename one of them");
        let log = render_sarif(&[found], &sources, "/p");
        let run = &log["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"][0]["id"], "BH0305");
        assert_eq!(run["originalUriBaseIds"]["SRCROOT"]["uri"], "file:///p/");
        let result = &run["results"][0];
        assert_eq!((&result["ruleIndex"], &result["level"]), (&json!(0), &json!("error")));
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"], json!({ "uri": "b%20c.toml", "uriBaseId": "SRCROOT" }));
        assert_eq!(
            place["region"],
            json!({ "startLine": 1, "startColumn": 9, "endLine": 1, "endColumn": 12, "byteOffset": 8, "byteLength": 3 })
        );
        let related = &result["relatedLocations"][0];
        assert_eq!(related["physicalLocation"]["artifactLocation"]["uri"], "a.toml");
        assert_eq!(related["physicalLocation"]["region"]["endColumn"], 2);
        assert_eq!(related["message"]["text"], "declared first here");
    }

    #[test]
    fn nothing_found_is_a_log_without_results() {
        let log = render_sarif(&[], &Sources::default(), "/");
        assert_eq!(log["runs"][0]["results"], json!([]));
        assert_eq!(log["runs"][0]["originalUriBaseIds"]["SRCROOT"]["uri"], "file:///");
    }
}
