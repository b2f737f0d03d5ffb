//! A class, or a device, of a policy -> a description of it (RFC 8520), for networks that other people's gateways guard.
//!
//! Addresses and DNS names are told as they are. Devices, classes, zones and groups mean nothing elsewhere: they are told as controllers with a name of
//! this policy, which [`super::read`] understands.

use std::net::{IpAddr, Ipv4Addr};

use bulkhead_common::wire::protocol;
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::{Effect, Note, OURS, meaning::is_multicast};
use crate::{
    diagnostic::closest,
    model::{ClassId, Holder, Mac, Multicast, Network, Peer, Policy, Rule, Selector, pseudo},
};

/// How often the description should be asked for again, hours (RFC 8520 3.5: 1 to 168).
const VALIDITY: u64 = 48;
/// Every host of a link (RFC 919 7).
const EVERYBODY: IpAddr = IpAddr::V4(Ipv4Addr::BROADCAST);

/// A description, and what it does not say as the policy does.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// The document.
    pub document: Value,
    /// Sorted.
    pub notes: Vec<Note>,
}

/// There is nothing to describe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// No such name.
    #[error("`{name}` is no class or device of this policy{}", hint.as_ref().map(|hint| format!("\nhelp: did you mean `{hint}`?")).unwrap_or_default())]
    Unknown {
        /// As it was asked.
        name: String,
        /// The nearest name there is.
        hint: Option<String>,
    },
    /// A URL that is none.
    #[error("`{0}` is no URL of a description\nhelp: RFC 8520 wants one that begins with `https://`")]
    Url(String),
}

/// Describes a class (`class:NAME` or its name), or a device with what it has by itself and of its class. `now` is the time of the last update, RFC 3339.
///
/// # Errors
/// When there is no such thing, or the URL is none.
pub fn export(policy: &Policy, name: &str, url: &str, now: &str) -> Result<Exported, ExportError> {
    if !url
        .strip_prefix("https://")
        .is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
    {
        return Err(ExportError::Url(url.to_owned()));
    }
    let (holders, info) = holders(policy, name)?;
    let mut writer = Writer { policy, from: Vec::new(), to: Vec::new(), notes: Vec::new() };
    for rule in policy.rules.iter().filter(|rule| holders.contains(&rule.holder)) {
        writer.rule(rule, &holders);
    }
    let Writer { policy: _, from, to, mut notes } = writer;
    notes.sort();
    notes.dedup();
    let lists = [("from", from), ("to", to)].map(|(word, entries)| lists(word, entries));
    let named = |lists: &[Value]| {
        let names: Vec<Value> = lists.iter().map(|list| json!({ "name": list["name"] })).collect();
        json!({ "access-lists": { "access-list": names } })
    };
    let document = json!({
        "ietf-mud:mud": {
            "mud-version": 1,
            "mud-url": url,
            "last-update": now,
            "cache-validity": VALIDITY,
            "is-supported": true,
            "systeminfo": info,
            "from-device-policy": named(&lists[0]),
            "to-device-policy": named(&lists[1]),
        },
        "ietf-access-control-list:acls": { "acl": lists.concat() },
    });
    Ok(Exported { document, notes })
}

/// In whose name the rules stand, and what it is.
fn holders(policy: &Policy, name: &str) -> Result<(Vec<Holder>, String), ExportError> {
    let bare = name.strip_prefix("class:").unwrap_or(name);
    if let Some((class, id)) = policy.classes.iter().zip(0..).find(|(class, _)| class.name == bare) {
        let info = class.comment.clone().unwrap_or_else(|| class.name.clone());
        return Ok((vec![Holder::Class(ClassId(id))], info));
    }
    if let Some((id, device)) = policy.device(name) {
        let of_class = device.class.map(Holder::Class);
        let info = device.comment.clone().unwrap_or_else(|| device.name.clone());
        return Ok(([Some(Holder::Device(id)), of_class].into_iter().flatten().collect(), info));
    }
    let classes = policy.classes.iter().map(|class| class.name.as_str());
    let known = classes.chain(policy.devices.iter().map(|device| device.name.as_str()));
    Err(ExportError::Unknown { name: name.to_owned(), hint: closest(name, known).map(str::to_owned) })
}

/// Entries by the families of addresses that a list may hold (RFC 8519 4.1).
fn lists(word: &str, entries: Vec<(Family, Value)>) -> Vec<Value> {
    [Family::V4, Family::V6, Family::Frames]
        .into_iter()
        .filter_map(|family| {
            let own: Vec<Value> =
                entries.iter().filter(|(of, _)| *of == family).map(|(_, entry)| entry.clone()).collect();
            let name = format!("{word}-{}", family.word());
            (!own.is_empty()).then(|| json!({ "name": name, "type": family.list(), "aces": { "ace": own } }))
        })
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
    Frames,
}

