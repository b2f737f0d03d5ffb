//! Whether whoever types a command would lock himself out. In: the session the shell tells of, the configuration, a policy.
//! Out: a warning. It never refuses: whoever stands before the gateway knows better.

use std::{io::IsTerminal, net::IpAddr, path::Path};

use jiff::Timestamp;

use super::{Cli, check::files_of, print};
use crate::{
    config::{Config, Segment, Unmanaged, parse_config},
    daemon,
    dataplane::probe,
    diagnostic::{Diagnostic, render_text},
    files::read_file,
    lint::{self, Own, Pin, Session},
    model::{Mac, Policy},
    policy::resolve_texts,
};

mod told;
mod way;

/// The session this command runs in, if it came over the network.
fn session() -> Option<(Session, Option<String>)> {
    let told = told::by_shell()?;
    let words: Vec<&str> = told.split_whitespace().collect();
    let [from, _, to, port] = words[..] else { return None };
    // A link-local address comes with the interface it is of.
    let (from, scope) = match from.split_once('%') {
        Some((from, scope)) => (from, Some(scope.to_owned())),
        None => (from, None),
    };
    let to = to.split_once('%').map_or(to, |(to, _)| to);
    let from: IpAddr = from.parse().ok()?;
    let session = Session { from, to: to.parse().ok()?, port: port.parse().ok()?, mac: neighbour(from) };
    Some((session, scope))
}

/// The hardware address that the kernel knows of a neighbour.
fn neighbour(ip: IpAddr) -> Option<Mac> {
    // proc_net(5): address, hardware type, flags, hardware address.
    let table = std::fs::read_to_string("/proc/net/arp").ok()?;
    let row = table
        .lines()
        .skip(1)
        .find(|row| row.split_whitespace().next().and_then(|word| word.parse().ok()) == Some(ip))?;
    row.split_whitespace().nth(3)?.parse().ok()
}

/// What of the configuration keeps a session's way open; `None` when it comes where nothing is enforced.
fn pin<'c>(config: &'c Config, (session, scope): &(Session, Option<String>)) -> Option<Pin<'c>> {
    let all = || config.segments.iter().collect::<Vec<&Segment>>();
    let places = match way::interface(session, scope.as_deref()) {
        Some((name, there)) => way::segments(&name, &there, config),
        // A session that was not told whole, or ended somewhere else: any segment may be the one.
        None => all(),
    };
    if places.is_empty() {
        return None;
    }
    let closed = places.iter().find(|segment| segment.unmanaged == Unmanaged::Drop);
    Some(Pin {
        from: &config.management.from,
        services: &config.management.services,
        honoured: places.iter().any(|segment| segment.management),
        closed: closed.map(|segment| segment.name.as_str()),
    })
}

/// What a policy would do to this session, if it closes its way.
pub(super) fn locked_out(policy: &Policy, config: &Config, now: Timestamp) -> Option<Diagnostic> {
    let told = session()?;
    lint::locked_out(policy, &told.0, &pin(config, &told)?, now)
}

/// Says it before the policy at a path (default: the configured one) is sent. What cannot be read is for the agent to
/// tell.
pub(super) fn warn_before(cli: &Cli, path: Option<&Path>) {
    let Some(told) = session() else { return };
    let Ok(file) = read_file(&cli.config) else { return };
    let (Some(config), _, _) = parse_config(&file.path, &file.text) else { return };
    let Some(pin) = pin(&config, &told).filter(|pin| !pin.keeps(&told.0)) else { return };
    let Ok(files) = files_of(path.unwrap_or(&config.policy)) else { return };
    let outcome = resolve_texts(&files);
    let Some(policy) = outcome.policy else { return };
    if let Some(found) = lint::locked_out(&policy, &told.0, &pin, Timestamp::now()) {
        print::rendered(&render_text(&[found], &outcome.sources, std::io::stderr().is_terminal()));
    }
}

/// What this machine is known by, if it is the gateway: on the desk of whoever writes the policy the configuration may be
/// there, and its interfaces are not.
pub(super) fn own(config: &Config) -> Own {
    let here = probe::interfaces().unwrap_or_default();
    let is_gateway = config.interfaces.iter().any(|wanted| here.iter().any(|i| i.name == wanted.name));
    if is_gateway { daemon::own().unwrap_or_default() } else { Own::default() }
}
