//! Talks are what rules can tell apart: nothing odd that happens once keeps anything from being proposed, and nothing is let in by it.

use super::*;
use crate::learn::{Party, propose::Term};

const TEXT: &str = r#"version = 1
[device.hmi]
mac = "02:00:00:00:00:01"
ip = "10.1.0.1"
[device.plc]
mac = "02:00:00:00:00:02"
ip = "10.1.0.2"
[device.other]
ip = "10.1.0.3"
[network.cell]
cidr = "10.1.0.0/28"
[network.office]
cidr = "10.2.0.0/24"
[multicast.line]
ip = ["239.1.1.0/30"]
[multicast.pair]
ip = ["239.9.9.9", "ff05::9"]
[multicast.stations]
mac = ["01:0c:cd:01:00:01", "01:0c:cd:01:00:02"]
"#;

fn icmp(from: &str, to: &str, number: u16) -> Kind {
    Kind { service: Service { protocol: 1, number }, ..tcp(from, to, 0) }
}

fn frame(from: &str, to: &str) -> Kind {
    Kind { service: Service { protocol: 255, number: 0x8892 }, ..tcp(from, to, 0) }
}

/// A habit, and one odd packet, on the last day.
fn with_one(habit: Vec<Row>, odd: Kind) -> Vec<Row> {
    let mut rows = habit;
    rows.push(probe(odd, MONDAY + 4, 12, false));
    rows
}

#[test]
fn one_odd_packet_keeps_nothing_from_being_proposed() {
    let plant = plant(TEXT);
    let [a, b] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
    for (habit, odd, word) in [
        // An echo request with a code, which no host answers.
        (icmp("10.2.0.5", "10.1.0.2", 8 << 8), icmp("10.2.0.5", "10.1.0.2", (8 << 8) + 1), "icmp-8"),
        (udp("10.1.0.2", "239.1.1.1", 7777), udp("10.1.0.2", "239.1.1.2", 7777), "group-239-1-1-1"),
        (udp("10.1.0.2", "239.9.9.9", 7777), udp("10.1.0.2", "239.1.1.2", 7777), "multicast:pair"),
        // The other end was seen first.
        (frame(a, b), frame(b, a), "ethertype-0x8892"),
        (frame(a, "01:0c:cd:01:00:01"), frame(a, "01:0c:cd:01:00:02"), "group-01-0c-cd-01-00-01"),
    ] {
        let made = plant.learn(&with_one(week(habit, 20), odd));
        assert!(made.proof.holds(), "{:?}\n{}", made.proof, made.text);
        assert_eq!(made.proposal.entries.len(), 1, "{}", made.text);
        assert!(made.text.contains(word), "{}", made.text);
    }
}

#[test]
fn group_is_named_where_all_of_it_was_seen() {
    let plant = plant(TEXT);
    let to = |last: std::ops::Range<u8>| -> Vec<Row> {
        last.flat_map(|n| week(udp("10.1.0.2", &format!("239.1.1.{n}"), 7777), 20)).collect()
    };
    let some = plant.learn(&to(0..3));
    assert!(!some.text.contains("[\"multicast:line\""), "{}", some.text);
    assert!(some.text.contains("multicast:group-239-1-1-2"), "{}", some.text);
    let all = plant.learn(&to(0..4));
    assert!(all.text.contains("to = [\"multicast:line\"]"), "{}", all.text);
    assert_eq!((some.proposal.price(), all.proposal.price()), (0, 0));
    let frames = ["01:0c:cd:01:00:01", "01:0c:cd:01:00:02"];
    let rows: Vec<Row> = frames.iter().flat_map(|to| week(frame("02:00:00:00:00:01", to), 20)).collect();
    let both = plant.learn(&rows);
    assert!(both.text.contains("to = [\"multicast:stations\"]"), "{}", both.text);
}

