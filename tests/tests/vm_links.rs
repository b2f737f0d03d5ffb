//! The program on the links that gateways have, on whatever kernel this is.
//!
//! Runs in the machines of `cargo xtask test --vm`, which load the modules for VLANs and bonds; elsewhere it is skipped.
//! Lines with `@@ fact` go to the table of that command.

mod packet;

use std::{env, time::Duration};

use bulkhead_agent::dataplane::{
    AttachMode, Attached, Dataplane, DataplaneError, Entry, Moment, detach_interface, probe,
};
use bulkhead_common::{
    layout::{SegmentKey, SegmentRow},
    lookup::ANY_VLAN,
    reason::Reason,
};
use bulkhead_tests::{
    frame::frame,
    lab::{
        Mac, Namespace, Room, Sniffer,
        link::{self, End},
        wait::wait_for,
        wire::RawSender,
    },
    skip::{Tier, skip},
};
use packet::{SIZES, Setup, gateway as own, open, setup::ENDLESS, tables, text};

/// The first kernel whose XDP programs see frames in fragments.
const WITH_FRAGMENTS: (u32, u32) = (5, 18);

/// The first kernel whose bonds take a native program.
const WITH_BONDS: (u32, u32) = (5, 15);
const SOON: Duration = Duration::from_secs(30);

/// A gateway and the other end of its links, or `None` after the skip was recorded.
fn machine(test: &str) -> Option<(Namespace, Room, Namespace)> {
    if env::var_os("BULKHEAD_VM").is_none() {
        skip(Tier::Vm, test, "it runs in the machines of `cargo xtask test --vm`");
        return None;
    }
    let (gateway, room) = Namespace::with_room("gateway").expect("the machine has namespaces");
    Some((gateway, room, Namespace::new("outside").expect("another one")))
}

/// Major and minor version of the running kernel.
fn version() -> (u32, u32) {
    let release = nix::sys::utsname::uname().expect("every Linux has a name");
    let release = release.release().to_string_lossy().into_owned();
    let mut numbers = release.split('.').map(|number| number.parse().expect("a number"));
    (numbers.next().expect("major"), numbers.next().expect("minor"))
}

/// A veth pair: `inside` in the gateway, `outside` in the other namespace.
fn pair(gateway: &Namespace, other: &Namespace, inside: &str, outside: &str, mtu: u32) {
    let number = inside.bytes().last().expect("a name");
    link::veth(
        &End { namespace: gateway, interface: inside, mac: Mac([2, 0, 0, 0, 1, number]), mtu },
        &End { namespace: other, interface: outside, mac: Mac([2, 0, 0, 0, 2, number]), mtu },
    )
    .expect("a veth pair");
}

fn attach(gateway: &Namespace, dataplane: &mut Dataplane, name: &str) -> Result<Attached, DataplaneError> {
    gateway.run(|| dataplane.attach(name, AttachMode::Native))
}

/// The mode and the entry that run on an interface, as the kernel says.
fn running(gateway: &Namespace, dataplane: &mut Dataplane, name: &str) -> Option<(AttachMode, Entry)> {
    let programs = dataplane.programs().expect("the kernel tells");
    let interfaces = gateway.run(probe::interfaces).expect("interfaces");
    let found = interfaces.iter().find(|interface| interface.name == name).expect("it is there");
    let xdp = found.xdp?;
    let (_, entry) = programs.iter().find(|(id, _)| *id == xdp.program).expect("nobody else attaches here");
    Some((xdp.mode, *entry))
}

#[test]
fn entry_that_suits_the_mtu_runs_in_native_mode() {
    let test = "entry_that_suits_the_mtu_runs_in_native_mode";
    let Some((gateway, room, other)) = machine(test) else { return };
    let (mut dataplane, _events) = gateway.run(|| open(&room, "pins", SIZES));
    let loaded = |dataplane: &mut Dataplane| {
        dataplane.programs().expect("told").into_iter().map(|(_, entry)| entry).collect::<Vec<_>>()
    };
    assert_eq!(loaded(&mut dataplane), [Entry::Linear]);
    let fragments = version() >= WITH_FRAGMENTS;
    pair(&gateway, &other, "small0", "peer0", 1500);
    let small = attach(&gateway, &mut dataplane, "small0");
    let entry = running(&gateway, &mut dataplane, "small0");
    println!("@@ fact native-1500 {}", told(entry));
    assert_eq!(small.map_err(|error| error.to_string()), Ok(Attached::New));
    assert_eq!(entry, Some((AttachMode::Native, Entry::Linear)));
    pair(&gateway, &other, "jumbo1", "peer1", 9000);
    let jumbo = attach(&gateway, &mut dataplane, "jumbo1");
    let entry = running(&gateway, &mut dataplane, "jumbo1");
    println!("@@ fact native-9000 {}", told(entry));
    match jumbo {
        Ok(attached) => {
            assert!(fragments && attached == Attached::New);
            assert_eq!(entry, Some((AttachMode::Native, Entry::Fragments)));
            assert_eq!(loaded(&mut dataplane), [Entry::Linear, Entry::Fragments]);
        }
        Err(error) => {
            let said = error.to_string();
            println!("{said}");
            assert!(
                !fragments && said.contains("`jumbo1` in native mode") && said.contains("5.18"),
                "{said}"
            );
            assert_eq!((entry, loaded(&mut dataplane)), (None, vec![Entry::Linear]));
            let generic = gateway.run(|| dataplane.attach("jumbo1", AttachMode::Generic));
            assert_eq!(generic.map_err(|error| error.to_string()), Ok(Attached::New), "as it advises");
        }
    }
}

