//! What is wrong with a user's text, where, and how to mend it.
//!
//! In: places and sentences from whoever reads the text (policy, config). Out: [`Diagnostic`] values, rendered
//! as text with an underline ([`render_text`]), as JSON ([`render_json`]) or as SARIF ([`render_sarif`]); what a code
//! means is told by [`codes()`]. Everything is collected before
//! anything is shown, so that one mistake does not hide the next.

use std::{ops::Range, sync::Arc};

mod codes;
mod collect;
mod json;
mod listed;
mod sarif;
mod sources;
mod suggest;
mod text;
mod words;

pub use codes::{Example, Explanation, codes, codes_markdown};
pub use collect::{Collector, MAX_DIAGNOSTICS};
pub use json::render_json;
pub use listed::Listed;
pub use sarif::render_sarif;
pub use sources::{At, FileId, Sources};
pub use suggest::closest;
pub use text::{escape, quote, render_text};
pub use words::counted;

/// A place in a file the user wrote.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// The file as it was named to us.
    pub path: Arc<str>,
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1, in characters.
    pub column: u32,
    /// Byte range within the file's text.
    pub span: Range<usize>,
}

/// Whether the text can be used as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but it may not mean what its author thinks.
    Warning,
}

impl Severity {
    /// The word in front of a message.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A place that belongs to a diagnostic, with a word about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub location: Location,
    /// What about it; may be empty when the message says it all.
    pub text: String,
    /// Whether this is the place to mend; the others explain it.
    pub primary: bool,
}

/// One finding in a user's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable across versions, for documentation and suppression: `BH0101`.
    pub code: &'static str,
    /// Whether the text can be used.
    pub severity: Severity,
    /// Lower case, no full stop, user text in backticks.
    pub message: String,
    /// The primary label comes first.
    pub labels: Vec<Label>,
    /// What to write instead.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error whose place is to be added with [`Diagnostic::at`].
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, severity: Severity::Error, message: message.into(), labels: Vec::new(), help: None }
    }

    /// A warning whose place is to be added with [`Diagnostic::at`].
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Adds the place to mend.
    #[must_use]
    pub fn at(mut self, location: Location, text: impl Into<String>) -> Self {
        self.labels.insert(0, Label { location, text: text.into(), primary: true });
        self
    }

    /// Adds a place that explains the finding.
    #[must_use]
    pub fn also(mut self, location: Location, text: impl Into<String>) -> Self {
        self.labels.push(Label { location, text: text.into(), primary: false });
        self
    }

    /// Says what to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Where to mend it.
    pub fn location(&self) -> Option<&Location> {
        self.labels.first().map(|label| &label.location)
    }
}

/// Puts diagnostics in the order of a reader: by path, position, code, message.
pub fn sort(diagnostics: &mut [Diagnostic]) {
    let place = |d: &Diagnostic| d.location().map(|l| (l.path.clone(), l.span.start, l.span.end));
    diagnostics.sort_by(|a, b| {
        place(a).cmp(&place(b)).then_with(|| a.code.cmp(b.code)).then_with(|| a.message.cmp(&b.message))
    });
}

/// Whether any of them forbids the use of the text.
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|d| d.severity == Severity::Error)
}
