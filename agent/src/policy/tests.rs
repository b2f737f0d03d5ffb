//! Text to policy: what a reader of the diagnostics sees, and what the rules come to.

use super::*;
use crate::{
    diagnostic::render_text,
    model::{Mode, Peer},
};

mod meaning;

fn files(texts: &[(&str, &str)]) -> Vec<SourceFile> {
    texts.iter().map(|(path, text)| SourceFile { path: (*path).into(), text: (*text).into() }).collect()
}

fn codes(texts: &[(&str, &str)]) -> Vec<&'static str> {
    resolve_texts(&files(texts)).diagnostics.iter().map(|d| d.code).collect()
}

fn policy(text: &str) -> Policy {
    let outcome = resolve_texts(&files(&[("p.toml", text)]));
    let shown = render_text(&outcome.diagnostics, &outcome.sources, false);
    outcome.policy.expect(&shown)
}

#[test]
fn rules_for_a_device_of_another_file_are_one_mistake() {
    let more = "version = 1\n[[device.plc.allow]]\nfrom = \"hmi\"\nservice = \"ssh\"\n";
    assert_eq!(codes(&[("a.toml", CELL), ("b.toml", more)]), ["BH0305"]);
    assert_eq!(codes(&[("a.toml", more), ("b.toml", CELL)]), ["BH0305"], "whichever is first");
    let other = "version = 1\n[device.pump]\nvlan = 5\n";
    assert_eq!(codes(&[("a.toml", CELL), ("b.toml", more), ("c.toml", other)]), ["BH0305", "BH0401"]);
}

const CELL: &str = r#"
version = 1
[device.plc]
mac = "00:1d:9c:c7:b0:70"
ip = "10.20.1.11"
zone = "cell"
class = "controller"
mode = "enforce"
[[device.plc.allow]]
from = ["zone:office", "hmi", "gateway"]
service = ["plant-poll", "modbus"]
ticket = "CHG-1"
[device.hmi]
ip = ["10.20.1.20", "10.20.1.19"]
zone = "cell"
[device.pc]
ip = "10.9.1.1"
zone = "office"
[class.controller]
[[class.controller.allow]]
to = "time"
service = "ntp"
[network.time]
cidr = "10.9.0.5/32"
[service.plant-poll]
tcp = ["502", "501", 503]
[quarantine]
peers = ["pc", "time"]
"#;

#[test]
fn a_small_cell_resolves_to_sorted_ids() {
    let policy = policy(CELL);
    let names: Vec<&str> = policy.devices.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["hmi", "pc", "plc"]);
    let services: Vec<(&str, bool)> = policy.services.iter().map(|s| (s.name.as_str(), s.built_in)).collect();
    assert_eq!(services, [("modbus", true), ("ntp", true), ("plant-poll", false)]);
    assert_eq!(policy.services[2].selectors.len(), 1, "501-503 is one range");
    let (plc, device) = policy.device("plc").expect("declared");
    assert_eq!((device.mode, device.location.line), (Mode::Enforce, 3));
    let [allow, inherited] = policy.rules.as_slice() else { panic!("{:#?}", policy.rules) };
    assert_eq!(allow.responders, [Peer::Device(plc)]);
    let (hmi, pc) = (policy.device("hmi").expect("declared").0, policy.device("pc").expect("declared").0);
    let initiators: Vec<_> = allow.initiators.iter().map(|peer| policy.peer_name(*peer)).collect();
    assert_eq!(initiators, ["hmi", "zone:office", "gateway"]);
    assert!(
        allow.initiators.iter().any(|peer| policy.means(*peer, pc)) && policy.means(Peer::Device(hmi), hmi)
    );
    assert_eq!((allow.location.line, allow.location.column), (9, 1));
    assert_eq!(policy.holder_name(inherited.holder), "class controller");
    assert!(policy.means(inherited.initiators[0], plc));
    assert_eq!(inherited.location.line, 20);
    assert_eq!(policy.remediation, [Peer::Device(pc), Peer::Network(crate::model::NetworkId(0))]);
}

#[test]
fn the_bounds_on_files_are_kept() {
    let many: Vec<SourceFile> =
        (0..=MAX_FILES).map(|n| SourceFile { path: format!("{n:04}"), text: "version = 1".into() }).collect();
    assert_eq!(resolve_texts(&many).diagnostics[0].code, "BH0004");
    let long = "#".repeat(MAX_FILE_BYTES + 1);
    assert_eq!(codes(&[("a", "version = 1"), ("b", &long)]), ["BH0003"]);
    assert_eq!(codes(&[("a", "version = 1"), ("a", "version = 1")]), ["BH0005"]);
}

#[test]
fn more_devices_than_the_data_path_can_number_are_refused() {
    let mut text = String::from("version = 1\n");
    for n in 0..=MAX_DEVICES {
        text.push_str(&format!("[device.d{n}]\nip=\"10.{}.{}.{}\"\n", n >> 16, n >> 8 & 255, n & 255));
    }
    assert_eq!(codes(&[("p.toml", &text)]), ["BH0406"]);
}

#[test]
fn a_class_is_one_rule_for_each_of_its_entries() {
    let mut text = String::from("version = 1\n[class.c]\n");
    for service in ["ntp", "dns"] {
        text.push_str(&format!("[[class.c.allow]]\nto=\"class:c\"\nservice=\"{service}\"\n"));
    }
    for n in 0..3000 {
        text.push_str(&format!("[device.d{n}]\nip=\"10.0.{}.{}\"\nclass=\"c\"\n", n >> 8, n & 255));
    }
    assert_eq!(policy(&text).rules.len(), 2);
}

#[test]
fn a_hostile_file_is_refused_in_bounded_time() {
    let cases = [
        "a=1\n".repeat(500_000),
        format!("version=1\n{}", "[".repeat(1_000_000)),
        format!("version = 1\n[device.a]\nip = [{}]", "\"1\",".repeat(500_000)),
        format!("version = 1\n[device.a]\n{}", "x.".repeat(1_000_000)),
    ];
    for text in cases {
        let outcome = resolve_texts(&files(&[("p.toml", &text)]));
        assert!(outcome.policy.is_none());
        assert!(outcome.diagnostics.len() <= crate::diagnostic::MAX_DIAGNOSTICS + 1);
        render_text(&outcome.diagnostics, &outcome.sources, false);
    }
}

#[test]
fn a_lost_header_does_not_make_its_name_unknown() {
    let text = CELL.replace("[device.hmi]", "[device.hmi");
    assert_eq!(codes(&[("p.toml", &text)]), ["BH0001"]);
}

#[test]
fn every_key_that_is_described_is_read_and_no_other() {
    use reader::log;
    // One table of every kind; which keys it has does not matter, for the parser asks for those that are absent too.
    let text = "version = 1\n[device.a]\n[[device.a.allow]]\nwindows = [{ days = \"mon\" }]\n[class.b]\n[zone.f]\n[group.g]\n[[conduit]]\n[network.c]\n[multicast.d]\n[service.e]\n[quarantine]\n";
    let sources = Sources::new([("p.toml", text)]);
    let asked = log::asked(|| {
        parse::parse(crate::diagnostic::FileId(0), &mut crate::diagnostic::Collector::new(&sources));
    });
    assert_eq!(asked, log::described(&language::ROOT));
}
