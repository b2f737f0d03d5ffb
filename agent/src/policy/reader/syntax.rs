//! TOML's own errors as diagnostics. In: the parser's error. Out: place, message and what to write.

use std::ops::Range;

use toml::de::DeTable;

use super::Reader;
use crate::diagnostic::{Diagnostic, quote};

/// What the parser says about a notation mistake, and what mends it.
const HELP: &[(&str, &str)] = &[
    ("unclosed array table", "close the header with `]]`"),
    ("unclosed table", "close the header with `]`"),
    ("unclosed array", "close the list with `]`"),
    ("missing comma", "separate the elements with commas, or close the list with `]`"),
    ("invalid basic string", "close the string with `\"` on the same line"),
    ("invalid literal string", "close the string with `'` on the same line"),
    ("key with no value", "write `key = value`, or start a comment with `#`"),
    ("extra `=`", "write a single `=` between key and value"),
    ("leading zero", "write the number without leading zeros, or put it between quotes"),
    ("unexpected key or value", "write each `key = value` on a line of its own"),
];

/// What the parser says of an address, a name or a word that stands without quotes.
const UNQUOTED: &[&str] =
    &["string values must be quoted", "invalid float", "invalid time", "invalid date", "invalid integer"];

/// What ends a value that stands without quotes.
const ENDS: &[char] = &[' ', '\t', '\r', '\n', ',', '[', ']', '{', '}', '#', '='];

/// Quotes of word processors and of other languages.
const ODD_QUOTES: &[char] = &[
    '\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{201a}', '\u{ab}', '\u{bb}', '`', '\u{b4}',
];

pub(super) fn explain(
    reader: &Reader<'_, '_>,
    text: &str,
    table: &DeTable<'_>,
    error: &toml::de::Error,
) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    if error.message().contains("duplicate key") {
        return given_twice(reader, text, table, span);
    }
    if UNQUOTED.iter().any(|part| error.message().contains(part))
        && let Some(found) = unquoted(reader, text, span.clone())
    {
        return found;
    }
    if error.message().contains("unexpected `=` in array") {
        let found = Diagnostic::error("BH0001", "the list above this line is not closed");
        return found.at(reader.locate(span), "").help("close the list with `]`");
    }
    let message = error.message().replace('\n', ", ").replace(", expected nothing", "");
    let help = HELP.iter().find(|(part, _)| message.contains(part)).map(|(_, help)| *help);
    Diagnostic::error("BH0001", message)
        .at(reader.locate(span), "")
        .help(help.unwrap_or("see https://toml.io/en/v1.1.0 for the notation"))
}

/// A word without quotes; or a key, where a list above it was not closed.
fn unquoted(reader: &Reader<'_, '_>, text: &str, span: Range<usize>) -> Option<Diagnostic> {
    let before = text.get(..span.start)?;
    let start = before.rfind(ENDS).map_or(0, |at| at + 1);
    let after = text.get(span.start..)?;
    let end = span.start + after.find(ENDS).unwrap_or(after.len());
    let word = text.get(start..end).filter(|word| !word.is_empty())?;
    let location = reader.locate(start..end);
    if text.get(end..)?.trim_start_matches([' ', '\t']).starts_with('=') {
        let found = Diagnostic::error("BH0001", "the list above this line is not closed");
        return Some(found.at(location, "taken for an element of the list").help("close the list with `]`"));
    }
    let bare = word.trim_matches(ODD_QUOTES);
    if bare.len() < word.len() {
        let found = Diagnostic::error("BH0001", format!("{} has quotes of another kind", quote(word)));
        return Some(found.at(location, "").help(format!("write straight quotes: `\"{bare}\"`")));
    }
    // What is a number or a date after all has its own story.
    if word.contains(['"', '\'']) {
        return None;
    }
    let found = Diagnostic::error("BH0001", format!("{} does not stand in quotes", quote(word)));
    Some(found.at(location, "").help(format!("write `\"{word}\"`")))
}

/// A file that does not even begin like a policy: what the parser says of its lines helps nobody.
pub(super) fn other_language(reader: &Reader<'_, '_>, text: &str) -> Option<Diagnostic> {
    let begins = text.trim_start();
    let names = [("---", "YAML"), ("{", "JSON"), ("<", "XML")];
    let (start, name) = names.into_iter().find(|(start, _)| begins.starts_with(start))?;
    let first = text.len() - begins.len();
    let location = reader.locate(first..first + start.len());
    let found = Diagnostic::error("BH0001", format!("this looks like {name}, and the file must be TOML"));
    Some(found.at(location, "").help("see https://toml.io/en/v1.1.0 for the notation"))
}

fn given_twice(reader: &Reader<'_, '_>, text: &str, table: &DeTable<'_>, span: Range<usize>) -> Diagnostic {
    let location = reader.locate(span.clone());
    let key = text.get(span.clone()).unwrap_or_default();
    let name = key.trim_matches(['"', '\'']);
    let found = Diagnostic::error("BH0002", format!("{} is given twice in one table", quote(name)))
        .at(location, "given again")
        .help("keep one of them; to give several values, write a list");
    let first = earlier(table, name, span.start).or_else(|| earlier_header(text, span));
    match first {
        Some(first) => found.also(reader.locate(first), "given first here"),
        None => found,
    }
}

/// The same key in the same table header further up: the recovered table keeps only the later one's place.
fn earlier_header(text: &str, key: Range<usize>) -> Option<Range<usize>> {
    let start = text.get(..key.start)?.rfind('\n').map_or(0, |end| end + 1);
    let end = text.get(key.end..)?.find('\n').map_or(text.len(), |length| key.end + length);
    let header = text.get(start..end)?.trim_end();
    let mut offset = 0;
    for line in text.get(..start)?.split_inclusive('\n') {
        if line.trim_end() == header {
            return Some(offset + key.start - start..offset + key.end - start);
        }
        offset += line.len();
    }
    None
}

/// The nearest key called `name` that ends before byte `before`.
fn earlier(table: &DeTable<'_>, name: &str, before: usize) -> Option<Range<usize>> {
    let mut found: Option<Range<usize>> = None;
    // An explicit stack: the parser bounds the depth, but this need not rely on it.
    let mut tables = vec![table];
    while let Some(table) = tables.pop() {
        for (key, value) in table {
            let span = key.span();
            let nearer = found.as_ref().is_none_or(|best| span.start > best.start);
            if key.get_ref() == name && span.end <= before && nearer {
                found = Some(span);
            }
            if let Some(inner) = value.get_ref().as_table() {
                tables.push(inner);
            }
            if let Some(list) = value.get_ref().as_array() {
                tables.extend(list.iter().filter_map(|entry| entry.get_ref().as_table()));
            }
        }
    }
    found
}
