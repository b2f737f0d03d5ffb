//! Services by their numbers: what a policy calls one, and what a person means who asks for one by number.

use bulkhead_common::wire::{protocol, pseudo};

use super::built_in;
use crate::model::{Policy, Selector, spelled};

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

/// `tcp/502`, `udp/53`, `sctp/2905`, `icmp/8`, `icmpv6/128`, `ip/47`, `ethertype/0x8892`, `llc/0x42`.
pub fn numeric(text: &str) -> Option<Selector> {
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
