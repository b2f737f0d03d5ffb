//! Diagnostics for programs. In: diagnostics and the texts they point into. Out: one JSON document whose shape is
//! versioned and described in `docs/check.md`.

use serde::Serialize;

use super::{Diagnostic, Label, Location, Severity, Sources};

/// Raised when a field changes its meaning or goes away; new fields do not raise it.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    diagnostics: Vec<Entry<'a>>,
    summary: Summary,
}

#[derive(Serialize)]
struct Summary {
    errors: usize,
    warnings: usize,
}

#[derive(Serialize)]
struct Entry<'a> {
    code: &'a str,
    severity: &'static str,
    message: &'a str,
    labels: Vec<Place<'a>>,
    help: Option<&'a str>,
}

#[derive(Serialize)]
struct Place<'a> {
    path: &'a str,
    line: u32,
    column: u32,
    end_line: u32,
    end_column: u32,
    start: usize,
    end: usize,
    primary: bool,
    text: &'a str,
}

/// `{"version":1,"diagnostics":[{code, severity, message, labels, help}],"summary":{errors, warnings}}` and a line end.
///
/// A label has `path`; `line`, `column`, `end_line` and `end_column` (from 1, in characters, the end exclusive); `start`
/// and `end` (bytes, from 0, the end exclusive); `primary`; `text`.
pub fn render_json(diagnostics: &[Diagnostic], sources: &Sources) -> String {
    let count = |severity| diagnostics.iter().filter(|found| found.severity == severity).count();
    let document = Document {
        version: VERSION,
        diagnostics: diagnostics.iter().map(|found| entry(found, sources)).collect(),
        summary: Summary { errors: count(Severity::Error), warnings: count(Severity::Warning) },
    };
    let mut text = serde_json::to_string(&document).expect("strings and integers always serialise");
    text.push('\n');
    text
}

fn entry<'a>(diagnostic: &'a Diagnostic, sources: &Sources) -> Entry<'a> {
    let Diagnostic { code, severity, message, labels, help } = diagnostic;
    Entry {
        code,
        severity: severity.name(),
        message,
        labels: labels.iter().map(|label| place(label, sources)).collect(),
        help: help.as_deref(),
    }
}

fn place<'a>(label: &'a Label, sources: &Sources) -> Place<'a> {
    let Label { location, text, primary } = label;
    let (end_line, end_column) = sources.end(location);
    let Location { path, line, column, span } = location;
    Place {
        path,
        line: *line,
        column: *column,
        end_line,
        end_column,
        start: span.start,
        end: span.end,
        primary: *primary,
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{At, FileId};

    #[test]
    fn the_shape_is_the_documented_one() {
        let sources = Sources::new([("p.toml", "versoin = 1\n")]);
        let place = sources.locate(At { file: FileId(0), start: 0, end: 7 });
        let found =
            Diagnostic::error("BH0101", "unknown key").at(place, "here").help("did you mean `version`?");
        assert_eq!(
            render_json(&[found], &sources),
            concat!(
                r#"{"version":1,"diagnostics":[{"code":"BH0101","severity":"error","message":"unknown key","#,
                r#""labels":[{"path":"p.toml","line":1,"column":1,"end_line":1,"end_column":8,"start":0,"end":7,"#,
                r#""primary":true,"text":"here"}],"help":"did you mean `version`?"}],"#,
                r#""summary":{"errors":1,"warnings":0}}"#,
                "\n"
            )
        );
    }
}
