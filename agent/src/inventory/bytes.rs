//! Bytes of strangers: numbers at an offset, and text that may be shown.

use super::MOST_CHARS;
use crate::diagnostic::escape;

/// A number of the wire, highest byte first.
pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A number of the wire, lowest byte first.
pub(super) fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Text as far as it can be shown on one line, at most [`MOST_CHARS`] characters; none where nothing is left. What is no UTF-8, controls a
/// terminal or hides becomes `?`; zero bytes end it, as they end fields of fixed width.
pub(super) fn printable(bytes: &[u8]) -> Option<String> {
    let until = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    // A character has at most four bytes, and blanks in front are left out.
    let bytes = bytes[..until].trim_ascii();
    let bytes = &bytes[..bytes.len().min(4 * MOST_CHARS)];
    let text = String::from_utf8_lossy(bytes);
    let shown = |c: char| {
        let is_plain =
            c != char::REPLACEMENT_CHARACTER && escape(c.encode_utf8(&mut [0; 4])).len() == c.len_utf8();
        if is_plain { c } else { '?' }
    };
    let text: String = text.chars().take(MOST_CHARS).map(shown).collect();
    let text = text.trim();
    text.chars().any(|c| c != '?').then(|| text.to_owned())
}
