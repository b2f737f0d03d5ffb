//! `bulkhead detach`: the only way enforcement ends.

use super::{Cli, Exit};
use crate::{
    config::Config,
    dataplane::{self, Pins},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this interface; counters and flows stay
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Do it: without this the command only says what would end
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let config = cli.config()?;
    let pins = Pins::below(&config.pins);
    let mut links = pins.links()?;
    if let Some(name) = &args.interface {
        links.retain(|link| link == name);
    }
    if links.is_empty() {
        // Maps without a link enforce nothing, and may be the ones that keep an agent from starting.
        if args.interface.is_none() && pins.directory().exists() {
            return remove_maps(&config, args.yes);
        }
        eprintln!(
            "nothing is enforced{}",
            args.interface.as_ref().map(|n| format!(" on `{n}`")).unwrap_or_default()
        );
        return Ok(Exit::Fine);
    }
    if !args.yes {
        eprintln!("this would end enforcement on {}; say `--yes` to do it", links.join(", "));
        return Ok(Exit::Found);
    }
    match &args.interface {
        Some(name) => dataplane::detach_interface(&config.pins, name)?,
        None => {
            dataplane::detach(&config.pins)?;
        }
    }
    println!("enforcement ended on {}", links.join(", "));
    if crate::control::client::ask(&config.socket, &crate::control::Request::Status).is_ok() {
        eprintln!("the agent still runs and will attach again: stop it as well");
    }
    Ok(Exit::Fine)
}

fn remove_maps(config: &Config, yes: bool) -> anyhow::Result<Exit> {
    let pins = Pins::below(&config.pins);
    let maps = pins.directory().display();
    if !yes {
        eprintln!(
            "nothing is enforced; this would remove flows and counters in `{maps}`; say `--yes` to do it"
        );
        return Ok(Exit::Found);
    }
    dataplane::detach(&config.pins)?;
    println!("nothing was enforced; removed flows and counters in `{maps}`");
    Ok(Exit::Fine)
}
