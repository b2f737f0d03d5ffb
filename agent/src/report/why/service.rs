//! The third word of a question: a service by name or by number. In: the word. Out: selectors, and what a packet of one is.

use bulkhead_common::wire::{protocol, pseudo};

use super::AskError;
use crate::{
    diagnostic::closest,
    model::{Policy, Selector},
    policy::{built_in, numeric},
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
