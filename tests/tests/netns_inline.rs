//! Two NICs as a pair: what passes one side leaves at the other, without a bridge, a route or an address; and each side
//! shows its neighbour what became of the other.

mod gateway;

use std::time::Duration;

use bulkhead_agent::dataplane::probe;
use bulkhead_tests::lab::{
    Agent, Lab, Namespace, Poller, Topology,
    link::{self, End},
    modbus::Plc,
    topology::{DEVICE_SIDE, Gateway, MODBUS, SWITCH_PORT, UPLINK},
    wait::wait_for,
};
use gateway::{SOON, bulkhead, configure, enforces, policy, require_topology, status};
use serde_json::{Value, json};

/// A lab whose gateway is a bump in the wire, and its agent, not started yet.
fn pair<'a>(lab: &'a Lab, more: &str) -> Agent<'a> {
    let agent = Agent::new(lab, &policy(lab)).expect("an agent");
    let side =
        |peer: &str, side: &str| format!("role = \"pair\"\npeer = \"{peer}\"\nside = \"{side}\"\n{more}");
    let (device, uplink) = (side(UPLINK, "device"), side(DEVICE_SIDE, "uplink"));
    let changes = [("role = \"device-side\"", device.as_str()), ("role = \"uplink\"", uplink.as_str())];
    configure(&lab.gateway, "bulkhead.toml", &changes);
    agent
}

fn require_pair(test: &str) -> Option<Lab> {
    require_topology(test, Topology::Inline, 1500)
}

fn look(namespace: &Namespace, name: &str) -> probe::Interface {
    let all = namespace.run(probe::interfaces).expect("interfaces");
    all.into_iter().find(|interface| interface.name == name).unwrap_or_else(|| panic!("no `{name}`"))
}