fn told(running: Option<(AttachMode, Entry)>) -> &'static str {
    running.map_or("no", |(_, entry)| entry.name())
}

/// A data path with the policy of the packet table; interfaces with their counters.
fn start(gateway: &Namespace, room: &Room, counted: &[(&str, u32)]) -> Dataplane {
    let indexes: Vec<(u32, u32)> = counted
        .iter()
        .map(|(name, counter)| (link::index(gateway, name).expect("it is there"), *counter))
        .collect();
    gateway.run(|| {
        let (mut dataplane, _events) = open(room, "pins", SIZES);
        let setup = Setup::default();
        dataplane.configure(&setup.runtime(&ENDLESS)).expect("settings fit");
        let floor = setup.placed(&ENDLESS).segment;
        for (ifindex, counter) in indexes {
            let row = SegmentRow { counter, ..floor };
            dataplane
                .set_segment(SegmentKey { ifindex, vlan: ANY_VLAN, pad: 0 }, row)
                .expect("there is room");
        }
        let policy = tables(&[("cell.toml", &text("cell.toml"))]);
        let applied = dataplane.apply(policy, &own(), &Setup::segments(), &Moment::default());
        applied.map(|_| ()).unwrap_or_else(|error| panic!("{error}"));
        dataplane
    })
}

fn send(sender: &RawSender, line: &str) {
    sender.send(&frame(line).expect("it is well formed")).expect("the link is up");
}

/// Passed and dropped packets of an interface, once `seen` were decided.
fn decided(dataplane: &Dataplane, counter: u32, seen: u64) -> (u64, u64) {
    wait_for(&format!("{seen} frames to be decided"), SOON, || {
        let counts = dataplane.interface_counts(counter)?;
        Ok((counts.seen.packets >= seen).then_some((counts.passed.packets, counts.dropped.packets)))
    })
    .unwrap_or_else(|error| panic!("{error}: {:?}", dataplane.interface_counts(counter)))
}

#[test]
fn tagged_frames_of_a_trunk_are_decided_with_their_vlan() {
    let test = "tagged_frames_of_a_trunk_are_decided_with_their_vlan";
    let Some((gateway, room, other)) = machine(test) else { return };
    pair(&gateway, &other, "trunk0", "peer0", 1500);
    for (name, id) in [("cell7", 7), ("cell8", 8)] {
        link::vlan(&gateway, "trunk0", name, id).expect("a VLAN");
    }
    let mut dataplane = start(&gateway, &room, &[("trunk0", 1)]);
    assert_eq!(attach(&gateway, &mut dataplane, "trunk0").map_err(|e| e.to_string()), Ok(Attached::New));
    let here = |name: &str| {
        Sniffer::start(&gateway, name, |seen| (!seen.outgoing).then_some(())).expect("it listens")
    };
    let (seven, eight) = (here("cell7"), here("cell8"));
    let sender = RawSender::new(&other, "peer0").expect("a socket");
    send(&sender, "hmi>tagged tcp 49152>502 S vlan=7");
    send(&sender, "tagged>hmi tcp 502>49152 SA vlan=8");
    send(&sender, "tagged>hmi tcp 502>49152 SA");
    send(&sender, "tagged>hmi tcp 502>49152 SA vlan=7");
    assert_eq!(decided(&dataplane, 1, 4), (2, 2));
    seven.wait_for_more(&(), 0, SOON).expect("it arrives");
    seven.wait_until("both to arrive", SOON, |counts| counts.get(&()) == Some(&2)).expect("they arrive");
    assert_eq!(eight.stop().expect("none was lost").get(&()), None);
    let applied = dataplane.applied().expect("a policy was applied");
    let dense = applied.tables.device_id("tagged").expect("a device of the policy").0;
    let counts = dataplane.device_counts(applied.ids.devices[dense as usize]).expect("the id is in the map");
    assert_eq!(counts[usize::from(Reason::WrongVlan.code())], 2);
}

