//! Whether a set of policy files is what its signer meant.
//!
//! In: names and hashes of the files, the bytes of `MANIFEST` and `MANIFEST.minisig`, and whom to trust. Out: a
//! [`Standing`], or the [`Refusal`] with what to do. No file is opened here: whoever reads them compiles the same
//! bytes it hashed. The signature is checked before a byte of the manifest is understood.

mod digest;
mod key;
mod manifest;
mod refusal;
mod signature;

pub use digest::Digest;
pub use key::{Key, KeyError, KeyId, KeySource, MAX_KEY_BYTES, MAX_KEYS};
pub use manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestError, Problem, is_policy_name};
pub use refusal::{Difference, Refusal};
pub use signature::{MAX_SIGNATURE_BYTES, SignatureError};

/// Name of the list that is signed, in the folder of the policy files.
pub const MANIFEST: &str = "MANIFEST";
/// Name of its signature, as the `minisign` tool calls it.
pub const SIGNATURE: &str = "MANIFEST.minisig";

/// What the configuration says about signatures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirement {
    /// Who may sign.
    pub keys: Vec<KeySource>,
    /// Whether a set without a signature is refused. Never without a key.
    pub required: bool,
}

/// Whom and what to accept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Who may sign; several while one follows another.
    pub keys: Vec<Key>,
    /// Whether a set without a signature is refused.
    pub required: bool,
    /// The signed set that was accepted last.
    pub at_least: Option<Accepted>,
    /// The set in force, by its hash: it may be older than that after a rollback, and stays what it is.
    pub in_force: Option<Digest>,
    /// Whether a set with a smaller number than that may come back.
    pub allow_older: bool,
}

/// A signed set that was accepted: what a later one is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its number.
    pub number: u64,
    /// Hash of its names and contents.
    pub digest: Digest,
}

/// The files as they were read.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    /// Name and hash of every policy file; names differ.
    pub files: &'a [(&'a str, Digest)],
    /// The bytes of [`MANIFEST`].
    pub manifest: Option<&'a [u8]>,
    /// The bytes of [`SIGNATURE`].
    pub signature: Option<&'a [u8]>,
}

/// A set that a trusted key signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The number its signer gave it.
    pub number: u64,
    /// Which key signed it.
    pub key: KeyId,
    /// The trusted comment: signed too, shown to people, and never interpreted.
    pub comment: String,
}

impl std::fmt::Display for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { number, key, comment } = self;
        write!(f, "set {number} by key {key}")?;
        if comment.is_empty() { Ok(()) } else { write!(f, " ({comment})") }
    }
}

/// How a set that is not refused stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A trusted key signed every file of it.
    Signed(Signed),
    /// Not signed, and nobody is configured who could.
    Plain,
    /// Somebody signed it, and no key is configured to check that with.
    Unchecked,
    /// Not signed although keys are configured; the configuration does not require it.
    Unsigned,
}

impl Standing {
    /// What a person should know about it.
    pub fn note(&self) -> Option<&'static str> {
        match self {
            Self::Signed(_) | Self::Plain => None,
            Self::Unchecked => Some(
                "the policy set has a signature that nobody checks\nhint: name its key in `[signing]` of the configuration",
            ),
            Self::Unsigned => Some(
                "the policy set is not signed, and is accepted because `[signing]` has `required = false`\nhint: sign it, and remove that line when every set is signed",
            ),
        }
    }
}

/// Judges a set.
///
/// # Errors
/// [`Refusal`]: the first thing that is wrong; files that differ all at once.
pub fn judge(set: &Set<'_>, trust: &Trust) -> Result<Standing, Refusal> {
    if trust.keys.is_empty() {
        return match (trust.required, set.manifest, set.signature) {
            (true, _, _) => Err(Refusal::NoKey),
            (false, None, None) => Ok(Standing::Plain),
            (false, Some(_), _) | (false, _, Some(_)) => Ok(Standing::Unchecked),
        };
    }
    let (manifest, signature) = match (set.manifest, set.signature) {
        (Some(manifest), Some(signature)) => (manifest, signature),
        // A half of the pair is a mistake of whoever meant to sign, whether it is required or not.
        (Some(_), None) => return Err(Refusal::NoSignature),
        (None, Some(_)) => return Err(Refusal::NoManifest),
        (None, None) if trust.required => return Err(Refusal::Unsigned),
        (None, None) => return Ok(Standing::Unsigned),
    };
    let (key, comment) = signature::verify(manifest, signature, &trust.keys)?;
    let manifest = Manifest::parse(manifest)?;
    if let Some(Accepted { number, digest }) = trust.at_least {
        let may_be_older = trust.allow_older || trust.in_force == Some(manifest.digest());
        if manifest.number < number && !may_be_older {
            return Err(Refusal::Older { number: manifest.number, accepted: number });
        }
        if manifest.number == number && manifest.digest() != digest {
            return Err(Refusal::SameNumber { number });
        }
    }
    let differences = refusal::differences(&manifest, set.files);
    if !differences.is_empty() {
        return Err(Refusal::Differs(differences));
    }
    Ok(Standing::Signed(Signed { number: manifest.number, key, comment }))
}

#[cfg(test)]
mod tests;
