//! Rules about Rust code: where `unsafe`, printing and some crates may appear, and what may appear nowhere.

use super::{
    Finding, SourceFile,
    tokens::{Spot, Token, ident, is_ident, is_path_separator, is_punct},
};

/// Something that may appear only below certain paths.
struct Fence {
    what: &'static [&'static str],
    /// Prefixes of paths.
    only: &'static [&'static str],
    fix: &'static str,
}

/// Crates by where they may be named.
const CRATES: &[Fence] = &[
    Fence {
        what: &["aya", "aya_obj", "aya_log"],
        only: &["agent/src/dataplane", "agent-common/src/layout", "agent-ebpf/", "tests/", "xtask/"],
        fix: "ask the dataplane module for it",
    },
    Fence {
        what: &["tokio", "tokio_util"],
        only: &[
            "agent/src/dataplane",
            "agent/src/observe",
            "agent/src/sink",
            "agent/src/config",
            "agent/src/history",
            "agent/src/control",
            "agent/src/store",
            "agent/src/telemetry",
            "agent/src/daemon",
            "agent/src/cli",
            "agent/src/main.rs",
            "tests/",
            "xtask/",
        ],
        fix: "keep ranks 1 to 4 free of I/O: take values, return values",
    },
    Fence {
        what: &["anyhow"],
        only: &["agent/src/cli", "agent/src/daemon/run", "agent/src/main.rs", "tests/", "xtask/"],
        fix: "return a typed error; anyhow is for the edge that prints it",
    },
];

const UNSAFE: Fence = Fence {
    what: &["unsafe"],
    only: &["agent/src/dataplane", "agent-common/src/layout", "agent-ebpf/src/", "tests/"],
    fix: "move it to dataplane, layout or agent-ebpf, where each use states why it is sound",
};

const PRINTING: Fence = Fence {
    what: &["println", "eprintln", "print", "eprint"],
    only: &["agent/src/cli", "agent/src/main.rs", "xtask/", "tests/"],
    fix: "return the text, or log with tracing; only the command line prints",
};

/// Macros that mark unfinished work.
const UNFINISHED: &[&str] = &["todo", "unimplemented"];

impl Fence {
    fn keeps_out(&self, path: &str) -> bool {
        !self.only.iter().any(|prefix| path.starts_with(prefix))
    }
}

/// Every use outside of its fence.
pub(super) fn check(file: &SourceFile, spots: &[Spot]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, spot) in spots.iter().enumerate() {
        let Token::Ident(name) = &spot.token else { continue };
        let name = name.as_str();
        let is_macro = is_punct(spots, at + 1, '!');
        let mut found = |rule: String, fix: &str| findings.push(Finding::new(file, spot.line, rule, fix));
        for fence in CRATES {
            if fence.what.contains(&name) && names_crate(spots, at) && fence.keeps_out(&file.path) {
                found(format!("the crate `{name}` is not used here"), fence.fix);
            }
        }
        if UNSAFE.what.contains(&name) && UNSAFE.keeps_out(&file.path) {
            found("no unsafe code here".into(), UNSAFE.fix);
        }
        if PRINTING.what.contains(&name) && is_macro && PRINTING.keeps_out(&file.path) {
            found(format!("`{name}!` prints outside of the command line"), PRINTING.fix);
        }
        if UNFINISHED.contains(&name) && is_macro {
            found(format!("`{name}!` marks unfinished work"), "finish it or leave it out");
        }
        if name == "ignore" && starts_attribute(spots, at) {
            found("an ignored test".into(), "make it run, or call `skip` with the reason it cannot run here");
        }
    }
    findings
}

/// Whether the identifier at `at` stands for a crate: `use aya`, `extern crate aya`, or the start of `aya::...`.
fn names_crate(spots: &[Spot], at: usize) -> bool {
    let after = |name: &str| at >= 1 && is_ident(spots, at - 1, name);
    let starts_path = is_path_separator(spots, at + 1) && !is_inner_segment(spots, at);
    after("use") || after("crate") || starts_path
}

/// Whether `name::` comes before: `a::aya::b` does not name the crate, but `::aya::b` does.
fn is_inner_segment(spots: &[Spot], at: usize) -> bool {
    at >= 3 && is_path_separator(spots, at - 2) && ident(spots, at - 3).is_some_and(|before| before != "use")
}

/// Whether `#[` or `#![` comes right before `at`.
fn starts_attribute(spots: &[Spot], at: usize) -> bool {
    let bracket = at >= 2 && spots[at - 1].token == Token::Open('[');
    bracket && (is_punct(spots, at - 2, '#') || is_punct(spots, at - 2, '!'))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{file, rules};

    const PICTURE: &str = "model dataplane daemon sink cli";

    fn broken(path: &str, code: &str) -> Vec<String> {
        rules(&[file(path, &format!("//! Doc.\n{code}\n")), file("docs/architecture.md", PICTURE)])
    }

    #[test]
    fn crates_stay_behind_their_fences() {
        for (code, name) in [
            ("use aya::Ebpf;", "aya"),
            ("fn f(e: aya::EbpfError) {}", "aya"),
            ("fn f(e: ::aya::EbpfError) {}", "aya"),
            ("use tokio_util::codec;", "tokio_util"),
            ("fn f() -> anyhow::Result<()> { g() }", "anyhow"),
        ] {
            let finding = format!("agent/src/model/mod.rs:2: the crate `{name}` is not used here");
            assert_eq!(broken("agent/src/model/mod.rs", code), [finding], "{code}");
        }
        assert!(broken("agent/src/dataplane/load.rs", "use aya::Ebpf;").is_empty());
        assert!(broken("agent/src/daemon/run.rs", "use anyhow::Result;\nuse tokio::select;").is_empty());
        assert_eq!(
            broken("agent/src/daemon/state.rs", "use anyhow::Result;"),
            ["agent/src/daemon/state.rs:2: the crate `anyhow` is not used here"]
        );
    }

    #[test]
    fn module_that_shares_a_crates_name_is_no_use_of_it() {
        assert!(broken("agent/src/model/mod.rs", "use self::names::aya::X;\nlet tokio = 1;").is_empty());
    }

    #[test]
    fn unsafe_code_has_three_homes() {
        let code = "fn f() { unsafe { g() } }";
        assert_eq!(broken("agent/src/model/mod.rs", code), ["agent/src/model/mod.rs:2: no unsafe code here"]);
        assert!(broken("agent/src/dataplane/maps.rs", code).is_empty());
        assert!(broken("agent-common/src/layout.rs", code).is_empty());
        assert!(broken("agent-ebpf/src/maps.rs", code).is_empty());
        assert!(broken("agent/src/model/mod.rs", "// unsafe\n#![deny(unsafe_code)]").is_empty());
    }

    #[test]
    fn only_the_command_line_prints() {
        assert_eq!(
            broken("agent/src/sink/mod.rs", "fn f() { println!(\"x\") }"),
            ["agent/src/sink/mod.rs:2: `println!` prints outside of the command line"]
        );
        assert!(broken("agent/src/cli/status.rs", "fn f() { println!(\"x\") }").is_empty());
    }

    #[test]
    fn unfinished_and_ignored_code_is_found_everywhere() {
        let code = "#[test]\n#[ignore = \"slow\"]\nfn f() { todo!() }\nfn g() { unimplemented!() }";
        assert_eq!(
            broken("tests/tests/policy.rs", code),
            [
                "tests/tests/policy.rs:3: an ignored test",
                "tests/tests/policy.rs:4: `todo!` marks unfinished work",
                "tests/tests/policy.rs:5: `unimplemented!` marks unfinished work",
            ]
        );
    }
}
