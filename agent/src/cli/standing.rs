//! What `check` says of the signatures of the sets it reads.
//!
//! In: the configuration and the sets. Out: diagnostics beside those of the policy, since whoever checks wants to hear of
//! everything at once, and who signed what.

use std::path::{Path, PathBuf};

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
    configured: PathBuf,
    trust: Trust,
    said: Vec<Diagnostic>,
    signed: Vec<SignedSet>,
}

/// A set that a trusted key signed.
#[derive(Serialize)]
pub(super) struct SignedSet {
    /// Its folder.
    pub(super) path: String,
    /// The number its signer gave it.
    pub(super) number: u64,
    /// The key it is signed with.
    pub(super) key: String,
    /// The trusted comment of the signature.
    pub(super) comment: String,
}

impl Sets {
    pub(super) fn new(config: &Config) -> Result<Self, ReadError> {
        let trust = read_trust(&config.signing)?;
        Ok(Self { configured: config.policy.clone(), trust, said: Vec::new(), signed: Vec::new() })
    }

    /// Reads a set and judges it, if it is one: a file that somebody checks by itself is a part of one.
    pub(super) fn read(&mut self, path: &Path) -> Result<Vec<SourceFile>, ReadError> {
        let set = read(path, Access::Noted)?;
        // Elsewhere, as on the desk of whoever writes it, a policy may be as open as its author likes, and not signed yet.
        let enforced = path == self.configured;
        if enforced {
            self.said.extend(set.notes().iter().map(|note| finding(Diagnostic::warning, OPEN, note)));
        }
        if set.is_folder() || enforced {
            match set.standing(&self.trust) {
                Ok(Standing::Signed(Signed { number, key, comment })) => {
                    let path = path.display().to_string();
                    self.signed.push(SignedSet { path, number, key: key.to_string(), comment });
                }
                Ok(standing) => {
                    let note = standing.note().filter(|_| enforced);
                    self.said.extend(note.map(|note| finding(Diagnostic::warning, UNVOUCHED, note)));
                }
                Err(error) => self.said.push(finding(Diagnostic::error, REFUSED, &error.to_string())),
            }
        }
        Ok(set.into_files())
    }

    /// What is wrong with the sets, beside what is wrong in them, and who signed what.
    pub(super) fn told(self) -> (Vec<Diagnostic>, Vec<SignedSet>) {
        let Self { configured: _, trust: _, said, signed } = self;
        (said, signed)
    }
}

/// A finding about files rather than about a place in one.
fn finding(make: fn(&'static str, String) -> Diagnostic, code: &'static str, text: &str) -> Diagnostic {
    match text.split_once("\nhint: ") {
        Some((message, help)) => make(code, message.to_owned()).help(help),
        None => make(code, text.to_owned()),
    }
}
