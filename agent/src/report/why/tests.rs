//! The answers, and that what they say is missing can be pasted into a policy.

use bulkhead_common::{layout::SegmentRow, lookup::segment_flag, reason::Reason};
use ipnet::Ipv4Net;

use super::*;
use crate::{
    compile::{Host, Limits, Placed, compile},
    policy::{SourceFile, resolve_texts},
};

const POLICY: &str = "version = 1\n[device.plc]\nip = \"10.20.1.11\"\n[device.hmi]\nip = \"10.20.2.20\"\n";

fn ask(text: &str, words: [&str; 3]) -> Answer {
    let outcome = resolve_texts(&[SourceFile { path: "p.toml".to_owned(), text: text.to_owned() }]);
    let policy = outcome.policy.unwrap_or_else(|| panic!("{text}\n{:?}", outcome.diagnostics));
    let most = Limits { devices: u32::MAX, rules: u32::MAX, rows: u32::MAX };
    let tables = compile(&policy, &most).expect("a few rows fit");
    let [from, to, service] = words;
    let question =
        Question::new(&policy, from, to, service, &BTreeSet::new()).expect("a question that can be asked");
    let gateway = question.gateway().into_iter().collect();
    let placed = Placed { gateway, named: question.supposed(&tables), ..Placed::default() };
    let host = Host::new(&tables, placed);
    let parts = question.parts(&tables, &[]).into_iter();
    let decisions = parts.map(|part| (part, question.ask(part, &host))).collect();
    question.answer(&tables, &[Heard { on: None, decisions }])
}

#[test]
fn what_is_missing_can_be_pasted_into_the_policy() {
    for words in [
        ["hmi", "plc", "modbus"],
        ["10.20.2.66", "plc", "modbus"],
        ["10.20.2.20", "plc", "tcp/4840"],
        ["plc", "10.9.0.5", "udp/123"],
        ["hmi", "10.20.1.11", "icmp/8"],
        ["any", "plc", "modbus"],
        ["gateway", "plc", "modbus"],
    ] {
        let answer = ask(POLICY, words);
        assert_eq!(answer.verdict, "deny", "{words:?}");
        let missing = answer.missing.unwrap_or_else(|| panic!("{words:?} could be allowed"));
        let answer = ask(&format!("{POLICY}{missing}"), words);
        assert_eq!((answer.verdict.as_str(), answer.missing), ("allow", None), "{words:?}\n{missing}");
    }
}

#[test]
fn stranger_gets_a_name_in_what_is_missing() {
    let answer = ask(POLICY, ["10.20.2.66", "plc", "modbus"]);
    assert_eq!(answer.reason, Reason::UnknownPeer.name());
    let missing = "[[device.plc.allow]]\nfrom = [\"host-10-20-2-66\"]\nservice = [\"modbus\"]\n\n\
                   [network.host-10-20-2-66]\ncidr = [\"10.20.2.66/32\"]\n";
    assert_eq!(answer.missing.as_deref(), Some(missing));
}

#[test]
fn a_name_for_several_ends_is_answered_by_what_to_ask_instead() {
    let text = "version = 1\n[device.plc]\nip = \"10.20.1.11\"\nzone = \"cell\"\nclass = \"controller\"\n[class.controller]\n\
                [device.hmi]\nip = \"10.20.2.20\"\n[group.dash]\nmembers = [\"hmi\", \"office\"]\n\
                [network.office]\ncidr = \"10.9.0.0/24\"\n";
    let outcome = resolve_texts(&[SourceFile { path: "p.toml".to_owned(), text: text.to_owned() }]);
    let policy = outcome.policy.expect("a policy");
    for (name, member) in [
        ("zone:cell", "one of them by name, such as `plc`"),
        ("class:controller", "one of them by name, such as `plc`"),
        ("group:dash", "one of them by name, such as `hmi`"),
        ("group:other", "one of its members by name"),
    ] {
        for (from, to) in [(name, "hmi"), ("plc", name)] {
            let asked = Question::new(&policy, from, to, "modbus", &BTreeSet::new());
            let wanted = format!(
                "`{name}` may stand for several ends, and a question is about one\nhelp: ask about {member}"
            );
            assert_eq!(asked.map_err(|error| error.to_string()), Err(wanted));
        }
    }
}

