//! Modes set by hand, beside the policy: incident response that survives a restart.

use super::{
    agent::{Agent, refused, user},
    policies::{self, Candidate},
    trail::{Act, sayable},
};
use crate::{
    control::{Applied, Failure},
    model::Mode,
    store::{OVERRIDES, Override, Overrides, Who, audit::Action},
};

impl Agent {
    pub(super) fn change_mode(
        &mut self,
        device: &str,
        mode: &str,
        reason: Option<String>,
        by: &Who,
    ) -> Result<Applied, Failure> {
        let Some(mode) = policies::mode(mode) else {
            return Err(user(format!("`{mode}` is no mode\nhelp: one of monitor, enforce, quarantine")));
        };
        let action = if mode == Mode::Quarantine { Action::Quarantine } else { Action::Mode };
        let target = format!("{device} {}", mode.name());
        let mut act = self.act(action, by, Some(target), reason.clone());
        let (from, before) = (self.mode_of(device), self.overrides.devices.get(device).cloned());
        let mut ended = sayable(reason.as_deref())
            .and_then(|()| self.known_device(device))
            .and_then(|()| self.arm_mode(device, (from, Some(mode)), before.clone(), None))
            .and_then(|()| self.set_mode(&mut act, device, mode, reason, by));
        if let Ok(applied) = &mut ended {
            self.mode_was_set(device, (from, Some(mode)), before, None, applied);
            self.mode_by_hand(device, mode);
        }
        self.conclude(act, ended)
    }

    pub(super) fn set_mode(
        &mut self,
        act: &mut Act,
        device: &str,
        mode: Mode,
        why: Option<String>,
        by: &Who,
    ) -> Result<Applied, Failure> {
        let mut overrides = self.overrides.clone();
        let at = jiff::Timestamp::now().to_string();
        let old = overrides.devices.remove(device);
        // What a quarantine takes the place of comes back with its release.
        let before = match (mode, old) {
            (Mode::Quarantine, Some(old)) if old.mode == Mode::Quarantine => old.before,
            (Mode::Quarantine, Some(old)) => Some(Box::new(Override { before: None, ..old })),
            (Mode::Quarantine, None) | (Mode::Monitor | Mode::Enforce, _) => None,
        };
        let change = Override { mode, by: by.to_string(), at, why: why.clone(), before };
        overrides.devices.insert(device.to_owned(), change);
        let from = self.mode_of(device);
        let mut applied = self.with_overrides(act, overrides)?;
        tracing::warn!(device, mode = mode.name(), %by, why, "mode changed by hand");
        applied.notes.insert(0, format!("{device}: {} -> {}", word(from), mode.name()));
        if from == Some(Mode::Quarantine) && mode != Mode::Quarantine {
            applied.notes.push(format!("the quarantine of `{device}` is lifted"));
        }
        Ok(applied)
    }

    pub(super) fn release(
        &mut self,
        device: &str,
        reason: Option<String>,
        by: &Who,
    ) -> Result<Applied, Failure> {
        let mut act = self.act(Action::Release, by, Some(device.to_owned()), reason.clone());
        let (from, before) = (self.mode_of(device), self.overrides.devices.get(device).cloned());
        let mut ended = sayable(reason.as_deref()).and_then(|()| self.reset_mode(&mut act, device, by));
        if let Ok(applied) = &mut ended {
            self.mode_was_set(device, (from, self.mode_of(device)), before, None, applied);
        }
        self.conclude(act, ended)
    }

    fn reset_mode(&mut self, act: &mut Act, device: &str, by: &Who) -> Result<Applied, Failure> {
        let mut overrides = self.overrides.clone();
        // First what was set by hand: its device may have left the policy since.
        let Some(old) = overrides.devices.remove(device) else {
            self.known_device(device)?;
            return Err(user(format!("`{device}` is in the mode its policy gives it; nothing to release")));
        };
        let by_hand = old.before.clone().map(|before| *before);
        let restored = by_hand.is_some();
        if let Some(before) = by_hand {
            overrides.devices.insert(device.to_owned(), before);
        }
        let from = self.mode_of(device);
        let candidate = self.under(&overrides)?;
        let to = candidate.policy.device(device).map(|(_, device)| device.mode);
        // From monitor by hand into the policy's enforce.
        self.arm_mode(device, (from, to), Some(old), None)?;
        let mut applied = self.flip_under(act, candidate, overrides)?;
        tracing::warn!(device, %by, mode = word(self.mode_of(device)), "released");
        applied.notes.insert(0, format!("{device}: {} -> {}", word(from), word(self.mode_of(device))));
        if restored {
            applied.notes.push(format!(
                "`{device}` is back in the mode set by hand before; another `bulkhead release {device}` returns it to the policy's"
            ));
        }
        Ok(applied)
    }

    pub(super) fn mode_of(&self, device: &str) -> Option<Mode> {
        self.in_force.policy.device(device).map(|(_, device)| device.mode)
    }

    /// Applies the policy in force under other overrides. Whoever cuts a device off must not be stopped by
    /// a full disk: when they cannot be kept, they hold all the same and the answer says for how long.
    pub(super) fn with_overrides(&mut self, act: &mut Act, overrides: Overrides) -> Result<Applied, Failure> {
        let candidate = self.under(&overrides)?;
        self.flip_under(act, candidate, overrides)
    }

    fn under(&mut self, overrides: &Overrides) -> Result<Candidate, Failure> {
        let layers = self.in_force.layers.clone();
        let made = self.maker.prepare(layers, overrides, &self.limits);
        made.map_err(|error| refused(&error, &self.revision()))
    }

    fn flip_under(
        &mut self,
        act: &mut Act,
        candidate: Candidate,
        overrides: Overrides,
    ) -> Result<Applied, Failure> {
        self.begin(act, candidate.tables.revision.to_string())?;
        let (mut applied, _) = self.flip(candidate, self.in_force.origin, self.in_force.from.clone())?;
        self.overrides = overrides;
        match self.store.save(OVERRIDES, &self.overrides) {
            Ok(()) => {
                self.warnings.remove("overrides");
            }
            Err(error) => {
                let note = format!("modes set by hand do not survive a restart of the agent: {error}");
                tracing::error!("{note}");
                applied.notes.push(note.clone());
                self.warnings.insert("overrides", note);
            }
        }
        Ok(applied)
    }

    pub(super) fn known_device(&self, name: &str) -> Result<(), Failure> {
        if self.in_force.policy.device(name).is_some() {
            return Ok(());
        }
        let names = self.in_force.policy.devices.iter().map(|d| d.name.as_str());
        let hint = crate::diagnostic::closest(name, names);
        let hint = hint.map(|h| format!("\nhelp: did you mean `{h}`?")).unwrap_or_default();
        Err(user(format!("unknown device `{name}`{hint}")))
    }
}

/// The word of a mode; `none` for a device that does not exist.
fn word(mode: Option<Mode>) -> &'static str {
    mode.map_or("none", Mode::name)
}
