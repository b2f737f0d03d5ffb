//! SHA-256 of a file and of a set of files.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// A SHA-256, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of the bytes of a file.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Of a set: its names and what they hold, whatever order they come in.
    pub fn of_set<'a>(files: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        let mut files: Vec<(&str, Self)> = files.into_iter().collect();
        files.sort_unstable();
        let mut hash = Sha256::new();
        for (name, Self(content)) in files {
            // The length goes first, so that no name runs into what follows.
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name);
            hash.update(content);
        }
        Self(hash.finalize().into())
    }

    /// The hash behind 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }
}

/// Upper case is refused: a manifest has one spelling.
fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        0..=b'/' | b':'..=b'`' | b'g'..=u8::MAX => None,
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_is_that_of_sha256sum_and_only_that() {
        let empty = Digest::of(b"");
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(empty.to_string(), text);
        assert_eq!(Digest::parse(text), Some(empty));
        for wrong in [&text[1..], &text.to_uppercase(), &text.replace('e', "g"), &format!("{text}0"), ""] {
            assert_eq!(Digest::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_set_is_its_names_and_contents_in_any_order() {
        let [a, b] = [Digest::of(b"a"), Digest::of(b"b")];
        let set = |files: &[(&'static str, Digest)]| Digest::of_set(files.iter().copied());
        let one = set(&[("a.toml", a), ("b.toml", b)]);
        assert_eq!(one, set(&[("b.toml", b), ("a.toml", a)]));
        for other in [set(&[("a.toml", b), ("b.toml", a)]), set(&[("a.toml", a)]), set(&[])] {
            assert_ne!(one, other);
        }
    }
}
