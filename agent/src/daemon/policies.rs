//! Which policy is in force, and how the next one is made: texts, plus the modes changed beside them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::agent::InForce;
use crate::{
    compile::{Limits, Tables, compile},
    diagnostic::{Diagnostic, Sources, has_errors, render_text, sort},
    files::{Access, PolicySet, ReadError, pushed_set, read_set, read_trust},
    lint::{fill, lint, nearly_full},
    model::{Mode, Policy},
    policy::{Memo, SourceFile},
    rollout::{NotApart, known, only},
    signing::{Accepted, Digest, Requirement, Signed, Trust},
    store::{Overrides, TextLayer},
};

/// Where a policy came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The configured files.
    Files,
    /// `bulkhead apply PATH`.
    Pushed,
}

impl Origin {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Pushed => "pushed",
        }
    }

    /// The origin of a kept revision.
    pub(super) fn named(name: &str) -> Self {
        if name == "pushed" { Self::Pushed } else { Self::Files }
    }
}

/// A policy ready to be applied.
pub(super) struct Candidate {
    pub(super) layers: Vec<TextLayer>,
    pub(super) policy: Policy,
    pub(super) tables: Tables,
    pub(super) doubts: Doubts,
}

/// What to tell about a policy that can be enforced. It takes as long to find out as to compile, and enforcement does not
/// wait for it.
#[derive(Default)]
pub(super) struct Doubts {
    /// What passing the gate left to say: a line each.
    notes: String,
    /// What resolving and compiling it found.
    found: Vec<Diagnostic>,
    sources: Sources,
    /// The policy that the texts mean, where it is not the one in force: that of the newest of several layers.
    newest: Option<Policy>,
}

impl Doubts {
    pub(super) fn note(&mut self, notes: &str) {
        self.notes += notes;
    }

    pub(super) fn add(&mut self, warnings: Vec<Diagnostic>) {
        self.found.extend(warnings);
    }

    /// The policy that the texts mean; `policy` is what would be enforced.
    pub(super) fn of<'p>(&'p self, policy: &'p Policy) -> &'p Policy {
        self.newest.as_ref().unwrap_or(policy)
    }

    /// Refuses the texts for what only the gateway knows of them.
    pub(super) fn refuse(&self, errors: &[Diagnostic]) -> Refused {
        Refused::Invalid(render_text(errors, &self.sources, false))
    }

    /// Rendered warnings about the texts; `policy` is what is enforced.
    pub(super) fn told(self, policy: &Policy) -> String {
        let doubts = lint(self.of(policy), Timestamp::now());
        let Self { notes, found, sources, newest: _ } = self;
        let mut warnings: Vec<_> = found.into_iter().chain(doubts).collect();
        sort(&mut warnings);
        let warnings =
            if warnings.is_empty() { String::new() } else { render_text(&warnings, &sources, false) };
        warnings + &notes
    }
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
    /// They cannot be for some devices only.
    #[error("{0}")]
    NotApart(#[from] NotApart),
    /// Too many policies would be in force together.
    #[error(
        "{MAX_LAYERS} policies are in force together, and no more can be\nhint: `bulkhead apply` enforces one for all devices"
    )]
    TooMany,
    /// They do not fit.
    #[error(
        "{0}\nhint: raise the limit in the configuration, or let the policy name networks instead of many devices"
    )]
    TooLarge(#[from] crate::compile::TooLarge),
}

impl Refused {
    /// Why, in one line: of what is wrong in the texts `bulkhead check` tells, of anything else it may know nothing.
    pub(super) fn brief(&self) -> String {
        match self {
            Self::Invalid(_) => "see `bulkhead check`".to_owned(),
            Self::Read(_) | Self::NoFiles | Self::NotApart(_) | Self::TooMany | Self::TooLarge(_) => {
                one_line(&self.to_string())
            }
        }
    }

    /// Whether nobody could have applied these files.
    pub(super) fn is_of_the_files(&self) -> bool {
        match self {
            Self::Read(_) | Self::NoFiles | Self::Invalid(_) | Self::TooLarge(_) => true,
            Self::NotApart(_) | Self::TooMany => false,
        }
    }
}

