//! `agent/bpf/TOOLCHAIN`: what the committed object was built from and with, as lines of `key = value`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::{compile, toolchain::Tools};
use crate::repo;

/// The contents of `agent/bpf/TOOLCHAIN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// First line of `rustc --version`; it fixes the LLVM version too.
    pub(crate) rustc: String,
    /// Output of `bpf-linker --version`.
    pub(crate) linker: String,
    /// Flags that shape the bytes.
    pub(crate) flags: String,
    /// SHA-256 over the names and contents of the sources.
    pub(crate) sources: String,
    /// SHA-256 of the object.
    pub(crate) object: String,
}

const HEADER: &str = "# Written by `cargo xtask build-ebpf`; checked by `cargo xtask build-ebpf --check`.";

impl Record {
    /// Describes an object just built from the sources below `root`.
    pub(super) fn new(root: &Path, tools: &Tools, object: &[u8]) -> Result<Self> {
        Ok(Self {
            rustc: tools.rustc_version.clone(),
            linker: tools.linker_version.clone(),
            flags: compile::FLAGS.join(" "),
            sources: sources_digest(root)?,
            object: digest(object),
        })
    }

    /// Whether `tools` are what built the recorded object.
    pub(super) fn built_with(&self, tools: &Tools) -> bool {
        self.rustc == tools.rustc_version && self.linker == tools.linker_version
    }

    /// The file's text.
    pub(super) fn to_text(&self) -> String {
        let Self { rustc, linker, flags, sources, object } = self;
        format!(
            "{HEADER}\nrustc = {rustc}\nbpf-linker = {linker}\nflags = {flags}\n\
             sources-sha256 = {sources}\nobject-sha256 = {object}\n"
        )
    }

    fn parse(text: &str) -> Result<Self> {
        let field = |key: &str| {
            text.lines()
                .filter_map(|line| line.split_once(" = "))
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value.to_owned())
                .with_context(|| format!("`{key}` is missing"))
        };
        Ok(Self {
            rustc: field("rustc")?,
            linker: field("bpf-linker")?,
            flags: field("flags")?,
            sources: field("sources-sha256")?,
            object: field("object-sha256")?,
        })
    }
}

/// The record at `path`; `None` when there is none yet.
pub(crate) fn read(path: &Path) -> Result<Option<Record>> {
    match fs::read_to_string(path) {
        Ok(text) => {
            Record::parse(&text).with_context(|| format!("failed to read `{}`", path.display())).map(Some)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => bail!("failed to read `{}`: {error}", path.display()),
    }
}

/// SHA-256 in lower-case hex.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One digest over every file that goes into the object: a change of any of them asks for a rebuild.
pub(crate) fn sources_digest(root: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    for file in sources(root)? {
        let path = root.join(&file);
        let bytes = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        // Lengths keep a byte from moving between a name and its content unnoticed.
        let name = file.to_string_lossy();
        hash.update(format!("{} {name} {}\n", name.len(), bytes.len()));
        hash.update(&bytes);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Manifests, lock file and Rust sources of the XDP program and of the code it shares with the agent.
pub(super) fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = repo::files(root)?;
    files.retain(|file| {
        let ours = file.starts_with("agent-ebpf") || file.starts_with("agent-common/src");
        ours || file == Path::new("agent-common/Cargo.toml")
    });
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            rustc: "rustc 1.96.0 (ac68faa20 2026-05-25)".into(),
            linker: "bpf-linker 0.10.4".into(),
            flags: "-Clink-arg=--btf --cfg=a=\"b\"".into(),
            sources: digest(b"sources"),
            object: digest(b"object"),
        }
    }

    #[test]
    fn record_survives_its_own_text() {
        assert_eq!(Record::parse(&record().to_text()).expect("own text"), record());
    }

    #[test]
    fn record_without_a_field_names_it() {
        let text = record().to_text().replace("bpf-linker = ", "linker = ");
        let error = Record::parse(&text).expect_err("field is gone");
        assert_eq!(error.to_string(), "`bpf-linker` is missing");
    }

    #[test]
    fn sources_digest_moves_with_a_source_and_not_with_its_neighbours() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("has a parent")).expect("made");
            fs::write(path, text).expect("written");
        };
        let now = || sources_digest(dir.path()).expect("readable");
        put("agent-common/src/decide.rs", "1");
        put("agent-ebpf/src/main.rs", "1");
        let before = now();
        put("agent/src/main.rs", "1");
        put("agent-ebpf/target/release/bulkhead", "1");
        assert_eq!(now(), before);
        put("agent-common/src/decide.rs", "2");
        assert_ne!(now(), before);
    }
}
