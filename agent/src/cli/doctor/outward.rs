//! What leaves the gateway, as `doctor` sees it: the sinks of violations, and the address that monitoring asks at.
//!
//! In: the configuration, and what a running agent says of its sinks. Out: a finding each. Receivers are connected to and told
//! nothing, for two seconds at the most; what only shows when they are told something is for a running agent to say.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    os::unix::net::UnixDatagram,
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::unistd::{AccessFlags, access};

use super::{Finding, ok, problem, warning};
use crate::{
    config::{Config, Destination, Sink, Syslog},
    control::Status,
    daemon,
    sink::syslog::{Receiver, Transport},
};

/// How long a receiver may take to be found and to take a connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is wrong, and how bad, and what mends it.
type Fault = (fn(&str, &str, &str) -> Finding, String, String);

/// A finding for each sink.
pub(super) fn sinks(config: &Config, status: Option<&Status>) -> Vec<Finding> {
    let look = |sink: &Sink| {
        let subject = format!("sink {}", sink.name);
        let running = status.and_then(|status| status.sinks.iter().find(|one| one.name == sink.name));
        let told =
            running.and_then(|one| Some((one.trouble()?, one.spool.as_ref().is_some_and(|s| !s.failing))));
        match (look(sink), told) {
            (Err((how, seen, fix)), _) => how(&subject, &seen, &fix),
            (Ok(seen), None) => ok(&subject, &seen),
            (Ok(_), Some((trouble, waits))) => {
                let how = if waits { warning } else { problem };
                how(&subject, &format!("it {trouble}"), &format!("mend that, or edit `[sink.{}]`", sink.name))
            }
        }
    };
    config.sinks.iter().map(look).collect()
}

/// What a sink would meet if the agent began now.
fn look(sink: &Sink) -> Result<String, Fault> {
    match &sink.to {
        Destination::File { path, .. } => file(&sink.name, path),
        Destination::Stdout => Ok(sink.to()),
        Destination::Journald => {
            let journal = UnixDatagram::unbound().and_then(|socket| socket.connect(daemon::JOURNAL));
            journal.map(|()| sink.to()).map_err(|error| {
                let seen = format!("no journal listens on `{}`: {error}", daemon::JOURNAL);
                (
                    problem as _,
                    seen,
                    "systemctl start systemd-journald.socket, or name another sink".to_owned(),
                )
            })
        }
        Destination::Syslog(syslog) => receiver(sink, syslog),
    }
}

fn file(name: &str, path: &Path) -> Result<String, Fault> {
    let shown = path.display();
    let fault = |seen: String, fix: String| Err((problem as _, seen, fix));
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => fault(
            format!("`{shown}` is a symbolic link, which is not followed"),
            format!("name the file itself in `[sink.{name}]`"),
        ),
        Ok(found) if found.is_dir() => fault(
            format!("`{shown}` is a folder"),
            format!(
                "name a file in it in `[sink.{name}]`: to = \"file:{}\"",
                path.join("violations.jsonl").display()
            ),
        ),
        Ok(_) => writable(path).map(|()| format!("file:{shown}")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let there = path.ancestors().skip(1).find(|folder| folder.exists()).unwrap_or(Path::new("/"));
            if !there.is_dir() {
                return fault(
                    format!("`{shown}` cannot be made: `{}` is not a folder", there.display()),
                    format!("name another file in `[sink.{name}]`"),
                );
            }
            writable(there).map(|()| format!("file:{shown}, which the agent will make"))
        }
        Err(error) => fault(
            format!("`{shown}` cannot be looked at: {error}"),
            format!("run as root, or edit `[sink.{name}]`"),
        ),
    }
}

fn writable(path: &Path) -> Result<(), Fault> {
    access(path, AccessFlags::W_OK).map_err(|errno| {
        let seen = format!("`{}` cannot be written: {}", path.display(), errno.desc());
        let fix = format!("run as root, or make it writable: ls -ld '{}'", path.display());
        (problem as _, seen, fix)
    })
}

