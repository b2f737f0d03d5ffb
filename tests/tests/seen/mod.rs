//! A plant and what was seen of it in two weeks: polling, a nightly backup, an engineer, an attack. In: a folder. Out: policy files and a history
//! file, made as the agent makes it.
#![allow(dead_code, reason = "each test target uses a part of it")]

use std::path::{Path, PathBuf};

use bulkhead_agent::{
    history::{History, Limits, Watched},
    traffic::{Day, End, Hours, Kind, Row, Seen, Service, Unseen, Why},
};

use super::command::file;

/// Monday, 2026-11-09.
pub(crate) const MONDAY: i32 = 20_766;
const HOUR: i64 = 3600;

pub(crate) const PLANT: &str = r#"version = 1

# The line display. Ask operations before you touch it.
[device.hmi]
mac = "02:00:00:00:00:01"
ip  = "10.1.0.1"

[device.laptop]   # Jo's
mac = "02:00:00:00:00:09"
ip  = "dhcp"

[device.press]
mac   = "02:00:00:00:00:0b"
ip    = "10.1.0.11"
class = "plc"

[[device.press.allow]]
from    = "hmi"
service = "ping"       # since 2019
comment = "is it there"

# The oven is new.
[device.oven]
mac   = "02:00:00:00:00:0c"
ip    = "10.1.0.12"
class = "plc"
"#;

pub(crate) const NAMES: &str = r#"version = 1

[class.plc]
comment = "controllers of the line"

[network.office]
cidr = "10.9.0.0/24"
"#;

/// A folder with the policy, and the history beside it.
pub(crate) fn plant(folder: &Path) -> (PathBuf, PathBuf) {
    let policy = folder.join("policy.d");
    std::fs::create_dir(&policy).expect("a new folder");
    file(&policy, "10-plant.toml", PLANT);
    file(&policy, "90-names.toml", NAMES);
    (policy, history(folder, &fortnight()))
}

/// A history file of rows, watched all the time but for a gap.
pub(crate) fn history(folder: &Path, rows: &[Row]) -> PathBuf {
    let path = folder.join("history.db");
    let mut history = History::open(&path, Limits { bytes: 1 << 30, days: 400 }).expect("a new history");
    let (from, to) = (Day(MONDAY).begin(), Day(MONDAY + 14).begin() - 1);
    let gap = Unseen { from: from + 30 * HOUR, to: from + 32 * HOUR, why: Why::Stopped, count: 0 };
    history.add(rows, &[gap], Some(Watched { from, to })).expect("it is written");
    path
}

pub(crate) fn end(text: &str) -> End {
    End::at(text.parse().expect("an address"))
}

pub(crate) fn kind(from: End, to: &str, protocol: u8, number: u16) -> Kind {
    Kind { from, to: end(to), service: Service { protocol, number } }
}

/// Answered conversations in some hours of a day.
pub(crate) fn seen(kind: Kind, day: i32, flows: u64, hours: (i64, i64)) -> Row {
    let day = Day(day);
    let (first, last) = (day.begin() + hours.0 * HOUR, day.begin() + hours.1 * HOUR - 1);
    let packets = [flows * 6, flows * 5];
    let hours = Hours::between(day, first, last);
    let seen = Seen {
        flows,
        opened: flows,
        answered: flows,
        packets,
        bytes: packets,
        last,
        hours,
        pause: 60,
        ..Seen::at(first)
    };
    Row { kind, day, seen }
}

/// One SYN, and what a port says to it.
pub(crate) fn probe(kind: Kind, day: i32, hour: i64, answered: bool) -> Row {
    let n = u64::from(answered);
    let first = Day(day).begin() + hour * HOUR;
    let seen = Seen { flows: 1, opened: 1, answered: n, packets: [1 + n, n], ..Seen::at(first) };
    Row { kind, day: Day(day), seen }
}

fn fortnight() -> Vec<Row> {
    let laptop =
        End::leased("10.1.0.77".parse().expect("an address"), "02:00:00:00:00:09".parse().expect("a MAC"));
    let mut rows = Vec::new();
    for day in MONDAY..MONDAY + 14 {
        for plc in ["10.1.0.11", "10.1.0.12"] {
            rows.push(seen(kind(end("10.1.0.1"), plc, 6, 502), day, 1440, (0, 24)));
            rows.push(seen(kind(end(plc), "10.9.0.5", 17, 123), day, 24, (0, 24)));
        }
        rows.push(seen(kind(end("10.9.0.7"), "10.1.0.1", 6, 8443), day, 3, (2, 3)));
        rows.push(seen(kind(end("10.1.0.1"), "10.1.0.11", 1, 8 << 8), day, 24, (0, 24)));
    }
    // The engineer, on three days.
    for day in [MONDAY + 1, MONDAY + 3, MONDAY + 8] {
        rows.push(seen(kind(laptop, "10.1.0.11", 6, 22), day, 4, (9, 11)));
        rows.push(seen(kind(laptop, "10.1.0.11", 6, 102), day, 9, (9, 11)));
    }
    // A visitor, once; an update out of the Internet.
    rows.push(seen(kind(end("10.1.0.200"), "10.1.0.1", 6, 443), MONDAY + 5, 7, (9, 10)));
    for day in MONDAY..MONDAY + 14 {
        rows.push(seen(kind(end("10.1.0.12"), "93.184.216.34", 6, 443), day, 2, (3, 4)));
    }
    // The attack, from the laptop: all ports of the press, and the Modbus port of everybody.
    for port in 1..=1024 {
        rows.push(probe(kind(laptop, "10.1.0.11", 6, port), MONDAY + 10, 13, [22, 102, 502].contains(&port)));
    }
    for host in 1..=254 {
        rows.push(probe(kind(laptop, &format!("10.1.0.{host}"), 6, 503), MONDAY + 10, 14, false));
    }
    rows.push(seen(kind(laptop, "10.1.0.12", 6, 502), MONDAY + 10, 4, (13, 14)));
    rows
}
