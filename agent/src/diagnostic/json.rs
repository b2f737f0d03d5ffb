//! Diagnostics for programs. In: diagnostics. Out: one JSON document whose shape is versioned.

use serde::Serialize;

use super::{Diagnostic, Label, Location};

/// Raised when a field changes its meaning or goes away; new fields do not raise it.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    diagnostics: Vec<Entry<'a>>,
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
    start: usize,
    end: usize,
    primary: bool,
    text: &'a str,
}

/// `{"version":1,"diagnostics":[{code, severity, message, labels, help}]}` and a line end.
///
/// A label has `path`, `line` and `column` (from 1, in characters), `start` and `end` (bytes), `primary`, `text`.
pub fn render_json(diagnostics: &[Diagnostic]) -> String {
    let document = Document { version: VERSION, diagnostics: diagnostics.iter().map(entry).collect() };
    let mut text = serde_json::to_string(&document).expect("strings and integers always serialise");
    text.push('\n');
    text
}

fn entry(diagnostic: &Diagnostic) -> Entry<'_> {
    let Diagnostic { code, severity, message, labels, help } = diagnostic;
    Entry {
        code,
        severity: severity.name(),
        message,
        labels: labels.iter().map(place).collect(),
        help: help.as_deref(),
    }
}

fn place(label: &Label) -> Place<'_> {
    let Label { location: Location { path, line, column, span }, text, primary } = label;
    Place { path, line: *line, column: *column, start: span.start, end: span.end, primary: *primary, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{At, FileId, Sources};

    #[test]
    fn the_shape_is_the_documented_one() {
        let sources = Sources::new([("p.toml", "versoin = 1\n")]);
        let place = sources.locate(At { file: FileId(0), start: 0, end: 7 });
        let found =
            Diagnostic::error("BH0101", "unknown key").at(place, "here").help("did you mean `version`?");
        assert_eq!(
            render_json(&[found]),
            concat!(
                r#"{"version":1,"diagnostics":[{"code":"BH0101","severity":"error","message":"unknown key","#,
                r#""labels":[{"path":"p.toml","line":1,"column":1,"start":0,"end":7,"primary":true,"text":"here"}],"#,
                r#""help":"did you mean `version`?"}]}"#,
                "\n"
            )
        );
    }
}
