//! `cargo xtask build-ebpf`: the XDP program's sources in, the committed object and its toolchain record out.
//!
//! Reading order: this file says what the command does; [`toolchain`] finds compiler and linker, [`compile`] runs
//! them so that the directory leaves no trace in the bytes, [`shim`] stands between cargo and the compiler for that,
//! [`strip`] drops the DWARF, [`record`] is the `TOOLCHAIN` file, [`check`] rebuilds and compares.

mod check;
mod compile;
pub(crate) mod record;
pub(crate) mod shim;
mod strip;
mod toolchain;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{Outcome, repo};
use record::Record;

/// The committed object.
pub(crate) const OBJECT: &str = "agent/bpf/bulkhead.bpf.o";
/// What built it, beside it.
pub(crate) const TOOLCHAIN: &str = "agent/bpf/TOOLCHAIN";
/// A developer build that logs; never committed (`.gitignore`).
const TRACE_OBJECT: &str = "agent/bpf/bulkhead-trace.bpf.o";

/// Build the XDP program and write the committed BPF object
///
/// Finds a compiler by itself: a rustup nightly with rust-src, or Debian's rustc-web with rust-web-src; the one
/// recorded in agent/bpf/TOOLCHAIN is preferred. Says which command installs what is missing. The bytes do not
/// depend on the directory of the checkout.
#[derive(clap::Args)]
pub(crate) struct BuildArgs {
    /// Write nothing: rebuild in a temporary directory and compare with the committed object
    ///
    /// Exit code 1 when the object does not come from these sources, 2 when this machine's toolchain is not the
    /// recorded one and the bytes differ, so that nothing can be said.
    #[arg(long, conflicts_with = "trace")]
    check: bool,
    /// With --check: build once more from a copy of the sources in another directory and demand the same bytes
    #[arg(long, requires = "check")]
    elsewhere: bool,
    /// Build the logging variant for development into agent/bpf/bulkhead-trace.bpf.o
    #[arg(long)]
    trace: bool,
}

/// Builds or checks the object of the checkout this xtask belongs to.
pub(crate) fn run(args: &BuildArgs) -> Result<Outcome> {
    let BuildArgs { check, elsewhere, trace } = *args;
    let root = repo::root();
    let recorded = record::read(&root.join(TOOLCHAIN))?;
    let tools = toolchain::find(recorded.as_ref())?;
    eprintln!("compiler: {}", tools.rustc_version);
    eprintln!("linker:   {}", tools.linker_version);
    if check {
        return check::run(&root, recorded.as_ref(), &tools, elsewhere);
    }
    let object = compile::build(&root, &root.join("target/bpf"), &tools, trace)?;
    if trace {
        write(&root.join(TRACE_OBJECT), &object)?;
    } else {
        write(&root.join(OBJECT), &object)?;
        write(&root.join(TOOLCHAIN), Record::new(&root, &tools, &object)?.to_text().as_bytes())?;
    }
    Ok(Outcome::Fine)
}

fn write(path: &PathBuf, bytes: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).with_context(|| format!("failed to make `{}`", dir.display()))?;
    fs::write(path, bytes).with_context(|| format!("failed to write `{}`", path.display()))?;
    eprintln!("wrote {} ({} bytes)", path.display(), bytes.len());
    Ok(())
}
