//! What the file looks like, and how a row is spelled in it.
//!
//! A day's rows lie together, since it is the present day's that are written again and again, and the oldest day's that go;
//! within a day they are in the order of [`Kind`], so that days are merged and never sorted when they are read. Therefore the
//! ends stand in the row itself: numbers instead of them would save 13 bytes of 65 and lose the order.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use rusqlite::{
    Connection, ToSql,
    types::{ToSqlOutput, Value, ValueRef},
};

use super::{HistoryError, sqlite};
use crate::{
    model::Mac,
    traffic::{Day, End, Hours, Kind, Row, Seen, Service, Why},
};

/// Version of the tables; `user_version` in the file.
pub(super) const VERSION: i64 = 1;
/// Bytes of a page: one with fifteen rows. A gateway knows a hundred kinds or so, and whole pages are written for each of them.
const PAGE: i64 = 1024;
/// `application_id` in the file: "BHfh".
pub(super) const APPLICATION: i64 = 0x4248_6668;

/// `first` and `last` count from the day's begin. An IPv4 address is a number, counted from 128.0.0.0 so that each takes four
/// bytes, an IPv6 address a blob; no address comes before all of them. A hardware address is a number plus one, none is 0.
/// `began` and `until` say in which part of the day the agent watched; `attempts` are rows of what was denied and not answered.
const TABLES: &str = "
CREATE TABLE flow (
  day INTEGER NOT NULL, from_ip ANY NOT NULL, from_mac INTEGER NOT NULL, to_ip ANY NOT NULL, to_mac INTEGER NOT NULL,
  protocol INTEGER NOT NULL, number INTEGER NOT NULL,
  flows INTEGER NOT NULL, opened INTEGER NOT NULL, answered INTEGER NOT NULL,
  packets_from INTEGER NOT NULL, packets_to INTEGER NOT NULL, bytes_from INTEGER NOT NULL, bytes_to INTEGER NOT NULL,
  denied INTEGER NOT NULL, dropped INTEGER NOT NULL,
  first INTEGER NOT NULL, last INTEGER NOT NULL, pause INTEGER NOT NULL, hours INTEGER NOT NULL,
  PRIMARY KEY (day, from_ip, from_mac, to_ip, to_mac, protocol, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE day (
  day INTEGER PRIMARY KEY, rows INTEGER NOT NULL, attempts INTEGER NOT NULL, began INTEGER, until INTEGER
) STRICT;
CREATE TABLE unseen (
  why INTEGER NOT NULL, began INTEGER NOT NULL, until INTEGER NOT NULL, count INTEGER NOT NULL,
  PRIMARY KEY (why, began)
) STRICT, WITHOUT ROWID;
CREATE TABLE gone (id INTEGER PRIMARY KEY CHECK (id = 1), days INTEGER NOT NULL, rows INTEGER NOT NULL) STRICT;
INSERT INTO gone VALUES (1, 0, 0);
CREATE VIEW flows AS SELECT
  date(day * 86400, 'unixepoch') AS date,
  CASE typeof(from_ip) WHEN 'blob' THEN hex(from_ip) ELSE format('%d.%d.%d.%d', (from_ip + 2147483648) >> 24 & 255,
    from_ip >> 16 & 255, from_ip >> 8 & 255, from_ip & 255) END AS from_ip, format('%012x', from_mac - 1) AS from_mac,
  CASE typeof(to_ip) WHEN 'blob' THEN hex(to_ip) ELSE format('%d.%d.%d.%d', (to_ip + 2147483648) >> 24 & 255,
    to_ip >> 16 & 255, to_ip >> 8 & 255, to_ip & 255) END AS to_ip, format('%012x', to_mac - 1) AS to_mac,
  protocol, number, flows, opened, answered, packets_from, packets_to, bytes_from, bytes_to, denied, dropped,
  time(first, 'unixepoch') AS first, time(last, 'unixepoch') AS last, pause, format('%06x', hours) AS hours
FROM flow;
";

/// Columns of a row in the order of [`Spelled`].
pub(super) const COLUMNS: &str = "day, from_ip, from_mac, to_ip, to_mac, protocol, number, flows, opened, answered, \
    packets_from, packets_to, bytes_from, bytes_to, denied, dropped, first, last, pause, hours";

/// Whose row it is: the first seven of the columns.
const WHOSE: &str = "day = ?1 AND from_ip = ?2 AND from_mac = ?3 AND to_ip = ?4 AND to_mac = ?5 AND protocol = ?6 AND number = ?7";

/// Adds to the row that is there, as [`Seen::add`] does.
pub(super) fn update() -> String {
    let counters = "flows opened answered packets_from packets_to bytes_from bytes_to denied dropped";
    let sums = counters
        .split(' ')
        .zip(8..)
        .map(|(name, at)| format!("{name} = {name} + min(?{at}, {} - {name})", i64::MAX));
    let sums: Vec<String> = sums.collect();
    // The right sides see the values from before the update.
    format!(
        "UPDATE flow SET {}, pause = min(max(pause, ?19, ?17 - last, first - ?18), {}), first = min(first, ?17), \
         last = max(last, ?18), hours = hours | ?20 WHERE {WHOSE}",
        sums.join(", "),
        u32::MAX,
    )
}

pub(super) fn insert() -> String {
    let places: Vec<String> = (1..=20).map(|at| format!("?{at}")).collect();
    format!("INSERT INTO flow ({COLUMNS}) VALUES ({})", places.join(", "))
}

/// Makes the tables in a file that has none.
pub(super) fn create(connection: &mut Connection, path: &Path) -> Result<(), HistoryError> {
    let failed = sqlite("begin", path);
    // These must stand before the first table.
    connection.pragma_update(None, "page_size", PAGE).map_err(&failed)?;
    connection.pragma_update(None, "auto_vacuum", "incremental").map_err(&failed)?;
    let all = connection.transaction().map_err(&failed)?;
    all.execute_batch(TABLES).map_err(&failed)?;
    all.pragma_update(None, "application_id", APPLICATION).map_err(&failed)?;
    all.pragma_update(None, "user_version", VERSION).map_err(&failed)?;
    all.commit().map_err(&failed)
}

/// What kind of file it is.
pub(super) enum Found {
    Empty,
    Ours,
}

/// Looks whose file it is, and of which version.
pub(super) fn look(connection: &Connection, path: &Path) -> Result<Found, HistoryError> {
    let failed = sqlite("read", path);
    let ask = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(&failed);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(&failed)?;
    match (ask("application_id")?, ask("user_version")?, tables) {
        (0, 0, 0) => Ok(Found::Empty),
        (APPLICATION, VERSION, _) => Ok(Found::Ours),
        (APPLICATION, found, _) => Err(HistoryError::Version { path: path.to_owned(), found }),
        _ => Err(HistoryError::Foreign { path: path.to_owned() }),
    }
}

/// An address as the file has it.
pub(super) struct Address(pub(super) Option<IpAddr>);

/// Below every IPv4 address.
const NO_ADDRESS: i64 = i32::MIN as i64 - 1;
/// The address that is 0.
const ZERO: i64 = 1 << 31;

impl ToSql for Address {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(match self.0 {
            None => Value::Integer(NO_ADDRESS),
            Some(IpAddr::V4(v4)) => Value::Integer(i64::from(v4.to_bits()) - ZERO),
            Some(IpAddr::V6(v6)) => Value::Blob(v6.octets().into()),
        }))
    }
}

