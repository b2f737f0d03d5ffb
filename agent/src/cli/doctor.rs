//! `bulkhead doctor`: what is wrong with this gateway, and the command that mends it.

use std::{fs, path::Path};

use serde::Serialize;

mod collector;
mod forward;
mod outward;
mod queues;
mod sizes;

use super::{Cli, DEFAULT_CONFIG, Exit, Output, print_json};
use crate::{
    compile::{Limits, compile},
    config::{Attach, Config, Interface, Segment},
    control::{
        Body, Request, Status,
        client::{self, ClientError},
    },
    dataplane::{self, AttachMode, DataplaneError, Entry, Obstacle, Pins, kernel_version, probe},
    files::{Access, read_set, read_trust, require_guarded},
    policy::resolve_texts,
};

/// What a look at one thing found.
#[derive(Debug, Serialize)]
struct Finding {
    /// What was looked at.
    subject: String,
    /// How bad it is.
    state: State,
    /// What was seen.
    seen: String,
    /// The command or edit that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Ok,
    Warning,
    Problem,
}

pub(super) fn run(cli: &Cli, output: Output) -> anyhow::Result<Exit> {
    let mut findings = vec![kernel(), capabilities()];
    match cli.config() {
        Ok(config) => {
            findings.push(configuration(&cli.config));
            findings.extend(gateway(&config));
        }
        Err(error) => {
            findings.push(problem(
                "configuration",
                &format!("{error:#}"),
                &format!("edit {}", cli.config.display()),
            ));
        }
    }
    if cli.config != Path::new(DEFAULT_CONFIG) {
        let fixes = findings.iter_mut().filter_map(|finding| finding.fix.as_mut());
        fixes.for_each(|fix| *fix = configured(fix, &cli.config));
    }
    let bad = findings.iter().any(|f| f.state == State::Problem);
    if output.json {
        print_json(&findings)?;
    } else {
        for Finding { subject, state, seen, fix } in &findings {
            let mark = match state {
                State::Ok => "ok     ",
                State::Warning => "warning",
                State::Problem => "PROBLEM",
            };
            out!("{mark}  {subject}: {}", seen.replace('\n', "\n         "));
            if let Some(fix) = fix {
                out!("         fix: {fix}");
            }
        }
    }
    Ok(if bad { Exit::Found } else { Exit::Fine })
}

/// A fix whose commands read the configuration that was looked at, and not the usual one.
fn configured(fix: &str, config: &Path) -> String {
    let config = config.display().to_string();
    let is_plain = config.chars().all(|c| c.is_alphanumeric() || "/._-+".contains(c));
    let config = if is_plain { config } else { format!("'{}'", config.replace('\'', "'\\''")) };
    ["check", "detach", "doctor", "run", "status"].iter().fold(fix.to_owned(), |fix, command| {
        fix.replace(&format!("bulkhead {command}"), &format!("bulkhead {command} --config {config}"))
    })
}

fn ok(subject: &str, seen: &str) -> Finding {
    Finding { subject: subject.to_owned(), state: State::Ok, seen: seen.to_owned(), fix: None }
}

fn problem(subject: &str, seen: &str, fix: &str) -> Finding {
    Finding { state: State::Problem, fix: Some(fix.to_owned()), ..ok(subject, seen) }
}

fn warning(subject: &str, seen: &str, fix: &str) -> Finding {
    Finding { state: State::Warning, ..problem(subject, seen, fix) }
}

fn gateway(config: &Config) -> Vec<Finding> {
    let routed = forward::routed(config);
    let mut findings = vec![bpffs(config), forward::routing(routed)];
    match probe::interfaces() {
        Ok(there) => {
            for interface in &config.interfaces {
                nic(interface, &there, config, &mut findings);
            }
            findings.extend(forward::findings(config, &there, routed));
        }
        Err(error) => findings.push(problem("interfaces", &error.to_string(), "run as root")),
    }
    findings.extend(config.segments.iter().map(segment));
    findings.push(policy(config));
    findings.push(state(config));
    let asked = client::ask(&config.socket, &Request::Status);
    let status = match &asked {
        Ok(Body::Status(status)) => Some(&**status),
        Ok(_) | Err(_) => None,
    };
    findings.extend(status.and_then(|status| forward::running(config, status)));
    findings.extend(sizes::sizes(config, status, queues::sharing(config)));
    findings.extend(outward::sinks(config, status));
    findings.push(outward::metrics(config, asked.is_ok()));
    findings.extend(collector::findings(config, status));
    findings.push(agent(config, asked.as_ref().err()));
    findings.extend(status.into_iter().flat_map(warned));
    findings
}

/// The configuration is usable; whether it stays what it is depends on who may write it.
fn configuration(path: &Path) -> Finding {
    match require_guarded(path) {
        Ok(()) => ok("configuration", &path.display().to_string()),
        Err(error) => {
            let text = error.to_string();
            let (seen, fix) = text.split_once("\nhint: ").unwrap_or((&text, "run as root"));
            problem("configuration", seen, fix)
        }
    }
}

