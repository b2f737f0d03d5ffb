//! The street: which module of the agent may import which, as data, and the check of every `crate::` path.
//!
//! A module imports only from lower ranks; modules of one rank do not know each other.

use std::collections::BTreeSet;

use super::{
    Finding, SourceFile,
    tokens::{Spot, Token, ident, is_ident, is_path_separator, is_punct},
};

/// Modules of `agent/src` by rank. Rank 0 is agent-common.
const RANKS: &[(u8, &[&str])] = &[
    (1, &["diagnostic", "language", "model"]),
    (2, &["policy", "traffic"]),
    (3, &["compile"]),
    (
        4,
        &[
            "capture",
            "export",
            "flowlog",
            "inventory",
            "learn",
            "lease",
            "lint",
            "mud",
            "record",
            "replay",
            "report",
            "resolver",
            "rollout",
            "signing",
        ],
    ),
    (
        5,
        &[
            "dataplane",
            "observe",
            "sink",
            "config",
            "files",
            "history",
            "control",
            "store",
            "spool",
            "metrics",
            "telemetry",
        ],
    ),
    (6, &["daemon"]),
    (7, &["cli"]),
    (8, &["main"]),
];

/// Imports within one rank that the picture allows: importer, imported, reason.
const SIDEWAYS: &[(&str, &str, &str)] =
    &[("model", "diagnostic", "every value of a policy knows the file and line it was written in")];

const PICTURE: &str = "docs/architecture.md";
const REDRAW: &str =
    "redraw the picture in docs/architecture.md first, then RANKS in xtask/src/tidy/rooms.rs";

fn rank(room: &str) -> Option<u8> {
    RANKS.iter().find(|(_, rooms)| rooms.contains(&room)).map(|(rank, _)| *rank)
}

/// The top-level module a file of the agent belongs to; `None` outside of the agent and for `lib.rs`.
pub(super) fn room(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("agent/src/")?;
    let room = inside.split('/').next()?;
    let room = room.strip_suffix(".rs").unwrap_or(room);
    (room != "lib").then_some(room)
}

/// How many `super` lead from the top of the file to the crate's root.
fn depth(path: &str) -> usize {
    let inside = path.strip_prefix("agent/src/").unwrap_or(path);
    let parts = inside.split('/').count();
    if inside.ends_with("/mod.rs") { parts - 1 } else { parts }
}

/// Every import of the file that goes up or sideways.
pub(super) fn check(file: &SourceFile, spots: &[Spot]) -> Vec<Finding> {
    let Some(importer) = room(&file.path) else { return Vec::new() };
    let Some(own) = rank(importer) else {
        return vec![Finding::new(file, 1, format!("module `{importer}` has no rank"), REDRAW)];
    };
    let mut findings = Vec::new();
    for (line, imported) in imports(&file.path, spots) {
        let Some(other) = rank(imported) else { continue };
        let sideways = SIDEWAYS.iter().any(|(from, to, _)| *from == importer && *to == imported);
        if imported == importer || other < own || sideways {
            continue;
        }
        findings.push(Finding::new(
            file,
            line,
            format!("`{importer}` (rank {own}) imports `{imported}` (rank {other})"),
            format!("pass what is needed as an argument, or {REDRAW}"),
        ));
    }
    findings
}

/// Top-level modules of the crate that the file names, with the line.
fn imports<'a>(path: &str, spots: &'a [Spot]) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    let mut inline = InlineModules::default();
    for at in 0..spots.len() {
        inline.step(spots, at);
        let after = if is_ident(spots, at, "crate") || is_ident(spots, at, "bulkhead_agent") {
            is_path_separator(spots, at + 1).then_some(at + 3)
        } else {
            after_supers(spots, at, depth(path) + inline.open.len())
        };
        if let Some(after) = after {
            found.extend(first_segments(spots, after));
        }
    }
    found
}

/// `mod name { ... }` blocks around the present token: each adds one `super` to the way to the root.
#[derive(Default)]
struct InlineModules {
    braces: usize,
    open: Vec<usize>,
}

impl InlineModules {
    fn step(&mut self, spots: &[Spot], at: usize) {
        match spots[at].token {
            Token::Open('{') => {
                self.braces += 1;
                if at >= 2 && is_ident(spots, at - 2, "mod") && ident(spots, at - 1).is_some() {
                    self.open.push(self.braces);
                }
            }
            Token::Close('}') => {
                if self.open.last() == Some(&self.braces) {
                    self.open.pop();
                }
                self.braces -= 1;
            }
            Token::Open(_) | Token::Close(_) | Token::Ident(_) | Token::Punct(_) | Token::Literal => {}
        }
    }
}

/// Where a chain of exactly `depth` `super::` that starts at `at` ends: at a name of the crate's root.
fn after_supers(spots: &[Spot], at: usize, depth: usize) -> Option<usize> {
    let continues = at >= 3 && is_ident(spots, at - 3, "super") && is_path_separator(spots, at - 2);
    if continues || !is_ident(spots, at, "super") {
        return None;
    }
    let mut end = at;
    let mut supers = 0;
    while is_ident(spots, end, "super") && is_path_separator(spots, end + 1) {
        supers += 1;
        end += 3;
    }
    (supers == depth).then_some(end)
}

