//! Descriptions of the two kinds of form, what becomes of them, and that nothing anybody writes stops the reader.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    diagnostic::render_text,
    model::{Peer, Policy},
    policy::{SourceFile, resolve_texts},
};

/// A description with these entries, each a direction, a name and its matches.
fn description(entries: &[(&str, &str, Value)]) -> String {
    let list = |way: &str| {
        let of = entries.iter().filter(|(direction, ..)| *direction == way);
        let aces: Vec<Value> = of
            .map(|(_, name, matches)| json!({ "name": name, "matches": matches, "actions": { "forwarding": "accept" } }))
            .collect();
        json!({ "name": way, "type": "ipv4-acl-type", "aces": { "ace": aces } })
    };
    let policy = |way: &str| json!({ "access-lists": { "access-list": [{ "name": way }] } });
    json!({
        "ietf-mud:mud": {
            "mud-version": 1,
            "mud-url": "https://pumps.example/Pump%202000",
            "systeminfo": "Pump 2000",
            "from-device-policy": policy("from"),
            "to-device-policy": policy("to"),
        },
        "ietf-access-control-list:acls": { "acl": [list("from"), list("to")] },
    })
    .to_string()
}

fn tcp(end: &str, port: u16, begins: &str) -> Value {
    json!({ end: { "operator": "eq", "port": port }, "ietf-mud:direction-initiated": begins })
}

fn cloud(way: &str) -> Value {
    json!({ format!("ietf-acldns:{way}-dnsname"): "Cloud.Pumps.example.", "protocol": 6 })
}

fn imported(text: &str, answers: &[(&str, &str)]) -> Imported {
    let answers = answers
        .iter()
        .map(|(who, peer)| (Abstraction::parse(who).expect("it is one"), vec![(*peer).to_owned()]));
    let profile = read(text).expect("it is one");
    write(&profile, None, &answers.chain(own(&profile)).collect())
}

fn policy(text: &str) -> Policy {
    let device = "version = 1\n[device.pump]\nip = \"10.0.0.9\"\nclass = \"pump-2000\"\n[device.hmi]\nip = \"10.0.0.8\"\nzone = \"ward\"\n";
    let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
    let outcome = resolve_texts(&[file("device.toml", device), file("mud.toml", text)]);
    let said = render_text(&outcome.diagnostics, &outcome.sources, false);
    outcome.policy.unwrap_or_else(|| panic!("{said}\n{text}"))
}

/// What the class of a policy permits: who begins, the other end as addresses or a name, over what.
fn permits(policy: &Policy) -> BTreeSet<(bool, String, Selector)> {
    let mut all = BTreeSet::new();
    for rule in &policy.rules {
        let begins = rule.initiators.iter().all(|peer| matches!(peer, Peer::Class(_)));
        let others = if begins { &rule.responders } else { &rule.initiators };
        for peer in others {
            let who: Vec<String> = match *peer {
                Peer::Network(id) => {
                    let network = &policy.networks[id.0 as usize];
                    let prefixes = network.cidrs.iter().map(ToString::to_string);
                    prefixes.chain(network.names.iter().cloned()).collect()
                }
                Peer::Multicast(id) => {
                    let group = &policy.multicasts[id.0 as usize];
                    let prefixes = group.cidrs.iter().map(ToString::to_string);
                    prefixes.chain(group.macs.iter().map(ToString::to_string)).collect()
                }
                Peer::Device(_)
                | Peer::Class(_)
                | Peer::Zone(_)
                | Peer::Group(_)
                | Peer::Gateway
                | Peer::Broadcast
                | Peer::Any => {
                    vec![policy.peer_name(*peer).into_owned()]
                }
            };
            for service in &rule.services {
                for selector in &policy.services[service.0 as usize].selectors {
                    all.extend(who.iter().map(|who| (begins, who.clone(), *selector)));
                }
            }
        }
    }
    all
}