#[test]
fn rule_that_spoils_the_proposal_is_dropped_and_the_others_stay() {
    let plant = plant(TEXT);
    let mut rows = week(tcp("10.1.0.1", "10.1.0.2", 502), 20);
    rows.extend(week(tcp("10.1.0.1", "10.1.0.2", 4840), 20));
    rows.extend(week(udp("10.1.0.2", "10.2.0.5", 161), 20));
    rows.push(seen(tcp("10.1.0.3", "10.1.0.2", 502), MONDAY, 1));
    let made = plant.learn(&rows);
    let who = Who::new(&plant.policy, &plant.surroundings.placed);
    let material = Material { who: &who, found: &made.found, fates: &made.fates };
    // A mistake: one of the rules names somebody who did it once.
    let mut proposal = made.proposal.clone();
    let (other, _) = plant.policy.device("other").expect("it is there");
    let wrong = proposal.entries.iter().position(|entry| entry.talks.len() == 2).expect("two services");
    proposal.entries[wrong].terms.insert(Term::Seen(Party::Device(other)));
    let settled =
        settle(&material, proposal, &plant.files, &plant.surroundings, now()).expect("it can be written");
    assert!(settled.proof.holds(), "{:?}", settled.proof);
    assert_eq!(settled.proposal.entries.len(), made.proposal.entries.len() - 1);
    let [dropped] = settled.proposal.dropped.as_slice() else { panic!("{:?}", settled.proposal.dropped) };
    assert_eq!(dropped.what, "the rule for hmi -> plc tcp/502 and 1 more");
    assert_eq!(dropped.why, "it would admit other -> plc tcp/502, which was left out: one-off");
    assert!(!settled.merged[0].after.contains("tcp/502"), "{}", settled.merged[0].after);
}

#[test]
fn one_of_many_that_would_be_let_in_is_too_much() {
    let plant = plant(&format!("{TEXT}[network.far]\ncidr = \"192.0.2.7/32\"\n"));
    let mut rows = week(tcp("192.0.2.7", "10.1.0.2", 502), 20);
    // Hosts that nobody knows are told of together: the lowest, the highest, and one in the middle.
    for n in [1, 2, 8, 9] {
        rows.push(seen(tcp(&format!("172.16.0.{n}"), "10.1.0.2", 502), MONDAY, 1));
    }
    let made = plant.learn(&rows);
    assert!(made.proof.holds(), "{:?}", made.proof);
    let who = Who::new(&plant.policy, &plant.surroundings.placed);
    let material = Material { who: &who, found: &made.found, fates: &made.fates };
    let proved = |cidr: &str| {
        let mut after = plant.files.clone();
        after[0].text += &format!(
            "[network.some]\ncidr = \"{cidr}\"\n[[device.plc.allow]]\nfrom = \"some\"\nservice = \"modbus\"\n"
        );
        let nothing = Proposal::default();
        let proof = crate::learn::propose::prove(
            &material,
            &nothing,
            (&plant.files, &after),
            &plant.surroundings,
            now(),
        );
        proof.admitted.len()
    };
    assert_eq!(
        ["172.16.0.1/32", "172.16.0.8/32", "172.16.0.9/32", "172.16.0.5/32"].map(proved),
        [1, 1, 1, 0]
    );
}

#[test]
fn what_scans_tried_must_not_be_let_in() {
    let plant = plant(TEXT);
    let mut rows = week(tcp("10.1.0.1", "10.1.0.2", 502), 20);
    rows.extend((600..640).map(|port| probe(tcp("10.1.0.3", "10.1.0.2", port), MONDAY, 3, false)));
    let made = plant.learn(&rows);
    assert!(made.proof.holds(), "{:?}", made.proof);
    assert_eq!(made.found.probed.len(), 40);
    let who = Who::new(&plant.policy, &plant.surroundings.placed);
    let material = Material { who: &who, found: &made.found, fates: &made.fates };
    let mut after = plant.files.clone();
    after[0].text += "[service.odd]\ntcp = 610\n[[device.plc.allow]]\nfrom = \"other\"\nservice = \"odd\"\n";
    let proof = crate::learn::propose::prove(
        &material,
        &Proposal::default(),
        (&plant.files, &after),
        &plant.surroundings,
        now(),
    );
    assert_eq!(proof.admitted.iter().map(|talk| talk.service.number).collect::<Vec<_>>(), [610]);
}

