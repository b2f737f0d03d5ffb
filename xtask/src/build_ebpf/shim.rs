//! Stands between cargo and rustc, and between rustc and bpf-linker, while the BPF object is built.
//!
//! Cargo folds the absolute path of a path dependency and of `core`'s sources into `-C metadata`; rustc folds that into
//! symbol names and thereby into BTF and the order of functions. In rustc's place the shim replaces it by package
//! name and version. bpf-linker loads the first LLVM library it finds on search paths; in the linker's place the
//! shim leaves it only the compiler's own.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode},
};

use super::toolchain::Tools;

const RUSTC: &str = "BULKHEAD_SHIM_RUSTC";
const LINKER: &str = "BULKHEAD_SHIM_LINKER";
const LLVM_DIR: &str = "BULKHEAD_SHIM_LLVM_DIR";

/// Makes `cargo` call this program instead of rustc and linker. `llvm_dir` holds the one LLVM library to load.
pub(super) fn install(cargo: &mut Command, tools: &Tools, this: &Path, llvm_dir: &Path) {
    cargo
        .env("RUSTC", &tools.rustc)
        .env("RUSTC_WRAPPER", this)
        .env(RUSTC, &tools.rustc)
        .env(LINKER, &tools.linker)
        .env(LLVM_DIR, llvm_dir);
}

/// Runs as rustc or as the linker when called as such; `None` when called by a person.
pub(crate) fn intercept() -> Option<ExitCode> {
    let rustc = env::var_os(RUSTC)?;
    let linker = env::var_os(LINKER)?;
    let llvm_dir = env::var_os(LLVM_DIR)?;
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let error = match args.split_first() {
        Some((program, rest)) if *program == rustc => {
            let name = env::var("CARGO_PKG_NAME").unwrap_or_default();
            let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
            Command::new(&rustc).args(without_directory(rest, &name, &version)).exec()
        }
        Some(_) | None => Command::new(&linker).args(&args).env("LD_LIBRARY_PATH", llvm_dir).exec(),
    };
    eprintln!("error: failed to run the BPF toolchain: {error}");
    Some(ExitCode::from(2))
}

/// `args` with `-C metadata=...` replaced, and with warnings of our own crates turned into errors.
fn without_directory(args: &[OsString], name: &str, version: &str) -> Vec<OsString> {
    let mut out: Vec<OsString> = args
        .iter()
        .map(|arg| match arg.to_str() {
            Some(text) if text.starts_with("metadata=") => format!("metadata={name}-{version}").into(),
            Some(_) | None => arg.clone(),
        })
        .collect();
    if name.starts_with("bulkhead-") && args.iter().any(|arg| arg == OsStr::new("--crate-name")) {
        out.push("-Dwarnings".into());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(args: &[&str], name: &str) -> Vec<OsString> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        without_directory(&args, name, "0.1.0")
    }

    #[test]
    fn metadata_names_the_package_instead_of_its_directory() {
        let args = ["--crate-name", "core", "-C", "metadata=5f00", "-C", "extra-filename=-5f00"];
        let expected = ["--crate-name", "core", "-C", "metadata=core-0.1.0", "-C", "extra-filename=-5f00"];
        assert_eq!(rewritten(&args, "core"), expected);
    }

    #[test]
    fn warnings_are_errors_in_our_crates_only() {
        assert!(rewritten(&["--crate-name", "bulkhead"], "bulkhead-ebpf").contains(&"-Dwarnings".into()));
        assert!(!rewritten(&["--crate-name", "aya_ebpf"], "aya-ebpf").contains(&"-Dwarnings".into()));
        assert!(!rewritten(&["-vV"], "bulkhead-ebpf").contains(&"-Dwarnings".into()));
    }
}
