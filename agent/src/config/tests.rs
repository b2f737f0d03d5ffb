//! The configuration as people write it, and what they are told when it is wrong.

use std::{path::Path, time::Duration};

use super::*;
use crate::{
    diagnostic::{Severity, render_text},
    record::Format,
    signing::{self, KeySource},
};

mod described;
mod direct;
mod history;
mod sinks;

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
    assert_eq!((eth0.role, eth1.role, eth1.attach), (Role::Uplink, Role::DeviceSide, Attach::Native));
    let [first, second] = config.segments.as_slice() else { panic!("{config:?}") };
    assert_eq!((first.name.as_str(), first.management, first.trusted), ("eth0", true, true));
    assert_eq!((second.name.as_str(), second.management, second.trusted), ("eth1", false, false));
    assert_eq!((second.vlan, second.unmanaged), (None, Unmanaged::Monitor));
    assert_eq!(second.infrastructure.bits(), 0x1ff);
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
trusted = false
fragments = "drop"
dhcp_servers = ["10.20.1.1", "fe80::1"]
routers = ["00:1d:9c:c7:b0:70", "10.20.1.1"]
fix_offloads = true
[interface.eth1.infrastructure]
lldp = true
[segment.line-3]
interface = "eth1"
vlan = 10
unmanaged = "pass"
trusted = true
dhcp_servers = []
infrastructure = { stp = true }
[management]
from = ["10.0.0.0/8", "192.0.2.7/32"]
tcp = [22, "8000-8010"]
udp = [161]
[infrastructure]
arp = false
dhcp_client = false
ipv6_nd = false
multicast_membership = false
lldp = false
stp = false
redundancy = false
eapol = false
ptp = false
[flows]
adopt_for = "0s"
midstream = "strict"
tcp_idle = "1h30m"
tcp_opening = "20s"
new_per_second = 0
udp_idle = "10s"
icmp_idle = "5s"
[names]
keep = "1h"
private = false
[violations]
summary = "1m"
heartbeat = "2m"
[sink.out]
to = "stdout"
format = "ecs"
[limits]
devices = 10
rules = 20
rows = 2048
flows = 4096
verdicts = 2048
violations = 64
ring_bytes = 4096
names = 65536
revisions = 5
[metrics]
listen = "[::1]:9000"
[audit]
file_bytes = 65536
files = 3
[rollout]
watch = "10m"
canary = "2h"
canaries = 3