#[test]
fn conversation_is_one_rule_whatever_entries_describe_it() {
    let text = description(&[
        (
            "from",
            "cl0-fr",
            json!({ "ipv4": cloud("dst"), "tcp": tcp("destination-port", 443, "from-device") }),
        ),
        ("to", "cl0-to", json!({ "ipv4": cloud("src"), "tcp": tcp("source-port", 443, "from-device") })),
        // As drafts have it: nothing says who begins, and the port of the way back.
        (
            "from",
            "dns-fr",
            json!({ "ipv4": { "protocol": 17 }, "ietf-mud:mud": { "controller": "urn:ietf:params:mud:dns" }, "udp": { "destination-port": { "operator": "eq", "port": 53 } } }),
        ),
        (
            "to",
            "dns-to",
            json!({ "ipv4": { "protocol": 17 }, "ietf-mud:mud": { "controller": "urn:ietf:params:mud:dns" }, "udp": { "source-port": { "operator": "eq", "port": 53 } } }),
        ),
        (
            "to",
            "web-to",
            json!({ "ietf-mud:mud": { "local-networks": [null] }, "ipv4": { "protocol": 6 }, "tcp": tcp("destination-port", 80, "to-device") }),
        ),
        (
            "from",
            "web-fr",
            json!({ "ietf-mud:mud": { "local-networks": [null] }, "ipv4": { "protocol": 6 }, "tcp": tcp("source-port", 80, "to-device") }),
        ),
    ]);
    let found = imported(
        &text,
        &[("controller:urn:ietf:params:mud:dns", "gateway"), ("local-networks", "zone:ward")],
    );
    assert_eq!((found.class.as_str(), &found.notes, &found.open), ("pump-2000", &vec![], &vec![]));
    insta::assert_snapshot!(found.text);
    let permits = permits(&policy(&found.text));
    let expected = [
        (false, "zone:ward".to_owned(), Selector { protocol: 6, low: 80, high: 80 }),
        (true, "cloud.pumps.example".to_owned(), Selector { protocol: 6, low: 443, high: 443 }),
        (true, "gateway".to_owned(), Selector { protocol: 17, low: 53, high: 53 }),
    ];
    assert_eq!(permits, expected.into());
}

#[test]
fn somebody_whom_nobody_named_is_a_comment_to_complete() {
    let text = description(&[(
        "from",
        "fr",
        json!({ "ietf-mud:mud": { "my-controller": [null] }, "ipv4": { "protocol": 17 } }),
    )]);
    let found = imported(&text, &[]);
    insta::assert_snapshot!(found.text);
    assert_eq!(found.open, [Abstraction::MyController]);
    assert_eq!(found.notes.iter().map(|note| note.effect).collect::<Vec<_>>(), [Effect::Open]);
    assert!(policy(&found.text).rules.is_empty());
}

#[test]
fn description_from_elsewhere_names_no_peer_of_this_policy() {
    let text = description(&[(
        "to",
        "sly",
        json!({ "ietf-mud:mud": { "controller": "urn:x-bulkhead:peer:any" }, "ipv4": { "protocol": 6 } }),
    )]);
    let found = write(&read(&text).expect("it is one"), None, &Answers::new());
    assert_eq!(found.open, [Abstraction::Peer("any".to_owned())]);
    assert!(policy(&found.text).rules.is_empty(), "{}", found.text);
}

