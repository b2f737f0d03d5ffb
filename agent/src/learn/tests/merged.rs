//! What is added finds its place, and nothing else moves.

use super::*;

/// The text without what was added is the text: every byte, in its order.
fn keeps(before: &str, after: &str) {
    // A last line without an end gets one.
    let ended = format!("{before}\n");
    let before = if before.ends_with('\n') { before } else { &ended };
    let diff = similar::TextDiff::from_lines(before, after);
    let kept: String = diff
        .iter_all_changes()
        .filter(|change| change.tag() != similar::ChangeTag::Insert)
        .map(|change| change.value().to_owned())
        .collect();
    assert_eq!(kept, before);
    assert!(diff.iter_all_changes().all(|change| change.tag() != similar::ChangeTag::Delete), "{after}");
}

fn rows() -> Vec<Row> {
    let mut rows = week(tcp("10.1.0.1", "10.1.0.2", 502), 20);
    rows.extend(week(tcp("10.1.0.2", "10.2.0.5", 8123), 20));
    rows
}

const HMI: &str = "[device.hmi]\nip = \"10.1.0.1\"\n[network.office]\ncidr = \"10.2.0.0/24\"\n";

fn made(plc: &str) -> Made {
    let text = format!("version = 1\n# The plant.\n{plc}\n{HMI}# The end.");
    let made = plant(&text).learn(&rows());
    assert!(made.proof.holds(), "{:?}\n{}", made.proof, made.merged[0].after);
    made
}

#[test]
fn comments_order_and_blanks_stay() {
    let plc = r#"   [ device . plc ]   # the press
ip   =   "10.1.0.2"     # by hand
    # before the rule
[[device.plc.allow]]
from = ["hmi"]
service = ["ssh"]   # for the vendor
comment = '''
many
lines'''

# About somebody else.
"#;
    let made = made(plc);
    keeps(&made.merged[0].before, &made.merged[0].after);
    insta::assert_snapshot!(made.merged[0].after);
}

#[test]
fn every_way_to_write_a_device_takes_entries() {
    for plc in [
        "[device]\nplc = { ip = \"10.1.0.2\" }\n",
        "[device.plc]\nip = \"10.1.0.2\"\nallow = []\n",
        "[device.plc]\nip = \"10.1.0.2\"\nallow = [{ from = \"hmi\", service = \"ssh\" }]\n",
        "[device.plc]\nip = \"10.1.0.2\"\nallow = [\n  { from = \"hmi\", service = \"ssh\" }, # ssh\n]\n",
        "[device.plc]\nallow = [{ from = \"hmi\", service = \"ssh\" }]\nip = \"10.1.0.2\"\n",
        "[device]\nplc = { allow = [{ from = \"hmi\", service = \"ssh\" }], ip = \"10.1.0.2\" }\n",
        "[device]\nplc.ip = \"10.1.0.2\"\n",
        "[[device.plc.allow]]\nfrom = \"hmi\"\nservice = \"ssh\"\n[device.plc]\nip = \"10.1.0.2\"\n",
    ] {
        let made = made(plc);
        let Merged { before, after, .. } = &made.merged[0];
        assert!(after.len() > before.len() && after.contains("learned"), "{after}");
        // Whatever stands on the lines of an inline table, its bytes are there in their order.
        let mut rest = after.chars();
        assert!(before.chars().all(|c| rest.any(|other| other == c)), "{after}");
        assert!(after.contains("# The plant.") && after.contains("# The end."));
    }
}

#[test]
fn what_a_person_has_to_decide_stands_in_every_way_to_write_a_device() {
    for plc in [
        "[device]\nplc = { ip = \"10.1.0.2\" }\n",
        "[device]\nplc = { ip = \"10.1.0.2\", allow = [] }\n",
        "[device.plc]\nip = \"10.1.0.2\"\nallow = []\n",
        "[device.plc]\nip = \"10.1.0.2\"\nallow = [{ from = \"hmi\", service = \"ntp\" }, ] # the only one\n",
        "[device.plc]\nip = \"10.1.0.2\"\n",
    ] {
        for with_others in [true, false] {
            let text = format!("version = 1\n{plc}\n{HMI}");
            let telnet = week(tcp("10.1.0.1", "10.1.0.2", 23), 20);
            let all = if with_others { [rows(), telnet].concat() } else { telnet };
            let made = plant(&text).learn(&all);
            assert!(made.proof.holds(), "{:?}\n{}", made.proof, made.merged[0].after);
            let after = &made.merged[0].after;
            let asked = |after: &str| after.lines().filter(|line| line.starts_with("# DECIDE")).count();
            assert_eq!(asked(after), 1, "{after}");
            // It is asked once.
            let again = plant(after).learn(&all);
            assert!(again.merged.iter().all(|merged| asked(&merged.after) == 1), "{}", again.text);
        }
    }
}

#[test]
fn lines_end_as_they_did() {
    let text = format!("version = 1\n[device.plc]\nip = \"10.1.0.2\"\n{HMI}").replace('\n', "\r\n");
    let made = plant(&text).learn(&rows());
    assert!(made.proof.holds(), "{:?}", made.proof);
    let after = &made.merged[0].after;
    keeps(&text, after);
    assert_eq!(after.matches('\n').count(), after.matches("\r\n").count());
}

#[test]
fn each_entry_goes_to_the_file_of_its_device() {
    let plant = plants(&[
        ("a.toml", "version = 1\n[device.hmi]\nip = \"10.1.0.1\"\n"),
        ("b.toml", "version = 1\n[device.plc]\nip = \"10.1.0.2\""),
        ("c.toml", "version = 1\n[network.office]\ncidr = \"10.2.0.0/24\"\n"),
    ]);
    let made = plant.learn(&rows());
    assert!(made.proof.holds(), "{:?}", made.proof);
    assert_eq!(made.merged.iter().map(|merged| merged.path.as_str()).collect::<Vec<_>>(), ["b.toml"]);
    assert!(made.merged[0].after.starts_with("version = 1\n[device.plc]\nip = \"10.1.0.2\"\n"));
}

#[test]
fn what_is_adopted_is_not_proposed_again() {
    let first = made("[device.plc]\nip = \"10.1.0.2\"\n");
    let again = plant(&first.merged[0].after).learn(&rows());
    assert!(again.proposal.entries.is_empty() && again.merged.is_empty(), "{}", again.text);
    assert!(again.fates.values().all(|fate| *fate == Fate::Covered));
}

#[test]
fn names_that_are_taken_get_a_number() {
    let plc = "[device.plc]\nip = \"10.1.0.2\"\n[device.host-10-2-0-5]\nip = \"10.3.0.5\"\n[service.tcp-8123]\nudp = 9\n";
    let made = made(plc);
    assert!(
        made.text.contains("[network.host-10-2-0-5-2]") && made.text.contains("[service.tcp-8123-2]"),
        "{}",
        made.text
    );
}
