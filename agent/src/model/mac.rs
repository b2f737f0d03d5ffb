//! Hardware addresses as people write them.

use std::{fmt, net::IpAddr, str::FromStr};

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

    /// Where frames to a multicast group go (RFC 1112 6.4, RFC 2464 7).
    pub fn of_group(group: IpAddr) -> Self {
        match group {
            IpAddr::V4(v4) => {
                let [_, b, c, d] = v4.octets();
                Self([0x01, 0x00, 0x5e, b & 0x7f, c, d])
            }
            IpAddr::V6(v6) => {
                let [.., a, b, c, d] = v6.octets();
                Self([0x33, 0x33, a, b, c, d])
            }
        }
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
    fn group_is_reached_at_its_own_hardware_address() {
        for (group, mac) in [("239.129.2.3", "01:00:5e:01:02:03"), ("ff02::1:ff28:9c5a", "33:33:ff:28:9c:5a")]
        {
            let mac: Mac = mac.parse().expect(mac);
            assert_eq!(Mac::of_group(group.parse().expect(group)), mac);
            assert!(mac.is_group());
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
