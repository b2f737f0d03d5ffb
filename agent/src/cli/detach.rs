//! `bulkhead detach`: the only way enforcement ends.

use super::{Cli, Exit, apply::Why};
use crate::{
    config::Config,
    control::{
        Body, Request,
        client::{self, ClientError},
    },
    dataplane::{self, DataplaneError, Pins, PinsLock, probe},
    store::{
        StoreError, Who,
        audit::{Action, Bounds, Entry, Event, Outcome, Trail},
    },
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this interface; counters and flows stay
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Do it: without this the command only says what would end
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    why: Why,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let config = cli.config()?;
    let pins = Pins::below(&config.pins);
    let mut links = pins.links()?;
    if let Some(name) = &args.interface {
        let known = links.iter().chain(config.interfaces.iter().map(|i| &i.name));
        if !known.clone().any(|known| known == name) {
            let known: std::collections::BTreeSet<&str> = known.map(String::as_str).collect();
            let known: Vec<&str> = known.into_iter().collect();
            anyhow::bail!(
                "no interface `{name}` is enforced or configured\nhint: there are {}",
                known.join(", ")
            );
        }
        links.retain(|link| link == name);
    }
    if links.is_empty() {
        // Maps without a link enforce nothing, and may be the ones that keep an agent from starting.
        if args.interface.is_none() && pins.directory().exists() {
            return remove_maps(&config, args);
        }
        say!(
            "nothing is enforced{}",
            args.interface.as_ref().map(|n| format!(" on `{n}`")).unwrap_or_default()
        );
        return Ok(Exit::Fine);
    }
    if !args.yes {
        say!("this would end enforcement on {}; say `--yes` to do it", links.join(", "));
        return Ok(Exit::Found);
    }
    let Some(_lock) = alone(&config, &pins)? else { return Ok(Exit::Found) };
    if let Some(name) = &args.interface
        && let Some(now) = pins.enforced(name, &probe::interfaces()?)?
        && now != *name
    {
        anyhow::bail!(
            "what was attached as `{name}` is now called `{now}`\nhint: `bulkhead run` gives the pin that name, or end everything with `bulkhead detach --yes`"
        );
    }
    let record = Recorded::begin(&config, links.join(", "), args.why.reason.clone());
    let ended = match &args.interface {
        Some(name) => dataplane::detach_interface(&config.pins, name),
        None => dataplane::detach(&config.pins).map(|_| ()),
    };
    record.conclude(&ended);
    ended?;
    out!("enforcement ended on {}", links.join(", "));
    Ok(Exit::Fine)
}

/// Keeps agents away from the pins until dropped; `None`, and says so, while one runs: it would attach again, or be
/// left without the maps that it fills.
fn alone(config: &Config, pins: &Pins) -> anyhow::Result<Option<Option<PinsLock>>> {
    let pid = match pins.lock() {
        // An agent whose pins were taken from under it has no lock on the ones that are there now.
        Ok(lock) => match client::ask(&config.socket, &Request::Status) {
            Ok(Body::Status(status)) => status.pid.to_string(),
            Err(ClientError::Connect { .. }) => return Ok(Some(lock)),
            // Somebody answers, of another version perhaps.
            Ok(_) | Err(_) => "unknown".to_owned(),
        },
        Err(DataplaneError::PinsInUse { pid, .. }) => pid,
        Err(error) => return Err(error.into()),
    };
    say!(
        "the agent runs (pid {pid}) and would attach again: stop it first (systemctl stop bulkhead, or kill {pid}), then detach; enforcement goes on meanwhile"
    );
    Ok(None)
}

/// The end of enforcement on its way into the audit trail. A full disk must not keep an operator from it: what cannot be
/// written is told, and done all the same.
struct Recorded {
    trail: Trail,
    event: Event,
}

impl Recorded {
    fn begin(config: &Config, target: String, reason: Option<String>) -> Self {
        let bounds = Bounds { file_bytes: config.audit.file_bytes.into(), files: config.audit.files };
        let uid = nix::unistd::getuid();
        let user = nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name);
        let by = Who::process(uid.as_raw(), user, Some(std::process::id()));
        let event = Event { target: Some(target), reason, ..Event::begun(Action::Detach, by) };
        let trail = Trail::new(&config.state, bounds);
        let began = Self::write(&trail, event.clone()).map(|entry| entry.seq);
        Self { trail, event: Event { began, ..event } }
    }

    fn conclude<T>(self, ended: &Result<T, DataplaneError>) {
        let result = if ended.is_ok() { Outcome::Ok } else { Outcome::Failed };
        let message = ended.as_ref().err().map(ToString::to_string);
        Self::write(&self.trail, Event { result, message, ..self.event });
    }

    fn write(trail: &Trail, event: Event) -> Option<Entry> {
        let written: Result<Entry, StoreError> = trail.append(event, jiff::Timestamp::now().to_string());
        written.map_err(|error| say!("this is not in the audit trail: {:#}", anyhow::Error::new(error))).ok()
    }
}

fn remove_maps(config: &Config, args: &Args) -> anyhow::Result<Exit> {
    let pins = Pins::below(&config.pins);
    let maps = pins.directory().display();
    if !args.yes {
        say!("nothing is enforced; this would remove flows and counters in `{maps}`; say `--yes` to do it");
        return Ok(Exit::Found);
    }
    let Some(_lock) = alone(config, &pins)? else { return Ok(Exit::Found) };
    let record = Recorded::begin(config, "flows and counters".to_owned(), args.why.reason.clone());
    let ended = dataplane::detach(&config.pins);
    record.conclude(&ended);
    ended?;
    out!("nothing was enforced; removed flows and counters in `{maps}`");
    Ok(Exit::Fine)
}
