//! `bulkhead why` as a person meets it, without root: the examples keep their promises, and the answers help.

use std::{collections::BTreeMap, ffi::OsStr, fs, path::Path};

use serde_json::Value;

mod command;
use command::{Ran, bulkhead, check, codes, entries, file, folder, root};

/// The lines of an example's `expected.txt`: from, to, service, verdict.
fn expected(example: &Path) -> Vec<[String; 4]> {
    let text = fs::read_to_string(example.join("expected.txt")).expect("each example has one");
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let words = |line: &str| {
        let (flow, verdict) = line.split_once(" -> ").expect("FROM TO SERVICE -> VERDICT");
        let words: Vec<&str> = flow.split_whitespace().chain([verdict]).collect();
        <[&str; 4]>::try_from(words).expect("three words and a verdict").map(str::to_owned)
    };
    lines.filter(|line| !line.is_empty()).map(words).collect()
}

fn why(policy: &Path, [from, to, service, _]: &[String; 4]) -> (i32, Value) {
    let args = [
        "why".as_ref(),
        from.as_ref(),
        to.as_ref(),
        service.as_ref(),
        "--json".as_ref(),
        "--policy".as_ref(),
    ];
    let args: Vec<&OsStr> = args.into_iter().chain([policy.as_os_str()]).collect();
    let Ran { code, out, err } = bulkhead(&args);
    let answer = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}{err}"));
    (code, answer)
}

/// Whether the line of `file:line` begins an allow list entry or a conduit.
fn is_a_rule(place: &str) -> bool {
    let (path, line) = place.rsplit_once(':').expect("file:line");
    let text = fs::read_to_string(path).expect("the place is a file");
    let line: usize = line.parse().expect("a number");
    text.lines().nth(line - 1).is_some_and(|line| line.contains("allow") || line.contains("conduit"))
}

#[test]
fn examples_allow_and_deny_what_they_say_with_the_place_of_the_rule() {
    for example in entries("../policies").into_iter().filter(|path| path.is_dir()) {
        for line in expected(&example) {
            let (code, answer) = why(&example, &line);
            let allowed = line[3] == "allow";
            assert_eq!(
                (answer["verdict"].as_str(), code),
                (Some(&*line[3]), i32::from(!allowed)),
                "{line:?}: {answer}"
            );
            assert_eq!(answer["rule"].is_object(), allowed, "{line:?}: {answer}");
            if let Some(place) = answer["rule"]["place"].as_str() {
                assert!(is_a_rule(place), "{line:?}: {place}");
            }
            assert_eq!(answer["kernel_agrees"], Value::Null, "nobody asked the kernel");
        }
    }
}

#[test]
fn what_why_says_is_missing_makes_the_answer_allow() {
    let mut tried = 0;
    for example in entries("../policies").into_iter().filter(|path| path.is_dir()) {
        let name = example.file_name().expect("a name").to_string_lossy().into_owned();
        let mut questions = expected(&example);
        let [_, to, _, _] = questions[0].clone();
        // And from an address and over a port without a name.
        for service in ["tcp/4840", "udp/161", "icmp/8", "ssh"] {
            questions.push(["10.20.2.66".to_owned(), to.clone(), service.to_owned(), "deny".to_owned()]);
            questions.push([to.clone(), "10.20.2.66".to_owned(), service.to_owned(), "deny".to_owned()]);
        }
        for line in questions.into_iter().filter(|line| line[3] == "deny") {
            let (_, answer) = why(&example, &line);
            let missing = answer["missing"].as_str().unwrap_or_else(|| panic!("{line:?}: {answer}"));
            let header = missing.lines().next().unwrap_or_default();
            let device = header.strip_prefix("[[device.").and_then(|rest| rest.strip_suffix(".allow]]"));
            let declaration = format!("[device.{}]", device.unwrap_or_else(|| panic!("{line:?}: {missing}")));
            let copy = folder(&format!("missing-{name}"));
            for path in fs::read_dir(&example).expect("readable").map(|entry| entry.expect("readable").path())
            {
                if path.extension().is_some_and(|extension| extension == "toml") {
                    let mut text = fs::read_to_string(&path).expect("text");
                    if text.contains(&declaration) {
                        text.push('\n');
                        text.push_str(missing);
                    }
                    file(&copy, &path.file_name().expect("a name").to_string_lossy(), text);
                }
            }
            let Ran { code, err, .. } = check(&copy);
            assert_eq!(code, 0, "{line:?}: {missing}\n{err}");
            let (code, answer) = why(&copy, &line);
            assert_eq!(
                (code, &answer["verdict"]),
                (0, &Value::from("allow")),
                "{line:?}: {missing}\n{answer}"
            );
            tried += 1;
        }
    }
    assert!(tried >= 40, "{tried}");
}

