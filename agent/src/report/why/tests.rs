//! The answers, and that what they say is missing can be pasted into a policy.

use bulkhead_common::reason::Reason;

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
    let question = Question::new(&policy, from, to, service, None).expect("a question that can be asked");
    let placed = Placed { gateway: question.gateway().into_iter().collect(), ..Placed::default() };
    let decision = question.ask(&Host::new(&tables, placed));
    question.answer(&tables, &decision, Some(decision.rule))
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
