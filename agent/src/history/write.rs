//! Writing: one transaction for everything that was added up since the last one.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{
    HistoryError, aside, io_error, log_of,
    put::{Rows, days, forget, note, put, watch},
    read::Watched,
    schema::{self, Found},
    sqlite,
};
use crate::traffic::{Day, Row, Unseen};

/// For so long a writer waits for another one.
const PATIENCE: Duration = Duration::from_secs(10);
/// The log beside the file is put into it when it is longer than this, bytes, and made shorter then.
const LOG: u64 = 8 << 20;
/// Nothing is added while the log is longer than this, bytes: somebody has been reading for too long.
const HELD: u64 = 64 << 20;
/// What a row takes in the file, bytes, with its share of pages that are half empty.
const ROW: u64 = 96;
/// A day takes no more of the file than one part in so many.
const SHARE: u64 = 8;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the file, bytes. The log beside it takes some 8 MiB more.
    pub bytes: u64,
    /// Days. Those without a row or observation do not count, so that a clock that was wrong for a moment makes nothing old.
    pub days: u32,
}

impl Limits {
    /// Rows that are kept of one day at most.
    pub fn rows_of_a_day(&self) -> u64 {
        (self.bytes / SHARE / ROW).max(1)
    }
}

/// What became of what was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Added {
    /// Rows that are in the file now.
    pub rows: u64,
    /// Flows of kinds for which their day had no room. The history says so by itself.
    pub refused: u64,
}

/// What made room for newer days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Gone {
    /// Days.
    pub days: u64,
    /// Rows of them.
    pub rows: u64,
}

/// How many times the usual time rows wait for others at the most.
const LONGEST: u32 = 10;

/// Whether rows that waited `times` times the usual time are written now, when `there` are in the file of their day. A page of
/// fifteen is written again for each of them alone: so they wait until they are three quarters of the day's, or for ten times as long.
pub fn is_worth_writing(waiting: usize, there: u64, times: u32) -> bool {
    times >= LONGEST || (times >= 1 && waiting as u64 >= there - there / 4)
}

/// A history, to be added to.
pub struct History {
    path: PathBuf,
    connection: Connection,
    limits: Limits,
    /// Somebody else keeps the file: what is damaged is his to set aside.
    is_guest: bool,
    set_aside: u64,
}

