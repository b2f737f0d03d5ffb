//! `bulkhead propose` as an engineer reviews it: rules with their reasons, put where they belong, and nothing of the attack among them.

use std::{fs, path::Path};

use serde_json::Value;

mod command;
mod seen;
use command::{Ran, bulkhead, check, file, folder};
use seen::{MONDAY, NAMES, PLANT, end, kind, plant};

fn propose(policy: &Path, history: &Path, more: &[&str]) -> Ran {
    let [policy, history] = [policy, history].map(|path| path.to_str().expect("text"));
    let args = ["propose", "--policy", policy, "--history-file", history];
    bulkhead(&[&args, more].concat())
}

/// Lines without where the test happens to stand.
fn placed(text: &str, folder: &Path) -> String {
    text.replace(folder.to_str().expect("text"), "PLANT")
}

/// What may start a conversation by what is written: an offline question.
fn why(policy: &Path, question: [&str; 3]) -> i32 {
    let path = policy.to_str().expect("text");
    let [from, to, service] = question;
    bulkhead(&["why", from, to, service, "--policy", path]).code
}

#[test]
fn proposal_reads_as_its_snapshot() {
    let folder = folder("propose-text");
    let (policy, history) = plant(&folder);
    let Ran { code, out, err } = propose(&policy, &history, &[]);
    assert_eq!(code, 0, "{err}");
    insta::assert_snapshot!("text", placed(&out, &folder));
    insta::assert_snapshot!("summary", err);
    assert_eq!(fs::read_to_string(policy.join("10-plant.toml")).expect("there"), PLANT, "nothing is written");
}

#[test]
fn diff_shows_what_is_added_and_nothing_else() {
    let folder = folder("propose-diff");
    let (policy, history) = plant(&folder);
    let Ran { code, out, err } = propose(&policy, &history, &["oven", "--diff"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.lines().all(|line| !line.starts_with('-') || line.starts_with("---")), "{out}");
    insta::assert_snapshot!(placed(&out, &folder));
}

#[test]
fn written_policy_is_the_old_one_with_rules_that_admit_what_was_seen() {
    let folder = folder("propose-write");
    let (policy, history) = plant(&folder);
    let Ran { code, out, err } = propose(&policy, &history, &["--write"]);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(err.contains("wrote ") && err.contains("10-plant.toml"), "{err}");
    let now = fs::read_to_string(policy.join("10-plant.toml")).expect("there");
    for line in PLANT.lines() {
        assert!(now.contains(line), "{line}");
    }
    assert_eq!(fs::read_to_string(policy.join("90-names.toml")).expect("there"), NAMES);
    assert_eq!(fs::read_dir(&policy).expect("a folder").count(), 2, "nothing else is left behind");
    let checked = check(&policy);
    assert_eq!(checked.code, 0, "{}{}", checked.out, checked.err);
    assert!(!checked.err.contains("error"), "{}", checked.err);
    for question in [
        ["hmi", "press", "modbus"],
        ["hmi", "oven", "modbus"],
        ["press", "10.9.0.5", "ntp"],
        ["10.9.0.7", "hmi", "tcp/8443"],
    ] {
        assert_eq!(why(&policy, question), 0, "{question:?}");
    }
    // The attack, the engineer's shell, the visitor, the Internet, and what nobody did.
    for question in [
        ["laptop", "press", "modbus"],
        ["laptop", "oven", "modbus"],
        ["laptop", "press", "ssh"],
        ["10.1.0.200", "hmi", "https"],
        ["oven", "93.184.216.34", "https"],
        ["press", "10.9.0.6", "ntp"],
        ["press", "hmi", "modbus"],
        ["oven", "press", "modbus"],
    ] {
        assert_eq!(why(&policy, question), 1, "{question:?}");
    }
    // There is nothing more to say.
    let adopted = now;
    let again = propose(&policy, &history, &["--write"]);
    assert_eq!(fs::read_to_string(policy.join("10-plant.toml")).expect("there"), adopted);
    assert!(again.err.starts_with("0 rules proposed"), "{}", again.err);
    assert!(
        fs::read_to_string(policy.join("10-plant.toml"))
            .expect("there")
            .matches("source = \"learned\"")
            .count()
            > 3
    );
}

#[test]
fn json_has_rules_reasons_and_prices() {
    let folder = folder("propose-json");
    let (policy, history) = plant(&folder);
    let Ran { code, out, err } = propose(&policy, &history, &["class:plc", "--json", "--generalise"]);
    assert_eq!(code, 0, "{err}");
    let told: Value = serde_json::from_str(&out).expect("it is JSON");
    insta::assert_snapshot!(placed(&out, &folder));
    let rules = told["rules"].as_array().expect("a list");
    let sum: u64 = rules.iter().filter_map(|rule| rule["price"].as_u64()).sum();
    assert_eq!(told["price"].as_u64(), Some(sum));
    assert!(rules.iter().any(|rule| rule["holder"] == "class plc"), "{out}");
    for rule in rules {
        let toml = rule["toml"].as_str().expect("text");
        assert!(toml.parse::<toml::Table>().is_ok(), "{toml}");
    }
}

#[test]
fn whole_policy_goes_to_another_place() {
    let folder = folder("propose-output");
    let (policy, history) = plant(&folder);
    let place = folder.join("proposed");
    let to = place.to_str().expect("text");
    let Ran { code, out, err } = propose(&policy, &history, &["--output", to]);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert_eq!(why(&place, ["hmi", "press", "modbus"]), 0);
    assert_eq!(fs::read_to_string(policy.join("10-plant.toml")).expect("there"), PLANT);
    let again = propose(&policy, &history, &["--output", to]);
    assert_eq!(again.code, 2);
    assert!(again.err.contains("failed to make the folder") && again.err.contains("exists"), "{}", again.err);
}

#[test]
fn links_and_modes_of_files_stay() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = folder("propose-link");
    let (policy, history) = plant(&folder);
    let real = policy.join("10-plant.toml");
    fs::write(&real, format!("{PLANT}{}", NAMES.replace("version = 1\n", ""))).expect("writable");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("ours");
    let link = folder.join("plant.toml");
    symlink(&real, &link).expect("a link");
    let Ran { code, err, .. } = propose(&link, &history, &["--write"]);
    assert_eq!(code, 0, "{err}");
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    let now = fs::metadata(&real).expect("there");
    assert_eq!(now.permissions().mode() & 0o777, 0o640);
    assert!(fs::read_to_string(&real).expect("there").contains("source = \"learned\""));
}

#[test]
fn nothing_seen_is_nothing_proposed() {
    let folder = folder("propose-nothing");
    let policy = file(&folder, "plant.toml", format!("{PLANT}{}", NAMES.replace("version = 1\n", "")));
    let history =
        seen::history(&folder, &[seen::probe(kind(end("10.1.0.1"), "10.1.0.11", 6, 502), MONDAY, 8, true)]);
    let Ran { code, out, err } = propose(&policy, &history, &[]);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(err.starts_with("0 rules proposed"), "{err}");
}
