//! `bulkhead top`: the gateway as it changes, on a terminal.
//!
//! [`state`] says what a key or an answer does, [`draw`] what is seen then: both know no terminal and no agent. Here are
//! those two, each with a thread of its own, so that none holds the other up: [`worker`] asks the agent, [`terminal`] reads keys.
//! Whatever happens the screen ends when it is told to, and the terminal is left as it was found.

use std::{
    io::{self, IsTerminal},
    mem::ManuallyDrop,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{Cli, Exit, flows, rules::time, status, violations, why};
use crate::control::{Body, Request};

mod asked;
mod draw;
mod keys;
mod state;
mod terminal;
#[cfg(test)]
mod tests;
mod worker;

use asked::Asked;
use state::{Act, Input, State, step};

/// How long a key or a signal waits for its turn.
const TURN: Duration = Duration::from_millis(100);
/// More often would be work for the agent and nothing to see.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(600);
/// How long a change that is under way is waited for at the end: longer than the worker waits for its answer.
const PARTING: Duration = Duration::from_secs(90);
/// The same when a signal has ended the screen, or the terminal is gone: the agent has the change by then, if it can be had.
const SHORT_PARTING: Duration = Duration::from_secs(10);
/// What may wait to be shown.
const INPUTS: usize = 64;

#[derive(Debug, clap::Args)]
#[command(after_help = keys::HELP)]
pub(super) struct Args {
    /// How often the agent is asked, `500ms` to `10m`
    #[arg(long, short, default_value = "2s", value_name = "TIME", value_parser = interval)]
    interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = time(text).map_err(|_| "write a number with its unit, such as `2s`".to_owned())?;
    if (SHORTEST..=LONGEST).contains(&time) {
        Ok(time)
    } else {
        Err("it must be `500ms` to `10m`".to_owned())
    }
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!(
            "`top` needs a terminal, and standard input or output is none\n\
             hint: `bulkhead status`, `devices`, `flows` and `violations --follow` print the same"
        );
    }
    let body = cli.ask(&Request::Status)?;
    let Body::Status(_) = body else { return Err(super::unexpected(&body)) };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("failed to listen for signals")?;
    }
    let guarded = Arc::clone(&stop);
    thread::spawn(move || terminal::guard(&guarded));
    let socket = cli.socket()?;
    let (jobs, to_do) = mpsc::sync_channel(worker::JOBS);
    let (done, inputs) = mpsc::sync_channel(INPUTS);
    let keys = done.clone();
    thread::spawn(move || worker::work(&socket, &to_do, &done));
    // A panic leaves the terminal as it was, too. What ends the screen by itself would panic where it cannot say what went wrong.
    let mut screen = ManuallyDrop::new(ratatui::try_init().context("failed to prepare the terminal")?);
    let over = Arc::new(AtomicBool::new(false));
    let no_keys = Arc::clone(&over);
    thread::spawn(move || terminal::listen(&keys, &no_keys));
    let mut asked = Asked::new(jobs, args.interval, Instant::now());
    let ended = watch(&mut screen, &inputs, &mut asked, &stop);
    over.store(true, Ordering::Relaxed);
    let left = screen.show_cursor().and_then(|()| ratatui::try_restore());
    let is_gone = terminal::is_gone();
    let parted = part(&mut asked, &inputs, &stop, is_gone);
    if is_gone {
        // It could not be drawn on, and whoever sat there knows why.
        return parted.map(|()| Exit::Fine);
    }
    ended.and(parted).and(left.context("failed to restore the terminal")).map(|()| Exit::Fine)
}

/// Until somebody ends it.
fn watch(
    screen: &mut ratatui::DefaultTerminal,
    inputs: &mpsc::Receiver<Input>,
    asked: &mut Asked,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let mut state = State::default();
    let mut drawn = None;
    while !stop.load(Ordering::Relaxed) && !terminal::is_gone() {
        // Of another size it is drawn anew.
        let size = screen.size().context("failed to ask for the size of the terminal")?;
        if drawn != Some(size) {
            screen.draw(|frame| draw::draw(frame, &state)).context("failed to draw")?;
            drawn = Some(size);
        }
        let mut acts = Vec::new();
        if asked.is_due(Instant::now()) {
            acts.push(Act::Look { of: state.device().map(str::to_owned) });
        }
        let first = match inputs.recv_timeout(TURN) {
            Ok(first) => Some(first),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => bail!("neither the agent nor the keys are heard any more"),
        };
        for input in first.into_iter().chain(inputs.try_iter()).take(INPUTS) {
            asked.heard(&input, Instant::now());
            acts.extend(step(&mut state, input));
            drawn = None;
        }
        for act in acts {
            if act == Act::Quit {
                return Ok(());
            }
            if !asked.give(act, Instant::now()) {
                drawn = None;
                step(&mut state, Input::Said("the agent has not answered what was asked before".to_owned()));
            }
        }
    }
    Ok(())
}

/// Waits for changes that are under way when the screen ends, since they would end with this process, and tells what became
/// of all.
fn part(
    asked: &mut Asked,
    inputs: &mpsc::Receiver<Input>,
    stop: &AtomicBool,
    is_gone: bool,
) -> anyhow::Result<()> {
    if asked.changes() > 0 {
        // Whoever ended the screen by a signal needs another one to end the waiting.
        let by_signal = stop.swap(false, Ordering::Relaxed);
        say!("waiting for the agent's answer to a change of mode");
        asked.wait(inputs, if by_signal || is_gone { SHORT_PARTING } else { PARTING }, stop);
        stop.fetch_or(by_signal, Ordering::Relaxed);
    }
    asked.became().for_each(|became| out!("{became}"));
    if asked.changes() > 0 {
        bail!(
            "the agent has not answered: whether the mode was changed is not known\n\
             hint: `bulkhead devices` shows the mode of each device"
        );
    }
    Ok(())
}
