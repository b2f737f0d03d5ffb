//! Which compiler and linker of this machine can build for BPF, or which command installs what is missing.
//!
//! `core` has no prebuilt copy for the target, so the compiler must come with its own sources and accept unstable
//! flags: a rustup nightly with rust-src, or Debian's rustc-web with rust-web-src.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::record::Record;

/// The linker release that CI and the recorded object use.
const LINKER_INSTALL: &str = "cargo install bpf-linker@0.10.4 --locked";

/// A compiler with sources of `core`, and a linker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tools {
    /// `rustc` itself, not rustup's proxy.
    pub(super) rustc: PathBuf,
    /// The cargo that drives it.
    pub(super) cargo: PathBuf,
    /// Where the compiler's own sources lie below `lib/rustlib/src`.
    pub(super) sysroot: PathBuf,
    /// First line of `rustc --version`.
    pub(super) rustc_version: String,
    /// The compiler's own LLVM library: bpf-linker loads one at run time and must not pick another.
    pub(super) llvm: PathBuf,
    /// `bpf-linker`.
    pub(super) linker: PathBuf,
    /// Output of `bpf-linker --version`.
    pub(super) linker_version: String,
}

/// A compiler that could build `core`, if it came with its sources.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Compiler {
    rustc: PathBuf,
    cargo: PathBuf,
    sysroot: PathBuf,
    version: String,
}

/// The recorded toolchain when it is installed, else the first that can build.
///
/// The error has one sentence for each missing thing, with the command that installs it.
pub(super) fn find(recorded: Option<&Record>) -> Result<Tools> {
    let compilers = compilers();
    let linker = find_program("bpf-linker");
    let mut missing = Vec::new();
    if compilers.is_empty() {
        missing.push(format!(
            "no compiler with the sources of `core` is installed, which BPF needs: run `{}`",
            compiler_install(find_program("apt-get").is_some(), nightly_without_sources().as_deref())
        ));
    }
    if linker.is_none() {
        missing.push(format!("`bpf-linker` is not installed: run `{LINKER_INSTALL}`"));
    }
    let (Some(compiler), Some(linker)) = (choose(&compilers, recorded), linker) else {
        bail!("{}", missing.join("\nerror: "));
    };
    let Compiler { rustc, cargo, sysroot, version } = compiler;
    Ok(Tools {
        llvm: llvm_of(&rustc)?,
        linker_version: first_line(Command::new(&linker).arg("--version"))
            .with_context(|| format!("failed to ask `{}` for its version", linker.display()))?,
        linker,
        rustc,
        cargo,
        sysroot,
        rustc_version: version,
    })
}

fn choose(compilers: &[Compiler], recorded: Option<&Record>) -> Option<Compiler> {
    let same = |compiler: &&Compiler| recorded.is_some_and(|record| record.rustc == compiler.version);
    compilers.iter().find(same).or(compilers.first()).cloned()
}

fn compiler_install(has_apt: bool, nightly: Option<&str>) -> String {
    match (has_apt, nightly) {
        (true, _) => "apt-get install rustc-web rust-web-src".into(),
        (false, Some(name)) => format!("rustup component add rust-src --toolchain {name}"),
        (false, None) => "rustup toolchain install nightly --profile minimal --component rust-src".into(),
    }
}

/// Every compiler that comes with the sources of `core`: the distribution's first, then rustup's nightlies by name.
fn compilers() -> Vec<Compiler> {
    let cargo = env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from);
    let distribution = inspect("/usr/bin/rustc".into(), cargo);
    let nightlies = nightlies()
        .into_iter()
        .filter_map(|name| inspect(rustup_which(&name, "rustc")?, rustup_which(&name, "cargo")?));
    distribution.into_iter().chain(nightlies).filter(has_sources).collect()
}

fn has_sources(compiler: &Compiler) -> bool {
    compiler.sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file()
}

