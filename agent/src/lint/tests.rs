//! Policies and what is doubtful about them, one line each where that will do.

use jiff::Timestamp;

use super::{Pin, Session, fill, lint, locked_out, nearly_full, scores, too_large};
use crate::{
    compile::{Limits, compile},
    diagnostic::Diagnostic,
    model::{Policy, Selector},
    policy::{SourceFile, resolve_texts},
};

/// A panel, a controller and two networks around it.
const PLANT: &str = r#"version = 1
[device.hmi]
mac = "00:0e:8c:11:20:01"
ip = "10.20.2.20"
zone = "cell"
class = "panel"
[device.pc]
ip = "10.20.2.21"
[class.panel]
[group.all]
members = ["hmi", "plc"]
[network.lan]
cidr = "10.20.0.0/16"
[network.cell]
cidr = "10.20.2.0/24"
[network.site]
cidr = ["10.20.0.0/16", "fd00::/48"]
except = "10.20.2.128/25"
[service.web]
tcp = ["80", "443"]
[service.low]
tcp = ["1-1023"]
[device.plc]
mac = "00:1d:9c:c7:b0:70"
ip = "10.20.1.11"
"#;

fn now() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().expect("a moment")
}

fn policy(text: &str) -> Policy {
    let outcome = resolve_texts(&[SourceFile { path: "p.toml".into(), text: text.to_owned() }]);
    outcome.policy.unwrap_or_else(|| panic!("{:?}\n{text}", outcome.diagnostics))
}

/// The plant with entries of the controller, each a line of keys.
fn plant(entries: &[&str]) -> Policy {
    let entries = entries.iter().map(|keys| format!("[[device.plc.allow]]\n{}\n", keys.replace(" | ", "\n")));
    policy(&format!("{PLANT}{}", entries.collect::<String>()))
}

fn codes(found: &[Diagnostic]) -> Vec<&'static str> {
    found.iter().map(|found| found.code).collect()
}

/// Whether the first entry is said to lie within the second.
fn is_within(first: &str, second: &str) -> bool {
    let found = lint(&plant(&[first, second]), now());
    let within = found.iter().filter(|found| found.code == "BH0507");
    within.into_iter().any(|found| found.labels[0].location.line < found.labels[1].location.line)
}

#[test]
fn a_rule_lies_within_another_exactly_when_it_adds_nothing() {
    let window = |days: &str, from: &str, to: &str| {
        format!("windows = [{{ days = \"{days}\", from = \"{from}\", to = \"{to}\", zone = \"UTC\" }}]")
    };
    let rows: &[(&str, &str, bool)] = &[
        // Ends.
        ("from = \"hmi\" | service = \"web\"", "from = \"zone:cell\" | service = \"web\"", true),
        ("from = \"hmi\" | service = \"web\"", "from = \"class:panel\" | service = \"web\"", true),
        ("from = \"hmi\" | service = \"web\"", "from = \"group:all\" | service = \"web\"", true),
        ("from = \"pc\" | service = \"web\"", "from = \"cell\" | service = \"web\"", true),
        // With a MAC address it has link-local addresses as well, which are in no network.
        ("from = \"hmi\" | service = \"web\"", "from = \"cell\" | service = \"web\"", false),
        ("from = \"hmi\" | service = \"web\"", "from = [\"hmi\", \"gateway\"] | service = \"web\"", true),
        ("from = \"zone:cell\" | service = \"web\"", "from = \"any\" | service = \"web\"", true),
        ("from = \"cell\" | service = \"web\"", "from = \"lan\" | service = \"web\"", true),
        ("to = \"broadcast\" | service = \"dhcp\"", "to = \"any\" | service = \"dhcp\"", true),
        ("from = \"lan\" | service = \"web\"", "from = \"cell\" | service = \"web\"", false),
        ("from = \"hmi\" | service = \"web\"", "to = \"zone:cell\" | service = \"web\"", false),
        // The half of the cell that is left out there.
        ("from = \"cell\" | service = \"web\"", "from = \"site\" | service = \"web\"", false),
        // That all panels are in the cell is so today.
        ("from = \"class:panel\" | service = \"web\"", "from = \"zone:cell\" | service = \"web\"", false),
        ("from = [\"hmi\", \"gateway\"] | service = \"web\"", "from = \"cell\" | service = \"web\"", false),
        // A network has no hardware addresses.
        (
            "from = \"hmi\" | service = [\"web\", \"profinet-rt\"]",
            "from = \"cell\" | service = [\"web\", \"ptp\"]",
            false,
        ),
        // Services.
        ("from = \"hmi\" | service = \"web\"", "from = \"hmi\" | service = \"low\"", true),
        ("from = \"hmi\" | service = \"low\"", "from = \"hmi\" | service = \"web\"", false),
        ("from = \"hmi\" | service = \"dns\"", "from = \"hmi\" | service = \"low\"", false),
        // Times.
        (
            "from = \"hmi\" | service = \"web\" | expires = 2027-01-01T00:00:00Z",
            "from = \"hmi\" | service = \"web\"",
            true,
        ),
        (
            "from = \"hmi\" | service = \"web\"",
            "from = \"hmi\" | service = \"web\" | expires = 2027-01-01T00:00:00Z",
            false,
        ),
        (
            "from = \"hmi\" | service = \"web\" | expires = 2027-01-01T00:00:00Z",
            "from = \"hmi\" | service = \"web\" | expires = 2028-01-01T00:00:00Z",
            true,
        ),
    ];
    for (narrow, wide, within) in rows {
        assert_eq!(is_within(narrow, wide), *within, "{narrow}\n{wide}");
    }
    let timed = |window: &str| format!("from = \"hmi\" | service = \"web\" | {window}");
    for (narrow, wide, within) in [
        (window("tue", "09:00", "10:00"), window("mon-fri", "08:00", "10:00"), true),
        (window("tue", "09:00", "10:01"), window("mon-fri", "08:00", "10:00"), false),
        (window("sat", "09:00", "10:00"), window("mon-fri", "08:00", "10:00"), false),
        (window("tue", "23:00", "04:00"), window("tue", "22:00", "05:00"), true),
        (window("tue", "23:00", "06:00"), window("tue", "22:00", "05:00"), false),
        (window("tue", "22:30", "23:00"), window("tue", "22:00", "05:00"), true),
    ] {
        assert_eq!(is_within(&timed(&narrow), &timed(&wide)), within, "{narrow}\n{wide}");
    }
}

