//! The file system on the disk: made here, and looked at after each cut by the one who knows best.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};

use super::{
    super::{kernels::run, tool_path},
    disk::{BLOCK, Disk},
};

/// Room for the revisions and for the smallest journal there is.
const BLOCKS: usize = 8192;
/// What was on the disk after the last cut.
pub(super) const COPY: &str = "after-the-cut";

/// A disk with an empty ext4.
pub(super) fn fresh(dir: &Path) -> Result<Disk> {
    let file = dir.join("fresh");
    fs::File::create(&file)?.set_len((BLOCKS * BLOCK) as u64)?;
    let tool = tool_path("mkfs.ext4").context("`mkfs.ext4` is not installed")?;
    run(Command::new(tool).args(["-q", "-F", "-b", &BLOCK.to_string(), "-J", "size=4"]).arg(&file))?;
    Ok(Disk::new(fs::read(&file)?))
}

/// Lets the file system's own tool mend a copy: whether there was a journal to replay. Anything else that must be mended
/// would be a disk that nobody should keep a policy on.
pub(super) fn check(disk: &Disk, dir: &Path) -> Result<bool> {
    let copy = dir.join(COPY);
    fs::write(&copy, disk.content())?;
    let tool = tool_path("e2fsck").context("`e2fsck` is not installed")?;
    let output =
        Command::new(tool).args(["-f", "-p"]).arg(&copy).output().context("failed to run `e2fsck`")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // 1: the journal was replayed, or what only it knew was mended (`e2fsck(8)`).
    if !matches!(output.status.code(), Some(0 | 1)) {
        bail!("the file system is damaged: {said}{}", String::from_utf8_lossy(&output.stderr));
    }
    ensure!(!said.contains("UNEXPECTED"), "the file system is damaged: {said}");
    Ok(said.contains("recovering journal"))
}
