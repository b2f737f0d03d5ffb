//! Sets signed with `minisign`: what `manifest` and `check` say of them, and every way to tamper with one.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fmt::Write as _,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process,
};

use bulkhead_agent::{
    files::{Access, read, read_set},
    signing::{Accepted, Digest, Key, MAX_MANIFEST_BYTES, Manifest, Trust},
};
use bulkhead_tests::{minisign::Signer, skip::Tier};
use nix::{
    sys::stat::{Mode, umask},
    unistd::{chown, geteuid, mkfifo},
};
use serde_json::{Value, json};

mod command;
mod exchange;
use command::{Ran, bulkhead, file, folder};

const A: &str = "version = 1\n\n[device.plc]\nip = \"10.20.1.11\"\n";
const B: &str = "version = 1\n\n[network.ntp]\ncidr = [\"10.9.0.5/32\"]\n";

/// A folder in which nobody else may write, whatever umask the tests are started with.
fn private_folder(test: &str) -> PathBuf {
    umask(Mode::from_bits_truncate(0o022));
    folder(test)
}

/// A folder for a test and two who can sign, or `None` after the skip was recorded.
fn signers(test: &str) -> Option<(PathBuf, Signer, Signer)> {
    let folder = private_folder(test);
    let new = |owner| Signer::new(Tier::Signing, test, &folder, owner);
    let (ours, other) = (new("ours")?, new("other")?);
    Some((folder, ours, other))
}

fn trust(signer: &Signer) -> Trust {
    Trust { keys: vec![Key::parse(signer.key()).expect("a key")], required: true, ..Trust::default() }
}

/// Writes the manifest of what is in the folder, and signs it.
fn sign(folder: &Path, number: u64, signer: &Signer) {
    let set = read(folder, Access::Noted).expect("a set");
    let manifest = Manifest::new(number, set.digests()).expect("names of policy files");
    signed(folder, manifest.to_string(), signer);
}

fn signed(folder: &Path, manifest: impl AsRef<[u8]>, signer: &Signer) {
    signer.sign(&file(folder, "MANIFEST", manifest)).expect("it signs");
}

fn edit(path: &Path, change: impl FnOnce(&str) -> String) {
    let text = fs::read_to_string(path).expect("it is there");
    fs::write(path, change(&text)).expect("writable");
}

fn huge(path: &Path, bytes: u64) {
    fs::File::create(path).and_then(|file| file.set_len(bytes)).expect("a sparse file");
}

type Tamper<'t> = (&'static str, Box<dyn Fn(&Path, &mut Trust) + 't>);

fn case<'t>(name: &'static str, tamper: impl Fn(&Path, &mut Trust) + 't) -> Tamper<'t> {
    (name, Box::new(tamper))
}