#[test]
fn what_anybody_may_do_already_spoils_no_proposal() {
    let rule = "[[device.plc.allow]]\nfrom = \"any\"\nservice = \"https\"\n";
    let plant = plant(&TEXT.replace("[device.other]", &format!("{rule}[device.other]")));
    let mut rows = week(tcp("10.1.0.1", "10.1.0.2", 502), 20);
    rows.push(seen(tcp("172.16.0.1", "10.1.0.2", 443), MONDAY, 1));
    let made = plant.learn(&rows);
    assert!(made.proof.holds(), "{:?}", made.proof);
    assert_eq!(made.proposal.entries.len(), 1);
}

#[test]
fn last_address_of_a_network_is_a_host() {
    let mut plant = plant(TEXT);
    let rows = week(tcp("10.1.0.2", "10.1.0.15", 443), 20);
    let made = plant.learn(&rows);
    assert!(made.text.contains("host-10-1-0-15") && !made.text.contains("broadcast"), "{}", made.text);
    let told = week(udp("10.1.0.2", "10.1.0.15", 47_808), 20);
    assert!(!plant.learn(&told).text.contains("broadcast"), "nobody says that a segment ends there");
    plant.surroundings.placed.broadcasts = [IpAddr::from([10, 1, 0, 15])].into();
    assert!(plant.learn(&told).text.contains("to = [\"broadcast\"]"));
    assert!(plant.learn(&rows).text.contains("host-10-1-0-15"), "a connection is with one host");
}

#[test]
fn talk_outside_of_the_windows_of_its_rule_waits_for_a_person() {
    let rule = "[[device.plc.allow]]\nfrom = \"hmi\"\nservice = \"https\"\n\
                windows = [{ days = \"mon-fri\", from = \"08:00\", to = \"12:00\", zone = \"UTC\" }]\n";
    let plant = plant(&TEXT.replace("[device.other]", &format!("{rule}[device.other]")));
    let fate = |hour: i64| {
        let at_hour = |mut row: Row| {
            let first = row.day.begin() + hour * 3600;
            (row.seen.first, row.seen.last) = (first, first + 7000);
            row.seen.hours = Hours::between(row.day, first, first + 7000);
            row
        };
        let rows: Vec<Row> = week(tcp("10.1.0.1", "10.1.0.2", 443), 20).into_iter().map(at_hour).collect();
        plant.learn(&rows).fate(&plant, "hmi -> plc tcp/443")
    };
    assert_eq!([8, 10, 11, 2].map(fate), ["covered", "covered", "outside-window", "outside-window"]);
}

#[test]
fn datagrams_between_equals_are_not_taken_for_questions() {
    let plant = plant(TEXT);
    let unopened = |kind: Kind| {
        let rows = week(kind, 20).into_iter();
        rows.map(|row| Row { seen: Seen { opened: 0, ..row.seen }, ..row }).collect::<Vec<_>>()
    };
    let fate = |rows: &[Row], talk: &str| plant.learn(rows).fate(&plant, talk);
    // A poll has a direction.
    assert_eq!(fate(&unopened(udp("10.1.0.1", "10.1.0.2", 161)), "hmi -> plc udp/161"), "learned");
    assert_eq!(fate(&unopened(udp("10.1.0.1", "10.1.0.2", 2222)), "hmi -> plc udp/2222"), "guessed");
    let mut both = unopened(udp("10.1.0.1", "10.1.0.2", 53));
    assert_eq!(fate(&both, "hmi -> plc udp/53"), "learned");
    both.extend(unopened(udp("10.1.0.2", "10.1.0.1", 53)));
    assert_eq!(fate(&both, "hmi -> plc udp/53"), "guessed");
    assert_eq!(fate(&both, "plc -> hmi udp/53"), "guessed");
    // What began before somebody's eyes is what it is.
    let mut seen = week(udp("10.1.0.1", "10.1.0.2", 123), 20);
    seen.extend(week(udp("10.1.0.2", "10.1.0.1", 123), 20));
    assert_eq!(fate(&seen, "hmi -> plc udp/123"), "learned");
}