impl History {
    /// Opens a history, or begins one. What is damaged is set aside under the same name with `.damaged` behind it.
    ///
    /// # Errors
    /// When the file is of another version, is no history at all, or the file system says no.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, HistoryError> {
        Self::open_as(path, limits, false)
    }

    /// The same for somebody who only brings rows: the agent may have the file open, so what is damaged stays where it is.
    ///
    /// # Errors
    /// As above, and when the file is damaged.
    pub fn join(path: &Path, limits: Limits) -> Result<Self, HistoryError> {
        Self::open_as(path, limits, true)
    }

    fn open_as(path: &Path, limits: Limits, is_guest: bool) -> Result<Self, HistoryError> {
        make(path)?;
        // SQLite puts its log beside the file itself, wherever links lead.
        let path = fs::canonicalize(path).map_err(io_error("find", path))?;
        let mut set_aside = 0;
        let connection = match connect(&path) {
            Err(error) if error.is_damage() && !is_guest => match again(&path)? {
                Ok(connection) => connection,
                Err(damage) => {
                    give_way(&path, &damage)?;
                    set_aside = 1;
                    connect(&path)?
                }
            },
            other => other?,
        };
        Ok(Self { path, connection, limits, is_guest, set_aside })
    }

    /// Adds rows to those that are there, all of them or, after an error, none. `watched` says since when and until when
    /// the agent looked, when it was the agent that did.
    ///
    /// # Errors
    /// When the file cannot be written: open it anew then. One that a look through it shows to be damaged is set aside, and these rows begin the next.
    pub fn add(
        &mut self,
        rows: &[Row],
        unseen: &[Unseen],
        watched: Option<Watched>,
    ) -> Result<Added, HistoryError> {
        let added = match self.try_add(rows, unseen, watched) {
            Err(error) if error.is_damage() && !self.is_guest => {
                // Who closes a file takes its log away, by name: it must still be its own.
                self.connection = Connection::open_in_memory().map_err(sqlite("leave", &self.path))?;
                match again(&self.path)? {
                    Ok(connection) => self.connection = connection,
                    Err(damage) => {
                        give_way(&self.path, &damage)?;
                        self.set_aside += 1;
                        self.connection = connect(&self.path)?;
                    }
                }
                self.try_add(rows, unseen, watched).map_err(HistoryError::of_whole)?
            }
            other => other?,
        };
        // The rows are in the file: whoever adds them again counts them twice.
        if let Err(error) = self.make_room() {
            tracing::error!("the history may be larger than it should: {}", error.caused());
        }
        Ok(added)
    }

    fn try_add(
        &mut self,
        rows: &[Row],
        unseen: &[Unseen],
        watched: Option<Watched>,
    ) -> Result<Added, HistoryError> {
        self.shorten_log()?;
        let failed = sqlite("write", &self.path);
        let all =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let most = self.limits.rows_of_a_day();
        let (added, missing) = put(&all, rows, most).map_err(&failed)?;
        for one in unseen.iter().chain(&missing) {
            note(&all, one).map_err(&failed)?;
        }
        if let Some(watched) = watched {
            watch(&all, watched).map_err(&failed)?;
        }
        all.commit().map_err(&failed)?;
        Ok(added)
    }

    /// Says that the agent watches from a moment on, s since 1970, where nothing else is in the file yet; what was said like that before
    /// does not count any more.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn begin(&mut self, at: i64) -> Result<(), HistoryError> {
        let failed = sqlite("write", &self.path);
        let all =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        all.execute("DELETE FROM day WHERE rows = 0 AND began = until", []).map_err(&failed)?;
        watch(&all, Watched { from: at, to: at }).map_err(&failed)?;
        all.commit().map_err(&failed)
    }

    /// Until when the agent watched before a time, as far as is written, s since 1970; none when it never did. What is later was written
    /// under a clock that was ahead.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn watched_until(&self, before: i64) -> Result<Option<i64>, HistoryError> {
        let newest = "SELECT max(min(until, ?1)) FROM day WHERE began <= ?1";
        self.connection.query_row(newest, [before], |row| row.get(0)).map_err(sqlite("read", &self.path))
    }

    /// How long ago an agent watched last, s; none when never. None has passed where somebody wrote under a clock that was ahead: nobody knows how
    /// long that is ago, and what he counted must not count again.
    ///
    /// # Errors
    /// As [`History::watched_until`].
    pub fn unwatched(&self, now: i64) -> Result<Option<u64>, HistoryError> {
        let newest = "SELECT max(until) FROM day WHERE EXISTS (SELECT 1 FROM day WHERE began <= ?1)";
        let until = self.connection.query_row(newest, [now], |row| row.get::<_, Option<i64>>(0));
        let until = until.map_err(sqlite("read", &self.path))?;
        Ok(until.map(|until| u64::try_from(now.saturating_sub(until)).unwrap_or(0)))
    }

    /// The first day of which something is kept.
    ///
    /// # Errors
    /// As [`History::watched_until`].
    pub fn first_day(&self) -> Result<Option<Day>, HistoryError> {
        let first =
            self.connection.query_row("SELECT min(day) FROM day", [], |row| row.get::<_, Option<i32>>(0));
        Ok(first.map_err(sqlite("read", &self.path))?.map(Day))
    }

    /// Rows in the file.
    ///
    /// # Errors
    /// As [`History::watched_until`].
    pub fn rows(&self) -> Result<u64, HistoryError> {
        let count = "SELECT coalesce(sum(rows), 0) FROM day";
        let rows = self.connection.query_row(count, [], |row| row.get::<_, i64>(0));
        Ok(rows.map_err(sqlite("read", &self.path))?.unsigned_abs())
    }

    /// Rows of one day.
    ///
    /// # Errors
    /// As [`History::watched_until`].
    pub fn rows_of(&self, day: Day) -> Result<u64, HistoryError> {
        Ok(self.days()?.get(&day).map_or(0, |rows| rows.all))
    }

    /// What made room since the file was begun.
    ///
    /// # Errors
    /// As [`History::watched_until`].
    pub fn gone(&self) -> Result<Gone, HistoryError> {
        let get = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        let gone = self.connection.query_row("SELECT days, rows FROM gone", [], get);
        let (days, rows) = gone.map_err(sqlite("read", &self.path))?;
        Ok(Gone { days: days.unsigned_abs(), rows: rows.unsigned_abs() })
    }

    /// Bytes that are in use, of the file and not of the log beside it.
    ///
    /// # Errors
    /// As [`History::watched_until`].
    pub fn bytes(&self) -> Result<u64, HistoryError> {
        let [pages, free, size] = ["page_count", "freelist_count", "page_size"].map(|name| self.ask(name));
        Ok((pages?.saturating_sub(free?)).saturating_mul(size?))
    }

    /// Files that were found damaged and set aside since this was opened.
    pub fn set_aside(&self) -> u64 {
        self.set_aside
    }

    fn ask(&self, name: &str) -> Result<u64, HistoryError> {
        let answer = self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        Ok(answer.map_err(sqlite("read", &self.path))?.unsigned_abs())
    }

    /// The oldest days go, as long as there are more than may be or the file is too large; the newest one stays.
    fn make_room(&mut self) -> Result<(), HistoryError> {
        loop {
            let days = self.days()?;
            let too_many = days.len() > self.limits.days.max(1) as usize;
            let Some((oldest, rows)) = days.first_key_value().filter(|_| days.len() > 1) else { break };
            if !too_many && self.bytes()? <= self.limits.bytes {
                break;
            }
            let failed = sqlite("write", &self.path);
            let all =
                self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
            forget(&all, *oldest, rows).map_err(&failed)?;
            all.commit().map_err(&failed)?;
        }
        // Free pages are for the next rows, but for those beyond the limit.
        let size = self.ask("page_size")?;
        let over = self.ask("page_count")?.saturating_sub(self.limits.bytes / size.max(1));
        let over = over.min(self.ask("freelist_count")?);
        if over > 0 {
            let failed = sqlite("shorten", &self.path);
            let shorten = format!("PRAGMA incremental_vacuum({over})");
            let mut shorten = self.connection.prepare(&shorten).map_err(&failed)?;
            // Each step gives one page back.
            let mut pages = shorten.query([]).map_err(&failed)?;
            while pages.next().map_err(&failed)?.is_some() {}
        }
        Ok(())
    }

    fn days(&self) -> Result<BTreeMap<Day, Rows>, HistoryError> {
        days(&self.connection).map_err(sqlite("read", &self.path))
    }

    /// A log that nobody could put into the file while it was read is put there now, or nothing is added to it.
    fn shorten_log(&self) -> Result<(), HistoryError> {
        let bytes = || fs::metadata(log_of(&self.path)).map_or(0, |log| log.len());
        if bytes() <= HELD {
            return Ok(());
        }
        let busy =
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        match busy.map_err(sqlite("write", &self.path))? {
            0 => Ok(()),
            _ => Err(HistoryError::Held { path: self.path.clone(), bytes: bytes() }),
        }
    }
}

