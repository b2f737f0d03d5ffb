//! Services by their numbers, as people ask for them.

use bulkhead_common::wire::{protocol, pseudo};

use super::Selector;

/// A range as it can be asked for; whole ICMP types without their codes.
pub fn spelled(selector: Selector) -> String {
    let Selector { protocol, low, high } = selector;
    let range = |word: &str, low: u16, high: u16| {
        if low == high { format!("{word}/{low}") } else { format!("{word}/{low}-{high}") }
    };
    match protocol {
        protocol::TCP => range("tcp", low, high),
        protocol::UDP => range("udp", low, high),
        protocol::SCTP => range("sctp", low, high),
        protocol::ICMP | protocol::ICMPV6 => {
            let types =
                range(if protocol == protocol::ICMP { "icmp" } else { "icmpv6" }, low >> 8, high >> 8);
            let is_one = low == high && low & 0xff != 0;
            if is_one { format!("{types} code {}", low & 0xff) } else { types }
        }
        pseudo::ETHERTYPE if low == high => format!("ethertype/{low:#06x}"),
        pseudo::ETHERTYPE => format!("ethertype/{low:#06x}-{high:#06x}"),
        pseudo::LLC if low == high => format!("llc/{low:#04x}"),
        pseudo::LLC => format!("llc/{low:#04x}-{high:#04x}"),
        _ => format!("ip/{protocol}"),
    }
}
