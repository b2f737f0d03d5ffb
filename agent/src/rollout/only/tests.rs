//! What some devices get of a new policy, as a relation between names: worked out from both policies apart from the code
//! that joins them.

use proptest::prelude::*;

use super::*;
use crate::{
    compile::{Limits, compile},
    policy::{SourceFile, resolve_texts},
};

fn policy(text: &str) -> Policy {
    let file = SourceFile { path: "a.toml".into(), text: format!("version = 1\n{text}") };
    let outcome = resolve_texts(&[file]);
    let found = format!("{text}\n{:#?}", outcome.diagnostics);
    outcome.policy.unwrap_or_else(|| panic!("{found}"))
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

/// One end of a permission.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Device(String),
    /// Whatever is no device: its name and what it stands for.
    Other(String),
}

/// Who may start a conversation with whom over what.
type Relation = BTreeSet<(End, End, String)>;

fn ends(policy: &Policy, peers: &[Peer]) -> Vec<End> {
    let mut all = Vec::new();
    for peer in peers {
        match peer {
            Peer::Device(_) | Peer::Class(_) | Peer::Zone(_) | Peer::Group(_) => {
                let devices = (0..).map(DeviceId).zip(&policy.devices);
                let members = devices.filter(|(id, _)| policy.means(*peer, *id));
                all.extend(members.map(|(_, device)| End::Device(device.name.clone())));
            }
            Peer::Network(id) => {
                let network = &policy.networks[id.0 as usize];
                all.push(End::Other(format!("{} {:?}", network.name, network.cidrs)));
            }
            Peer::Multicast(_) | Peer::Gateway | Peer::Broadcast | Peer::Any => {
                all.push(End::Other(policy.peer_name(*peer).into_owned()));
            }
        }
    }
    all
}

fn relation(policy: &Policy) -> Relation {
    let mut relation = Relation::new();
    for rule in &policy.rules {
        for service in &rule.services {
            let service = &policy.services[service.0 as usize];
            let service = format!("{} {:?} {:?}", service.name, service.selectors, rule.schedule);
            for from in ends(policy, &rule.initiators) {
                for to in ends(policy, &rule.responders) {
                    relation.insert((from.clone(), to, service.clone()));
                }
            }
        }
    }
    relation
}

/// What the result must allow, by the words of the module doc.
fn expected(old: &Policy, new: &Policy, named: &BTreeSet<String>) -> Relation {
    let is_named = |end: &End| matches!(end, End::Device(name) if named.contains(name));
    let there = |end: &End| match end {
        End::Device(name) if named.contains(name) => new.device(name).is_some(),
        End::Device(name) => old.device(name).is_some(),
        End::Other(_) => true,
    };
    let kept = relation(old).into_iter().filter(|(from, to, _)| !is_named(from) && !is_named(to));
    let taken = relation(new).into_iter().filter(|(from, to, _)| is_named(from) || is_named(to));
    kept.chain(taken).filter(|(from, to, _)| there(from) && there(to)).collect()
}

const OLD: &str = r#"
[device.plc-1]
ip = "10.0.0.1"
class = "plc"
zone = "cell"
mode = "monitor"
[device.plc-2]
ip = "10.0.0.2"
class = "plc"
zone = "cell"
[device.hmi]
ip = "10.0.0.9"
zone = "operations"
[class.plc]
[[class.plc.allow]]
from = "zone:operations"
service = "modbus"
[[class.plc.allow]]
to = "ntp-server"
service = "ntp"
[network.ntp-server]
cidr = "10.9.0.5/32"
"#;

#[test]
fn one_device_of_a_class_gets_its_new_rules_and_mode() {
    let old = policy(OLD);
    let new = OLD.replace("mode = \"monitor\"", "mode = \"enforce\"").replace("\"modbus\"", "\"s7\"");
    let new = policy(&new);
    let canary = only(&old, &new, &names(&["plc-1"])).expect("they can be told apart");
    let mode = |name: &str| canary.device(name).expect("it is there").1.mode.name();
    assert_eq!((mode("plc-1"), mode("plc-2")), ("enforce", "monitor"));
    let device = |name: &str| End::Device(name.into());
    let over = |word: &str| {
        let list = relation(&canary).into_iter().filter(|(_, _, service)| service.starts_with(word));
        list.map(|(from, to, _)| (from, to)).collect::<Vec<_>>()
    };
    assert_eq!(over("s7 "), [(device("hmi"), device("plc-1"))]);
    assert_eq!(over("modbus "), [(device("hmi"), device("plc-2"))]);
    assert_eq!(over("ntp ").len(), 2);
    let classes: Vec<&str> = canary.classes.iter().map(|class| class.name.as_str()).collect();
    assert_eq!(classes, ["plc", "plc"], "two of one name");
    // It is a policy like any other.
    compile(&canary, &Limits { devices: 16, rules: 64, rows: 1000 }).expect("it fits");
    // And the next device follows.
    let both = only(&canary, &new, &names(&["plc-2"])).expect("they can be told apart");
    assert_eq!(relation(&both), relation(&new));
}