#[test]
fn a_service_of_which_only_a_part_is_allowed_ends_with_code_1() {
    let policy = file(
        &folder("partly"),
        "p.toml",
        "version = 1\n[device.plc]\nip = \"10.20.1.11\"\n[device.hmi]\nip = \"10.20.2.20\"\n\
         [[device.plc.allow]]\nfrom = \"hmi\"\nservice = \"half\"\n[service.half]\ntcp = \"53\"\n",
    );
    let question = ["hmi", "plc", "dns", "partly"].map(str::to_owned);
    let (code, answer) = why(&policy, &question);
    assert_eq!((code, &answer["verdict"]), (1, &Value::from("partly")), "{answer}");
    let args = ["why", "hmi", "plc", "dns", "--policy"].map(OsStr::new);
    let Ran { out, .. } = bulkhead(&args.into_iter().chain([policy.as_os_str()]).collect::<Vec<_>>());
    assert!(
        out.contains("tcp/53 allowed: rule (") && out.contains("udp/53 denied: service-not-allowed"),
        "{out}"
    );
}

#[test]
fn questions_about_unknown_names_name_the_nearest_one() {
    let policy = root().join("../policies/plant-cell");
    for (words, says) in [
        (["hmi-2", "press-plc", "modbus"], "did you mean `hmi-1`?"),
        (["hmi-1", "pres-plc", "modbus"], "did you mean `press-plc`?"),
        (["hmi-1", "press-plc", "modbsu"], "did you mean `modbus`?"),
        (["hmi-1", "press-plc", "tcp/70000"], "`tcp/70000` is no service"),
        (["hmi-1", "press-plc", "502"], "did you mean `tcp/502`?"),
        (["press-plc", "press-plc", "modbus"], "the same host: such traffic never crosses the gateway"),
    ] {
        let args = ["why".as_ref(), "--policy".as_ref(), policy.as_os_str()];
        let args: Vec<&OsStr> = args.into_iter().chain(words.iter().map(AsRef::as_ref)).collect();
        let Ran { code, out, err } = bulkhead(&args);
        assert!(code == 2 && out.is_empty(), "{words:?}: {code} {out}");
        assert!(err.contains(says), "{words:?}: {err}");
    }
}

/// The text between two lines of the README.
fn readme(from: &str, to: &str) -> String {
    let text = fs::read_to_string(root().join("../README.md")).expect("part of the checkout");
    let lines = text.lines().skip_while(|line| !line.contains(from)).skip(1);
    lines.take_while(|line| line.trim() != to).map(|line| format!("{line}\n")).collect()
}

#[test]
fn policy_and_configuration_of_the_readme_work_as_they_stand() {
    let folder = folder("readme");
    let policy = file(&folder, "cell-1.toml", readme("```toml", "```"));
    let config = file(&folder, "bulkhead.toml", readme("bulkhead.toml <<'EOF'", "EOF"));
    assert!(fs::read_to_string(&config).expect("text").contains("[interface."));
    let args = ["--config".as_ref(), config.as_os_str(), "check".as_ref(), policy.as_os_str()];
    let Ran { code, err, .. } = bulkhead(&args);
    assert_eq!(code, 0, "{err}");
    assert_eq!(codes(&err), BTreeMap::new(), "{err}");
    let question = ["hmi", "press-plc", "modbus", "allow"].map(str::to_owned);
    assert_eq!(why(&policy, &question).0, 0);
}
