//! The JSON of a description -> its entries, in the form of RFC 8520 and of the drafts before it.
//!
//! In: text, which anybody may have written. Out: a [`Profile`], or what is wrong with the document as a whole. An entry that cannot be read is a
//! note, and the others are read all the same.

use std::{collections::BTreeMap, net::IpAddr};

use bulkhead_common::wire::protocol;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Map, Value};

use super::{
    Abstraction, Begins, Effect, MAX_BYTES, MAX_ENTRIES, Note, OURS, Party, Profile,
    meaning::{self, Entry, Transport},
    ports,
};
use crate::model::Mac;

/// Why a text is no description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is too large.
    #[error("it has {0} bytes, and a description has at most {MAX_BYTES}")]
    Large(usize),
    /// It is no JSON.
    #[error("it is no JSON: {0}")]
    Json(String),
    /// Something that every description has.
    #[error("`{0}` is missing or not what it should be (RFC 8520 3)")]
    Missing(String),
    /// A version nobody has described.
    #[error("`mud-version` is {0}, and RFC 8520 describes version 1")]
    Version(String),
    /// A list that is not there.
    #[error("`{policy}` names the access list `{name}`, which is not in the document")]
    NoList {
        /// From or to the device.
        policy: &'static str,
        /// The name.
        name: String,
    },
    /// Too many entries.
    #[error("it has more than {MAX_ENTRIES} entries")]
    Many,
}

/// The router (RFC 8520 has `dns` and `ntp` registered; this one is in wide use).
const GATEWAY: &str = "urn:ietf:params:mud:gateway";

type Object = Map<String, Value>;

/// Reads a description.
///
/// # Errors
/// When it is no description at all.
pub fn read(text: &str) -> Result<Profile, ReadError> {
    if text.len() > MAX_BYTES {
        return Err(ReadError::Large(text.len()));
    }
    let document: Value = serde_json::from_str(text).map_err(|error| ReadError::Json(error.to_string()))?;
    let missing = |what: &str| ReadError::Missing(what.to_owned());
    let mud =
        document.get("ietf-mud:mud").and_then(Value::as_object).ok_or_else(|| missing("ietf-mud:mud"))?;
    match mud.get("mud-version") {
        Some(version) if version.as_u64() == Some(1) => {}
        Some(version) => return Err(ReadError::Version(version.to_string())),
        None => return Err(missing("mud-version")),
    }
    let url = mud.get("mud-url").and_then(Value::as_str).ok_or_else(|| missing("mud-url"))?;
    let lists = lists(&document).ok_or_else(|| missing("ietf-access-control-list:acls"))?;
    let mut notes = Vec::new();
    let mut entries = Vec::new();
    let mut named = Vec::new();
    for (policy, begins) in [("from-device-policy", Begins::Device), ("to-device-policy", Begins::Peer)] {
        for name in names(mud, policy) {
            let list = *lists.get(name).ok_or_else(|| ReadError::NoList { policy, name: name.to_owned() })?;
            read_list(list, begins, &mut entries, &mut notes)?;
            named.push(name);
        }
    }
    for name in lists.keys().filter(|name| !named.contains(*name)) {
        notes.push(left_out(name, "no policy of the description names this list"));
    }
    let permissions = meaning::permissions(entries, &mut notes);
    notes.sort();
    notes.dedup();
    let info = mud.get("systeminfo").and_then(Value::as_str).map(str::to_owned);
    Ok(Profile { url: url.to_owned(), info, permissions, notes })
}

fn left_out(about: &str, why: impl Into<String>) -> Note {
    Note { about: about.to_owned(), effect: Effect::LeftOut, why: why.into() }
}

/// The access lists by their names: `acls` as the RFC has it, `access-lists` as drafts had it.
fn lists(document: &Value) -> Option<BTreeMap<&str, &Object>> {
    let of = |key: &str| document.get(format!("ietf-access-control-list:{key}"));
    let all = of("acls").or_else(|| of("access-lists"))?.get("acl")?.as_array()?;
    all.iter()
        .map(|list| Some((text(list.as_object()?, &["name", "acl-name"])?, list.as_object()?)))
        .collect()
}

