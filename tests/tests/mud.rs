//! `bulkhead import mud` and `bulkhead export mud` as a person calls them.

use std::ffi::OsStr;

use serde_json::{Value, json};

mod command;
mod seen;
use command::{Ran, bulkhead, bulkhead_with, file, folder};

fn run(args: &[&str]) -> Ran {
    bulkhead_with("", &args.iter().map(OsStr::new).collect::<Vec<_>>())
}

/// A device that asks a server by name, and is read by its controller; with keys as in the RFC or as in drafts.
fn description(lists: &str) -> String {
    let accept = json!({ "forwarding": "accept" });
    let port = |end: &str, port: u16, begins: &str| json!({ end: { "operator": "eq", "port": port }, "ietf-mud:direction-initiated": begins });
    let ace = |name: &str, matches: Value| json!({ "name": name, "matches": matches, "actions": accept });
    let from = [
        ace(
            "time-out",
            json!({ "ipv4": { "protocol": 17, "ietf-acldns:dst-dnsname": "time.pumps.example" }, "udp": { "destination-port": { "operator": "eq", "port": 123 } } }),
        ),
        ace(
            "read-out",
            json!({ "ietf-mud:mud": { "my-controller": [null] }, "ipv4": { "protocol": 6 }, "tcp": port("source-port", 502, "to-device") }),
        ),
        ace("odd", json!({ "ipv4": { "protocol": 6, "ttl": 1 } })),
    ];
    let to = [
        ace(
            "time-in",
            json!({ "ipv4": { "protocol": 17, "ietf-acldns:src-dnsname": "time.pumps.example" }, "udp": { "source-port": { "operator": "eq", "port": 123 } } }),
        ),
        ace(
            "read-in",
            json!({ "ietf-mud:mud": { "my-controller": [null] }, "ipv4": { "protocol": 6 }, "tcp": port("destination-port", 502, "to-device") }),
        ),
    ];
    let named = |name: &str| json!({ "access-lists": { "access-list": [{ "name": name }] } });
    json!({
        "ietf-mud:mud": { "mud-version": 1, "mud-url": "https://pumps.example/pump", "last-update": "2026-01-01T00:00:00Z",
            "is-supported": true, "systeminfo": "Pump", "from-device-policy": named("out"), "to-device-policy": named("in") },
        format!("ietf-access-control-list:{lists}"): { "acl": [
            { "name": "out", "type": "ipv4-acl-type", "aces": { "ace": from } },
            { "name": "in", "type": "ipv4-acl-type", "aces": { "ace": to } },
        ] },
    })
    .to_string()
}