/// Lines as one, for a page of many warnings.
pub(super) fn one_line(text: &str) -> String {
    text.trim_end().lines().collect::<Vec<_>>().join("; ")
}

/// What decides whether files may become a policy, whatever they say.
pub(super) struct Gate<'a> {
    pub(super) signing: &'a Requirement,
    /// The newest signed set that was in force.
    pub(super) accepted: Option<Accepted>,
    /// The signed set in force: it may be applied again, however old it is.
    pub(super) in_force: Option<Digest>,
    /// Whether an older one may be.
    pub(super) allow_older: bool,
}

impl Gate<'_> {
    fn trust(&self) -> Result<Trust, ReadError> {
        let trust = read_trust(self.signing)?;
        let Self { signing: _, accepted, in_force, allow_older } = *self;
        Ok(Trust { at_least: accepted, in_force, allow_older, ..trust })
    }
}

/// Files that passed the gate.
#[derive(Default)]
pub(super) struct Passed {
    pub(super) files: Vec<SourceFile>,
    /// The set, if it is signed.
    pub(super) signed: Option<Signed>,
    pub(super) accepted: Option<Accepted>,
    /// What a person should know of it: a line each.
    pub(super) notes: String,
}

impl From<PolicySet> for Passed {
    fn from(set: PolicySet) -> Self {
        let accepted = set.accepted();
        let PolicySet { files, digest: _, signed, notes } = set;
        let notes = notes.iter().map(|note| format!("warning: {note}\n")).collect();
        Self { files, signed, accepted, notes }
    }
}

/// Reads the policy at a path.
pub(super) fn from_path(path: &Path, gate: &Gate<'_>) -> Result<Passed, Refused> {
    Ok(read_set(path, &gate.trust()?, Access::Enforced)?.into())
}

/// A policy that somebody sent, with its signature if it has one.
pub(super) fn from_pushed(files: Vec<SourceFile>, gate: &Gate<'_>) -> Result<Passed, Refused> {
    // Nothing is not a policy: it would let everything through.
    if files.is_empty() {
        return Err(Refused::NoFiles);
    }
    Ok(pushed_set(files, &gate.trust()?)?.into())
}

/// Files that are for all devices.
pub(super) fn whole(mut files: Vec<SourceFile>) -> Vec<TextLayer> {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    vec![TextLayer { only: Vec::new(), files }]
}

/// Text to tables, for whoever does it once.
pub(super) fn prepare(
    layers: Vec<TextLayer>,
    overrides: &Overrides,
    limits: &Limits,
) -> Result<Candidate, Refused> {
    Maker::default().prepare(layers, overrides, limits)
}

/// The policy that texts mean, with modes set by hand (by device, as words) beside it.
///
/// # Errors
/// Rendered findings, when the texts mean none.
pub fn policy_of(layers: &[TextLayer], by_hand: &BTreeMap<String, String>) -> Result<Policy, String> {
    let (mut policy, _) = Maker::default().resolve(layers).map_err(|error| error.to_string())?;
    for device in &mut policy.devices {
        if let Some(mode) = by_hand.get(&device.name).and_then(|word| mode(word)) {
            device.mode = mode;
        }
    }
    Ok(policy)
}

/// Makes candidates, and remembers what it read: the next change has most of it again.
#[derive(Default)]
pub(super) struct Maker {
    /// Of the files that are for all devices.
    memo: Memo,
    /// How long the last candidate took.
    pub(super) took: Took,
}

/// How long text takes to become tables.
#[derive(Clone, Copy, Default)]
pub(super) struct Took {
    pub(super) resolve: Duration,
    pub(super) compile: Duration,
}

impl Maker {
    /// Text to tables.
    pub(super) fn prepare(
        &mut self,
        layers: Vec<TextLayer>,
        overrides: &Overrides,
        limits: &Limits,
    ) -> Result<Candidate, Refused> {
        let begun = Instant::now();
        let (mut policy, mut doubts) = self.resolve(&layers)?;
        for device in &mut policy.devices {
            if let Some(change) = overrides.devices.get(&device.name) {
                device.mode = change.mode;
            }
        }
        let resolve = begun.elapsed();
        let tables = compile(&policy, limits)?;
        doubts.found.extend(nearly_full(&fill(&tables, limits)));
        self.took = Took { resolve, compile: begun.elapsed() - resolve };
        Ok(Candidate { layers, policy, tables, doubts })
    }