#[test]
fn devices_come_and_go_alone() {
    let old = policy(OLD);
    let text = OLD.replace("[device.plc-2]\nip = \"10.0.0.2\"\nclass = \"plc\"\nzone = \"cell\"\n", "");
    let new = policy(&format!("{text}[device.plc-3]\nip = \"10.0.0.3\"\nclass = \"plc\"\nzone = \"cell\"\n"));
    let devices = |named: &[&str]| -> Vec<String> {
        let joined = only(&old, &new, &names(named)).expect("they can be told apart");
        assert_eq!(relation(&joined), expected(&old, &new, &names(named)));
        joined.devices.iter().map(|device| device.name.clone()).collect()
    };
    assert_eq!(devices(&["plc-3"]), ["hmi", "plc-1", "plc-2", "plc-3"]);
    assert_eq!(devices(&["plc-2"]), ["hmi", "plc-1"]);
    assert_eq!(devices(&["hmi"]), ["hmi", "plc-1", "plc-2"]);
}

#[test]
fn what_cannot_be_told_apart_is_named_all_at_once() {
    let old = policy(OLD);
    let new = OLD.replace("10.9.0.5/32", "10.9.0.6/32").replace("10.0.0.1\"", "10.0.0.2\"");
    let new = new.replacen(
        "ip = \"10.0.0.2\"\nclass = \"plc\"\nzone = \"cell\"\n[device.hmi]",
        "ip = \"10.0.0.1\"\nclass = \"plc\"\nzone = \"cell\"\n[device.hmi]",
        1,
    );
    let new = policy(&format!("{new}[quarantine]\npeers = [\"ntp-server\"]\n"));
    let error = only(&old, &new, &names(&["plc-1"])).expect_err("they cannot be told apart");
    assert_eq!(
        error.to_string(),
        "the policy cannot be applied to these devices alone\n  \
         `10.0.0.2` would belong to `plc-1` and to `plc-2`\n  \
         the peers of quarantined devices are others in it, and they are one list for all\n  \
         network `ntp-server` is another one in it, and rules between the other devices need the old one\n\
         hint: give what differs another name, name the other devices too, or apply it to all"
    );
    let error = only(&old, &new, &names(&["plc-7"])).expect_err("there is none").to_string();
    assert!(error.starts_with("unknown device `plc-7`\nhelp: did you mean `plc-"), "{error}");
}

#[test]
fn a_network_that_only_the_named_device_needs_may_differ() {
    let allow = "[[device.hmi.allow]]\nto = \"dns-server\"\nservice = \"dns\"\n[network.dns-server]\n";
    let old = policy(&format!("{OLD}{allow}cidr = \"10.9.0.7/32\"\n"));
    let new = policy(&format!("{OLD}{allow}cidr = \"10.9.0.8/32\"\n"));
    let joined = only(&old, &new, &names(&["hmi"])).expect("they can be told apart");
    assert_eq!(relation(&joined), expected(&old, &new, &names(&["hmi"])));
}