fn inspect(rustc: PathBuf, cargo: PathBuf) -> Option<Compiler> {
    let version = first_line(Command::new(&rustc).arg("--version"))?;
    let sysroot = first_line(Command::new(&rustc).args(["--print", "sysroot"]))?.into();
    Some(Compiler { rustc, cargo, sysroot, version })
}

fn nightlies() -> Vec<String> {
    let Ok(output) = Command::new("rustup").args(["toolchain", "list"]).output() else { return Vec::new() };
    let mut names: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly"))
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

fn nightly_without_sources() -> Option<String> {
    nightlies().into_iter().next()
}

fn rustup_which(toolchain: &str, program: &str) -> Option<PathBuf> {
    first_line(Command::new("rustup").args(["which", "--toolchain", toolchain, program])).map(PathBuf::from)
}

/// The LLVM library the compiler itself is linked to, as the dynamic loader resolves it.
fn llvm_of(rustc: &Path) -> Result<PathBuf> {
    let output = Command::new("ldd").arg(rustc).output().context("failed to run `ldd`")?;
    let listing = String::from_utf8_lossy(&output.stdout);
    parse_ldd(&listing).with_context(|| format!("`{}` is not linked to an LLVM library", rustc.display()))
}

fn parse_ldd(listing: &str) -> Option<PathBuf> {
    let line = listing.lines().find(|line| line.trim_start().starts_with("libLLVM"))?;
    let path = line.split_once("=> ")?.1.split_whitespace().next()?;
    Some(path.into())
}

/// The program on PATH, or where `cargo install` puts it.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = env::split_paths(&path).chain([cargo_home().join("bin")]).collect();
    dirs.into_iter().map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Where cargo keeps the sources of dependencies.
pub(super) fn cargo_home() -> PathBuf {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
        .unwrap_or_else(|| ".cargo".into())
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiler(version: &str) -> Compiler {
        Compiler {
            rustc: "rustc".into(),
            cargo: "cargo".into(),
            sysroot: "/".into(),
            version: version.into(),
        }
    }

    fn record(rustc: &str) -> Record {
        Record {
            rustc: rustc.into(),
            linker: "bpf-linker 0.10.4".into(),
            flags: String::new(),
            sources: String::new(),
            object: String::new(),
        }
    }

    #[test]
    fn recorded_compiler_is_preferred() {
        let both = [compiler("rustc 1"), compiler("rustc 2")];
        assert_eq!(choose(&both, Some(&record("rustc 2"))), Some(compiler("rustc 2")));
    }

    #[test]
    fn first_compiler_serves_when_the_recorded_one_is_absent() {
        let both = [compiler("rustc 1"), compiler("rustc 2")];
        assert_eq!(choose(&both, Some(&record("rustc 3"))), Some(compiler("rustc 1")));
        assert_eq!(choose(&both, None), Some(compiler("rustc 1")));
        assert_eq!(choose(&[], None), None);
    }

    #[test]
    fn install_command_fits_what_the_machine_has() {
        assert_eq!(compiler_install(true, None), "apt-get install rustc-web rust-web-src");
        assert_eq!(
            compiler_install(false, Some("nightly-x86_64-unknown-linux-gnu")),
            "rustup component add rust-src --toolchain nightly-x86_64-unknown-linux-gnu"
        );
        assert_eq!(
            compiler_install(false, None),
            "rustup toolchain install nightly --profile minimal --component rust-src"
        );
    }

    #[test]
    fn llvm_is_the_library_the_loader_resolved() {
        let listing = "\tlinux-vdso.so.1 (0x0)\n\tlibLLVM.so.22.1 => /lib/libLLVM.so.22.1 (0x00007f)\n";
        assert_eq!(parse_ldd(listing), Some("/lib/libLLVM.so.22.1".into()));
        assert_eq!(parse_ldd("\tlibLLVM.so.22.1 => not"), Some("not".into()));
        assert_eq!(parse_ldd("\tlibc.so.6 => /lib/libc.so.6 (0x0)\n"), None);
    }
}