[inventory]
frames_per_second = 50
[drift]
every = "1h"
repair = true
[history]
file = "/srv/flows.db"
file_bytes = 1048576
days = 30
flush = "5m"
[history.collector]
listen = "[::1]:2055"
from = ["fd00::1", "10.0.0.1"]
[signing]
keys = "/srv/plant.pub"
required = false
"#,
    );
    let interface = Interface {
        name: "eth1".into(),
        role: Role::DeviceSide,
        attach: Attach::Generic,
        forward: Forward::Kernel,
        pair: None,
        fix_offloads: true,
    };
    let off = Infrastructure {
        arp: false,
        dhcp_client: false,
        ipv6_nd: false,
        multicast_membership: false,
        lldp: false,
        stp: false,
        redundancy: false,
        eapol: false,
        ptp: false,
    };
    let address = |text: &str| Host::Address(text.parse().expect("an address"));
    let own = Segment {
        name: "eth1".into(),
        interface: "eth1".into(),
        vlan: None,
        unmanaged: Unmanaged::Drop,
        management: true,
        trusted: false,
        fragments: Fragments::Drop,
        dhcp_servers: vec![address("10.20.1.1"), address("fe80::1")],
        routers: vec![address("10.20.1.1"), Host::Mac("00:1d:9c:c7:b0:70".parse().expect("a MAC address"))],
        infrastructure: Infrastructure { lldp: true, ..off },
    };
    // What a segment does not say is as on its interface.
    let line = Segment {
        name: "line-3".into(),
        vlan: Some(10),
        unmanaged: Unmanaged::Pass,
        trusted: true,
        dhcp_servers: Vec::new(),
        infrastructure: Infrastructure { stp: true, ..own.infrastructure },
        ..own.clone()
    };
    assert_eq!((own.infrastructure.bits(), line.infrastructure.bits()), (16, 48));
    let range = |protocol, low, high| Selector { protocol, low, high };
    let expected = Config {
        name: Some("line-3".into()),
        policy: "/srv/policy".into(),
        state: "/srv/state".into(),
        pins: "/srv/pins".into(),
        socket: "/srv/api.sock".into(),
        socket_group: Some("bulkhead".into()),
        interfaces: vec![interface],
        segments: vec![own, line],
        management: Management {
            from: vec!["10.0.0.0/8".parse().expect("a prefix"), "192.0.2.7/32".parse().expect("a prefix")],
            services: vec![range(6, 22, 22), range(6, 8000, 8010), range(17, 161, 161)],
        },
        infrastructure: off,
        flows: Flows {
            adopt_for: Duration::ZERO,
            midstream: Midstream::Strict,
            tcp_idle: Duration::from_secs(5400),
            tcp_opening: Duration::from_secs(20),
            new_per_second: 0,
            udp_idle: Duration::from_secs(10),
            icmp_idle: Duration::from_secs(5),
        },
        names: Names { keep: Duration::from_secs(3600), private: false },
        violations: Violations { summary: Duration::from_secs(60), heartbeat: Duration::from_secs(120) },
        sinks: vec![Sink { name: "out".into(), to: Destination::Stdout, format: Format::Ecs }],
        metrics: Metrics { listen: Some("[::1]:9000".parse().expect("an address")) },
        audit: Audit { file_bytes: 65_536, files: 3 },
        inventory: Some(Inventory { frames_per_second: 50 }),
        drift: Drift { every: Duration::from_secs(3600), repair: true },
        history: Some(History {
            file: "/srv/flows.db".into(),
            file_bytes: 1 << 20,
            days: 30,
            flush: Duration::from_secs(300),
            collector: Some(FlowCollector {
                listen: "[::1]:2055".parse().expect("an address"),
                from: vec!["10.0.0.1".parse().expect("an address"), "fd00::1".parse().expect("an address")],
            }),
        }),
        rollout: Rollout { watch: Duration::from_secs(600), canary: Duration::from_secs(7200), canaries: 3 },
        limits: Limits {
            devices: 10,
            rules: 20,
            rows: 2048,
            flows: 4096,
            verdicts: 2048,
            violations: 64,
            ring_bytes: 4096,
            names: 65_536,
            revisions: 5,
        },
        signing: Requirement { keys: vec![KeySource::File("/srv/plant.pub".into())], required: false },
    };
    assert_eq!(config, expected);
    let ids = config.segment_ids();
    let (own, line) = (ids.get("eth1"), ids.get("line-3"));
    assert!(own.is_some() && line.is_some() && own != line);
    assert_eq!(ids.get("cell"), None);
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
    let closed = format!("{UPLINK}[management]\ntcp = []\n");
    assert_eq!(codes(&closed), ["BH0610"]);
    let other = read(&format!("{closed}udp = 161\n"));
    assert_eq!(other.management.services.len(), 1);
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
[names]
keep = "1s"
[limits]
devices = 70000
flows = -1
ring_bytes = 5000
[audit]
files = 1
"#;
    let mut expected = vec![
        "BH0101", "BH0608", "BH0609", "BH0602", "BH0603", "BH0206", "BH0209", "BH0102", "BH0604", "BH0605",
        "BH0605", "BH0102", "BH0606", "BH0606", "BH0606", "BH0607",
    ];
    let mut found = codes(text);
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn a_slip_in_the_notation_does_not_report_its_followers() {
    assert_eq!(codes("[interface.eth0\nrole = \"uplink\"\n"), ["BH0001"]);
}

/// The findings of a configuration: code and message, and its help.
fn told(text: &str) -> Vec<(&'static str, String, String)> {
    let (_, found, _) = parse_config("bulkhead.toml", text);
    found.into_iter().map(|d| (d.code, d.message, d.help.unwrap_or_default())).collect()
}

