//! What `bulkhead check` says of policies that are allowed and yet doubtful, and what makes it say less or more.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use bulkhead_tests::lab::agent_binary;
use serde_json::Value;

mod command;
use command::{Ran, bulkhead, bulkhead_from, codes, file, folder, root};

/// A rule that is said twice, and one that expires.
const PLANT: &str = r#"version = 1
[network.maker]
cidr = "198.51.100.0/24"
[network.plant]
cidr = "10.0.0.0/8"
[device.press-plc]
mac = "00:1d:9c:c7:b0:70"
ip = "10.20.1.11"
[[device.press-plc.allow]]
from = "maker"
service = "https"
expires = 2027-01-31T18:00:00Z
[[device.press-plc.allow]]
from = "plant"
service = ["modbus", "ping"]
[[device.press-plc.allow]]
from = "plant"
service = "modbus"
"#;

fn plant(test: &str) -> PathBuf {
    file(&folder(test), "plant.toml", PLANT)
}

fn check(args: &[&str], path: &Path) -> Ran {
    let words: Vec<&OsStr> = ["check"].iter().chain(args).map(OsStr::new).chain([path.as_os_str()]).collect();
    bulkhead(&words)
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", ran.out, ran.err))
}

#[test]
fn lint_warnings_are_told_and_count_only_when_they_shall() {
    let path = plant("lint-exit");
    let found = |args: &[&str]| {
        let ran = check(&[&["--at", "2026-06-01T12:00:00Z"], args].concat(), &path);
        let codes: Vec<String> = codes(&ran.err).into_keys().collect();
        (ran.code, codes.join(" "))
    };
    let told = |code: i32, codes: &str| (code, codes.to_owned());
    assert_eq!(found(&[]), told(0, "BH0507"));
    assert_eq!(found(&["--deny-warnings"]), told(1, "BH0507"));
    assert_eq!(found(&["--deny-warnings", "--allow", "bh0507"]), told(0, ""));
    assert_eq!(found(&["--deny-warnings", "--allow", "BH0509,BH0502"]), told(1, "BH0507"));
    for wrong in ["BH0101", "BH0599", "all"] {
        let ran = check(&["--allow", wrong], &path);
        assert!(ran.code == 2 && ran.err.contains("no warning has this code"), "{}", ran.err);
    }
}

#[test]
fn lint_judges_what_expires_as_at_a_moment() {
    let path = plant("lint-at");
    let told = |at: &str| check(&["--at", at], &path).err;
    assert!(!told("2027-01-31T17:59:59Z").contains("BH0509"));
    let after = told("2027-02-02T19:00:00+01:00");
    assert!(after.contains("the rule expired at 2027-01-31T18:00:00Z, 2 days ago"), "{after}");
    let wrong = check(&["--at", "tomorrow"], &path);
    assert!(wrong.code == 2 && wrong.err.contains("as in `2027-01-31T18:00:00Z`"), "{}", wrong.err);
}

#[test]
fn lint_scores_list_every_rule_widest_first() {
    let path = plant("lint-scores");
    let ran = check(&["--scores"], &path);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 4, "{}", ran.out);
    assert!(lines[0].starts_with("ADMITS"), "{}", ran.out);
    let words: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(words[..4], ["50,331,648", "16,777,216", "1", "3"], "{}", ran.out);
    assert!(lines[1].contains("plant -> press-plc modbus, ping") && lines[1].ends_with("plant.toml:13"));
    let document = json(&check(&["--scores", "--json"], &path));
    let scores = document["scores"].as_array().expect("a list");
    let admits: Vec<u64> = scores.iter().filter_map(|score| score["admits"].as_u64()).collect();
    // HTTPS is TCP and UDP.
    assert_eq!(admits, [3 << 24, 1 << 24, 256 * scores[2]["ports"].as_u64().expect("a number")]);
    assert_eq!(
        (&scores[0]["rule"], &scores[0]["line"]),
        (&"plant -> press-plc modbus, ping".into(), &13.into())
    );
    assert!(json(&check(&["--json"], &path))["scores"].is_null());
    let sarif = check(&["--scores", "--format", "sarif"], &path);
    assert!(sarif.code == 2 && sarif.err.contains("SARIF has no place"), "{}", sarif.err);
}