/// The names that can follow `crate::`: one, or the first of each branch of `{...}`.
fn first_segments(spots: &[Spot], at: usize) -> Vec<(usize, &str)> {
    if let Some(name) = ident(spots, at) {
        return vec![(spots[at].line, name)];
    }
    let mut names = Vec::new();
    let mut nesting = 0;
    for (at, spot) in spots.iter().enumerate().skip(at) {
        match spot.token {
            Token::Open(_) => nesting += 1,
            Token::Close(_) => nesting -= 1,
            Token::Ident(_) | Token::Punct(_) | Token::Literal => {}
        }
        if nesting == 0 {
            break;
        }
        let starts_branch = is_punct(spots, at - 1, ',') || spots[at - 1].token == Token::Open('{');
        if let (1, true, Some(name)) = (nesting, starts_branch, ident(spots, at)) {
            names.push((spot.line, name));
        }
    }
    names
}

/// The picture must show every module there is.
pub(super) fn check_docs(files: &[SourceFile]) -> Vec<Finding> {
    let rooms: BTreeSet<&str> =
        files.iter().filter(|file| file.is_rust()).filter_map(|file| room(&file.path)).collect();
    let absent = SourceFile { path: PICTURE.into(), text: String::new() };
    let picture = files.iter().find(|file| file.path == PICTURE).unwrap_or(&absent);
    rooms
        .into_iter()
        .filter(|room| *room != "main" && !mentions(&picture.text, room))
        .map(|room| {
            Finding::new(picture, 1, format!("module `{room}` is not in the picture"), "say what it is for")
        })
        .collect()
}

fn mentions(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{file, rules};

    const PICTURE: &str = "diagnostic model policy compile report dataplane observe config daemon cli";

    fn broken(path: &str, code: &str) -> Vec<String> {
        rules(&[file(path, &format!("//! Doc.\n{code}\n")), file("docs/architecture.md", PICTURE)])
    }

    #[test]
    fn imports_from_lower_ranks_are_fine() {
        assert!(
            broken("agent/src/compile/mod.rs", "use crate::{model::Policy, policy::parse, compile::x};")
                .is_empty()
        );
        assert!(broken("agent/src/config.rs", "use crate::policy::reader;").is_empty());
        assert!(broken("agent/src/cli/check.rs", "use crate::{daemon, dataplane};").is_empty());
    }

    #[test]
    fn import_from_a_higher_rank_is_found_in_every_form() {
        let finding = "agent/src/model/mac.rs:2: `model` (rank 1) imports `compile` (rank 3)";
        for code in [
            "use crate::compile::Tables;",
            "use crate::{diagnostic::Location, compile::Tables};",
            "use super::super::compile::Tables;",
            "fn f() -> crate::compile::Tables { g() }",
            "mod tests { use super::super::super::compile::Tables; }",
            "macro_rules! m { () => { $crate::compile::f() } }",
        ] {
            assert_eq!(broken("agent/src/model/mac.rs", code), [finding], "{code}");
        }
    }

    #[test]
    fn modules_of_one_rank_do_not_know_each_other() {
        assert_eq!(
            broken("agent/src/observe/mod.rs", "use crate::dataplane::Event;"),
            ["agent/src/observe/mod.rs:2: `observe` (rank 5) imports `dataplane` (rank 5)"]
        );
        assert!(broken("agent/src/model/mod.rs", "use crate::diagnostic::Location;").is_empty());
        assert_eq!(
            broken("agent/src/diagnostic.rs", "use crate::model::Policy;"),
            ["agent/src/diagnostic.rs:2: `diagnostic` (rank 1) imports `model` (rank 1)"]
        );
    }

    #[test]
    fn supers_that_stay_inside_the_room_are_fine() {
        assert!(broken("agent/src/policy/parse/allow.rs", "use super::super::compile;").is_empty());
        assert!(broken("agent/src/policy/mod.rs", "mod tests { use super::compile; }").is_empty());
    }

    #[test]
    fn names_in_comments_and_strings_are_no_imports() {
        assert!(
            broken("agent/src/model/mod.rs", "// use crate::daemon;\nconst A: &str = \"crate::daemon\";")
                .is_empty()
        );
    }

    #[test]
    fn module_without_rank_is_found() {
        let found =
            rules(&[file("agent/src/helpers.rs", "//! Doc.\n"), file("docs/architecture.md", "helpers")]);
        assert_eq!(found, ["agent/src/helpers.rs:1: module `helpers` has no rank"]);
    }

    #[test]
    fn module_missing_in_the_picture_is_found() {
        let code = file("agent/src/model/mod.rs", "//! Doc.\n");
        let finding = ["docs/architecture.md:1: module `model` is not in the picture"];
        assert_eq!(rules(&[code.clone(), file("docs/architecture.md", "remodel the models")]), finding);
        assert_eq!(rules(&[code]), finding);
    }
}