/// What happens to files behind the signer's back.
fn behind_his_back<'t>(ours: &'t Signer, other: &'t Signer) -> Vec<Tamper<'t>> {
    vec![
        case("a file is added", |at, _| drop(file(at, "c.toml", "version = 1\n"))),
        case("a file is removed", |at, _| fs::remove_file(at.join("b.toml")).expect("it is there")),
        case("one byte of a file is changed", |at, _| edit(&at.join("a.toml"), |t| t.replace(".11", ".12"))),
        case("a file is renamed", |at, _| {
            fs::rename(at.join("a.toml"), at.join("0.toml")).expect("one folder");
        }),
        case("a file is replaced by a link to its copy", |at, _| {
            fs::rename(at.join("a.toml"), at.join("copy")).expect("one folder");
            symlink("copy", at.join("a.toml")).expect("a link");
        }),
        case("a file is replaced by a named pipe", |at, _| {
            fs::remove_file(at.join("a.toml")).expect("it is there");
            mkfifo(&at.join("a.toml"), Mode::S_IRUSR).expect("a pipe");
        }),
        case("a file is huge", |at, _| huge(&at.join("a.toml"), 5 << 20)),
        case("a file is writable for everybody", |at, _| {
            fs::set_permissions(at.join("a.toml"), fs::Permissions::from_mode(0o666)).expect("ours");
        }),
        case("the folder is writable for its group", |at, _| {
            fs::set_permissions(at, fs::Permissions::from_mode(0o775)).expect("ours");
        }),
        case("all files are removed", |at, _| {
            fs::remove_file(at.join("a.toml"))
                .and_then(|()| fs::remove_file(at.join("b.toml")))
                .expect("there");
        }),
        case("an older set comes back", |_, trust| {
            trust.at_least = Some(Accepted { number: 43, digest: Digest::of(b"") });
        }),
        case("another set has the same number", |_, trust| {
            trust.at_least = Some(Accepted { number: 42, digest: Digest::of(b"") });
        }),
        case("manifest and signature are removed", |at, _| {
            fs::remove_file(at.join("MANIFEST")).expect("there");
            fs::remove_file(at.join("MANIFEST.minisig")).expect("there");
        }),
        case("the manifest is removed", |at, _| fs::remove_file(at.join("MANIFEST")).expect("there")),
        case("the signature is removed", |at, _| {
            fs::remove_file(at.join("MANIFEST.minisig")).expect("there")
        }),
        case("the manifest is a link", |at, _| {
            fs::rename(at.join("MANIFEST"), at.join("copy")).expect("one folder");
            symlink("copy", at.join("MANIFEST")).expect("a link");
        }),
        case("the manifest is huge", |at, _| huge(&at.join("MANIFEST"), MAX_MANIFEST_BYTES as u64 + 1)),
        case("the manifest is not text", |at, _| drop(file(at, "MANIFEST", b"\xff"))),
        case("the manifest has a changed line", |at, _| {
            edit(&at.join("MANIFEST"), |t| t.replace("42", "43"))
        }),
        case("the manifest has Windows line ends", |at, _| {
            edit(&at.join("MANIFEST"), |t| t.replace('\n', "\r\n"));
        }),
        case("the signature is that of another key", |at, _| {
            other.sign(&at.join("MANIFEST")).expect("it signs");
        }),
        case("the signature is of the legacy kind", |at, _| {
            ours.sign_with(&at.join("MANIFEST"), &["-l"]).expect("it signs");
        }),
        case("the signature is empty", |at, _| drop(file(at, "MANIFEST.minisig", ""))),
        case("the signature is cut off behind two lines", |at, _| {
            edit(&at.join("MANIFEST.minisig"), |t| t.lines().take(2).collect::<Vec<_>>().join("\n"));
        }),
        case("the signature is cut off within its last line", |at, _| {
            edit(&at.join("MANIFEST.minisig"), |t| t[..t.len() - 9].to_owned());
        }),
        case("the signature has something behind it", |at, _| {
            edit(&at.join("MANIFEST.minisig"), |t| format!("{t}more\n"));
        }),
        case("the signature has Windows line ends", |at, _| {
            edit(&at.join("MANIFEST.minisig"), |t| t.replace('\n', "\r\n"));
        }),
        case("the signature is huge", |at, _| huge(&at.join("MANIFEST.minisig"), 1 << 20)),
    ]
}

/// What a signer may sign by mistake.
fn by_mistake(ours: &Signer) -> Vec<Tamper<'_>> {
    let resigned = |name, change: fn(&str) -> String| {
        case(name, move |at, _| {
            let text = fs::read_to_string(at.join("MANIFEST")).expect("it is there");
            signed(at, change(&text), ours);
        })
    };
    vec![
        resigned("an empty manifest is signed", |_| String::new()),
        resigned("something else is signed", |_| A.to_owned()),
        resigned("a manifest of a later version is signed", |t| t.replace("manifest 1", "manifest 2")),
        resigned("number 0 is signed", |t| t.replace("number 42", "number 0")),
        resigned("a manifest without files is signed", |t| {
            t.lines().take(2).map(|l| format!("{l}\n")).collect()
        }),
        resigned("a line is signed twice", |t| format!("{t}{}\n", t.lines().last().unwrap_or_default())),
        resigned("a line is signed out of order", |t| {
            let lines: Vec<&str> = t.lines().collect();
            [lines[0], lines[1], lines[3], lines[2], ""].join("\n")
        }),
        resigned("garbage behind the list is signed", |t| format!("{t}# by hand\n")),
        resigned("Windows line ends are signed", |t| t.replace('\n', "\r\n")),
        resigned("a manifest that is cut off is signed", |t| t.trim_end().to_owned()),
        resigned("a name with a folder is signed", |t| t.replace("a.toml", "../a.toml")),
    ]
}