/// A small plant: devices with a class, a zone and rules of every kind.
fn plant() -> impl Strategy<Value = String> {
    let device = (any::<bool>(), 0..3_u8, 0..3_u8, 0..4_u8);
    let rule = (0..5_usize, 0..8_usize, any::<bool>(), 0..2_usize);
    let class_rule = (0..2_u8, 0..7_usize, any::<bool>(), 0..2_usize);
    (
        prop::collection::vec(device, 5),
        prop::collection::vec(rule, 0..6),
        prop::collection::vec(class_rule, 0..4),
    )
        .prop_map(|(devices, rules, class_rules)| {
            let there: Vec<usize> = (0..5).filter(|at| devices[*at].0 || *at == 0).collect();
            let mut text = String::from("[class.c0]\n[class.c1]\n[network.n]\ncidr = \"10.9.0.0/24\"\n");
            for at in &there {
                let (_, class, zone, mode) = devices[*at];
                text += &format!("[device.d{at}]\nip = \"10.0.0.{at}\"\n");
                if class < 2 {
                    text += &format!("class = \"c{class}\"\n");
                }
                if zone < 2 {
                    text += &format!("zone = \"z{zone}\"\n");
                }
                text += ["", "mode = \"enforce\"\n", "mode = \"monitor\"\n", ""][usize::from(mode)];
            }
            let zones: BTreeSet<u8> =
                there.iter().map(|at| devices[*at].2).filter(|zone| *zone < 2).collect();
            let peer = |index: usize| match index {
                0..5 => format!("d{}", there[index % there.len()]),
                5 => zones.first().map_or("any".to_owned(), |zone| format!("zone:z{zone}")),
                6 => "class:c0".to_owned(),
                _ => "n".to_owned(),
            };
            let entry = |head: String, own: Option<usize>, index: usize, from: bool, service: usize| {
                let peer = match own {
                    Some(own) if peer(index) == format!("d{own}") => "any".to_owned(),
                    Some(_) | None => peer(index),
                };
                let key = if from { "from" } else { "to" };
                format!("[[{head}.allow]]\n{key} = \"{peer}\"\nservice = \"{}\"\n", ["modbus", "s7"][service])
            };
            for (holder, index, from, service) in rules {
                let own = there[holder % there.len()];
                text += &entry(format!("device.d{own}"), Some(own), index, from, service);
            }
            for (class, index, from, service) in class_rules {
                text += &entry(format!("class.c{class}"), None, index, from, service);
            }
            text
        })
}

/// A peer that means nobody else is an error of its own, and none of this room.
fn resolved(text: &str) -> Option<Policy> {
    let file = SourceFile { path: "a.toml".into(), text: format!("version = 1\n{text}") };
    resolve_texts(&[file]).policy
}

proptest! {
    #[test]
    fn named_devices_have_the_new_policy_and_the_others_the_old(
        old in plant(), new in plant(), chosen in prop::collection::vec(any::<bool>(), 5),
    ) {
        let (old, new) = (resolved(&old), resolved(&new));
        prop_assume!(old.is_some() && new.is_some());
        let (old, new) = (old.expect("just asked"), new.expect("just asked"));
        let all: BTreeSet<String> =
            old.devices.iter().chain(&new.devices).map(|device| device.name.clone()).collect();
        let named: BTreeSet<String> = (0..5).filter(|at| chosen[*at]).map(|at| format!("d{at}")).collect();
        let named: BTreeSet<String> = named.intersection(&all).cloned().collect();

        prop_assert_eq!(only(&old, &new, &BTreeSet::new()), Ok(old.clone()));
        prop_assert_eq!(only(&old, &new, &all), Ok(new.clone()));
        let here: BTreeSet<String> = named.iter().filter(|name| old.device(name).is_some()).cloned().collect();
        prop_assert_eq!(relation(&only(&old, &old, &here).expect("nothing differs")), relation(&old));

        let joined = only(&old, &new, &named).expect("nothing shared differs");
        prop_assert_eq!(relation(&joined), expected(&old, &new, &named));
        for device in &joined.devices {
            let source = if named.contains(&device.name) { &new } else { &old };
            let (_, wanted) = source.device(&device.name).expect("it comes from there");
            prop_assert_eq!((device.mode, &device.addresses), (wanted.mode, &wanted.addresses));
            prop_assert_eq!(joined.class_of(device), source.class_of(wanted));
            prop_assert_eq!(joined.zone_of(device), source.zone_of(wanted));
        }
        let sorted = joined.devices.is_sorted_by(|a, b| a.name < b.name)
            && joined.networks.is_sorted_by(|a, b| a.name < b.name)
            && joined.services.is_sorted_by(|a, b| a.name < b.name)
            && joined.classes.is_sorted_by(|a, b| a.name <= b.name);
        prop_assert!(sorted);
        compile(&joined, &Limits { devices: 16, rules: 128, rows: 10_000 }).expect("it fits");
        // One after the other is all at once.
        let mut step = old.clone();
        for name in &all {
            step = only(&step, &new, &BTreeSet::from([name.clone()])).expect("nothing shared differs");
        }
        prop_assert_eq!(relation(&step), relation(&new));
    }
}