/// The names of the lists of a policy.
fn names<'d>(mud: &'d Object, policy: &str) -> Vec<&'d str> {
    let lists = mud.get(policy).and_then(|policy| policy.get("access-lists")?.get("access-list")?.as_array());
    let named = lists.into_iter().flatten();
    named.filter_map(|list| text(list.as_object()?, &["name", "acl-name"])).collect()
}

/// The first of these keys that is there, if it is text.
fn text<'d>(object: &'d Object, keys: &[&str]) -> Option<&'d str> {
    keys.iter().find_map(|key| object.get(*key))?.as_str()
}

fn read_list(
    list: &Object,
    begins: Begins,
    entries: &mut Vec<Entry>,
    notes: &mut Vec<Note>,
) -> Result<(), ReadError> {
    let found = list.get("aces").and_then(|aces| aces.get("ace")?.as_array());
    let mut denial: Option<String> = None;
    for (at, ace) in found.into_iter().flatten().enumerate() {
        if entries.len() >= MAX_ENTRIES || notes.len() >= MAX_ENTRIES {
            return Err(ReadError::Many);
        }
        let name = ace.as_object().and_then(|ace| text(ace, &["name", "rule-name"]));
        let name = name.map_or_else(|| format!("entry {at}"), str::to_owned);
        let forwarding = ace.get("actions").and_then(|actions| actions.get("forwarding")?.as_str());
        // Identities may have the module's name in front (RFC 7951 6.8).
        match forwarding.map(|word| word.rsplit(':').next().unwrap_or(word)) {
            Some("accept") => {}
            Some("drop" | "reject") => {
                denial.get_or_insert(name);
                continue;
            }
            _ => {
                notes.push(left_out(&name, "it does not say what becomes of a packet"));
                continue;
            }
        }
        if let Some(denial) = &denial {
            let why = format!("`{denial}` before it denies some of it, and a policy has no deny rules");
            notes.push(left_out(&name, why));
            continue;
        }
        let matches = ace.get("matches").and_then(Value::as_object);
        let matched = matches.ok_or_else(|| "it matches nothing".to_owned());
        match matched.and_then(|matches| entry(&name, matches, begins)) {
            Ok(entry) => entries.push(entry),
            Err(why) => notes.push(left_out(&name, why)),
        }
    }
    Ok(())
}

/// One entry, or why it cannot be said.
fn entry(name: &str, matches: &Object, begins: Begins) -> Result<Entry, String> {
    let mut found = Found::default();
    for (key, value) in matches {
        let object = value.as_object().ok_or_else(|| format!("`{key}` is not what it should be"))?;
        match key.strip_suffix("-acl").unwrap_or(key) {
            "ietf-mud:mud" => found.mud(object)?,
            "ipv4" => found.internet(object, begins, true)?,
            "ipv6" => found.internet(object, begins, false)?,
            "tcp" => found.transport(object, begins, protocol::TCP)?,
            "udp" => found.transport(object, begins, protocol::UDP)?,
            "icmp" => found.icmp(object)?,
            "eth" => found.ethernet(object)?,
            other => return Err(format!("`{other}` cannot be said")),
        }
    }
    found.entry(name, begins)
}

/// What the matches of an entry have said so far.
#[derive(Default)]
struct Found {
    parties: Vec<Party>,
    is_v4: Option<bool>,
    protocol: Option<u8>,
    layer: Option<u8>,
    own: Option<ports::Ranges>,
    peer: Option<ports::Ranges>,
    initiated: Option<Begins>,
    icmp: Option<(u8, Option<u8>)>,
    ethertype: Option<u16>,
}

impl Found {
    fn mud(&mut self, object: &Object) -> Result<(), String> {
        for (key, value) in object {
            let word = || value.as_str().map(str::to_owned).ok_or_else(|| format!("`{key}` is no text"));
            self.parties.push(match key.as_str() {
                "controller" => controller(word()?),
                "my-controller" => Party::Abstract(Abstraction::MyController),
                "local-networks" => Party::Abstract(Abstraction::LocalNetworks),
                "same-manufacturer" => Party::Abstract(Abstraction::SameManufacturer),
                "manufacturer" => Party::Abstract(Abstraction::Manufacturer(word()?)),
                "model" => Party::Abstract(Abstraction::Model(word()?)),
                // RFC 8520 5 had it here before it went to TCP.
                "direction-initiated" => {
                    self.initiated = Some(initiated(value)?);
                    continue;
                }
                other => return Err(format!("`{other}` cannot be said")),
            });
        }
        Ok(())
    }

