//! What `check` says of the signatures of the sets it reads.
//!
//! In: the configuration and the sets. Out: lines for a person, or JSON, and whether one is refused. A refused set is
//! checked on: its author wants to hear of everything at once.

use std::path::Path;

use serde::Serialize;

use crate::{
    config::Config,
    files::{Access, ReadError, read, read_trust},
    policy::SourceFile,
    signing::{Signed, Standing, Trust},
};

/// The sets that were read, and whom to trust.
pub(super) struct Sets {
    trust: Trust,
    said: Vec<Said>,
}

/// What there is to say about one set.
#[derive(Serialize)]
struct Said {
    path: String,
    /// Why the agent would refuse it, with a hint on a line of its own.
    refused: Option<String>,
    /// The number its signer gave it.
    number: Option<u64>,
    /// The key it is signed with.
    key: Option<String>,
    /// The trusted comment of the signature.
    comment: Option<String>,
    /// What else a person should know.
    notes: Vec<String>,
}

impl Sets {
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        Ok(Self { trust: read_trust(&config.signing)?, said: Vec::new() })
    }

    /// Reads a set and judges it, if it is one: a file that somebody checks by itself is a part of one.
    pub(super) fn read(&mut self, path: &Path, config: &Config) -> Result<Vec<SourceFile>, ReadError> {
        let set = read(path, Access::Noted)?;
        let mut said = Said {
            path: path.display().to_string(),
            refused: None,
            number: None,
            key: None,
            comment: None,
            notes: Vec::new(),
        };
        // Elsewhere, as on the desk of whoever writes it, a policy may be as open as its author likes, and not signed yet.
        let enforced = path == config.policy;
        if enforced {
            said.notes.extend_from_slice(set.notes());
        }
        if set.is_folder() || enforced {
            match set.standing(&self.trust) {
                Ok(Standing::Signed(Signed { number, key, comment })) => {
                    said.number = Some(number);
                    said.key = Some(key.to_string());
                    said.comment = Some(comment);
                }
                Ok(standing) => said.notes.extend(standing.note().filter(|_| enforced).map(str::to_owned)),
                Err(error) => said.refused = Some(error.to_string()),
            }
        }
        self.said.push(said);
        Ok(set.into_files())
    }

    pub(super) fn refused(&self) -> bool {
        self.said.iter().any(|said| said.refused.is_some())
    }

    /// Everything there is to say, on standard error.
    pub(super) fn print(&self) {
        for Said { path, refused, number, key, comment, notes } in &self.said {
            if let (Some(number), Some(key), Some(comment)) = (number, key, comment) {
                eprintln!("`{path}` is number {number}, signed with key {key}: {comment}");
            }
            for note in notes {
                eprintln!("warning: {note}");
            }
            if let Some(refused) = refused {
                eprintln!("error: {refused}");
            }
        }
    }

    pub(super) fn json(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::to_value(&self.said)
    }
}
