//! Plans of policies with very long lists.

use std::fmt::Write as _;

use super::{super::*, Compiled, planned};

/// As many networks of as many prefixes, all of them in a group that a rule names, and by name in another rule.
fn site(networks: usize, prefixes: usize, more: &str) -> String {
    let mut text = "version = 1\n[device.plc]\nip = \"192.168.0.1\"\n".to_owned();
    let names: Vec<String> = (0..networks).map(|at| format!("\"net-of-a-plant-far-away-{at}\"")).collect();
    for (at, name) in names.iter().enumerate() {
        let cidr = |i: usize| format!("\"10.{at}.{}.{}/32\"", i / 250, i % 250 + 1);
        let cidrs: Vec<String> = (0..prefixes).map(cidr).collect();
        let more = if at == 0 { more } else { "" };
        let _ = writeln!(text, "[network.{name}]\ncidr = [{}{more}]", cidrs.join(", "));
    }
    let names = names.join(", ");
    let _ = writeln!(
        text,
        "[group.all]\nmembers = [{names}]\n[[device.plc.allow]]\nfrom = \"group:all\"\nservice = \"ssh\""
    );
    let _ = writeln!(text, "[[device.plc.allow]]\nfrom = [{names}]\nservice = \"modbus\"");
    text
}

#[test]
fn long_lists_end_with_how_many_others_there_are() {
    let bare = Compiled::of("version = 1\n[device.plc]\nip = \"192.168.0.1\"\n");
    let new = Compiled::of(&site(100, 300, ""));
    let plan = planned(&bare, &new, None);
    let json = serde_json::to_string(&plan).expect("it is JSON");
    assert!(json.len() < 200_000, "{} bytes", json.len());
    assert!(plan.text().lines().all(|line| line.len() < 1500), "{}", plan.text());
    let network = plan.definitions.list.iter().find(|one| one.kind == "network").expect("networks come");
    let after = network.after.as_deref().unwrap_or_default();
    assert!(after.starts_with("10.0.0.1/32, 10.0.0.2/32, ") && after.ends_with(", + 260 more"), "{after}");
    let rules: Vec<&RuleSaid> = plan.rules.added.list.iter().collect();
    for rule in rules {
        let last = rule.initiators.last().expect("there are some");
        assert!(last.contains("+ ") && last.contains(" more"), "{last}");
    }
}

#[test]
fn what_differs_is_told_before_what_is_left_out() {
    let [old, new] = ["", ", \"10.200.0.1/32\""].map(|more| Compiled::of(&site(1, 300, more)));
    let plan = planned(&old, &new, None);
    let [network] = &plan.definitions.list[..] else { panic!("{:?}", plan.definitions) };
    let [before, after] = [&network.before, &network.after].map(|said| said.clone().unwrap_or_default());
    assert!(before.starts_with("10.0.0.1/32, ") && before.ends_with(", + 260 more"), "{before}");
    assert!(after.starts_with("10.200.0.1/32, 10.0.0.1/32, ") && after.ends_with(", + 261 more"), "{after}");
}

#[test]
fn remarks_are_as_many_as_there_is_room_for() {
    let bare = Compiled::of("version = 1\n[device.plc]\nip = \"192.168.0.1\"\n");
    let plan = || planned(&bare, &bare, None);
    let few = plan().remarked("a warning\n".to_owned(), vec!["a note".to_owned()]);
    assert_eq!((few.warnings.as_str(), few.notes.len()), ("a warning\n", 1));
    let many = plan().remarked("ten bytes\n".repeat(200_000), vec!["a note".to_owned(); 1000]);
    assert!(many.warnings.len() < (1 << 20) + 100, "{}", many.warnings.len());
    assert!(many.warnings.ends_with("ten bytes\n... and 95143 more lines: see `bulkhead check`\n"));
    assert_eq!((many.notes.len(), many.notes[200].as_str()), (201, "... and 800 more like these"));
}