    fn internet(&mut self, object: &Object, begins: Begins, is_v4: bool) -> Result<(), String> {
        if self.is_v4.replace(is_v4).is_some() {
            return Err("it matches IPv4 and IPv6 at once".to_owned());
        }
        // The device is the source of what leaves it.
        let (peer, own) = match begins {
            Begins::Device => ("destination", "source"),
            Begins::Peer => ("source", "destination"),
        };
        let family = if is_v4 { "ipv4" } else { "ipv6" };
        let network = |end: &str| format!("{end}-{family}-network");
        let name = |end: &str| format!("ietf-acldns:{}-dnsname", if end == "source" { "src" } else { "dst" });
        for (key, value) in object {
            if key == "protocol" {
                let number = value.as_u64().and_then(|number| u8::try_from(number).ok());
                self.protocol = Some(number.ok_or_else(|| format!("`protocol` is `{value}`"))?);
            } else if *key == network(peer) {
                let prefix = value.as_str().and_then(|text| prefix(text, is_v4));
                self.parties.push(of_prefix(prefix.ok_or_else(|| format!("`{key}` is `{value}`"))?)?);
            } else if *key == name(peer) {
                let name = value.as_str().ok_or_else(|| format!("`{key}` is no text"))?;
                self.parties.push(Party::Dns(name.trim_end_matches('.').to_ascii_lowercase()));
            } else if *key == network(own) || *key == name(own) {
                return Err(format!("`{key}` is the device's own address, which the policy binds by itself"));
            } else {
                return Err(format!("`{family}` `{key}` cannot be said"));
            }
        }
        Ok(())
    }

    fn transport(&mut self, object: &Object, begins: Begins, layer: u8) -> Result<(), String> {
        if self.layer.replace(layer).is_some() {
            return Err("it matches several transport protocols at once".to_owned());
        }
        for (key, value) in object {
            let (source, destination) = match begins {
                Begins::Device => (&mut self.own, &mut self.peer),
                Begins::Peer => (&mut self.peer, &mut self.own),
            };
            match key.strip_suffix("-range-or-operator").unwrap_or(key) {
                "source-port" => *source = Some(ports::ranges(value)?),
                "destination-port" => *destination = Some(ports::ranges(value)?),
                "ietf-mud:direction-initiated" | "direction-initiated" => {
                    self.initiated = Some(initiated(value)?);
                }
                other => return Err(format!("`{other}` of a transport protocol cannot be said")),
            }
        }
        Ok(())
    }

    fn icmp(&mut self, object: &Object) -> Result<(), String> {
        let byte = |name: &str| match object.get(name) {
            None => Ok(None),
            Some(value) => {
                let number = value.as_u64().and_then(|number| u8::try_from(number).ok());
                number.map(Some).ok_or_else(|| format!("`{name}` is `{value}`"))
            }
        };
        if let Some(other) = object.keys().find(|key| !["type", "code"].contains(&key.as_str())) {
            return Err(format!("`{other}` of ICMP cannot be said"));
        }
        let (kind, code) = (byte("type")?, byte("code")?);
        let kind = kind.ok_or_else(|| "a code of ICMP means nothing without a type".to_owned())?;
        self.icmp = Some((kind, code));
        Ok(())
    }

