//! What the history of flows takes: bytes that are written, time and memory to read ten million rows, and what it costs a processor
//! to look at the conversations of a thousand devices. Prints rows as JSON, for `cargo xtask bench history`.

use std::{
    env, fs,
    hint::black_box,
    net::IpAddr,
    ops::ControlFlow,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bulkhead_agent::{
    history::{History, Limits, Reader, Watched, is_worth_writing},
    traffic::{Day, End, Kind, Row, Seen, Service, Sum},
};
use bulkhead_tests::lab::on_interrupt;
use serde_json::{Value, json};

mod live;

const GROUP: &str = "history";
/// Enough for everything here, so that no day goes.
const LIMITS: Limits = Limits { bytes: 1 << 40, days: 4000 };
const FIRST: Day = Day(20_000);
/// Writes of an hour or four.
const WRITES: u32 = 240;
const READ: u32 = 10_000_000;
const READ_DAYS: i32 = 100;

fn main() -> Result<()> {
    // Cargo adds an argument of its own.
    let mut arguments = env::args().skip(1).filter(|argument| argument != "--bench");
    let rounds: u32 = arguments.next().context("how many rounds?")?.parse().context("rounds are a number")?;
    let only = arguments.next().unwrap_or_default();
    on_interrupt()?;
    let mut rows = Vec::new();
    for one in measurements() {
        if format!("{GROUP}: {}", one.name).starts_with(&only) {
            rows.push(one.row(rounds));
        }
    }
    println!("{}", Value::Array(rows));
    Ok(())
}

/// A figure.
struct Measurement {
    name: &'static str,
    unit: &'static str,
    /// What is promised of it.
    most: Option<f64>,
    /// How often at most: one that takes minutes is measured once.
    rounds: u32,
    sample: fn() -> Result<f64>,
}

impl Measurement {
    fn row(&self, rounds: u32) -> Value {
        let samples: Result<Vec<f64>> = (0..rounds.min(self.rounds)).map(|_| (self.sample)()).collect();
        let (samples, failed) = match samples {
            Ok(samples) => (samples, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        json!({
            "group": GROUP, "name": self.name, "unit": self.unit, "samples": samples, "others": [], "over": "",
            "most": self.most, "absent": null, "failed": failed,
        })
    }
}

fn measurements() -> Vec<Measurement> {
    let bytes = |name, most, sample| Measurement { name, unit: "bytes", most, rounds: 100, sample };
    vec![
        bytes("written for a row, 10,000 kinds each minute", Some(100.0), || written(10_000, 1)),
        bytes("written for a row, a tenth of 10,000 each minute", Some(100.0), || written(10_000, 10)),
        bytes("written for a row, 1,000 kinds each minute", None, || written(1000, 1)),
        bytes("written for a row, 100 kinds each minute", None, || written(100, 1)),
        bytes("of the file for a row", None, size),
        Measurement {
            name: "reading 10 million rows",
            unit: "s",
            most: Some(60.0),
            rounds: 1,
            sample: reading,
        },
        Measurement {
            name: "the largest this process became",
            unit: "MiB",
            most: Some(500.0),
            rounds: 1,
            sample: largest,
        },
        Measurement {
            name: "1,000 devices, 10,000 conversations, of a processor",
            unit: "%",
            most: Some(5.0),
            rounds: 100,
            sample: live::share,
        },
    ]
}

/// A kind of conversation: one of ten of each of a thousand devices, and so on.
pub(crate) fn kind(number: u32) -> Kind {
    let [_, b, c, d] = (number / 10).to_be_bytes();
    let to = IpAddr::from([192, 168, b.wrapping_add(d % 7), d]);
    let service = Service { protocol: 6, number: 500 + u16::try_from(number % 10).unwrap_or(0) };
    Kind { from: End::at(IpAddr::from([10, b, c, d])), to: End::at(to), service }
}

fn row(number: u32, day: Day, minute: i64) -> Row {
    let first = day.begin() + 60 * minute;
    let seen = Seen {
        flows: 1,
        opened: 1,
        answered: 1,
        packets: [60, 58],
        bytes: [4200, 5900],
        last: first + 58,
        ..Seen::at(first)
    };
    Row { kind: kind(number), day, seen }
}

/// Bytes that this process gave to the file system, whether they reached a disk or not (proc_pid_io(5)).
fn given() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("wchar: "));
    Ok(line.context("the kernel does not count")?.parse()?)
}

/// Bytes written for each kind and minute when one of `every` kinds, another one each time, is seen in each minute; the end
/// included. Written as often as the agent does.
fn written(kinds: u32, every: u32) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let mut history = History::open(&folder.path().join("history.db"), LIMITS)?;
    let mut sum = Sum::new(1 << 16);
    let before = given()?;
    let (mut count, mut times, mut from) = (0_u64, 0, FIRST.begin());
    for minute in 0..WRITES {
        for number in (0..kinds).filter(|n| n.wrapping_mul(7919) % every == minute % every) {
            let Row { kind, seen, .. } = row(number, FIRST, minute.into());
            sum.add(kind, &seen);
            count += 1;
        }
        times += 1;
        if is_worth_writing(sum.len(), history.rows_of(FIRST)?, times) || minute == WRITES - 1 {
            let to = FIRST.begin() + 60 * i64::from(minute + 1);
            history.add(&sum.take().0, &[], Some(Watched { from, to }))?;
            (times, from) = (0, to);
        }
    }
    drop(history);
    ensure!(count == u64::from(kinds / every) * u64::from(WRITES), "{count} rows");
    #[expect(clippy::cast_precision_loss, reason = "some million rows")]
    Ok((given()? - before) as f64 / count as f64)
}

