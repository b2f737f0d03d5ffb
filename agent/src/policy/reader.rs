//! Typed access to a TOML document that reports every problem and goes on.
//!
//! In: text. Out: values with their place; what is missing or of the wrong type is reported to the
//! [`Collector`] and left out. Serves policy files and the agent's configuration alike.

use std::{collections::BTreeSet, ops::Range};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
    value::Datetime,
};

use crate::{
    diagnostic::{At, Collector, Diagnostic, FileId, Location, quote},
    language::Table,
};

#[cfg(test)]
pub(crate) mod log;
mod syntax;

/// A value of a document.
pub(crate) type Value<'i> = Spanned<DeValue<'i>>;

/// A checked value and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Leaf<T> {
    pub(crate) value: T,
    pub(crate) at: At,
}

/// Reads one document.
pub(crate) struct Reader<'c, 's> {
    pub(crate) file: FileId,
    pub(crate) out: &'c mut Collector<'s>,
}

impl Reader<'_, '_> {
    /// The document's table; all its syntax errors are reported. Says also whether there were none.
    pub(crate) fn document<'i>(&mut self, text: &'i str) -> (Spanned<DeTable<'i>>, bool) {
        let (table, errors) = DeTable::parse_recoverable(text);
        if let (Some(found), false) = (syntax::other_language(self, text), errors.is_empty()) {
            self.out.push(found);
            return (table, false);
        }
        let mut lines = BTreeSet::new();
        for error in &errors {
            if self.out.is_full() {
                self.out.skip_error();
                continue;
            }
            let found = syntax::explain(self, text, table.get_ref(), error);
            // What else the parser says of a line mostly follows from the first slip in it.
            if lines.insert(found.location().map(|location| location.line)) {
                self.out.push(found);
            }
        }
        (table, errors.is_empty())
    }

    /// A byte range of this file.
    pub(crate) fn at(&self, span: Range<usize>) -> At {
        let offset = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        At { file: self.file, start: offset(span.start), end: offset(span.end) }
    }

    /// A byte range of this file, for a diagnostic.
    pub(crate) fn locate(&self, span: Range<usize>) -> Location {
        self.out.locate(self.at(span))
    }

    /// Reports keys nobody knows; `what` names the table.
    pub(crate) fn keys(&mut self, table: &DeTable<'_>, described: &'static Table, what: &str) {
        #[cfg(test)]
        log::is(table, described);
        for (key, value) in table {
            let name: &str = key.get_ref();
            if described.knows(name) {
                continue;
            }
            let location = self.locate(key.span());
            if described.later.contains(&name) {
                let message = format!("{} in {what} is not supported by this version", quote(name));
                let help = "remove it, or update the agent: this version would not do what it says";
                self.out.push(Diagnostic::error("BH0103", message).at(location, "not supported").help(help));
                continue;
            }
            let known = described.known();
            let help = match self.out.suggest(name, known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => astray(described, what, key.get_ref(), value)
                    .unwrap_or_else(|| format!("known keys are {}", list(&known))),
            };
            let message = format!("unknown key {} in {what}", quote(name));
            self.out.push(Diagnostic::error("BH0101", message).at(location, "unknown key").help(help));
        }
    }

    /// The sub-tables of `key`, by name: `[device.NAME]`.
    pub(crate) fn named_tables<'t, 'i>(
        &mut self,
        table: &'t DeTable<'i>,
        key: &str,
    ) -> Vec<(Leaf<String>, &'t DeTable<'i>)> {
        let Some((at, value)) = get(table, key) else { return Vec::new() };
        let Some(tables) = value.get_ref().as_table() else {
            let expected = format!("a table for each name, as in `[{key}.NAME]`");
            // `device = 1` and `[[device]]`: the key is the only place a reader recognises in both.
            self.wrong_type(key, value, at.span(), &expected);
            return Vec::new();
        };
        let mut found = Vec::new();
        for (name, value) in tables {
            match value.get_ref().as_table() {
                Some(table) => {
                    let at = self.at(name.span());
                    found.push((Leaf { value: name.get_ref().to_string(), at }, table));
                }
                None => self.wrong_type(
                    name.get_ref(),
                    value,
                    name.span(),
                    &format!("a table `[{key}.{}]`", name.get_ref()),
                ),
            }
        }
        found
    }

    /// The entries of an array of tables: `[[device.NAME.allow]]`.
    pub(crate) fn tables<'t, 'i>(
        &mut self,
        table: &'t DeTable<'i>,
        key: &str,
        example: &str,
    ) -> Vec<(At, &'t DeTable<'i>)> {
        let Some((_, value)) = get(table, key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, value, value.span(), &format!("a list of tables, as in `{example}`"));
            return Vec::new();
        };
        let mut found = Vec::new();
        for entry in array {
            match entry.get_ref().as_table() {
                Some(table) => found.push((self.at(entry.span()), table)),
                None => self.wrong_type(key, entry, entry.span(), &format!("a table, as in `{example}`")),
            }
        }
        found
    }

    /// The table behind `key`, if there is one.
    pub(crate) fn table<'t, 'i>(
        &mut self,
        table: &'t DeTable<'i>,
        key: &str,
    ) -> Option<(At, &'t DeTable<'i>)> {
        let (at, value) = get(table, key)?;
        match value.get_ref().as_table() {
            Some(found) => Some((self.at(at.span()), found)),
            None => {
                self.wrong_type(key, value, value.span(), &format!("a table `[{key}]`"));
                None
            }
        }
    }

    /// A string.
    pub(crate) fn string(&mut self, table: &DeTable<'_>, key: &str) -> Option<Leaf<String>> {
        let (_, value) = get(table, key)?;
        match value.get_ref().as_str() {
            Some(text) => Some(Leaf { value: text.to_owned(), at: self.at(value.span()) }),
            None => {
                self.wrong_type(key, value, value.span(), "a text in quotes");
                None
            }
        }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, table: &DeTable<'_>, key: &str) -> Option<Leaf<bool>> {
        let (_, value) = get(table, key)?;
        match value.get_ref().as_bool() {
            Some(flag) => Some(Leaf { value: flag, at: self.at(value.span()) }),
            None => {
                self.wrong_type(key, value, value.span(), "`true` or `false`");
                None
            }
        }
    }

    /// A whole number; one beyond 64 bits is reported as out of range by its caller's own check.
    pub(crate) fn integer(&mut self, table: &DeTable<'_>, key: &str) -> Option<Leaf<i64>> {
        let (_, value) = get(table, key)?;
        match value.get_ref().as_integer() {
            Some(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix()).unwrap_or(i64::MAX);
                Some(Leaf { value: parsed, at: self.at(value.span()) })
            }
            None => {
                self.wrong_type(key, value, value.span(), "a whole number");
                None
            }
        }
    }

    /// A date, with whatever else was written.
    pub(crate) fn date_time(&mut self, table: &DeTable<'_>, key: &str) -> Option<Leaf<Datetime>> {
        let (_, value) = get(table, key)?;
        match value.get_ref().as_datetime() {
            Some(found) => Some(Leaf { value: *found, at: self.at(value.span()) }),
            None => {
                let expected = "date, time and offset without quotes, as in `2027-01-31T18:00:00Z`";
                self.wrong_type(key, value, value.span(), expected);
                None
            }
        }
    }

    /// One string or a list of strings. `None` when the key is absent or unusable as a whole.
    pub(crate) fn strings(&mut self, table: &DeTable<'_>, key: &str) -> Option<Leaf<Vec<Leaf<String>>>> {
        self.texts(table, key, false, "a text in quotes, or a list of them")
    }

    /// One string or integer, or a list of them; integers come as their decimal digits.
    pub(crate) fn numbers(&mut self, table: &DeTable<'_>, key: &str) -> Option<Leaf<Vec<Leaf<String>>>> {
        self.texts(table, key, true, "a number, a text in quotes, or a list of them")
    }

    fn texts(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        integers: bool,
        expected: &str,
    ) -> Option<Leaf<Vec<Leaf<String>>>> {
        let (_, value) = get(table, key)?;
        let at = self.at(value.span());
        let mut found = Vec::new();
        match value.get_ref().as_array() {
            Some(array) => {
                for entry in array {
                    match text(entry, integers) {
                        Some(text) => found.push(Leaf { value: text, at: self.at(entry.span()) }),
                        None => self.wrong_type(key, entry, entry.span(), expected),
                    }
                }
                // A list of nothing but wrong types has been reported; it is not an empty list.
                (!found.is_empty() || array.is_empty()).then_some(Leaf { value: found, at })
            }
            None => match text(value, integers) {
                Some(text) => Some(Leaf { value: vec![Leaf { value: text, at }], at }),
                None => {
                    self.wrong_type(key, value, value.span(), expected);
                    None
                }
            },
        }
    }

    fn wrong_type(&mut self, key: &str, value: &Value<'_>, span: Range<usize>, expected: &str) {
        let found = kind(value.get_ref());
        let location = self.locate(span);
        self.out.push(
            Diagnostic::error("BH0102", format!("{} is {found}", quote(key)))
                .at(location, found)
                .help(format!("write {expected}")),
        );
    }
}

