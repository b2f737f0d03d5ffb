//! The terminal `top` runs on, as something that goes away or stops reading while it is in use.
//!
//! In: what the terminal sends, and the signals that ended the screen. Out: keys, and an end in any case. What understands the
//! keys waits for the rest of one that came by halves, and reads from a terminal that is closed without end: so keys are read by
//! a thread of their own, which looks first whether anybody is there, and which nobody waits for.

use std::{
    io::{self, stdin},
    os::fd::AsFd,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::SyncSender,
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use ratatui::crossterm::{
    event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    terminal::disable_raw_mode,
};

use super::{
    super::Exit,
    TURN,
    state::{Input, Key},
};

/// How long a signal may go unnoticed: whoever writes to a terminal that does not read waits for ever.
const HEED: Duration = Duration::from_secs(2);

/// Whether nobody sits at the terminal any more.
pub(super) fn is_gone() -> bool {
    gone(what(PollFlags::empty(), Duration::ZERO))
}

fn gone(seen: PollFlags) -> bool {
    seen.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL)
}

/// What the terminal has for us.
fn what(wanted: PollFlags, within: Duration) -> PollFlags {
    let stdin = stdin();
    let mut looked = [PollFd::new(stdin.as_fd(), wanted)];
    let within = PollTimeout::try_from(within).unwrap_or(PollTimeout::ZERO);
    match poll(&mut looked, within) {
        Ok(_) | Err(Errno::EINTR) => looked[0].revents().unwrap_or(PollFlags::empty()),
        Err(_) => PollFlags::POLLERR,
    }
}

/// Hands keys on, until the screen has ended or nobody is there to press one.
pub(super) fn listen(inputs: &SyncSender<Input>, ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        let seen = what(PollFlags::POLLIN, TURN);
        if gone(seen) {
            return;
        }
        if seen.contains(PollFlags::POLLIN) && hand_on(inputs).is_err() {
            return;
        }
    }
}

/// Hands on what can be understood of what is there.
fn hand_on(inputs: &SyncSender<Input>) -> io::Result<()> {
    while event::poll(TURN)? {
        if let Event::Key(pressed) = event::read()?
            && let Some(key) = key(pressed)
        {
            inputs.send(Input::Key(key)).map_err(io::Error::other)?;
        }
    }
    Ok(())
}

/// Ends the process when a signal goes unnoticed.
pub(super) fn guard(stop: &AtomicBool) {
    let mut since: Option<Instant> = None;
    loop {
        thread::sleep(TURN);
        since = stop.load(Ordering::Relaxed).then(|| since.unwrap_or_else(Instant::now));
        if since.is_some_and(|since| since.elapsed() >= HEED) {
            // What can be done without writing to it.
            drop(disable_raw_mode());
            std::process::exit(Exit::CouldNotRun as i32);
        }
    }
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