fn size() -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("history.db");
    let mut history = History::open(&path, LIMITS)?;
    let (kinds, days) = (10_000, 20);
    for day in 0..days {
        // As they come: a few new ones in each minute.
        for part in 0..100 {
            let some = (0..kinds).filter(|n| n * 7919 % 100 == part).map(|n| row(n, Day(FIRST.0 + day), 5));
            let mut some: Vec<Row> = some.collect();
            some.sort_by(Row::in_order);
            history.add(&some, &[], None)?;
        }
    }
    drop(history);
    #[expect(clippy::cast_precision_loss, reason = "some MiB")]
    Ok(fs::metadata(&path)?.len() as f64 / f64::from(kinds) / f64::from(days))
}

/// Seconds to read ten million rows, in order.
fn reading() -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("history.db");
    fill(&path)?;
    let reader = Reader::open(&path)?;
    let begun = Instant::now();
    let (mut count, mut packets, mut before) = (0_u32, 0_u64, None::<Row>);
    let mut in_order = true;
    reader.rows(.., |row| {
        in_order &= before.is_none_or(|before| before.in_order(&row).is_lt());
        before = Some(row);
        count += 1;
        packets += row.seen.packets[0];
        ControlFlow::Continue(())
    })?;
    let took: Duration = begun.elapsed();
    ensure!(in_order && count == READ && packets == 60 * u64::from(READ), "{count} rows, {packets} packets");
    black_box(packets);
    Ok(took.as_secs_f64())
}

fn fill(path: &Path) -> Result<()> {
    let mut history = History::open(path, LIMITS)?;
    let kinds = READ / u32::try_from(READ_DAYS)?;
    for day in (0..READ_DAYS).map(|day| Day(FIRST.0 + day)) {
        let mut rows: Vec<Row> = (0..kinds).map(|number| row(number, day, 7)).collect();
        rows.sort_by(Row::in_order);
        history.add(&rows, &[], None)?;
    }
    Ok(())
}

/// The most memory this process had, after everything before.
fn largest() -> Result<f64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = line.context("the kernel does not count")?.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
