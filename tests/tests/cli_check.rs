//! `bulkhead check`, `explain` and `schema` as config management, editors and code review call them.

use std::{ffi::OsStr, fs};

use serde_json::Value;

mod command;
use command::{Ran, bulkhead, bulkhead_with, entries, file, folder};

const PLC: &str = "version = 1\n[device.plc]\nip = \"10.20.1.11\"\n[[device.plc.allow]]\nfrom = \"hmi\"\nservice = \"modbus\"\n";
const HMI: &str = "version = 1\n[device.hmi]\nip = \"10.20.2.20\"\n";

/// A folder with `10-plc.toml` and `20-hmi.toml`.
fn plant(test: &str) -> std::path::PathBuf {
    let folder = folder(test);
    let policy = folder.join("policy.d");
    fs::create_dir(&policy).expect("a writable folder");
    file(&policy, "10-plc.toml", PLC);
    file(&policy, "20-hmi.toml", HMI);
    folder
}

fn check(args: &[&dyn AsRef<OsStr>]) -> Ran {
    let words: Vec<&OsStr> =
        std::iter::once(OsStr::new("check")).chain(args.iter().map(|arg| (*arg).as_ref())).collect();
    bulkhead(&words)
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", ran.out, ran.err))
}

#[test]
fn a_file_alone_misses_names_and_is_told_of_its_context() {
    let folder = plant("alone");
    let path = folder.join("policy.d/10-plc.toml");
    let alone = check(&[&path]);
    assert!(alone.code == 1 && alone.err.contains("BH0301"), "{}", alone.err);
    assert!(alone.err.contains("note: ") && alone.err.contains("--context DIR"), "{}", alone.err);
    let among = check(&[&"--context", &folder.join("policy.d"), &path]);
    assert_eq!(among.code, 0, "{}", among.err);
    assert!(!among.err.contains("note: "), "{}", among.err);
}

