//! What one transaction writes: rows, gaps, what was watched, and days that go.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{read::Watched, schema, write::Added};
use crate::traffic::{Day, Row, Unseen, Why};

/// What was tried and denied takes no more of a day than one part in so many, so that two months of scanning fit beside what is answered.
const TRIED: u64 = 8;
/// Gaps that are remembered.
const GAPS: i64 = 10_000;
/// Gaps of one reason that are closer than this are one, s.
const NEAR: i64 = 900;
/// The longest observation that is noted at once, days.
const LONG: i32 = 400;

/// What is in the file of a day.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) all: u64,
    pub(super) attempts: u64,
}

pub(super) fn days(connection: &Connection) -> rusqlite::Result<BTreeMap<Day, Rows>> {
    let mut statement = connection.prepare("SELECT day, rows, attempts FROM day")?;
    let days = statement.query_map([], |row| {
        let (day, all, attempts): (i32, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok((Day(day), Rows { all: all.unsigned_abs(), attempts: attempts.unsigned_abs() }))
    })?;
    days.collect()
}

/// Adds rows; what finds no room on its day is counted, day by day.
pub(super) fn put(all: &Transaction<'_>, rows: &[Row], most: u64) -> rusqlite::Result<(Added, Vec<Unseen>)> {
    let before = days(all)?;
    let mut now = before.clone();
    let mut missing: BTreeMap<Day, Unseen> = BTreeMap::new();
    let mut added = Added::default();
    let (mut update, mut insert) = (all.prepare(&schema::update())?, all.prepare(&schema::insert())?);
    for row in rows {
        let spelled = schema::spelled(row);
        if schema::run(&mut update, &spelled)? == 1 {
            added.rows += 1;
            continue;
        }
        let there = now.entry(row.day).or_default();
        let is_attempt = !row.seen.is_answered() && row.seen.denied > 0;
        // What is tried and denied anybody can make more of.
        if there.all >= most || is_attempt && there.attempts >= most / TRIED {
            let count = row.seen.flows.max(1);
            added.refused += count;
            let (from, to) = (row.seen.first, row.seen.last);
            let one = missing.entry(row.day).or_insert(Unseen { from, to, why: Why::Full, count: 0 });
            (one.from, one.to) = (one.from.min(from), one.to.max(to));
            one.count = one.count.saturating_add(count);
            continue;
        }
        schema::run(&mut insert, &spelled)?;
        there.all += 1;
        there.attempts += u64::from(is_attempt);
        added.rows += 1;
    }
    let mut keep = all.prepare(
        "INSERT INTO day (day, rows, attempts) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET rows = ?2, attempts = ?3",
    )?;
    for (day, rows) in &now {
        if before.get(day) != Some(rows) {
            keep.execute(params![day.0, schema::counter(rows.all), schema::counter(rows.attempts)])?;
        }
    }
    Ok((added, missing.into_values().collect()))
}

/// Remembers a gap, as one with those that are close to it.
pub(super) fn note(all: &Transaction<'_>, gap: &Unseen) -> rusqlite::Result<()> {
    let Unseen { mut from, to, why, count } = *gap;
    let (mut to, mut count) = (to.max(from), schema::counter(count));
    // When the agent did not run is known exactly.
    let near = if why == Why::Stopped { 0 } else { NEAR };
    let why = schema::why_number(why);
    let mut close = all.prepare(
        "SELECT began, until, count FROM unseen WHERE why = ?1 AND began <= ?2 AND until >= ?3 LIMIT 1",
    )?;
    let mut remove = all.prepare("DELETE FROM unseen WHERE why = ?1 AND began = ?2")?;
    let get =
        |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
    // Each of them may bring another one close.
    while let Some((began, until, more)) =
        close.query_row([why, to.saturating_add(near), from.saturating_sub(near)], get).optional()?
    {
        remove.execute([why, began])?;
        (from, to, count) = (from.min(began), to.max(until), count.saturating_add(more));
    }
    all.execute(
        "INSERT INTO unseen (why, began, until, count) VALUES (?1, ?2, ?3, ?4)",
        [why, from, to, count],
    )?;
    let too_many = "DELETE FROM unseen WHERE (why, began) IN (SELECT why, began FROM unseen ORDER BY began LIMIT \
                    max(0, (SELECT count(*) FROM unseen) - ?1))";
    all.execute(too_many, [GAPS])?;
    Ok(())
}

/// Notes in which part of each day the agent watched.
pub(super) fn watch(all: &Transaction<'_>, Watched { from, to }: Watched) -> rusqlite::Result<()> {
    let mut note = all.prepare(
        "INSERT INTO day (day, rows, attempts, began, until) VALUES (?1, 0, 0, ?2, ?3) ON CONFLICT DO UPDATE SET \
         began = min(coalesce(began, ?2), ?2), until = max(coalesce(until, ?3), ?3)",
    )?;
    let last = Day::of(to);
    let first = Day::of(from).max(Day(last.0.saturating_sub(LONG)));
    for day in (first.0..=last.0).map(Day) {
        note.execute(params![day.0, from.max(day.begin()), to.min(day.end() - 1)])?;
    }
    Ok(())
}

/// Forgets a day, and the gaps that ended with it.
pub(super) fn forget(all: &Transaction<'_>, day: Day, rows: &Rows) -> rusqlite::Result<()> {
    all.execute("DELETE FROM flow WHERE day = ?1", [day.0])?;
    all.execute("DELETE FROM day WHERE day = ?1", [day.0])?;
    all.execute("DELETE FROM unseen WHERE until < ?1", [day.end()])?;
    all.execute("UPDATE gone SET days = days + 1, rows = rows + ?1", [schema::counter(rows.all)])?;
    Ok(())
}
