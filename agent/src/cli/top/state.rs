//! What `top` knows and shows, and what a key or an answer of the agent does to it. No terminal, no clock, no socket.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::{violations::line, why};
use crate::{
    control::{DeviceStatus, Explained, FlowList, InterfaceStatus, Status},
    model::Mode,
};

/// What the agent said at one moment.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Since the screen began.
    pub(super) at: Duration,
    pub(super) status: Status,
    pub(super) devices: Vec<DeviceStatus>,
    /// Of a device; none when it could not be asked for.
    pub(super) flows: Option<(String, FlowList)>,
    /// Records, the newest first.
    pub(super) violations: Vec<Value>,
}

/// What happens.
#[derive(Debug)]
pub(super) enum Input {
    Key(Key),
    Seen(Box<Seen>),
    /// The agent could not be asked.
    Failed(String),
    Explained(Box<Explained>),
    /// What became of a change.
    Done(String),
    /// Why something else could not be done.
    Said(String),
}

/// A key, as far as it means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Up(usize),
    Down(usize),
    Enter,
    Escape,
    Tab,
    Back,
    Quit,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Quit,
    /// Ask again, and for the conversations of a device.
    Look {
        of: Option<String>,
    },
    Explain {
        id: String,
    },
    Change {
        device: String,
        mode: Mode,
    },
    Release {
        device: String,
    },
}

/// Which of the two lists the arrows move in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum List {
    #[default]
    Devices,
    Violations,
}

/// What lies over the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Over {
    #[default]
    Nothing,
    Help,
    /// A question, and what is done if it is answered by yes.
    Confirm {
        question: String,
        act: Act,
    },
    /// Lines, the first so many scrolled away.
    Page {
        lines: Vec<String>,
        from: usize,
    },
    /// The filter is being typed.
    Filter,
}

/// Packets a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) allowed: f64,
    pub(super) denied: f64,
}

/// Packets a second over all interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Total {
    pub(super) seen: f64,
    pub(super) passed: f64,
    pub(super) dropped: f64,
    pub(super) would_drop: f64,
}

/// Everything there is to show.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) seen: Option<Seen>,
    /// By device; empty before the agent was asked twice.
    pub(super) rates: BTreeMap<String, Rates>,
    pub(super) total: Option<Total>,
    pub(super) list: List,
    /// The selected device by its name: others may come and go.
    selected: Option<String>,
    /// The selected violation by its id.
    record: Option<String>,
    pub(super) filter: String,
    pub(super) over: Over,
    /// What was said last.
    pub(super) message: Option<String>,
    /// Why what is shown is old.
    pub(super) failed: Option<String>,
}

/// Traffic of which neither end is a device has no mode and no conversations.
const UNMANAGED: &str = "(unmanaged)";

/// Does what an input asks for; what is left to do outside comes back.
pub(super) fn step(state: &mut State, input: Input) -> Option<Act> {
    match input {
        Input::Key(Key::Quit) => return Some(Act::Quit),
        Input::Key(key) => return pressed(state, key),
        Input::Seen(seen) => state.see(*seen),
        Input::Failed(why) => state.failed = Some(why),
        Input::Explained(explained) => {
            state.over = Over::Page { lines: why::lines(&explained), from: 0 };
        }
        Input::Done(said) | Input::Said(said) => state.message = Some(said),
    }
    None
}

fn pressed(state: &mut State, key: Key) -> Option<Act> {
    match std::mem::take(&mut state.over) {
        Over::Nothing => return command(state, key),
        Over::Help => {}
        Over::Confirm { question: _, act } => {
            if matches!(key, Key::Char('y' | 'Y')) {
                state.message = Some("asked".to_owned());
                return Some(act);
            }
            state.message = Some("nothing was changed".to_owned());
        }
        Over::Page { lines, from } => match key {
            Key::Up(by) => state.over = Over::Page { lines, from: from.saturating_sub(by) },
            Key::Down(by) => {
                let last = lines.len().saturating_sub(1);
                state.over = Over::Page { lines, from: (from + by).min(last) };
            }
            Key::Char(_) | Key::Enter | Key::Escape | Key::Tab | Key::Back | Key::Quit => {}
        },
        Over::Filter => match key {
            Key::Enter => {}
            Key::Escape => state.filter.clear(),
            Key::Char(letter) => {
                state.filter.push(letter);
                state.over = Over::Filter;
            }
            Key::Back => {
                state.filter.pop();
                state.over = Over::Filter;
            }
            Key::Up(_) | Key::Down(_) | Key::Tab | Key::Quit => state.over = Over::Filter,
        },
    }
    None
}

