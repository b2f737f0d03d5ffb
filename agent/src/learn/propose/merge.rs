//! What is added finds its place in a file. In: the text of a file, and what is to be added to it. Out: the same text with it: every byte that was there is
//! there, in its order.
//!
//! Entries stand behind what their device or class has already, declarations at the end of the file. A parser says where that is; the text is
//! never written anew.

use std::ops::Range;

use toml_edit::{Document, Item, Table, Value};

use super::text::{Piece, Rule};

/// A file, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The file.
    pub path: String,
    /// As it was.
    pub before: String,
    /// As it is proposed.
    pub after: String,
}

/// Something cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// The file is no TOML.
    #[error("`{path}` cannot be read as TOML: {why}\nhint: `bulkhead check` says more about it")]
    Syntax {
        /// The file.
        path: String,
        /// What the parser says.
        why: String,
    },
    /// The holder is not where it was.
    #[error(
        "`{path}` does not declare {kind} `{name}`\nhint: the file changed meanwhile, or two files of the policy have this path: ask again"
    )]
    Gone {
        /// The file.
        path: String,
        /// `device` or `class`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

/// Something that is put somewhere.
struct Insert {
    at: usize,
    text: String,
}

/// Where a holder's next entry goes.
enum Place {
    /// As a table, behind this byte.
    Behind(usize),
    /// As a value of an array, behind its last value; the array is empty if there is none.
    Array { at: usize, is_empty: bool },
    /// As a key of an inline table, behind its last key.
    Key { at: usize, is_empty: bool },
}

/// Adds a piece to its file.
///
/// # Errors
/// [`MergeError`] when the file is not what it was when it was read as a policy.
pub fn merge(text: &str, piece: &Piece) -> Result<Merged, MergeError> {
    let Piece { path, rules, declared } = piece;
    let document = Document::parse(text)
        .map_err(|error| MergeError::Syntax { path: path.clone(), why: error.message().to_owned() })?;
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut inserts: Vec<Insert> = Vec::new();
    // Whatever a person has to decide is asked once.
    let asked = |rule: &Rule| rule.marks.iter().all(|mark| text.contains(&format!("\n# {mark}")));
    let rules: Vec<&Rule> = rules.iter().filter(|rule| !(rule.undecided && asked(rule))).collect();
    for of_one in rules.chunk_by(|a, b| a.holder == b.holder) {
        let (kind, name) = &of_one[0].holder;
        let place = place(document.as_table(), kind, name, text);
        let gone = || MergeError::Gone { path: path.clone(), kind, name: name.clone() };
        inserts.push(insert(text, place.ok_or_else(gone)?, of_one));
    }
    let declared: String = declared.iter().map(|table| format!("\n{table}")).collect();
    if !declared.is_empty() {
        inserts.push(Insert { at: text.len(), text: declared });
    }
    // What comes first in the file first; at one place in the order of the rules.
    inserts.sort_by_key(|insert| insert.at);
    let mut after = String::with_capacity(text.len() + 4096);
    let mut from = 0;
    for Insert { at, text: new } in inserts {
        after.push_str(&text[from..at]);
        if at == text.len() && !after.is_empty() && !after.ends_with('\n') {
            after.push_str(newline);
        }
        after.push_str(&if newline == "\n" { new } else { new.replace('\n', newline) });
        from = at;
    }
    after.push_str(&text[from..]);
    Ok(Merged { path: path.clone(), before: text.to_owned(), after })
}

fn insert(text: &str, place: Place, rules: &[&Rule]) -> Insert {
    let decided: Vec<&Rule> = rules.iter().copied().filter(|rule| !rule.undecided).collect();
    let values = || {
        let value = |rule: &&Rule| {
            let reasons: String = rule.reasons.iter().map(|line| format!("\n    # {line}")).collect();
            format!("{reasons}\n    {}", rule.inline)
        };
        decided.iter().map(value).collect::<Vec<_>>().join(",")
    };
    // What a person has to decide stands behind them.
    let asked: String =
        rules.iter().filter(|rule| rule.undecided).map(|rule| format!("\n{}", rule.comment())).collect();
    match place {
        Place::Behind(at) => {
            // An entry at the end of a line begins on the next one.
            let before = if at > 0 && !text[..at].ends_with('\n') && at < text.len() { "\n" } else { "" };
            let blocks: String = rules.iter().map(|rule| format!("\n{}", rule.block())).collect();
            Insert { at, text: before.to_owned() + &blocks }
        }
        Place::Array { at, is_empty } => {
            let comma = if is_empty || decided.is_empty() { "" } else { "," };
            let end = if is_empty || !asked.is_empty() { "\n" } else { "" };
            Insert { at, text: format!("{comma}{}{asked}{end}", values()) }
        }
        Place::Key { at, is_empty } => {
            let comma = if is_empty { " " } else { ", " };
            Insert { at, text: format!("{comma}allow = [{}{asked}\n]", values()) }
        }
    }
}

/// Where the next entry of a holder goes; `None` when it is not declared here.
fn place(root: &Table, kind: &str, name: &str, text: &str) -> Option<Place> {
    let holder = root.get(kind)?.as_table_like()?.get(name)?;
    if let Some(inline) = holder.as_inline_table() {
        if let Some(allow) = inline.get("allow") {
            return array(allow);
        }
        let span = inline.span()?;
        let at = inline.iter().filter_map(|(_, value)| value.span()).map(|span| span.end).max();
        return Some(Place::Key { at: at.unwrap_or(span.start + 1), is_empty: at.is_none() });
    }
    let table = holder.as_table()?;
    match table.get("allow") {
        Some(Item::Value(allow)) => return array(allow),
        Some(Item::Table(_) | Item::ArrayOfTables(_) | Item::None) | None => {}
    }
    // A table of dotted keys ends nowhere: whatever followed would become part of the entry.
    if table.is_dotted() || !header_of(table) {
        return Some(Place::Behind(text.len()));
    }
    let end = end_of(holder)?;
    let line = text[end..].find('\n').map_or(text.len(), |newline| end + newline + 1);
    Some(Place::Behind(line))
}

fn array(allow: &Value) -> Option<Place> {
    let array = allow.as_array()?;
    let last = array.iter().filter_map(Value::span).map(|span: Range<usize>| span.end).max();
    Some(Place::Array { at: last.unwrap_or(array.span()?.start + 1), is_empty: last.is_none() })
}

/// Whether it has a header of its own.
fn header_of(table: &Table) -> bool {
    !table.is_implicit() || table.get("allow").is_some_and(Item::is_array_of_tables)
}

/// Behind the last byte of what is said of an item.
fn end_of(item: &Item) -> Option<usize> {
    match item {
        Item::None => None,
        Item::Value(value) => value.span().map(|span| span.end),
        Item::Table(table) => {
            let own = table.span().map(|span| span.end);
            table.iter().filter_map(|(_, item)| end_of(item)).chain(own).max()
        }
        Item::ArrayOfTables(tables) => {
            let ends = tables.iter().flat_map(|table| {
                let own = table.span().map(|span| span.end);
                table.iter().filter_map(|(_, item)| end_of(item)).chain(own)
            });
            ends.max()
        }
    }
}
