//! The commands as a person meets them, without root: what they print, where, and with which exit code.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use bulkhead_tests::lab::{agent_binary, wait::wait_for};
use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::Value;

/// Nothing here waits for anybody.
const AT_ONCE: Duration = Duration::from_secs(30);
const COMMANDS: [&str; 13] = [
    "run",
    "check",
    "apply",
    "status",
    "devices",
    "violations",
    "rules",
    "why",
    "mode",
    "quarantine",
    "release",
    "doctor",
    "detach",
];

/// What a command did.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder of its own for a test, empty.
fn folder(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join(test);
    if path.exists() {
        fs::remove_dir_all(&path).expect("the last run left only files");
    }
    fs::create_dir_all(&path).expect("a writable target directory");
    path
}

fn file(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).expect("a writable folder");
    path
}

/// Runs `bulkhead` with its own words on standard input, far from any configuration of this machine.
fn bulkhead_with(input: &str, args: &[&OsStr]) -> Ran {
    let mut command = Command::new(agent_binary().expect("a binary"));
    if !args.iter().any(|arg| *arg == "--config") {
        command.args(["--config", "/nonexistent/bulkhead.toml"]);
    }
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let pid = child.id();
    let (mut stdin, input) = (child.stdin.take().expect("piped"), input.to_owned());
    let writer = thread::spawn(move || {
        // A command that reads nothing ends before it has heard all.
        drop(stdin.write_all(input.as_bytes()));
    });
    let running = thread::spawn(move || child.wait_with_output());
    let ended = wait_for(&format!("{args:?} to end"), AT_ONCE, || Ok(running.is_finished().then_some(())));
    if let Err(error) = ended {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process id"));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        panic!("{error}");
    }
    let output = running.join().expect("waiting does not panic").expect("it ends");
    writer.join().expect("writing does not panic");
    let text = |bytes| String::from_utf8(bytes).expect("what is printed is text");
    Ran {
        code: output.status.code().unwrap_or_else(|| panic!("{args:?} was killed")),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

fn bulkhead<S: AsRef<OsStr>>(args: &[S]) -> Ran {
    let args: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
    bulkhead_with("", &args)
}

fn check(path: &Path) -> Ran {
    bulkhead(&[OsStr::new("check"), path.as_os_str()])
}

fn entries(folder: &str) -> Vec<PathBuf> {
    let listing = fs::read_dir(root().join(folder)).expect("part of the checkout");
    let mut paths: Vec<PathBuf> = listing.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths
}

/// How often each code `BHnnnn` is said, in brackets as text output has it.
fn codes(text: &str) -> BTreeMap<String, usize> {
    let mut codes = BTreeMap::new();
    for (at, _) in text.match_indices("[BH") {
        if let Some(code) = text.get(at + 1..at + 7) {
            *codes.entry(code.to_owned()).or_default() += 1;
        }
    }
    codes
}

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
        (&["mode", "plc"], "required arguments"),
        (&["mode", "plc", "quarantine"], "invalid value 'quarantine'"),
        (&["violations", "-n", "many"], "invalid value 'many'"),
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

/// Whether the line of `file:line` begins an allow list entry.
fn is_an_allow(place: &str) -> bool {
    let (path, line) = place.rsplit_once(':').expect("file:line");
    let text = fs::read_to_string(path).expect("the place is a file");
    let line: usize = line.parse().expect("a number");
    text.lines().nth(line - 1).is_some_and(|line| line.contains("allow"))
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
                assert!(is_an_allow(place), "{line:?}: {place}");
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

#[test]
fn commands_that_need_the_agent_say_that_there_is_none() {
    let socket = folder("no-agent").join("api.sock");
    for command in [
        &["status"][..],
        &["devices"],
        &["rules"],
        &["violations"],
        &["violations", "--follow"],
        &["why", "hmi", "plc", "modbus"],
        &["mode", "plc", "enforce"],
        &["quarantine", "plc"],
        &["release", "plc"],
        &["apply"],
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