fn command(state: &mut State, key: Key) -> Option<Act> {
    state.message = None;
    match key {
        Key::Char('q') => return Some(Act::Quit),
        Key::Char('?') => state.over = Over::Help,
        Key::Char('/') => state.over = Over::Filter,
        Key::Escape => state.filter.clear(),
        Key::Tab => {
            state.list = match state.list {
                List::Devices => List::Violations,
                List::Violations => List::Devices,
            };
        }
        Key::Up(by) => return state.go(by, usize::saturating_sub),
        Key::Down(by) => return state.go(by, usize::saturating_add),
        Key::Char('w') | Key::Enter => return state.explain(),
        Key::Char('m') => state.confirm(|device, mode| match mode {
            "enforce" => {
                Some((Act::Change { device, mode: Mode::Monitor }, "watch it only, and drop nothing more"))
            }
            "monitor" => {
                Some((Act::Change { device, mode: Mode::Enforce }, "enforce it: drop what is denied"))
            }
            // `release` ends a quarantine.
            _ => None,
        }),
        Key::Char('Q') => state.confirm(|device, mode| {
            let act = Act::Change { device, mode: Mode::Quarantine };
            (mode != "quarantine")
                .then_some((act, "quarantine it: cut it off from all but the remediation peers"))
        }),
        Key::Char('r') => {
            state.confirm(|device, _| {
                Some((Act::Release { device }, "release it: back to its policy's mode"))
            });
        }
        Key::Char(_) | Key::Back | Key::Quit => {}
    }
    None
}

impl State {
    /// The devices that are shown.
    pub(super) fn devices(&self) -> Vec<&DeviceStatus> {
        let all = self.seen.iter().flat_map(|seen| &seen.devices);
        all.filter(|device| self.shows(&words(device))).collect()
    }

    /// The violations that are shown, the newest first.
    pub(super) fn violations(&self) -> Vec<&Value> {
        let all = self.seen.iter().flat_map(|seen| &seen.violations);
        all.filter(|record| self.shows(&line(record))).collect()
    }

    /// The name of the selected device; without a choice the first that is shown.
    pub(super) fn device(&self) -> Option<&str> {
        let at = self.at_device()?;
        Some(self.devices()[at].name.as_str()).filter(|name| *name != UNMANAGED)
    }

    /// Where the selected device is among those shown.
    pub(super) fn at_device(&self) -> Option<usize> {
        let devices = self.devices();
        let selected = devices.iter().position(|device| Some(&device.name) == self.selected.as_ref());
        selected.or(if devices.is_empty() { None } else { Some(0) })
    }

    /// Where the selected violation is among those shown.
    pub(super) fn at_violation(&self) -> Option<usize> {
        let records = self.violations();
        let selected = records.iter().position(|record| id(record) == self.record);
        selected.or(if records.is_empty() { None } else { Some(0) })
    }

    /// The conversations of the selected device, if these are known.
    pub(super) fn flows(&self) -> Option<&FlowList> {
        let (of, flows) = self.seen.as_ref()?.flows.as_ref()?;
        Some(flows).filter(|_| self.device() == Some(of))
    }

    fn shows(&self, text: &str) -> bool {
        self.filter.is_empty() || text.to_lowercase().contains(&self.filter.to_lowercase())
    }

