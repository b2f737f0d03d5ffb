//! `bulkhead plan --from OLD NEW` as an engineer reads it: without an agent, what a change of policy would do, and that it
//! says so fast enough for a site of any size.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bulkhead_agent::{
    compile::{Limits, Placed, Tables, compile},
    model::Policy,
    policy::{SourceFile, resolve_texts},
    report::plan::{Asked, HOPS, KnownFlow, Past, Plan, Side, World, plan},
};
use bulkhead_common::layout::{SegmentRow, Settings};
use bulkhead_tests::site::Site;
use serde_json::Value;

mod command;
use command::{Ran, bulkhead, file, folder};

const CELL: &str = r#"version = 1

[device.press-plc]
mac = "00:1d:9c:c7:b0:70"
ip = "10.20.1.11"
zone = "cell-1"
criticality = "safety"
mode = "enforce"
comment = "hydraulic press"

[[device.press-plc.allow]]
from = "hmi-1"
service = ["modbus", "display"]
comment = "line display"

[device.hmi-1]
mac = "00:1d:9c:c7:b0:71"
ip = "10.20.1.20"
zone = "cell-1"

[class.camera]
[[class.camera.allow]]
to = "ntp"
service = "ntp"

[device.camera-1]
ip = "10.20.3.1"
class = "camera"
criticality = "low"
[device.camera-2]
ip = "10.20.3.2"
class = "camera"
criticality = "low"
[device.camera-3]
ip = "10.20.3.3"
class = "camera"
criticality = "low"

[service.display]
tcp = "8100"

[network.ntp]
cidr = "10.9.0.5/32"
[network.vendor-vpn]
cidr = "10.99.0.0/24"
"#;

fn planned(test: &str, old: &str, new: &str, more: &[&str]) -> Ran {
    let folder = folder(&format!("plan-{test}"));
    let [old, new] = [("old", old), ("new", new)].map(|(name, text)| {
        let inside = folder.join(name);
        fs::create_dir(&inside).expect("a writable folder");
        file(&inside, "cell.toml", text);
        inside
    });
    let mut args = vec!["plan".into(), "--from".into(), old.into_os_string(), new.into_os_string()];
    args.extend(more.iter().map(Into::into));
    let Ran { code, out, err } = bulkhead(&args);
    // Where the test put its files is nobody's affair.
    let place = format!("{}/", folder.display());
    Ran { code, out: out.replace(&place, ""), err: err.replace(&place, "") }
}

