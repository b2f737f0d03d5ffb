//! ICMP messages. In: one leaf of a service. Out: a selector of types and codes, or what such a thing looks like.

use super::{ICMP, Leaf, Reader};
use crate::{diagnostic::quote, model::Selector};

/// Types by name (IANA "ICMP Type Numbers"; RFC 792, 1256, 8335).
pub(in crate::policy) const ICMP_TYPES: [(&str, u8); 12] = [
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("extended-echo-request", 42),
    ("extended-echo-reply", 43),
];

/// Types by name (IANA "ICMPv6 type Numbers"; RFC 4443, 4861, 2710, 3810, 8335).
pub(in crate::policy) const ICMPV6_TYPES: [(&str, u8); 17] = [
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("mld-query", 130),
    ("mld-report", 131),
    ("mld-done", 132),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbor-solicitation", 135),
    ("neighbor-advertisement", 136),
    ("redirect", 137),
    ("mld2-report", 143),
    ("extended-echo-request", 160),
    ("extended-echo-reply", 161),
];

const HELP: &str =
    "write a type from 0 to 255 or its name, or type and code, as in `echo-request`, `8` or `3/4`";

impl Reader<'_, '_> {
    /// `8` or `echo-request` (any code), `0-255` (types) or `3/4` (type and code), RFC 792 and RFC 4443.
    pub(in crate::policy) fn icmp(&mut self, leaf: &Leaf<String>, protocol: u8) -> Option<Selector> {
        let named: &[(&str, u8)] = if protocol == ICMP { &ICMP_TYPES } else { &ICMPV6_TYPES };
        let of_name = |name: &str| named.iter().find(|(word, _)| *word == name).map(|(_, kind)| *kind);
        if let Some((kind, code)) = leaf.value.split_once('/') {
            let (kind, code) = (kind.trim(), code.trim());
            let (Some(kind), Ok(code)) = (of_name(kind).or_else(|| kind.parse().ok()), code.parse::<u8>())
            else {
                let message = format!("{} is not an ICMP type and code", quote(&leaf.value));
                return self.refuse("BH0213", leaf, message, HELP);
            };
            let value = u16::from(kind) << 8 | u16::from(code);
            return Some(Selector { protocol, low: value, high: value });
        }
        if let Some(kind) = of_name(&leaf.value) {
            return Some(of_types(protocol, kind, kind));
        }
        if leaf.value.contains(|c: char| c.is_ascii_alphabetic()) {
            let message = format!("unknown ICMP type {}", quote(&leaf.value));
            let other = if protocol == ICMP { &ICMPV6_TYPES[..] } else { &ICMP_TYPES[..] };
            let help = match self.out.suggest(&leaf.value, named.iter().map(|(word, _)| *word)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if other.iter().any(|(word, _)| *word == leaf.value) => {
                    let key = if protocol == ICMP { "icmpv6" } else { "icmp" };
                    format!("it is a message of the other family: write it in `{key}`")
                }
                None => HELP.to_owned(),
            };
            return self.refuse("BH0213", leaf, message, &help);
        }
        let (low, high) = self.range(leaf, "an ICMP type", "255")?;
        let (Ok(low), Ok(high)) = (u8::try_from(low), u8::try_from(high)) else {
            let message = format!("{} is not an ICMP type", quote(&leaf.value));
            return self.refuse("BH0213", leaf, message, HELP);
        };
        Some(of_types(protocol, low, high))
    }
}

/// Every code of these types.
fn of_types(protocol: u8, low: u8, high: u8) -> Selector {
    Selector { protocol, low: u16::from(low) << 8, high: u16::from(high) << 8 | 0xff }
}