#[test]
fn of_two_rules_that_mean_the_same_the_later_is_told_once() {
    let same = "from = \"hmi\" | service = \"web\"";
    let found = lint(&plant(&[same, "from = \"hmi\" | service = \"ssh\"", same]), now());
    assert_eq!(codes(&found), ["BH0506"]);
    let [again, first] = &found[0].labels[..] else { panic!("{found:?}") };
    assert!(again.location.line > first.location.line);
    // By other words: one of them lies within the other, not both.
    let words =
        ["from = \"hmi\" | service = [\"http\", \"https-tcp\"]", "from = \"hmi\" | service = \"web\""];
    let text = format!("{PLANT}[service.https-tcp]\ntcp = \"443\"\n");
    let entries = words.map(|keys| format!("[[device.plc.allow]]\n{}\n", keys.replace(" | ", "\n")));
    let found = lint(&policy(&format!("{text}{}", entries.concat())), now());
    assert_eq!(codes(&found), ["BH0507"]);
    let [narrow, wide] = &found[0].labels[..] else { panic!("{found:?}") };
    assert!(narrow.location.line > wide.location.line);
}

#[test]
fn what_a_rule_admits_is_counted() {
    let policy = plant(&[
        "from = \"any\" | service = \"web\"",
        "from = \"site\" | service = \"ping\"",
        "from = [\"hmi\", \"zone:cell\"] | service = [\"web\", \"http\", \"profinet-rt\"]",
    ]);
    let counted = scores(&policy);
    let numbers: Vec<_> = counted.iter().map(|s| (s.initiators, s.responders, s.ports)).collect();
    // An IPv6 /48 as a /16; a ping is one type of ICMP and one of ICMPv6.
    assert_eq!(numbers, [(1 << 32, 1, 2), ((1 << 16) - (1 << 7) + (1 << 16), 1, 2), (2, 1, 3)]);
    assert_eq!(counted[0].combinations(), 1 << 33);
}

#[test]
fn a_hundred_findings_of_a_code_are_shown_and_the_others_counted() {
    let same = "from = \"hmi\" | service = \"web\"";
    let found = lint(&plant(&vec![same; 131]), now());
    assert_eq!(found.len(), 101);
    let last = found.last().expect("it is");
    assert_eq!((last.code, last.message.as_str()), ("BH0008", "30 more findings of BH0506 are not shown"));
    assert!(last.location().is_some());
}