const DNS: &str = "version = 1\n[device.plc]\nip = \"10.20.1.11\"\n[device.hmi]\nip = \"10.20.2.20\"\n\
                   [service.dns-over-tcp]\ntcp = \"53\"\n\
                   [[device.plc.allow]]\nfrom = [\"hmi\"]\nservice = [\"dns-over-tcp\"]\n";

fn told(answer: &Answer) -> Vec<String> {
    let one = |part: &Part| {
        let on = part.interface.as_ref().map(|names| format!("{names}: ")).unwrap_or_default();
        format!("{on}{} {} {}", part.selector, part.verdict, part.reason)
    };
    answer.parts.iter().map(one).collect()
}

#[test]
fn every_port_of_a_service_is_asked_about() {
    let answer = ask(DNS, ["hmi", "plc", "dns"]);
    assert_eq!(answer.verdict, "partly");
    assert_eq!(told(&answer), ["tcp/53 allow rule", "udp/53 deny service-not-allowed"]);
    let place = answer.parts[0].rule.as_ref().map(|rule| rule.place.as_str());
    assert_eq!(place, Some("p.toml:8"));
    let answer = ask(DNS, ["hmi", "plc", "any-tcp"]);
    assert_eq!(answer.verdict, "partly");
    let ports: Vec<String> = told(&answer).into_iter().filter(|part| part.contains(" allow ")).collect();
    assert_eq!((ports, answer.parts.len()), (vec!["tcp/53 allow rule".to_owned()], 3));
    assert_eq!(ask(DNS, ["hmi", "plc", "tcp/53"]).verdict, "allow");
}

#[test]
fn answers_of_interfaces_are_told_apart_only_when_they_differ() {
    let outcome = resolve_texts(&[SourceFile { path: "p.toml".to_owned(), text: DNS.to_owned() }]);
    let policy = outcome.policy.expect("it is well formed");
    let most = Limits { devices: u32::MAX, rules: u32::MAX, rows: u32::MAX };
    let tables = compile(&policy, &most).expect("a few rows fit");
    let own = BTreeSet::from([IpAddr::from([10, 20, 2, 1])]);
    let flagged = |flags| SegmentRow { flags, ..SegmentRow::default() };
    let interfaces =
        [("cell0 (device-side)", flagged(0)), ("plant0 (uplink)", flagged(segment_flag::MANAGEMENT))];
    let answer = |words: [&str; 3]| {
        let [from, to, service] = words;
        let question = Question::new(&policy, from, to, service, &own).expect("it can be asked");
        let base = Placed {
            gateway: own.clone(),
            management_peers: vec![Ipv4Net::default().into()],
            management_services: vec![Selector { protocol: 6, low: 22, high: 22 }],
            ..Placed::default()
        };
        let heard = interfaces.map(|(on, segment)| {
            let host = Host::new(&tables, Placed { segment, ..base.clone() });
            let parts = question.parts(&tables, &base.management_services).into_iter();
            Heard {
                on: Some(on.to_owned()),
                decisions: parts.map(|part| (part, question.ask(part, &host))).collect(),
            }
        });
        question.answer(&tables, &heard)
    };
    let differs = ["cell0 (device-side): tcp/22 deny no-rule", "plant0 (uplink): tcp/22 allow management"];
    for gateway in ["gateway", "10.20.2.1"] {
        let answer = answer(["hmi", gateway, "ssh"]);
        assert_eq!((answer.verdict.as_str(), told(&answer)), ("partly", differs.map(str::to_owned).to_vec()));
    }
    assert_eq!(told(&answer(["hmi", "plc", "tcp/53"])), ["tcp/53 allow rule"]);
}

