//! Sealed lines: JSON objects that end with the hash of everything before it.
//!
//! In: a value. Out: `{...,"hash":"<sha256>"}`. A line of which any byte was changed, lost or added does not open.
//! The hash is over the bytes of the line before `,"hash":"`, so `sha256sum` can check it too.

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

const BEFORE: &str = ",\"hash\":\"";
const AFTER: &str = "\"}";
/// Hexadecimal digits of a hash.
pub(super) const DIGITS: usize = 64;

/// SHA-256 in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A value as a sealed line, without a line end, and its hash.
pub(super) fn seal<T: Serialize>(value: &T) -> Result<(String, String), serde_json::Error> {
    let mut line = serde_json::to_string(value)?;
    // The hash goes inside the object.
    line.pop();
    let hash = sha256(line.as_bytes());
    line += &format!("{BEFORE}{hash}{AFTER}");
    Ok((line, hash))
}

/// The hash of a whole sealed line; `None` when it is not as it was sealed.
pub(super) fn hash_of(line: &[u8]) -> Option<&str> {
    let rest = line.strip_suffix(AFTER.as_bytes())?;
    let (rest, hash) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
    let body = rest.strip_suffix(BEFORE.as_bytes())?;
    let hash = std::str::from_utf8(hash).ok()?;
    (sha256(body) == hash).then_some(hash)
}

/// The value of a sealed line; `None` when it is not as it was sealed, or is no such value.
pub(super) fn open<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    hash_of(line)?;
    serde_json::from_slice(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Value {
        a: u32,
        b: String,
    }

    #[test]
    fn every_changed_byte_is_seen() {
        let value = Value { a: 7, b: "a \"quoted\",\"hash\":\" word".into() };
        let (line, hash) = seal(&value).expect("it has a JSON form");
        assert_eq!(open::<Value>(line.as_bytes()), Some(value));
        assert_eq!(hash_of(line.as_bytes()), Some(hash.as_str()));
        for at in 0..line.len() {
            for flip in [1, 0x20, 0x80] {
                let mut changed = line.clone().into_bytes();
                changed[at] ^= flip;
                assert_eq!(open::<Value>(&changed), None, "byte {at} ^ {flip}");
            }
            assert_eq!(open::<Value>(&line.as_bytes()[..at]), None, "cut at {at}");
            let mut longer = line.clone().into_bytes();
            longer.insert(at, b' ');
            assert_eq!(open::<Value>(&longer), None, "a blank at {at}");
        }
    }

    #[test]
    fn anybody_can_compute_the_hash() {
        let (line, hash) = seal(&Value { a: 1, b: String::new() }).expect("it has a JSON form");
        assert_eq!(line, format!("{{\"a\":1,\"b\":\"\",\"hash\":\"{hash}\"}}"));
        assert_eq!(hash, sha256(b"{\"a\":1,\"b\":\"\""));
    }
}
