//! A policy as an nftables ruleset, written from the model alone: no table, class or identity of the agent is in it.
//!
//! In: a policy whose devices all enforce. Out: text for `nft -f`, or what of the policy has no words in it.
//! Conversations are conntrack's: a rule admits what begins one (`ct state new`), and `established` and `related` carry
//! the rest. What conntrack has no state for (types of ICMP that ask nothing) is admitted without.

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
};

use bulkhead_agent::model::{Device, DeviceId, Mode, Peer, Policy, Selector};
use bulkhead_tests::lab::Namespace;
use ipnet::IpNet;

use super::frames::{ICMP, ICMPV6, SCTP, TCP, UDP};

/// Whom one end of a rule may be: `None` is everybody.
type Who = Vec<Option<IpNet>>;

/// The ruleset: everything that is forwarded and that no line admits is dropped.
pub(crate) fn ruleset(policy: &Policy) -> Result<String, String> {
    let mut text = String::from(
        "flush ruleset\ntable inet judge {\n  chain forward {\n    type filter hook forward priority 0; policy drop;\n",
    );
    quarantine(policy, &mut text)?;
    text.push_str("    ct state established accept\n");
    // A redirect (type 5) is no error: it rewrites routes.
    text.push_str("    ct state related icmp type { 3, 4, 11, 12 } accept\n");
    text.push_str("    ct state related icmpv6 type { 1, 2, 3, 4 } accept\n");
    for rule in &policy.rules {
        let initiators = who(policy, &rule.initiators)?;
        let responders = who(policy, &rule.responders)?;
        for id in &rule.services {
            for selector in &policy.services[id.0 as usize].selectors {
                for matches in service(*selector)? {
                    admit(&initiators, &responders, &matches, &mut text);
                }
            }
        }
    }
    text.push_str("  }\n}\n");
    Ok(text)
}

/// Each quarantined end needs the other to be a remediation peer; what is left of its rules holds only with a peer that
/// is itself a device, and a network is reached without any.
fn quarantine(policy: &Policy, text: &mut String) -> Result<(), String> {
    let peers = who(policy, &policy.remediation)?;
    let held: Vec<&Device> = policy.devices.iter().filter(|device| device.mode == Mode::Quarantine).collect();
    let addresses = |devices: &[&Device]| -> Who {
        devices.iter().flat_map(|device| &device.addresses).map(|ip| Some(IpNet::from(*ip))).collect()
    };
    let held = addresses(&held);
    if held.is_empty() {
        return Ok(());
    }
    // Both directions of both questions: a chain returns when the other end is a peer, and drops otherwise.
    for (end, other, at) in [("saddr", "daddr", "source"), ("daddr", "saddr", "destination")] {
        let mut chain = format!("  chain peer_of_{at} {{\n");
        for peer in peers.iter().flatten() {
            writeln!(chain, "    {} return", address(*peer, other)).expect("to a string");
        }
        if !peers.contains(&None) {
            chain.push_str("    drop\n");
        }
        chain.push_str("  }\n");
        let table = text.find("  chain forward").expect("it was written first");
        text.insert_str(table, &chain);
        for device in held.iter().flatten() {
            writeln!(text, "    {} jump peer_of_{at}", address(*device, end)).expect("to a string");
        }
    }
    // Nobody protected at the other end: there is nobody whose rules could be asked.
    let protected: Vec<&Device> = policy.devices.iter().collect();
    let mut chain = String::from("  chain unprotected {\n");
    for device in addresses(&protected).iter().flatten() {
        for other in held.iter().flatten().filter(|held| same_family(**held, *device)) {
            for (one, two) in [("saddr", "daddr"), ("daddr", "saddr")] {
                let line = format!("{} {} return", address(*other, one), address(*device, two));
                writeln!(chain, "    {line}").expect("to a string");
            }
        }
    }
    chain.push_str("    accept\n  }\n");
    let table = text.find("  chain forward").expect("it was written first");
    text.insert_str(table, &chain);
    for device in held.iter().flatten() {
        for end in ["saddr", "daddr"] {
            writeln!(text, "    {} jump unprotected", address(*device, end)).expect("to a string");
        }
    }
    Ok(())
}

