//! Why may FROM reach TO over SERVICE, or why not: the first packet of such a conversation is made up and
//! given to [`decide`], the function that enforces. The answer names the rule with its file and line, or
//! what is missing.

use std::net::Ipv4Addr;

use bulkhead_common::{
    decide::{Decision, Verdict, decide},
    lookup::Rules,
    parse::{Kind, Packet},
    wire::{ethertype, icmp, mac, protocol, tcp},
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    compile::Tables,
    diagnostic::closest,
    model::{Device, Policy, Selector},
    policy::built_in,
};

/// The question, in words that mean something to the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    from: End,
    to: End,
    service: Selector,
    words: [String; 3],
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    address: Ipv4Addr,
    mac: u64,
    vlan: u16,
    gateway: bool,
}

/// What the policy says of such a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Who starts.
    pub from: String,
    /// Who answers.
    pub to: String,
    /// Over what.
    pub service: String,
    /// The first packet, as it was made up for the question.
    pub packet: String,
    /// `allow` or `deny`.
    pub verdict: String,
    /// The word for the grant or reason.
    pub reason: String,
    /// The reason in a sentence.
    pub explanation: String,
    /// `pass` or `drop`: what happens to the packet in the modes of today.
    pub action: String,
    /// The strictest mode of the ends.
    pub mode: String,
    /// The rule that allows it.
    pub rule: Option<RuleRef>,
    /// What would allow it, as lines for a policy file.
    pub missing: Option<String>,
    /// Whether the kernel's tables gave the same verdict; absent when no agent was asked.
    pub kernel_agrees: Option<bool>,
}

/// A rule and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRef {
    /// The rule in one line.
    pub text: String,
    /// In whose allow list it stands.
    pub device: String,
    /// The class it was inherited from.
    pub class: Option<String>,
    /// `file:line`.
    pub place: String,
    /// Why it exists.
    pub comment: Option<String>,
}

/// The question cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// A name that means nothing here.
    #[error("`{name}` is no {kind} of this policy{}", hint.as_ref().map(|h| format!("\nhelp: did you mean `{h}`?")).unwrap_or_default())]
    Unknown {
        /// As it was asked.
        name: String,
        /// What it should have been.
        kind: &'static str,
        /// The nearest name there is.
        hint: Option<String>,
    },
    /// A device or network without an IPv4 address.
    #[error("`{name}` has no IPv4 address, so no IPv4 packet can come from it or go to it")]
    NoAddress {
        /// As it was asked.
        name: String,
    },
}

impl Question {
    /// Understands the three words: a device, a network, `gateway` or an address on either side; a service,
    /// or `tcp/502`, `udp/161`, `icmp/8`.
    ///
    /// # Errors
    /// [`AskError`] names the word and the nearest one that would do.
    pub fn new(
        policy: &Policy,
        from: &str,
        to: &str,
        service: &str,
        gateway: Option<Ipv4Addr>,
    ) -> Result<Self, AskError> {
        // An address of a device means the device: rules name it so.
        let word = |word: &str| {
            let device = word.parse::<Ipv4Addr>().ok().and_then(|address| policy.device_of(address.into()));
            device.map_or(word, |device| &device.name).to_owned()
        };
        Ok(Self {
            from: End::named(policy, from, gateway, STRANGER)?,
            to: End::named(policy, to, gateway, NEXT_HOP)?,
            service: selector(policy, service)?,
            words: [word(from), word(to), service.to_owned()],
        })
    }

