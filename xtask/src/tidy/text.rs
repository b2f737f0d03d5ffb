//! Rules about text files: module docs, length, leftovers, and nothing that belongs to one machine.

use super::{Finding, SourceFile};

const MAX_LINES: usize = 500;

/// Longer files and why each is one subject all the same.
const LONG_FILES: &[(&str, &str)] =
    &[("tests/tests/netns_attach.rs", "one subject, and every test of it shares the helpers on top")];

/// Marks of unfinished work. Put together here so that this file does not contain them.
const LEFTOVERS: &[&str] = &[concat!("FIX", "ME"), concat!("TO", "DO")];

/// Directories of one machine, likewise.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Use", "rs/"),
    concat!("/t", "mp/"),
];

/// Settings that send cargo to another registry than everybody's.
const REGISTRY_SETTINGS: &[&str] =
    &[concat!("replace", "-with"), concat!("sparse", "+http"), concat!("[source", ".")];

const LOCK_SOURCE: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

/// Every broken rule of `files`.
pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    files.iter().flat_map(check_file).collect()
}

fn check_file(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    if file.is_rust() {
        findings.extend(module_doc(file));
        findings.extend(length(file));
    }
    for (index, line) in file.text.lines().enumerate() {
        let mut found = |rule: String, fix: &str| findings.push(Finding::new(file, index + 1, rule, fix));
        if let Some(mark) = LEFTOVERS.iter().find(|mark| has_word(line, mark)) {
            found(format!("`{mark}` marks unfinished work"), "finish it or leave it out");
        }
        if let Some(path) = MACHINE_PATHS.iter().find(|path| has_path(line, path)) {
            found(
                format!("`{path}` is a path of one machine"),
                "derive it at run time, or use a relative path",
            );
        }
        // In Rust `[source.` may index something; there is no setting to find.
        let setting = REGISTRY_SETTINGS.iter().find(|setting| line.contains(**setting));
        if let (Some(setting), false) = (setting, file.is_rust()) {
            found(
                format!("`{setting}` names another registry"),
                "keep it in the user's own cargo configuration",
            );
        }
        if file.path.ends_with("Cargo.lock") && line.starts_with("source = ") && line != LOCK_SOURCE {
            found("a dependency comes from elsewhere than crates.io".into(), "use a published release");
        }
    }
    findings
}

fn module_doc(file: &SourceFile) -> Option<Finding> {
    let first = file.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    (!first.starts_with("//!")).then(|| {
        Finding::new(
            file,
            1,
            "no module doc at the top",
            "start with `//!`: why the file exists, what goes in, what comes out",
        )
    })
}

fn length(file: &SourceFile) -> Option<Finding> {
    let lines = file.text.lines().count();
    let excused = LONG_FILES.iter().any(|(path, _)| *path == file.path);
    (lines > MAX_LINES && !excused).then(|| {
        Finding::new(
            file,
            MAX_LINES + 1,
            format!("{lines} lines, more than {MAX_LINES}"),
            "split it by subject, or list it with a reason in LONG_FILES in xtask/src/tidy/text.rs",
        )
    })
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

/// Whether an absolute path that starts with `path` stands in the line; `docs/home/x` is no such path.
fn has_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/}>*~".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{file, rules};

    #[test]
    fn rust_file_without_module_doc_is_found() {
        let found = rules(&[file("xtask/src/a.rs", "\n// A comment.\nfn f() {}\n")]);
        assert_eq!(found, ["xtask/src/a.rs:1: no module doc at the top"]);
        assert!(rules(&[file("xtask/src/a.rs", "//! Doc.\nfn f() {}\n")]).is_empty());
    }

    #[test]
    fn long_file_is_found() {
        let text = format!("//! Doc.\n{}", "// x\n".repeat(500));
        assert_eq!(rules(&[file("xtask/src/a.rs", &text)]), ["xtask/src/a.rs:501: 501 lines, more than 500"]);
        assert!(rules(&[file("docs/long.md", &text)]).is_empty());
    }

    #[test]
    fn leftovers_are_found_in_any_text() {
        let mark = concat!("FIX", "ME");
        let found = rules(&[file("docs/a.md", &format!("fine\n{mark}: later\n{mark}D\n"))]);
        assert_eq!(found, [format!("docs/a.md:2: `{mark}` marks unfinished work")]);
    }

    #[test]
    fn machine_paths_are_found_and_relative_ones_are_not() {
        let home = concat!("/ho", "me/");
        let text = format!("see {home}me/x\nsee docs{home}x\nsee https://a.example{home}x\n");
        assert_eq!(
            rules(&[file("README.md", &text)]),
            [format!("README.md:1: `{home}` is a path of one machine")]
        );
    }

    #[test]
    fn other_registries_are_found() {
        let setting = concat!("replace", "-with");
        let config = file(".cargo/config.toml", &format!("{setting} = \"mirror\"\n"));
        assert_eq!(rules(&[config]), [format!(".cargo/config.toml:1: `{setting}` names another registry")]);
        let lock =
            file("Cargo.lock", &format!("{}\nsource = \"git+https://a.example/b\"\n", super::LOCK_SOURCE));
        assert_eq!(rules(&[lock]), ["Cargo.lock:2: a dependency comes from elsewhere than crates.io"]);
    }
}
