//! What traffic a service is. In: one leaf of a service. Out: a selector, or what such a thing looks like.

use bulkhead_common::wire::ethertype;

use super::{ICMP, ICMPV6, Leaf, Reader, SCTP, TCP, UDP, hints};
use crate::{
    diagnostic::quote,
    model::{Selector, pseudo},
};

/// Ethertypes by the words their users know (IEEE Registration Authority, "EtherType public listing").
pub(in crate::policy) const ETHERTYPES: [(&str, u16); 11] = [
    ("profinet", 0x8892),
    ("ethercat", 0x88a4),
    ("powerlink", 0x88ab),
    ("goose", 0x88b8),
    ("gse", 0x88b9),
    ("sampled-values", 0x88ba),
    ("lldp", 0x88cc),
    ("mrp", 0x88e3),
    ("ptp", 0x88f7),
    ("eapol", 0x888e),
    ("hsr", 0x892f),
];

/// Protocols by their keywords (IANA "Assigned Internet Protocol Numbers"), those with a key of their own included, to name that key.
const PROTOCOLS: [(&str, u16); 15] = [
    ("tcp", 6),
    ("udp", 17),
    ("icmp", 1),
    ("icmpv6", 58),
    ("sctp", 132),
    ("igmp", 2),
    ("ipip", 4),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("eigrp", 88),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
];

/// Service access points by the words their users know (IEEE 802.1Q clause 14, ISO/IEC 10589, ASHRAE 135 clause 7).
pub(in crate::policy) const POINTS: [(&str, u16); 3] = [("stp", 0x42), ("bacnet", 0x82), ("isis", 0xfe)];

impl Reader<'_, '_> {
    /// `502` or `1000-2000`.
    pub(crate) fn ports(&mut self, leaf: &Leaf<String>, protocol: u8) -> Option<Selector> {
        let (low, high) = self.range(leaf, "a port", "65535")?;
        if low == 0 {
            let message = format!("{}: port 0 cannot be used by a service", quote(&leaf.value));
            return self.refuse("BH0209", leaf, message, "ports go from 1 to 65535 (RFC 6335 6)");
        }
        Some(Selector { protocol, low, high })
    }

    /// `0x8892` or a word for it.
    pub(in crate::policy) fn ethertype(&mut self, leaf: &Leaf<String>) -> Option<Selector> {
        let word = ETHERTYPES.iter().find(|(word, _)| *word == leaf.value).map(|(_, number)| *number);
        let Some(number) = word.or_else(|| number(&leaf.value)) else {
            let message = format!("{} is not an ethertype", quote(&leaf.value));
            let help = match self.out.suggest(&leaf.value, ETHERTYPES.iter().map(|(word, _)| *word)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "write a number, as in `0x8892`, or a word such as `profinet`".to_owned(),
            };
            return self.refuse("BH0215", leaf, message, &help);
        };
        let help = match number {
            ..ethertype::FIRST => {
                "below `0x0600` the field is a length: name the frame by `llc = [\"0x42\"]`"
            }
            ethertype::IPV4 | ethertype::IPV6 => {
                "IP is decided by `tcp`, `udp`, `sctp`, `icmp`, `icmpv6` and `protocol`"
            }
            ethertype::ARP => {
                "ARP passes and its sender is checked: a switch of each segment in the agent's configuration"
            }
            ethertype::VLAN | ethertype::QINQ | ethertype::QINQ_LEGACY => {
                "a VLAN tag is looked behind: name the ethertype of the frame inside it"
            }
            ethertype::FIRST.. => {
                return Some(Selector { protocol: pseudo::ETHERTYPE, low: number, high: number });
            }
        };
        self.refuse("BH0216", leaf, format!("{} is no service's ethertype", quote(&leaf.value)), help)
    }

    /// `0x42` or a word for it: the destination service access point of an IEEE 802.2 frame.
    pub(in crate::policy) fn llc(&mut self, leaf: &Leaf<String>) -> Option<Selector> {
        let word = POINTS.iter().find(|(word, _)| *word == leaf.value).map(|(_, number)| *number);
        match word.or_else(|| number(&leaf.value)).and_then(|number| u8::try_from(number).ok()) {
            Some(point) => Some(Selector { protocol: pseudo::LLC, low: point.into(), high: point.into() }),
            None => {
                let message = format!("{} is not a service access point", quote(&leaf.value));
                let help = "write one byte, as in `0x42` (IEEE 802.2), or `stp`, `isis` or `bacnet`";
                self.refuse("BH0217", leaf, message, help)
            }
        }
    }

