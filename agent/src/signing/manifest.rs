//! The manifest: the number of a policy set, and the hash and name of each of its files.
//!
//! In: values or bytes. Out: the one text they have, or what is wrong on which line. The text has one spelling, so
//! that two people who list the same files sign the same bytes:
//!
//! ```text
//! bulkhead-manifest 1
//! number 42
//! 5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03  10-cell.toml
//! ```
//!
//! From the third line on it is what `sha256sum --check` reads. Names are sorted by their bytes.

use std::{collections::BTreeMap, fmt};

use super::Digest;
use crate::policy::MAX_FILES;

/// Longest name of a file, bytes (NAME_MAX of Linux).
const MAX_NAME: usize = 255;
/// A line is a hash, two spaces, a name and its end; the two lines in front are shorter than one such line.
const MAX_LINE: usize = 64 + 2 + MAX_NAME + 1;
/// Largest manifest, bytes.
pub const MAX_MANIFEST_BYTES: usize = (MAX_FILES + 1) * MAX_LINE;

const FIRST: &str = "bulkhead-manifest ";
const VERSION: &str = "1";
const NUMBER: &str = "number ";

/// What is signed. Every value that exists can be written and read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// From 1 on; a later set has a larger one.
    pub number: u64,
    /// Hash by name; never empty, and only names of policy files.
    files: BTreeMap<String, Digest>,
}

/// Why bytes are no manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} {problem}")]
pub struct ManifestError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nobody has that many policy files.
    #[error("is beyond the {MAX_MANIFEST_BYTES} bytes that a manifest may have")]
    TooLarge,
    /// Not UTF-8.
    #[error("is not UTF-8 text")]
    NotText,
    /// An editor or a version control system rewrote it.
    #[error("ends like a line of Windows (CR LF)")]
    CarriageReturn,
    /// Cut off, or not written by us.
    #[error("has no line end: the manifest is cut off")]
    CutOff,
    /// Cut to nothing.
    #[error("is missing: the manifest is empty")]
    Nothing,
    /// Something else.
    #[error("is not `{FIRST}{VERSION}`")]
    First,
    /// Written by a later version.
    #[error("says version `{0}`, and this agent reads version {VERSION}")]
    Version(String),
    /// Not a number from 1 on without signs and leading zeros.
    #[error("is not `{NUMBER}N` with N from 1 to {}", u64::MAX)]
    Number,
    /// Not a hash and a name.
    #[error("is not a SHA-256 (64 lower-case digits), two spaces and a file name")]
    Entry,
    /// A name no policy file has.
    #[error(
        "names {0}, and a policy file is called `NAME.toml`, without a folder in front and no hidden file"
    )]
    Name(String),
    /// The same name again.
    #[error("names `{0}` a second time")]
    Twice(String),
    /// Out of order.
    #[error("names `{0}` behind a name that sorts after it")]
    Order(String),
    /// More than the agent reads.
    #[error("names more than {MAX_FILES} files")]
    TooMany,
    /// A set of nothing.
    #[error("is missing: no file is listed")]
    Empty,
}

/// Whether a file of the policy folder is a policy file, by its name. Editors and package managers leave `.x.toml.swp`
/// and `x.toml.dpkg-new` behind; hidden files are theirs.
pub fn is_policy_name(name: &str) -> bool {
    name.ends_with(".toml") && !name.starts_with('.')
}

fn can_be_listed(name: &str) -> bool {
    is_policy_name(name) && name.len() <= MAX_NAME && !name.contains('/') && !name.contains(char::is_control)
}

impl Manifest {
    /// The manifest of a set.
    ///
    /// # Errors
    /// [`ManifestError`] with the line that cannot be written.
    pub fn new<'a>(
        number: u64,
        files: impl IntoIterator<Item = (&'a str, Digest)>,
    ) -> Result<Self, ManifestError> {
        let mut listed = BTreeMap::new();
        let mut line = 2;
        if number == 0 {
            return Err(ManifestError { line, problem: Problem::Number });
        }
        for (name, digest) in files {
            line += 1;
            let problem = if listed.len() == MAX_FILES {
                Some(Problem::TooMany)
            } else if !can_be_listed(name) {
                Some(Problem::Name(crate::diagnostic::quote(name)))
            } else {
                listed.insert(name.to_owned(), digest).map(|_| Problem::Twice(name.to_owned()))
            };
            if let Some(problem) = problem {
                return Err(ManifestError { line, problem });
            }
        }
        if listed.is_empty() {
            return Err(ManifestError { line: line + 1, problem: Problem::Empty });
        }
        Ok(Self { number, files: listed })
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// [`ManifestError`] for the first line that is not as [`fmt::Display`] writes it.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let line_at = |at: usize| 1 + bytes.iter().take(at).filter(|byte| **byte == b'\n').count();
        let wrong = |line, problem| Err(ManifestError { line, problem });
        if bytes.is_empty() {
            return wrong(1, Problem::Nothing);
        }
        if bytes.len() > MAX_MANIFEST_BYTES {
            return wrong(line_at(MAX_MANIFEST_BYTES), Problem::TooLarge);
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => return wrong(line_at(error.valid_up_to()), Problem::NotText),
        };
        if let Some(at) = text.find('\r') {
            return wrong(line_at(at), Problem::CarriageReturn);
        }
        let mut lines = text.split('\n');
        // Behind the last line end there is nothing, or a line without one.
        if lines.next_back().is_some_and(|rest| !rest.is_empty()) {
            return wrong(line_at(bytes.len()), Problem::CutOff);
        }
        match lines.next().and_then(|line| line.strip_prefix(FIRST)) {
            Some(VERSION) => {}
            Some(other) => return wrong(1, Problem::Version(shortened(other))),
            None => return wrong(1, Problem::First),
        }
        let Some(number) = lines.next().and_then(number) else { return wrong(2, Problem::Number) };
        let mut found: Vec<(&str, Digest)> = Vec::new();
        for (line, text) in (3..).zip(lines) {
            // A line of another alphabet may not be cut at a byte.
            let Some((digest, name)) = text.split_once("  ") else { return wrong(line, Problem::Entry) };
            let Some(digest) = Digest::parse(digest) else { return wrong(line, Problem::Entry) };
            if let Some((before, _)) = found.last() {
                match (*before).cmp(name) {
                    std::cmp::Ordering::Less => {}
                    std::cmp::Ordering::Equal => return wrong(line, Problem::Twice(shortened(name))),
                    std::cmp::Ordering::Greater => return wrong(line, Problem::Order(shortened(name))),
                }
            }
            found.push((name, digest));
        }
        Self::new(number, found)
    }

    /// Hash by name, in the order of the names.
    pub fn files(&self) -> impl Iterator<Item = (&str, Digest)> {
        self.files.iter().map(|(name, digest)| (name.as_str(), *digest))
    }

    /// The hash that a file of this name must have.
    pub fn digest_of(&self, name: &str) -> Option<Digest> {
        self.files.get(name).copied()
    }

    /// The hash of the set.
    pub fn digest(&self) -> Digest {
        Digest::of_set(self.files())
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, files } = self;
        write!(f, "{FIRST}{VERSION}\n{NUMBER}{number}\n")?;
        files.iter().try_for_each(|(name, digest)| writeln!(f, "{digest}  {name}"))
    }
}

/// The number behind `number 42`: digits only, no zero in front.
fn number(line: &str) -> Option<u64> {
    let digits = line.strip_prefix(NUMBER)?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain)
}

/// A part of a line as a message can show it.
fn shortened(text: &str) -> String {
    crate::diagnostic::escape(&text.chars().take(80).collect::<String>())
}