impl Family {
    fn word(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
            Self::Frames => "ethernet",
        }
    }

    fn list(self) -> &'static str {
        match self {
            Self::V4 => "ipv4-acl-type",
            Self::V6 => "ipv6-acl-type",
            Self::Frames => "eth-acl-type",
        }
    }
}

/// Who the other end is, as an entry says it.
enum Party {
    Prefix(IpNet),
    Dns(String),
    Controller(String),
    Frames(Option<Mac>),
}

struct Writer<'p> {
    policy: &'p Policy,
    /// Entries for what leaves the device, and for what reaches it.
    from: Vec<(Family, Value)>,
    to: Vec<(Family, Value)>,
    notes: Vec<Note>,
}

impl Writer<'_> {
    fn rule(&mut self, rule: &Rule, holders: &[Holder]) {
        let place = format!("{}:{}", rule.location.path, rule.location.line);
        if rule.schedule.is_some() {
            let why = "it holds at times only, and a description always";
            return self.left_out(&place, why);
        }
        let is_own = |peer: &Peer| match peer {
            Peer::Device(id) => holders.contains(&Holder::Device(*id)),
            Peer::Class(id) => holders.contains(&Holder::Class(*id)),
            Peer::Zone(_) | Peer::Group(_) | Peer::Network(_) | Peer::Multicast(_) => false,
            Peer::Gateway | Peer::Broadcast | Peer::Any => false,
        };
        let begins = rule.initiators.iter().all(is_own);
        let others = if begins { &rule.responders } else { &rule.initiators };
        for peer in others {
            for party in self.parties(*peer) {
                for service in &rule.services {
                    let selectors = self.policy.services[service.0 as usize].selectors.clone();
                    for selector in selectors {
                        self.permission(begins, &party, selector, &place);
                    }
                }
            }
        }
    }

    fn left_out(&mut self, place: &str, why: &str) {
        self.notes.push(Note { about: place.to_owned(), effect: Effect::LeftOut, why: why.to_owned() });
    }

    fn parties(&self, peer: Peer) -> Vec<Party> {
        let ours = |name: &str| vec![Party::Controller(format!("{OURS}{name}"))];
        match peer {
            Peer::Gateway => vec![Party::Controller("urn:ietf:params:mud:gateway".to_owned())],
            Peer::Broadcast => {
                vec![Party::Prefix(IpNet::from(EVERYBODY)), Party::Frames(Some(Mac([0xff; 6])))]
            }
            Peer::Network(id) => {
                let network = &self.policy.networks[id.0 as usize];
                let Network { name, cidrs, except, names, comment: _, location: _ } = network;
                // A name with a star is none for an access list, and an exception needs a denial.
                if !except.is_empty() || names.iter().any(|name| name.starts_with("*.")) {
                    return ours(name);
                }
                let prefixes = cidrs.iter().copied().map(Party::Prefix);
                prefixes.chain(names.iter().cloned().map(Party::Dns)).collect()
            }
            Peer::Multicast(id) => {
                let Multicast { name: _, cidrs, macs, built_in: _ } = &self.policy.multicasts[id.0 as usize];
                let frames = macs.iter().map(|mac| Party::Frames(Some(*mac)));
                cidrs.iter().copied().map(Party::Prefix).chain(frames).collect()
            }
            Peer::Any => vec![Party::Controller(format!("{OURS}any")), Party::Frames(None)],
            Peer::Device(_) | Peer::Class(_) | Peer::Zone(_) | Peer::Group(_) => {
                ours(&self.policy.peer_name(peer))
            }
        }
    }

    /// The entries for one permission: one for each direction of the conversation, where there is an answer.
    fn permission(&mut self, begins: bool, party: &Party, selector: Selector, place: &str) {
        let families = match (party, selector.protocol) {
            (Party::Frames(_), pseudo::ETHERTYPE) => vec![Family::Frames],
            // A group has addresses for IP and for frames, and each service is one of them.
            (Party::Frames(_), protocol) if protocol != pseudo::LLC => return,
            (Party::Controller(uri), pseudo::ETHERTYPE) if uri.strip_prefix(OURS) == Some("any") => return,
            (Party::Prefix(prefix), pseudo::ETHERTYPE) if is_group(prefix) => return,
            (_, pseudo::ETHERTYPE | pseudo::LLC) => {
                return self.left_out(
                    place,
                    "frames that are not IP can be said to a group or by their ethertype alone",
                );
            }
            (_, protocol::SCTP) if (selector.low, selector.high) != (1, u16::MAX) => {
                return self.left_out(place, "ports of SCTP cannot be said");
            }
            (Party::Frames(_), _) => return,
            (Party::Prefix(prefix), _) if prefix.addr().is_ipv4() => vec![Family::V4],
            (Party::Prefix(_), _) => vec![Family::V6],
            (Party::Dns(_) | Party::Controller(_), protocol::ICMP) => vec![Family::V4],
            (Party::Dns(_) | Party::Controller(_), protocol::ICMPV6) => vec![Family::V6],
            (Party::Dns(_) | Party::Controller(_), _) => vec![Family::V4, Family::V6],
        };
        let is_answered = !matches!(party, Party::Prefix(prefix) if is_group(prefix));
        for family in families {
            let is_icmp = matches!(selector.protocol, protocol::ICMP | protocol::ICMPV6);
            if is_icmp && (family == Family::V4) != (selector.protocol == protocol::ICMP) {
                continue;
            }
            for matches in layers(selector) {
                // Who begins sends the question; the answer of what has no ports is the same entry the other way.
                let has_ports = matches!(selector.protocol, protocol::TCP | protocol::UDP);
                self.entry(begins, begins, family, party, selector, &matches, false);
                if has_ports && is_answered {
                    self.entry(!begins, begins, family, party, selector, &matches, true);
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one entry is what these say together")]
    fn entry(
        &mut self,
        leaves: bool,
        begins: bool,
        family: Family,
        party: &Party,
        selector: Selector,
        layer: &[(String, Value)],
        is_answer: bool,
    ) {
        let mut matches = Map::new();
        let (other, side) = if leaves { ("destination", "dst") } else { ("source", "src") };
        let mut internet = Map::new();
        match party {
            Party::Prefix(prefix) => {
                internet.insert(format!("{other}-{}-network", family.word()), json!(prefix.to_string()));
            }
            Party::Dns(name) => {
                internet.insert(format!("ietf-acldns:{side}-dnsname"), json!(name));
            }
            Party::Controller(uri) => {
                matches.insert("ietf-mud:mud".to_owned(), json!({ "controller": uri }));
            }
            Party::Frames(mac) => {
                let mut frames =
                    Map::from_iter([("ethertype".to_owned(), json!(format!("{:#06x}", selector.low)))]);
                frames.extend(
                    mac.iter().map(|mac| ("destination-mac-address".to_owned(), json!(mac.to_string()))),
                );
                matches.insert("eth".to_owned(), Value::Object(frames));
            }
        }
        if family != Family::Frames {
            internet.insert("protocol".to_owned(), json!(selector.protocol));
            matches.insert(family.word().to_owned(), Value::Object(internet));
        }
        for (key, value) in layer {
            let mut value = value.clone();
            if let Some(ports) = value.as_object_mut().filter(|_| key == "tcp" || key == "udp") {
                if is_answer && let Some(port) = ports.remove("destination-port") {
                    ports.insert("source-port".to_owned(), port);
                }
                if key == "tcp" {
                    let word = if begins { "from-device" } else { "to-device" };
                    ports.insert("ietf-mud:direction-initiated".to_owned(), json!(word));
                }
            }
            matches.insert(key.clone(), value);
        }
        let list = if leaves { &mut self.from } else { &mut self.to };
        let name = format!("{}{}", if leaves { "from-" } else { "to-" }, list.len());
        list.push((
            family,
            json!({ "name": name, "matches": matches, "actions": { "forwarding": "accept" } }),
        ));
    }
}

/// Whether nobody in particular answers from there.
fn is_group(prefix: &IpNet) -> bool {
    is_multicast(prefix) || prefix.addr() == EVERYBODY
}

/// What stands above IP in the entries for a selector: one for each, since ICMP has no ranges.
fn layers(Selector { protocol, low, high }: Selector) -> Vec<Vec<(String, Value)>> {
    let ports = |word: &str| {
        // All ports too: where no port is named, nothing tells a question from its answer.
        let ports = if low == high {
            json!({ "operator": "eq", "port": low })
        } else {
            json!({ "lower-port": low, "upper-port": high })
        };
        vec![vec![(word.to_owned(), json!({ "destination-port": ports }))]]
    };
    match protocol {
        protocol::TCP => ports("tcp"),
        protocol::UDP => ports("udp"),
        protocol::ICMP | protocol::ICMPV6 if (low, high) == (0, u16::MAX) => vec![Vec::new()],
        protocol::ICMP | protocol::ICMPV6 if low == high => {
            let [kind, code] = low.to_be_bytes();
            vec![vec![("icmp".to_owned(), json!({ "type": kind, "code": code }))]]
        }
        protocol::ICMP | protocol::ICMPV6 => {
            (low >> 8..=high >> 8).map(|kind| vec![("icmp".to_owned(), json!({ "type": kind }))]).collect()
        }
        _ => vec![Vec::new()],
    }
}
