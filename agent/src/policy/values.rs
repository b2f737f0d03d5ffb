//! Text of one leaf -> value. In: a string and its place. Out: an address, a port range, a word of a fixed
//! set; or a diagnostic that says what such a thing looks like. What only services and multicast groups have
//! is read in rooms of its own.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::reader::{Leaf, Reader, list};
use crate::{
    diagnostic::{Diagnostic, quote},
    model::Mac,
};

mod dns;
mod groups;
pub(super) mod hints;
mod icmp;
mod services;
mod time;
pub(super) use icmp::{ICMP_TYPES, ICMPV6_TYPES};
pub(super) use services::{ETHERTYPES, POINTS};
pub(crate) use services::{fold, whole};
pub(super) use time::MAX_WINDOWS;

/// IP protocol numbers (IANA "Assigned Internet Protocol Numbers").
pub(super) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;
pub(super) const SCTP: u8 = 132;

/// Comments are copied into every rule and every violation, so they stay short.
pub(crate) const MAX_TEXT: usize = 512;

/// A segment is an interface, whose name has at most 15 bytes, or is named in the configuration.
const MAX_SEGMENT: usize = 32;

/// RFC 1035 2.3.4 allows a label 63 bytes; names stay usable as host names, file names and metric labels.
pub(crate) const MAX_NAME: usize = 63;

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
            let help = hints::several(&leaf.value).unwrap_or_else(|| {
                "write six pairs of hexadecimal digits, as in `00:1d:9c:c7:b0:70`".to_owned()
            });
            return self.refuse("BH0201", leaf, message, &help);
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
                Some(_) | None => {
                    hints::several(&leaf.value).or_else(|| hints::leading_zeros(&leaf.value)).unwrap_or_else(
                        || "write an address, as in `10.20.1.11` or `fd00:20::11`, or `dhcp`".to_owned(),
                    )
                }
            };
            return self.refuse("BH0203", leaf, message, &help);
        };
        if is_mapped(&IpNet::from(address)) {
            return self.mapped(leaf);
        }
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
                Err(_) => hints::prefix(&leaf.value)
                    .or_else(|| hints::several(&leaf.value))
                    .unwrap_or_else(|| "write address and prefix length, as in `10.9.0.0/24`".to_owned()),
            };
            return self.refuse("BH0205", leaf, message, &help);
        };
        if is_mapped(&net) {
            return self.mapped(leaf);
        }
        if net != net.trunc() {
            let message = format!("{} has bits set beyond its prefix length", quote(&leaf.value));
            let help =
                format!("write `{}`, or `{}` for the one address", net.trunc(), IpNet::from(net.addr()));
            return self.refuse("BH0206", leaf, message, &help);
        }
        Some(Leaf { value: net, at: leaf.at })
    }

    fn mapped<T>(&mut self, leaf: &Leaf<String>) -> Option<T> {
        let message = format!("{} is an IPv4 address in the form of an IPv6 address", quote(&leaf.value));
        self.refuse(
            "BH0220",
            leaf,
            message,
            "no packet carries it: write the IPv4 address, as in `10.20.1.11`",
        )
    }

    /// The name of a place the agent's configuration knows: an interface, or an interface and a VLAN.
    pub(super) fn segment(&mut self, leaf: Leaf<String>) -> Option<String> {
        let name = leaf.value.as_str();
        let odd = name.is_empty() || name.len() > MAX_SEGMENT || name == "." || name == "..";
        if odd || name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) {
            let message = format!("{} cannot be a segment", quote(name));
            let help =
                format!("write 1 to {MAX_SEGMENT} bytes without `/`, `:` or blanks, as in the configuration");
            return self.refuse("BH0223", &leaf, message, &help);
        }
        Some(leaf.value)
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
            let message = match name.len() {
                0 => format!("the {what} name is empty"),
                bytes => format!("the {what} name {} has {bytes} bytes", quote(name)),
            };
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

    /// Free text of bounded length, in characters that a terminal and a log show and do not obey.
    pub(super) fn prose(&mut self, leaf: Leaf<String>, key: &str) -> Option<String> {
        if leaf.value.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')) {
            let message = format!("`{key}` has a control character");
            return self.refuse(
                "BH0214",
                &leaf,
                message,
                "write plain text: it is shown on terminals and in logs",
            );
        }
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

/// Whether all addresses are IPv4-mapped IPv6 addresses (RFC 4291 2.5.5.2), a notation of programs.
fn is_mapped(net: &IpNet) -> bool {
    match net {
        IpNet::V4(_) => false,
        IpNet::V6(v6) => v6.prefix_len() >= 96 && v6.addr().to_ipv4_mapped().is_some(),
    }
}

/// At most [`MAX_NAME`] bytes of `[a-z0-9._-]`, starting with a letter or a digit.
pub(crate) fn is_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    name.len() <= MAX_NAME
        && name.chars().all(inner)
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
}