fn kernel() -> Finding {
    let (release, version) = kernel_version();
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return problem(
            "kernel",
            &format!("{release}, without BTF"),
            "boot a kernel with CONFIG_DEBUG_INFO_BTF=y",
        );
    }
    // XDP links came with 5.9, maps of maps in BTF with 5.7.
    if version < (5, 10) {
        return problem("kernel", &format!("{release}, older than 5.10"), "boot Linux 5.10 or newer");
    }
    ok("kernel", &format!("{release} with BTF"))
}

/// CAP_NET_ADMIN, CAP_PERFMON and CAP_BPF (capability.h): bits 12, 38, 39.
fn capabilities() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap_or("0").trim();
    let effective = u64::from_str_radix(line, 16).unwrap_or(0);
    let missing: Vec<&str> = [(12, "CAP_NET_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")]
        .into_iter()
        .filter(|(bit, _)| effective >> bit & 1 == 0)
        .map(|(_, name)| name)
        .collect();
    if missing.is_empty() {
        return ok("capabilities", "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON");
    }
    problem("capabilities", &format!("{} missing", missing.join(", ")), "run as root")
}

fn bpffs(config: &Config) -> Finding {
    let pins = Pins::below(&config.pins);
    let seen = pins.directory().display().to_string();
    let exists = config.pins.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    let is_bpffs =
        nix::sys::statfs::statfs(exists).is_ok_and(|s| s.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC);
    if is_bpffs {
        return ok("pins", &seen);
    }
    problem("pins", &format!("{seen} is not on a BPF filesystem"), "mount -t bpf bpf /sys/fs/bpf")
}

fn nic(interface: &Interface, there: &[probe::Interface], config: &Config, findings: &mut Vec<Finding>) {
    let name = &interface.name;
    let subject = format!("interface {name}");
    let Some(found) = there.iter().find(|i| i.name == *name) else {
        let names: Vec<&str> = there.iter().map(|i| i.name.as_str()).collect();
        let fix = format!("name one of {} in the configuration", names.join(", "));
        findings.push(problem(&subject, "there is no such interface", &fix));
        return;
    };
    if !found.up {
        findings.push(warning(&subject, "it is down", &format!("ip link set dev {name} up")));
    }
    match found.xdp {
        Some(xdp) => findings.push(program(&subject, name, xdp, there, config)),
        None => {
            let [entry, _] = Entry::suiting(found.mtu, mode(interface));
            let seen =
                format!("mtu {}, nothing attached yet; the {} program suits it", found.mtu, entry.name());
            findings.push(ok(&subject, &seen));
        }
    }
    if interface.attach == Attach::Generic {
        let fix = "set `attach = \"native\"` if the driver supports it";
        findings.push(warning(&subject, "configured for generic mode, which is slow", fix));
    }
    findings.extend(queues::of(&subject, &found.name));
    let peer = interface.pair.as_ref().and_then(|pair| there.iter().find(|i| i.name == pair.peer));
    let ports = probe::ports(found, there);
    // A bond's frames are received by the drivers of its ports.
    let receivers = if ports.is_empty() { vec![found] } else { ports };
    for receiver in receivers {
        let which =
            if receiver.name == *name { "it".to_owned() } else { format!("its port `{}`", receiver.name) };
        match dataplane::offloads(&receiver.name) {
            Ok(offloads) => {
                for Obstacle { seen, fix } in dataplane::obstacles(receiver, offloads, peer) {
                    findings.push(problem(&subject, &format!("{which} {seen}"), &fix));
                }
            }
            Err(error) => {
                let fix = format!("ethtool -k {}", receiver.name);
                findings.push(warning(&subject, &error.to_string(), &fix));
            }
        }
    }
    if interface.pair.is_some() {
        silence(&subject, name, findings);
    }
}

/// What a segment lets through beside the policy.
fn segment(segment: &Segment) -> Finding {
    let words = segment.infrastructure.words();
    let words = words.into_iter().map(|(word, _, on)| (word.to_owned(), on)).collect();
    let place = match segment.vlan {
        Some(vlan) => format!(" (VLAN {vlan} of {})", segment.interface),
        None => String::new(),
    };
    let trust = if segment.trusted { "trusted" } else { "not trusted" };
    let seen = format!("always on: {}; {trust}", super::status::all_but(&words));
    ok(&format!("segment {}{place}", segment.name), &seen)
}

fn mode(interface: &Interface) -> AttachMode {
    match interface.attach {
        Attach::Native => AttachMode::Native,
        Attach::Generic => AttachMode::Generic,
    }
}

/// A side of a pair should not speak for itself: IPv6 gives every interface that is up an address.
fn silence(subject: &str, name: &str, findings: &mut Vec<Finding>) {
    let off = fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"));
    // Without the file there is no IPv6.
    if off.is_ok_and(|text| text.trim() == "0") {
        let seen = "the gateway speaks IPv6 on it, and a pair is to be silent";
        let fix = format!("sysctl -w net/ipv6/conf/{name}/disable_ipv6=1");
        findings.push(warning(subject, seen, &fix));
    }
}

