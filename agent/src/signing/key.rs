//! Keys of those who may sign, as the `minisign` tool writes them.
//!
//! In: the base64 of a public key, or the text of its file. Out: a [`Key`] and the [`KeyId`] people know it by.

use std::{fmt, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Keys that may be configured: enough for every signer of a site and a change of each.
pub const MAX_KEYS: usize = 16;
/// Largest key file, bytes: a comment of at most 1024 (minisign's `COMMENTMAXBYTES`) and 56 digits.
pub const MAX_KEY_BYTES: usize = 2048;

/// The number of a key, in hexadecimal as minisign shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u64);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}", self.0)
    }
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    id: KeyId,
    key: minisign_verify::PublicKey,
}

/// Where a key is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// Written in the configuration.
    Inline(Key),
    /// A file that is read whenever a policy is, so that a new key needs no restart.
    File(PathBuf),
}

/// Why text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither the line nor the file that minisign writes.
    #[error("it is not the public key of `minisign`: 56 letters and digits that begin with `RW`")]
    Form,
    /// A secret key, which belongs on no gateway.
    #[error("it is a secret key")]
    Secret,
}

impl Key {
    /// The key behind what `minisign -G` prints, or behind its file of two lines.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.contains("minisign encrypted secret key") || text.contains("minisign secret key") {
            return Err(KeyError::Secret);
        }
        let mut lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
        let last = lines.next_back().unwrap_or_default();
        let comment = lines.next_back();
        let framed = comment.is_none_or(|line| line.starts_with("untrusted comment:"));
        if !framed || lines.next_back().is_some() {
            return Err(KeyError::Form);
        }
        // A public key says `Ed` in front of its number, whatever kind of signatures it makes.
        match identified(last, 42) {
            Some((algorithm, id)) if algorithm == *b"Ed" => {
                let key = minisign_verify::PublicKey::from_base64(last).map_err(|_| KeyError::Form)?;
                Ok(Self { id, key })
            }
            Some(_) | None => Err(KeyError::Form),
        }
    }

    /// Its number.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Whether it made a signature over these bytes, in the form that hashes them first.
    pub(super) fn made(&self, signature: &minisign_verify::Signature, bytes: &[u8]) -> bool {
        self.key.verify(bytes, signature, false).is_ok()
    }
}

/// Algorithm and key id in front of a key or signature of so many bytes.
pub(super) fn identified(base64: &str, bytes: usize) -> Option<([u8; 2], KeyId)> {
    let decoded = STANDARD.decode(base64).ok().filter(|decoded| decoded.len() == bytes)?;
    let (algorithm, rest) = decoded.split_first_chunk::<2>()?;
    let (id, _) = rest.split_first_chunk::<8>()?;
    Some((*algorithm, KeyId(u64::from_le_bytes(*id))))
}
