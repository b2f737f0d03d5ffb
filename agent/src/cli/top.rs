//! `bulkhead top`: the gateway as it changes, on a terminal.
//!
//! [`state`] says what a key or an answer does, [`draw`] what is seen then: both know no terminal and no agent. Here are
//! those two: keys are read, the agent is asked by a thread of its own, so that one that is slow does not hold the keys up,
//! and whatever happens the terminal is left as it was found.

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{Cli, Exit, flows, rules::time, status, violations, why};
use crate::control::{Body, Request};

mod asked;
mod draw;
mod keys;
mod state;
#[cfg(test)]
mod tests;
mod worker;

use asked::Asked;
use state::{Act, Input, Key, State, step};

/// How long a key or a signal waits for its turn.
const TURN: Duration = Duration::from_millis(100);
/// More often would be work for the agent and nothing to see.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(600);
/// How long a change that is under way is waited for at the end: longer than the worker waits for its answer.
const PARTING: Duration = Duration::from_secs(90);

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
    let socket = cli.socket()?;
    let (jobs, to_do) = mpsc::sync_channel(worker::JOBS);
    let (done, inputs) = mpsc::channel();
    thread::spawn(move || worker::work(&socket, &to_do, &done));
    // A panic leaves the terminal as it was, too.
    let mut terminal = ratatui::try_init().context("failed to prepare the terminal")?;
    let mut asked = Asked::new(jobs, args.interval, Instant::now());
    let ended = watch(&mut terminal, &inputs, &mut asked, &stop);
    ratatui::restore();
    let parted = part(&mut asked, &inputs, &stop);
    ended.and(parted).map(|()| Exit::Fine)
}

/// Until somebody ends it.
fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    inputs: &mpsc::Receiver<Input>,
    asked: &mut Asked,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let mut state = State::default();
    let mut drawn = false;
    while !stop.load(Ordering::Relaxed) {
        if !drawn {
            terminal.draw(|frame| draw::draw(frame, &state)).context("failed to draw")?;
            drawn = true;
        }
        let mut acts = Vec::new();
        if asked.is_due(Instant::now()) {
            acts.push(Act::Look { of: state.device().map(str::to_owned) });
        }
        for input in inputs.try_iter() {
            asked.heard(&input, Instant::now());
            acts.extend(step(&mut state, input));
            drawn = false;
        }
        if event::poll(TURN).context("failed to read the terminal")? {
            // Of whatever else happens to a terminal, such as another size, the screen is drawn anew.
            drawn = false;
            if let Event::Key(pressed) = event::read().context("failed to read the terminal")?
                && let Some(key) = key(pressed)
            {
                acts.extend(step(&mut state, Input::Key(key)));
            }
        }
        for act in acts {
            if act == Act::Quit {
                return Ok(());
            }
            if !asked.give(act, Instant::now()) {
                drawn = false;
                step(&mut state, Input::Said("the agent has not answered what was asked before".to_owned()));
            }
        }
    }
    Ok(())
}

/// Waits for changes that are under way when the screen ends, since they would end with this process, and tells what became
/// of all.
fn part(asked: &mut Asked, inputs: &mpsc::Receiver<Input>, stop: &AtomicBool) -> anyhow::Result<()> {
    if asked.changes() > 0 {
        // Whoever ended the screen by a signal needs another one to end the waiting.
        stop.store(false, Ordering::Relaxed);
        say!("waiting for the agent's answer to a change of mode");
        asked.wait(inputs, PARTING, stop);
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

fn key(pressed: KeyEvent) -> Option<Key> {
    if pressed.kind == KeyEventKind::Release {
        return None;
    }
    match pressed.code {
        // A raw terminal sends no signal.
        KeyCode::Char('c') if pressed.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
        KeyCode::Char(letter) => Some(Key::Char(letter)),
        KeyCode::Up => Some(Key::Up(1)),
        KeyCode::Down => Some(Key::Down(1)),
        KeyCode::PageUp => Some(Key::Up(10)),
        KeyCode::PageDown => Some(Key::Down(10)),
        KeyCode::Enter => Some(Key::Enter),
        KeyCode::Esc => Some(Key::Escape),
        KeyCode::Tab | KeyCode::BackTab => Some(Key::Tab),
        KeyCode::Backspace => Some(Key::Back),
        KeyCode::Left
        | KeyCode::Right
        | KeyCode::Home
        | KeyCode::End
        | KeyCode::Delete
        | KeyCode::Insert
        | KeyCode::F(_)
        | KeyCode::Null
        | KeyCode::CapsLock
        | KeyCode::ScrollLock
        | KeyCode::NumLock
        | KeyCode::PrintScreen
        | KeyCode::Pause
        | KeyCode::Menu
        | KeyCode::KeypadBegin
        | KeyCode::Media(_)
        | KeyCode::Modifier(_) => None,
    }
}