/// Whose program runs on an interface.
fn program(
    subject: &str,
    interface: &str,
    xdp: probe::Xdp,
    there: &[probe::Interface],
    config: &Config,
) -> Finding {
    let probe::Xdp { mode, program: id } = xdp;
    match attached(config, there) {
        Ok(names) if names.iter().any(|name| name == interface) => {
            return ok(subject, &format!("program attached in {} mode (id {id})", mode.name()));
        }
        Ok(_) => {}
        Err(error) => {
            let seen =
                format!("an XDP program runs on it (id {id}), and whose it is cannot be told: {error}");
            return problem(subject, &seen, "run as root");
        }
    }
    match probe::program_name(id) {
        Some(name) if probe::is_ours(&name) => {
            let seen = format!("`{name}` of another Bulkhead, with other pins, runs on it (id {id})");
            // Its configuration is not the one that is looked at.
            let fix = "stop that agent, then end what it enforces: `detach --yes` with its `--config`";
            problem(subject, &seen, fix)
        }
        name => {
            let name = name.map_or("without a name".to_owned(), |name| format!("`{name}`"));
            let seen = format!("another XDP program, {name}, runs on it (id {id})");
            let fix = format!(
                "remove it with the tool that attached it (`ip link set dev {interface} xdp off` works only for a program without a link)"
            );
            problem(subject, &seen, &fix)
        }
    }
}

/// The interfaces that our pinned links lead to.
fn attached(config: &Config, there: &[probe::Interface]) -> Result<Vec<String>, DataplaneError> {
    let pins = Pins::below(&config.pins);
    let names: Result<Vec<Option<String>>, _> =
        pins.links()?.iter().map(|pin| pins.enforced(pin, there)).collect();
    Ok(names?.into_iter().flatten().collect())
}

fn policy(config: &Config) -> Finding {
    let path = config.policy.display().to_string();
    let read =
        read_trust(&config.signing).and_then(|trust| read_set(&config.policy, &trust, Access::Enforced));
    let set = match read {
        Ok(set) => set,
        Err(error) => {
            let text = error.to_string();
            let otherwise = format!("mkdir -p {path}, and put a policy there");
            let (seen, fix) = text.split_once("\nhint: ").unwrap_or((&text, &otherwise));
            return problem("policy", seen, fix);
        }
    };
    let outcome = resolve_texts(&set.files);
    let Some(policy) = outcome.policy else {
        let count = outcome.diagnostics.len();
        return problem("policy", &format!("{count} problems in {path}"), "bulkhead check");
    };
    let limits =
        Limits { devices: config.limits.devices, rules: config.limits.rules, rows: config.limits.rows };
    match compile(&policy, &limits) {
        Ok(tables) => {
            ok("policy", &format!("{path}: revision {}, {} devices", tables.revision, tables.devices.len()))
        }
        Err(error) => problem("policy", &error.to_string(), &format!("raise `limits.{}`", error.what)),
    }
}

fn state(config: &Config) -> Finding {
    let path = config.state.display().to_string();
    let there = config.state.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    let writable = nix::unistd::access(there, nix::unistd::AccessFlags::W_OK).is_ok();
    if writable {
        return ok("state", &path);
    }
    problem("state", &format!("{path} cannot be written"), "run as root")
}

/// What the agent itself warns of, its sinks left out: they have findings of their own.
fn warned(status: &Status) -> impl Iterator<Item = Finding> {
    let of_sinks: Vec<String> = status.sinks.iter().map(|sink| format!("sink `{}` ", sink.name)).collect();
    let others =
        status.warnings.iter().filter(move |text| !of_sinks.iter().any(|sink| text.starts_with(sink)));
    others.map(|text| {
        let (seen, fix) = text.split_once("\nhint: ").unwrap_or((text, "bulkhead status"));
        warning("agent", seen, fix)
    })
}

fn agent(config: &Config, error: Option<&ClientError>) -> Finding {
    match error {
        None => ok("agent", &format!("answers on {}", config.socket.display())),
        Some(error) => {
            let left = probe::interfaces().and_then(|there| attached(config, &there));
            let left = left.unwrap_or_default().join(", ");
            if left.is_empty() {
                return warning("agent", &error.to_string(), "bulkhead run");
            }
            let seen = format!("{error}\nenforcement goes on without an agent on {left}");
            problem("agent", &seen, "start it: bulkhead run")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixes_name_the_configuration_that_was_looked_at() {
        let fix = |fix: &str, config: &str| configured(fix, Path::new(config));
        let plain = "/srv/b.toml";
        assert_eq!(fix("bulkhead check", plain), "bulkhead check --config /srv/b.toml");
        let detach = "stop it, `bulkhead detach --yes`, then bulkhead run";
        let told =
            "stop it, `bulkhead detach --config /srv/b.toml --yes`, then bulkhead run --config /srv/b.toml";
        assert_eq!(fix(detach, plain), told);
        assert_eq!(fix("systemctl restart bulkhead", plain), "systemctl restart bulkhead");
        assert_eq!(fix("bulkhead run", "/a b/it's"), r"bulkhead run --config '/a b/it'\''s'");
    }
}
