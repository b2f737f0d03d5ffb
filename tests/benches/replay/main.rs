//! What it takes to hold a policy against ten million rows of a history: time, and memory. Rows are made as they are read. Prints rows of
//! the common table as JSON, for `cargo xtask bench simulate`. `fill FOLDER` writes such a policy and history instead, for the commands
//! that read a file.

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use bulkhead_agent::{
    compile::{Limits, Placed, Tables, compile},
    history::{self, History, Watched},
    model::Policy,
    policy::{SourceFile, resolve_texts},
    replay::{Place, Report, Setting, rows},
    traffic::{Day, End, Kind, Row, Seen, Service},
};
use bulkhead_tests::{lab::on_interrupt, site::Site};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

const GROUP: &str = "simulate";
const ROWS: u32 = 10_000_000;
const DEVICES: u32 = 1000;
const FIRST: Day = Day(20_000);
/// Days of the history that is written.
const QUARTER: u32 = 90;

fn main() -> Result<()> {
    // Cargo adds an argument of its own.
    let mut arguments = env::args().skip(1).filter(|argument| argument != "--bench");
    let rounds = arguments.next().context("how many rounds?")?;
    if rounds == "fill" {
        return fill(Path::new(&arguments.next().context("which folder?")?));
    }
    let rounds: u32 = rounds.parse().context("rounds are a number")?;
    let only = arguments.next().unwrap_or_default();
    on_interrupt()?;
    let (policy, tables) = site()?;
    let mut found = Vec::new();
    // Days of each kind: a year of a plant that does the same every day, a month, and a network in which nothing happens twice.
    for (name, days) in [
        ("10 million rows, 365 days of each kind", 365),
        ("10 million rows, 30 days of each kind", 30),
        ("10 million rows, 1 day of each kind", 1),
    ] {
        if format!("{GROUP}: {name}").starts_with(&only) {
            let samples: Result<Vec<f64>> =
                (0..rounds.min(3)).map(|_| sample(&policy, &tables, days)).collect();
            found.push(row(name, "s", 60.0, samples));
        }
    }
    let name = "the largest this process became";
    if format!("{GROUP}: {name}").starts_with(&only) {
        let peak = getrusage(UsageWho::RUSAGE_SELF).map(|usage| usage.max_rss()).context("no usage");
        #[expect(clippy::cast_precision_loss, reason = "some hundred thousand KiB")]
        found.push(row(name, "MiB", 500.0, peak.map(|kib| vec![kib as f64 / 1024.0])));
    }
    println!("{}", Value::Array(found));
    Ok(())
}

fn row(name: &str, unit: &str, most: f64, samples: Result<Vec<f64>>) -> Value {
    let (samples, failed) = match samples {
        Ok(samples) => (samples, None),
        Err(error) => (Vec::new(), Some(format!("{error:#}"))),
    };
    json!({
        "group": GROUP, "name": name, "unit": unit, "samples": samples, "others": [], "over": "",
        "most": most, "absent": null, "failed": failed,
    })
}

fn site() -> Result<(Policy, Tables)> {
    let files = Site::new(DEVICES, 1).files().into_iter();
    let files: Vec<SourceFile> = files.map(|file| SourceFile { path: file.name, text: file.text }).collect();
    let policy = resolve_texts(&files).policy.context("the generated policy is valid")?;
    let tables = compile(&policy, &Limits { devices: u32::MAX, rules: u32::MAX, rows: u32::MAX })?;
    Ok((policy, tables))
}

/// Seconds.
fn sample(policy: &Policy, tables: &Tables, days: u32) -> Result<f64> {
    let placed = Placed::default();
    let places = [Place { anywhere: true, ..Place::default() }];
    let setting = Setting { policy, tables, placed: &placed, places: &places, now: jiff::Timestamp::now() };
    let addresses = addresses(policy);
    let kinds = ROWS / days;
    let all = (0..kinds).flat_map(|number| {
        let kind = kind(number, &addresses);
        (0..days).map(move |day| seen(kind, Day(FIRST.0 + i32::try_from(day).unwrap_or(0))))
    });
    let start = Instant::now();
    let report: Report = rows(setting, all);
    let taken = start.elapsed().as_secs_f64();
    ensure!(report.totals.rows == u64::from(kinds) * u64::from(days), "{} rows", report.totals.rows);
    ensure!(report.totals.kinds == u64::from(kinds), "{} kinds", report.totals.kinds);
    ensure!(report.totals.allowed + report.totals.reported + report.totals.dropped > 0, "nothing was judged");
    Ok(taken)
}

fn addresses(policy: &Policy) -> Vec<IpAddr> {
    let all = policy.devices.iter().flat_map(|device| device.addresses.iter().copied());
    all.filter(IpAddr::is_ipv4).collect()
}

/// Writes the policy, and a history of a quarter of it that was watched throughout.
fn fill(folder: &Path) -> Result<()> {
    let (policy, _) = site()?;
    let texts = folder.join("policy.d");
    fs::create_dir_all(&texts)?;
    for file in Site::new(DEVICES, 1).files() {
        fs::write(texts.join(file.name), file.text)?;
    }
    let limits = history::Limits { bytes: 1 << 40, days: 4000 };
    let mut history = History::open(&folder.join("history.db"), limits)?;
    let addresses = addresses(&policy);
    for number in 0..QUARTER {
        let day = Day(FIRST.0 + i32::try_from(number)?);
        let mut rows: Vec<Row> =
            (0..ROWS / QUARTER).map(|number| seen(kind(number, &addresses), day)).collect();
        rows.sort_by(Row::in_order);
        let watched = Watched { from: day.begin(), to: day.end() - 1 };
        let added = history.add(&rows, &[], Some(watched))?;
        ensure!(added.refused == 0, "{} had no room", added.refused);
    }
    Ok(())
}

/// A device and one of its peers: another device, or somebody elsewhere.
fn kind(number: u32, addresses: &[IpAddr]) -> Kind {
    let at = |number: u32| addresses[number as usize % addresses.len()];
    let from = at(number.wrapping_mul(2_654_435_761) >> 7);
    let to = if number.is_multiple_of(3) {
        IpAddr::V4(Ipv4Addr::from(0xc633_0000 | (number / 3) & 0xffff))
    } else {
        at(number.wrapping_mul(40_503) >> 3)
    };
    let port = [502, 102, 443, 80, 4840, 20_000][(number % 6) as usize]
        + u16::try_from(number / 1_000_000).unwrap_or(0);
    Kind { from: End::at(from), to: End::at(to), service: Service { protocol: 6, number: port } }
}

fn seen(kind: Kind, day: Day) -> Row {
    let first = day.begin() + 8 * 3600;
    let seen = Seen {
        flows: 3,
        opened: 3,
        answered: 3,
        packets: [60, 58],
        bytes: [4200, 5900],
        last: first + 900,
        ..Seen::at(first)
    };
    Row { kind, day, seen }
}