    fn see(&mut self, seen: Seen) {
        self.failed = None;
        if let Some(before) = &self.seen {
            let seconds = seen.at.saturating_sub(before.at).as_secs_f64();
            self.rates = rates(&before.devices, &seen.devices, seconds);
            self.total = Some(total(&before.status.interfaces, &seen.status.interfaces, seconds));
        }
        let flows = self.seen.take().and_then(|before| before.flows);
        let flows = seen.flows.or(flows);
        self.seen = Some(Seen { flows, ..seen });
    }

    /// Moves the selection.
    fn go(&mut self, by: usize, way: fn(usize, usize) -> usize) -> Option<Act> {
        match self.list {
            List::Devices => {
                let to = way(self.at_device()?, by).min(self.devices().len() - 1);
                let name = self.devices()[to].name.clone();
                let is_news = self.device() != Some(&name) && name != UNMANAGED;
                self.selected = Some(name.clone());
                is_news.then_some(Act::Look { of: Some(name) })
            }
            List::Violations => {
                let to = way(self.at_violation()?, by).min(self.violations().len() - 1);
                self.record = id(self.violations()[to]);
                None
            }
        }
    }

    fn explain(&mut self) -> Option<Act> {
        let found = self.at_violation().and_then(|at| id(self.violations()[at]));
        match found {
            Some(id) => Some(Act::Explain { id }),
            None => {
                self.message = Some("there is no violation to explain".to_owned());
                None
            }
        }
    }

    /// Asks before the selected device is changed, if `change` knows how from the mode that it is in.
    fn confirm(&mut self, change: impl FnOnce(String, &str) -> Option<(Act, &'static str)>) {
        let found =
            self.at_device().map(|at| (self.devices()[at].name.clone(), self.devices()[at].mode.clone()));
        let Some((name, mode)) = found.filter(|(name, _)| name != UNMANAGED) else {
            self.message = Some("no device is selected".to_owned());
            return;
        };
        match change(name.clone(), &mode) {
            Some((act, what)) => {
                self.over = Over::Confirm { question: format!("{name} is in {mode}: {what}? (y/n)"), act };
            }
            None => self.message = Some(format!("{name} is in {mode}")),
        }
    }
}

/// `BOOT-SEQ`.
fn id(record: &Value) -> Option<String> {
    Some(format!("{}-{}", record["boot"].as_str()?, record["seq"].as_u64()?))
}

/// What a filter looks at.
fn words(device: &DeviceStatus) -> String {
    let DeviceStatus { name, mode, zone, class, mac, ip, .. } = device;
    let more = [zone.as_deref().unwrap_or_default(), class.as_deref().unwrap_or_default()];
    [&[name.as_str(), mode.as_str()][..], &more, &[&mac.join(" "), &ip.join(" ")]].concat().join(" ")
}

/// A second's part of what was counted in between. Counters that began anew have counted what they show.
fn rate(before: u64, now: u64, seconds: f64) -> f64 {
    let new = if now >= before { now - before } else { now };
    #[allow(clippy::cast_precision_loss, reason = "it is shown with three digits")]
    let new = new as f64;
    if seconds > 0.0 { new / seconds } else { 0.0 }
}

fn rates(before: &[DeviceStatus], now: &[DeviceStatus], seconds: f64) -> BTreeMap<String, Rates> {
    let before: BTreeMap<&str, &DeviceStatus> = before.iter().map(|one| (one.name.as_str(), one)).collect();
    let known = now.iter().filter_map(|one| Some((one, before.get(one.name.as_str())?)));
    known
        .map(|(one, before)| {
            let allowed = rate(before.allowed, one.allowed, seconds);
            (one.name.clone(), Rates { allowed, denied: rate(before.denied, one.denied, seconds) })
        })
        .collect()
}

fn total(before: &[InterfaceStatus], now: &[InterfaceStatus], seconds: f64) -> Total {
    let sum = |of: fn(&InterfaceStatus) -> u64| {
        rate(before.iter().map(of).sum(), now.iter().map(of).sum(), seconds)
    };
    Total {
        seen: sum(|one| one.seen),
        passed: sum(|one| one.passed),
        dropped: sum(|one| one.dropped),
        would_drop: sum(|one| one.would_drop),
    }
}
