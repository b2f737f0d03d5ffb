//! `cargo xtask tidy`: the rules of this repository that no compiler checks, as an ordinary test.
//!
//! The checkout's text files go in, findings come out, each with its place, the rule and the fix. [`rooms`] holds the
//! picture of who may import whom; [`code`] the rules about Rust code; [`text`] those about any text file; [`tokens`]
//! is the lexer under both of the former; [`stale`] compares the BPF object's record with its sources.

mod code;
mod rooms;
mod stale;
mod text;
mod tokens;

use std::{fmt, fs, path::Path};

use anyhow::{Context, Result};

use crate::{Outcome, repo};

/// Check the rules of the repository that no compiler checks
///
/// Import ranks, where unsafe code, printing and some crates may appear, module docs, file length, leftovers, machine
/// paths, and that the committed BPF object was built from the present sources.
#[derive(clap::Args)]
pub(crate) struct TidyArgs {}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    file: String,
    /// Counted from 1.
    line: usize,
    rule: String,
    fix: String,
}

impl Finding {
    fn new(file: &SourceFile, line: usize, rule: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { file: file.path.clone(), line, rule: rule.into(), fix: fix.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, rule, fix } = self;
        write!(f, "{file}:{line}: {rule}\n  fix: {fix}")
    }
}

/// A text file of the checkout.
#[derive(Clone, Debug)]
struct SourceFile {
    /// Relative to the checkout, with `/`.
    path: String,
    text: String,
}

impl SourceFile {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// Checks the checkout this xtask belongs to.
pub(crate) fn run(TidyArgs {}: &TidyArgs) -> Result<Outcome> {
    report(&repo::root())
}

/// Checks the checkout at `root` and prints the findings.
pub(crate) fn report(root: &Path) -> Result<Outcome> {
    let findings = check(root)?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    eprintln!("tidy: {} findings", findings.len());
    Ok(if findings.is_empty() { Outcome::Fine } else { Outcome::Found })
}

fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = check_files(&read(root)?);
    findings.extend(stale::check(root)?);
    findings.sort();
    Ok(findings)
}

/// Every rule that needs only the text of the files; sorted by place.
fn check_files(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = text::check(files);
    for file in files.iter().filter(|file| file.is_rust()) {
        match tokens::lex(&file.text) {
            Ok(tokens) => {
                findings.extend(rooms::check(file, &tokens));
                findings.extend(code::check(file, &tokens));
            }
            Err(line) => findings.push(Finding::new(file, line, "not Rust", "make the file compile")),
        }
    }
    findings.extend(rooms::check_docs(files));
    findings.sort();
    findings
}

/// Text files of the checkout; what is not UTF-8 is no text.
fn read(root: &Path) -> Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    for path in repo::files(root)? {
        let full = root.join(&path);
        let bytes = fs::read(&full).with_context(|| format!("failed to read `{}`", full.display()))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(SourceFile { path: path.to_string_lossy().replace('\\', "/"), text });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of a made-up checkout.
    pub(super) fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.into(), text: text.into() }
    }

    /// Findings of `files` as `path:line: rule`.
    pub(super) fn rules(files: &[SourceFile]) -> Vec<String> {
        check_files(files)
            .into_iter()
            .map(|Finding { file, line, rule, fix: _ }| format!("{file}:{line}: {rule}"))
            .collect()
    }

    #[test]
    fn this_repository_is_tidy() {
        let findings = check(&repo::root()).expect("the checkout is readable");
        let text: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert!(findings.is_empty(), "{}", text.join("\n"));
    }

    #[test]
    fn finding_names_place_rule_and_fix() {
        let finding = Finding::new(&file("agent/src/a.rs", ""), 7, "`x` is odd", "remove `x`");
        assert_eq!(finding.to_string(), "agent/src/a.rs:7: `x` is odd\n  fix: remove `x`");
    }

    #[test]
    fn file_that_cannot_be_lexed_is_a_finding() {
        assert_eq!(rules(&[file("xtask/src/a.rs", "//! Doc.\nfn f( {\n")]), ["xtask/src/a.rs:2: not Rust"]);
    }
}
