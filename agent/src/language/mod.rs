//! A description of what a file may say: which tables, which keys, what each means and looks like.
//!
//! In: [`table!`] items, whose doc comments are the text a user reads. Out: the keys a parser accepts, a JSON Schema
//! for editors ([`schema()`]) and a reference for people ([`reference()`]). There is no second list of keys, so none
//! can be out of date; the languages themselves stand in `policy` and `config`.

mod markdown;
mod schema;

pub use markdown::reference;
pub use schema::{as_json, schema};

/// A table of a file: `[device.NAME]`.
#[derive(Debug)]
pub struct Table {
    /// One word, unique within a language: `device`.
    pub name: &'static str,
    /// How its header is written: `[device.NAME]`.
    pub header: &'static str,
    /// What it is for; Markdown.
    pub doc: &'static str,
    /// TOML as a user would write it; empty when there is nothing to show.
    pub example: &'static str,
    /// What it may say.
    pub keys: &'static [Key],
    /// Tables whose keys it has besides its own.
    pub with: &'static [&'static Table],
    /// What must stand in it together.
    pub needs: &'static [Needs],
    /// Keys of later versions of the language, which are refused by name.
    pub later: &'static [&'static str],
}

/// A key of a table.
#[derive(Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What it means; Markdown.
    pub doc: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// Whether a table without it is an error.
    pub required: bool,
    /// The value that leaving it out means, in TOML.
    pub default: Option<&'static str>,
    /// A value, in TOML; empty where the table's own example shows it.
    pub example: &'static str,
}

/// A key whose value is one text of a format.
pub const fn one(format: &'static Format) -> Key {
    Key::of(Kind::One(format))
}

/// A key whose value is one text of a format or a list of them.
pub const fn many(format: &'static Format) -> Key {
    Key::of(Kind::Many(format))
}

/// A key whose value is a whole number from `low` to `high`.
pub const fn integer(low: i64, high: i64) -> Key {
    Key::of(Kind::Integer { low, high })
}

/// A key whose value is one of a few words.
pub const fn word(words: &'static [&'static str]) -> Key {
    Key::of(Kind::Word(words))
}

impl Key {
    /// A key of this kind, for [`table!`].
    pub const fn of(kind: Kind) -> Self {
        Self { name: "", doc: "", kind, required: false, default: None, example: "" }
    }

    /// A table without it is an error.
    #[must_use]
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// What leaving it out means, in TOML.
    #[must_use]
    pub const fn default(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    /// A value, in TOML.
    #[must_use]
    pub const fn example(self, example: &'static str) -> Self {
        Self { example, ..self }
    }
}

/// What a value looks like.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// One text of a format.
    One(&'static Format),
    /// One text of a format or a list of them.
    Many(&'static Format),
    /// A whole number in a range.
    Integer {
        /// The smallest.
        low: i64,
        /// The largest.
        high: i64,
    },
    /// `true` or `false`.
    Boolean,
    /// One of a few words.
    Word(&'static [&'static str]),
    /// A date with time and offset, as TOML writes it.
    Time,
    /// One table: `[quarantine]`.
    Table(&'static Table),
    /// A table for each name: `[device.NAME]`.
    Named(&'static Table, &'static Format),
    /// A list of tables: `[[device.NAME.allow]]`.
    Entries(&'static Table),
}

/// A kind of text, such as a MAC address.
#[derive(Debug)]
pub struct Format {
    /// With its article's noun: `MAC address`.
    pub name: &'static str,
    /// What it is written like; Markdown.
    pub doc: &'static str,
    /// A regular expression that every accepted text matches, in the part of ECMA 262 that all engines share.
    pub pattern: &'static str,
    /// Words that are texts of this format, for an editor to offer.
    pub words: &'static [&'static str],
    /// The range in which a bare number does as well.
    pub number: Option<(i64, i64)>,
}

/// What must stand in a table together.
#[derive(Clone, Copy, Debug)]
pub enum Needs {
    /// Exactly one of these keys.
    One(&'static [&'static str]),
    /// At least one of these keys.
    Any(&'static [&'static str]),
}

