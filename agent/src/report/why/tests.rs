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
    let placed = Placed { gateway: question.gateway().into_iter().collect(), ..Placed::default() };
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
