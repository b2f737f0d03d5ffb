//! The commands as a person meets them, without root: what they print, where, and with which exit code.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Command, Output},
};

use bulkhead_tests::lab::agent_binary;
use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::Value;

mod command;
use command::{Ran, bulkhead, bulkhead_with, check, codes, entries, file, folder, root};

const COMMANDS: [&str; 33] = [
    "run",
    "check",
    "explain",
    "schema",
    "manifest",
    "apply",
    "confirm",
    "rollback",
    "revisions",
    "rollout",
    "shadow",
    "drift",
    "status",
    "devices",
    "inventory",
    "flows",
    "violations",
    "rules",
    "top",
    "why",
    "mode",
    "quarantine",
    "release",
    "audit-log",
    "doctor",
    "history",
    "learn",
    "propose",
    "compare",
    "simulate",
    "import",
    "export",
    "detach",
];

/// The same of JSON output.
fn json_codes(value: &Value, codes: &mut BTreeMap<String, usize>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(code)) = fields.get("code") {
                *codes.entry(code.clone()).or_default() += 1;
            }
            fields.values().for_each(|value| json_codes(value, codes));
        }
        Value::Array(values) => values.iter().for_each(|value| json_codes(value, codes)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_command_has_help_that_says_what_it_does() {
    let all = bulkhead(&["--help"]);
    assert_eq!(all.code, 0, "{}", all.err);
    assert!(all.out.contains("Exit codes: 0 fine; 1 ") && all.err.is_empty());
    for command in COMMANDS {
        let Ran { code, out, err } = bulkhead(&[command, "--help"]);
        assert_eq!((code, err.as_str()), (0, ""), "{command}");
        let about = out.lines().next().unwrap_or_default();
        assert!(about.len() > 15, "`{command}` says what it does: {out}");
        assert!(all.out.contains(about), "the list says the same: {about}");
        assert!(out.contains(&format!("Usage: bulkhead {command}")), "{out}");
        // Every option and argument is explained, on its own line or the next.
        let lines: Vec<&str> = out.lines().collect();
        for (line, next) in lines.iter().zip(lines.iter().skip(1).chain([&""])) {
            let indent = line.len() - line.trim_start().len();
            let option = (1..10).contains(&indent) && line.trim_start().starts_with(['-', '<', '[']);
            let explained = line.trim().split("  ").count() > 1 || next.starts_with("          ");
            assert!(!option || explained, "`{command}`: {line}");
        }
    }
    let version = bulkhead(&["--version"]);
    assert!(version.code == 0 && version.out.starts_with("bulkhead "), "{}", version.out);
}

#[test]
fn wrong_calls_end_with_code_2_and_say_what_is_wrong() {
    for (args, says) in [
        (&[][..], "Usage: bulkhead"),
        (&["chekc"], "unrecognized subcommand 'chekc'"),
        (&["check", "--frmat", "json"], "unexpected argument '--frmat'"),
        (&["check", "--format", "yaml"], "invalid value 'yaml'"),
        (&["why", "hmi", "plc"], "required arguments"),
        (&["why", "hmi"], "required arguments were not provided: <TO> <SERVICE>"),
        (&["why", "5f0c2b9a41d84c6e-42", "--policy", "."], "required arguments"),
        (&["rules", "--for", "30d"], "required arguments"),
        (&["rules", "--unused", "--for", "soon"], "write a number with its unit"),
        (&["flows", "-n", "many"], "invalid value 'many'"),
        (&["top", "--interval", "1ms"], "`500ms` to `10m`"),
        (&["top"], "`top` needs a terminal"),
        (&["mode", "plc"], "required arguments"),
        (&["mode", "plc", "quarantine"], "invalid value 'quarantine'"),
        (&["violations", "-n", "many"], "invalid value 'many'"),
        (&["apply", "--confirm-within", "10"], "write numbers with units"),
        (&["rollback", "1", "2"], "unexpected argument '2'"),
        (&["status", "now"], "unexpected argument 'now'"),
    ] {
        let Ran { code, out, err } = bulkhead(args);
        assert_eq!(code, 2, "{args:?}");
        assert!(err.contains(says) && out.is_empty(), "{args:?}: {err}");
    }
}

#[test]
fn broken_policies_end_with_code_1_and_every_finding_of_their_snapshot() {
    let cases = entries("policy/broken");
    assert!(cases.len() >= 25);
    for path in cases {
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let snapshot = root().join(format!("policy/snapshots/{stem}.snap"));
        let wanted = codes(&fs::read_to_string(snapshot).expect("each case has its snapshot"));
        assert!(!wanted.is_empty(), "{stem}");
        let Ran { code, out, err } = check(&path);
        assert_eq!((code, out.as_str()), (1, ""), "{stem}: {err}");
        assert_eq!(codes(&err), wanted, "{stem}");
        assert!(err.contains("help: ") && err.contains(" --> "), "{stem}: {err}");

        let Ran { code, out, err } =
            bulkhead(&["check".as_ref(), "--format".as_ref(), "json".as_ref(), path.as_os_str()]);
        let found: Value =
            serde_json::from_str(&out).unwrap_or_else(|error| panic!("{stem}: {error}: {out}"));
        let mut said = BTreeMap::new();
        json_codes(&found, &mut said);
        assert_eq!((code, said), (1, wanted), "{stem}: {err}");
    }
}

#[test]
fn good_policies_end_with_code_0() {
    let examples = entries("../policies").into_iter().filter(|path| path.is_dir());
    let warned = entries("policy/doubtful");
    for path in entries("policy/well-formed").into_iter().chain(examples).chain(warned) {
        let Ran { code, out, err } = check(&path);
        assert_eq!((code, out.as_str()), (0, ""), "{}: {err}", path.display());
        assert!(err.contains("compiled rows: revision "), "{err}");
        let Ran { code, out, .. } =
            bulkhead(&["check".as_ref(), "--format".as_ref(), "json".as_ref(), path.as_os_str()]);
        assert_eq!(code, 0);
        serde_json::from_str::<Value>(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
    }
}

#[test]
fn what_cannot_be_read_ends_with_code_2_and_its_path() {
    let folder = folder("unreadable");
    let dangling = folder.join("dangling");
    fs::create_dir(&dangling).expect("a writable folder");
    symlink("/nonexistent/there.toml", dangling.join("link.toml")).expect("a link");
    let fifo = folder.join("fifo.toml");
    mkfifo(&fifo, Mode::S_IRWXU).expect("a named pipe");
    let piped = folder.join("piped");
    fs::create_dir(&piped).expect("a writable folder");
    mkfifo(&piped.join("fifo.toml"), Mode::S_IRWXU).expect("a named pipe");
    for (path, says) in [
        (folder.join("missing.toml"), "No such file"),
        (dangling, "link.toml"),
        (file(&folder, "latin-1.toml", b"version = 1 # caf\xe9\n"), "is not UTF-8 text (byte 17)"),
        (fifo, "neither a regular file nor a folder"),
        (piped, "neither a regular file nor a folder"),
        (PathBuf::from("/dev/null"), "neither a regular file nor a folder"),
        (file(&folder, "large.toml", vec![b'#'; 20 << 20]), "is larger than"),
    ] {
        for args in [
            vec![OsStr::new("check"), path.as_os_str()],
            vec![
                "why".as_ref(),
                "--policy".as_ref(),
                path.as_os_str(),
                "a".as_ref(),
                "b".as_ref(),
                "ssh".as_ref(),
            ],
            vec!["apply".as_ref(), path.as_os_str()],
        ] {
            let Ran { code, out, err } = bulkhead(&args);
            assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
            assert!(err.contains(says) && err.contains(&*path.to_string_lossy()), "{args:?}: {err}");
        }
    }
}

#[test]
fn folder_without_a_policy_is_refused() {
    let folder = folder("no-policy");
    file(&folder, "notes.txt", "no policy");
    for command in ["check", "apply"] {
        let Ran { code, out, err } = bulkhead(&[command.as_ref(), folder.as_os_str()]);
        assert_eq!((code, out.as_str()), (1, ""), "{command}: {err}");
        assert!(err.contains("no policy file (`*.toml`) in `") && err.contains("hint: "), "{command}: {err}");
    }
}

#[test]
fn reader_that_leaves_is_no_error() {
    let folder = folder("closed-pipe");
    let path = file(&folder, "plc.toml", "version = 1\n[device.plc]\nip = \"10.20.1.11\"\n");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(agent_binary().expect("it was built"));
    command.args(["check".as_ref(), "--format=json".as_ref(), path.as_os_str()]).stdout(writer);
    let Output { status, stdout: _, stderr } = command.output().expect("it runs");
    let err = String::from_utf8_lossy(&stderr);
    assert!(status.code() == Some(0) && !err.contains("panicked"), "{status}: {err}");
}

#[test]
fn standard_input_is_checked_like_a_file() {
    let good = "version = 1\n[device.plc]\nip = \"10.20.1.11\"\n";
    let input = |text: &str| bulkhead_with(text, &["check".as_ref(), "-".as_ref()]);
    assert_eq!(input(good).code, 0);
    let broken = input(&good.replace("ip =", "ipp ="));
    assert_eq!(broken.code, 1);
    assert!(
        broken.err.contains("<stdin>:3:1") && broken.err.contains("did you mean `ip`?"),
        "{}",
        broken.err
    );
    // A file that is not there yet together with the folder it will be pushed to.
    let folder = folder("stdin");
    file(&folder, "plc.toml", good);
    let more = "version = 1\n[[device.plc.allow]]\nfrom = [\"hmi\"]\nservice = [\"ssh\"]\n";
    let both = bulkhead_with(more, &["check".as_ref(), folder.as_os_str(), "-".as_ref()]);
    assert_eq!(both.code, 1);
    assert!(both.err.contains("<stdin>"), "{}", both.err);
}

#[test]
fn segment_that_is_not_configured_is_a_finding_in_text_and_in_json() {
    let folder = folder("segments");
    let config = file(&folder, "bulkhead.toml", "[interface.eth1]\nrole = \"device-side\"\n");
    let device = "[device.plc]\nip = \"10.20.1.11\"\nsegment = \"eth2\"\n";
    let policy = file(&folder, "plc.toml", format!("version = 1\n{device}"));
    let check = |format: &str| {
        let words = ["--config".as_ref(), config.as_os_str(), "check".as_ref(), format.as_ref()];
        bulkhead(&[&words[..], &[policy.as_os_str()]].concat())
    };
    let text = check("--format=text");
    assert_eq!(text.code, 1);
    assert!(text.err.contains("error[BH0323]") && text.err.contains("did you mean `eth1`?"), "{}", text.err);
    let json = check("--format=json");
    assert!(json.code == 1 && json.out.contains("BH0323"), "{}", json.out);
}

#[test]
fn commands_that_need_the_agent_say_that_there_is_none() {
    let socket = folder("no-agent").join("api.sock");
    for command in [
        &["status"][..],
        &["devices"],
        &["flows"],
        &["rules"],
        &["why", "5f0c2b9a41d84c6e-42"],
        &["violations"],
        &["violations", "--follow"],
        &["why", "hmi", "plc", "modbus"],
        &["mode", "plc", "enforce"],
        &["quarantine", "plc"],
        &["release", "plc"],
        &["apply"],
        &["confirm"],
        &["rollback"],
        &["revisions"],
    ] {
        let args: Vec<&OsStr> = ["--socket".as_ref(), socket.as_os_str()]
            .into_iter()
            .chain(command.iter().map(AsRef::as_ref))
            .collect();
        let Ran { code, out, err } = bulkhead(&args);
        assert_eq!((code, out.as_str()), (2, ""), "{command:?}: {err}");
        assert!(err.contains("no agent answers on `") && err.contains("hint: "), "{command:?}: {err}");
        assert!(err.contains(&*socket.to_string_lossy()), "{command:?}: {err}");
    }
}

#[test]
fn broken_configuration_is_reported_with_place_and_help() {
    let folder = folder("config");
    let config = file(&folder, "bulkhead.toml", "[interface.eth0]\nrole = \"uplnk\"\n\n[limit]\nflows = 1\n");
    for command in [&["run"][..], &["status"], &["check"], &["apply"], &["detach"]] {
        let args = ["--config".as_ref(), config.as_os_str()];
        let args: Vec<&OsStr> = args.into_iter().chain(command.iter().map(AsRef::as_ref)).collect();
        let Ran { code, out, err } = bulkhead(&args);
        assert_eq!((code, out.as_str()), (2, ""), "{command:?}: {err}");
        for says in
            ["bulkhead.toml:2:", "bulkhead.toml:4:", "did you mean `uplink`?", "did you mean `limits`?"]
        {
            assert!(err.contains(says), "{command:?}: `{says}` is not in:\n{err}");
        }
        assert!(err.contains("cannot be used"), "{command:?}: {err}");
    }
    let missing = folder.join("missing.toml");
    for command in ["run", "detach"] {
        let Ran { code, err, .. } = bulkhead(&["--config".as_ref(), missing.as_os_str(), command.as_ref()]);
        assert!(code == 2 && err.contains("missing.toml"), "{command}: {err}");
    }
}