#[test]
fn each_rule_for_a_person_brings_what_it_names() {
    let plant = plant(TEXT);
    let mut rows = week(tcp("10.2.0.5", "10.1.0.1", 22), 20);
    rows.extend(week(tcp("10.2.0.5", "10.1.0.2", 22), 20));
    let made = plant.learn(&rows);
    assert_eq!(made.proposal.decisions.len(), 2);
    let declared = made.text.matches("#   [network.host-10-2-0-5]").count();
    assert_eq!(declared, 2, "{}", made.text);
    assert_eq!(made.text.matches("`host-10-2-0-5` is declared with a rule above as well").count(), 1);
    // Either alone is a policy.
    for block in made.text.split("\n\n").filter(|block| block.contains("DECIDE")) {
        let lines = block.lines().filter_map(|line| line.strip_prefix("#   "));
        let text = format!("{TEXT}\n{}", lines.map(|line| format!("{line}\n")).collect::<String>());
        let files = [SourceFile { path: "plant.toml".into(), text }];
        assert!(resolve_texts(&files).policy.is_some(), "{}", files[0].text);
    }
    // What a rule that was learned declares is not said again.
    rows.extend(week(tcp("10.2.0.5", "10.1.0.1", 443), 20));
    let made = plant.learn(&rows);
    assert_eq!(made.text.matches("[network.host-10-2-0-5]").count(), 1, "{}", made.text);
}

#[test]
fn scan_that_reaches_over_the_edge_of_the_window_is_one() {
    let mut plant = plant(TEXT);
    let mut rows = week(tcp("10.1.0.3", "10.1.0.2", 502), 50);
    for port in 600..640 {
        let one = probe(tcp("10.1.0.3", "10.1.0.2", port), MONDAY, 8, false);
        // It went on when the window had ended.
        rows.push(Row { seen: Seen { last: one.seen.last + 12 * 3600, ..one.seen }, ..one });
    }
    plant.settings.span = crate::learn::Span { since: i64::MIN, until: Day(MONDAY).begin() + 12 * 3600 };
    let made = plant.learn(&rows);
    assert_eq!(made.found.scans.all(&plant.settings).len(), 1);
}

#[test]
fn device_of_a_segment_that_nobody_configured_is_learned_all_the_same() {
    use bulkhead_common::layout::SegmentRow;
    let text = TEXT.replace("[device.plc]", "[device.plc]\nsegment = \"line\"");
    let mut plant = plant(&text);
    let rows = week(tcp("10.1.0.1", "10.1.0.2", 502), 20);
    let any = crate::learn::Surroundings::any_segment();
    let rows_of = |names: &[&str], plant: &mut Plant| {
        let numbers = names.iter().map(|name| (*name).to_owned()).zip(1..);
        plant.surroundings.placed.segments = numbers.collect();
        let segments = names.iter().zip(1..).map(|(_, segment)| (None, SegmentRow { segment, ..any }));
        plant.surroundings.field = crate::compile::Field::of(segments.collect(), any);
        plant.learn(&rows).proposal.entries.len()
    };
    assert_eq!(rows_of(&["cell", "line"], &mut plant), 1);
    assert_eq!(rows_of(&["cell"], &mut plant), 1);
}
