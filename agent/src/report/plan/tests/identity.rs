//! A policy that says something else of who a device is: what would stop, and what could.

use std::net::IpAddr;

use bulkhead_common::layout::Lease;

use super::{super::*, Compiled, planned};

const A: &str = "mac = \"00:1d:9c:00:00:01\"";
const B: &str = "mac = \"00:1d:9c:00:00:02\"";

/// The panel polls the PLC, and both are what is said of them.
fn plant(panel: &str, plc: &str) -> String {
    format!(
        "version = 1\n[device.plc]\n{plc}\nmode = \"enforce\"\ncriticality = \"safety\"\n[[device.plc.allow]]\n\
         from = \"panel\"\nservice = [\"modbus\", \"ping\", \"snmp\"]\n[device.panel]\n{panel}\n"
    )
}

fn world() -> World {
    let mut world = World { segments: vec![Default::default()], now: 1 << 50, ..World::default() };
    world.placed.segments = [("cell0", 1), ("cell1", 2)].map(|(name, id)| (name.to_owned(), id)).into();
    world
}

/// The plan of a change while the panel polls by TCP, UDP and ping.
fn changed(before: &str, after: &str, world: &World) -> Plan {
    let (old, new) = (Compiled::of(before), Compiled::of(after));
    let flow = |(protocol, service)| KnownFlow {
        from: IpAddr::from([10, 20, 1, 20]),
        to: IpAddr::from([10, 20, 1, 11]),
        protocol,
        service,
        client_port: 50_000,
        devices: ["panel", "plc"].map(|name| old.policy.device(name).map_or(0, |(id, _)| id.0 + 1)),
        rule: 1,
        idle: std::time::Duration::from_secs(1),
        live: true,
    };
    let flows = [(6, 502), (17, 161), (1, 8 << 8)].map(flow);
    planned(&old, &new, Some((&flows, world)))
}

/// Why which conversations stop, all of them; and which devices are told of with what.
fn told(before: [&str; 2], after: [&str; 2]) -> (Vec<String>, Vec<String>) {
    let ip = ["ip = \"10.20.1.20\"", "ip = \"10.20.1.11\""];
    let whole = |[panel, plc]: [&str; 2]| plant(&format!("{}\n{panel}", ip[0]), &format!("{}\n{plc}", ip[1]));
    let plan = changed(&whole(before), &whole(after), &world());
    let stop = plan.conversations.as_ref().expect("an agent was asked").stop.list.iter();
    let stop: Vec<String> = stop.map(|one| one.reason.clone()).collect();
    let doubts = plan.identities.list.iter().flat_map(|one| {
        assert_eq!(one.flows, 3, "{one:?}");
        one.properties.keys().map(|word| format!("{} {word}", one.device))
    });
    let doubts: Vec<String> = doubts.collect();
    let promises = plan.text().contains("nothing would stop");
    assert_eq!(promises, stop.is_empty() && doubts.is_empty() && plan.changes, "{}", plan.text());
    assert_eq!((plan.hurts(), stop.len() % 3), (!stop.is_empty(), 0), "all or none: {}", plan.text());
    (stop, doubts)
}

fn three(reason: &str) -> Vec<String> {
    vec![reason.to_owned(); 3]
}

#[test]
fn what_was_known_of_a_device_and_becomes_another_stops_it() {
    for (before, after, word, reason) in [
        (A, B, "mac", "source-mac-mismatch"),
        ("vlan = 5", "vlan = 6", "vlan", "wrong-vlan"),
        ("segment = \"cell0\"", "segment = \"cell1\"", "segment", "wrong-segment"),
    ] {
        let responder = told(["", before], ["", after]);
        assert_eq!(
            responder,
            (three(reason), vec![format!("plc {word}")]),
            "its answers do not come through"
        );
        let initiator = told([before, ""], [after, ""]);
        assert_eq!(initiator, (three(reason), vec![format!("panel {word}")]));
    }
}

#[test]
fn hardware_addresses_that_were_swapped_stop_both() {
    let (stop, doubts) = told([A, B], [B, A]);
    assert_eq!((stop, doubts.len()), (three("source-address-mismatch"), 2));
}