#[test]
fn description_becomes_a_class_and_comes_back() {
    let folder = folder("mud");
    let paths = ["acls", "access-lists"].map(|lists| file(&folder, lists, description(lists)));
    let paths = paths.each_ref().map(|path| path.to_str().expect("a path of this checkout"));
    let [ran, draft] = paths.map(|path| run(&["import", "mud", path, "--as", "my-controller=hmi"]));
    assert_eq!((ran.code, ran.err.as_str()), (1, "left out: odd: `ipv4` `ttl` cannot be said\n"));
    assert_eq!((draft.out.as_str(), draft.err.as_str()), (ran.out.as_str(), ran.err.as_str()));
    insta::assert_snapshot!("imported", ran.out);

    let policy = folder.join("policy");
    std::fs::create_dir(&policy).expect("a writable folder");
    file(
        &policy,
        "devices.toml",
        "version = 1\n[device.hmi]\nip = \"10.0.0.8\"\n[device.p1]\nip = \"10.0.0.9\"\nclass = \"pump\"\n",
    );
    file(&policy, "pump.toml", &ran.out);
    let policy = policy.to_str().expect("a path of this checkout");
    assert_eq!(run(&["check", policy]).code, 0);
    let why = |service: &str, from: &str, to: &str| run(&["why", from, to, service, "--policy", policy]).code;
    assert_eq!([why("modbus", "hmi", "p1"), why("modbus", "p1", "hmi")], [0, 1]);

    let exported = run(&["export", "mud", "pump", "--policy", policy, "--url", "https://pumps.example/pump"]);
    assert_eq!((exported.code, exported.err.as_str()), (0, ""));
    let back = file(&folder, "back.json", &exported.out);
    let again = run(&[
        "import",
        "mud",
        back.to_str().expect("a path of this checkout"),
        "--class",
        "pump",
        "--own",
        "--json",
    ]);
    assert_eq!((again.code, again.err.as_str()), (0, ""));
    let again: Value = serde_json::from_str(&again.out).expect("it is JSON");
    assert_eq!((&again["class"], &again["notes"], &again["open"]), (&json!("pump"), &json!([]), &json!([])));
    // The same policy but for the names of the entries.
    let rules = |text: &str| {
        text.lines()
            .filter(|line| !line.starts_with(['#']) && !line.starts_with("comment"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(rules(again["policy"].as_str().expect("it is text")), rules(&ran.out));
}

#[test]
fn device_is_compared_with_its_description_and_the_policy() {
    let folder = folder("mud-compare");
    let (policy, history) = seen::plant(&folder);
    // The time server is a web server here.
    let web = description("acls").replace("\"protocol\":17", "\"protocol\":6").replace("\"udp\"", "\"tcp\"");
    let [plain, web] = [("plain.json", description("acls")), ("web.json", web.replace("123", "443"))]
        .map(|(name, text)| file(&folder, name, text));
    let [policy, history, plain, web] =
        [&policy, &history, &plain, &web].map(|path| path.to_str().expect("a path of this checkout"));
    let compared = |device: &str, description: &str, more: &[&str]| {
        let args = ["compare", device, "--mud", description, "--policy", policy, "--history-file", history];
        run(&[&args, more].concat())
    };
    let ran = compared("press", plain, &["--as", "my-controller=hmi"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert_eq!(ran.err, "left out: odd: `ipv4` `ttl` cannot be said\n");
    insta::assert_snapshot!("compared", ran.out.replace(&*folder.to_string_lossy(), "FOLDER"));

    let ran = compared("oven", web, &["--as", "my-controller=hmi", "--json"]);
    let told: Value = serde_json::from_str(&ran.out).expect("it is JSON");
    let verdicts = |service: &str| {
        let lines = told["seen"].as_array().expect("a list").iter();
        let of = lines.filter(|line| {
            line["service"] == service
                && [&line["from"], &line["to"]].contains(&&json!("oven"))
                && line["left"].is_null()
        });
        of.map(|line| {
            format!("{} {} {}", line["declared"], line["written"], line["meaning"]).replace('"', "")
        })
        .collect::<Vec<_>>()
    };
    // Whose address it is was not seen.
    assert_eq!(verdicts("tcp/443"), ["by-name no missing"]);
    assert_eq!(verdicts("tcp/502"), ["yes no missing"]);
    assert_eq!(verdicts("udp/123"), ["no no unknown"]);
    assert_eq!(told["declared_unseen"], json!([]), "{told:#}");
    // Nobody said who the controller is: its rule is none.
    let ran = compared("oven", web, &["--json"]);
    let told: Value = serde_json::from_str(&ran.out).expect("it is JSON");
    assert_eq!(told["notes"].as_array().expect("a list").len(), 3, "{told:#}");
    let controlled =
        told["seen"].as_array().expect("a list").iter().find(|line| line["service"] == "tcp/502");
    assert_eq!(controlled.expect("it was seen")["meaning"], "unknown");
    let help = bulkhead(&["compare", "--help"]).out;
    assert!(help.contains("<DEVICE>") && !help.contains("class:NAME"), "{help}");
    let ran = compared("class:plc", plain, &[]);
    assert!((ran.code, ran.err.contains("a description is about one device")) == (2, true), "{}", ran.err);
}

#[test]
fn whoever_is_not_named_is_told_of() {
    let folder = folder("mud-open");
    let path = file(&folder, "a.json", description("acls"));
    let path = path.to_str().expect("a path of this checkout");
    let ran = run(&["import", "mud", path, "--json"]);
    assert_eq!(ran.code, 1);
    let found: Value = serde_json::from_str(&ran.out).expect("it is JSON");
    assert_eq!(found["open"], json!(["my-controller"]));
    let ran = run(&["import", "mud", path, "--as", "local-networks=hmi"]);
    assert!(ran.err.contains("note: the description does not speak of `local-networks`"), "{}", ran.err);
    assert!(ran.out.contains("# to = [\"WHO\"]") || ran.out.contains("# from = [\"WHO\"]"), "{}", ran.out);
}

#[test]
fn what_cannot_be_done_says_why() {
    let folder = folder("mud-wrong");
    let path = file(&folder, "a.json", "{}");
    let good = file(&folder, "b.json", description("acls"));
    let policy = file(&folder, "p.toml", "version = 1\n[device.pump]\nip = \"10.0.0.9\"\n");
    let [path, good, policy] =
        [&path, &good, &policy].map(|path| path.to_str().expect("a path of this checkout"));
    for (args, said) in [
        (vec!["import", "mud", path], "`ietf-mud:mud` is missing"),
        (vec!["import", "mud", "/nonexistent.json"], "/nonexistent.json"),
        (vec!["import", "mud", good, "--class", "Big Pump"], "cannot be the name of a class"),
        (vec!["import", "mud", good, "--as", "my-controller"], "write WHO=PEER"),
        (vec!["import", "mud", good, "--as", "nobody=hmi"], "`nobody` is nobody"),
        (
            vec!["export", "mud", "pum", "--policy", policy, "--url", "https://a.example/b"],
            "did you mean `pump`?",
        ),
        (
            vec!["export", "mud", "pump", "--policy", policy, "--url", "http://a.example/b"],
            "begins with `https://`",
        ),
    ] {
        let ran = run(&args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{args:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{args:?}");
    }
}
