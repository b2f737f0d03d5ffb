//! The record's own fields as JSON: `docs/violations.md`.

use crate::record::Record;

/// One line.
pub(super) fn encode(record: &Record) -> String {
    record.to_json()
}
