//! Diagnostics for people. In: diagnostics and the texts they point into. Out: the message, the line with an
//! underline, the help; by the renderer of rustc.
//!
//! A policy may be pushed by someone who is not its reader, so nothing in it may steer the reader's terminal:
//! control and direction characters are shown, not sent.

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::{Diagnostic, FileId, Label, Severity, Sources};

/// A longer line is named but not shown: a megabyte of one line helps nobody.
const MAX_LINE: usize = 500;

/// Two labels at most this many lines apart share one excerpt.
const NEAR: usize = 40;

/// User text in a message is cut after so many characters.
const MAX_QUOTE: usize = 64;

/// Every diagnostic as text, a blank line after each. Paths are shown as they were given.
pub fn render_text(diagnostics: &[Diagnostic], sources: &Sources, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut text = String::new();
    for diagnostic in diagnostics {
        text.push_str(&renderer.render(&[group(diagnostic, sources)]));
        text.push_str("\n\n");
    }
    text
}

fn group<'a>(diagnostic: &'a Diagnostic, sources: &'a Sources) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(escape(&diagnostic.message)).id(diagnostic.code));
    for excerpt in excerpts(diagnostic, sources) {
        group = match excerpt {
            Excerpt::Lines { path, first_line, text, labels } => {
                let annotations = labels.into_iter().map(|(span, label)| {
                    let kind = if label.primary { AnnotationKind::Primary } else { AnnotationKind::Context };
                    let text = Some(escape(&label.text)).filter(|text| !text.is_empty());
                    kind.span(span).label(text)
                });
                let snippet: Snippet<'_, Annotation<'_>> =
                    Snippet::source(text).path(path).line_start(first_line + 1).annotations(annotations);
                group.element(snippet)
            }
            Excerpt::Place(label) => group.element(
                Origin::path(escape(&label.location.path))
                    .line(label.location.line as usize)
                    .char_column(label.location.column as usize),
            ),
        };
    }
    match &diagnostic.help {
        Some(help) => group.element(Level::HELP.message(escape(help))),
        None => group,
    }
}

/// What is shown of a file.
enum Excerpt<'a> {
    /// Whole lines with underlines.
    Lines { path: String, first_line: usize, text: String, labels: Vec<(std::ops::Range<usize>, &'a Label)> },
    /// Only the name of the place.
    Place(&'a Label),
}

/// Groups labels that are near each other; the file of the primary label comes first.
fn excerpts<'a>(diagnostic: &'a Diagnostic, sources: &Sources) -> Vec<Excerpt<'a>> {
    let mut clusters: Vec<(FileId, usize, usize, Vec<&'a Label>)> = Vec::new();
    let mut excerpts = Vec::new();
    for label in &diagnostic.labels {
        let Some(file) = sources.find(&label.location.path) else {
            excerpts.push(Excerpt::Place(label));
            continue;
        };
        let line = sources.line_of(file, label.location.span.start);
        if sources.line(file, line).len() > MAX_LINE {
            excerpts.push(Excerpt::Place(label));
            continue;
        }
        let near = clusters
            .iter_mut()
            .find(|(other, first, last, _)| *other == file && line + NEAR >= *first && line <= *last + NEAR);
        match near {
            Some((_, first, last, labels)) => {
                *first = line.min(*first);
                *last = line.max(*last);
                labels.push(label);
            }
            None => clusters.push((file, line, line, vec![label])),
        }
    }
    let shown =
        clusters.into_iter().map(|(file, first, last, labels)| lines(sources, file, first..=last, labels));
    shown.chain(excerpts).collect()
}

fn lines<'a>(
    sources: &Sources,
    file: FileId,
    range: std::ops::RangeInclusive<usize>,
    labels: Vec<&'a Label>,
) -> Excerpt<'a> {
    let mut text = String::new();
    for line in range.clone() {
        let bytes = sources.line(file, line);
        // A long neighbour is blanked; positions on the labelled lines stay what they are because each label
        // is placed from the start of its own line below.
        if bytes.len() <= MAX_LINE {
            text.push_str(&visible(&sources.text(file)[bytes]));
        }
        text.push('\n');
    }
    let first_line = *range.start();
    let labels = labels
        .into_iter()
        .map(|label| {
            let span = &label.location.span;
            let line = sources.line_of(file, span.start);
            let bytes = sources.line(file, line);
            // Only the first line of a longer value is underlined: the rest says nothing new.
            let (from, to) =
                (span.start - bytes.start, span.end.min(bytes.end).max(span.start) - bytes.start);
            let before: usize = (first_line..line)
                .map(|line| sources.line(file, line).len())
                .map(|length| if length <= MAX_LINE { length + 1 } else { 1 })
                .sum();
            (before + from..before + to, label)
        })
        .collect();
    Excerpt::Lines { path: escape(sources.path(file)), first_line, text, labels }
}