    /// The gateway's address in the question, if it is in it.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        [&self.from, &self.to].into_iter().find(|end| end.gateway).map(|end| end.address)
    }

    /// Asks tables of any kind. Ids in the decision are those of the tables asked.
    pub fn ask<R: Rules>(&self, rules: &R) -> Decision {
        decide(&self.packet(), rules)
    }

    /// The first packet of the conversation. What the gateway itself sends never passes XDP, so for the
    /// gateway it is the answer to its request.
    fn packet(&self) -> Packet {
        let Selector { protocol, low, high: _ } = self.service;
        let mut packet = Packet {
            len: 60,
            kind: Kind::Ipv4,
            ethertype: ethertype::IPV4,
            vlan: self.from.vlan,
            source_mac: self.from.mac,
            destination_mac: self.to.mac,
            source: u32::from(self.from.address),
            destination: u32::from(self.to.address),
            protocol,
            source_port: EPHEMERAL,
            destination_port: low,
            service_port: low,
            tcp_flags: if protocol == protocol::TCP { tcp::SYN } else { 0 },
            ..Packet::EMPTY
        };
        if protocol == protocol::ICMP {
            packet.icmp_type = low.to_be_bytes()[0];
            packet.source_port = EPHEMERAL;
            packet.destination_port = EPHEMERAL;
        }
        if self.from.gateway {
            (packet.source, packet.destination) = (packet.destination, packet.source);
            (packet.source_mac, packet.destination_mac) = (self.to.mac, NEXT_HOP);
            packet.vlan = self.to.vlan;
            if protocol == protocol::ICMP {
                let reply = (0..=u8::MAX).find(|reply| icmp::request_of(*reply) == Some(packet.icmp_type));
                packet.icmp_type = reply.unwrap_or(packet.icmp_type);
                packet.service_port = u16::from(packet.icmp_type) << 8;
            } else {
                (packet.source_port, packet.destination_port) = (low, EPHEMERAL);
                packet.service_port = EPHEMERAL;
                packet.tcp_flags = if protocol == protocol::TCP { tcp::SYN | tcp::ACK } else { 0 };
            }
        }
        packet
    }

    /// Puts a decision into words. `rule` is its rule's entry in the tables, if it has one.
    pub fn answer(&self, tables: &Tables, decision: &Decision, rule: Option<u32>) -> Answer {
        let (verdict, reason, explanation) = match decision.verdict {
            Verdict::Allow(grant) => ("allow", grant.name(), grant.text()),
            Verdict::Deny(reason) => ("deny", reason.name(), reason.text()),
        };
        let rule = rule.and_then(|id| tables.rule(id)).map(|entry| RuleRef {
            text: entry.text.clone(),
            device: entry.device.clone(),
            class: entry.class.clone(),
            place: format!("{}:{}", entry.location.path, entry.location.line),
            comment: entry.comment.clone(),
        });
        let [from, to, service] = self.words.clone();
        Answer {
            packet: self.describe(),
            verdict: verdict.to_owned(),
            reason: reason.to_owned(),
            explanation: explanation.to_owned(),
            action: match decision.action {
                bulkhead_common::decide::Action::Pass => "pass".to_owned(),
                bulkhead_common::decide::Action::Drop => "drop".to_owned(),
            },
            mode: decision.mode.name().to_owned(),
            missing: if rule.is_none() && verdict == "deny" { self.missing(tables) } else { None },
            rule,
            kernel_agrees: None,
            from,
            to,
            service,
        }
    }

    fn describe(&self) -> String {
        let Selector { protocol, low, high: _ } = self.service;
        let what = match protocol {
            protocol::TCP => format!("TCP SYN to port {low}"),
            protocol::UDP => format!("UDP to port {low}"),
            _ => format!("ICMP type {} code {}", low >> 8, low & 0xff),
        };
        let how = if self.from.gateway { " (judged by its answer)" } else { "" };
        format!("{} -> {} {what}{how}", self.from.address, self.to.address)
    }

    /// The lines that would allow it, at the end that is a device. Rules use names, so what has none gets one here.
    fn missing(&self, tables: &Tables) -> Option<String> {
        let [from, to, service] = &self.words;
        let is_device = |name: &String| tables.devices.iter().any(|d| d.name == *name);
        let (device, side, peer) = match (is_device(from), is_device(to)) {
            (_, true) => (to, "from", from),
            (true, false) => (from, "to", to),
            (false, false) => return None,
        };
        let (peer, network) = named_peer(peer);
        let (service, declared) = named_service(service);
        Some(format!(
            "[[device.{device}.allow]]\n{side} = [\"{peer}\"]\nservice = [\"{service}\"]\n{network}{declared}"
        ))
    }
}

/// A service by name, with its declaration when it was asked for by number.
fn named_service(word: &str) -> (String, String) {
    let Some((protocol, number)) = word.split_once('/').filter(|_| numeric(word).is_some()) else {
        return (word.to_owned(), String::new());
    };
    let name = format!("{protocol}-{number}");
    let declaration = format!("\n[service.{name}]\n{protocol} = [\"{number}\"]\n");
    (name, declaration)
}