#[test]
fn lint_says_how_full_the_tables_are() {
    let path = plant("lint-room");
    let folder = path.parent().expect("a folder");
    let config = file(folder, "bulkhead.toml", "[interface.eth0]\n[limits]\nrules = 3\n");
    let words: [&OsStr; 5] =
        ["--config".as_ref(), config.as_os_str(), "check".as_ref(), "--json".as_ref(), path.as_os_str()];
    let document = json(&bulkhead(&words));
    let room = document["summary"]["room"].as_array().expect("a list");
    let rules = room.iter().find(|fill| fill["what"] == "rules").expect("a limit");
    assert_eq!((&rules["needed"], &rules["limit"]), (&3.into(), &3.into()));
    let found = document["diagnostics"].as_array().expect("a list");
    let full = found.iter().find(|found| found["code"] == "BH0514").expect("told");
    assert!(full["message"].as_str().is_some_and(|text| text.contains("100 % of the 3 rules")), "{full}");
}

#[test]
fn lint_warns_whoever_would_lock_himself_out() {
    let folder = folder("lint-session");
    let policy = file(
        &folder,
        "cell.toml",
        "version = 1\n[device.desk]\nmac = \"00:0e:8c:11:20:01\"\nip = \"10.1.2.3\"\nmode = \"enforce\"\n\
         [[device.desk.allow]]\nto = \"gateway\"\nservice = \"https\"\n",
    );
    let pinned = file(&folder, "pinned.toml", "[interface.eth0]\n[management]\nfrom = \"10.1.0.0/16\"\n");
    let other = file(
        &folder,
        "other.toml",
        format!(
            "policy = {policy:?}\nsocket = {:?}\n[interface.eth0]\n[management]\nfrom = \"10.9.0.0/24\"\n",
            folder.join("api.sock")
        ),
    );
    let told = |config: &PathBuf, session: Option<&str>| {
        let words = ["--config".as_ref(), config.as_os_str(), "check".as_ref(), policy.as_os_str()];
        let ran = bulkhead_from(session, "", &words);
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.err
    };
    let session = "10.1.2.3 50022 10.1.0.1 22";
    let desk = Some(session);
    let said = told(&other, desk);
    for says in
        ["warning[BH0515]: you are connected from 10.1.2.3", "cell.toml:2:9", "tcp/22", "`[management]`"]
    {
        assert!(said.contains(says), "{says}: {said}");
    }
    for (config, session) in [
        (&pinned, desk),
        (&other, None),
        (&other, Some("10.1.2.4 50022 10.1.0.1 22")),
        (&other, Some("10.1.2.3 50022 10.1.0.1 443")),
        (&other, Some("UNKNOWN 65535 UNKNOWN 65535")),
    ] {
        let said = told(config, session);
        assert!(!said.contains("BH0515"), "{session:?}: {said}");
    }
    // `sudo` does not pass the session on; the shell above it has it.
    let script = r#"env -u SSH_CONNECTION "$@"; exit $?"#;
    let through = Command::new("sh")
        .args(["-c".as_ref(), script.as_ref(), "sh".as_ref(), agent_binary().expect("a binary").as_os_str()])
        .args(["--config".as_ref(), other.as_os_str(), "check".as_ref(), policy.as_os_str()])
        .env("SSH_CONNECTION", session)
        .output()
        .expect("every system has a shell");
    let said = String::from_utf8_lossy(&through.stderr);
    assert!(said.contains("BH0515"), "{said}");
    // Before a policy is sent it is said as well, and then it is sent: nobody listens here.
    for path in [None, Some(policy.as_os_str())] {
        let words: Vec<&OsStr> =
            ["--config".as_ref(), other.as_os_str(), "apply".as_ref()].into_iter().chain(path).collect();
        let ran = bulkhead_from(desk, "", &words);
        assert!(ran.code == 2 && ran.err.contains("BH0515") && ran.err.contains("api.sock"), "{}", ran.err);
        let ran = bulkhead_from(None, "", &words);
        assert!(ran.code == 2 && !ran.err.contains("BH0515"), "{}", ran.err);
    }
}

#[test]
fn lint_finds_nothing_in_the_examples() {
    for example in command::entries("../policies").into_iter().filter(|path| path.is_dir()) {
        let ran = check(&["--deny-warnings", "--at", "2026-06-01T12:00:00Z"], &example);
        assert_eq!((ran.code, codes(&ran.err).len()), (0, 0), "{}: {}", root().display(), ran.err);
    }
}
