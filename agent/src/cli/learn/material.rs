//! What is needed to learn: the policy, the history, where the agent runs. In: options. Out: talks with their fates.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use ipnet::IpNet;
use jiff::{SignedDuration, Span as Time, SpanRelativeTo, Timestamp, civil::Date, tz::TimeZone};

use crate::{
    cli::{Cli, check::files_of, history, own, print},
    compile::{Field, Placed},
    config,
    diagnostic::{closest, escape, quote, render_text},
    history::Reader,
    learn::{
        First, Judge, Settings, Span, Surroundings, Watch, Who, fates,
        propose::{Material, Scope},
    },
    model::{ClassId, Policy},
    policy::{SourceFile, resolve_texts},
    traffic::Day,
};

/// What is looked at, and by which thresholds.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Asked {
    /// One device, or `class:NAME`; default: all of them
    #[arg(value_name = "DEVICE|class:NAME")]
    subject: Option<String>,
    /// The policy that says who is who: a file or folder; default: the folder the agent is configured with
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) policy: Option<PathBuf>,
    /// What was seen; default: the history in the agent's state directory
    #[arg(long, alias = "file", value_name = "FILE")]
    history_file: Option<PathBuf>,
    /// Look at nothing before: a day (2026-11-01), a time (2026-11-01T08:00:00Z), or so long ago (14d). UTC
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<i64>,
    /// Look at nothing after: likewise; a day is part of it
    #[arg(long, value_name = "TIME", value_parser = until)]
    until: Option<i64>,
    /// Learn what was seen on so many days
    #[arg(long, value_name = "N", default_value_t = Settings::default().days, value_parser = clap::value_parser!(u32).range(1..))]
    min_days: u32,
    /// Learn what began so many times, or went on in as many hours as --min-hours says
    #[arg(long, value_name = "N", default_value_t = Settings::default().flows, value_parser = clap::value_parser!(u64).range(1..))]
    min_flows: u64,
    /// Learn what began less often and went on in so many different hours
    #[arg(long, value_name = "N", default_value_t = Settings::default().hours, value_parser = clap::value_parser!(u32).range(1..))]
    min_hours: u32,
    /// So many partners or ports that one source tries on one day are a scan
    #[arg(long, value_name = "N", default_value_t = Settings::default().fan_out, value_parser = clap::value_parser!(u32).range(2..))]
    fan_out: u32,
    /// An address of the gateway, with its prefix if what goes to everybody there is to be known; default: those of this machine, unless
    /// --history-file names a history from elsewhere
    #[arg(long, value_name = "ADDRESS[/PREFIX]", value_parser = own::address)]
    gateway: Vec<IpNet>,
}

/// A policy and a history, opened.
pub(in crate::cli) struct Ground {
    pub(in crate::cli) files: Vec<SourceFile>,
    policy: Policy,
    reader: Reader,
    scope: Scope,
    settings: Settings,
    pub(in crate::cli) surroundings: Surroundings,
    pub(in crate::cli) now: Timestamp,
}

/// What was learned.
pub(in crate::cli) struct Learned<'a> {
    pub(in crate::cli) material: Material<'a>,
    pub(in crate::cli) watch: &'a Watch,
    pub(in crate::cli) scope: Scope,
}