/// A peer by name, with its declaration when it was asked for by address.
fn named_peer(word: &str) -> (String, String) {
    let Ok(address) = word.parse::<Ipv4Addr>() else { return (word.to_owned(), String::new()) };
    let name = format!("host-{}", word.replace('.', "-"));
    let declaration = format!("\n[network.{name}]\ncidr = [\"{address}/32\"]\n");
    (name, declaration)
}

/// A source port that no service has: the question must not meet a live flow.
const EPHEMERAL: u16 = 1;
/// Locally administered addresses of nobody: a stranger, and the router in between.
const STRANGER: u64 = 0x02_bb_00_00_00_01;
const NEXT_HOP: u64 = 0x02_bb_00_00_00_02;

impl End {
    fn named(policy: &Policy, name: &str, gateway: Option<Ipv4Addr>, nobody: u64) -> Result<Self, AskError> {
        let at = |address: Ipv4Addr| Self { address, mac: nobody, vlan: 0, gateway: false };
        let no_address = || AskError::NoAddress { name: name.to_owned() };
        if name == "gateway" {
            // Documentation address (RFC 5737) when the question is asked away from a gateway.
            let address = gateway.unwrap_or(Ipv4Addr::new(192, 0, 2, 1));
            return Ok(Self { gateway: true, ..at(address) });
        }
        if name == "any" {
            return Ok(at(Ipv4Addr::new(192, 0, 2, 99)));
        }
        if let Ok(address) = name.parse::<Ipv4Addr>() {
            return Ok(match policy.device_of(address.into()) {
                Some(device) => Self::device(device, address, nobody),
                None => at(address),
            });
        }
        if let Some((_, device)) = policy.device(name) {
            let address = *device.addresses.first().ok_or_else(no_address)?;
            return Ok(Self::device(device, address, nobody));
        }
        if let Some(network) = policy.networks.iter().find(|n| n.name == name) {
            let host = network.cidrs.iter().find_map(|cidr| match cidr {
                IpNet::V4(v4) => v4.hosts().find(|host| policy.device_of((*host).into()).is_none()),
                IpNet::V6(_) => None,
            });
            return Ok(at(host.ok_or_else(no_address)?));
        }
        let names = policy.devices.iter().map(|d| d.name.as_str());
        let names = names.chain(policy.networks.iter().map(|n| n.name.as_str())).chain(["gateway"]);
        let hint = closest(name, names).map(str::to_owned);
        Err(AskError::Unknown { name: name.to_owned(), kind: "device, network or address", hint })
    }

    fn device(device: &Device, address: Ipv4Addr, nobody: u64) -> Self {
        let mac = device.macs.first().map_or(nobody, |m| mac::from_octets(m.0));
        Self { address, mac, vlan: device.vlan.unwrap_or(0), gateway: false }
    }
}

fn selector(policy: &Policy, name: &str) -> Result<Selector, AskError> {
    let known = policy.service(name).map(|(_, service)| service.selectors.clone());
    if let Some(selectors) = known.or_else(|| built_in().get(name).cloned()) {
        return Ok(*selectors.first().expect("a service has at least one selector"));
    }
    if let Some(selector) = numeric(name) {
        return Ok(selector);
    }
    let names = policy.services.iter().map(|s| s.name.as_str()).chain(built_in().keys().map(String::as_str));
    let hint = closest(name, names).map(str::to_owned);
    Err(AskError::Unknown { name: name.to_owned(), kind: "service (nor of the form `tcp/502`)", hint })
}

fn numeric(text: &str) -> Option<Selector> {
    let (word, number) = text.split_once('/')?;
    let (protocol, low) = match word {
        "tcp" => (protocol::TCP, number.parse().ok()?),
        "udp" => (protocol::UDP, number.parse().ok()?),
        "icmp" => (protocol::ICMP, u16::from(number.parse::<u8>().ok()?) << 8),
        _ => return None,
    };
    Some(Selector { protocol, low, high: low })
}

#[cfg(test)]
mod tests;
