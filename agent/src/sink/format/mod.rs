//! A record as one line, in the language its receiver reads.
//!
//! In: a record. Out: one line without its end, no longer than was asked for. Names come from policies, interfaces and hosts;
//! before a format sees them, each is made harmless: nothing in it ends a line, and none is long. What a format quotes
//! besides is its own matter.

use crate::record::{Format, Record};

mod cef;
mod ecs;
mod leef;
mod native;
mod ocsf;
mod tame;
mod words;

use tame::LEVELS;
pub(super) use tame::{Level, tame};
pub(super) use words::{cause, sentence, severity_of};

/// What every format calls the maker of its records, and the product.
const VENDOR: &str = "Bulkhead";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Longest line that any receiver is sent, bytes, its end left out: with it, what a pipe takes whole (`PIPE_BUF`, pipe(7)).
pub const LONGEST: usize = 4095;

/// The record as one line of at most [`LONGEST`] bytes.
pub fn encode(format: Format, record: &Record) -> String {
    encode_within(format, record, LONGEST).unwrap_or_else(|| line(format, record, LEVELS[LEVELS.len() - 1]))
}

/// The record as one line of at most `limit` bytes: the sample frame goes first, then what is long is cut. `None` when even
/// the shortest form is longer, which no limit of 2000 bytes or more makes happen.
pub fn encode_within(format: Format, record: &Record, limit: usize) -> Option<String> {
    LEVELS.into_iter().map(|level| line(format, record, level)).find(|line| line.len() <= limit)
}

fn line(format: Format, record: &Record, level: Level) -> String {
    let record = tame(record, level);
    match format {
        Format::Native => native::encode(&record),
        Format::Ecs => ecs::encode(&record, level.sentence),
        Format::Ocsf => ocsf::encode(&record, level.sentence),
        Format::Cef => cef::encode(&record),
        Format::Leef => leef::encode(&record),
    }
}

#[cfg(test)]
pub(in crate::sink) mod tests;
