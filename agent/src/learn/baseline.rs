//! What is known of each device, told: since when, how completely, what is steady, what is odd, what was left out and why.
//!
//! In: what was found, its fates, and when somebody watched. Out: values for a reader and for JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Fate, Found, Habit, Left, Party, Presence, Settings, Talk, Who, fate::is_steady, habit::Week,
    propose::Scope, scan::Scanned,
};
use crate::{
    model::{DeviceId, spelled},
    traffic::{Day, Hours, Unseen, Why},
};

/// As many talks of a device are told of, and as many scans and gaps.
const MOST: usize = 1000;

/// When somebody watched.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// From when to when, seconds since 1970 (UTC), day by day.
    pub times: Vec<(i64, i64)>,
    /// What is known to be missing.
    pub unseen: Vec<Unseen>,
}

/// Everything that is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Baseline {
    /// When the first thing was seen that counts, seconds since 1970 (UTC).
    pub first: Option<i64>,
    /// When the last one was.
    pub last: Option<i64>,
    /// No agent watched within this time: the days are those of which rows were imported.
    pub elsewhere: bool,
    /// On so many days somebody watched,
    pub days: usize,
    /// in so many of the 168 hours of the week.
    pub hours: u32,
    /// What is missing.
    pub gaps: Vec<Gap>,
    /// Gaps beyond those.
    pub more_gaps: usize,
    /// What was left out, by reason.
    pub left: Vec<Tally>,
    /// Who scanned.
    pub scans: Vec<Scan>,
    /// Scans beyond those.
    pub more_scans: usize,
    /// Each device.
    pub devices: Vec<DeviceReport>,
}

/// A time in which something is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Since when, seconds since 1970 (UTC).
    pub from: i64,
    /// Until when.
    pub to: i64,
    /// The word for why.
    pub why: &'static str,
    /// Packets or flows that are known to be missing.
    pub count: u64,
}

/// How much was left out for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// The word for it.
    pub why: &'static str,
    /// The same as a sentence.
    pub text: &'static str,
    /// Talks that are told of below.
    pub talks: u64,
    /// Rows of the history that are told of nowhere else.
    pub rows: u64,
    /// Conversations of both.
    pub flows: u64,
}

/// Who tried many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scan {
    /// A device, or an address.
    pub source: String,
    /// On which day, as in `2026-11-23`.
    pub day: String,
    /// How many partners or ports it tried.
    pub probes: u32,
    /// In which hours of the day (UTC).
    pub hours: Vec<u8>,
}

/// One device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceReport {
    /// Its name.
    pub device: String,
    /// Whether its baseline is complete.
    pub complete: bool,
    /// What it lacks.
    pub missing: Vec<String>,
    /// When it was seen first, seconds since 1970 (UTC).
    pub first: Option<i64>,
    /// When it was seen last.
    pub last: Option<i64>,
    /// On how many days.
    pub days: usize,
    /// In how many of the 168 hours of the week.
    pub hours: u32,
    /// On how many days somebody watched since it was seen first.
    pub watched_days: usize,
    /// In how many of the 168 hours.
    pub watched_hours: u32,
    /// When something new began that counts.
    pub newest: Option<i64>,
    /// For how many days there has been nothing new since.
    pub quiet_days: Option<i64>,
    /// What it does, or what is done to it: first what is learned.
    pub talks: Vec<HabitLine>,
    /// Talks beyond those.
    pub more_talks: usize,
}

/// One talk of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HabitLine {
    /// Who begins.
    pub from: String,
    /// Who answers.
    pub to: String,
    /// Over what, as in `tcp/502`.
    pub service: String,
    /// `learned`, `covered`, `decide` or `left`.
    pub fate: &'static str,
    /// Why, if it is one of the latter two.
    pub why: Vec<&'static str>,
    /// Whether it is seen on most days on which its device is since it began, and on enough of them.
    pub steady: bool,
    /// Conversations that began.
    pub flows: u64,
    /// On how many days.
    pub days: usize,
    /// Of how many on which the device was seen.
    pub of_days: usize,
    /// In how many of the 168 hours of the week.
    pub hours: u32,
    /// Seconds between two conversations.
    pub period: Option<u64>,
    /// The longest silence within one day, s.
    pub pause: u32,
    /// When it was seen first, seconds since 1970 (UTC).
    pub first: i64,
    /// When it was seen last.
    pub last: i64,
    /// Addresses, where one end stands for several: at most 16.
    pub ends: Vec<String>,
}