#[test]
fn interface_of_a_vlan_is_refused_in_native_mode_by_name() {
    let test = "interface_of_a_vlan_is_refused_in_native_mode_by_name";
    let Some((gateway, room, other)) = machine(test) else { return };
    pair(&gateway, &other, "trunk0", "peer0", 1500);
    link::vlan(&gateway, "trunk0", "cell7", 7).expect("a VLAN");
    let mut dataplane = start(&gateway, &room, &[("cell7", 1)]);
    let said = attach(&gateway, &mut dataplane, "cell7").expect_err("it has no driver").to_string();
    println!("{said}");
    assert!(
        said.starts_with("failed to attach to `cell7` in native mode: ")
            && said.contains("the trunk of a VLAN"),
        "{said}"
    );
    let generic = gateway.run(|| dataplane.attach("cell7", AttachMode::Generic));
    assert_eq!(generic.map_err(|error| error.to_string()), Ok(Attached::New));
    // The tag is gone before the program of a VLAN's own interface runs: what remains is an untagged frame.
    let sender = RawSender::new(&other, "peer0").expect("a socket");
    send(&sender, "hmi>plc tcp 49152>502 S vlan=7");
    send(&sender, "attacker>plc tcp 49152>502 S vlan=7");
    assert_eq!(decided(&dataplane, 1, 2), (1, 1));
}

#[test]
fn ports_of_a_bond_are_enforced_each_for_itself() {
    let test = "ports_of_a_bond_are_enforced_each_for_itself";
    let Some((gateway, room, other)) = machine(test) else { return };
    pair(&gateway, &other, "port0", "peer0", 1500);
    pair(&gateway, &other, "port1", "peer1", 1500);
    link::bond(&gateway, "team0", &["port0", "port1"]).expect("a bond");
    let mut dataplane = start(&gateway, &room, &[("port0", 1), ("port1", 2)]);
    let arrived =
        Sniffer::start(&gateway, "team0", |seen| (!seen.outgoing).then_some(())).expect("it listens");
    for (port, peer, counter) in [("port0", "peer0", 1), ("port1", "peer1", 2)] {
        let attached = attach(&gateway, &mut dataplane, port);
        assert_eq!(attached.map_err(|error| error.to_string()), Ok(Attached::New), "{port}");
        let sender = RawSender::new(&other, peer).expect("a socket");
        send(&sender, "hmi>plc tcp 49152>502 S");
        send(&sender, "attacker>plc tcp 49152>502 S");
        assert_eq!(decided(&dataplane, counter, 2), (1, 1), "{port}");
    }
    arrived.wait_until("one of each port", SOON, |counts| counts.get(&()) == Some(&2)).expect("they arrive");
}

#[test]
fn program_of_a_bond_meets_frames_as_those_of_its_ports() {
    let test = "program_of_a_bond_meets_frames_as_those_of_its_ports";
    let Some((gateway, room, other)) = machine(test) else { return };
    pair(&gateway, &other, "port0", "peer0", 1500);
    pair(&gateway, &other, "port1", "peer1", 1500);
    link::bond(&gateway, "team0", &["port0", "port1"]).expect("a bond");
    // One counter for what the agent takes to be one segment, another for frames that are not told apart from it.
    let mut dataplane = start(&gateway, &room, &[("team0", 2), ("port0", 1), ("port1", 1)]);
    match attach(&gateway, &mut dataplane, "team0") {
        Ok(attached) => assert!(version() >= WITH_BONDS && attached == Attached::New),
        Err(error) => {
            let said = error.to_string();
            println!("{said}");
            assert!(
                version() < WITH_BONDS
                    && said.contains("`team0` in native mode")
                    && said.contains("list its ports `port0`, `port1`"),
                "{said}"
            );
            return;
        }
    }
    for (peer, passed) in [("peer0", 1), ("peer1", 2)] {
        let sender = RawSender::new(&other, peer).expect("a socket");
        send(&sender, "hmi>plc tcp 49152>502 S");
        send(&sender, "attacker>plc tcp 49152>502 S");
        assert_eq!(decided(&dataplane, 1, 2 * passed), (passed, passed), "{peer}");
    }
    assert_eq!(dataplane.interface_counts(2).expect("configured").seen.packets, 0);
    // One of both: what would run twice is refused, by the kernel.
    let said =
        attach(&gateway, &mut dataplane, "port0").expect_err("the bond's program is there").to_string();
    println!("{said}");
    assert!(said.contains("`port0`") && said.contains("not both"), "{said}");
    detach_interface(&room.pin_outside("pins"), "team0").expect("it can be ended");
}
