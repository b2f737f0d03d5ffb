//! Whether whoever types a command would lock himself out. In: the session the shell tells of, the configuration, a policy.
//! Out: a warning. It never refuses: whoever stands before the gateway knows better.

use std::{env, io::IsTerminal, path::Path};

use jiff::Timestamp;

use super::{Cli, check::files_of, print};
use crate::{
    config::{Config, Unmanaged, parse_config},
    daemon,
    dataplane::probe,
    diagnostic::{Diagnostic, render_text},
    files::read_file,
    lint::{self, Own, Pin, Session},
    model::Policy,
    policy::resolve_texts,
};

/// `CLIENT PORT SERVER PORT`, as sshd(8) sets it.
const SSH: &str = "SSH_CONNECTION";

/// The session this command runs in, if it came over the network.
fn session() -> Option<Session> {
    let told = env::var(SSH).ok()?;
    let words: Vec<&str> = told.split_whitespace().collect();
    let [from, _, to, port] = words[..] else { return None };
    Some(Session { from: from.parse().ok()?, to: to.parse().ok()?, port: port.parse().ok()? })
}

fn pin(config: &Config) -> Pin<'_> {
    let closed = config.segments.iter().find(|segment| segment.unmanaged == Unmanaged::Drop);
    Pin {
        from: &config.management.from,
        services: &config.management.services,
        honoured: config.segments.iter().any(|segment| segment.management),
        closed: closed.map(|segment| segment.name.as_str()),
    }
}

/// What a policy would do to this session, if it closes its way.
pub(super) fn locked_out(policy: &Policy, config: &Config, now: Timestamp) -> Option<Diagnostic> {
    lint::locked_out(policy, &session()?, &pin(config), now)
}

/// Says it before the policy at a path (default: the configured one) is sent. What cannot be read is for the agent to
/// tell.
pub(super) fn warn_before(cli: &Cli, path: Option<&Path>) {
    let Some(session) = session() else { return };
    let Ok(file) = read_file(&cli.config) else { return };
    let (Some(config), _, _) = parse_config(&file.path, &file.text) else { return };
    if pin(&config).keeps(&session) {
        return;
    }
    let Ok(files) = files_of(path.unwrap_or(&config.policy)) else { return };
    let outcome = resolve_texts(&files);
    let Some(policy) = outcome.policy else { return };
    if let Some(found) = lint::locked_out(&policy, &session, &pin(&config), Timestamp::now()) {
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