    /// The policy of all layers together, and what to tell about the newest.
    fn resolve(&mut self, layers: &[TextLayer]) -> Result<(Policy, Doubts), Refused> {
        let [base, later @ ..] = layers else { return Err(Refused::NoFiles) };
        let mut resolved = resolve_layer(base, &mut self.memo)?;
        for layer in later {
            // What is in force together does not stay for long.
            let (new, doubts) = resolve_layer(layer, &mut Memo::default())?;
            let named = layer.only.iter().cloned().collect();
            resolved = (only(&resolved.0, &new, &named)?, Doubts { newest: Some(new), ..doubts });
        }
        Ok(resolved)
    }
}

fn resolve_layer(layer: &TextLayer, memo: &mut Memo) -> Result<(Policy, Doubts), Refused> {
    // Nothing is not a policy: it would let everything through.
    if layer.files.is_empty() {
        return Err(Refused::NoFiles);
    }
    let outcome = memo.resolve_texts(&layer.files);
    let Some(policy) = outcome.policy else {
        return Err(Refused::Invalid(render_text(&outcome.diagnostics, &outcome.sources, false)));
    };
    debug_assert!(!has_errors(&outcome.diagnostics));
    Ok((policy, Doubts { found: outcome.diagnostics, sources: outcome.sources, ..Doubts::default() }))
}

/// Most policies that are in force together, each for some devices.
const MAX_LAYERS: usize = 8;

/// The layers in force with a new policy on top, for some devices only. Devices that follow one by one to the same files
/// make no layer each, and once all have it, it is the whole policy.
pub(super) fn on_top(in_force: &InForce, whole: &Policy, new: TextLayer) -> Result<Vec<TextLayer>, Refused> {
    let TextLayer { only, files } = new;
    let mut only: BTreeSet<String> = only.into_iter().collect();
    // A name that nobody has is a slip, whatever is in force.
    known(&in_force.policy, whole, &only)?;
    let mut layers = in_force.layers.clone();
    if let [base] = &layers[..]
        && base.files == files
    {
        return Ok(layers);
    }
    if layers.len() > 1 && layers.last().is_some_and(|last| last.files == files) {
        only.extend(layers.pop().into_iter().flat_map(|last| last.only));
    }
    let all = in_force.policy.devices.iter().chain(&whole.devices);
    if all.into_iter().all(|device| only.contains(&device.name)) {
        return Ok(vec![TextLayer { only: Vec::new(), files }]);
    }
    layers.push(TextLayer { only: only.into_iter().collect(), files });
    if layers.len() > MAX_LAYERS {
        return Err(Refused::TooMany);
    }
    Ok(layers)
}

/// Frees what is large while others go on: nobody should wait for it.
pub(super) fn leave<T: Send + 'static>(large: T) {
    // Without a thread it ends here, a moment later.
    let _ = std::thread::Builder::new().name("free".to_owned()).spawn(move || drop(large));
}