#[test]
fn a_policy_is_measured_against_every_limit() {
    let policy = plant(&["from = \"any\" | service = \"web\"", "to = \"any\" | service = \"ntp\""]);
    let room = Limits { devices: 3, rules: 10, rows: 1000 };
    let fills = fill(&compile(&policy, &room).expect("it fits"), &room);
    let numbers: Vec<_> = fills.iter().map(|fill| (fill.what, fill.needed, fill.limit)).collect();
    assert_eq!(numbers[..2], [("devices", 3, 3), ("rules", 2, 10)]);
    let found = nearly_full(&fills);
    assert_eq!(codes(&found), ["BH0514"]);
    assert!(found[0].message.contains("100 % of the 3 devices"), "{}", found[0].message);
    let narrow = Limits { devices: 1, rules: 1, rows: 1000 };
    let error = compile(&policy, &narrow).expect_err("it does not fit");
    let found = too_large(&policy, &narrow, &error);
    let help = found.help.expect("help");
    for says in [
        "`limits.devices` and `limits.rules`",
        "devices 3 of 1, rules 2 of 1, rows ",
        " of 1,000, schedules 0 of ",
    ] {
        assert!(help.contains(says), "{help}");
    }
}

#[test]
fn who_is_not_pinned_hears_what_would_close_his_way() {
    let ssh = [Selector { protocol: 6, low: 22, high: 22 }];
    let from = ["10.9.0.0/24".parse().expect("a prefix")];
    let pin = Pin { from: &from, services: &ssh, honoured: true, closed: None };
    let session = |from: &str| Session {
        from: from.parse().expect("an address"),
        to: "10.20.0.1".parse().expect("an address"),
        port: 22,
        mac: None,
    };
    let hmi = |keys: &str| {
        policy(&PLANT.replace("class = \"panel\"\n", &format!("class = \"panel\"\nmode = \"{keys}\"\n")))
    };
    let rule = |service: &str, more: &str| {
        format!("mode = \"enforce\"\n[[device.hmi.allow]]\nto = \"gateway\"\nservice = \"{service}\"\n{more}")
    };
    let with =
        |keys: &str| policy(&PLANT.replace("class = \"panel\"\n", &format!("class = \"panel\"\n{keys}\n")));
    let is_told = |policy: &Policy, address: &str, pin: &Pin<'_>| {
        locked_out(policy, &session(address), pin, now()).map(|found| found.message)
    };
    // Pinned, or nobody's business.
    assert_eq!(is_told(&hmi("enforce"), "10.9.0.7", &pin), None);
    assert_eq!(is_told(&hmi("enforce"), "10.20.3.4", &pin), None);
    assert_eq!(is_told(&hmi("monitor"), "10.20.2.20", &pin), None);
    // A device that no rule lets in.
    let said = is_told(&hmi("enforce"), "10.20.2.20", &pin).expect("told");
    assert!(said.contains("from 10.20.2.20") && said.contains("no rule lets device `hmi`"), "{said}");
    assert!(is_told(&hmi("quarantine"), "10.20.2.20", &pin).is_some_and(|said| said.contains("quarantined")));
    assert_eq!(is_told(&with(&rule("ssh", "")), "10.20.2.20", &pin), None);
    assert!(is_told(&with(&rule("https", "")), "10.20.2.20", &pin).is_some());
    assert!(is_told(&with(&rule("ssh", "expires = 2026-01-01T00:00:00Z")), "10.20.2.20", &pin).is_some());
    // The pin is for another port, or nowhere.
    let https = [Selector { protocol: 6, low: 443, high: 443 }];
    let from_all = ["0.0.0.0/0".parse().expect("a prefix")];
    for pin in
        [Pin { from: &from_all, services: &https, ..pin }, Pin { from: &from_all, honoured: false, ..pin }]
    {
        assert!(is_told(&hmi("enforce"), "10.20.2.20", &pin).is_some());
    }
    // Known by its hardware address, as a neighbour or by the address that it made of it.
    let leased = hmi("enforce");
    let near = Session { mac: "00:0e:8c:11:20:01".parse().ok(), ..session("10.20.2.77") };
    assert!(locked_out(&leased, &near, &pin, now()).is_some());
    assert!(locked_out(&leased, &Session { mac: None, ..near }, &pin, now()).is_none());
    assert!(is_told(&leased, "fe80::20e:8cff:fe11:2001", &pin).is_some());
    assert!(is_told(&leased, "fe80::20e:8cff:fe11:2003", &pin).is_none());
    // The mending is where the fault is.
    let nowhere = Pin { from: &from_all, honoured: false, ..pin };
    let help = |pin: &Pin<'_>| {
        let found = locked_out(&hmi("enforce"), &session("10.20.2.20"), pin, now());
        found.and_then(|found| found.help).expect("help")
    };
    assert!(help(&nowhere).contains("`management = true`"));
    assert!(help(&pin).contains("`from` of `[management]`"));
    // A segment that drops strangers.
    let closed = Pin { closed: Some("line-3"), ..pin };
    assert!(
        is_told(&hmi("enforce"), "10.20.3.4", &closed).is_some_and(|said| said.contains("segment `line-3`"))
    );
}

