//! The collapsed graph says what a naive one of devices says.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    super::tests::{Compiled, random_policy},
    *,
};
use crate::model::{DeviceId, Layer, Peer};

/// Which devices and networks a rule may start at and go to, device by device: by name, `None` for other addresses.
type Naive = BTreeMap<String, BTreeSet<String>>;

/// Addresses that are no device's: one of each part of the networks of `random_policy`.
const STRANGERS: [&str; 7] =
    ["10.0.0.99", "10.0.1.99", "10.0.2.99", "10.8.0.1", "10.9.1.1", "10.9.2.1", "192.0.2.1"];

fn naive(policy: &Policy, is_nowhere: impl Fn(&str) -> bool) -> Naive {
    let mut graph = Naive::new();
    let everybody = |peers: &[Peer], framed: bool| {
        let mut names = BTreeSet::new();
        for (id, device) in (0..).map(DeviceId).zip(&policy.devices) {
            if peers.iter().any(|peer| policy.means(*peer, id)) {
                names.insert(device.name.clone());
            }
        }
        for address in STRANGERS {
            let ip = address.parse().expect("an address");
            let holds = |peer: &Peer| match peer {
                Peer::Network(id) => policy.networks[id.0 as usize].holds(ip),
                Peer::Any => true,
                Peer::Device(_)
                | Peer::Class(_)
                | Peer::Zone(_)
                | Peer::Group(_)
                | Peer::Multicast(_)
                | Peer::Gateway
                | Peer::Broadcast => false,
            };
            let by_frame = is_nowhere(address) && peers.contains(&Peer::Any);
            if if framed { by_frame } else { peers.iter().any(holds) } {
                names.insert(address.to_owned());
            }
        }
        if peers.contains(&Peer::Any) && !framed {
            names.insert("gateway".to_owned());
        }
        names
    };
    for rule in &policy.rules {
        for layer in [Layer::Network, Layer::Link] {
            let selectors = rule.services.iter().flat_map(|id| &policy.services[id.0 as usize].selectors);
            if !selectors.clone().any(|s| s.layer() == layer) {
                continue;
            }
            let framed = layer == Layer::Link;
            let (from, to) = (everybody(&rule.initiators, framed), everybody(&rule.responders, framed));
            for (from, to) in [(&from, &to), (&to, &from)].into_iter().take(if framed { 2 } else { 1 }) {
                for from in from {
                    graph
                        .entry(from.clone())
                        .or_default()
                        .extend(to.iter().filter(|to| *to != from).cloned());
                }
            }
        }
    }
    graph
}

fn within(graph: &Naive, from: &str, hops: u32) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut frontier = BTreeSet::from([from.to_owned()]);
    for _ in 0..hops {
        frontier = frontier.iter().filter_map(|node| graph.get(node)).flatten().cloned().collect();
        reached.extend(frontier.iter().cloned());
    }
    reached.remove(from);
    reached
}

