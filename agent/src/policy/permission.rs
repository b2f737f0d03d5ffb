//! The lines of a policy file that permit a conversation. In: its ends and its service, in words or numbers. Out: text, with declarations of
//! what has no name yet.

use std::net::IpAddr;

use super::numeric;

/// An entry of the allow list at the end that is a device. Rules use names, so what has none gets one here. None where neither end is one.
pub fn permission(from: &str, to: &str, service: &str, is_device: impl Fn(&str) -> bool) -> Option<String> {
    let (device, side, peer) = match (is_device(from), is_device(to)) {
        (_, true) => (to, "from", from),
        (true, false) => (from, "to", to),
        (false, false) => return None,
    };
    let (peer, network) = named_peer(peer);
    let (service, declared) = named(service);
    Some(format!(
        "[[device.{device}.allow]]\n{side} = [\"{peer}\"]\nservice = [\"{service}\"]\n{network}{declared}"
    ))
}

/// A peer by name, with its declaration when it was asked for by address.
fn named_peer(word: &str) -> (String, String) {
    let Ok(address) = word.parse::<IpAddr>() else { return (word.to_owned(), String::new()) };
    let name = format!("host-{}", word.replace(['.', ':'], "-"));
    if address.is_multicast() {
        let declaration = format!("\n[multicast.{name}]\nip = [\"{address}\"]\n");
        return (format!("multicast:{name}"), declaration);
    }
    let declaration = format!("\n[network.{name}]\ncidr = [\"{}\"]\n", ipnet::IpNet::from(address));
    (name, declaration)
}

/// A service by name, with its declaration when it was asked for by number.
fn named(word: &str) -> (String, String) {
    let Some((kind, number)) = word.split_once('/').filter(|_| numeric(word).is_some()) else {
        return (word.to_owned(), String::new());
    };
    let key = if kind == "ip" { "protocol" } else { kind };
    let name = format!("{kind}-{number}");
    let declaration = format!("\n[service.{name}]\n{key} = [\"{number}\"]\n");
    (name, declaration)
}
