//! A language as a reference for people. In: the root table. Out: Markdown, one section for each table.

use std::fmt::Write;

use super::{Format, Key, Kind, Needs, Table, schema::plain};

/// Every table below `root` with its keys.
pub fn reference(root: &'static Table, title: &str) -> String {
    let mut text = format!(
        "# {title}\n\n<!-- Generated from the agent's own description of the language: `cargo xtask docs`. -->\n"
    );
    for table in root.all() {
        section(&mut text, table).expect("a string takes everything");
    }
    text
}

fn section(text: &mut String, table: &'static Table) -> std::fmt::Result {
    write!(text, "\n## {}\n\n{}\n", heading(table.header), plain(table.doc))?;
    for needs in table.needs {
        let (count, names) = match needs {
            Needs::One(names) => ("Exactly one", names),
            Needs::Any(names) => ("At least one", names),
        };
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        write!(text, "\n{count} of {} is required.\n", names.join(", "))?;
    }
    text.push_str("\n| key | value | default | meaning |\n|---|---|---|---|\n");
    for key in table.keys() {
        let doc = plain(key.doc).replace('\n', " ");
        let doc = if key.example.is_empty() {
            doc
        } else {
            format!("{doc} For example `{} = {}`.", key.name, key.example)
        };
        let cells = [format!("`{}`", key.name), kind(key), default(key), doc];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        writeln!(text, "| {} |", cells.join(" | "))?;
    }
    if !table.example.is_empty() {
        write!(text, "\n```toml\n{}\n```\n", table.example.trim())?;
    }
    Ok(())
}

/// Headers, of which a table may have several, and keys are code; other titles are words.
fn heading(header: &str) -> String {
    if header.starts_with('[') {
        header.split(", ").map(|header| format!("`{header}`")).collect::<Vec<_>>().join(", ")
    } else if header.contains(" = ") {
        format!("`{header}`")
    } else {
        header.to_owned()
    }
}

fn kind(key: &Key) -> String {
    match key.kind {
        Kind::One(format) => text_of(format),
        Kind::Many(format) => format!("{}; one or a list", text_of(format)),
        Kind::Integer { low, high } if low == high => format!("`{low}`"),
        Kind::Integer { low, high } => format!("a whole number from {low} to {high}"),
        Kind::Boolean => "`true` or `false`".to_owned(),
        Kind::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Kind::Time => "a date and time with offset, as in `2027-01-31T18:00:00Z`".to_owned(),
        Kind::Table(table) => format!("a table {}", heading(table.header)),
        Kind::Named(table, _) => format!("tables {}", heading(table.header)),
        Kind::Entries(table) => format!("entries {}", heading(table.header)),
    }
}

fn text_of(format: &Format) -> String {
    match format.words {
        [] => format.doc.to_owned(),
        words => format!("{} (`{}`)", format.doc, words.join("`, `")),
    }
}

fn default(key: &Key) -> String {
    match (key.required, key.default) {
        (true, _) => "required".to_owned(),
        (false, Some(default)) => format!("`{default}`"),
        (false, None) => String::new(),
    }
}