/// What a value is, in words that need no knowledge of TOML.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "a switch (`true` or `false`)",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// What stands behind `key`, and where the key stands.
fn get<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<(&'t Spanned<DeString<'i>>, &'t Value<'i>)> {
    #[cfg(test)]
    log::read(table, key);
    table.get_key_value(key)
}

fn text(value: &Value<'_>, integers: bool) -> Option<String> {
    let value = value.get_ref();
    match (value.as_str(), value.as_integer()) {
        (Some(text), _) => Some(text.to_owned()),
        (None, Some(number)) if integers => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Some(parsed.map_or_else(|_| number.as_str().to_owned(), |number| number.to_string()))
        }
        (None, Some(_) | None) => None,
    }
}

/// Where a key belongs that is unknown where it stands; a name with dots looks like a key of a shorter name.
fn astray(described: &'static Table, what: &str, key: &str, value: &Value<'_>) -> Option<String> {
    if let Some(header) = described.home(key) {
        return Some(format!("it belongs below a header `{header}`"));
    }
    let named = described.header.split_once(".NAME").filter(|_| value.get_ref().is_table());
    let (kind, outer) = (named?.0, what.split('`').nth(1)?);
    Some(format!("a name with a dot stands in quotes: `{kind}.\"{outer}.{key}\"]`"))
}

/// Names for a sentence: `` `a`, `b` and `c` ``.
pub(crate) fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