#[test]
fn every_way_to_tamper_with_a_set_is_refused_with_its_own_message() {
    let test = "every_way_to_tamper_with_a_set_is_refused_with_its_own_message";
    let Some((room, ours, other)) = signers(test) else { return };
    let mut told = String::new();
    let mut messages = BTreeSet::new();
    let mut cases = behind_his_back(&ours, &other);
    if geteuid().is_root() {
        cases.push(case("a file belongs to somebody else", |at, _| {
            chown(&at.join("a.toml"), Some(1234.into()), None).expect("root may");
        }));
    }
    cases.extend(by_mistake(&ours));
    for (name, tamper) in &cases {
        let at = room.join("policy.d");
        fs::create_dir(&at).expect("a new folder");
        file(&at, "a.toml", A);
        file(&at, "b.toml", B);
        sign(&at, 42, &ours);
        let mut trust = trust(&ours);
        let set = read_set(&at, &trust, Access::Enforced).expect("whole before it is tampered with");
        assert_eq!(set.signed.map(|signed| signed.number), Some(42));
        tamper(&at, &mut trust);
        let error = read_set(&at, &trust, Access::Enforced).expect_err(name).to_string();
        let error = error.replace(&format!("{}/", room.display()), "");
        assert!(messages.insert(error.clone()), "{name}: said before: {error}");
        if *name != "a file belongs to somebody else" {
            // Without root nobody can be given a file.
            writeln!(told, "== {name}\n{error}\n").expect("text grows");
        }
        fs::remove_dir_all(&at).expect("ours");
    }
    for (signer, name) in [(&ours, "OURS"), (&other, "OTHER")] {
        let id = Key::parse(signer.key()).expect("a key").id().to_string();
        told = told.replace(&id, name);
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../policy/signing");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let _bound = settings.bind_to_scope();
    insta::assert_snapshot!("tampering", told);
}

#[test]
fn any_pinned_key_may_sign_while_one_follows_another() {
    let Some((at, ours, other)) = signers("any_pinned_key_may_sign_while_one_follows_another") else {
        return;
    };
    let set = at.join("policy.d");
    fs::create_dir(&set).expect("a new folder");
    file(&set, "a.toml", A);
    let mut trust = trust(&ours);
    trust.keys.push(Key::parse(other.key()).expect("a key"));
    for signer in [&ours, &other] {
        sign(&set, 7, signer);
        let found = read_set(&set, &trust, Access::Enforced).expect("signed by one of them");
        let signed = found.signed.expect("signed");
        assert_eq!(
            (signed.key, signed.comment.as_str()),
            (Key::parse(signer.key()).expect("a key").id(), "cell 1")
        );
    }
}

/// A configuration that names a key, and the folder of its policy.
fn configured(room: &Path, key: &str) -> (PathBuf, PathBuf) {
    let policy = room.join("policy.d");
    fs::create_dir(&policy).expect("a new folder");
    let text = format!("policy = {policy:?}\n[interface.eth0]\n[signing]\nkeys = [{key:?}]\n");
    (file(room, "bulkhead.toml", text), policy)
}

#[test]
fn a_set_is_listed_signed_and_checked_as_the_guide_says() {
    let test = "a_set_is_listed_signed_and_checked_as_the_guide_says";
    let Some((room, ours, _)) = signers(test) else { return };
    let (config, policy) = configured(&room, &ours.public().to_string_lossy());
    file(&policy, "a.toml", A);
    file(&policy, "b.toml", B);
    let run = |args: &[&str]| {
        let mut all: Vec<&OsStr> = vec!["--config".as_ref(), config.as_os_str()];
        all.extend(args.iter().map(OsStr::new));
        bulkhead(&all)
    };
    let Ran { code, err, .. } = run(&["check"]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("error[BH0701]: `"), "{err}");
    assert!(err.contains("2 files, 1 device"), "the policy itself is checked all the same: {err}");

    let printed = run(&["manifest", "--number", "12", "--stdout"]);
    assert_eq!((printed.code, printed.err.as_str()), (0, ""));
    let Ran { code, out, err } = run(&["manifest", "--number", "12"]);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(err.contains("lists 2 files as number 12\nhint: `minisign -S -m '"), "{err}");
    let list = fs::read_to_string(policy.join("MANIFEST")).expect("it was written");
    assert_eq!(list, printed.out, "the same files have the same list");
    assert!(!policy.join(".MANIFEST.new").exists());
    let sums = file(&room, "sums", list.lines().skip(2).map(|line| format!("{line}\n")).collect::<String>());
    let checked = process::Command::new("sha256sum")
        .args(["--strict", "--check"])
        .arg(&sums)
        .current_dir(&policy)
        .output()
        .expect("coreutils");
    assert!(checked.status.success(), "{checked:?}");

    ours.sign(&policy.join("MANIFEST")).expect("it signs");
    let Ran { code, err, .. } = run(&["check"]);
    assert_eq!(code, 0, "{err}");
    let id = Key::parse(ours.key()).expect("a key").id();
    assert!(err.contains(&format!("is number 12, signed with key {id}: cell 1\n")), "{err}");

    let found: Value = serde_json::from_str(&run(&["check", "--format", "json"]).out).expect("JSON");
    let path = policy.display().to_string();
    let wanted = json!([{ "path": path, "number": 12, "key": id.to_string(), "comment": "cell 1" }]);
    assert_eq!(found["signed"], wanted);
    // Where nobody is configured to check it, a signature is nobody's business.
    let Ran { code, err, .. } = bulkhead(&[OsStr::new("check"), policy.as_os_str()]);
    assert_eq!(code, 0);
    assert!(!err.contains("nobody checks"), "{err}");

    edit(&policy.join("a.toml"), |text| text.replace("plc", "PLC"));
    let Ran { code, out, err } = run(&["check", "--format", "json"]);
    let found: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
    assert_eq!(code, 1, "{err}");
    let said = found["diagnostics"].as_array().expect("a list");
    let refused = said.iter().find(|one| one["code"] == "BH0701").unwrap_or_else(|| panic!("{found}"));
    assert!(refused["message"].to_string().contains("`a.toml` was altered"), "{found}");
    assert!(said.len() > 1, "what is wrong in the policy is said too: {found}");
    assert_eq!(found["signed"], json!([]));
    // A single file is judged as text; a part of a set cannot be signed.
    let single = policy.join("b.toml");
    assert_eq!(run(&["check", &single.to_string_lossy()]).code, 0);
    let Ran { code, err, .. } = run(&["manifest", "--number", "13", &single.to_string_lossy()]);
    assert_eq!(code, 2);
    assert!(err.contains("only a folder can be signed\nhint: "), "{err}");
    assert_eq!(run(&["manifest", "--number", "0"]).code, 2);
}

#[test]
fn unsigned_sets_are_taken_with_a_warning_while_signing_is_introduced() {
    let test = "unsigned_sets_are_taken_with_a_warning_while_signing_is_introduced";
    let Some((room, ours, other)) = signers(test) else { return };
    let (config, policy) = configured(&room, ours.key());
    edit(&config, |text| format!("{text}required = false\n"));
    let check =
        || bulkhead(&[OsStr::new("--config"), config.as_os_str(), OsStr::new("check"), policy.as_os_str()]);
    file(&policy, "a.toml", A);
    let Ran { code, err, .. } = check();
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("warning[BH0703]: the policy set is not signed, and is accepted"), "{err}");
    // Whoever signs must be somebody.
    sign(&policy, 1, &other);
    let Ran { code, err, .. } = check();
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("error[BH0701]: `") && err.contains("`MANIFEST` is signed with key "), "{err}");
}

