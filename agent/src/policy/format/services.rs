//! Services as text. In: selectors. Out: the keys that say them.

use super::text::Table;
use crate::{
    model::{Selector, pseudo},
    policy::values::{ICMP, ICMPV6, SCTP, TCP, UDP},
};

/// Highest code of an ICMP type.
const LAST_CODE: u16 = 0xff;

/// The table of a service: its name, and what traffic it is.
pub(crate) fn table(name: &str, selectors: &[Selector]) -> Table {
    let mut table = Table::new(&["service", name]);
    let of = |protocol: u8| selectors.iter().filter(move |selector| selector.protocol == protocol);
    for (key, protocol) in [("tcp", TCP), ("udp", UDP), ("sctp", SCTP)] {
        table.list(key, of(protocol).map(|selector| range(selector.low, selector.high)));
    }
    for (key, protocol) in [("icmp", ICMP), ("icmpv6", ICMPV6)] {
        table.list(key, of(protocol).flat_map(messages));
    }
    let own_key = [TCP, UDP, SCTP, ICMP, ICMPV6, pseudo::ETHERTYPE, pseudo::LLC];
    let protocols = selectors.iter().filter(|selector| !own_key.contains(&selector.protocol));
    table.list("protocol", protocols.map(|selector| selector.protocol.to_string()));
    let numbers = |selector: &Selector| selector.low..=selector.high;
    table.list("ethertype", of(pseudo::ETHERTYPE).flat_map(numbers).map(|number| format!("{number:#06x}")));
    table.list("llc", of(pseudo::LLC).flat_map(numbers).map(|number| format!("{number:#04x}")));
    table
}

fn range(low: u16, high: u16) -> String {
    if low == high { low.to_string() } else { format!("{low}-{high}") }
}

/// Whole types as a range of types, single codes at its ends as `type/code`.
fn messages(selector: &Selector) -> Vec<String> {
    let code = |value: u16| format!("{}/{}", value >> 8, value & LAST_CODE);
    let (low, high) = (selector.low, selector.high);
    let first = if low & LAST_CODE == 0 { low >> 8 } else { (low >> 8) + 1 };
    let last = if high & LAST_CODE == LAST_CODE { i32::from(high >> 8) } else { i32::from(high >> 8) - 1 };
    if i32::from(first) > last {
        return (low..=high).map(code).collect();
    }
    let last = u16::try_from(last).unwrap_or_default();
    let before = (low..first << 8).map(code);
    let after = (u32::from(last + 1) << 8..=u32::from(high)).filter_map(|value| u16::try_from(value).ok());
    before.chain([range(first, last)]).chain(after.map(code)).collect()
}
