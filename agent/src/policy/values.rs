//! Text of one leaf -> value. In: a string and its place. Out: an address, a port range, a word of a fixed
//! set; or a diagnostic that says what such a thing looks like.

use std::{
    fmt::Display,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;

use super::reader::{Leaf, Reader, list};
use crate::{
    diagnostic::{Diagnostic, quote},
    model::{Mac, Selector},
};

/// IP protocol numbers (IANA "Assigned Internet Protocol Numbers").
pub(super) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

/// Comments are copied into every rule and every violation, so they stay short.
pub(super) const MAX_TEXT: usize = 512;

/// RFC 1035 2.3.4 allows a label 63 bytes; names stay usable as host names, file names and metric labels.
pub(super) const MAX_NAME: usize = 63;

/// The family of an address or a prefix.
pub(crate) trait IsIpv6 {
    fn is_ipv6(&self) -> bool;
}

impl IsIpv6 for IpAddr {
    fn is_ipv6(&self) -> bool {
        matches!(self, Self::V6(_))
    }
}

impl IsIpv6 for IpNet {
    fn is_ipv6(&self) -> bool {
        matches!(self, Self::V6(_))
    }
}

impl Reader<'_, '_> {
    /// Reports a leaf that is not what it should be.
    pub(crate) fn refuse<T>(
        &mut self,
        code: &'static str,
        leaf: &Leaf<String>,
        message: String,
        help: &str,
    ) -> Option<T> {
        if self.out.is_full() {
            self.out.skip_error();
            return None;
        }
        let location = self.out.locate(leaf.at);
        self.out.push(Diagnostic::error(code, message).at(location, "").help(help));
        None
    }

    pub(super) fn mac(&mut self, leaf: &Leaf<String>) -> Option<Leaf<Mac>> {
        let Ok(mac) = leaf.value.parse::<Mac>() else {
            let message = format!("{} is not a MAC address", quote(&leaf.value));
            let help = "write six pairs of hexadecimal digits, as in `00:1d:9c:c7:b0:70`";
            return self.refuse("BH0201", leaf, message, help);
        };
        if mac.is_group() {
            let message = format!("{} is a group address, not one device's own", quote(&leaf.value));
            let help = "the lowest bit of the first byte is set (multicast or broadcast): write the address \
                        printed on the device";
            return self.refuse("BH0202", leaf, message, help);
        }
        if mac.0 == [0; 6] {
            let message = format!("{} is no device's address", quote(&leaf.value));
            return self.refuse("BH0202", leaf, message, "write the address printed on the device");
        }
        Some(Leaf { value: mac, at: leaf.at })
    }

    pub(super) fn address(&mut self, leaf: &Leaf<String>) -> Option<Leaf<IpAddr>> {
        let Ok(address) = leaf.value.parse::<IpAddr>() else {
            let message = format!("{} is not an IP address", quote(&leaf.value));
            let help = match leaf.value.split_once('/') {
                Some((before, _)) if before.parse::<IpAddr>().is_ok() => {
                    format!(
                        "a device has addresses, not prefixes: write `{before}`, or declare a `[network.NAME]`"
                    )
                }
                Some(_) | None => "write four numbers from 0 to 255, as in `10.20.1.11`".to_owned(),
            };
            return self.refuse("BH0203", leaf, message, &help);
        };
        let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
        let kinds = [
            (address.is_multicast(), "a multicast address"),
            (address.is_unspecified(), "the unspecified address"),
            (address.is_loopback(), "a loopback address"),
            (broadcast, "the broadcast address"),
        ];
        let kind = kinds.into_iter().find(|(is, _)| *is).map(|(_, kind)| kind);
        if let Some(kind) = kind {
            let message = format!("{} is {kind}, not a device's own", quote(&leaf.value));
            return self.refuse("BH0204", leaf, message, "write the unicast address the device sends from");
        }
        Some(Leaf { value: address, at: leaf.at })
    }

    pub(crate) fn cidr(&mut self, leaf: &Leaf<String>) -> Option<Leaf<IpNet>> {
        let Ok(net) = leaf.value.parse::<IpNet>() else {
            let message = format!("{} is not a prefix", quote(&leaf.value));
            let help = match leaf.value.parse::<IpAddr>() {
                Ok(address) => format!("for this one address write `{}`", IpNet::from(address)),
                Err(_) => "write address and prefix length, as in `10.9.0.0/24`".to_owned(),
            };
            return self.refuse("BH0205", leaf, message, &help);
        };
        if net != net.trunc() {
            let message = format!("{} has bits set beyond its prefix length", quote(&leaf.value));
            let help =
                format!("write `{}`, or `{}` for the one address", net.trunc(), IpNet::from(net.addr()));
            return self.refuse("BH0206", leaf, message, &help);
        }
        Some(Leaf { value: net, at: leaf.at })
    }

    /// Says that an address or a prefix is kept without effect; `help` says what that means here.
    pub(crate) fn warn_ipv6<T: IsIpv6 + Display>(&mut self, leaf: &Leaf<T>, help: &str) {
        if leaf.value.is_ipv6() {
            let location = self.out.locate(leaf.at);
            let message = format!("`{}` is recorded, but IPv6 is not decided by this version", leaf.value);
            self.out.push(Diagnostic::warning("BH0503", message).at(location, "").help(help));
        }
    }

    /// `502` or `1000-2000`.
    pub(crate) fn ports(&mut self, leaf: &Leaf<String>, protocol: u8) -> Option<Selector> {
        let (low, high) = self.range(leaf, "a port", "65535")?;
        if low == 0 {
            let message = format!("{}: port 0 cannot be used by a service", quote(&leaf.value));
            return self.refuse("BH0209", leaf, message, "ports go from 1 to 65535 (RFC 6335 6)");
        }
        Some(Selector { protocol, low, high })
    }

    /// `8` (any code), `0-255` (types) or `3/4` (type and code), RFC 792.
    pub(super) fn icmp(&mut self, leaf: &Leaf<String>) -> Option<Selector> {
        const HELP: &str = "write a type from 0 to 255, or type and code, as in `8` or `3/4`";
        if let Some((kind, code)) = leaf.value.split_once('/') {
            let (Ok(kind), Ok(code)) = (kind.trim().parse::<u8>(), code.trim().parse::<u8>()) else {
                let message = format!("{} is not an ICMP type and code", quote(&leaf.value));
                return self.refuse("BH0213", leaf, message, HELP);
            };
            let value = u16::from(kind) << 8 | u16::from(code);
            return Some(Selector { protocol: ICMP, low: value, high: value });
        }
        let (low, high) = self.range(leaf, "an ICMP type", "255")?;
        let (Ok(low), Ok(high)) = (u8::try_from(low), u8::try_from(high)) else {
            let message = format!("{} is not an ICMP type", quote(&leaf.value));
            return self.refuse("BH0213", leaf, message, HELP);
        };
        Some(Selector { protocol: ICMP, low: u16::from(low) << 8, high: u16::from(high) << 8 | 0xff })
    }

    fn range(&mut self, leaf: &Leaf<String>, what: &str, highest: &str) -> Option<(u16, u16)> {
        let (low, high) = leaf.value.split_once('-').unwrap_or((&leaf.value, &leaf.value));
        let (Some(low), Some(high)) = (number(low), number(high)) else {
            let message = format!("{} is not {what} or a range", quote(&leaf.value));
            let help = format!("write a number up to {highest}, or a range such as `10-20`");
            return self.refuse("BH0207", leaf, message, &help);
        };
        if low > high {
            let message = format!("the range {} runs backwards", quote(&leaf.value));
            return self.refuse("BH0208", leaf, message, &format!("write `{high}-{low}`"));
        }
        Some((low, high))
    }

    /// One word of a fixed set.
    pub(crate) fn word<T: Copy>(
        &mut self,
        code: &'static str,
        leaf: &Leaf<String>,
        what: &str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == leaf.value) {
            return Some(*value);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let help = match self.out.suggest(&leaf.value, names.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("write one of {}", list(&names)),
        };
        self.refuse(code, leaf, format!("unknown {what} {}", quote(&leaf.value)), &help)
    }

    /// A name that may be used as a label anywhere.
    pub(crate) fn name(&mut self, leaf: &Leaf<String>, what: &str) -> bool {
        let name = &leaf.value;
        if name.is_empty() || name.len() > MAX_NAME {
            let message = format!("the {what} name {} has {} bytes", quote(name), name.len());
            self.refuse::<()>("BH0104", leaf, message, &format!("write 1 to {MAX_NAME} bytes"));
            return false;
        }
        if is_name(name) {
            return true;
        }
        let message = format!("the {what} name {} has characters a name cannot have", quote(name));
        let mended: String = name.to_lowercase().replace([' ', '/', ':'], "-");
        let help = "use `a-z`, `0-9`, `.`, `_` and `-`, starting with a letter or a digit";
        if is_name(&mended) {
            self.refuse::<()>("BH0104", leaf, message, &format!("{help}: `{mended}`"));
        } else {
            self.refuse::<()>("BH0104", leaf, message, help);
        }
        false
    }

    /// Free text of bounded length.
    pub(super) fn prose(&mut self, leaf: Leaf<String>, key: &str) -> Option<String> {
        if leaf.value.len() <= MAX_TEXT {
            return Some(leaf.value);
        }
        let message = format!("`{key}` has {} bytes", leaf.value.len());
        self.refuse(
            "BH0214",
            &leaf,
            message,
            &format!("write at most {MAX_TEXT} bytes; it is copied into every record"),
        )
    }
}

/// At most [`MAX_NAME`] bytes of `[a-z0-9._-]`, starting with a letter or a digit.
pub(super) fn is_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    name.len() <= MAX_NAME
        && name.chars().all(inner)
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
}

/// Digits only: `+5` parses as a number elsewhere and is a slip here.
fn number(text: &str) -> Option<u16> {
    let text = text.trim();
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Sorts, and joins ranges of one protocol that overlap or touch.
pub(crate) fn fold(mut selectors: Vec<Selector>) -> Vec<Selector> {
    selectors.sort();
    let mut folded: Vec<Selector> = Vec::with_capacity(selectors.len());
    for next in selectors {
        match folded.last_mut() {
            Some(last) if last.protocol == next.protocol && next.low <= last.high.saturating_add(1) => {
                last.high = last.high.max(next.high);
            }
            Some(_) | None => folded.push(next),
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let range = |protocol, low, high| Selector { protocol, low, high };
        let folded =
            fold(vec![range(TCP, 20, 30), range(UDP, 31, 40), range(TCP, 31, 40), range(TCP, 25, 26)]);
        assert_eq!(folded, [range(TCP, 20, 40), range(UDP, 31, 40)]);
        assert_eq!(fold(vec![range(ICMP, 0, u16::MAX), range(ICMP, 8, 9)]), [range(ICMP, 0, u16::MAX)]);
    }
}