#[test]
fn a_pushed_file_takes_the_place_of_the_one_it_is_a_copy_of() {
    let folder = plant("pushed");
    let policy = folder.join("policy.d");
    // As Ansible does: another folder, another name.
    let changed = file(&folder, ".ansible_tmpx3k", PLC.replace("\"modbus\"", "[\"modbus\", \"s7\"]"));
    let ran = check(&[&"--context", &policy, &changed]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let says = format!("as `{}`, which declares device `plc` too", policy.join("10-plc.toml").display());
    assert!(ran.err.contains(&says) && ran.err.contains("2 files, 2 devices"), "{}", ran.err);
    // A finding is told where the file will be.
    let broken = file(&folder, ".ansible_tmpbroken", PLC.replace("modbus", "modbsu"));
    let ran = check(&[&"--context", &policy, &broken]);
    let place = format!("{}:6:11", policy.join("10-plc.toml").display());
    assert!(ran.code == 1 && ran.err.contains(&place), "{}", ran.err);
    // New devices, nothing in common: one more file.
    let new = file(
        &folder,
        "tmp-new",
        "version = 1\n[device.camera]\nip = \"10.20.1.30\"\n[[device.camera.allow]]\nto = \"hmi\"\nservice = \"https\"\n",
    );
    let ran = check(&[&"--context", &policy, &new]);
    assert!(ran.code == 0 && ran.err.contains("one more file") && ran.err.contains("3 files"), "{}", ran.err);
}

#[test]
fn the_name_decides_when_it_is_given() {
    let folder = plant("named");
    let policy = folder.join("policy.d");
    // Everything in it is renamed, so nothing tells which file it replaces.
    let renamed = file(&folder, "tmp", PLC.replace("plc", "press-plc"));
    let ran = check(&[&"--context", &policy, &"--as", &"10-plc.toml", &renamed]);
    assert!(ran.code == 0 && ran.err.contains("2 files, 2 devices"), "{}", ran.err);
    let ran = check(&[&"--context", &policy, &renamed]);
    assert!(ran.code == 1 && ran.err.contains("BH0312") && ran.err.contains("one more file"), "{}", ran.err);
    // Standard input.
    let words: Vec<&OsStr> = [
        "check".as_ref(),
        "--context".as_ref(),
        policy.as_os_str(),
        "--as".as_ref(),
        "10-plc.toml".as_ref(),
        "-".as_ref(),
    ]
    .into();
    let ran = bulkhead_with(&PLC.replace("modbus", "s7"), &words);
    assert!(ran.code == 0 && ran.err.contains("2 files, 2 devices"), "{}", ran.err);
    let ran = bulkhead_with(
        "version = 2\n",
        &["check".as_ref(), "--as".as_ref(), "cell.toml".as_ref(), "-".as_ref()],
    );
    assert!(ran.code == 1 && ran.err.contains(" --> cell.toml:1:11"), "{}", ran.err);
}

#[test]
fn a_place_that_is_not_clear_is_an_error_that_says_how_to_mend_it() {
    let folder = plant("unclear");
    let policy = folder.join("policy.d");
    let both = file(&folder, "both.toml", format!("{PLC}[device.hmi]\nip = \"10.20.2.20\"\n"));
    for (args, says) in [
        (vec!["--context", policy.to_str().expect("UTF-8"), both.to_str().expect("UTF-8")], "--as NAME.toml"),
        (vec!["--context", policy.to_str().expect("UTF-8"), "-"], "--as 10-cell.toml"),
        (vec!["--context", policy.to_str().expect("UTF-8")], "needs one PATH"),
        (vec!["--context", both.to_str().expect("UTF-8"), both.to_str().expect("UTF-8")], "is not a folder"),
        (vec!["--context", policy.to_str().expect("UTF-8"), policy.to_str().expect("UTF-8")], "needs a file"),
        (vec!["--as", "../x.toml", both.to_str().expect("UTF-8")], "is not the name of a policy file"),
        (vec!["--as", "x.conf", both.to_str().expect("UTF-8")], "is not the name of a policy file"),
        (vec!["--json", "--format", "text", both.to_str().expect("UTF-8")], "cannot be used with"),
    ] {
        let words: Vec<&OsStr> =
            std::iter::once("check").chain(args.iter().copied()).map(OsStr::new).collect();
        let Ran { code, out, err } = bulkhead_with("", &words);
        assert!(code == 2 && out.is_empty() && err.contains(says), "{args:?}: {code} {err}");
    }
}

#[test]
fn json_has_places_and_a_summary() {
    let folder = plant("json");
    file(
        &folder.join("policy.d"),
        "30-more.toml",
        "version = 1\n[device.plc]\nip = \"10.20.1.12\"\ncomment = \"\u{fc}\"  # \u{fc}\nmod = 1\n",
    );
    let ran = check(&[&"--json", &folder.join("policy.d")]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    let document = json(&ran);
    assert_eq!(document["version"], 1);
    assert_eq!(document["summary"]["errors"], 2, "{document}");
    assert_eq!(document["summary"]["files"], 3);
    assert!(document["summary"]["revision"].is_null());
    let found = &document["diagnostics"][0];
    assert_eq!((&found["code"], &found["severity"]), (&"BH0305".into(), &"error".into()));
    let [again, first] = found["labels"].as_array().expect("labels").as_slice() else { panic!("{found}") };
    assert!(again["path"].as_str().is_some_and(|path| path.ends_with("30-more.toml")));
    assert!(first["path"].as_str().is_some_and(|path| path.ends_with("10-plc.toml")));
    assert_eq!(
        (&again["line"], &again["column"], &again["end_line"], &again["end_column"]),
        (&2.into(), &9.into(), &2.into(), &12.into())
    );
    assert_eq!((&again["primary"], &first["primary"]), (&true.into(), &false.into()));

    fs::remove_file(folder.join("policy.d/30-more.toml")).expect("it is there");
    let good = json(&check(&[&"--format=json", &folder.join("policy.d")]));
    assert_eq!((&good["summary"]["devices"], &good["summary"]["rules"]), (&2.into(), &1.into()));
    assert!(good["summary"]["revision"].as_str().is_some_and(|revision| revision.len() >= 12), "{good}");
}

/// What SARIF 2.1.0 requires of a log, by its sections.
fn is_sarif(log: &Value) {
    assert_eq!(log["version"], "2.1.0", "3.13.2");
    assert!(log["$schema"].as_str().is_some_and(|uri| uri.ends_with("sarif-schema-2.1.0.json")));
    let [run] = log["runs"].as_array().expect("3.13.4").as_slice() else { panic!("one run") };
    let driver = &run["tool"]["driver"];
    assert!(driver["name"].is_string(), "3.19.8");
    assert_eq!(run["columnKind"], "unicodeCodePoints", "3.14.17");
    let rules = driver["rules"].as_array().expect("3.19.23");
    for rule in rules {
        assert!(rule["id"].as_str().is_some_and(|id| id.starts_with("BH")), "3.49.3");
        for text in [&rule["shortDescription"], &rule["fullDescription"], &rule["help"]] {
            assert!(text["text"].as_str().is_some_and(|text| !text.is_empty()), "3.12.3");
        }
        assert!(
            ["error", "warning"].contains(&rule["defaultConfiguration"]["level"].as_str().expect("3.50.3"))
        );
    }
    assert!(
        run["originalUriBaseIds"]["SRCROOT"]["uri"]
            .as_str()
            .is_some_and(|uri| uri.starts_with("file:///") && uri.ends_with('/')),
        "3.14.14"
    );
    for result in run["results"].as_array().expect("3.14.23") {
        assert!(result["message"]["text"].as_str().is_some_and(|text| !text.is_empty()), "3.27.11");
        assert!(["error", "warning"].contains(&result["level"].as_str().expect("3.27.10")));
        let index = usize::try_from(result["ruleIndex"].as_u64().expect("3.27.6")).expect("small");
        assert_eq!(rules[index]["id"], result["ruleId"]);
        let none = Vec::new();
        let related = result["relatedLocations"].as_array().unwrap_or(&none);
        for (number, place) in related.iter().enumerate() {
            assert_eq!(place["id"], number + 1, "3.28.2: unique within the result");
        }
        for place in result["locations"].as_array().expect("3.27.12").iter().chain(related) {
            let physical = &place["physicalLocation"];
            let uri = physical["artifactLocation"]["uri"].as_str().expect("3.4.3");
            let relative = physical["artifactLocation"]["uriBaseId"] == "SRCROOT";
            assert!(
                relative != uri.starts_with("file:///") && !uri.contains(' ') && !uri.starts_with('/'),
                "{uri}"
            );
            let at =
                |field: &str| physical["region"][field].as_u64().unwrap_or_else(|| panic!("3.30: {field}"));
            assert!(at("startLine") >= 1 && at("startColumn") >= 1);
            assert!((at("endLine"), at("endColumn")) >= (at("startLine"), at("startColumn")));
            assert_eq!(
                physical["region"]["byteOffset"].as_u64().is_some(),
                physical["region"]["byteLength"].is_u64()
            );
        }
    }
}

#[test]
fn sarif_is_what_the_standard_says() {
    for path in entries("policy/broken").into_iter().chain(entries("policy/doubtful")) {
        let ran = check(&[&"--format", &"sarif", &path]);
        let log = json(&ran);
        is_sarif(&log);
        let results = log["runs"][0]["results"].as_array().expect("results");
        assert!(!results.is_empty(), "{}", path.display());
    }
    let folder = plant("sarif");
    let ran = check(&[&"--format=sarif", &folder.join("policy.d")]);
    is_sarif(&json(&ran));
    assert_eq!((ran.code, json(&ran)["runs"][0]["results"].as_array().map(Vec::len)), (0, Some(0)));
}

#[test]
fn a_policy_that_does_not_fit_is_a_finding_in_every_format() {
    let folder = plant("too-large");
    let config = file(&folder, "bulkhead.toml", "[interface.eth0]\n[limits]\ndevices = 1\n");
    for format in ["text", "json", "sarif"] {
        let words =
            ["--config".as_ref(), config.as_os_str(), "check".as_ref(), "--format".as_ref(), format.as_ref()];
        let policy = folder.join("policy.d");
        let ran = bulkhead(&[&words[..], &[policy.as_os_str()]].concat());
        let said = format!("{}{}", ran.out, ran.err);
        assert_eq!(ran.code, 1, "{said}");
        assert!(said.contains("BH0420") && said.contains("limits.devices"), "{format}: {said}");
    }
}

#[test]
fn explain_tells_what_a_code_means() {
    let all = bulkhead(&["explain"]);
    assert!(all.code == 0 && all.out.lines().count() > 80, "{}", all.out);
    let one = bulkhead(&["explain", "bh0101"]);
    assert_eq!((one.code, one.err.as_str()), (0, ""));
    for says in [
        "error[BH0101]: a key is unknown\n",
        "\nWrong:\n\n    version = 1\n",
        "\nRight:\n\n",
        "never ignored",
    ] {
        assert!(one.out.contains(says), "`{says}` is not in:\n{}", one.out);
    }
    let document = json(&bulkhead(&["explain", "BH0501", "--json"]));
    assert_eq!((&document["code"], &document["severity"]), (&"BH0501".into(), &"warning".into()));
    assert!(document["wrong"][0].as_str().is_some_and(|text| text.starts_with("version = 1\n")));
    let list = json(&bulkhead(&["explain", "--json"]));
    assert!(list["codes"].as_array().is_some_and(|codes| codes.len() > 80));
    for (wrong, says) in
        [("BH0199", "did you mean `BH0"), ("E0308", "lists every code"), ("\u{1b}[2J", "lists every code")]
    {
        let ran = bulkhead(&["explain", wrong]);
        assert!(ran.code == 2 && ran.out.is_empty() && ran.err.contains(says), "{wrong}: {}", ran.err);
        assert!(!ran.err.contains('\u{1b}'));
    }
}

#[test]
fn schema_prints_a_schema_and_a_reference() {
    for (language, key) in [("policy", "device"), ("config", "interface")] {
        let schema = json(&bulkhead(&["schema", language]));
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(schema["properties"][key].is_object() && schema["additionalProperties"] == false);
        let reference = bulkhead(&["schema", language, "--markdown"]);
        assert!(
            reference.code == 0 && reference.out.contains(&format!("## `[{key}.NAME]`")),
            "{}",
            reference.out
        );
    }
    let records = json(&bulkhead(&["schema", "records"]));
    assert_eq!(records["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(records["oneOf"].as_array().map(Vec::len), Some(5));
    let reference = bulkhead(&["schema", "records", "--markdown"]);
    assert!(
        reference.code == 2 && reference.err.contains("hint: read docs/violations.md"),
        "{}",
        reference.err
    );
}
