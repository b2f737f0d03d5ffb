//! Reading: kind by kind, in constant memory, while somebody else may write.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, binary_heap::PeekMut},
    fs,
    ops::{Bound, ControlFlow, RangeBounds},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, Transaction};

use super::{
    HistoryError, io_error, log_of,
    schema::{self, COLUMNS, Found},
    sqlite,
};
use crate::traffic::{Day, Row, Unseen};

/// For so long a reader waits for whoever makes the log anew.
const PATIENCE: Duration = Duration::from_secs(10);

/// A history, to be read.
pub struct Reader {
    path: PathBuf,
    connection: Connection,
}

/// What is kept of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub day: Day,
    /// How many rows.
    pub rows: u64,
    /// In which part of it the agent watched, with gaps or without; none when its rows are all from elsewhere.
    pub watched: Option<Watched>,
}

/// From the beginning of observation to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Seconds since 1970 (UTC).
    pub from: i64,
    /// The same.
    pub to: i64,
}

impl Reader {
    /// Opens a history that another process may be writing. Nothing in it is changed.
    ///
    /// # Errors
    /// When there is none at this place, or it is of another version, or damaged.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let there = fs::metadata(path);
        if there.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Err(HistoryError::Missing { path: path.to_owned() });
        }
        // SQLite would not say why.
        there.and_then(|_| fs::File::open(path)).map_err(io_error("open", path))?;
        Self::connected(path, OpenFlags::empty(), path.as_os_str())
            .or_else(|error| Self::without_log(path).unwrap_or(Err(error)))
    }

    /// A file in a folder where nothing can be made is read as it is, if there is no log that belongs to it.
    fn without_log(path: &Path) -> Option<Result<Self, HistoryError>> {
        let no_log = fs::metadata(log_of(path)).map_or(true, |log| log.len() == 0);
        let text = path.to_str().filter(|_| no_log)?;
        let escaped: String = text
            .chars()
            .map(|c| match c {
                '%' => "%25".to_owned(),
                '?' => "%3f".to_owned(),
                '#' => "%23".to_owned(),
                c => c.to_string(),
            })
            .collect();
        let uri = format!("file:{escaped}?immutable=1");
        Self::connected(path, OpenFlags::SQLITE_OPEN_URI, uri.as_ref()).ok().map(Ok)
    }

    fn connected(path: &Path, more: OpenFlags, name: &std::ffi::OsStr) -> Result<Self, HistoryError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
        let connection = Connection::open_with_flags(Path::new(name), flags).map_err(sqlite("open", path))?;
        connection.busy_timeout(PATIENCE).map_err(sqlite("open", path))?;
        match schema::look(&connection, path)? {
            Found::Ours => Ok(Self { path: path.to_owned(), connection }),
            // Made, and not begun yet.
            Found::Empty => Err(HistoryError::Missing { path: path.to_owned() }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One moment: as long as it is held, nothing is seen of what is added meanwhile, however often the reader is asked. There may be one
    /// at a time.
    ///
    /// # Errors
    /// As [`Reader::rows`].
    pub fn moment(&self) -> Result<Transaction<'_>, HistoryError> {
        self.connection.unchecked_transaction().map_err(sqlite("read", &self.path))
    }

    /// Gives every row of these days to `each`, in the order of [`Row::in_order`] and as of one moment, until it has
    /// enough. Takes a few MiB however many rows there are.
    ///
    /// # Errors
    /// When the file cannot be read, or what is in it is not what was written.
    pub fn rows(
        &self,
        days: impl RangeBounds<Day>,
        mut each: impl FnMut(Row) -> ControlFlow<()>,
    ) -> Result<(), HistoryError> {
        let failed = sqlite("read", &self.path);
        let _moment = if self.connection.is_autocommit() { Some(self.moment()?) } else { None };
        let days = self.days_within(days)?;
        let one = format!(
            "SELECT {COLUMNS} FROM flow WHERE day = ?1 ORDER BY from_ip, from_mac, to_ip, to_mac, protocol, number"
        );
        let statements: Result<Vec<_>, _> =
            days.iter().map(|_| self.connection.prepare(&one).map_err(&failed)).collect();
        let mut statements = statements?;
        // Each day is in order; the least row of all days is the next.
        let mut heads = BinaryHeap::with_capacity(days.len());
        for (statement, kept) in statements.iter_mut().zip(&days) {
            let mut rest = statement.query([kept.day.0]).map_err(&failed)?;
            if let Some(row) = self.next(&mut rest)? {
                heads.push(Head { row, rest });
            }
        }
        while let Some(mut head) = heads.peek_mut() {
            let next = self.next(&mut head.rest)?;
            let row = match next {
                Some(next) => std::mem::replace(&mut head.row, next),
                None => PeekMut::pop(head).row,
            };
            if each(row).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn next(&self, rows: &mut rusqlite::Rows<'_>) -> Result<Option<Row>, HistoryError> {
        let Some(found) = rows.next().map_err(sqlite("read", &self.path))? else { return Ok(None) };
        match schema::row(found) {
            Ok(Some(row)) => Ok(Some(row)),
            Ok(None) => Err(self.damaged("a row")),
            Err(error) => Err(sqlite("read", &self.path)(error)),
        }
    }

    /// Which days there are, from the oldest on.
    ///
    /// # Errors
    /// As [`Reader::rows`].
    pub fn days(&self) -> Result<Vec<Kept>, HistoryError> {
        self.days_within(..)
    }

    fn days_within(&self, days: impl RangeBounds<Day>) -> Result<Vec<Kept>, HistoryError> {
        let bound = |bound: Bound<&Day>, none: i64, beyond: i64| match bound {
            Bound::Included(day) => i64::from(day.0),
            Bound::Excluded(day) => i64::from(day.0) + beyond,
            Bound::Unbounded => none,
        };
        let low = bound(days.start_bound(), i64::MIN, 1);
        let high = bound(days.end_bound(), i64::MAX, -1);
        let failed = sqlite("read", &self.path);
        let text = "SELECT day, rows, began, until FROM day WHERE day BETWEEN ?1 AND ?2 ORDER BY day";
        let mut statement = self.connection.prepare(text).map_err(&failed)?;
        let mut rows = statement.query([low, high]).map_err(&failed)?;
        let mut days = Vec::new();
        while let Some(row) = rows.next().map_err(&failed)? {
            let get = || -> rusqlite::Result<(i64, i64, Option<i64>, Option<i64>)> {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            };
            let (day, rows, from, to) = get().map_err(&failed)?;
            let (Ok(day), Ok(rows)) = (i32::try_from(day), u64::try_from(rows)) else {
                return Err(self.damaged("a day"));
            };
            let watched = from.zip(to).map(|(from, to)| Watched { from, to });
            days.push(Kept { day: Day(day), rows, watched });
        }
        Ok(days)
    }

    /// What is known to be missing, from the oldest on.
    ///
    /// # Errors
    /// As [`Reader::rows`].
    pub fn unseen(&self) -> Result<Vec<Unseen>, HistoryError> {
        let failed = sqlite("read", &self.path);
        let mut statement = self
            .connection
            .prepare("SELECT began, until, why, count FROM unseen ORDER BY began, until, why")
            .map_err(&failed)?;
        let mut rows = statement.query([]).map_err(&failed)?;
        let mut unseen = Vec::new();
        while let Some(row) = rows.next().map_err(&failed)? {
            let get =
                || -> rusqlite::Result<[i64; 4]> { Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]) };
            let [from, to, why, count] = get().map_err(&failed)?;
            let (Some(why), Ok(count)) = (schema::why(why), u64::try_from(count)) else {
                return Err(self.damaged("a gap"));
            };
            unseen.push(Unseen { from, to, why, count });
        }
        Ok(unseen)
    }

    fn damaged(&self, what: &str) -> HistoryError {
        HistoryError::Damaged {
            path: self.path.clone(),
            why: format!("{what} holds values that nobody wrote"),
        }
    }
}

/// The next row of a day, and those behind it.
struct Head<'s> {
    row: Row,
    rest: rusqlite::Rows<'s>,
}

impl Ord for Head<'_> {
    /// The least row is the greatest head: a heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.row.in_order(&self.row)
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}