#[test]
fn a_configured_folder_that_others_can_write_is_noted_by_check() {
    let room = private_folder("a_configured_folder_that_others_can_write_is_noted_by_check");
    let policy = room.join("policy.d");
    fs::create_dir(&policy).expect("a new folder");
    let config = file(&room, "bulkhead.toml", format!("policy = {policy:?}\n[interface.eth0]\n"));
    let open = file(&policy, "a.toml", A);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).expect("ours");
    let check = |more: &[&Path]| {
        let mut args: Vec<&OsStr> = vec!["--config".as_ref(), config.as_os_str(), "check".as_ref()];
        args.extend(more.iter().map(|path| path.as_os_str()));
        bulkhead(&args)
    };
    let Ran { code, err, .. } = check(&[]);
    assert_eq!(code, 0, "{err}");
    assert!(
        err.contains("warning[BH0702]: `") && err.contains("has mode 0666: everybody can change the policy"),
        "{err}"
    );
    fs::set_permissions(&config, fs::Permissions::from_mode(0o646)).expect("ours");
    let args: [&OsStr; 4] = ["--config".as_ref(), config.as_os_str(), "doctor".as_ref(), "--json".as_ref()];
    let Ran { out, err, .. } = bulkhead(&args);
    let found: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
    for (subject, mode, path) in [("configuration", "0646", &config), ("policy", "0666", &open)] {
        let finding = found.as_array().and_then(|all| all.iter().find(|one| one["subject"] == subject));
        let finding = finding.unwrap_or_else(|| panic!("{found}"));
        assert_eq!(finding["state"], "problem", "{finding}");
        assert!(finding["seen"].to_string().contains(mode), "{finding}");
        assert_eq!(finding["fix"], format!("chmod go-w '{}'", path.display()));
    }
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).expect("ours");
    let Ran { code, err, .. } = check(&[&open]);
    assert_eq!(code, 0);
    assert!(!err.contains("has mode"), "a file on somebody's desk may be as open as he likes: {err}");
}
