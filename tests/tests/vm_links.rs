//! The program on the links that gateways have, on whatever kernel this is.
//!
//! Runs in the machines of `cargo xtask test --vm`, which load the modules for VLANs and bonds; elsewhere it is skipped.
//! Lines with `@@ fact` go to the table of that command.

mod packet;

use std::env;

use bulkhead_agent::dataplane::{AttachMode, Attached, Dataplane, DataplaneError, probe};
use bulkhead_tests::{
    lab::{
        Mac, Namespace, Room,
        link::{self, End},
    },
    skip::{Tier, skip},
};
use packet::{SIZES, open};

/// The first kernel whose XDP programs see frames in fragments.
const WITH_FRAGMENTS: (u32, u32) = (5, 18);

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

#[test]
fn program_loads_and_attaches_in_native_mode() {
    let test = "program_loads_and_attaches_in_native_mode";
    let Some((gateway, room, other)) = machine(test) else { return };
    let (mut dataplane, _events) = gateway.run(|| open(&room, "pins", SIZES));
    let entry = dataplane.program_id().and_then(probe::program_name).expect("it is loaded");
    println!("@@ fact entry {entry}");
    let fragments = version() >= WITH_FRAGMENTS;
    assert_eq!(entry, if fragments { "bulkhead_frags" } else { "bulkhead" });
    pair(&gateway, &other, "small0", "peer0", 1500);
    let small = attach(&gateway, &mut dataplane, "small0");
    println!("@@ fact native-1500 {}", told(&small));
    assert_eq!(small.map_err(|error| error.to_string()), Ok(Attached::New));
    pair(&gateway, &other, "jumbo1", "peer1", 9000);
    let jumbo = attach(&gateway, &mut dataplane, "jumbo1");
    println!("@@ fact native-9000 {}", told(&jumbo));
    match jumbo {
        Ok(attached) => assert!(fragments && attached == Attached::New),
        Err(error) => {
            let said = error.to_string();
            assert!(!fragments && said.contains("`jumbo1` in native mode"), "{said}");
        }
    }
    for name in ["small0", "jumbo1"] {
        let interfaces = gateway.run(probe::interfaces).expect("interfaces");
        let found = interfaces.iter().find(|interface| interface.name == name).expect("it is there");
        let native = found.xdp.is_some_and(|xdp| xdp.mode == AttachMode::Native);
        assert_eq!(native, fragments || name == "small0", "{name}");
    }
}

fn told(attached: &Result<Attached, DataplaneError>) -> String {
    match attached {
        Ok(_) => "yes".into(),
        Err(_) => "no".into(),
    }
}
