//! Which policy is in force, and how the next one is made: texts, plus the modes changed beside them.

use std::path::Path;

use crate::{
    compile::{Limits, Tables, compile},
    diagnostic::{Severity, has_errors, render_text},
    files::{Access, PolicySet, ReadError, pushed_set, read_set, read_trust},
    model::{Mode, Policy},
    policy::{SourceFile, resolve_texts},
    signing::{Requirement, Signed},
    store::Overrides,
};

/// Where a policy came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The configured files.
    Files,
    /// `bulkhead apply PATH`.
    Pushed,
    /// What was in force before the agent started; the files could not be used.
    LastGood,
}

impl Origin {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Pushed => "pushed",
            Self::LastGood => "last-good",
        }
    }
}

/// A policy ready to be applied.
pub(super) struct Candidate {
    pub(super) files: Vec<SourceFile>,
    pub(super) policy: Policy,
    pub(super) tables: Tables,
    /// Rendered warnings.
    pub(super) warnings: String,
}

/// Why there is no candidate.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The files cannot be read.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// There are none.
    #[error("no policy file came along\nhint: name a policy file or a folder with `*.toml` files")]
    NoFiles,
    /// They are wrong; rendered diagnostics.
    #[error("{0}")]
    Invalid(String),
    /// They do not fit.
    #[error(
        "{0}\nhint: raise the limit in the configuration, or let the policy name networks instead of many devices"
    )]
    TooLarge(#[from] crate::compile::TooLarge),
}

/// Reads and prepares the policy at a path.
pub(super) fn from_path(
    path: &Path,
    signing: &Requirement,
    overrides: &Overrides,
    limits: &Limits,
) -> Result<Candidate, Refused> {
    from_set(read_set(path, &read_trust(signing)?, Access::Enforced)?, overrides, limits)
}

/// Prepares a policy that somebody sent, with its signature if it has one.
pub(super) fn from_pushed(
    files: Vec<SourceFile>,
    signing: &Requirement,
    overrides: &Overrides,
    limits: &Limits,
) -> Result<Candidate, Refused> {
    // Nothing is not a policy: it would let everything through.
    if files.is_empty() {
        return Err(Refused::NoFiles);
    }
    from_set(pushed_set(files, &read_trust(signing)?)?, overrides, limits)
}

fn from_set(set: PolicySet, overrides: &Overrides, limits: &Limits) -> Result<Candidate, Refused> {
    let PolicySet { files, digest: _, signed, notes } = set;
    let mut candidate = prepare(files, overrides, limits)?;
    for note in notes {
        candidate.warnings += &format!("warning: {note}\n");
    }
    if let Some(Signed { number, key, comment }) = signed {
        tracing::info!(number, %key, comment, "the policy set is signed");
    }
    Ok(candidate)
}

/// Text to tables.
pub(super) fn prepare(
    files: Vec<SourceFile>,
    overrides: &Overrides,
    limits: &Limits,
) -> Result<Candidate, Refused> {
    // Nothing is not a policy: it would let everything through.
    if files.is_empty() {
        return Err(Refused::NoFiles);
    }
    let outcome = resolve_texts(&files);
    let Some(mut policy) = outcome.policy else {
        return Err(Refused::Invalid(render_text(&outcome.diagnostics, &outcome.sources, false)));
    };
    debug_assert!(!has_errors(&outcome.diagnostics));
    let warnings: Vec<_> =
        outcome.diagnostics.into_iter().filter(|d| matches!(d.severity, Severity::Warning)).collect();
    let warnings =
        if warnings.is_empty() { String::new() } else { render_text(&warnings, &outcome.sources, false) };
    for device in &mut policy.devices {
        if let Some(change) = overrides.devices.get(&device.name) {
            device.mode = change.mode;
        }
    }
    let tables = compile(&policy, limits)?;
    Ok(Candidate { files, policy, tables, warnings })
}

/// Devices whose denied traffic was dropped under `old` and is not under `new`, sorted.
pub(super) fn released(old: &Policy, new: &Policy) -> Vec<String> {
    let enforced = |mode: Mode| match mode {
        Mode::Enforce | Mode::Quarantine => true,
        Mode::Monitor => false,
    };
    let before = old.devices.iter().filter(|device| enforced(device.mode));
    let left = before.filter(|device| !new.device(&device.name).is_some_and(|(_, now)| enforced(now.mode)));
    let mut names: Vec<String> = left.map(|device| device.name.clone()).collect();
    names.sort();
    names
}

/// Longest reason for a change of mode, bytes.
const WHY_BYTES: usize = 512;

/// Whether a person's reason fits a log line and a terminal.
pub(super) fn sayable(why: &str) -> Result<(), String> {
    if why.len() > WHY_BYTES {
        return Err(format!("the reason is {} bytes long, and {WHY_BYTES} are the most", why.len()));
    }
    match why.chars().position(char::is_control) {
        Some(at) => Err(format!("the reason has a control character (character {})", at + 1)),
        None => Ok(()),
    }
}

/// The mode behind a word.
pub(super) fn mode(word: &str) -> Option<Mode> {
    [Mode::Monitor, Mode::Enforce, Mode::Quarantine].into_iter().find(|mode| mode.name() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { devices: 16, rules: 16, rows: 1000 };

    fn candidate(modes: &[(&str, &str)]) -> Candidate {
        let mut text = "version = 1\n".to_owned();
        for (at, (name, mode)) in modes.iter().enumerate() {
            text += &format!("[device.{name}]\nip = \"10.20.1.{}\"\nmode = \"{mode}\"\n", at + 1);
        }
        let files = vec![SourceFile { path: "a.toml".into(), text }];
        prepare(files, &Overrides::default(), &LIMITS).expect("a valid policy")
    }

    #[test]
    fn no_file_is_no_policy() {
        let refused = prepare(Vec::new(), &Overrides::default(), &LIMITS);
        assert!(matches!(refused, Err(Refused::NoFiles)));
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("notes.txt"), "version = 1").expect("there is room");
        let refused = from_path(folder.path(), &Requirement::default(), &Overrides::default(), &LIMITS);
        assert!(matches!(refused, Err(Refused::Read(ReadError::NoPolicy { .. }))));
    }

    #[test]
    fn devices_that_leave_enforcement_are_named() {
        let old =
            candidate(&[("plc", "enforce"), ("hmi", "quarantine"), ("pc", "monitor"), ("nas", "enforce")]);
        let new = candidate(&[("plc", "monitor"), ("pc", "monitor"), ("nas", "enforce")]);
        assert_eq!(released(&old.policy, &new.policy), ["hmi", "plc"]);
        assert!(released(&new.policy, &old.policy).is_empty());
    }

    #[test]
    fn reason_is_one_bounded_line() {
        assert_eq!(sayable("beacons to 203.0.113.9"), Ok(()));
        assert_eq!(sayable(&"x".repeat(512)), Ok(()));
        assert!(sayable(&"x".repeat(513)).is_err_and(|said| said.contains("513 bytes")));
        assert!(sayable("a\nb").is_err_and(|said| said.contains("(character 2)")));
    }
}