#[test]
fn samples_of_a_network_are_nobody_elses_and_outside_smaller_ones() {
    let text = "version = 1\n[device.plc]\nip = \"10.20.1.1\"\n[network.cell]\ncidr = \"10.20.1.0/29\"\n\
                [network.part]\ncidr = \"10.20.1.0/30\"\n[network.one]\ncidr = \"10.20.1.2/32\"\n";
    let outcome = resolve_texts(&[SourceFile { path: "p.toml".to_owned(), text: text.to_owned() }]);
    let policy = outcome.policy.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics));
    let own = BTreeSet::from([IpAddr::from([10, 20, 1, 4])]);
    let from =
        |name: &str| Question::new(&policy, name, "plc", "ssh", &own).map(|question| question.from.address);
    assert_eq!(from("cell"), Ok(Some(IpAddr::from([10, 20, 1, 5]))));
    assert_eq!(from("part"), Ok(Some(IpAddr::from([10, 20, 1, 2]))), "there is no host outside `one`");
    assert_eq!(from("one"), Ok(Some(IpAddr::from([10, 20, 1, 2]))));
    for (from, to) in [("gateway", "gateway"), ("10.20.1.4", "gateway"), ("plc", "10.20.1.1")] {
        let error = Question::new(&policy, from, to, "ssh", &own).expect_err("one host");
        assert!(error.to_string().contains("same host: such traffic never"), "{error}");
    }
    let error = Question::new(&policy, "one", "one", "ssh", &own).expect_err("one host");
    assert!(matches!(error, AskError::NoHost { .. }), "{error}");
    let error = Question::new(&policy, "cell", "plc", "502", &own).expect_err("no service");
    assert!(error.to_string().contains("did you mean `tcp/502`?"), "{error}");
}

#[test]
fn no_rule_is_offered_where_none_would_help() {
    let held = POLICY.replace("[device.hmi]", "mode = \"quarantine\"\n[device.hmi]");
    let answer = ask(&held, ["hmi", "plc", "modbus"]);
    assert_eq!((answer.reason.as_str(), answer.missing), ("quarantined", None));
    assert!(answer.help.is_some_and(|help| help.contains("`bulkhead release plc`")));
    assert_eq!(ask(POLICY, ["192.0.2.7", "192.0.2.8", "modbus"]).missing, None);
}

#[test]
fn a_datagram_service_that_the_gateway_polls_is_allowed_by_its_rule() {
    let text =
        format!("{POLICY}[[device.plc.allow]]\nfrom = [\"gateway\"]\nservice = [\"snmp\", \"ping\"]\n");
    assert_eq!(ask(&text, ["gateway", "plc", "snmp"]).verdict, "allow");
    assert_eq!(ask(&text, ["gateway", "plc", "ping"]).verdict, "allow");
}

#[test]
fn replies_start_nothing_so_a_rule_for_all_of_icmp_allows_all_of_it() {
    let text = format!("{POLICY}[[device.plc.allow]]\nfrom = [\"hmi\"]\nservice = [\"any\"]\n");
    let answer = ask(&text, ["hmi", "plc", "any"]);
    let parts = [
        "icmp/1-255 allow rule",
        "tcp/1-65535 allow rule",
        "udp/1-65535 allow rule",
        "sctp/1-65535 allow rule",
    ];
    assert_eq!((answer.verdict.as_str(), told(&answer)), ("allow", parts.map(str::to_owned).to_vec()));
}

const PLANT: &str = r#"version = 1
[device.plc]
mac = "00:1d:9c:c7:b0:70"
ip = ["10.20.1.11", "fd00:20::11"]
segment = "cell0"
mode = "enforce"
[device.drive]
mac = "00:1d:9c:c7:b0:72"
[device.camera]
mac = "00:1d:9c:c7:b0:73"
ip = "dhcp"
[device.six]
ip = "fd00:20::66"
[network.office]
cidr = "fd00:9::/64"
"#;