#[test]
fn what_nobody_knew_could_stop_a_device_and_is_no_promise() {
    for (key, word) in [(A, "mac"), ("vlan = 5", "vlan"), ("segment = \"cell0\"", "segment")] {
        assert_eq!(told(["", ""], ["", key]), (vec![], vec![format!("plc {word}")]));
        assert_eq!(told(["", ""], [key, ""]), (vec![], vec![format!("panel {word}")]));
        assert_eq!(told(["", key], ["", key]), (vec![], vec![]), "it is known to be true");
        assert_eq!(told(["", key], ["", ""]), (vec![], vec![]), "less is claimed");
    }
}

#[test]
fn further_hardware_address_is_fine_and_one_less_is_in_doubt() {
    let both = "mac = [\"00:1d:9c:00:00:01\", \"00:1d:9c:00:00:02\"]";
    assert_eq!(told(["", A], ["", both]), (vec![], vec![]));
    assert_eq!(told(["", both], ["", A]), (vec![], vec!["plc mac".to_owned()]));
    let panel = |macs: &str| plant(&format!("{macs}\nip = \"dhcp\""), "ip = \"10.20.1.11\"");
    for (last, stops, doubts) in [(1, 0, 0), (2, 3, 1)] {
        let mut world = world();
        let own = bulkhead_common::wire::mac::from_octets([0, 0x1d, 0x9c, 0, 0, last]);
        let lease = Lease { mac: own, expires: u64::MAX, length: u64::MAX };
        world.leases.insert(IpAddr::from([10, 20, 1, 20]).into(), lease);
        let plan = changed(&panel(both), &panel(A), &world);
        assert_eq!((plan.breaks, plan.identities.total()), (stops, doubts), "a lease tells: {}", plan.text());
    }
}

#[test]
fn address_that_goes_stops_what_used_it() {
    let [before, after] =
        ["10.20.1.11", "10.20.1.12"].map(|ip| plant("ip = \"10.20.1.20\"", &format!("{A}\nip = \"{ip}\"")));
    let plan = changed(&before, &after, &world());
    assert_eq!((plan.breaks, plan.identities.list[0].device.as_str()), (3, "plc"), "{}", plan.text());
}

#[test]
fn host_of_a_network_that_becomes_a_device_is_told_of_and_a_device_without_traffic_is_not() {
    let plc = format!("ip = \"10.20.1.11\"\n{A}");
    let device = plant(&format!("ip = \"10.20.1.20\"\n{B}"), &plc);
    let network = device.split_once("[device.panel]").expect("there is one").0.to_owned();
    let network = network + "[network.panel]\ncidr = \"10.20.1.0/25\"\n";
    let more = "[device.spare]\nip = \"10.20.1.99\"\nmac = \"00:1d:9c:00:00:09\"\n";
    let plan = changed(&network, &(device + more), &world());
    let doubts: Vec<&str> = plan.identities.list.iter().map(|one| one.device.as_str()).collect();
    assert_eq!((plan.breaks, doubts), (0, vec!["panel"]), "{}", plan.text());
}

#[test]
fn person_reads_what_could_stop_and_nobody_is_told_of_while_nothing_is_dropped() {
    let before = plant("ip = \"10.20.1.20\"", "ip = \"10.20.1.11\"");
    let after = plant("ip = \"10.20.1.20\"", &format!("ip = \"10.20.1.11\"\n{A}"));
    let text = changed(&before, &after, &world()).text();
    let told = "looked at: 3 live flows, 0 recent; none that is allowed now would be denied, if the new identities below are true\n\n\
                IDENTITY CHANGES: 1 device, of which everything could stop if what is new is wrong\n  \
                safety  plc: mac none -> 00:1d:9c:00:00:01; 3 known flows\n\n";
    assert!(text.contains(told), "{text}");
    assert!(text.contains("\n1 device CUT OFF IF THE NEW IDENTITY IS WRONG; devices: 1 changed; "), "{text}");
    let [before, after] = [before, after].map(|text| text.replace("\"enforce\"", "\"monitor\""));
    assert_eq!(changed(&before, &after, &world()).identities, Listed::default());
}