impl Table {
    /// A table with this header, for [`table!`].
    pub const fn of(header: &'static str) -> Self {
        Self { name: "", header, doc: "", example: "", keys: &[], with: &[], needs: &[], later: &[] }
    }

    /// Shows it as a user would write it, in TOML.
    #[must_use]
    pub const fn example(self, example: &'static str) -> Self {
        Self { example, ..self }
    }

    /// Gives it the keys of other tables too.
    #[must_use]
    pub const fn with(self, with: &'static [&'static Self]) -> Self {
        Self { with, ..self }
    }

    /// Says what must stand in it together.
    #[must_use]
    pub const fn needs(self, needs: &'static [Needs]) -> Self {
        Self { needs, ..self }
    }

    /// Names keys of later versions.
    #[must_use]
    pub const fn later(self, later: &'static [&'static str]) -> Self {
        Self { later, ..self }
    }

    /// Every key, its own first.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.keys.iter().chain(self.with.iter().flat_map(|table| table.keys))
    }

    /// The names of every key.
    pub fn known(&self) -> Vec<&'static str> {
        self.keys().map(|key| key.name).collect()
    }

    /// Whether it has a key of this name.
    pub fn knows(&self, name: &str) -> bool {
        self.keys().any(|key| key.name == name)
    }

    /// The header of the nearest table below in which a key stands: `from` belongs to an entry, not to its device.
    pub fn home(&'static self, name: &str) -> Option<&'static str> {
        let below = self.all().into_iter().skip(1).find(|table| table.knows(name))?;
        let found = below.keys().find(|key| key.name == name)?;
        let header = match found.kind {
            Kind::Table(inner) | Kind::Named(inner, _) | Kind::Entries(inner) => inner.header,
            Kind::One(_)
            | Kind::Many(_)
            | Kind::Integer { .. }
            | Kind::Boolean
            | Kind::Word(_)
            | Kind::Time => below.header,
        };
        header.split(", ").next()
    }

    /// This table and every table below it, each once, parents first.
    pub fn all(&'static self) -> Vec<&'static Table> {
        let mut found: Vec<&'static Table> = vec![self];
        let mut next = 0;
        while let Some(table) = found.get(next) {
            for key in table.keys() {
                if let Kind::Table(inner) | Kind::Named(inner, _) | Kind::Entries(inner) = key.kind
                    && !found.iter().any(|known| known.name == inner.name)
                {
                    found.push(inner);
                }
            }
            next += 1;
        }
        found
    }
}

/// The words of a parser's own table of words, for [`Kind::Word`].
pub const fn words<T: Copy, const N: usize>(pairs: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut words = [""; N];
    let mut at = 0;
    while at < N {
        words[at] = pairs[at].0;
        at += 1;
    }
    words
}

/// Declares a [`Table`]: its doc comments are what users read.
///
/// ```text
/// table! {
///     /// What the table is for.
///     pub(super) static DEVICE = Table::of("[device.NAME]").needs(&[Needs::Any(&["mac", "ip"])]);
///     /// What the key means.
///     "mac": many(&MAC).example(r#"["00:1d:9c:c7:b0:70"]"#);
/// }
/// ```
macro_rules! table {
    (
        $(#[doc = $doc:literal])+
        $vis:vis static $id:ident = $table:expr;
        $($(#[doc = $key_doc:literal])+ $key:literal: $value:expr;)+
    ) => {
        $(#[doc = $doc])+
        $vis static $id: $crate::language::Table = $crate::language::Table {
            name: stringify!($id),
            doc: concat!($($doc, "\n"),+),
            keys: &[$($crate::language::Key {
                name: $key,
                doc: concat!($($key_doc, "\n"),+),
                ..$value
            }),+],
            ..$table
        };
    };
}
pub(crate) use table;
