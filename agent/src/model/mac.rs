//! Hardware addresses as people write them.

use std::{fmt, str::FromStr};

/// A 48-bit hardware address, in the order of the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// The text is not six pairs of hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a MAC address has six pairs of hexadecimal digits, as in `00:1d:9c:c7:b0:70`")]
pub struct ParseMacError;

impl Mac {
    /// Whether the group bit is set (IEEE 802-2014 8.2.2): such an address can never be a device's own.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Mac {
    type Err = ParseMacError;

    /// Accepts `00:1d:9c:c7:b0:70`, `00-1D-9C-C7-B0-70`, `001d.9cc7.b070` and `001d9cc7b070`.
    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let separators: &[char] = &[':', '-', '.'];
        let groups: Vec<&str> = text.split(separators).collect();
        let width = match groups.len() {
            1 => 12,
            3 => 4,
            6 => 2,
            _ => return Err(ParseMacError),
        };
        let mut kinds = text.chars().filter(|c| separators.contains(c));
        let first = kinds.next();
        let mixed = kinds.any(|c| Some(c) != first);
        let dotted = first == Some('.');
        if mixed || groups.iter().any(|g| g.len() != width) || (groups.len() == 3) != dotted {
            return Err(ParseMacError);
        }
        let digits: Vec<u8> = groups
            .concat()
            .chars()
            .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or(ParseMacError))
            .collect::<Result<_, _>>()?;
        let mut mac = [0; 6];
        for (byte, pair) in mac.iter_mut().zip(digits.chunks(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(mac))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_usual_spellings_are_one_address() {
        for text in ["00:1d:9c:c7:b0:70", "00-1D-9C-C7-B0-70", "001d.9cc7.b070", "001D9CC7B070"] {
            assert_eq!(text.parse::<Mac>().expect(text).to_string(), "00:1d:9c:c7:b0:70");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "00:1d:9c:c7:b0",
            "00:1d:9c:c7:b0:7g",
            "00:1d-9c:c7:b0:70",
            "001d:9cc7:b070",
            "00.1d.9c.c7.b0.70",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(ParseMacError), "{text}");
        }
    }
}
