//! `bulkhead doctor` without an agent: sinks and metrics that the agent would fail at, limits that are no good, each with what mends it.

use std::{ffi::OsStr, fs, net::TcpListener, os::unix::fs::symlink, path::Path};

use serde_json::Value;

mod command;
mod receiver;
use command::{Ran, bulkhead, file, folder};

/// What is said of a subject: how bad it is, what was seen, and the fix.
fn said(room: &Path, tables: &str, subject: &str) -> (String, String, String) {
    let text = format!(
        "policy = {:?}\nstate = {:?}\nsocket = {:?}\n[interface.eth0]\n{tables}",
        room.join("policy.d"),
        room.join("state"),
        room.join("none.sock")
    );
    let config = file(room, "bulkhead.toml", text);
    let args: [&OsStr; 4] = ["--config".as_ref(), config.as_os_str(), "doctor".as_ref(), "--json".as_ref()];
    let Ran { out, err, .. } = bulkhead(&args);
    let found: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
    let finding = found.as_array().and_then(|all| all.iter().find(|one| one["subject"] == subject));
    let finding = finding.unwrap_or_else(|| panic!("{found:#}{err}"));
    let [state, seen, fix] =
        ["state", "seen", "fix"].map(|key| finding[key].as_str().unwrap_or_default().to_owned());
    (state, seen, fix)
}

fn assert_said(room: &Path, tables: &str, subject: &str, [state, seen, fix]: [&str; 3]) {
    let told = said(room, tables, subject);
    assert!(told.0 == state && told.1.contains(seen) && told.2.contains(fix), "{tables}: {told:?}");
}

#[test]
fn files_that_cannot_be_written_are_problems() {
    let room = folder("doctor_files");
    let plain = file(&room, "plain", "");
    fs::create_dir(room.join("folder")).expect("made");
    symlink(&plain, room.join("link")).expect("made");
    let to = |name: &str| format!("[sink.log]\nto = \"file:{}\"\n", room.join(name).display());
    for (name, wanted) in [
        ("plain", ["ok", "plain", ""]),
        ("new/violations.jsonl", ["ok", "which the agent will make", ""]),
        ("folder", ["problem", "is a folder", "violations.jsonl"]),
        ("link", ["problem", "is a symbolic link", "[sink.log]"]),
        ("plain/violations.jsonl", ["problem", "", "[sink.log]"]),
    ] {
        assert_said(&room, &to(name), "sink log", wanted);
    }
}

#[test]
fn receivers_and_their_certificates_are_looked_at() {
    let room = folder("doctor_receivers");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let open = listener.local_addr().expect("it has one").port();
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr()).expect("a port").port();
    receiver::certificates(&room);
    let [ca, own, other] = ["ca.pem", "client.key", "server.key"].map(|name| room.join(name));
    let certificate = room.join("client.pem");
    fs::write(room.join("text.pem"), "no certificate").expect("written");
    let tls = |port: u16, ca: &Path, key: &Path| {
        format!(
            "[sink.siem]\nto = \"syslog+tls://127.0.0.1:{port}\"\nca = {ca:?}\ncertificate = {certificate:?}\nkey = {key:?}\n"
        )
    };
    let tcp = |port: u16| format!("[sink.siem]\nto = \"syslog+tcp://127.0.0.1:{port}\"\n");
    for (tables, wanted) in [
        (tcp(open), ["ok", "it takes connections", ""]),
        (tcp(closed), ["warning", "takes no connection: ", "start the receiver"]),
        (tls(open, &ca, &own), ["ok", "it takes connections", ""]),
        (tls(open, &room.join("none.pem"), &own), ["problem", "none.pem`: ", "PEM"]),
        (tls(open, &room.join("text.pem"), &own), ["problem", "text.pem`: it has no certificate", "PEM"]),
        (tls(open, &ca, &other), ["problem", "failed to set TLS up: ", "PEM"]),
        (
            "[sink.siem]\nto = \"syslog+udp://127.0.0.1:514\"\n".to_owned(),
            ["ok", "whether anybody listens cannot be told", ""],
        ),
    ] {
        assert_said(&room, &tables, "sink siem", wanted);
    }
}

#[test]
fn an_address_for_metrics_that_cannot_be_had_is_a_problem() {
    let room = folder("doctor_metrics");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let listens = taken.local_addr().expect("it has one");
    let free = TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr()).expect("a port");
    let listen = |address: &str| format!("[metrics]\nlisten = \"{address}\"\n");
    for (address, wanted) in [
        (listens.to_string(), ["problem", "somebody else listens", "ss -ltnp"]),
        ("192.0.2.77:9479".to_owned(), ["problem", "does not have the address", "[metrics] listen"]),
        (free.to_string(), ["ok", "is free", ""]),
    ] {
        assert_said(&room, &listen(&address), "metrics", wanted);
    }
    drop(taken);
}

#[test]
fn fixes_name_the_configuration_that_was_looked_at() {
    let room = folder("doctor_fixes");
    let run = format!("bulkhead run --config {}", room.join("bulkhead.toml").display());
    assert_said(&room, "", "agent", ["warning", "", &run]);
}

#[test]
fn limits_are_weighed_and_those_that_another_number_serves_better_are_named() {
    let room = folder("doctor_limits");
    assert_said(&room, "", "limits", ["ok", "shows while an agent runs", ""]);
    let (_, seen, _) = said(&room, "", "limits");
    assert!(seen.contains("MiB of kernel memory (") && seen.contains("flows "), "{seen}");
    let fix = "set `limits.verdicts = 32768`";
    assert_said(
        &room,
        "[limits]\nverdicts = 40000\n",
        "limits.verdicts",
        ["warning", "no power of two", fix],
    );
}
