//! TOML's own errors as diagnostics. In: the parser's error. Out: place, message and what to write.

use toml::de::DeTable;

use super::Reader;
use crate::diagnostic::{Diagnostic, quote};

/// What the parser says about a notation mistake, and what mends it.
const HELP: &[(&str, &str)] = &[
    ("string values must be quoted", "put the text between double quotes"),
    ("unclosed array table", "close the header with `]]`"),
    ("unclosed table", "close the header with `]`"),
    ("unclosed array", "close the list with `]`"),
    ("missing comma", "separate the elements with commas, or close the list with `]`"),
    ("invalid basic string", "close the string with `\"` on the same line"),
    ("invalid literal string", "close the string with `'` on the same line"),
    ("key with no value", "write `key = value`, or start a comment with `#`"),
    ("extra `=`", "write a single `=` between key and value"),
    ("leading zero", "write the number without leading zeros, or put it between quotes"),
];

pub(super) fn explain(
    reader: &Reader<'_, '_>,
    text: &str,
    table: &DeTable<'_>,
    error: &toml::de::Error,
) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    let location = reader.locate(span.clone());
    if error.message().contains("duplicate key") {
        let key = text.get(span.clone()).unwrap_or_default();
        let name = key.trim_matches(['"', '\'']);
        let found = Diagnostic::error("BH0002", format!("{} is given twice in one table", quote(name)))
            .at(location, "given again")
            .help("keep one of them; to give several values, write a list");
        let first = earlier(table, name, span.start).or_else(|| earlier_header(text, span));
        return match first {
            Some(first) => found.also(reader.locate(first), "given first here"),
            None => found,
        };
    }
    let message = error.message().replace('\n', ", ").replace(", expected nothing", "");
    let help = HELP.iter().find(|(part, _)| message.contains(part)).map(|(_, help)| *help);
    Diagnostic::error("BH0001", message)
        .at(location, "")
        .help(help.unwrap_or("see https://toml.io/en/v1.1.0 for the notation"))
}

/// The same key in the same table header further up: the recovered table keeps only the later one's place.
fn earlier_header(text: &str, key: std::ops::Range<usize>) -> Option<std::ops::Range<usize>> {
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
fn earlier(table: &DeTable<'_>, name: &str, before: usize) -> Option<std::ops::Range<usize>> {
    let mut found: Option<std::ops::Range<usize>> = None;
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
