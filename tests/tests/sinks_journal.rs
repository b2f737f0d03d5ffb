//! What the journal sink sends is found in a journal by `journalctl`: that of this host, or one that the test starts for itself in a
//! private view of `/run`.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use bulkhead_agent::{
    record::{Cause, Format, Gap, Record, VERSION},
    sink::{Local, Place},
};
use bulkhead_tests::{
    lab::wait::wait_for,
    skip::{Tier, skip},
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::geteuid,
};
use serde_json::Value;

const WITHIN: Duration = Duration::from_secs(60);
/// Where a journal takes records (systemd-journald.service(8)).
const SOCKET: &str = "/run/systemd/journal/socket";
const JOURNALD: &str = "/lib/systemd/systemd-journald";

/// A journal of the test's own, which ends with it.
struct Journal(Child);

impl Drop for Journal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a journal that only this thread and its children see.
fn journal() -> Result<Journal> {
    unshare(CloneFlags::CLONE_NEWNS).context("a mount namespace")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("private mounts")?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).context("a `/run` of its own")?;
    fs::create_dir_all("/run/systemd/journal")?;
    fs::create_dir_all("/run/log/journal")?;
    fs::create_dir_all("/run/systemd/journald.conf.d")?;
    fs::write(
        "/run/systemd/journald.conf.d/test.conf",
        "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\n",
    )?;
    // It must not outlive a test that is killed.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", JOURNALD]).stdin(Stdio::null()).stdout(Stdio::null());
    let journal = Journal(command.stderr(Stdio::null()).spawn().context("`setpriv` starts the journal")?);
    wait_for("the journal", WITHIN, || Ok(Path::new(SOCKET).exists().then_some(())))?;
    Ok(journal)
}

fn a_record_is_found_by_its_fields() {
    // The journal of this host may have those of other runs.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let boot = format!("{:016x}", since.as_nanos() & u128::from(u64::MAX));
    let gap = Gap {
        v: VERSION,
        time: "2026-03-02T10:00:10.000000Z".to_owned(),
        gateway: "gw-7".to_owned(),
        boot: boot.clone(),
        seq: 43,
        cause: Cause::Ring,
        explanation: Cause::Ring.text().to_owned(),
        first: None,
        last: None,
        count: 7,
    };
    let mut sink = Local::open(Place::Journal(SOCKET.into()), Format::Cef, None);
    sink.write(&Record::Gap(gap));
    assert_eq!((sink.status().written, sink.status().refused), (1, 0), "{:?}", sink.status());
    let entry = wait_for("the entry", WITHIN, || {
        let wanted = format!("BULKHEAD_BOOT={boot}");
        let found = Command::new("journalctl").args(["--quiet", "--output=json", &wanted]).output()?;
        Ok(serde_json::from_slice::<Value>(&found.stdout).ok())
    })
    .expect("it is kept");
    for (field, value) in [
        ("BULKHEAD_KIND", "gap"),
        ("BULKHEAD_CAUSE", "ring"),
        ("BULKHEAD_SEQ", "43"),
        ("BULKHEAD_COUNT", "7"),
        ("PRIORITY", "4"),
        ("SYSLOG_IDENTIFIER", "bulkhead"),
    ] {
        assert_eq!(entry[field], value, "{field}: {entry:#}");
    }
    assert!(entry["BULKHEAD_RECORD"].as_str().is_some_and(|text| text.starts_with("CEF:0|")), "{entry:#}");
}

#[test]
fn journalctl_finds_a_record_by_its_fields() {
    let test = "journalctl_finds_a_record_by_its_fields";
    if Command::new("journalctl").arg("--version").output().is_err() {
        return skip(Tier::Sinks, test, "there is no `journalctl`");
    }
    if Path::new(SOCKET).exists() {
        return a_record_is_found_by_its_fields();
    }
    if !Path::new(JOURNALD).exists() || !geteuid().is_root() {
        return skip(
            Tier::Sinks,
            test,
            "no journal runs here, and without root and systemd none can be started",
        );
    }
    // Its view of the mounts ends with the thread.
    let own = thread::spawn(|| {
        let _journal = journal().expect("a journal");
        a_record_is_found_by_its_fields();
    });
    own.join().expect("no panic");
}