/// Tells of everybody in scope.
pub fn baseline(
    who: &Who<'_>,
    found: &Found,
    fates: &BTreeMap<Talk, Fate>,
    watch: &Watch,
    scope: Scope,
) -> Baseline {
    let policy = who.policy();
    let watched = Watched::of(watch, found);
    let mut by_device: BTreeMap<DeviceId, Vec<(&Talk, &Fate)>> = BTreeMap::new();
    for (talk, fate) in fates {
        for party in [talk.from, talk.to] {
            if let Party::Device(id) = party {
                by_device.entry(id).or_default().push((talk, fate));
            }
        }
    }
    let is_meant = |id: &DeviceId| match scope {
        Scope::All => true,
        Scope::Device(device) => device == *id,
        Scope::Class(class) => policy.devices[id.0 as usize].class == Some(class),
    };
    let ids = (0..).map(DeviceId).zip(&policy.devices).map(|(id, _)| id).filter(is_meant);
    let devices = ids.map(|id| device(who, found, &watched, id, by_device.remove(&id).unwrap_or_default()));
    let devices = devices.collect();
    let seen = |moment: i64| (!found.seen.days.is_empty()).then_some(moment);
    let mut scans: Vec<Scan> =
        found.scans.all(&found.settings).into_iter().map(|one| scan(who, one)).collect();
    let mut gaps: Vec<Gap> = watch.unseen.iter().map(gap).collect();
    let more = |len: usize| len.saturating_sub(MOST);
    let (more_scans, more_gaps) = (more(scans.len()), more(gaps.len()));
    scans.truncate(MOST);
    // Those that ended last: what is asked of them is what is missing of late.
    gaps.sort_by_key(|gap| (gap.to, gap.from));
    gaps.drain(..more_gaps);
    gaps.sort_by_key(|gap| (gap.from, gap.to));
    Baseline {
        first: seen(found.seen.first),
        last: seen(found.seen.last),
        elsewhere: watch.times.is_empty(),
        days: watched.days.len(),
        hours: watched.week(Day(i32::MIN)).count(),
        gaps,
        more_gaps,
        left: tallies(found, fates),
        scans,
        more_scans,
        devices,
    }
}

fn gap(unseen: &Unseen) -> Gap {
    let Unseen { from, to, why, count } = *unseen;
    Gap { from, to, why: why.name(), count }
}

fn scan(who: &Who<'_>, (source, day, scanned): (super::Source, Day, Scanned)) -> Scan {
    Scan {
        source: source.end.map_or_else(|| who.name(source.party), |end| end.to_string()),
        day: super::propose::day(day.begin()),
        probes: scanned.probes,
        hours: scanned.hours.each().collect(),
    }
}

fn tallies(found: &Found, fates: &BTreeMap<Talk, Fate>) -> Vec<Tally> {
    let mut all: BTreeMap<Left, Tally> = BTreeMap::new();
    let new = |left: Left| Tally { why: left.name(), text: left.text(), talks: 0, rows: 0, flows: 0 };
    for (left, counts) in &found.left {
        let tally = all.entry(*left).or_insert_with(|| new(*left));
        tally.rows += counts.rows;
        tally.flows = tally.flows.saturating_add(counts.flows);
    }
    for (talk, fate) in fates {
        let (Fate::Left(left), Some(habit)) = (fate, found.talks.get(talk)) else { continue };
        let tally = all.entry(*left).or_insert_with(|| new(*left));
        tally.talks += 1;
        tally.flows = tally.flows.saturating_add(habit.flows);
    }
    all.into_values().collect()
}

/// Hours in which somebody watched.
struct Watched {
    days: BTreeMap<Day, Hours>,
    /// When the last of them ended.
    end: i64,
    /// Flows that are missing, and until when they were.
    lost: Option<i64>,
}

impl Watched {
    fn of(watch: &Watch, found: &Found) -> Self {
        let span = found.settings.span;
        let mut days: BTreeMap<Day, Hours> = BTreeMap::new();
        let mut each = |from: i64, to: i64, change: &dyn Fn(Hours, Hours) -> Hours| {
            let (from, to) = (from.max(span.since), to.min(span.until));
            if from > to {
                return;
            }
            let last = Day::of(to).0.min(Day::of(from).0.saturating_add(4000));
            for day in (Day::of(from).0..=last).map(Day) {
                let there = days.get(&day).copied().unwrap_or_default();
                days.insert(day, change(there, Hours::between(day, from, to)));
            }
        };
        for (from, to) in &watch.times {
            each(*from, *to, &|there, more| there | more);
        }
        for gap in watch.unseen.iter().filter(|gap| gap.why == Why::Stopped) {
            each(gap.from, gap.to, &|there, less| Hours::from_bits(there.bits() & !less.bits()));
        }
        days.retain(|_, hours| hours.count() > 0);
        // Rows from elsewhere say when something happened, and not when nothing did. Whoever watched here and was cut off in each of
        // his hours has watched none of them.
        let is_within = |(from, to): &(i64, i64)| (*from).max(span.since) <= (*to).min(span.until);
        if !watch.times.iter().any(is_within) {
            days = found.seen.days.iter().map(|day| (*day, Hours::ALL)).collect();
            days.entry(Day::of(found.seen.first)).and_modify(|hours| {
                *hours = Hours::between(Day::of(found.seen.first), found.seen.first, i64::MAX)
            });
        }
        let ends = watch.times.iter().map(|(_, to)| *to).max().unwrap_or(i64::MIN);
        let end =
            ends.max(if found.seen.days.is_empty() { i64::MIN } else { found.seen.last }).min(span.until);
        let lost = watch.unseen.iter().filter(|gap| gap.why != Why::Stopped && gap.to >= span.since);
        Self { days, end, lost: lost.map(|gap| gap.to).max() }
    }