#[test]
fn what_cannot_be_said_is_left_out_and_told() {
    let ip = |more: Value| {
        let mut fields = json!({ "protocol": 6 });
        fields.as_object_mut().expect("it is one").extend(more.as_object().expect("it is one").clone());
        json!({ "ipv4": fields })
    };
    let entries = [
        ("from", "time", ip(json!({ "ttl": 3 }))),
        ("from", "flags", json!({ "ipv4": { "protocol": 6 }, "tcp": { "flags": "syn" } })),
        ("from", "own", ip(json!({ "source-ipv4-network": "10.0.0.0/8" }))),
        ("from", "loop", ip(json!({ "destination-ipv4-network": "127.0.0.1/32" }))),
        ("from", "other-family", ip(json!({ "destination-ipv4-network": "fd00::/8" }))),
        (
            "from",
            "twice",
            json!({ "ietf-mud:mud": { "controller": "urn:a", "model": "https://b" }, "ipv4": { "protocol": 6 } }),
        ),
        ("from", "contradiction", json!({ "ipv4": { "protocol": 6 }, "udp": {} })),
        ("from", "length", json!({ "eth": { "ethertype": "0x0006" } })),
        ("from", "arp", json!({ "eth": { "ethertype": "0x0806" } })),
        (
            "from",
            "host",
            json!({ "eth": { "ethertype": "0x8892", "destination-mac-address": "00:11:22:33:44:55" } }),
        ),
        ("from", "new", json!({ "quic": {} })),
        ("to", "group", json!({ "ipv4": { "protocol": 17, "source-ipv4-network": "224.0.0.251/32" } })),
        ("to", "named", json!({ "ipv4": { "protocol": 17, "ietf-acldns:src-dnsname": "a.example" } })),
        (
            "to",
            "alone",
            json!({ "ipv4": { "protocol": 17, "ietf-acldns:src-dnsname": "a.example" }, "udp": { "source-port": { "operator": "eq", "port": 123 } } }),
        ),
    ];
    let found = imported(&description(&entries), &[]);
    let told: BTreeSet<&str> = found.notes.iter().map(|note| note.about.as_str()).collect();
    assert_eq!(told, entries.iter().map(|(_, name, _)| *name).collect());
    assert!(found.notes.iter().all(|note| note.effect == Effect::LeftOut), "{:?}", found.notes);
    assert!(policy(&found.text).rules.is_empty(), "{}", found.text);
    let why: Vec<String> = found.notes.iter().map(|note| format!("{}: {}", note.about, note.why)).collect();
    insta::assert_snapshot!(why.join("\n"));
}

#[test]
fn nothing_behind_a_denial_is_admitted() {
    let mut document: Value = serde_json::from_str(&description(&[
        ("from", "first", json!({ "ipv4": { "protocol": 1 } })),
        ("from", "not", json!({ "ipv4": { "protocol": 17 } })),
        ("from", "behind", json!({ "ipv4": { "protocol": 6 } })),
    ]))
    .expect("it is JSON");
    *document
        .pointer_mut("/ietf-access-control-list:acls/acl/0/aces/ace/1/actions/forwarding")
        .expect("it is there") = json!("ietf-access-control-list:drop");
    let found = imported(&document.to_string(), &[]);
    assert_eq!(found.notes.iter().map(|note| note.about.as_str()).collect::<Vec<_>>(), ["behind"]);
    assert_eq!(policy(&found.text).rules.len(), 1);
}

#[test]
fn what_is_no_description_is_refused() {
    let whole: Value = serde_json::from_str(&description(&[])).expect("it is JSON");
    let without = |pointer: &str, value: Value| {
        let mut document = whole.clone();
        *document.pointer_mut(pointer).expect("it is there") = value;
        read(&document.to_string()).expect_err("it is none").to_string()
    };
    assert!(read("{").expect_err("it is none").to_string().contains("line 1"));
    assert!(read("[]").expect_err("it is none").to_string().contains("`ietf-mud:mud` is missing"));
    assert!(without("/ietf-mud:mud/mud-version", json!(2)).contains("version 1"));
    assert!(without("/ietf-mud:mud/mud-url", json!(7)).contains("`mud-url`"));
    assert!(without("/ietf-access-control-list:acls/acl", json!({})).contains("acls"));
    assert!(
        without("/ietf-access-control-list:acls/acl", json!([]))
            .contains("`from`, which is not in the document")
    );
    let many = vec![("from", "same", json!({ "ipv4": { "protocol": 6 } })); MAX_ENTRIES + 1];
    assert_eq!(read(&description(&many)), Err(ReadError::Many));
    assert!(matches!(read(&" ".repeat(MAX_BYTES + 1)), Err(ReadError::Large(_))));
}