fn address(value: ValueRef<'_>) -> Option<Option<IpAddr>> {
    match value {
        ValueRef::Integer(NO_ADDRESS) => Some(None),
        ValueRef::Integer(number) => {
            Some(Some(Ipv4Addr::from_bits(u32::try_from(number.checked_add(ZERO)?).ok()?).into()))
        }
        ValueRef::Blob(bytes) => Some(Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into())),
        ValueRef::Null | ValueRef::Real(_) | ValueRef::Text(_) => None,
    }
}

pub(super) fn mac_number(mac: Option<Mac>) -> i64 {
    mac.map_or(0, |Mac([a, b, c, d, e, f])| i64::from_be_bytes([0, 0, a, b, c, d, e, f]) + 1)
}

fn mac(number: i64) -> Option<Option<Mac>> {
    if number == 0 {
        return Some(None);
    }
    match (number - 1).to_be_bytes() {
        [0, 0, a, b, c, d, e, f] if number > 0 => Some(Some(Mac([a, b, c, d, e, f]))),
        _ => None,
    }
}

/// A counter as the file has it: SQLite knows no number above this.
pub(super) fn counter(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A row as the file has it.
pub(super) type Spelled = (Day, [Address; 2], [i64; 2], [i64; 2], [i64; 13]);

pub(super) fn spelled(row: &Row) -> Spelled {
    let Row { kind: Kind { from, to, service: Service { protocol, number } }, day, seen } = *row;
    let Seen { flows, opened, answered, packets, bytes, denied, dropped, first, last, pause, hours } = seen;
    let [a, b] = packets;
    let [c, d] = bytes;
    let [flows, opened, answered, a, b, c, d, denied, dropped] =
        [flows, opened, answered, a, b, c, d, denied, dropped].map(counter);
    // A clock that was set while somebody looked makes no row that nobody can read.
    let since = |moment: i64| moment.clamp(day.begin(), day.end() - 1) - day.begin();
    let told = [
        flows,
        opened,
        answered,
        a,
        b,
        c,
        d,
        denied,
        dropped,
        since(first),
        since(last.max(first)),
        pause.into(),
        hours.bits().into(),
    ];
    (
        day,
        [Address(from.address), Address(to.address)],
        [mac_number(from.mac), mac_number(to.mac)],
        [protocol.into(), number.into()],
        told,
    )
}

/// Binds what [`insert`] and [`update`] ask for, and runs it; how many rows it changed.
pub(super) fn run(
    statement: &mut rusqlite::Statement<'_>,
    (day, ends, macs, service, told): &Spelled,
) -> rusqlite::Result<usize> {
    statement.raw_bind_parameter(1, day.0)?;
    for side in 0..2 {
        statement.raw_bind_parameter(2 + 2 * side, &ends[side])?;
        statement.raw_bind_parameter(3 + 2 * side, macs[side])?;
        statement.raw_bind_parameter(6 + side, service[side])?;
    }
    for (value, at) in told.iter().zip(8..) {
        statement.raw_bind_parameter(at, value)?;
    }
    statement.raw_execute()
}

/// Reads a row of [`COLUMNS`]; none when no agent can have written it.
pub(super) fn row(found: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Row>> {
    let number = |at: usize| found.get::<_, i64>(at);
    let whole = || -> rusqlite::Result<Option<Row>> {
        let end = |at: usize| -> rusqlite::Result<Option<End>> {
            let (address, mac) = (address(found.get_ref(at)?), mac(number(at + 1)?));
            Ok(address.zip(mac).map(|(address, mac)| End { address, mac }))
        };
        let (Some(from), Some(to)) = (end(1)?, end(3)?) else { return Ok(None) };
        let (Ok(day), Ok(protocol), Ok(service)) =
            (i32::try_from(number(0)?), u8::try_from(number(5)?), u16::try_from(number(6)?))
        else {
            return Ok(None);
        };
        let mut counters = [0; 9];
        for (counter, at) in counters.iter_mut().zip(7..) {
            let Ok(count) = u64::try_from(number(at)?) else { return Ok(None) };
            *counter = count;
        }
        let [flows, opened, answered, a, b, c, d, denied, dropped] = counters;
        let day = Day(day);
        let (Ok(pause), Ok(hours)) = (u32::try_from(number(18)?), u32::try_from(number(19)?)) else {
            return Ok(None);
        };
        let (first, last) = (number(16)?, number(17)?);
        if !(0 <= first && first <= last && last < day.end() - day.begin()) {
            return Ok(None);
        }
        let seen = Seen {
            flows,
            opened,
            answered,
            packets: [a, b],
            bytes: [c, d],
            denied,
            dropped,
            first: day.begin() + first,
            last: day.begin() + last,
            pause,
            hours: Hours::from_bits(hours),
        };
        let service = Service { protocol, number: service };
        Ok(Some(Row { kind: Kind { from, to, service }, day, seen }))
    };
    whole()
}

/// The number of a reason in the file.
pub(super) fn why_number(why: Why) -> i64 {
    match why {
        Why::Stopped => 0,
        Why::Forgotten => 1,
        Why::Untold => 2,
        Why::Full => 3,
        Why::Unwritten => 4,
    }
}

pub(super) fn why(number: i64) -> Option<Why> {
    Why::ALL.into_iter().find(|why| why_number(*why) == number)
}