#[test]
fn the_advice_about_zones_ends_without_a_warning() {
    let zones = |allow: &str, conduit: &str| {
        let device = |name: &str, zone: &str, at: u8| {
            format!(
                "[device.{name}]\nip = \"10.20.1.{at}\"\nmac = \"00:1d:9c:c7:b0:{at}\"\nzone = \"{zone}\"\n"
            )
        };
        let text = format!(
            "version = 1\n{}{}{}{}[[device.plc.allow]]\n{allow}\n[[conduit]]\nfrom = \"zone:engineering\"\nto = \"zone:cell\"\n\
             service = \"s7\"\n{conduit}[[device.station.allow]]\nfrom = \"hmi-2\"\nservice = \"ssh\"\n",
            device("plc", "cell", 11),
            device("hmi", "operations", 12),
            device("hmi-2", "operations", 13),
            device("station", "engineering", 14),
        );
        codes(&lint(&policy(&text), now()))
    };
    let conduit = "[[conduit]]\nfrom = \"zone:operations\"\nto = \"zone:cell\"\nservice = \"modbus\"\n";
    let narrow = "from = \"hmi\"\nservice = \"modbus\"";
    assert_eq!(zones(narrow, ""), [""; 0], "no permission is narrower");
    assert_eq!(zones(narrow, conduit), ["BH0507"], "whichever of the two goes, none is left");
    let wide = "from = \"zone:operations\"\nservice = \"modbus\"";
    assert_eq!(zones(wide, ""), ["BH0513"]);
    assert_eq!(zones("from = [\"hmi\", \"hmi-2\"]\nservice = \"modbus\"", ""), [""; 0], "one by one");
    assert_eq!(
        zones("from = \"station\"\nservice = \"ssh\"", conduit),
        [""; 0],
        "a conduit, and the rule is gone"
    );
}

#[test]
fn whoever_may_answer_for_names_is_named_one_by_one() {
    let told = |to: &str, names: &str| {
        let text = format!(
            "version = 1\n[device.plc]\nip = \"10.20.1.11\"\nmac = \"00:1d:9c:c7:b0:70\"\nclass = \"c\"\n[class.c]\n{names}\
             [device.hmi]\nip = \"10.20.1.12\"\nmac = \"00:1d:9c:c7:b0:71\"\n\
             [[device.hmi.allow]]\nto = [\"resolvers\", \"lan\"]\nservice = \"dns\"\n\
             [[device.plc.allow]]\nto = \"{to}\"\nservice = [\"dns\", \"ntp\"]\n[network.vendor]\ndns = \"*.vendor.example\"\n\
             [network.resolvers]\ncidr = [\"10.20.0.53/32\", \"10.20.0.54/32\"]\n[network.lan]\ncidr = \"10.20.0.0/24\"\n"
        );
        let found = lint(&policy(&text), now());
        codes(&found).into_iter().filter(|code| *code == "BH0516").count()
    };
    for holder in ["device.plc", "class.c"] {
        let names = format!("[[{holder}.allow]]\nto = \"vendor\"\nservice = \"https\"\n");
        for (to, warned) in [("any", 1), ("lan", 1), ("resolvers", 0), ("hmi", 0), ("gateway", 0)] {
            assert_eq!(told(to, &names), warned, "{holder} {to}");
        }
    }
    let of_another = "[[device.hmi.allow]]\nto = \"vendor\"\nservice = \"https\"\n";
    assert_eq!(told("any", of_another), 1, "only the panel relies on names, and asks in the whole network");
    assert_eq!(told("any", ""), 0, "nobody relies on names");
}