    fn ethernet(&mut self, object: &Object) -> Result<(), String> {
        for (key, value) in object {
            let word = value.as_str().ok_or_else(|| format!("`{key}` is no text"))?;
            match key.as_str() {
                "ethertype" => self.ethertype = Some(ethertype(word)?),
                "destination-mac-address" => {
                    let mac: Mac = word.parse().map_err(|_| format!("`{key}` is `{word}`"))?;
                    self.parties.push(match mac {
                        Mac([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => Party::Broadcast,
                        mac if mac.is_group() => Party::Group(mac),
                        _ => return Err(format!("`{mac}` is one host, which only a policy can name")),
                    });
                }
                other => return Err(format!("`{other}` of a frame cannot be said")),
            }
        }
        Ok(())
    }

    fn entry(self, name: &str, begins: Begins) -> Result<Entry, String> {
        let Self { mut parties, is_v4, protocol, layer, own, peer, initiated, icmp, ethertype } = self;
        // A group that must be local too is the group: whoever receives it is on the way.
        if parties.iter().any(meaning::only_answers) {
            parties.retain(|party| *party != Party::Abstract(Abstraction::LocalNetworks));
        }
        if parties.len() > 1 {
            return Err("it matches several other ends at once".to_owned());
        }
        let party = parties.pop();
        if let Some(ethertype) = ethertype {
            if is_v4.is_some() || layer.is_some() || icmp.is_some() {
                return Err("it matches frames and what is in them at once".to_owned());
            }
            let is_peer = matches!(party, Some(Party::Abstract(Abstraction::Peer(_))));
            if !is_peer && matches!(party, Some(Party::Gateway | Party::Abstract(_))) {
                return Err("frames that are not IP go to hardware addresses, and it names none".to_owned());
            }
            let party = party.unwrap_or(Party::Anybody);
            let transport = Transport::Frames(ethertype);
            return Ok(Entry { name: name.to_owned(), begins, party, transport, initiated: None });
        }
        let protocol = match (protocol, layer) {
            (Some(protocol), Some(layer)) if protocol != layer => {
                return Err(format!("it matches IP protocol {protocol} and the ports of {layer} at once"));
            }
            (protocol, layer) => protocol.or(layer),
        };
        let everybody = || match is_v4 {
            Some(false) => Party::Prefix(IpNet::V6(Ipv6Net::default())),
            Some(true) | None => Party::Prefix(IpNet::V4(Ipv4Net::default())),
        };
        let transport = match protocol {
            None if icmp.is_none() => Transport::Any,
            Some(protocol::TCP | protocol::UDP) if icmp.is_none() => {
                Transport::Ports { protocol: protocol.unwrap_or_default(), own, peer }
            }
            None | Some(protocol::ICMP | protocol::ICMPV6) => {
                let default = if is_v4 == Some(false) { protocol::ICMPV6 } else { protocol::ICMP };
                Transport::Icmp { protocol: protocol.unwrap_or(default), kind: icmp }
            }
            Some(other) if icmp.is_none() => Transport::Other(other),
            Some(other) => return Err(format!("it matches IP protocol {other} and ICMP at once")),
        };
        let party = party.unwrap_or_else(everybody);
        Ok(Entry { name: name.to_owned(), begins, party, transport, initiated })
    }
}

fn controller(uri: String) -> Party {
    match uri.strip_prefix(OURS) {
        Some(name) => Party::Abstract(Abstraction::Peer(name.to_owned())),
        None if uri == GATEWAY => Party::Gateway,
        None => Party::Abstract(Abstraction::Controller(uri)),
    }
}

fn initiated(value: &Value) -> Result<Begins, String> {
    match value.as_str() {
        Some("from-device") => Ok(Begins::Device),
        Some("to-device") => Ok(Begins::Peer),
        _ => Err(format!("`direction-initiated` is `{value}`")),
    }
}

/// A prefix; drafts wrote single addresses without a length.
fn prefix(text: &str, is_v4: bool) -> Option<IpNet> {
    let found = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    (found.addr().is_ipv4() == is_v4).then(|| found.trunc())
}

fn of_prefix(prefix: IpNet) -> Result<Party, String> {
    let address = prefix.addr();
    if address.is_loopback() {
        return Err(format!("`{prefix}` never leaves a host"));
    }
    let is_broadcast = address == IpAddr::from([255; 4]);
    Ok(if is_broadcast { Party::Broadcast } else { Party::Prefix(prefix) })
}

/// An ethertype that a rule may name.
fn ethertype(text: &str) -> Result<u16, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let number = u16::from_str_radix(digits, 16).map_err(|_| format!("`ethertype` is `{text}`"))?;
    match number {
        0..0x0600 => Err(format!("ethertype `{text}` is a length (IEEE 802.3 3.2.6)")),
        0x0800 | 0x86dd => Err("frames that carry IP are told by their addresses".to_owned()),
        0x0806 => Err("ARP passes without a rule".to_owned()),
        number => Ok(number),
    }
}
