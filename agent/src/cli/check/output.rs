//! What a check prints: findings in one of the formats, and what the policy comes to.

use std::io::IsTerminal;

use anyhow::Context;
use serde_json::{Value, json};

use super::{Checked, Format, scores, unasked, words};
use crate::{
    cli::{print, print_json, standing::SignedSet},
    config::Config,
    diagnostic::{Diagnostic, counted, render_json, render_sarif, render_text},
    lint::Fill,
};

/// Findings that a name is declared nowhere: in another file, perhaps.
const UNKNOWN: [&str; 7] = ["BH0301", "BH0302", "BH0303", "BH0304", "BH0320", "BH0324", "BH0330"];

pub(super) fn print(checked: &Checked, format: Format, config: &Config) -> anyhow::Result<()> {
    let Checked { diagnostics, sources, files, tables, fills: _, scores, signed } = checked;
    match format {
        Format::Text => {
            print::rendered(&render_text(diagnostics, sources, std::io::stderr().is_terminal()));
            if let Some(first) = diagnostics.first() {
                say!("`bulkhead explain {}` tells more about it, with an example", first.code);
            }
            if let Some(list) = scores {
                scores::print(list);
            }
        }
        Format::Json => out!("{}", document(checked, config)?),
        Format::Sarif => {
            let base = std::env::current_dir().unwrap_or_else(|_| "/".into());
            print_json(&render_sarif(diagnostics, sources, &base.to_string_lossy()))?;
        }
    }
    for SignedSet { path, number, key, comment } in signed {
        say!("`{path}` is number {number}, signed with key {key}: {comment}");
    }
    if let Some(tables) = tables {
        say!(
            "{}, {}, {}, {}: revision {}",
            counted(*files, "file"),
            counted(tables.devices.len(), "device"),
            counted(tables.rules.len(), "rule"),
            counted(tables.rows.len(), "compiled row"),
            tables.revision
        );
        for line in free(config) {
            say!("{line}");
        }
    }
    Ok(())
}

/// The findings as JSON, and beside them what the policy comes to and what needs no rule on which segment.
fn document(checked: &Checked, config: &Config) -> anyhow::Result<Value> {
    let Checked { diagnostics, sources, files, tables, fills, scores, signed } = checked;
    let mut document: Value =
        serde_json::from_str(&render_json(diagnostics, sources)).context("findings are valid JSON")?;
    document["summary"]["files"] = json!(files);
    if let Some(tables) = tables {
        document["summary"]["devices"] = json!(tables.devices.len());
        document["summary"]["rules"] = json!(tables.rules.len());
        document["summary"]["rows"] = json!(tables.rows.len());
        document["summary"]["revision"] = json!(tables.revision.to_string());
    }
    if !fills.is_empty() {
        let one = |fill: &Fill| json!({ "what": fill.what, "needed": fill.needed, "limit": fill.limit });
        document["summary"]["room"] = fills.iter().map(one).collect();
    }
    if let Some(list) = scores {
        document["scores"] = scores::document(list);
    }
    let segments = config.segments.iter();
    let allowed = segments.map(|segment| (segment.name.clone(), words(&segment.infrastructure).into()));
    document["signed"] = json!(signed);
    document["infrastructure"] = Value::Object(allowed.collect());
    Ok(document)
}

/// Whether a finding says that a name is declared nowhere.
pub(super) fn misses_names(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|found| UNKNOWN.contains(&found.code))
}

/// What every device may do without a rule: one line, or one for each set when the segments differ.
fn free(config: &Config) -> Vec<String> {
    let sets = unasked(config);
    let differ = sets.len() > 1;
    let line = |(words, segments): (Vec<&str>, Vec<&str>)| {
        let place = if differ { format!(" on {}", segments.join(", ")) } else { String::new() };
        let words = if words.is_empty() { "nothing".to_owned() } else { words.join(", ") };
        format!(
            "besides its rules every device may use{place}: {words} (each a switch of a segment in the configuration)"
        )
    };
    sets.into_iter().map(line).collect()
}