/// Looks through a file of which SQLite had something to say: it is opened, or it is damaged and why. A word of the library alone is no
/// reason to put a year aside.
fn again(path: &Path) -> Result<Result<Connection, HistoryError>, HistoryError> {
    match connect(path).and_then(|connection| look_through(&connection, path).map(|()| connection)) {
        Err(error) if error.is_damage() => Ok(Err(error)),
        other => other.map(Ok),
    }
}

/// Reads every page.
fn look_through(connection: &Connection, path: &Path) -> Result<(), HistoryError> {
    let answer = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match answer.map_err(sqlite("read", path))? {
        whole if whole == "ok" => Ok(()),
        found => Err(HistoryError::Damaged { path: path.to_owned(), why: found.replace('\n', "; ") }),
    }
}

fn give_way(path: &Path, error: &HistoryError) -> Result<(), HistoryError> {
    let away = aside::set_aside(path)?;
    tracing::error!("{error}; it is set aside as `{}`, and a new history begins", away.display());
    Ok(())
}

/// Makes an empty file for the agent's user alone, if there is none.
fn make(path: &Path) -> Result<(), HistoryError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(io_error("make", path)(error)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Opens the file, makes it if there is none, and looks whether it is whole as far as that is cheap.
fn connect(path: &Path) -> Result<Connection, HistoryError> {
    make(path)?;
    let was_cut = fs::metadata(log_of(path)).is_ok_and(|log| log.len() > 0);
    let failed = sqlite("open", path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(&failed)?;
    connection.busy_timeout(PATIENCE).map_err(&failed)?;
    if let Found::Empty = schema::look(&connection, path)? {
        schema::create(&mut connection, path)?;
    }
    connection.pragma_update(None, "journal_mode", "wal").map_err(&failed)?;
    // A power cut may lose the last transactions, and harms nothing.
    connection.pragma_update(None, "synchronous", "normal").map_err(&failed)?;
    connection.pragma_update(None, "journal_size_limit", LOG as i64).map_err(&failed)?;
    let page: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(&failed)?;
    let pages = LOG as i64 / page.max(512);
    connection.query_row(&format!("PRAGMA wal_autocheckpoint = {pages}"), [], |_| Ok(())).map_err(&failed)?;
    let damaged = |why: String| HistoryError::Damaged { path: path.to_owned(), why };
    // What all tables must answer: a file that lost one is none of ours any more.
    let check = "SELECT (SELECT count(*) FROM day), (SELECT count(*) FROM gone), (SELECT max(why) FROM unseen), (SELECT day FROM flow LIMIT 1)";
    match connection.query_row(check, [], |row| row.get::<_, i64>(1)) {
        Ok(1) => {}
        Ok(_) => return Err(damaged("a table lost its row".to_owned())),
        Err(error) => return Err(failed(error)),
    }
    if was_cut {
        look_through(&connection, path)?;
    }
    Ok(connection)
}
