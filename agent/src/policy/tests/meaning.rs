//! What groups, zones, conduits, exceptions and schedules come to.

use super::*;
use crate::model::{Criticality, Holder, NetworkId, Rule, Source};

const PLANT: &str = r#"
version = 1
[zone.cell]
owner = "ot-team"
[zone.office]
[group.panels]
members = ["hmi", "class:panel", "group:nets"]
[group.nets]
members = ["time", "cloud"]
[device.plc]
ip = "10.20.1.11"
zone = "cell"
[device.drive]
mac = "00:1d:9c:c7:b0:71"
zone = "cell"
[device.hmi]
ip = "10.20.1.20"
zone = "cell"
class = "panel"
mode = "monitor"
[device.touch]
ip = "10.20.1.21"
class = "panel"
zone = "office"
[class.panel]
mode = "enforce"
criticality = "high"
[[device.plc.allow]]
to = "group:panels"
service = "scada"
source = "learned"
expires = 2027-01-31T18:00:00+01:00
windows = [
    { days = "sat", from = "22:00", to = "00:00", zone = "europe/berlin" },
    { days = ["fri-mon"], from = "06:00", to = "18:00", zone = "UTC" },
    { days = "sat", from = "22:00", to = "24:00", zone = "Europe/Berlin" },
]
[[device.plc.allow]]
to = "group:nets"
service = "dns"
[[conduit]]
from = "zone:office"
to = "zone:cell"
service = "modbus"
ticket = "CHG-7"
[network.time]
cidr = ["10.9.0.0/24", "fd00:9::/64"]
except = "10.9.0.128/25"
[network.cloud]
dns = ["Update.Vendor.Example.", "*.cdn.vendor.example"]
[service.scada]
tcp = "503"
include = ["modbus", "probe"]
[service.probe]
icmp = ["echo-request", "destination-unreachable/4"]
"#;

fn rule(policy: &Policy, holder: &str) -> Rule {
    let mut found = policy.rules.iter().filter(|rule| policy.holder_name(rule.holder) == holder);
    found.next().expect("it has a rule").clone()
}

fn shown(policy: &Policy, peers: &[Peer]) -> Vec<String> {
    peers.iter().map(|peer| policy.peer_name(*peer).into_owned()).collect()
}

#[test]
fn a_group_is_its_devices_by_name_and_its_networks_beside_it() {
    let policy = policy(PLANT);
    let groups: Vec<&str> = policy.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(groups, ["panels"], "a group without devices has no number");
    let members = policy.devices.iter().filter(|device| !device.groups.is_empty());
    assert_eq!(members.map(|device| device.name.as_str()).collect::<Vec<_>>(), ["hmi", "touch"]);
    let rule = rule(&policy, "device plc");
    assert_eq!(shown(&policy, &rule.responders), ["group:panels", "cloud", "time"]);
    let hmi = policy.device("hmi").expect("declared").0;
    assert!(policy.means(rule.responders[0], hmi));
}

#[test]
fn a_conduit_is_one_rule_between_zones_in_nobodys_name() {
    let policy = policy(PLANT);
    let rule = rule(&policy, "conduit");
    assert_eq!((rule.holder, rule.ticket.as_deref()), (Holder::Conduit, Some("CHG-7")));
    assert_eq!(shown(&policy, &rule.initiators), ["zone:office"]);
    assert_eq!(shown(&policy, &rule.responders), ["zone:cell"]);
    let zones: Vec<_> = policy.zones.iter().map(|zone| (zone.name.as_str(), zone.owner.as_deref())).collect();
    assert_eq!(zones, [("cell", Some("ot-team")), ("office", None)]);
}

#[test]
fn a_schedule_has_one_moment_and_sorted_windows() {
    let policy = policy(PLANT);
    let rule = rule(&policy, "device plc");
    let schedule = rule.schedule.expect("it has one");
    assert_eq!(rule.source, Source::Learned);
    let words = "until 2027-01-31 17:00 UTC, sat 22:00-24:00 Europe/Berlin or mon,fri-sun 06:00-18:00 UTC";
    assert_eq!(schedule.to_string(), words);
}