/// The node that stands for a device or a stranger.
fn node_of(space: &Space, policies: [&Policy; 2], name: &str) -> u32 {
    let nodes = 0..u32::try_from(space.nodes.len()).expect("a few");
    if name == "gateway" {
        return nodes
            .into_iter()
            .find(|id| space.nodes[*id as usize].kind == space::Kind::Gateway)
            .expect("it is there");
    }
    let peers = policies.map(|policy| {
        let mut peers: BTreeSet<Peer> = BTreeSet::new();
        if let Some((id, device)) = policy.device(name) {
            peers.extend([Peer::Device(id)]);
            peers.extend(device.class.map(Peer::Class));
            peers.extend(device.zone.map(Peer::Zone));
        }
        let address = policy.device(name).map(|(_, device)| device.addresses[0]).or(name.parse().ok());
        for (id, network) in (0..).map(crate::model::NetworkId).zip(&policy.networks) {
            if address.is_some_and(|address| network.holds(address)) {
                peers.insert(Peer::Network(id));
            }
        }
        peers
    });
    let is_device = policies.iter().any(|policy| policy.device(name).is_some());
    let there = policies.map(|policy| policy.device(name).is_some());
    let fits = |id: &u32| {
        let node = &space.nodes[*id as usize];
        let kind = if is_device { space::Kind::Device } else { space::Kind::Addresses };
        let sides = !is_device || [node.before, node.after] == there;
        node.kind == kind
            && sides
            && (0..2).all(|side| {
                let meant = space.meant[side].iter().filter(|(peer, _)| **peer != Peer::Any);
                let mut meant = meant.filter(|(peer, _)| !matches!(peer, Peer::Gateway | Peer::Multicast(_)));
                meant.all(|(peer, nodes)| nodes.contains(id) == peers[side].contains(peer))
            })
    };
    let criticality = |id: &u32| {
        let device = policies[1].device(name).or(policies[0].device(name));
        space.nodes[*id as usize].criticality == device.map(|(_, device)| device.criticality)
    };
    nodes.into_iter().find(|id| fits(id) && criticality(id)).unwrap_or_else(|| panic!("no node for {name}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_collapsed_graph_reaches_what_a_naive_one_reaches(a in random_policy(), b in random_policy(), hops in 1..4u32) {
        let (a, b) = (Compiled::of(&a), Compiled::of(&b));
        let policies = [&a.policy, &b.policy];
        let space = Space::of(policies);
        let graph = Graph::of(policies, &space, Timestamp::UNIX_EPOCH);
        for (side, policy) in policies.into_iter().enumerate() {
            let is_nowhere = |name: &str| space.nodes[node_of(&space, policies, name) as usize].name == space::ANY;
            let naive = naive(policy, is_nowhere);
            let names: Vec<String> = policy.devices.iter().map(|d| d.name.clone())
                .chain(STRANGERS.map(str::to_owned)).chain(["gateway".to_owned()]).collect();
            let pairs = graph.pairs(side);
            let steps = Steps { nodes: space.nodes.len(), sets: &graph.sets, pairs: &pairs };
            for from in &names {
                let start = node_of(&space, policies, from);
                let levels = steps.levels([(start, 0)].into_iter(), hops);
                let expected = within(&naive, from, hops);
                for to in names.iter().filter(|to| *to != from) {
                    let end = node_of(&space, policies, to);
                    // Two that are alike are one node, which says nothing of the two.
                    if end != start {
                        let reached = levels.iter().any(|level| level[end as usize] != NONE);
                        prop_assert_eq!(reached, expected.contains(to), "{} -> {} on side {}", from, to, side);
                        prop_assert_eq!(steps.way(start, end, hops).is_some(), reached);
                    }
                }
            }
        }
    }
}

fn compared(old: &str, new: &str) -> Reachability {
    let [old, new] = [old, new].map(Compiled::of);
    compare(&old.policy, &new.policy, 3, Timestamp::UNIX_EPOCH, 100)
}

const CELL: &str = r#"version = 1
[device.press-plc]
ip = "10.20.1.11"
criticality = "safety"
[[device.press-plc.allow]]
from = "hmi-1"
service = "modbus"
[device.hmi-1]
ip = "10.20.1.20"
[network.vendor-vpn]
cidr = "10.99.0.0/24"
"#;

#[test]
fn a_way_in_two_steps_is_told_with_who_is_between() {
    let new = format!("{CELL}[[device.hmi-1.allow]]\nfrom = \"vendor-vpn\"\nservice = \"ssh\"\n");
    let found = compared(CELL, &new);
    let told: Vec<(u32, &str, &str, &[String])> = found
        .gained
        .list
        .iter()
        .map(|one| (one.hops, &*one.from.list[0], &*one.to.list[0], &*one.by))
        .collect();
    let by = ["hmi-1".to_owned()];
    assert_eq!(
        told,
        [(2, "vendor-vpn", "press-plc", &by[..]), (1, "vendor-vpn", "hmi-1", &[])],
        "what may hurt most comes first"
    );
    assert_eq!((found.lost.total(), found.complete), (0, true));
    let back = compared(&new, CELL);
    assert_eq!((back.gained.total(), back.lost.list), (0, found.gained.list));
}

#[test]
fn devices_that_nobody_tells_apart_are_told_together() {
    let camera = |at: u32| format!("[device.camera-{at}]\nip = \"10.20.3.{at}\"\nclass = \"camera\"\n");
    let cameras: String = (1..=14).map(camera).collect();
    let old = format!("{CELL}[class.camera]\n{cameras}");
    let rule = "[[class.camera.allow]]\nto = \"vendor-vpn\"\nservice = \"https\"\n";
    let found = compared(&old, &format!("{old}{rule}"));
    assert_eq!(found.gained.list.len(), 1, "{found:?}");
    assert_eq!(found.gained.list[0].from.list, ["camera-1 and 13 others like it"]);
    assert_eq!(found.gained.list[0].services.as_deref(), Some("tcp/443"));
}

#[test]
fn a_rule_for_what_another_permits_already_gains_nothing() {
    let wide = format!("{CELL}[[device.hmi-1.allow]]\nfrom = \"any\"\nservice = [\"ssh\", \"https\"]\n");
    let narrow = format!("{wide}[[device.hmi-1.allow]]\nfrom = \"vendor-vpn\"\nservice = \"ssh\"\n");
    assert_eq!(compared(&wide, &narrow).gained.total(), 0);
    let found = compared(&narrow, &narrow.replace("\"ssh\", \"https\"", "\"https\""));
    let lost: Vec<&str> = found.lost.list.iter().flat_map(|one| &one.from.list).map(String::as_str).collect();
    assert!(!lost.contains(&"vendor-vpn") && lost.contains(&"press-plc"), "{lost:?}");
}