fn one(text: &str, code: &str, message: &str, help: &str) {
    let found = told(text);
    let [(there, said, advice)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((*there, said.as_str()), (code, message));
    assert!(advice.contains(help), "{advice}");
}

#[test]
fn a_pair_is_two_interfaces_that_name_each_other() {
    let config = read(
        "[interface.eth1]\nrole = \"pair\"\npeer = \"eth2\"\nside = \"device\"\n\
         [interface.eth2]\nrole = \"pair\"\npeer = \"eth1\"\nmirror_link = false\n",
    );
    let [eth1, eth2] = config.interfaces.as_slice() else { panic!("{config:?}") };
    assert_eq!((eth1.role, eth2.role), (Role::DeviceSide, Role::Uplink));
    assert_eq!(eth1.pair, Some(Pair { peer: "eth2".into(), mirror_link: false }));
    assert_eq!(eth2.pair, Some(Pair { peer: "eth1".into(), mirror_link: false }));
    let trusted: Vec<bool> = config.segments.iter().map(|segment| segment.trusted).collect();
    assert_eq!(trusted, [false, true]);
    assert!(config.segments.iter().all(|segment| !segment.management), "a pair has no address");
}

#[test]
fn a_pair_that_is_none_is_refused_with_help() {
    let side = |name: &str, more: &str| format!("[interface.{name}]\nrole = \"pair\"\n{more}\n");
    let device = "side = \"device\"";
    one(&side("eth1", device), "BH0611", "`eth1` is one side of a pair, and the other is not named", "peer");
    let own = side("eth1", "peer = \"eth1\"");
    one(&own, "BH0611", "`eth1` cannot be its own peer", "other side");
    let typo = side("eth1", "peer = \"eht2\"") + "[interface.eth2]\n";
    one(&typo, "BH0611", "the peer `eht2` is not configured", "did you mean `eth2`?");
    let alone = side("eth1", "peer = \"eth2\"") + "[interface.eth2]\n";
    one(
        &alone,
        "BH0611",
        "`eth2` does not name `eth1` as its peer",
        "`peer = \"eth1\"` in `[interface.eth2]`",
    );
    let nobody = side("eth1", "peer = \"eth2\"") + &side("eth2", "peer = \"eth1\"");
    one(&nobody, "BH0611", "no side of the pair `eth1` and `eth2` holds devices", "side = \"device\"");
    let quarrel = side("eth1", "peer = \"eth2\"\nmirror_link = true\nside = \"device\"")
        + &side("eth2", "peer = \"eth1\"\nmirror_link = false");
    one(&quarrel, "BH0611", "the pair `eth1` and `eth2` disagrees about `mirror_link`", "one side");
    let stray = "[interface.eth1]\nmirror_link = true\n";
    one(stray, "BH0611", "`mirror_link` is for a pair, and `eth1` is none", "role = \"pair\"");
    let word = side("eth1", "peer = \"eth2\"\nside = \"devices\"")
        + &side("eth2", "peer = \"eth1\"\nside = \"uplink\"");
    one(&word, "BH0603", "unknown value of `side` `devices`", "did you mean `device`?");
}

#[test]
fn a_segment_without_a_place_of_its_own_is_refused_with_help() {
    let segment = |text: &str| format!("[interface.eth1]\n[segment.cell]\n{text}\n");
    one(
        &segment("interface = \"eht1\"\nvlan = 10"),
        "BH0612",
        "the interface `eht1` is not configured",
        "did you mean `eth1`?",
    );
    let here = "interface = \"eth1\"";
    one(&segment(here), "BH0612", "segment `cell` has no `vlan`", "vlan = 10");
    one(&segment("vlan = 10"), "BH0612", "segment `cell` has no `interface`", "interface = \"eth1\"");
    one(&segment(&format!("{here}\nvlan = 4095")), "BH0606", "`vlan` is out of range", "`1` to `4094`");
    one(
        &segment(&format!("{here}\nvlan = 1\ntrustd = true")),
        "BH0101",
        "unknown key `trustd` in segment `cell`",
        "`trusted`",
    );
    let twice = segment(&format!("{here}\nvlan = 7")) + "[segment.line]\ninterface = \"eth1\"\nvlan = 7\n";
    one(&twice, "BH0612", "VLAN 7 of `eth1` is segment `cell` already", "one of the two");
    let taken = "[interface.eth1]\n[segment.eth1]\ninterface = \"eth1\"\nvlan = 7\n";
    one(taken, "BH0612", "`eth1` is an interface, and a segment of that name already", "another name");
    let lists = segment(&format!("{here}\nvlan = 7\ntrusted = false\nrouters = [\"gateway\"]"));
    one(&lists, "BH0613", "`gateway` is no address of a host", "MAC address");
    let lists = segment(&format!("{here}\nvlan = 7\ndhcp_servers = [\"10.0.0.1\"]"));
    one(&lists, "BH0613", "`dhcp_servers` has no effect on a trusted segment", "trusted = false");
    let word = segment(&format!("{here}\nvlan = 7\ninfrastructure = {{ ldp = true }}"));
    one(&word, "BH0101", "unknown key `ldp` in `[infrastructure]` of segment `cell`", "did you mean `lldp`?");
}

#[test]
fn a_segment_keeps_its_number_when_others_come_and_go() {
    let number = |text: &str, name: &str| {
        let config = parse_config("c", text).0.expect("it is well formed");
        config.segment_ids().get(name).copied()
    };
    let one = "[interface.eth1]\nrole = \"device-side\"\n";
    let more = format!("[interface.eth0]\n{one}[segment.a]\ninterface = \"eth1\"\nvlan = 7\n");
    assert_eq!(number(one, "eth1"), number(&more, "eth1"));
    assert_ne!(number(&more, "eth1"), number(&more, "a"));
    assert_eq!(number(&more, "b"), None);
}

const KEY: &str = "RWSc6TgAxnfTevjeUv/YcEhJE53BWVsgkHUFS7/z2gVZC3XCoWbidfwV";

#[test]
fn whoever_names_a_key_requires_signatures_unless_he_says_otherwise() {
    let requirement = |text: &str| read(&format!("{UPLINK}[signing]\n{text}")).signing;
    assert_eq!(read(UPLINK).signing, Requirement::default());
    assert_eq!(requirement("required = false"), Requirement::default());
    let named = requirement(&format!("keys = \"{KEY}\""));
    assert_eq!(named.keys, [KeySource::Inline(signing::Key::parse(KEY).expect("a key"))]);
    assert!(named.required);
    let both = requirement(&format!("keys = [\"{KEY}\", \"/etc/bulkhead/plant.pub\"]\nrequired = false"));
    assert_eq!(both.keys[1], KeySource::File("/etc/bulkhead/plant.pub".into()));
    assert!(!both.required);
}

#[test]
fn keys_that_are_none_are_found() {
    let signing = |text: &str| codes(&format!("{UPLINK}[signing]\n{text}"));
    for wrong in ["RW", "plant.pub", "", &KEY[1..], "minisign encrypted secret key"] {
        assert_eq!(signing(&format!("keys = [\"{wrong}\"]")), ["BH0614"], "{wrong}");
    }
    assert_eq!(signing("required = true"), ["BH0614"]);
    assert_eq!(signing("keys = []\nrequired = true"), ["BH0614"]);
    assert_eq!(signing(&format!("keys = [\"{KEY}\", \"{KEY}\"]")), ["BH0614"]);
    let many: Vec<String> = (0..17).map(|n| format!("\"/k/{n}\"")).collect();
    assert_eq!(signing(&format!("keys = [{}]", many.join(", "))), ["BH0614"]);
    assert_eq!(signing("key = \"RW\""), ["BH0101"]);
}

#[test]
fn metrics_are_read_on_the_loopback_elsewhere_or_nowhere() {
    let listen = |value: &str| read(&format!("{UPLINK}[metrics]\nlisten = \"{value}\"\n")).metrics.listen;
    let default = read(UPLINK).metrics.listen.expect("an address");
    assert!(default.ip().is_loopback() && default.port() == 9479);
    assert_eq!(listen("off"), None);
    assert_eq!(listen("0.0.0.0:80"), "0.0.0.0:80".parse().ok());
    for wrong in ["", "9479", "localhost:9479", "127.0.0.1", "127.0.0.1:0", "::1:9479", "127.0.0.1:70000"] {
        let text = format!("{UPLINK}[metrics]\nlisten = \"{wrong}\"\n");
        one(&text, "BH0617", &format!("`{wrong}` is no address to listen on"), "`off`");
    }
}
