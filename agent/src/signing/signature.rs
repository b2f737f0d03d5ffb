//! The signature of a manifest, as `minisign -S` writes it.
//!
//! In: its bytes, the manifest's and the keys. Out: which key signed and the trusted comment, or why nobody did.
//! The text is taken in one spelling: four lines, nothing behind them.

use super::{Key, KeyId, Refusal, key::identified};

/// Largest signature, bytes: comments of at most 1024 and 8192 (minisign's limits) and two lines of base64.
pub const MAX_SIGNATURE_BYTES: usize = 16 << 10;

const UNTRUSTED: &str = "untrusted comment: ";
const TRUSTED: &str = "trusted comment: ";

/// Why bytes are no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// More than minisign writes.
    #[error("it is larger than {MAX_SIGNATURE_BYTES} bytes")]
    TooLarge,
    /// Not text, or text with control characters.
    #[error("line {0} is not plain text")]
    NotText(usize),
    /// Cut off.
    #[error("it is cut off: it has {0} of 4 lines")]
    CutOff(usize),
    /// More than a signature.
    #[error("there is something behind its 4 lines")]
    Trailing,
    /// Not what minisign writes there.
    #[error("line {0} is not what `minisign` writes there")]
    Line(usize),
}

/// Who signed these bytes.
pub(super) fn verify(manifest: &[u8], signature: &[u8], keys: &[Key]) -> Result<(KeyId, String), Refusal> {
    let [first, second, third, fourth] = lines(signature)?;
    if !first.starts_with(UNTRUSTED) {
        return Err(SignatureError::Line(1).into());
    }
    let Some((algorithm, id)) = identified(second, 74) else { return Err(SignatureError::Line(2).into()) };
    let Some(comment) = third.strip_prefix(TRUSTED) else { return Err(SignatureError::Line(3).into()) };
    match &algorithm {
        b"ED" => {}
        b"Ed" => return Err(Refusal::Legacy),
        _ => return Err(SignatureError::Line(2).into()),
    }
    // Everything but the last line was looked at.
    let text = [first, second, third, fourth].join("\n");
    let decoded = minisign_verify::Signature::decode(&text).map_err(|_| SignatureError::Line(4))?;
    let mut pinned = keys.iter().filter(|key| key.id() == id).peekable();
    if pinned.peek().is_none() {
        let mut keys: Vec<KeyId> = keys.iter().map(Key::id).collect();
        keys.sort_unstable();
        return Err(Refusal::UnknownKey { id, keys });
    }
    if !pinned.any(|key| key.made(&decoded, manifest)) {
        return Err(Refusal::Forged { windows: manifest.contains(&b'\r') });
    }
    Ok((id, crate::diagnostic::escape(comment)))
}

/// The four lines of a signature.
fn lines(signature: &[u8]) -> Result<[&str; 4], SignatureError> {
    if signature.len() > MAX_SIGNATURE_BYTES {
        return Err(SignatureError::TooLarge);
    }
    if signature.is_empty() {
        return Err(SignatureError::Empty);
    }
    let number_at = |at: usize| 1 + signature.iter().take(at).filter(|byte| **byte == b'\n').count();
    let text =
        std::str::from_utf8(signature).map_err(|e| SignatureError::NotText(number_at(e.valid_up_to())))?;
    // minisign puts a tab into its own trusted comment.
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    if let Some(at) = text.find(steers) {
        return Err(SignatureError::NotText(number_at(at)));
    }
    let lines: Vec<&str> = text.strip_suffix('\n').unwrap_or(text).split('\n').collect();
    <[&str; 4]>::try_from(lines).map_err(|lines| match lines.len() {
        count @ 0..4 => SignatureError::CutOff(count),
        _ => SignatureError::Trailing,
    })
}
