//! `bulkhead learn`: the baseline of each device, as the history has it.

use super::{Cli, Exit, Output, print_json, progress, table};
use crate::learn::{
    Baseline, DeviceReport, HabitLine, Tally, baseline,
    propose::{Scope, minute},
};

mod material;
pub(in crate::cli) use material::{Asked, Ground, Learned, begin, end};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 every baseline is complete; 1 one is not, or the policy is invalid; 2 it could not run.\n\
                  docs/learn.md says what the words mean, what is never learned, and where the thresholds come from."
)]
pub(super) struct Args {
    #[command(flatten)]
    asked: Asked,
    /// List every talk of every device, not only of the one that is asked about
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let Some(ground) = Ground::read(cli, &args.asked)? else { return Ok(Exit::Found) };
    let told = progress::shown("reading the history", || {
        ground.learn(|Learned { material, watch, scope }| {
            baseline(material.who, material.found, material.fates, watch, *scope)
        })
    })?;
    let is_complete = told.devices.iter().all(|device| device.complete);
    if args.output.json {
        print_json(&told)?;
    } else {
        print(&told, args.all || !matches!(ground.scope(), Scope::All));
    }
    Ok(if is_complete { Exit::Fine } else { Exit::Found })
}

fn print(told: &Baseline, at_length: bool) {
    match (told.first, told.last) {
        (Some(first), Some(last)) => out!("seen      {} to {}", minute(first), minute(last)),
        _ => out!("seen      nothing within this time"),
    }
    let (what, whose) =
        if told.elsewhere { ("imported  ", ", which no agent watched") } else { ("watched   ", "") };
    out!("{what}{} days, {} of 168 hours of the week{whose}", told.days, told.hours);
    for gap in told.gaps.iter().take(10) {
        let count = if gap.count > 0 { format!(", {} missing", gap.count) } else { String::new() };
        out!("gap       {} to {}: {}{count}", minute(gap.from), minute(gap.to), gap.why);
    }
    more("gap       ", told.gaps.len().saturating_sub(10) + told.more_gaps);
    for scan in told.scans.iter().take(10) {
        let hours: Vec<String> = scan.hours.iter().map(|hour| format!("{hour:02}")).collect();
        out!(
            "scan      {} by {}: {} tried, hours {} UTC",
            scan.day,
            scan.source,
            scan.probes,
            hours.join(" ")
        );
    }
    more("scan      ", told.scans.len().saturating_sub(10) + told.more_scans);
    for Tally { why, text, talks, rows, flows } in &told.left {
        out!("left out  {why}: {talks} talks, {rows} rows, {flows} conversations: {text}");
    }
    out!("");
    let mut rows = table::table(&[
        "DEVICE", "BASELINE", "DAYS", "WEEK", "LAST NEW", "LEARNED", "COVERED", "DECIDE", "LEFT OUT", "LACKS",
    ]);
    for device in &told.devices {
        let count = |fate| device.talks.iter().filter(|line| line.fate == fate).count().to_string();
        let new = match (device.newest, device.quiet_days) {
            (Some(newest), Some(days)) => format!("{} ({days} d ago)", minute(newest)),
            _ => "-".to_owned(),
        };
        rows.add_row([
            device.device.clone(),
            if device.complete { "complete" } else { "incomplete" }.to_owned(),
            format!("{}/{}", device.days, device.watched_days),
            format!("{}/168", device.watched_hours),
            new,
            count("learned"),
            count("covered"),
            count("decide"),
            count("left"),
            device.missing.join("; "),
        ]);
    }
    table::print(&rows);
    if at_length {
        told.devices.iter().for_each(talks);
    }
}

fn more(what: &str, count: usize) {
    if count > 0 {
        out!("{what}and {count} more");
    }
}

fn talks(device: &DeviceReport) {
    if device.talks.is_empty() {
        return;
    }
    out!("\n{}", device.device);
    let mut rows = table::table(&[
        "FATE", "FROM", "TO", "SERVICE", "DAYS", "WEEK", "TIMES", "EVERY", "PAUSE", "FIRST", "LAST", "WHY",
    ]);
    for line in &device.talks {
        let HabitLine { from, to, service, fate, why, steady, flows, days, of_days, hours, .. } = line;
        let steady = if *steady { " steady" } else { "" };
        rows.add_row([
            (*fate).to_owned(),
            from.clone(),
            to.clone(),
            service.clone(),
            format!("{days}/{of_days}{steady}"),
            format!("{hours}/168"),
            flows.to_string(),
            line.period.map_or_else(|| "-".to_owned(), |period| format!("{period} s")),
            format!("{} s", line.pause),
            minute(line.first),
            minute(line.last),
            whose(why, &line.ends),
        ]);
    }
    table::print(&rows);
    more("", device.more_talks);
}

/// The reasons, and who it was where one end stands for many.
fn whose(why: &[&str], ends: &[String]) -> String {
    let why = why.join(" ");
    match ends {
        [] => why,
        [_, _, _, _, ..] => format!("{why}: {} and more", ends[..3].join(", ")),
        few => format!("{why}: {}", few.join(", ")),
    }
}