#[test]
fn a_network_leaves_out_its_exceptions_and_keeps_its_names() {
    let policy = policy(PLANT);
    let [cloud, time] = policy.networks.as_slice() else { panic!("{:?}", policy.networks) };
    assert_eq!(cloud.names, ["*.cdn.vendor.example", "update.vendor.example"]);
    let holds = |address: &str| time.holds(address.parse().expect("an address"));
    assert_eq!([holds("10.9.0.5"), holds("10.9.0.200"), holds("fd00:9::1")], [true, false, true]);
    assert_eq!(policy.networks.binary_search_by(|n| n.name.as_str().cmp("time")), Ok(1));
    let rule = rule(&policy, "device plc");
    assert!(rule.responders.contains(&Peer::Network(NetworkId(1))));
}

#[test]
fn a_device_has_what_its_class_says_unless_it_says_so_itself() {
    let policy = policy(PLANT);
    let of = |name: &str| policy.device(name).map(|(_, device)| (device.mode, device.criticality));
    assert_eq!(of("hmi"), Some((Mode::Monitor, Criticality::High)));
    assert_eq!(of("touch"), Some((Mode::Enforce, Criticality::High)));
    assert_eq!(of("plc"), Some((Mode::Monitor, Criticality::Medium)));
}

#[test]
fn a_service_is_what_it_includes_too() {
    let policy = policy(PLANT);
    let (_, scada) = policy.service("scada").expect("declared");
    let selectors: Vec<_> = scada.selectors.iter().map(|s| (s.protocol, s.low, s.high)).collect();
    assert_eq!(selectors, [(1, 0x0304, 0x0304), (1, 0x0800, 0x08ff), (6, 502, 503)]);
}

#[test]
fn one_slip_in_many_lines_is_one_finding_at_its_place() {
    let mut text = PLANT.to_owned();
    for n in 0..600 {
        let (zone, address) = (["cell", "office"][n % 2], format!("10.30.{}.{}", n >> 8, n & 255));
        text.push_str(&format!("[device.d{n}]\nip = \"{address}\"\nzone = \"{zone}\"\n[[device.d{n}.allow]]\nto = \"time\"\nservice = \"ntp\"\n"));
    }
    assert!(text.lines().count() > 3000);
    let broken = text.replacen(
        "[device.d300]\nip = \"10.30.1.44\"\nzone = \"cell\"",
        "[device.d300]\nip = \"10.30.1.44\"\nzone = \"cel\"",
        1,
    );
    assert_ne!(broken, text);
    let outcome = resolve_texts(&files(&[("p.toml", &broken)]));
    let [found] = outcome.diagnostics.as_slice() else { panic!("{:?}", outcome.diagnostics) };
    let line = found.location().map_or(0, |location| location.line as usize);
    assert_eq!((found.code, broken.lines().nth(line - 1)), ("BH0324", Some("zone = \"cel\"")));
    assert!(found.help.as_deref().is_some_and(|help| help.contains("`cell`")));
}

#[test]
fn groups_that_nest_deeper_than_a_stack_and_wider_than_a_table_are_refused_in_bounded_time() {
    let mut deep = String::from("version = 1\n[device.a]\nip = \"10.0.0.1\"\n[group.g0]\nmembers = \"a\"\n");
    for n in 1..20_000 {
        deep.push_str(&format!("[group.g{n}]\nmembers = \"group:g{}\"\n", n - 1));
    }
    assert_eq!(codes(&[("p.toml", &deep)]), ["BH0502"]);
    let mut wide = String::from("version = 1\n");
    for n in 0..3000 {
        wide.push_str(&format!("[device.d{n}]\nip = \"10.0.{}.{}\"\nzone = \"z\"\n", n >> 8, n & 255));
        wide.push_str(&format!("[group.g{n}]\nmembers = [\"zone:z\"]\n"));
    }
    let outcome = resolve_texts(&files(&[("p.toml", &wide)]));
    assert!(outcome.policy.is_none() && outcome.diagnostics.iter().any(|found| found.code == "BH0416"));
    let circle = deep.replacen("members = \"a\"", "members = \"group:g19999\"", 1);
    assert!(codes(&[("p.toml", &circle)]).contains(&"BH0327"));
}

#[test]
fn services_that_include_each_other_over_and_over_are_refused_in_bounded_time() {
    let mut text = String::from("version = 1\n");
    let ports: Vec<String> = (0..1000).map(|n| (n * 3 + 1).to_string()).collect();
    text.push_str(&format!("[service.base]\ntcp = [{}]\n", ports.join(", ")));
    for n in 0..2000 {
        text.push_str(&format!("[service.own{n}]\nudp = {}\ninclude = \"base\"\n", n + 1));
    }
    assert_eq!(codes(&[("p.toml", &text)]), ["BH0335"]);
}
