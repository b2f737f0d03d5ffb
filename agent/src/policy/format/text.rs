//! Tables as TOML text. In: keys with strings and lists. Out: text that a TOML parser reads as just that.

use std::fmt::Write;

/// A list that is longer stands one element to a line.
const WIDTH: usize = 100;

/// One table of the file.
#[derive(Clone)]
pub(crate) struct Table {
    header: String,
    lines: Vec<String>,
}

/// The file so far.
pub(super) struct Writer {
    text: String,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { text: "version = 1\n".to_owned() }
    }

    pub(super) fn push(&mut self, table: Table) {
        self.text.push('\n');
        self.text.push_str(&table.text());
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

impl Table {
    /// `[device.NAME]`
    pub(crate) fn new(path: &[&str]) -> Self {
        Self { header: format!("[{}]", dotted(path)), lines: Vec::new() }
    }

    /// `[[device.NAME.allow]]`
    pub(crate) fn entry(path: &[&str]) -> Self {
        Self { header: format!("[[{}]]", dotted(path)), lines: Vec::new() }
    }

    /// The table with its header, a line each.
    pub(crate) fn text(self) -> String {
        let Self { header, lines } = self;
        std::iter::once(header).chain(lines).map(|line| line + "\n").collect()
    }

    /// The same as a value within another.
    pub(crate) fn inline(self) -> String {
        format!("{{ {} }}", self.lines.join(", "))
    }

    pub(crate) fn bare(&mut self, key: &str, value: String) {
        self.lines.push(format!("{key} = {value}"));
    }

    pub(crate) fn words(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.bare(key, string(value));
        }
    }

    /// Nothing, if there is nothing to write.
    pub(crate) fn list(&mut self, key: &str, values: impl Iterator<Item = String>) {
        let values: Vec<String> = values.map(|value| string(&value)).collect();
        if !values.is_empty() {
            self.bare(key, array(key.len(), &values));
        }
    }

    pub(super) fn raw_list(&mut self, key: &str, values: &[String]) {
        if !values.is_empty() {
            self.bare(key, array(key.len(), values));
        }
    }
}

/// Values that are TOML already, as an array.
fn array(before: usize, values: &[String]) -> String {
    let line = format!("[{}]", values.join(", "));
    if before + 3 + line.len() <= WIDTH || values.len() == 1 {
        return line;
    }
    format!("[\n{}]", values.iter().map(|value| format!("    {value},\n")).collect::<String>())
}

fn dotted(path: &[&str]) -> String {
    path.iter().map(|name| key(name)).collect::<Vec<_>>().join(".")
}

/// A bare key has letters, digits, `_` and `-` (TOML 1.0, Keys); a name may have dots.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { string(name) }
}

/// A basic string (TOML 1.0, String).
pub(crate) fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