/// Waits until an interface is up or down, and has a carrier or not.
fn wait_link(namespace: &Namespace, name: &str, up: bool, carrier: bool) {
    let what = format!("`{name}` to be {} a carrier", if carrier { "with" } else { "without" });
    wait_for(&what, SOON, || {
        let now = look(namespace, name);
        Ok((now.up == up && now.carrier == carrier).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}: {:?}", look(namespace, name)));
}

fn wait_warnings(agent: &Agent<'_>, expected: &Value) {
    wait_for("the warnings", SOON, || Ok((status(agent)["warnings"] == *expected).then_some(())))
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", status(agent), agent.log()));
}

#[test]
fn lost_carrier_is_mirrored_both_ways_and_lifted() {
    let test = "lost_carrier_is_mirrored_both_ways_and_lifted";
    let Some(lab) = require_pair(test) else { return };
    let mut agent = pair(&lab, "");
    agent.start().expect("it starts");
    let (gateway, plc) = (&lab.gateway.namespace, lab.plc());
    wait_warnings(&agent, &json!([]));
    for name in [DEVICE_SIDE, UPLINK] {
        assert!(look(gateway, name).promiscuous, "`{name}` hears every frame");
    }
    // The PLC is unplugged: the switch sees its port go.
    link::down(&plc.namespace, plc.interface).expect("down");
    wait_link(lab.switch(), SWITCH_PORT, true, false);
    assert!(!look(gateway, UPLINK).up);
    wait_warnings(
        &agent,
        &json!([
            "`cell0` has no carrier, so nothing passes to `plant0`",
            "`plant0` is down until `cell0`, the other side of its pair, has a carrier",
        ]),
    );
    let (code, said) = bulkhead(&lab, &["status"]);
    assert!(code == 1 && said.contains("`plant0` is down until `cell0`"), "{code} {said}");
    link::up(&plc.namespace, plc.interface).expect("up");
    wait_link(lab.switch(), SWITCH_PORT, true, true);
    wait_warnings(&agent, &json!([]));
    // The other way round.
    link::down(lab.switch(), SWITCH_PORT).expect("down");
    wait_link(&plc.namespace, plc.interface, true, false);
    assert!(look(gateway, UPLINK).up && !look(gateway, DEVICE_SIDE).up);
    link::up(lab.switch(), SWITCH_PORT).expect("up");
    wait_link(&plc.namespace, plc.interface, true, true);
    wait_warnings(&agent, &json!([]));
    assert!(
        agent.log().contains("took `plant0` down, because `cell0` has lost its carrier"),
        "{}",
        agent.log()
    );
}

#[test]
fn mirrored_link_is_lifted_by_the_next_agent_or_by_an_orderly_end() {
    let test = "mirrored_link_is_lifted_by_the_next_agent_or_by_an_orderly_end";
    let Some(lab) = require_pair(test) else { return };
    let mut agent = pair(&lab, "");
    agent.start().expect("it starts");
    let (gateway, plc) = (&lab.gateway.namespace, lab.plc());
    link::down(&plc.namespace, plc.interface).expect("down");
    wait_link(gateway, UPLINK, false, false);
    // The agent dies, and the PLC comes back meanwhile.
    agent.kill9().expect("killed");
    link::up(&plc.namespace, plc.interface).expect("up");
    wait_link(gateway, DEVICE_SIDE, true, true);
    assert!(!look(gateway, UPLINK).up, "nobody is there to take it up");
    agent.start().expect("it starts");
    wait_link(gateway, UPLINK, true, true);
    wait_warnings(&agent, &json!([]));
    // Who stops the agent finds both sides up.
    link::down(&plc.namespace, plc.interface).expect("down");
    wait_link(gateway, UPLINK, false, false);
    agent.stop().expect("it stops");
    wait_link(gateway, UPLINK, true, true);
    assert!(look(gateway, DEVICE_SIDE).up);
}

#[test]
fn pair_that_does_not_mirror_keeps_both_sides_up() {
    let test = "pair_that_does_not_mirror_keeps_both_sides_up";
    let Some(lab) = require_pair(test) else { return };
    let mut agent = pair(&lab, "mirror_link = false");
    link::down(&lab.gateway.namespace, DEVICE_SIDE).expect("down");
    agent.start().expect("it starts");
    let (gateway, plc) = (&lab.gateway.namespace, lab.plc());
    wait_link(gateway, DEVICE_SIDE, true, true);
    link::down(&plc.namespace, plc.interface).expect("down");
    wait_warnings(&agent, &json!(["`cell0` has no carrier, so nothing passes to `plant0`"]));
    assert!(look(gateway, UPLINK).up && look(gateway, UPLINK).carrier);
}

#[test]
fn what_is_allowed_passes_a_pair_without_bridge_or_address_and_nothing_else_does() {
    let test = "what_is_allowed_passes_a_pair_without_bridge_or_address_and_nothing_else_does";
    let Some(lab) = require_pair(test) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = pair(&lab, "");
    agent.start().expect("it starts");
    wait_warnings(&agent, &json!([]));
    assert!(enforces(&lab));
    // Without an agent it goes on.
    let poller =
        Poller::start(lab.host("hmi"), lab.modbus(), Duration::from_millis(5)).expect("a first poll");
    agent.kill9().expect("killed");
    poller.wait_for_more(50, SOON).expect("polls go on");
    assert!(enforces(&lab));
    agent.start().expect("it starts");
    let polls = poller.wait_for_more(50, SOON).expect("polls go on");
    assert_eq!((polls.failed, polls.reconnects), (0, 0), "{polls:?}");
}

#[test]
fn side_of_a_pair_that_was_made_again_is_redirected_to() {
    let test = "side_of_a_pair_that_was_made_again_is_redirected_to";
    let Some(lab) = require_pair(test) else { return };
    let mut agent = pair(&lab, "");
    agent.start().expect("it starts");
    wait_warnings(&agent, &json!([]));
    let (Gateway { namespace, cell_mac, .. }, plc) = (&lab.gateway, lab.plc());
    let before = link::index(namespace, DEVICE_SIDE).expect("it is there");
    link::delete(namespace, DEVICE_SIDE).expect("deleted");
    wait_link(lab.switch(), SWITCH_PORT, true, false);
    let inside = End { namespace, interface: DEVICE_SIDE, mac: *cell_mac, mtu: 1500 };
    let outside = End { namespace: &plc.namespace, interface: plc.interface, mac: plc.mac, mtu: 1500 };
    link::veth(&inside, &outside).expect("a new NIC");
    link::generic_receive_on(&plc.namespace, plc.interface).expect("GRO");
    link::address(&plc.namespace, plc.interface, plc.ip, 24).expect("an address");
    assert_ne!(link::index(namespace, DEVICE_SIDE).expect("it is there"), before);
    wait_link(lab.switch(), SWITCH_PORT, true, true);
    wait_warnings(&agent, &json!([]));
    let _plc = Plc::start(plc, MODBUS).expect("a PLC");
    assert!(enforces(&lab));
}
