//! `bulkhead learn` as an engineer reads it: how complete what is known of each device is, what is habit, and what was left out and why.

use std::{fs, path::Path};

use bulkhead_tests::lab::agent_binary;
use serde_json::Value;

mod command;
mod seen;
use command::{Ran, bulkhead, file, folder};
use seen::plant;

fn learn(policy: &Path, history: &Path, more: &[&str]) -> Ran {
    let [policy, history] = [policy, history].map(|path| path.to_str().expect("text"));
    let args = ["learn", "--policy", policy, "--history-file", history];
    bulkhead(&[&args, more].concat())
}

#[test]
fn baseline_reads_as_its_snapshot() {
    let folder = folder("learn-text");
    let (policy, history) = plant(&folder);
    let Ran { code, out, err } = learn(&policy, &history, &["--all"]);
    // The laptop was seen too seldom, the oven is complete.
    assert_eq!((code, err.as_str()), (1, ""), "{out}");
    insta::assert_snapshot!(out);
}

#[test]
fn json_says_the_same_in_numbers() {
    let folder = folder("learn-json");
    let (policy, history) = plant(&folder);
    let Ran { code, out, err } = learn(&policy, &history, &["press", "--json"]);
    assert_eq!(err, "");
    let told: Value = serde_json::from_str(&out).expect("it is JSON");
    assert_eq!((told["days"].as_u64(), told["hours"].as_u64()), (Some(14), Some(168)));
    let devices = told["devices"].as_array().expect("a list");
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0]["complete"], Value::Bool(code == 0));
    let talks = devices[0]["talks"].as_array().expect("a list");
    let fate = |service: &str| {
        let talk = talks.iter().find(|talk| talk["service"] == service);
        talk.map(|talk| format!("{} {}", talk["fate"], talk["why"])).unwrap_or_default()
    };
    assert_eq!(fate("tcp/502"), "\"learned\" []");
    assert_eq!(fate("icmp/8"), "\"covered\" []");
    assert_eq!(fate("tcp/22"), "\"decide\" [\"remote-admin\"]");
    assert_eq!(told["scans"][0]["source"], "laptop");
    let left =
        |why: &str| told["left"].as_array().expect("a list").iter().find(|one| one["why"] == why).cloned();
    assert!(left("scan").expect("it is told")["rows"].as_u64() > Some(1000));
}

#[test]
fn class_and_window_are_what_is_looked_at() {
    let folder = folder("learn-window");
    let (policy, history) = plant(&folder);
    let Ran { code, out, err } =
        learn(&policy, &history, &["class:plc", "--since", "2026-11-16", "--until", "2026-11-22", "--json"]);
    assert_eq!((code, err.as_str()), (1, ""));
    let told: Value = serde_json::from_str(&out).expect("it is JSON");
    let names: Vec<&str> =
        told["devices"].as_array().expect("a list").iter().filter_map(|d| d["device"].as_str()).collect();
    assert_eq!(names, ["oven", "press"]);
    assert_eq!(told["days"], 7);
    assert!(
        told["devices"][0]["missing"][0].as_str().expect("text").starts_with("watched on 7 of 14 days"),
        "{told}"
    );
    assert_eq!(told["gaps"], Value::Array(Vec::new()), "it was in the week before");
}

#[test]
fn what_is_wrong_is_said_with_what_helps() {
    let folder = folder("learn-wrong");
    let (policy, history) = plant(&folder);
    let said = |policy: &Path, history: &Path, more: &[&str], code: i32, words: &[&str]| {
        let ran = learn(policy, history, more);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{more:?}: {}", ran.err);
        words.iter().for_each(|word| assert!(ran.err.contains(word), "{more:?}: {word}: {}", ran.err));
    };
    said(
        &policy,
        &folder.join("none.db"),
        &[],
        2,
        &["there is no history at", "hint: the agent begins one when it runs"],
    );
    let foreign = file(&folder, "foreign.db", "not a history");
    said(&policy, &foreign, &[], 2, &["foreign.db"]);
    said(&policy, &history, &["pres"], 1, &["the policy has no device `pres`", "did you mean `press`?"]);
    said(
        &policy,
        &history,
        &["class:plcs"],
        1,
        &["the policy has no class `plcs`", "did you mean `class:plc`?"],
    );
    said(&policy, &history, &["\u{1b}[31m"], 1, &["`\\u{1b}[31m`"]);
    said(&policy, &history, &["--since", "yesterday"], 2, &["2026-11-01T08:00:00Z"]);
    said(
        &policy,
        &history,
        &["--since", "2026-11-20", "--until", "2026-11-10"],
        2,
        &["--since is later than --until"],
    );
    let bad = file(&folder, "bad.toml", "version = 1\n[device.press]\nip = \"10.1.0\"\n");
    said(&bad, &history, &[], 1, &["error[BH", "bad.toml"]);
    assert!(agent_binary().is_ok() && fs::metadata(&history).is_ok());
}
