//! `build-ebpf --check`: does the committed object come from these sources?
//!
//! With the recorded toolchain the bytes must be the same. With another one they may differ for good reasons, so
//! only what no compiler changes is compared (programs, maps, license), and equality is not claimed.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection, ObjectSymbol};

use super::{OBJECT, compile, record, record::Record, toolchain::Tools};
use crate::Outcome;

/// Rebuilds and compares; with `elsewhere` once more from a copy of the sources in another directory.
pub(super) fn run(root: &Path, recorded: Option<&Record>, tools: &Tools, elsewhere: bool) -> Result<Outcome> {
    let Some(recorded) = recorded else {
        bail!(
            "there is no record of the committed object: run `cargo xtask build-ebpf` and commit what it writes"
        );
    };
    let path = root.join(OBJECT);
    let committed = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    if record::digest(&committed) != recorded.object {
        eprintln!(
            "error: `{OBJECT}` is not the object its TOOLCHAIN file describes: run `cargo xtask build-ebpf`"
        );
        return Ok(Outcome::Found);
    }
    let here = tempfile::tempdir().context("failed to make a temporary directory")?;
    let rebuilt = compile::build(root, &here.path().join("target"), tools, false)?;
    if elsewhere {
        let copy = tempfile::tempdir().context("failed to make a temporary directory")?;
        // Deeper than the checkout, so that a path that leaks changes length too.
        let copy = copy.path().join("another/place");
        copy_sources(root, &copy)?;
        let second = compile::build(&copy, &copy.join("target"), tools, false)?;
        if second != rebuilt {
            eprintln!(
                "error: the same sources in another directory gave other bytes: the build is not reproducible"
            );
            return Ok(Outcome::Found);
        }
        eprintln!("two directories, same bytes: sha256 {}", record::digest(&second));
    }
    compare(&committed, &rebuilt, recorded, tools)
}

fn compare(committed: &[u8], rebuilt: &[u8], recorded: &Record, tools: &Tools) -> Result<Outcome> {
    if committed == rebuilt {
        eprintln!("`{OBJECT}` comes from these sources: sha256 {}", recorded.object);
        return Ok(Outcome::Fine);
    }
    if recorded.built_with(tools) {
        eprintln!(
            "error: `{OBJECT}` does not come from these sources (sha256 {}, rebuilt {})\n\n\
             hint: run `cargo xtask build-ebpf` and commit what it writes",
            recorded.object,
            record::digest(rebuilt)
        );
        return Ok(Outcome::Found);
    }
    let (was, is) = (shape(committed)?, shape(rebuilt)?);
    if was != is {
        eprintln!("error: `{OBJECT}` does not come from these sources: programs or maps differ");
        was.difference(&is).for_each(|item| eprintln!("  only committed: {item}"));
        is.difference(&was).for_each(|item| eprintln!("  only rebuilt:   {item}"));
        return Ok(Outcome::Found);
    }
    bail!(
        "cannot compare the instructions: the object was built with `{}` and `{}`, here are `{}` and `{}`; \
         programs, maps and license agree",
        recorded.rustc,
        recorded.linker,
        tools.rustc_version,
        tools.linker_version
    )
}

/// What every compiler must agree on: the programs with their sections, the maps, and the license.
fn shape(object: &[u8]) -> Result<BTreeSet<String>> {
    let elf = object::File::parse(object).context("the BPF object is not ELF")?;
    let mut shape = BTreeSet::new();
    for symbol in elf.symbols().filter(ObjectSymbol::is_global) {
        let Some(index) = symbol.section_index() else { continue };
        let section = elf.section_by_index(index)?;
        shape.insert(format!("{} in section {}", symbol.name()?, section.name()?));
    }
    if let Some(license) = elf.section_by_name("license") {
        shape.insert(format!("license {}", String::from_utf8_lossy(license.data()?)));
    }
    Ok(shape)
}

/// Copies what the build reads: the sources and the workspace manifest they inherit from.
fn copy_sources(root: &Path, to: &Path) -> Result<()> {
    let mut files = record::sources(root)?;
    files.push(PathBuf::from("Cargo.toml"));
    for file in files {
        let (from, to) = (root.join(&file), to.join(&file));
        let act = || format!("failed to copy `{}` to `{}`", from.display(), to.display());
        fs::create_dir_all(to.parent().unwrap_or(&to)).with_context(act)?;
        fs::copy(&from, &to).with_context(act)?;
    }
    Ok(())
}
