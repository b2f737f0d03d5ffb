//! The third word of a question: a service by name or by number. In: the word. Out: selectors; and numbers as
//! policies and people write them.

use bulkhead_common::wire::{protocol, pseudo};

use super::AskError;
use crate::{
    diagnostic::closest,
    model::{Policy, Selector, spelled},
    policy::built_in,
};

/// What a service of the policy or the library is, or one by its number.
pub(super) fn selectors(policy: &Policy, name: &str) -> Result<Vec<Selector>, AskError> {
    let known = policy.service(name).map(|(_, service)| service.selectors.clone());
    if let Some(selectors) = known.or_else(|| built_in().get(name).cloned()) {
        return Ok(selectors);
    }
    if let Some(selector) = numeric(name) {
        return Ok(vec![selector]);
    }
    let names = policy.services.iter().map(|s| s.name.as_str()).chain(built_in().keys().map(String::as_str));
    let hint = match name.parse::<u16>() {
        Ok(port) => Some(format!("tcp/{port}")),
        Err(_) => closest(name, names).map(str::to_owned),
    };
    Err(AskError::Unknown { name: name.to_owned(), kind: "service (nor of the form `tcp/502`)", hint })
}

/// `tcp/502`, `udp/53`, `sctp/2905`, `icmp/8`, `icmpv6/128`, `ip/47`, `ethertype/0x8892`, `llc/0x42`.
fn numeric(text: &str) -> Option<Selector> {
    let (word, number) = text.split_once('/')?;
    let one = |protocol, low| Some(Selector { protocol, low, high: low });
    let kind = || number.parse::<u8>().ok().map(|kind| u16::from(kind) << 8);
    match word {
        "tcp" => one(protocol::TCP, number.parse().ok()?),
        "udp" => one(protocol::UDP, number.parse().ok()?),
        "sctp" => one(protocol::SCTP, number.parse().ok()?),
        "icmp" => one(protocol::ICMP, kind()?),
        "icmpv6" => one(protocol::ICMPV6, kind()?),
        "ip" => Some(Selector { protocol: number.parse().ok()?, low: 0, high: u16::MAX }),
        "ethertype" => one(pseudo::ETHERTYPE, hexadecimal(number)?),
        "llc" => one(pseudo::LLC, hexadecimal(number).filter(|point| *point <= 0xff)?),
        _ => None,
    }
}

fn hexadecimal(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// A service by name, with its declaration when it was asked for by number.
pub(super) fn named(word: &str) -> (String, String) {
    let Some((kind, number)) = word.split_once('/').filter(|_| numeric(word).is_some()) else {
        return (word.to_owned(), String::new());
    };
    let key = if kind == "ip" { "protocol" } else { kind };
    let name = format!("{kind}-{number}");
    let declaration = format!("\n[service.{name}]\n{key} = [\"{number}\"]\n");
    (name, declaration)
}

/// Ports of a service beyond which it is too wide to be the name of one of them.
const WIDEST: u32 = 16;

/// What the policy, else the library, calls a service that holds this and not much else; the narrowest, the first by name.
/// Else as it can be asked for.
pub fn called(policy: &Policy, wanted: Selector) -> String {
    let of_policy = policy.services.iter().map(|service| (&service.name, &service.selectors));
    narrowest(of_policy, wanted)
        .or_else(|| narrowest(built_in().iter(), wanted))
        .map_or_else(|| spelled(wanted), str::to_owned)
}

fn narrowest<'s>(
    services: impl Iterator<Item = (&'s String, &'s Vec<Selector>)>,
    wanted: Selector,
) -> Option<&'s str> {
    let width = |s: &Selector| match s.protocol {
        // Each type has 256 codes, and is one.
        protocol::ICMP | protocol::ICMPV6 => (u32::from(s.high) - u32::from(s.low) + 1).div_ceil(256),
        protocol::TCP | protocol::UDP | protocol::SCTP | pseudo::ETHERTYPE | pseudo::LLC => {
            u32::from(s.high) - u32::from(s.low) + 1
        }
        _ => 1,
    };
    let holds = |s: &Selector| s.protocol == wanted.protocol && s.low <= wanted.low && wanted.high <= s.high;
    let holding = services.filter(|(_, selectors)| selectors.iter().any(holds));
    let sized = holding.map(|(name, selectors)| (selectors.iter().map(width).sum::<u32>(), name.as_str()));
    sized.filter(|(width, _)| *width <= WIDEST).min().map(|(_, name)| name)
}

/// What a packet of the selector is, in words.
pub(super) fn described(selector: Selector) -> String {
    let Selector { protocol, low, high: _ } = selector;
    match protocol {
        protocol::TCP => format!("TCP SYN to port {low}"),
        protocol::UDP => format!("UDP to port {low}"),
        protocol::SCTP => format!("SCTP to port {low}"),
        protocol::ICMP => format!("ICMP type {} code {}", low >> 8, low & 0xff),
        protocol::ICMPV6 => format!("ICMPv6 type {} code {}", low >> 8, low & 0xff),
        pseudo::ETHERTYPE => format!("frame of ethertype {low:#06x}"),
        pseudo::LLC => format!("LLC frame to {low:#04x}"),
        _ => format!("IP protocol {protocol}"),
    }
}