impl Ground {
    /// Reads the policy and opens the history; `None` when the policy is wrong, or who is asked about is not in it: that was printed.
    pub(in crate::cli) fn read(cli: &Cli, asked: &Asked) -> anyhow::Result<Option<Self>> {
        let config = if cli.config.exists() { Some(cli.config()?) } else { None };
        let path = match (&asked.policy, &config) {
            (Some(path), _) => path.clone(),
            (None, Some(config)) => config.policy.clone(),
            (None, None) => PathBuf::from("/etc/bulkhead/policy.d"),
        };
        let files = files_of(&path)?;
        let outcome = resolve_texts(&files);
        let Some(policy) = outcome.policy else {
            print::rendered(&render_text(&outcome.diagnostics, &outcome.sources, false));
            return Ok(None);
        };
        let Some(scope) = scope(&policy, asked.subject.as_deref()) else { return Ok(None) };
        let file = match (&asked.history_file, &config) {
            (Some(file), _) => file.clone(),
            (None, Some(config)) => history::file_of(config),
            (None, None) => config::History::below(Path::new("/var/lib/bulkhead")).file,
        };
        let reader = Reader::open(&file).map_err(history::helped)?;
        let mut surroundings = config.as_ref().map(around).unwrap_or_default();
        let is_here = asked.history_file.is_none();
        (surroundings.placed.gateway, surroundings.placed.broadcasts) =
            own::addresses(&asked.gateway, is_here)?;
        let now = Timestamp::now();
        // What was noted while the clock was ahead has not happened yet.
        let until = asked.until.unwrap_or(i64::MAX).min(now.as_second());
        let span = Span { since: asked.since.unwrap_or(i64::MIN), until };
        if span.since > span.until {
            bail!("--since is later than --until: there is no time between them");
        }
        let settings = Settings {
            span,
            days: asked.min_days,
            flows: asked.min_flows,
            hours: asked.min_hours,
            fan_out: asked.fan_out,
            ..Settings::default()
        };
        Ok(Some(Self { files, policy, reader, scope, settings, surroundings, now }))
    }

    /// The same of a policy that is at hand, for all devices and with the thresholds as they are by default.
    pub(in crate::cli) fn of(config: &config::Config, policy: Policy, file: &Path) -> anyhow::Result<Self> {
        let reader = Reader::open(file).map_err(history::helped)?;
        let mut surroundings = around(config);
        (surroundings.placed.gateway, surroundings.placed.broadcasts) = own::addresses(&[], true)?;
        let now = Timestamp::now();
        // What was noted while the clock was ahead has not happened yet.
        let span = Span { since: i64::MIN, until: now.as_second() };
        let settings = Settings { span, ..Settings::default() };
        Ok(Self { files: Vec::new(), policy, reader, scope: Scope::All, settings, surroundings, now })
    }

    /// The policy that says who is who.
    pub(in crate::cli) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whom it is about.
    pub(in crate::cli) fn scope(&self) -> Scope {
        self.scope
    }