/// A receiver somewhere else.
fn receiver(sink: &Sink, syslog: &Syslog) -> Result<String, Fault> {
    let Receiver { host, port, transport } = daemon::receiver(syslog);
    let table = format!("[sink.{}]", sink.name);
    let is_udp = match &transport {
        Transport::Udp => true,
        Transport::Tcp(_) => false,
        Transport::Tls(tls) => {
            tls.check(&host).map_err(|error| {
                let fix = format!("put usable PEM files there, or edit `{table}`");
                (problem as _, error.to_string(), fix)
            })?;
            false
        }
    };
    let until = Instant::now() + PATIENCE;
    let addresses = found(&host, port).map_err(|error| {
        let seen = format!("`{host}` was not found: {error}; records wait meanwhile");
        (warning as _, seen, format!("getent hosts {host}, or edit `{table}`"))
    })?;
    if is_udp {
        return Ok(format!("{}; whether anybody listens cannot be told", sink.to()));
    }
    connects(&addresses, until).map(|()| format!("{}: it takes connections", sink.to())).map_err(|error| {
        let seen = format!("{} takes no connection: {error}; records wait meanwhile", sink.to());
        (warning as _, seen, format!("start the receiver, let the gateway reach it, or edit `{table}`"))
    })
}

/// The addresses of a host. The resolver waits for as long as it likes, so nobody waits for it.
fn found(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let (answer, answers) = mpsc::sync_channel(1);
    let host = host.to_owned();
    thread::spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Whoever asked may have given up.
        drop(answer.send(found));
    });
    answers.recv_timeout(PATIENCE).unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

fn connects(addresses: &[SocketAddr], until: Instant) -> io::Result<()> {
    let mut last = ErrorKind::NotFound.into();
    for address in addresses {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(address, left) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether monitoring can be given an ear.
pub(super) fn metrics(config: &Config, is_running: bool) -> Finding {
    let subject = "metrics";
    let Some(address) = config.metrics.listen else { return ok(subject, "nobody can ask for them") };
    let edit = "edit `[metrics] listen`";
    match TcpListener::bind(address) {
        Ok(_) => ok(subject, &format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_running => {
            ok(subject, &format!("{address} is in use, as it is while an agent runs"))
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let fix = format!("ss -ltnp 'sport = :{}' names who it is; or {edit}", address.port());
            problem(subject, &format!("somebody else listens on {address}"), &fix)
        }
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
            let fix = format!("{edit}: `ip address` lists the addresses that there are");
            problem(subject, &format!("the gateway does not have the address of {address}"), &fix)
        }
        Err(error) => problem(subject, &format!("failed to listen on {address}: {error}"), edit),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::warned, *};
    use crate::config::parse_config;

    #[test]
    fn what_a_running_agent_says_of_a_sink_is_its_finding_and_no_warning_twice() {
        let (config, _, _) = parse_config("bulkhead.toml", "[interface.eth0]\n[sink.a]\nto = \"stdout\"\n");
        let config = config.expect("it is valid");
        let sink = json!({
            "name": "a", "to": "stdout", "format": "native", "written": 0, "refused": 3, "failing": true,
            "last_error": "its reader does not keep up",
        });
        let warnings =
            ["sink `a` refuses records, which are lost", "metrics cannot be read: in use", "b\nhint: do c"];
        let mut status: Status = serde_json::from_value(json!({
            "gateway": "gw", "version": "0.1.0", "pid": 7, "since": "T", "revision": "c4c4c4c4c4c4", "generation": 3,
            "policy": "files", "warnings": warnings, "modes": {}, "infrastructure": {}, "management": "none",
            "interfaces": [], "flows": 2, "flows_limit": 131_072, "flows_evicted": 0, "fragments_refused": 0, "leases": 0,
            "leases_refused": 0, "samples_lost": 0, "sinks": [sink],
            "violations": {
                "violations": 3, "delivered": 1, "aggregated": 2, "lost": 0, "foreign": 0, "taken": 3, "told": 3,
                "pending": 0, "written": 2, "refused": 0,
            },
        }))
        .expect("a status");
        let said = |findings: Vec<Finding>| -> Vec<String> {
            let one = |Finding { subject, state, seen, fix }| {
                format!("{state:?} {subject}: {seen} ({})", fix.unwrap_or_default())
            };
            findings.into_iter().map(one).collect()
        };
        assert_eq!(
            said(sinks(&config, Some(&status))),
            [
                "Problem sink a: it refuses records, which are lost: its reader does not keep up (mend that, or edit `[sink.a]`)"
            ]
        );
        let warned = |status: &Status| said(warned(status).collect());
        assert_eq!(
            warned(&status),
            ["Warning agent: metrics cannot be read: in use (bulkhead status)", "Warning agent: b (do c)"]
        );
        status.sinks[0].failing = false;
        assert_eq!(said(sinks(&config, Some(&status))), ["Ok sink a: stdout ()"]);
        assert_eq!(said(sinks(&config, None)), ["Ok sink a: stdout ()"]);
    }
}
