//! The agent's side of a lane. In: its interfaces and what shall be allowed. Out: a configuration, and a policy of 1,024 devices.

use std::fmt::Write;

use bulkhead_tests::lab::traffic::{self, ALLOWED, DEVICES, SERVERS};

use super::{lane::Ground, scenario::Way};

/// What the policy says of the flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// All of them are allowed.
    Allows,
    /// As above, with one rule more, which is about nothing that is sent.
    AllowsMore,
    /// None of them is.
    Denies,
}

/// What a device of a plant may do besides: rules that are looked through and match nothing of what is sent.
const OTHER_SERVICES: [&str; 16] = [
    "ntp",
    "dns",
    "syslog-tls",
    "snmp",
    "https",
    "ssh",
    "ldaps",
    "kerberos",
    "mqtts",
    "amqps",
    "opcua",
    "modbus",
    "s7",
    "iec104",
    "dnp3",
    "postgresql",
];

/// The configuration of the gateway.
pub(super) fn config(ground: &Ground, way: Way) -> String {
    let room = &ground.gateway.room;
    let (inward, outward) = (&ground.inward, &ground.outward);
    let (device, uplink) = match way {
        Way::Redirected => (
            format!("role = \"pair\"\npeer = \"{outward}\"\nside = \"device\""),
            format!("role = \"pair\"\npeer = \"{inward}\""),
        ),
        Way::Direct => {
            let direct = |role| format!("role = \"{role}\"\nforward = \"direct\"");
            (direct("device-side"), direct("uplink"))
        }
        Way::Routed | Way::Bridged => ("role = \"device-side\"".to_owned(), "role = \"uplink\"".to_owned()),
    };
    let path = |name: &str| room.inside(name).display().to_string();
    format!(
        "policy = \"{}\"\nstate = \"{}\"\npins = \"{}\"\nsocket = \"{}\"\n\n[interface.{inward}]\n{device}\n\n\
         [interface.{outward}]\n{uplink}\n\n[violations]\nheartbeat = \"0s\"\n\n[metrics]\nlisten = \"off\"\n\n\
         [sink.log]\nto = \"file:{}\"\n",
        path("policy.d"),
        path("state"),
        room.pin_inside("bulkhead").display(),
        path("api.sock"),
        path("violations.jsonl"),
    )
}

/// The policy: devices with an address of their own each, all enforcing, and a class of rules.
pub(super) fn policy(policy: Policy) -> String {
    let (network, prefix) = SERVERS;
    let last = ALLOWED + 3;
    let mut text = format!(
        "version = 1\n\n[network.servers]\ncidr = \"{network}/{prefix}\"\n\n[network.office]\ncidr = \"10.50.0.0/16\"\n\n\
         [service.telemetry]\nudp = \"{ALLOWED}-{last}\"\n\n[class.station]\nmode = \"enforce\"\n"
    );
    let mut allow = |to: &str, service: &str| {
        write!(text, "\n[[class.station.allow]]\nto = \"{to}\"\nservice = \"{service}\"\n")
            .expect("a string takes any text");
    };
    for service in OTHER_SERVICES {
        allow("office", service);
    }
    match policy {
        Policy::Allows => allow("servers", "telemetry"),
        Policy::AllowsMore => {
            allow("servers", "telemetry");
            allow("office", "telnet");
        }
        Policy::Denies => allow("office", "telemetry"),
    }
    for number in 0..DEVICES {
        let (mac, ip) = traffic::device(number);
        write!(text, "\n[device.station-{number}]\nmac = \"{mac}\"\nip = \"{ip}\"\nclass = \"station\"\n")
            .expect("a string takes any text");
    }
    text
}