/// Every kind of end with every kind of service: denied, then allowed by the lines that were missing.
#[test]
fn what_is_missing_of_any_kind_can_be_pasted_into_the_policy() {
    for (words, packet) in [
        (["six", "plc", "modbus"], "fd00:20::66 -> fd00:20::11 TCP SYN to port 502"),
        (["office", "plc", "ping"], "fd00:9::1 -> fd00:20::11 ICMPv6 type 128 code 0"),
        (["fd00:9::5", "plc", "udp/53"], "fd00:9::5 -> fd00:20::11 UDP to port 53"),
        (["plc", "drive", "profinet-rt"], "00:1d:9c:c7:b0:70 -> 00:1d:9c:c7:b0:72 frame of ethertype 0x8892"),
        (["plc", "drive", "llc/0x42"], "00:1d:9c:c7:b0:70 -> 00:1d:9c:c7:b0:72 LLC frame to 0x42"),
        (
            ["drive", "multicast:profinet-dcp", "profinet-dcp"],
            "00:1d:9c:c7:b0:72 -> 01:0e:cf:00:00:00 frame of ethertype 0x8892",
        ),
        (
            ["drive", "broadcast", "ethertype/0x88a4"],
            "00:1d:9c:c7:b0:72 -> ff:ff:ff:ff:ff:ff frame of ethertype 0x88a4",
        ),
        (["plc", "multicast:mdns", "mdns"], "10.20.1.11 -> 224.0.0.251 UDP to port 5353"),
        (["six", "multicast:mdns", "mdns"], "fd00:20::66 -> ff02::fb UDP to port 5353"),
        (["plc", "239.1.2.3", "udp/9"], "10.20.1.11 -> 239.1.2.3 UDP to port 9"),
        (["plc", "255.255.255.255", "bacnet"], "10.20.1.11 -> 255.255.255.255 UDP to port 47808"),
        (["camera", "plc", "rtsp"], "192.0.2.99 -> 10.20.1.11 TCP SYN to port 554"),
        (["plc", "camera", "rtsp"], "10.20.1.11 -> 192.0.2.99 TCP SYN to port 554"),
        (["any", "drive", "ethercat"], "02:bb:00:00:00:01 -> 00:1d:9c:c7:b0:72 frame of ethertype 0x88a4"),
        (["plc", "six", "gre"], "fd00:20::11 -> fd00:20::66 IP protocol 47"),
        (["plc", "six", "ip/50"], "fd00:20::11 -> fd00:20::66 IP protocol 50"),
        (["plc", "any", "sctp/2905"], "10.20.1.11 -> 192.0.2.99 SCTP to port 2905"),
        (["gateway", "six", "ntp"], "2001:db8::1 -> fd00:20::66 UDP to port 123 (judged by its answer)"),
        (
            ["gateway", "six", "ping"],
            "2001:db8::1 -> fd00:20::66 ICMPv6 type 128 code 0 (judged by its answer)",
        ),
    ] {
        let answer = ask(PLANT, words);
        assert_eq!((answer.verdict.as_str(), answer.packet.as_str()), ("deny", packet), "{words:?}");
        let missing = answer.missing.unwrap_or_else(|| panic!("{words:?} could be allowed"));
        let answer = ask(&format!("{PLANT}{missing}"), words);
        assert_eq!((answer.verdict.as_str(), answer.missing), ("allow", None), "{words:?}\n{missing}");
    }
}

#[test]
fn a_service_of_several_kinds_is_asked_in_those_that_the_ends_have() {
    let rule = "[[device.plc.allow]]\nto = [\"drive\", \"camera\"]\nservice = \"ptp\"\n";
    let text = PLANT.replace("[device.drive]", "[device.drive]\nip = \"10.20.1.72\"") + rule;
    assert_eq!(
        told(&ask(&text, ["plc", "drive", "ptp"])),
        ["udp/319-320 allow rule", "ethertype/0x88f7 allow rule"]
    );
    assert_eq!(
        told(&ask(&text, ["drive", "plc", "ptp"])),
        ["udp/319-320 deny wrong-direction", "ethertype/0x88f7 allow rule"]
    );
    assert_eq!(told(&ask(&text, ["six", "plc", "ptp"])), ["udp/319-320 deny no-rule"]);
}

