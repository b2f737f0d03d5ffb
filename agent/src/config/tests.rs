//! The configuration as people write it, and what they are told when it is wrong.

use std::{path::Path, time::Duration};

use super::*;
use crate::diagnostic::{Severity, render_text};

fn read(text: &str) -> Config {
    let (config, found, sources) = parse_config("bulkhead.toml", text);
    assert!(found.is_empty(), "{}", render_text(&found, &sources, false));
    config.expect("no finding, so a configuration")
}

fn codes(text: &str) -> Vec<&'static str> {
    let (config, found, _) = parse_config("bulkhead.toml", text);
    assert_eq!(config.is_none(), found.iter().any(|d| d.severity == Severity::Error));
    assert!(found.iter().all(|d| d.help.is_some() && d.location().is_some()));
    found.iter().map(|d| d.code).collect()
}

const UPLINK: &str = "[interface.eth0]\n";

#[test]
fn three_lines_make_a_gateway() {
    let config = read("[interface.eth0]\n[interface.eth1]\nrole = \"device-side\"\n");
    let [eth0, eth1] = config.interfaces.as_slice() else { panic!("{config:?}") };
    assert_eq!((eth0.role, eth0.management, eth0.unmanaged), (Role::Uplink, true, Unmanaged::Monitor));
    assert_eq!((eth1.role, eth1.management, eth1.attach), (Role::DeviceSide, false, Attach::Native));
    assert_eq!(config.policy, Path::new("/etc/bulkhead/policy.d"));
    assert_eq!(config.management, Management::default());
    assert_eq!(config.limits.ring_bytes, 262_144);
    assert_eq!(config.flows.tcp_idle, Duration::from_secs(432_000));
}

#[test]
fn every_key_is_read() {
    let config = read(
        r#"
name = "line-3"
policy = "/srv/policy"
state = "/srv/state"
pins = "/srv/pins"
socket = "/srv/api.sock"
socket_group = "bulkhead"
[interface.eth1]
role = "device-side"
attach = "generic"
unmanaged = "drop"
management = true
[management]
from = ["10.0.0.0/8", "192.0.2.7/32"]
tcp = [22, "8000-8010"]
udp = [161]
[infrastructure]
arp = false
dhcp_client = false
ipv6_nd = false
[flows]
adopt_for = "0s"
midstream = "strict"
tcp_idle = "1h30m"
udp_idle = "10s"
icmp_idle = "5s"
[violations]
file = "-"
summary = "1m"
[limits]
devices = 10
rules = 20
rows = 2048
flows = 4096
violations = 64
ring_bytes = 4096
"#,
    );
    let interface = Interface {
        name: "eth1".into(),
        role: Role::DeviceSide,
        attach: Attach::Generic,
        unmanaged: Unmanaged::Drop,
        management: true,
    };
    let range = |protocol, low, high| Selector { protocol, low, high };
    let expected = Config {
        name: Some("line-3".into()),
        policy: "/srv/policy".into(),
        state: "/srv/state".into(),
        pins: "/srv/pins".into(),
        socket: "/srv/api.sock".into(),
        socket_group: Some("bulkhead".into()),
        interfaces: vec![interface],
        management: Management {
            from: vec!["10.0.0.0/8".parse().expect("a prefix"), "192.0.2.7/32".parse().expect("a prefix")],
            services: vec![range(6, 22, 22), range(6, 8000, 8010), range(17, 161, 161)],
        },
        infrastructure: Infrastructure { arp: false, dhcp_client: false, ipv6_nd: false },
        flows: Flows {
            adopt_for: Duration::ZERO,
            midstream: Midstream::Strict,
            tcp_idle: Duration::from_secs(5400),
            udp_idle: Duration::from_secs(10),
            icmp_idle: Duration::from_secs(5),
        },
        violations: Violations { file: ViolationFile::Stdout, summary: Duration::from_secs(60) },
        limits: Limits { devices: 10, rules: 20, rows: 2048, flows: 4096, violations: 64, ring_bytes: 4096 },
    };
    assert_eq!(config, expected);
}

#[test]
fn an_agent_without_interfaces_is_refused_with_help() {
    assert_eq!(codes(""), ["BH0601"]);
    assert_eq!(codes("interface = \"eth0\""), ["BH0102"]);
}

#[test]
fn management_ports_keep_ssh_unless_tcp_says_otherwise() {
    let udp_only = read(&format!("{UPLINK}[management]\nudp = 161\n"));
    assert_eq!(udp_only.management.services.len(), 2);
    let closed = read(&format!("{UPLINK}[management]\ntcp = []\n"));
    assert!(closed.management.services.is_empty());
}

#[test]
fn everything_wrong_is_reported_at_once() {
    let text = r#"
nam = "line-3"
state = "relative/path"
socket_group = ""
[interface.a-name-that-is-too-long]
role = "inside"
[management]
from = ["10.0.0.1/8", "fd00::/8"]
tcp = [0]
[infrastructure]
arp = "yes"
[flows]
adopt_for = "10"
udp_idle = "0s"
tcp_idle = 5
[limits]
devices = 70000
flows = -1
ring_bytes = 5000
"#;
    let mut expected = vec![
        "BH0101", "BH0608", "BH0609", "BH0602", "BH0603", "BH0206", "BH0503", "BH0209", "BH0102", "BH0604",
        "BH0605", "BH0102", "BH0606", "BH0606", "BH0607",
    ];
    let mut found = codes(text);
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn an_ipv6_management_prefix_is_kept_with_a_warning() {
    let (config, found, _) =
        parse_config("c", &format!("{UPLINK}[management]\nfrom = [\"fd00::/8\", \"10.0.0.0/8\"]\n"));
    assert_eq!(config.expect("warnings do not refuse").management.from.len(), 2);
    assert_eq!(found[0].code, "BH0503");
    assert_eq!(codes(&format!("{UPLINK}[management]\nfrom = []\n")), ["BH0610"]);
}

#[test]
fn a_slip_in_the_notation_does_not_report_its_followers() {
    assert_eq!(codes("[interface.eth0\nrole = \"uplink\"\n"), ["BH0001"]);
}
