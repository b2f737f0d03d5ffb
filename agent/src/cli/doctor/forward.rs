//! `bulkhead doctor` about forwarding: whether the kernel routes, and what keeps packets from going directly.

use super::{Finding, ok, problem, warning};
use crate::{
    config::{ALONE_HELP, Config, Forward, alone_said},
    control::Status,
    dataplane::{
        self,
        foreign::{self, is_on},
        probe,
    },
};

const SUBJECT: &str = "direct forwarding";

/// Which packets the kernel routes at all: of IPv4, of IPv6.
pub(super) fn routed(config: &Config) -> [bool; 2] {
    let mut interfaces = config.interfaces.iter();
    // The switch of all sets those of each, which alone count.
    let of_one = |name: &str| is_on(&format!("net/ipv4/conf/{name}/forwarding"));
    let v4 = is_on("net/ipv4/ip_forward") || interfaces.any(|interface| of_one(&interface.name));
    [v4, foreign::routes_v6()]
}

/// Whether the kernel routes.
pub(super) fn routing(routed: [bool; 2]) -> Finding {
    const SUBJECT: &str = "forwarding";
    match routed {
        [true, true] => ok(SUBJECT, "IPv4 and IPv6 forwarding are on"),
        [true, false] => ok(SUBJECT, "IPv4 forwarding is on, IPv6 forwarding is off"),
        [false, true] => {
            let seen =
                "IPv4 forwarding is off, IPv6 forwarding is on: a routed gateway forwards nothing of IPv4";
            warning(SUBJECT, seen, "sysctl -w net.ipv4.ip_forward=1 (not needed on a bridge or without IPv4)")
        }
        [false, false] => {
            let fix = "sysctl -w net.ipv4.ip_forward=1 (IPv6: net.ipv6.conf.all.forwarding=1; not needed on a bridge)";
            warning(SUBJECT, "IPv4 and IPv6 forwarding are off: a routed gateway forwards nothing", fix)
        }
    }
}

/// Nothing where no interface forwards directly. An interface that is not there has a finding of its own.
pub(super) fn findings(config: &Config, there: &[probe::Interface], routed: [bool; 2]) -> Vec<Finding> {
    if !config.forwards_directly() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if let Some(alone) = config.alone() {
        findings.push(warning(SUBJECT, &alone_said(alone), ALONE_HELP));
    }
    let is_direct = |found: &&probe::Interface| {
        let mut all = config.interfaces.iter();
        all.any(|interface| interface.forward == Forward::Direct && interface.name == found.name)
    };
    let direct: Vec<&probe::Interface> = there.iter().filter(is_direct).collect();
    for found in &direct {
        findings.extend(obstacle(found, config));
        findings.extend(switches(&found.name, routed));
        findings.extend(shaping(found));
    }
    let fix = "remove it, if the policy of the devices says what it does, or write `forward = \"kernel\"` and restart the agent";
    let obstacles = foreign::obstacles();
    findings.extend(
        obstacles.iter().map(|why| problem(SUBJECT, &format!("nothing leaves directly: {why}"), fix)),
    );
    let only = match routed {
        [true, true] => "",
        [true, false] => ", of IPv4 only",
        [false, true] => ", of IPv6 only",
        // That it routes nothing is told already.
        [false, false] => return findings,
    };
    if findings.is_empty() && direct.len() > 1 {
        let names: Vec<&str> = direct.iter().map(|found| found.name.as_str()).collect();
        findings.push(ok(SUBJECT, &format!("between {}{only}", names.join(", "))));
    }
    findings
}

/// What the running agent does otherwise than the configuration says: it was read at its start.
pub(super) fn running(config: &Config, status: &Status) -> Option<Finding> {
    let names = |all: &[&str]| if all.is_empty() { "none".to_owned() } else { all.join(", ") };
    let written = config.interfaces.iter().filter(|interface| interface.forward == Forward::Direct);
    let written: Vec<&str> = written.map(|interface| interface.name.as_str()).collect();
    let runs = status.interfaces.iter().filter(|interface| interface.forward == Forward::Direct.name());
    let runs: Vec<&str> = runs.map(|interface| interface.name.as_str()).collect();
    // One that is configured and does not may have an obstacle, of which the agent itself warns.
    let differs = status.forwarded.is_some() != config.forwards_directly()
        || runs.iter().any(|name| !written.contains(name));
    differs.then(|| {
        let has = if runs.is_empty() && status.forwarded.is_some() {
            "was started with it, and forwards nothing directly now".to_owned()
        } else {
            format!("has it on {}", names(&runs))
        };
        let seen = format!("configured for {}; the running agent {has}", names(&written));
        warning(SUBJECT, &seen, "restart the agent: it reads its configuration when it starts")
    })
}

/// Why what comes on this interface goes through the kernel, whatever comes.
fn obstacle(found: &probe::Interface, config: &Config) -> Option<Finding> {
    let name = &found.name;
    if found.controller.is_some() {
        let seen =
            format!("`{name}` is a port of another interface, so what comes there goes through the kernel");
        let fix = format!("`ip link set {name} nomaster`, or write `forward = \"kernel\"`");
        return Some(problem(SUBJECT, &seen, &fix));
    }
    let is_fixed =
        config.interfaces.iter().any(|interface| interface.name == *name && interface.fix_offloads);
    let offloads = dataplane::offloads(name).ok().filter(|_| !is_fixed)?;
    let first = dataplane::obstacles(found, offloads, None).into_iter().next()?;
    let seen = format!("what comes on `{name}` goes through the kernel: it {}", first.seen);
    Some(problem(SUBJECT, &seen, &format!("{}; or `fix_offloads = true`", first.fix)))
}

/// What the kernel forwards, and not on this interface: it will not tell a way for it.
fn switches(name: &str, [v4, v6]: [bool; 2]) -> impl Iterator<Item = Finding> {
    let off = move |family: &str, protocol: &str, then: &str| {
        let setting = format!("net/{family}/conf/{name}/forwarding");
        (!is_on(&setting)).then(|| {
            let seen = format!("{protocol} forwarding is off on `{name}`, {then}");
            warning(SUBJECT, &seen, &format!("sysctl -w {setting}=1"))
        })
    };
    let v4 = v4.then(|| off("ipv4", "IPv4", "so nothing that comes there is sent on")).flatten();
    // The kernel's own way looks at the switch of all alone.
    let v6 = v6.then(|| off("ipv6", "IPv6", "so what comes there goes through the kernel")).flatten();
    v4.into_iter().chain(v6)
}

/// Traffic control that does not see what leaves directly.
fn shaping(found: &probe::Interface) -> Option<Finding> {
    let name = &found.name;
    let fix = format!("tc qdisc show dev {name}; where it matters, write `forward = \"kernel\"`");
    match foreign::shaping(name, found.index) {
        Ok(kinds) if kinds.is_empty() => None,
        Ok(kinds) => {
            let kinds = kinds.join(", ");
            let seen = format!("traffic control on `{name}` does not see what leaves directly: {kinds}");
            Some(warning(SUBJECT, &seen, &fix))
        }
        Err(error) => {
            let seen = format!("whether `{name}` has traffic control cannot be told: {error}");
            Some(warning(SUBJECT, &seen, &fix))
        }
    }
}
