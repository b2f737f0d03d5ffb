//! Why a set is refused, in words that say what to do.

use std::collections::BTreeMap;

use super::{Digest, KeyId, Manifest, ManifestError, SignatureError};
use crate::diagnostic::escape;

/// Why a set of policy files is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Neither manifest nor signature.
    #[error(
        "the policy set is not signed, and `[signing]` requires it\nhint: `bulkhead manifest --number N FOLDER` lists a folder's files in `FOLDER/MANIFEST`, `minisign -S -m FOLDER/MANIFEST` signs them; a single file cannot be signed"
    )]
    Unsigned,
    /// The list is there, its signature is not.
    #[error(
        "`MANIFEST` is not signed: `MANIFEST.minisig` is missing\nhint: `minisign -S -m MANIFEST` makes it; copy both"
    )]
    NoSignature,
    /// The signature is there, the list is not.
    #[error("`MANIFEST.minisig` is there, and `MANIFEST` is missing\nhint: copy both")]
    NoManifest,
    /// The configuration asks for something nobody can give.
    #[error("`[signing]` requires a signature and names no key\nhint: add the signer's public key to `keys`")]
    NoKey,
    /// Not what minisign writes.
    #[error(
        "`MANIFEST.minisig` is not a signature: {0}\nhint: sign again with `minisign -S -m MANIFEST`, and copy the file as it is"
    )]
    Signature(#[from] SignatureError),
    /// The older kind of signature.
    #[error(
        "`MANIFEST.minisig` is of the legacy kind, which is not accepted\nhint: sign without `-l`; versions of minisign before 0.10 need `-H`"
    )]
    Legacy,
    /// Signed by somebody else.
    #[error(
        "`MANIFEST` is signed with key {id}, and only {} may sign\nhint: sign with that key, or add the public key of {id} to `keys` in `[signing]` if you trust it",
        list(keys)
    )]
    UnknownKey {
        /// Whose signature it is.
        id: KeyId,
        /// Whose it should be, sorted.
        keys: Vec<KeyId>,
    },
    /// Manifest or signature was altered after signing.
    #[error(
        "the signature is not one of this `MANIFEST`: one of the two was altered or belongs to another set\nhint: {}",
        if *windows {
            "`MANIFEST` has Windows line ends: copy it as it was signed, without conversion"
        } else {
            "copy both as they were signed, or sign again after `bulkhead manifest`"
        }
    )]
    Forged {
        /// Whether the manifest has carriage returns, which the signer's had not.
        windows: bool,
    },
    /// Signed, and still no manifest.
    #[error(
        "`MANIFEST` is signed, but no manifest: {0}\nhint: write it with `bulkhead manifest`, then sign it"
    )]
    Manifest(#[from] ManifestError),
    /// An earlier set.
    #[error(
        "the policy set has number {number}, and {accepted} was accepted before\nhint: sign what you want to enforce with a number above {accepted}, or apply the older set with `--allow-older`"
    )]
    Older {
        /// Of this set.
        number: u64,
        /// Of the one accepted last.
        accepted: u64,
    },
    /// Two sets of one number.
    #[error(
        "the policy set has number {number}, and another content was accepted under that number\nhint: give the new content a larger number with `bulkhead manifest --number`, and sign it"
    )]
    SameNumber {
        /// Of both.
        number: u64,
    },
    /// The files are not those that were signed. In the order of their names.
    #[error("the policy files are not those that were signed: {}\nhint: restore them, or list and sign what is there; a set that is still being copied looks like this too", several(.0))]
    Differs(Vec<Difference>),
}

/// What became of a file after signing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Difference {
    /// Other bytes.
    #[error("`{name}` was altered")]
    Altered {
        /// Which.
        name: String,
    },
    /// Not in the manifest.
    #[error("`{name}` was added")]
    Added {
        /// Which.
        name: String,
    },
    /// Only in the manifest.
    #[error("`{name}` is missing")]
    Missing {
        /// Which.
        name: String,
    },
    /// The same bytes under another name.
    #[error("`{name}` is now called `{now}`")]
    Renamed {
        /// As it was signed.
        name: String,
        /// As it was found.
        now: String,
    },
}

/// Differences shown; more of them help nobody.
const SHOWN: usize = 8;

fn several(differences: &[Difference]) -> String {
    let mut shown: Vec<String> = differences.iter().take(SHOWN).map(Difference::to_string).collect();
    if let Some(more) = differences.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

fn list(keys: &[KeyId]) -> String {
    keys.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", ")
}

/// Everything in which the files differ from the manifest, in the order of names.
pub(super) fn differences(manifest: &Manifest, files: &[(&str, Digest)]) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut found: BTreeMap<&str, Digest> = BTreeMap::new();
    for (name, digest) in files {
        // Of two files of one name in two folders the manifest knows one.
        if found.insert(name, *digest).is_some() {
            let shown = escape(name);
            differences.push(((*name).to_owned(), Difference::Added { name: shown }));
        }
    }
    let mut added: Vec<(&str, Digest)> = found.iter().map(|(name, digest)| (*name, *digest)).collect();
    added.retain(|(name, _)| manifest.digest_of(name).is_none());
    for (name, signed) in manifest.files() {
        let shown = escape(name);
        match found.get(name) {
            Some(digest) if *digest == signed => {}
            Some(_) => differences.push((name.to_owned(), Difference::Altered { name: shown })),
            None => match added.iter().position(|(_, digest)| *digest == signed) {
                Some(at) => {
                    let now = escape(added.remove(at).0);
                    differences.push((name.to_owned(), Difference::Renamed { name: shown, now }));
                }
                None => differences.push((name.to_owned(), Difference::Missing { name: shown })),
            },
        }
    }
    for (name, _) in added {
        let shown = escape(name);
        differences.push((name.to_owned(), Difference::Added { name: shown }));
    }
    differences.sort();
    differences.into_iter().map(|(_, difference)| difference).collect()
}
