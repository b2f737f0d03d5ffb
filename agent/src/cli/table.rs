//! Tables for a terminal.

use comfy_table::{ContentArrangement, Table, presets};

/// A table with a header and no frame, as wide as its content.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    table
}

/// The lines of a table without trailing blanks.
pub(super) fn print(table: &Table) {
    for line in table.to_string().lines() {
        out!("{}", line.trim_end().strip_prefix(' ').unwrap_or(line.trim_end()));
    }
}