/// Devices whose denied traffic was dropped under `old` and is not under `new`, sorted.
pub(super) fn released(old: &Policy, new: &Policy) -> Vec<String> {
    let before = old.devices.iter().filter(|device| device.mode.enforces());
    let left = before.filter(|device| !new.device(&device.name).is_some_and(|(_, now)| now.mode.enforces()));
    let mut names: Vec<String> = left.map(|device| device.name.clone()).collect();
    names.sort();
    names
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
        prepare(whole(files), &Overrides::default(), &LIMITS).expect("a valid policy")
    }

    #[test]
    fn no_file_is_no_policy() {
        let refused = prepare(whole(Vec::new()), &Overrides::default(), &LIMITS);
        assert!(matches!(refused, Err(Refused::NoFiles)));
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("notes.txt"), "version = 1").expect("there is room");
        let refused = from_path(
            folder.path(),
            &Gate { signing: &Requirement::default(), accepted: None, in_force: None, allow_older: false },
        );
        assert!(matches!(refused, Err(Refused::Read(ReadError::NoPolicy { .. }))));
    }

    #[test]
    fn a_policy_for_some_devices_lies_on_top_until_all_have_it() {
        let base = candidate(&[("plc", "monitor"), ("hmi", "monitor"), ("nas", "monitor")]);
        let new = candidate(&[("plc", "enforce"), ("hmi", "enforce"), ("nas", "enforce")]);
        let mut in_force = InForce {
            layers: base.layers,
            policy: base.policy,
            origin: Origin::Files,
            from: "/etc/bulkhead/policy.d".into(),
        };
        let new_layers = new.layers.clone();
        let mut step = |only: &[&str], expected: &[(&str, &str)]| {
            let only = only.iter().map(|name| (*name).to_owned()).collect();
            let files = new.layers[0].files.clone();
            let layers = on_top(&in_force, &new.policy, TextLayer { only, files }).expect("there is room");
            let made = prepare(layers, &Overrides::default(), &LIMITS).expect("a valid policy");
            let modes: Vec<(&str, &str)> =
                made.policy.devices.iter().map(|d| (d.name.as_str(), d.mode.name())).collect();
            assert_eq!(modes, expected);
            in_force.policy = made.policy.clone();
            in_force.layers = made.layers.clone();
            made.layers
        };
        let [hmi, nas, plc] = ["hmi", "nas", "plc"];
        assert_eq!(step(&["plc"], &[(hmi, "monitor"), (nas, "monitor"), (plc, "enforce")]).len(), 2);
        assert_eq!(step(&["nas"], &[(hmi, "monitor"), (nas, "enforce"), (plc, "enforce")]).len(), 2);
        assert_eq!(step(&["hmi"], &[(hmi, "enforce"), (nas, "enforce"), (plc, "enforce")]), new_layers);
        assert_eq!(step(&["hmi"], &[(hmi, "enforce"), (nas, "enforce"), (plc, "enforce")]), new_layers);
        // A slip is one although the files are in force already.
        let slip = TextLayer { only: vec!["hni".into()], files: new_layers[0].files.clone() };
        let refused = on_top(&in_force, &new.policy, slip).err().map(|error| error.to_string());
        assert_eq!(refused.as_deref(), Some("unknown device `hni`\nhelp: did you mean `hmi`?"));
    }

    #[test]
    fn policies_in_force_together_are_bounded() {
        let base = candidate(&[("plc", "monitor"), ("hmi", "monitor")]);
        let layer = |number: usize| {
            let text = format!("version = 1\n# {number}\n[device.plc]\nip = \"10.20.1.1\"\n");
            TextLayer { only: vec!["plc".into()], files: vec![SourceFile { path: "a.toml".into(), text }] }
        };
        let whole = base.policy.clone();
        let mut in_force =
            InForce { layers: base.layers, policy: base.policy, origin: Origin::Pushed, from: "-".into() };
        for number in 1..MAX_LAYERS {
            in_force.layers = on_top(&in_force, &whole, layer(number)).expect("there is room");
        }
        assert_eq!(in_force.layers.len(), MAX_LAYERS);
        assert!(matches!(on_top(&in_force, &whole, layer(0)), Err(Refused::TooMany)));
    }

    #[test]
    fn whoever_applies_a_policy_that_nearly_fills_the_tables_is_told() {
        let of = |devices: u32| {
            let text: String =
                (0..devices).map(|n| format!("[device.d{n}]\nip = \"10.20.1.{n}\"\n")).collect();
            let files = vec![SourceFile { path: "a.toml".into(), text: format!("version = 1\n{text}") }];
            let made = prepare(whole(files), &Overrides::default(), &LIMITS).expect("it fits");
            made.doubts.told(&made.policy).contains("BH0514")
        };
        assert_eq!([of(8), of(16)], [false, true]);
    }

    #[test]
    fn devices_that_leave_enforcement_are_named() {
        let old =
            candidate(&[("plc", "enforce"), ("hmi", "quarantine"), ("pc", "monitor"), ("nas", "enforce")]);
        let new = candidate(&[("plc", "monitor"), ("pc", "monitor"), ("nas", "enforce")]);
        assert_eq!(released(&old.policy, &new.policy), ["hmi", "plc"]);
        assert!(released(&new.policy, &old.policy).is_empty());
    }
}