/// Makes a line harmless without moving a byte: the renderer shows C0 controls as pictures by itself.
fn visible(line: &str) -> String {
    line.chars()
        .map(|c| match c.len_utf8() {
            2 if steers_terminal(c) => '\u{b7}',
            3 if steers_terminal(c) => '\u{fffd}',
            1..=4 => c,
            length => unreachable!("UTF-8 has at most 4 bytes (RFC 3629 3), not {length}"),
        })
        .collect()
}

/// User text for a message: in backticks, cut when it is long.
pub fn quote(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTE) {
        Some((cut, _)) => format!("`{}...`", &text[..cut]),
        None => format!("`{text}`"),
    }
}

/// Text in which control and direction characters are spelled out (`\u{1b}`, `\n`).
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if steers_terminal(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe
}

/// C0, DEL and C1 (ECMA-48 5), and the invisible and direction characters of Unicode (UAX 9, UTR 36).
fn steers_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::At;

    #[test]
    fn two_files_are_shown_with_one_message() {
        let sources = Sources::new([("a.toml", "x = 1\n[device.plc]\n"), ("b.toml", "[device.plc]\n")]);
        let at = |file, start| sources.locate(At { file: FileId(file), start, end: start + 3 });
        let found = Diagnostic::error("BH0305", "device `plc` is declared twice")
            .at(at(1, 8), "declared again")
            .also(at(0, 14), "declared first here")
            .help("rename one of them");
        let text = render_text(&[found], &sources, false);
        let expected = "\
error[BH0305]: device `plc` is declared twice
 --> b.toml:1:9
  |
1 | [device.plc]
  |         ^^^ declared again
  |
 ::: a.toml:2:9
  |
2 | [device.plc]
  |         --- declared first here
  |
  = help: rename one of them

";
        assert_eq!(text, expected);
    }

    #[test]
    fn nothing_in_a_file_steers_the_terminal() {
        let hostile = "a = \"\u{1b}[2J\u{9b}2J\u{202e}\u{200f}\u{7}\rx\"";
        let sources = Sources::new([("p\u{1b}]0;.toml", hostile)]);
        let at = sources.locate(At { file: FileId(0), start: 4, end: 9 });
        let found = Diagnostic::error("BH0201", quote(hostile)).at(at, hostile).help(hostile);
        let text = render_text(&[found], &sources, false);
        assert!(!text.chars().any(|c| c != '\n' && steers_terminal(c)), "{text:?}");
    }

    #[test]
    fn a_very_long_line_is_named_not_shown() {
        let sources = Sources::new([("a", "x".repeat(100_000))]);
        let at = sources.locate(At { file: FileId(0), start: 70_000, end: 70_001 });
        let text = render_text(&[Diagnostic::error("BH0001", "m").at(at, "")], &sources, false);
        assert_eq!(text, "error[BH0001]: m\n--> a:1:70001\n\n");
    }
}
