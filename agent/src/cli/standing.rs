//! What `check` says of the signatures of the sets it reads.
//!
//! In: the configuration and the sets. Out: diagnostics beside those of the policy, since whoever checks wants to hear of
//! everything at once, and who signed what.

use std::path::Path;

use serde::Serialize;

use crate::{
    config::Config,
    diagnostic::Diagnostic,
    files::{Access, ReadError, read, read_trust},
    policy::SourceFile,
    signing::{Signed, Standing, Trust},
};

/// A set that the agent would refuse for its signature.
const REFUSED: &str = "BH0701";
/// Files that somebody else could change.
const OPEN: &str = "BH0702";
/// A set that is taken although nobody vouches for it.
const UNVOUCHED: &str = "BH0703";

/// The sets that were read, and whom to trust.
pub(super) struct Sets {
    trust: Trust,
    said: Vec<Diagnostic>,
    signed: Vec<SignedSet>,
}

/// A set that a trusted key signed.
#[derive(Serialize)]
struct SignedSet {
    /// Its folder.
    path: String,
    /// The number its signer gave it.
    number: u64,
    /// The key it is signed with.
    key: String,
    /// The trusted comment of the signature.
    comment: String,
}

impl Sets {
    pub(super) fn new(config: &Config) -> Result<Self, ReadError> {
        Ok(Self { trust: read_trust(&config.signing)?, said: Vec::new(), signed: Vec::new() })
    }

    /// Reads a set and judges it, if it is one: a file that somebody checks by itself is a part of one.
    pub(super) fn read(&mut self, path: &Path, config: &Config) -> Result<Vec<SourceFile>, ReadError> {
        let set = read(path, Access::Noted)?;
        // Elsewhere, as on the desk of whoever writes it, a policy may be as open as its author likes, and not signed yet.
        let enforced = path == config.policy;
        if enforced {
            self.said.extend(set.notes().iter().map(|note| told(Diagnostic::warning, OPEN, note)));
        }
        if set.is_folder() || enforced {
            match set.standing(&self.trust) {
                Ok(Standing::Signed(Signed { number, key, comment })) => {
                    let path = path.display().to_string();
                    self.signed.push(SignedSet { path, number, key: key.to_string(), comment });
                }
                Ok(standing) => {
                    let note = standing.note().filter(|_| enforced);
                    self.said.extend(note.map(|note| told(Diagnostic::warning, UNVOUCHED, note)));
                }
                Err(error) => self.said.push(told(Diagnostic::error, REFUSED, &error.to_string())),
            }
        }
        Ok(set.into_files())
    }

    /// What is wrong with the sets, beside what is wrong in them.
    pub(super) fn diagnostics(&mut self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.said)
    }

    /// Who signed what, on standard error.
    pub(super) fn print(&self) {
        for SignedSet { path, number, key, comment } in &self.signed {
            eprintln!("`{path}` is number {number}, signed with key {key}: {comment}");
        }
    }

    /// Who signed what.
    pub(super) fn json(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::to_value(&self.signed)
    }
}

/// A finding about files rather than about a place in one.
fn told(make: fn(&'static str, String) -> Diagnostic, code: &'static str, text: &str) -> Diagnostic {
    match text.split_once("\nhint: ") {
        Some((message, help)) => make(code, message.to_owned()).help(help),
        None => make(code, text.to_owned()),
    }
}