/// What a person reads, and with which exit code.
fn read(test: &str, old: &str, new: &str) -> String {
    let Ran { code, out, err } = planned(test, old, new, &[]);
    format!("exit code {code}\n{err}---\n{out}")
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../plan/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

macro_rules! situations {
    ($($name:ident: $change:expr;)*) => {
        $(#[test]
        fn $name() {
            let change: fn(&str) -> String = $change;
            let name = stringify!($name);
            snapshot(name, &read(name, CELL, &change(CELL)));
        })*
    };
}

situations! {
    nothing_changes: str::to_owned;
    only_places_change: |text| format!("# a remark\n\n{text}");
    only_words_change: |text| text.replace("line display", "line display, see the wiring plan");
    vendor_gets_into_the_cell: |text| format!(
        "{text}\n[[device.hmi-1.allow]]\nfrom = \"vendor-vpn\"\nservice = \"ssh\"\nowner = \"ot-team\"\n\
         ticket = \"CHG-1042\"\nexpires = 2096-01-31T18:00:00Z\n"
    );
    press_leaves_enforcement: |text| text.replace("mode = \"enforce\"", "mode = \"monitor\"");
    rule_becomes_wider: |text| text.replace("\"display\"]", "\"display\", \"ssh\"]");
    rule_goes: |text| text.replace("[[class.camera.allow]]\nto = \"ntp\"\nservice = \"ntp\"\n", "");
    device_is_replaced: |text| text.replace("00:1d:9c:c7:b0:70", "00:1d:9c:c7:b0:99").replace("10.20.1.11", "10.20.1.12");
    device_goes_and_two_come: |text| text
        .replace("[device.camera-3]\nip = \"10.20.3.3\"", "[device.camera-4]\nip = \"10.20.3.4\"")
        + "[device.scanner]\nip = \"10.20.4.1\"\nmode = \"enforce\"\n";
    network_grows: |text| text.replace("10.9.0.5/32", "10.9.0.0/24");
    service_of_ones_own_moves: |text| text.replace("8100", "8200-8203");
    maintenance_window_is_added: |text| text.replace(
        "comment = \"line display\"",
        "comment = \"line display\"\nwindows = [{ days = [\"mon-fri\"], from = \"06:00\", to = \"18:00\", zone = \"Europe/Berlin\" }]"
    );
    new_policy_is_invalid: |text| text.replace("from = \"hmi-1\"", "from = \"hmi-2\"");
}

#[test]
fn json_has_a_version_and_says_what_the_text_says() {
    let new = CELL.replace("mode = \"enforce\"", "mode = \"monitor\"");
    let Ran { code, out, err } = planned("json", CELL, &new, &["--json"]);
    let plan: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    assert_eq!((code, &plan["version"], &plan["breaks"]), (0, &1.into(), &0.into()));
    assert_eq!(plan["modes"]["list"][0]["leaves_enforcement"], true);
    assert_eq!(plan["conversations"], Value::Null, "no agent was asked");
    assert_ne!(plan["before"], plan["after"]);
}

/// Every key of an object and of what is in it.
fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        // What a device is goes by the words of the policy language.
        Value::Object(map) => map.iter().filter(|(key, _)| *key != "properties").for_each(|(key, value)| {
            found.insert(key.clone());
            keys(value, found);
        }),
        Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_key_of_the_json_is_documented() {
    let documented =
        fs::read_to_string(command::root().join("../docs/plan.md")).expect("part of the checkout");
    let new = CELL
        .replace("[\"modbus\", \"display\"]", "[\"ssh\"]")
        .replace("to = \"ntp\"", "to = \"vendor-vpn\"")
        .replace("10.9.0.5/32", "10.9.0.0/24")
        .replace("mode = \"enforce\"", "mode = \"monitor\"");
    let plan = serde_json::to_value(gateway(&new)).expect("it is JSON");
    assert!(plan["conversations"]["report"]["list"][0].is_object() && plan["modes"]["list"][0].is_object());
    let mut found = BTreeSet::new();
    keys(&plan, &mut found);
    let missing: Vec<&String> =
        found.iter().filter(|key| !documented.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty() && found.len() > 40, "{missing:?} of {found:?}");
}

#[test]
fn hops_are_followed_as_far_as_asked() {
    let new = format!("{CELL}\n[[device.hmi-1.allow]]\nfrom = \"vendor-vpn\"\nservice = \"ssh\"\n");
    let far = |hops: &str| {
        let Ran { code, out, err } = planned(&format!("hops-{hops}"), CELL, &new, &["--hops", hops]);
        assert_eq!(code, 0, "{err}");
        out.contains("vendor-vpn -> press-plc within 2 hops, by hmi-1")
    };
    assert_eq!((far("1"), far("2")), (false, true));
    let Ran { code, err, .. } = planned("hops-0", CELL, &new, &["--hops", "0"]);
    assert_eq!((code, err.contains("0 is not in 1..=8")), (2, true), "{err}");
}

#[test]
fn examples_can_be_planned_against_nothing_but_a_device() {
    for example in command::entries("../policies").into_iter().filter(|path| path.is_dir()) {
        let name = example.file_name().expect("a name").to_string_lossy().into_owned();
        let old = file(
            &folder(&format!("plan-{name}")),
            "old.toml",
            "version = 1\n[device.x]\nip = \"192.0.2.1\"\n",
        );
        let Ran { code, out, err } =
            bulkhead(&["plan".as_ref(), "--from".as_ref(), old.as_os_str(), example.as_os_str()]);
        assert_eq!(code, 0, "{name}: {err}");
        assert!(out.contains("CAN NOW REACH") && out.contains("- x: "), "{name}: {out}");
    }
}

#[test]
fn what_is_doubtful_about_the_policy_to_come_is_told_without_an_agent_too() {
    let folder = folder("plan-doubts");
    let old = "version = 1\n[device.plc]\nip = \"192.0.2.1\"\nmac = \"00:1d:9c:c7:b0:70\"\n";
    let new = format!(
        "{old}[[device.plc.allow]]\nto = \"any\"\nservice = \"ntp\"\nexpires = 2020-01-01T00:00:00Z\n"
    );
    let (old, new) = (file(&folder, "old.toml", old), file(&folder, "new.toml", &new));
    let Ran { code, out: _, err } =
        bulkhead(&["plan".as_ref(), "--from".as_ref(), old.as_os_str(), new.as_os_str()]);
    assert!(code == 0 && err.contains("warning[BH0509]"), "{err}");
    let Ran { err, .. } = bulkhead(&["plan".as_ref(), "--from".as_ref(), new.as_os_str(), old.as_os_str()]);
    assert!(!err.contains("BH0509"), "the old one is as it is: {err}");
}

#[test]
fn without_an_agent_it_says_how_to_go_on() {
    let Ran { code, err, .. } = bulkhead(&["plan", "--socket", "/nonexistent/api.sock"]);
    assert_eq!((code, err.contains("no agent answers")), (2, true), "{err}");
    let Ran { code, err, .. } = bulkhead(&["plan", "--from", "somewhere"]);
    assert_eq!((code, err.contains("required")), (2, true), "{err}");
}

fn written(site: &Site, folder: &Path) -> PathBuf {
    fs::create_dir(folder).expect("a writable folder");
    for one in site.files() {
        file(folder, &one.name, one.text);
    }
    folder.to_owned()
}

/// Bounded output whatever changes: everything, in a site of many devices.
#[test]
fn another_site_altogether_is_told_of_in_bounded_words() {
    let folder = folder("plan-site");
    let [old, new] = [1, 2].map(|seed| written(&Site::new(150, seed), &folder.join(seed.to_string())));
    let begun = Instant::now();
    let args = ["plan".as_ref(), "--from".as_ref(), old.as_os_str(), new.as_os_str()];
    let Ran { code, out, err } = bulkhead(&args);
    assert_eq!(code, 0, "{err}");
    assert!(out.lines().count() < 400, "{} lines after {:?}", out.lines().count(), begun.elapsed());
    assert!(out.contains("... and "), "{out}");
}

fn compiled(name: &str, text: &str) -> (Policy, Tables) {
    let file = SourceFile { path: format!("{name}/cell.toml"), text: text.to_owned() };
    let policy = resolve_texts(&[file]).policy.expect("a policy");
    let most = Limits { devices: 4096, rules: 4096, rows: 65_536 };
    let tables = compile(&policy, &most).expect("a few rows");
    (policy, tables)
}

/// A conversation as the kernel remembers it, silent for so many seconds.
fn flow(old: &(Policy, Tables), from: &str, to: &str, port: u16, client: u16, idle: u64) -> KnownFlow {
    let (policy, tables) = old;
    let device = |ip: &IpAddr| {
        let at = policy.devices.iter().position(|device| device.addresses.contains(ip));
        at.map_or(0, |at| u32::try_from(at + 1).expect("a few"))
    };
    let [from, to]: [IpAddr; 2] = [from, to].map(|ip| ip.parse().expect("an address"));
    let holder = if port == 123 { "class camera" } else { "device press-plc" };
    let rule = tables.rules.iter().position(|rule| rule.holder == holder).expect("it has one");
    KnownFlow {
        from,
        to,
        protocol: if port == 123 { 17 } else { 6 },
        service: port,
        client_port: client,
        devices: [device(&from), device(&to)],
        rule: u32::try_from(rule + 1).expect("a few"),
        idle: Duration::from_secs(idle),
        live: idle < 120,
    }
}

/// The plan of a gateway on which the panel polls the press, has drawn its display, and cameras ask for the time.
fn gateway(new: &str) -> Plan {
    let (old, new) = (compiled("old", CELL), compiled("new", new));
    let flows = [
        flow(&old, "10.20.1.20", "10.20.1.11", 502, 50_001, 1),
        flow(&old, "10.20.1.20", "10.20.1.11", 8100, 50_002, 9000),
        flow(&old, "10.20.1.20", "10.20.1.11", 8100, 50_003, 20_000),
        flow(&old, "10.20.3.1", "10.9.0.5", 123, 123, 30),
        flow(&old, "10.20.3.2", "10.9.0.5", 123, 123, 61),
    ];
    let placed = Placed { settings: Settings::default(), ..Placed::default() };
    let world = World { segments: vec![SegmentRow::default()], placed, now: 1 << 50, ..World::default() };
    let [old, new] = [&old, &new].map(|(policy, tables)| Side { policy, tables });
    let now = "2026-07-01T12:00:00Z".parse().expect("a time");
    let limits = Limits { devices: 6, rules: 4096, rows: 65_536 };
    plan(old, new, &Asked { hops: HOPS, now, limits, flows: Some((&flows, &world)), past: &Past::default() })
}

#[test]
fn gateway_with_conversations_that_would_stop() {
    let new =
        CELL.replace("[\"modbus\", \"display\"]", "[\"ssh\"]").replace("to = \"ntp\"", "to = \"vendor-vpn\"");
    snapshot("gateway_with_conversations_that_would_stop", &gateway(&new).text());
}

#[test]
fn gateway_on_which_nothing_would_stop() {
    let more =
        "[device.scanner]\nip = \"10.20.4.1\"\n[[device.scanner.allow]]\nto = \"ntp\"\nservice = \"ntp\"\n";
    snapshot("gateway_on_which_nothing_would_stop", &gateway(&format!("{CELL}{more}")).text());
}
