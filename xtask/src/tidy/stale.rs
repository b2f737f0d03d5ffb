//! Was the committed BPF object built from the present sources? Answered by its record, without a BPF toolchain.
//!
//! A record can be edited by hand, so CI also rebuilds (`build-ebpf --check`); this is the check that costs nothing.

use std::{fs, path::Path};

use anyhow::Result;

use super::{Finding, SourceFile};
use crate::build_ebpf::{OBJECT, TOOLCHAIN, record};

const FIX: &str = "run `cargo xtask build-ebpf` and commit what it writes";

/// A finding when object, record and sources do not belong together.
pub(super) fn check(root: &Path) -> Result<Option<Finding>> {
    let record = record::read(&root.join(TOOLCHAIN))?;
    let object = fs::read(root.join(OBJECT)).ok();
    let (Some(record), Some(object)) = (record, object) else {
        return Ok(Some(finding("there is no committed BPF object")));
    };
    if record::digest(&object) != record.object {
        return Ok(Some(finding("the BPF object is not the recorded one")));
    }
    if record::sources_digest(root)? != record.sources {
        return Ok(Some(finding("the BPF object was built from other sources")));
    }
    Ok(None)
}

fn finding(rule: &str) -> Finding {
    Finding::new(&SourceFile { path: TOOLCHAIN.into(), text: String::new() }, 1, rule, FIX)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn rule(root: &Path) -> Option<String> {
        check(root).expect("readable").map(|finding| finding.rule)
    }

    #[test]
    fn object_record_and_sources_must_belong_together() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = dir.path();
        let put = |name: &str, text: &str| {
            fs::create_dir_all(root.join(name).parent().expect("has a parent")).expect("made");
            fs::write(root.join(name), text).expect("written");
        };
        put("agent-ebpf/src/main.rs", "1");
        assert_eq!(rule(root).as_deref(), Some("there is no committed BPF object"));

        let sources = record::sources_digest(root).expect("readable");
        let object = record::digest(b"object");
        put(OBJECT, "object");
        put(
            TOOLCHAIN,
            &format!(
                "rustc = r\nbpf-linker = l\nflags = f\nsources-sha256 = {sources}\nobject-sha256 = {object}\n"
            ),
        );
        assert_eq!(rule(root), None);

        put("agent-ebpf/src/main.rs", "2");
        assert_eq!(rule(root).as_deref(), Some("the BPF object was built from other sources"));

        put(OBJECT, "another");
        assert_eq!(rule(root).as_deref(), Some("the BPF object is not the recorded one"));
    }
}