    /// Hours of the week from a day on.
    fn week(&self, since: Day) -> Week {
        let mut week = Week::default();
        self.days.range(since..).for_each(|(day, hours)| week.add(*day, *hours));
        week
    }
}

fn device(
    who: &Who<'_>,
    found: &Found,
    watched: &Watched,
    id: DeviceId,
    talks: Vec<(&Talk, &Fate)>,
) -> DeviceReport {
    let settings = &found.settings;
    let name = who.name(Party::Device(id));
    let presence = found.devices.get(&id);
    let since = presence.and_then(|presence| presence.days.first().copied());
    let (watched_days, watched_hours) = match since {
        Some(since) => (watched.days.range(since..).count(), watched.week(since).count()),
        None => (0, 0),
    };
    let habit = |talk: &Talk| found.talks.get(talk).or_else(|| found.in_scans.get(talk));
    let counts = talks.iter().filter(|(_, fate)| !matches!(fate, Fate::Left(_)));
    let newest = counts.filter_map(|(talk, _)| Some(habit(talk)?.first)).max();
    let quiet_days = newest.map(|newest| watched.end.saturating_sub(newest).max(0) / 86_400);
    let missing = lacks(settings, presence, watched, (watched_days, watched_hours, quiet_days));
    let of_days = presence.map_or(0, |presence| presence.days.len());
    let mut lines: Vec<(u8, &Talk, &Fate, &Habit)> =
        talks.into_iter().filter_map(|(talk, fate)| Some((rank(fate), talk, fate, habit(talk)?))).collect();
    lines.sort_by_key(|(rank, talk, ..)| (*rank, **talk));
    let more_talks = lines.len().saturating_sub(MOST);
    let talks = lines
        .into_iter()
        .take(MOST)
        .map(|(_, talk, fate, habit)| line(who, talk, fate, habit, of_days, found));
    DeviceReport {
        device: name,
        complete: missing.is_empty(),
        missing,
        first: presence.map(|presence| presence.first),
        last: presence.map(|presence| presence.last),
        days: of_days,
        hours: presence.map_or(0, |presence| presence.week.count()),
        watched_days,
        watched_hours,
        newest,
        quiet_days,
        talks: talks.collect(),
        more_talks,
    }
}

fn lacks(
    settings: &Settings,
    presence: Option<&Presence>,
    watched: &Watched,
    (days, hours, quiet): (usize, u32, Option<i64>),
) -> Vec<String> {
    if presence.is_none() {
        return vec!["it was never seen".to_owned()];
    }
    let mut missing = Vec::new();
    let Settings { complete_days, complete_hours, quiet_days, .. } = *settings;
    if (days as u64) < u64::from(complete_days) {
        missing.push(format!("watched on {days} of {complete_days} days"));
    }
    if hours < complete_hours {
        missing.push(format!("watched in {hours} of {complete_hours} hours of the week"));
    }
    match quiet {
        Some(quiet) if quiet < i64::from(quiet_days) => {
            missing.push(format!("something new {quiet} days ago, and it takes {quiet_days} without"));
        }
        Some(_) => {}
        None => missing.push("nothing that counts was seen".to_owned()),
    }
    let recent = watched.end.saturating_sub(i64::from(quiet_days) * 86_400);
    if watched.lost.is_some_and(|until| until >= recent) {
        missing.push(format!("flows are missing within the last {quiet_days} days"));
    }
    missing
}

fn rank(fate: &Fate) -> u8 {
    match fate {
        Fate::Learned => 0,
        Fate::Covered => 1,
        Fate::Decide(_) => 2,
        Fate::Left(_) => 3,
    }
}

fn line(who: &Who<'_>, talk: &Talk, fate: &Fate, habit: &Habit, of_days: usize, found: &Found) -> HabitLine {
    let (word, why) = match fate {
        Fate::Learned => ("learned", Vec::new()),
        Fate::Covered => ("covered", Vec::new()),
        Fate::Decide(doubts) => ("decide", doubts.iter().map(|doubt| doubt.name()).collect()),
        Fate::Left(left) => ("left", vec![left.name()]),
    };
    let days = habit.days.len();
    HabitLine {
        from: who.name(talk.from),
        to: who.name(talk.to),
        service: spelled(talk.service.selector()),
        fate: word,
        why,
        steady: is_steady(found, talk, habit),
        flows: habit.flows,
        days,
        of_days,
        hours: habit.week.count(),
        period: habit.period(),
        pause: habit.pause,
        first: habit.first,
        last: habit.last,
        ends: habit.ends.iter().map(ToString::to_string).collect(),
    }
}