    /// Reads the history twice and gives what was learned to `then`.
    pub(in crate::cli) fn learn<T>(&self, then: impl FnOnce(&Learned<'_>) -> T) -> anyhow::Result<T> {
        let Self { policy, reader, settings, surroundings, now, .. } = self;
        let who = Who::new(policy, &surroundings.placed);
        let day = |moment: i64| Day::of(moment);
        // A row of a day may go on from the day before.
        let days = day(settings.span.since)..=day(settings.span.until);
        // Both readings are of the same rows, whatever an agent adds between them.
        let moment = reader.moment().map_err(history::helped)?;
        let mut first = First::new(&who, *settings);
        reader.rows(days.clone(), |row| go_on(|| first.read(&row))).map_err(history::helped)?;
        let mut second = first.again();
        reader.rows(days, |row| go_on(|| second.read(&row))).map_err(history::helped)?;
        let found = second.found();
        let times = reader.days().map_err(history::helped)?.into_iter().filter_map(|kept| kept.watched);
        // Nor was it watched.
        let times = times.map(|watched| (watched.from, watched.to.min(settings.span.until)));
        let times = times.filter(|(from, to)| from <= to).collect();
        let mut unseen = reader.unseen().map_err(history::helped)?;
        // An agent cannot shorten its log as long as somebody reads: what follows takes longer.
        drop(moment);
        unseen.retain(|gap| gap.from <= settings.span.until && gap.to >= settings.span.since);
        let watch = Watch { times, unseen };
        let judge = Judge::new(policy, surroundings.clone(), *now).context("failed to compile the policy")?;
        let fates = fates(policy, &found, &judge);
        let material = Material { who: &who, found: &found, fates: &fates };
        Ok(then(&Learned { material, watch: &watch, scope: self.scope }))
    }
}

/// Where the agent of a configuration stands.
fn around(config: &config::Config) -> Surroundings {
    let (segments, trusted) = (config.segment_ids(), config.trusted_hosts());
    let placed = config.management.pin(Placed { segments, trusted, ..Placed::default() });
    Surroundings { placed, field: Field::of(config.rows(), Surroundings::any_segment()) }
}

fn go_on(read: impl FnOnce()) -> ControlFlow<()> {
    read();
    ControlFlow::Continue(())
}

/// Whom a word means; `None` when nobody, which was said.
fn scope(policy: &Policy, subject: Option<&str>) -> Option<Scope> {
    let Some(subject) = subject else { return Some(Scope::All) };
    if let Some(name) = subject.strip_prefix("class:") {
        let at = policy.classes.iter().position(|class| class.name == name);
        if let Some(id) = at.and_then(|at| u32::try_from(at).ok()) {
            return Some(Scope::Class(ClassId(id)));
        }
        missing("class", name, policy.classes.iter().map(|class| class.name.as_str()), "class:");
        return None;
    }
    if let Some((id, _)) = policy.device(subject) {
        return Some(Scope::Device(id));
    }
    missing("device", subject, policy.devices.iter().map(|device| device.name.as_str()), "");
    None
}

fn missing<'n>(kind: &str, name: &str, names: impl Iterator<Item = &'n str>, prefix: &str) {
    let hint = closest(name, names).map(|meant| format!("\nhint: did you mean `{prefix}{meant}`?"));
    say!("error: the policy has no {kind} {}{}", escape(&quote(name)), hint.unwrap_or_default());
}

fn since(text: &str) -> Result<i64, String> {
    begin(text).map(Timestamp::as_second)
}

fn until(text: &str) -> Result<i64, String> {
    end(text).map(Timestamp::as_second)
}

/// A day's first moment, a time, or so long ago.
pub(in crate::cli) fn begin(text: &str) -> Result<Timestamp, String> {
    moment(text, false)
}

/// A day's last moment, a time, or so long ago.
pub(in crate::cli) fn end(text: &str) -> Result<Timestamp, String> {
    moment(text, true)
}

fn moment(text: &str, last: bool) -> Result<Timestamp, String> {
    if let Ok(day) = text.parse::<Date>().map(|date| date.to_zoned(TimeZone::UTC)) {
        let begin = day.map_err(|error| error.to_string())?.timestamp();
        let whole = SignedDuration::new(86_399, 999_999_999);
        return if last { begin.checked_add(whole).map_err(|error| error.to_string()) } else { Ok(begin) };
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let wrong = || "write a day, a time with its offset, or how long ago, as in `2026-11-01`, `2026-11-01T08:00:00Z`, `14d`";
    let ago: Time = text.parse().map_err(|_| wrong())?;
    let ago = ago.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Timestamp::now().checked_sub(ago.abs()).map_err(|_| wrong().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{History, Limits};

    #[test]
    fn history_is_not_held_while_something_is_made_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("history.db");
        History::open(&path, Limits { bytes: 1 << 20, days: 4 }).expect("a history");
        let text = "version = 1\n[device.plc]\nip = \"10.1.0.1\"\n".to_owned();
        let files = vec![SourceFile { path: "plant.toml".into(), text }];
        let policy = resolve_texts(&files).policy.expect("it is valid");
        let ground = Ground {
            files,
            policy,
            reader: Reader::open(&path).expect("a history"),
            scope: Scope::All,
            settings: Settings::default(),
            surroundings: Surroundings::default(),
            now: Timestamp::now(),
        };
        // There may be one moment at a time.
        let is_free = ground.learn(|_| ground.reader.moment().is_ok()).expect("an empty history");
        assert!(is_free);
    }
}
