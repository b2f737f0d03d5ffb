//! Policy text -> [`Policy`].
//!
//! In: (path, text) pairs; no file is opened here. Out: the policy, if nothing is wrong, and every finding.
//! `parse` reads each file by itself (text -> Raw, each leaf with its place), `resolve` looks names up over
//! all files (names -> ids). Both report and go on, so that one mistake does not hide the next. [`Memo`] spares whoever
//! reads the same files again what has not changed.

use crate::{
    diagnostic::{Diagnostic, Sources},
    model::Policy,
};

mod called;
pub(crate) mod cascade;
mod declared;
pub(crate) mod format;
pub mod language;
mod library;
mod limits;
mod memo;
mod parse;
mod permission;
mod raw;
pub(crate) mod reader;
mod remedy;
mod resolve;
pub(crate) mod values;

pub use called::{called, numeric};
pub use declared::declared;
pub use format::format;
pub use library::built_in;
pub use limits::{MAX_DEVICES, MAX_FILE_BYTES, MAX_FILES, MAX_RULE_PARTS, MAX_RULES, MAX_TOTAL_BYTES};
pub use memo::Memo;
pub use permission::permission;
pub use remedy::Remedy;
pub(crate) use values::whole;

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
    Memo::once().resolve_texts(files)
}

#[cfg(test)]
mod tests;