#[test]
fn a_question_about_ends_that_cannot_meet_says_so() {
    let outcome = resolve_texts(&[SourceFile { path: "p.toml".to_owned(), text: PLANT.to_owned() }]);
    let policy = outcome.policy.expect("it is well formed");
    let own = BTreeSet::new();
    for (words, part) in [
        (["drive", "plc", "modbus"], "no addresses of one kind for `modbus`"),
        (["camera", "six", "icmp/8"], "no addresses of one kind"),
        (["office", "plc", "profinet-rt"], "no addresses of one kind"),
        (["multicast:mdns", "plc", "mdns"], "`multicast:mdns` is only ever the end that answers"),
        (["broadcast", "plc", "mdns"], "`broadcast` is only ever"),
        (["gateway", "multicast:mdns", "mdns"], "what the gateway sends to `multicast:mdns` is not judged"),
        (["plc", "multicast:mdnss", "mdns"], "did you mean `multicast:mdns`?"),
    ] {
        let [from, to, service] = words;
        let error = Question::new(&policy, from, to, service, &own).expect_err("it cannot be asked");
        assert!(error.to_string().contains(part), "{words:?}: {error}");
    }
}

const BY_NAME: &str = "version = 1\n[device.plc]\nip = \"10.20.1.11\"\n[[device.plc.allow]]\nto = \"vendor\"\nservice = \"https\"\n[device.hmi]\nip = \"10.20.2.20\"\n[network.vendor]\ndns = [\"update.vendor.example\", \"*.cdn.example\"]\n";

#[test]
fn a_network_of_names_is_asked_about_as_if_it_had_been_learned() {
    let answer = ask(BY_NAME, ["plc", "vendor", "https"]);
    assert_eq!((answer.verdict.as_str(), answer.reason.as_str()), ("allow", "rule"));
    let note = "`vendor` is known by name: it was asked with 192.0.2.99, as if `plc` had learned that from an answer for `*.cdn.example` or `update.vendor.example`";
    assert_eq!(answer.notes[0], note);
    let answer = ask(BY_NAME, ["plc", "vendor", "ssh"]);
    assert_eq!((answer.verdict.as_str(), answer.reason.as_str()), ("deny", "service-not-allowed"));
    let answer = ask(BY_NAME, ["hmi", "vendor", "https"]);
    assert_eq!((answer.verdict.as_str(), answer.reason.as_str()), ("deny", "unknown-peer"));
}

#[test]
fn what_a_device_has_learned_is_asked_with() {
    let files = [SourceFile { path: "p.toml".to_owned(), text: BY_NAME.to_owned() }];
    let policy = resolve_texts(&files).policy.expect("a valid policy");
    let own = BTreeSet::new();
    let address: IpAddr = "203.0.113.9".parse().expect("an address");
    let learned = [Learned { name: "a.cdn.example".to_owned(), address, seconds_left: 250 }];
    for to in ["vendor", "203.0.113.9"] {
        let question =
            Question::knowing(&policy, "plc", to, "https", &own, &learned).expect("it can be asked");
        assert_eq!(question.to.address, Some(address));
        let known = "`plc` knows 203.0.113.9 as `a.cdn.example` for 4 min more".to_owned();
        let most = Limits { devices: u32::MAX, rules: u32::MAX, rows: u32::MAX };
        let tables = compile(&policy, &most).expect("a few rows fit");
        assert!(question.supposed(&tables).is_empty());
        let host = Host::new(&tables, Placed::default());
        let decisions =
            question.parts(&tables, &[]).into_iter().map(|part| (part, question.ask(part, &host)));
        let heard = Heard { on: None, decisions: decisions.collect() };
        let answer = question.answer(&tables, &[heard]);
        assert!(answer.notes.contains(&known), "{:?}", answer.notes);
    }
}
