//! Policy text -> [`Policy`].
//!
//! In: (path, text) pairs; no file is opened here. Out: the policy, if nothing is wrong, and every finding.
//! `parse` reads each file by itself (text -> Raw, each leaf with its place), `resolve` looks names up over
//! all files (names -> ids). Both report and go on, so that one mistake does not hide the next.

use crate::{
    diagnostic::{Collector, Diagnostic, Sources},
    model::Policy,
};

pub(crate) mod cascade;
mod declared;
mod format;
pub mod language;
mod library;
mod limits;
mod parse;
mod raw;
pub(crate) mod reader;
mod resolve;
pub(crate) mod values;

pub use declared::declared;
pub use format::format;
pub use library::built_in;
pub use limits::{MAX_DEVICES, MAX_FILE_BYTES, MAX_FILES, MAX_RULE_PARTS, MAX_RULES, MAX_TOTAL_BYTES};

/// One policy file, already read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// How diagnostics and rules name it.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// What became of a set of policy files.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Present exactly when no diagnostic is an error.
    pub policy: Option<Policy>,
    /// In the order of a reader: by path, then position.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts, for rendering the diagnostics.
    pub sources: Sources,
}

/// Reads all files of a gateway as one policy. Their order does not matter.
pub fn resolve_texts(files: &[SourceFile]) -> Outcome {
    let (sources, refused) = limits::admit(files);
    if !refused.is_empty() {
        return Outcome { policy: None, diagnostics: refused, sources };
    }
    let mut out = Collector::new(&sources);
    let mut cascade = cascade::Cascade::default();
    let mut raw = Vec::new();
    for file in sources.ids() {
        let before = out.len();
        let (contents, clean) = parse::parse(file, &mut out);
        if !clean {
            cascade.note(file, &sources, out.since(before));
        }
        raw.push(contents);
    }
    let policy = resolve::resolve(&raw, &mut out);
    out.retain(|found| cascade.keeps(found));
    cascade::drop_consequences(&mut out);
    let policy = (!out.has_errors()).then_some(policy);
    let diagnostics = out.finish();
    Outcome { policy, diagnostics, sources }
}

#[cfg(test)]
mod tests;
