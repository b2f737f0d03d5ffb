//! One build of the XDP program: a source directory and tools in, the stripped object's bytes out.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{shim, strip, toolchain, toolchain::Tools};

const TARGET: &str = "bpfel-unknown-none";

/// Flags that shape the bytes; recorded beside the object. Paths come on top, see [`remaps`].
pub(super) const FLAGS: &[&str] = &[
    // BTF carries the map definitions aya reads and the line information the verifier prints.
    "-Clink-arg=--btf",
    // aya-ebpf picks the register layout of tracing programs by it; without it the host's would leak into the build.
    "--cfg=bpf_target_arch=\"x86_64\"",
];

/// Builds the sources below `root` in `target_dir` and returns the object without its DWARF.
pub(super) fn build(root: &Path, target_dir: &Path, tools: &Tools, trace: bool) -> Result<Vec<u8>> {
    let crate_dir = root.join("agent-ebpf");
    let this = std::env::current_exe().context("failed to find this program's own path")?;
    let llvm_dir = llvm_dir(target_dir, &tools.llvm)?;

    // Sources of dependencies must lie on disk before their directories can be mapped away.
    run(cargo(tools, &crate_dir).args(["fetch", "--locked"]), "fetch the BPF program's dependencies")?;

    let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
    flags.push(format!("-Clinker={}", this.display()));
    flags.extend(remaps(root, target_dir, &tools.sysroot)?);

    let mut cargo = cargo(tools, &crate_dir);
    cargo
        .args(["build", "--release", "--locked", "-Zbuild-std=core", "--target", TARGET, "--target-dir"])
        .arg(target_dir)
        .args(trace.then_some("--features=trace"))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    shim::install(&mut cargo, tools, &this, &llvm_dir);
    run(&mut cargo, "build the BPF program")?;

    let path = target_dir.join(TARGET).join("release/bulkhead");
    let linked = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    strip::debug_sections(&linked).with_context(|| format!("failed to strip `{}`", path.display()))
}

fn cargo(tools: &Tools, dir: &Path) -> Command {
    let mut cargo = Command::new(&tools.cargo);
    cargo
        .current_dir(dir)
        // Debian's compiler is a stable release; `-Z build-std` needs its consent.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", &tools.rustc)
        // What the outer `cargo xtask` or the user's shell set for host builds must not reach this one.
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_INCREMENTAL")
        .env_remove("RUSTUP_TOOLCHAIN");
    cargo
}

/// Path prefixes that must not reach BTF. Rustc takes the last one that matches, so the widest comes first.
fn remaps(root: &Path, target_dir: &Path, sysroot: &Path) -> Result<Vec<String>> {
    let mut pairs = vec![(sysroot.to_path_buf(), "/rust".to_owned())];
    let registry = toolchain::cargo_home().join("registry/src");
    // One directory per registry, named after its address: the same crate from a mirror must look the same.
    for registry in subdirectories(&registry)? {
        pairs.push((registry, "/cargo".to_owned()));
    }
    pairs.push((root.to_path_buf(), "/bulkhead".to_owned()));
    pairs.push((target_dir.to_path_buf(), "/target".to_owned()));
    Ok(pairs.into_iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect())
}

fn subdirectories(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("failed to list `{}`", dir.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        found.push(entry.with_context(|| format!("failed to list `{}`", dir.display()))?.path());
    }
    found.sort();
    Ok(found)
}

/// A directory whose only entry is the compiler's LLVM library.
fn llvm_dir(target_dir: &Path, llvm: &Path) -> Result<PathBuf> {
    let dir = target_dir.join("llvm");
    let act = || format!("failed to link `{}` into `{}`", llvm.display(), dir.display());
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(act)?;
    }
    fs::create_dir_all(&dir).with_context(act)?;
    symlink(llvm, dir.join("libLLVM.so")).with_context(act)?;
    Ok(dir)
}

fn run(command: &mut Command, act: &str) -> Result<()> {
    let status = command.status().with_context(|| format!("failed to {act}"))?;
    ensure!(status.success(), "failed to {act}: cargo ended with {status}");
    Ok(())
}