    /// `47` or `gre`: an IP protocol without ports.
    pub(in crate::policy) fn protocol(&mut self, leaf: &Leaf<String>) -> Option<Selector> {
        let word = PROTOCOLS.iter().find(|(word, _)| *word == leaf.value).map(|(_, number)| *number);
        let number = word.or_else(|| number(&leaf.value));
        let Some(number) = number.and_then(|number| u8::try_from(number).ok()) else {
            let message = format!("{} is not an IP protocol number", quote(&leaf.value));
            let help = match self.out.suggest(&leaf.value, PROTOCOLS.iter().map(|(word, _)| *word)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "write a number from 1 to 252, as in `47` for GRE (IANA protocol numbers)".to_owned(),
            };
            return self.refuse("BH0218", leaf, message, &help);
        };
        let Err(help) = whole(number) else {
            // Without ports: whatever the data path asks with, it is the whole protocol.
            return Some(Selector { protocol: number, low: 0, high: u16::MAX });
        };
        let message = format!("IP protocol {} is no service by itself", quote(&leaf.value));
        self.refuse("BH0219", leaf, message, help)
    }

    pub(super) fn range(&mut self, leaf: &Leaf<String>, what: &str, highest: &str) -> Option<(u16, u16)> {
        let (low, high) = leaf.value.split_once('-').unwrap_or((&leaf.value, &leaf.value));
        let (Some(low), Some(high)) = (decimal(low), decimal(high)) else {
            let message = format!("{} is not {what} or a range", quote(&leaf.value));
            let help = hints::several(&leaf.value)
                .unwrap_or_else(|| format!("write a number up to {highest}, or a range such as `10-20`"));
            return self.refuse("BH0207", leaf, message, &help);
        };
        if low > high {
            let message = format!("the range {} runs backwards", quote(&leaf.value));
            return self.refuse("BH0208", leaf, message, &format!("write `{high}-{low}`"));
        }
        Some((low, high))
    }
}

/// Digits only: `+5` parses as a number elsewhere and is a slip here.
fn decimal(text: &str) -> Option<u16> {
    let text = text.trim();
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// `0x8892`, or decimal digits: so arrives what is a number in TOML.
fn number(text: &str) -> Option<u16> {
    match text.strip_prefix("0x") {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => u16::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => decimal(text),
    }
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

/// Whether a service may be all of an IP protocol, by its number; or else what to write instead.
///
/// # Errors
/// What helps, for a protocol with ports or types, or that is none by itself.
pub(crate) fn whole(protocol: u8) -> Result<(), &'static str> {
    Err(match protocol {
        TCP => "name its ports: `tcp = [\"502\"]`",
        UDP => "name its ports: `udp = [\"53\"]`",
        SCTP => "name its ports: `sctp = [\"2905\"]`",
        ICMP => "name its types: `icmp = [\"8\"]`",
        ICMPV6 => "name its types: `icmpv6 = [\"128\"]`",
        // RFC 7045 2: hop-by-hop, routing, fragment, destination options; AH; mobility, HIP, shim6.
        0 | 43 | 44 | 60 | 51 | 135 | 139 | 140 => {
            "it is an extension header of IPv6 (RFC 7045 2): name the protocol that follows it"
        }
        59 => "it says that nothing follows (RFC 8200 4.7): there is nothing to allow",
        253..=255 => "it is for experiments or reserved (RFC 3692): a service has a number of its own",
        2..=5 | 7..=16 | 18..=42 | 45..=50 | 52..=57 | 61..=131 | 133..=134 | 136..=138 | 141..=252 => {
            return Ok(());
        }
    })
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

    #[test]
    fn numbers_are_hexadecimal_with_a_mark_and_decimal_without() {
        assert_eq!(
            [number("0x8892"), number("34962"), number("0X1"), number("-1")],
            [Some(0x8892), Some(0x8892), None, None]
        );
        assert_eq!([number("0x"), number("0x+1"), number("0x10000"), number("")], [None; 4]);
    }
}