fn who(policy: &Policy, peers: &[Peer]) -> Result<Who, String> {
    let mut found = Vec::new();
    for peer in peers {
        match peer {
            Peer::Device(_) | Peer::Class(_) | Peer::Zone(_) | Peer::Group(_) => {
                let devices = (0..).map(DeviceId).zip(&policy.devices);
                let meant = devices.filter(|(id, _)| policy.means(*peer, *id));
                let addresses = meant.flat_map(|(_, device)| &device.addresses);
                found.extend(addresses.map(|ip| Some(IpNet::from(*ip))));
            }
            Peer::Network(id) => found.extend(policy.networks[id.0 as usize].cidrs.iter().copied().map(Some)),
            Peer::Any => found.push(None),
            Peer::Gateway | Peer::Broadcast | Peer::Multicast(_) => {
                return Err(format!("`{}` is forwarded by no router", policy.peer_name(*peer)));
            }
        }
    }
    Ok(found)
}

/// One line for every two ends of one family.
fn admit(initiators: &Who, responders: &Who, matches: &str, text: &mut String) {
    for initiator in initiators {
        for responder in responders {
            let ends = match (initiator, responder) {
                (Some(from), Some(to)) if !same_family(*from, *to) => continue,
                (Some(from), Some(to)) => format!("{} {}", address(*from, "saddr"), address(*to, "daddr")),
                (Some(from), None) => address(*from, "saddr"),
                (None, Some(to)) => address(*to, "daddr"),
                (None, None) => String::new(),
            };
            writeln!(text, "    {ends} {matches} accept").expect("to a string");
        }
    }
}

fn same_family(a: IpNet, b: IpNet) -> bool {
    a.addr().is_ipv4() == b.addr().is_ipv4()
}

fn address(net: IpNet, end: &str) -> String {
    match net {
        // nft turns a prefix of length zero into no match at all, and with it loses the family.
        IpNet::V4(_) if net.prefix_len() == 0 => "meta nfproto ipv4".to_owned(),
        IpNet::V6(_) if net.prefix_len() == 0 => "meta nfproto ipv6".to_owned(),
        IpNet::V4(_) => format!("ip {end} {net}"),
        IpNet::V6(_) => format!("ip6 {end} {net}"),
    }
}

/// What begins a conversation over a service, in one or more lines.
fn service(selector: Selector) -> Result<Vec<String>, String> {
    let Selector { protocol, low, high } = selector;
    Ok(match protocol {
        TCP => vec![format!("tcp dport {low}-{high} ct state new")],
        UDP => vec![format!("udp dport {low}-{high} ct state new")],
        SCTP => vec![format!("sctp dport {low}-{high} ct state new")],
        ICMP => messages("icmp", low, high, &[8, 13, 15, 17], &[0, 14, 16, 18]),
        ICMPV6 => messages("icmpv6", low, high, &[128], &[129]),
        254.. => return Err("a frame that is not IP is forwarded by no router".to_owned()),
        _ => vec![format!("meta l4proto {protocol} ct state new")],
    })
}

/// Types (and codes) of ICMP: a request begins a conversation, a reply never does, anything else stands for itself.
fn messages(family: &str, low: u16, high: u16, requests: &[u8], replies: &[u8]) -> Vec<String> {
    let ([first, low_code], [last, high_code]) = (low.to_be_bytes(), high.to_be_bytes());
    let code = if (low_code, high_code) == (0, 255) {
        String::new()
    } else {
        format!(" {family} code {low_code}-{high_code}")
    };
    let mut lines: Vec<String> = requests
        .iter()
        .filter(|kind| (first..=last).contains(kind))
        .map(|kind| format!("{family} type {kind}{code} ct state new"))
        .collect();
    let known: Vec<u8> = requests.iter().chain(replies).copied().collect();
    let mut from = None;
    for kind in u16::from(first)..=u16::from(last) + 1 {
        let inside = kind <= u16::from(last) && !known.iter().any(|known| u16::from(*known) == kind);
        match (inside, from) {
            (true, None) => from = Some(kind),
            (false, Some(start)) => {
                lines.push(format!("{family} type {start}-{}{code}", kind - 1));
                from = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    lines
}

/// Replaces the ruleset of a namespace between two packets.
pub(crate) fn load(namespace: &Namespace, ruleset: &str) {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = namespace.spawn_child(command).expect("nft was there a moment ago");
    let mut input = child.stdin.take().expect("it is piped");
    // nft reads everything before it says anything.
    input.write_all(ruleset.as_bytes()).expect("nft reads");
    drop(input);
    let output = child.wait_with_output().expect("nft ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft refuses the ruleset: {said}\n{ruleset}");
}

/// Why nft cannot judge on this machine, if it cannot.
pub(crate) fn missing() -> Option<String> {
    match Command::new("nft").arg("--version").output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("`nft --version` failed: {}", output.status)),
        Err(error) => Some(format!("`nft` cannot be run: {error}; install nftables")),
    }
}