/// Entries of which some can be said, with words from anybody.
fn any_entry() -> impl Strategy<Value = (&'static str, String, Value)> {
    let party = prop_oneof![
        Just(json!({})),
        Just(json!({ "ietf-mud:mud": { "local-networks": [null] } })),
        Just(json!({ "ietf-mud:mud": { "my-controller": [null] } })),
        "[a-z\\PC]{0,12}".prop_map(|uri| json!({ "ietf-mud:mud": { "controller": uri } })),
        Just(json!({ "ietf-mud:mud": { "controller": "urn:x-bulkhead:peer:zone:ward" } })),
    ];
    let network = prop_oneof![
        Just(json!({})),
        (any::<[u8; 4]>(), 0..=32_u8).prop_map(|(a, len)| {
            let text = format!("{}/{len}", std::net::Ipv4Addr::from(a));
            json!({ "destination-ipv4-network": text, "source-ipv4-network": text })
        }),
        "[a-z]{1,8}\\.example".prop_map(|name| json!({ "ietf-acldns:dst-dnsname": name })),
        "[a-z]{1,8}\\.example".prop_map(|name| json!({ "ietf-acldns:src-dnsname": name })),
    ];
    let port = prop_oneof![
        Just(Value::Null),
        (any::<u16>(), prop_oneof![Just("eq"), Just("lte"), Just("gte"), Just("neq")])
            .prop_map(|(port, operator)| json!({ "operator": operator, "port": port })),
        (any::<u16>(), any::<u16>())
            .prop_map(|(a, b)| json!({ "lower-port": a.min(b), "upper-port": a.max(b) })),
    ];
    let initiated = prop_oneof![Just(Value::Null), Just(json!("from-device")), Just(json!("to-device"))];
    let layer = prop_oneof![Just("tcp"), Just("udp")];
    let way = prop_oneof![Just("from"), Just("to")];
    (way, ".{0,20}", party, network, (layer, port.clone(), port, initiated)).prop_map(
        |(way, name, party, network, (layer, source, destination, initiated))| {
            let mut matches = party;
            let mut internet = network;
            internet["protocol"] = json!(if layer == "tcp" { 6 } else { 17 });
            let mut ports = json!({ "source-port": source, "destination-port": destination, "ietf-mud:direction-initiated": initiated });
            ports.as_object_mut().expect("it is one").retain(|_, value| !value.is_null());
            // Only one side of an address is the other end's; of both none can be said.
            if let (Some(fields), "from" | "to") = (internet.as_object_mut(), way) {
                fields.remove(if way == "from" { "source-ipv4-network" } else { "destination-ipv4-network" });
            }
            matches[layer] = ports;
            matches["ipv4"] = internet;
            (way, name, matches)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_imported_is_a_policy_and_comes_back_from_its_description(entries in prop::collection::vec(any_entry(), 0..12)) {
        let entries: Vec<(&str, &str, Value)> = entries.iter().map(|(way, name, matches)| (*way, name.as_str(), matches.clone())).collect();
        let answers = [("local-networks", "zone:ward"), ("my-controller", "hmi")];
        let first = imported(&description(&entries), &answers);
        let before = policy(&first.text);
        let exported = export(&before, "pump-2000", "https://pumps.example/p.json", "2026-11-23T00:00:00Z").expect("it can be");
        prop_assert_eq!(&exported.notes, &[]);
        let back = read(&exported.document.to_string()).expect("it is one");
        let again = write(&back, Some("pump-2000"), &own(&back));
        prop_assert_eq!(&again.notes, &[], "{}", exported.document);
        prop_assert_eq!(permits(&policy(&again.text)), permits(&before));
    }

    #[test]
    fn garbled_description_stops_nobody(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let text = description(&[
            ("from", "a", json!({ "ipv4": cloud("dst"), "tcp": tcp("destination-port", 443, "from-device") })),
            ("to", "b", json!({ "eth": { "ethertype": "0x8892" } })),
        ]);
        let mut bytes = text.into_bytes();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        bytes.truncate(cut.index(bytes.len() + 1).max(place));
        if let Ok(text) = String::from_utf8(bytes)
            && let Ok(profile) = read(&text)
        {
            let _ = write(&profile, None, &Answers::new());
        }
    }
}
