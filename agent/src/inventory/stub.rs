//! A policy entry for a device that has none, for a person to finish.

use std::{collections::BTreeSet, fmt::Write, net::IpAddr};

use super::{Evidence, Kind, Listed, Of, Vendor};

/// Bytes of the longest name that is made; names of the policy may have more.
const MOST_NAME: usize = 40;
/// Addresses that an entry names.
const MOST_ADDRESSES: usize = 8;

/// A policy file with one device, valid as it is, and what is known of it as comments. `taken` are names that others have.
pub fn stub(listed: &Listed, taken: &BTreeSet<String>) -> String {
    let device = &listed.device;
    let mut text = String::from("version = 1\n\n");
    let mut say = |line: String| {
        let _ = writeln!(text, "{}", line.trim_end());
    };
    say(format!(
        "# Seen from {} to {}. What follows it says of itself, unproved:",
        device.first, device.last
    ));
    if let Some(registered) = &listed.registered {
        say(format!("# hardware address: {registered}"));
    }
    for fact in &device.facts {
        say(format!("# {}: {} ({})", fact.kind.name(), fact.value, fact.evidence.name()));
    }
    say(format!("[device.{}]", name(listed, taken)));
    if let Of::Mac(mac) = device.of {
        say(format!("mac     = [\"{mac}\"]"));
    }
    let asks = device.facts.iter().any(|fact| fact.evidence == Evidence::Dhcp);
    let own: Vec<String> = listed
        .addresses
        .iter()
        .filter(|address| is_lasting(**address))
        .map(|ip| format!("\"{ip}\""))
        .collect();
    match (device.of, &own[..]) {
        (Of::Mac(_), _) if asks => say("ip      = \"dhcp\"".to_owned()),
        (_, []) => {}
        (_, own) => say(format!("ip      = [{}]", own[..own.len().min(MOST_ADDRESSES)].join(", "))),
    }
    if let Some(suggested) = &listed.suggested {
        let (class, confidence) = (suggested.class, suggested.confidence.name());
        say(format!("# class = \"{class}\"   # {confidence}: {}", suggested.because.join("; ")));
    }
    say("mode    = \"monitor\"".to_owned());
    text
}

/// Whether an address is one that a policy can name.
fn is_lasting(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    }
}

/// What it calls itself, else who made it with the end of its address.
fn name(listed: &Listed, taken: &BTreeSet<String>) -> String {
    let names = listed.device.of_kind(Kind::Name);
    let said = names.iter().min_by_key(|fact| (fact.evidence, std::cmp::Reverse(fact.last)));
    let tail = match listed.device.of {
        Of::Mac(mac) => mac.to_string().replace(':', "")[6..].to_owned(),
        Of::Address(address) => address.to_string(),
    };
    let maker = match &listed.registered {
        Some(Vendor::Named(name)) => name.split_whitespace().next().unwrap_or("device"),
        Some(Vendor::Local | Vendor::Unknown) | None => "device",
    };
    let said = said.map(|fact| slug(&fact.value)).filter(|name| !name.is_empty());
    let name = said.unwrap_or_else(|| slug(&format!("{maker}-{tail}")));
    if !taken.contains(&name) {
        return name;
    }
    (2..).map(|n| format!("{name}-{n}")).find(|name| !taken.contains(name)).unwrap_or(name)
}

/// A key of TOML that is a name of the policy.
fn slug(words: &str) -> String {
    let mut name = String::new();
    for c in words.chars() {
        let c = if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        if c != '-' || !(name.is_empty() || name.ends_with('-')) {
            name.push(c);
        }
    }
    name.truncate(MOST_NAME);
    name.trim_end_matches('-').to_owned()
}
