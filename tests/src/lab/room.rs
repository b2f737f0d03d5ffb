//! A private view of three mount points for the children of one namespace: where the agent keeps what it writes.
//!
//! In: nothing. Out: `/run` (config, policy, state, socket, logs), `/sys/fs/bpf` (pins) and `/sys` (the namespace's own
//! interfaces) as only these children see them. The mounts belong to the mount namespace of the attendant thread, so
//! they disappear with it, pins included, even after SIGKILL. This process reaches them through descriptors.

use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::{
    fcntl::{OFlag, open},
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::stat::Mode,
};

const FILES: &str = "/run/bulkhead";
const PINS: &str = "/sys/fs/bpf";

/// The two directories, as the children see them and as this process does.
pub struct Room {
    files: OwnedFd,
    pins: OwnedFd,
}

impl Room {
    /// Gives the calling thread its own mount namespace, in which the mounts below are made.
    pub(super) fn enter() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNS).context("failed to make a mount namespace")?;
        let nothing = None::<&str>;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
            .context("failed to make the mounts private")?;
        // sysfs shows the network namespace of who mounted it: the inherited one shows the host's interfaces.
        mount_fs("sysfs", "/sys", None)?;
        mount_fs("bpf", PINS, None)?;
        mount_fs("tmpfs", "/run", Some("mode=0755,size=256m"))?;
        fs::create_dir(FILES).with_context(|| format!("failed to create `{FILES}`"))?;
        Ok(Self { files: open_dir(FILES)?, pins: open_dir(PINS)? })
    }

    /// The path of a file of the room for its children.
    pub fn inside(&self, name: &str) -> PathBuf {
        Path::new(FILES).join(name)
    }

    /// The path of the same file for this process (any thread, until the room is dropped).
    pub fn outside(&self, name: &str) -> PathBuf {
        through(&self.files, name)
    }

    /// The path of a pin for the children.
    pub fn pin_inside(&self, name: &str) -> PathBuf {
        Path::new(PINS).join(name)
    }

    /// The path of the same pin for this process.
    pub fn pin_outside(&self, name: &str) -> PathBuf {
        through(&self.pins, name)
    }

    /// Writes a file of the room whole: a reader sees the old text or the new one.
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.outside(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let new = self.outside(&format!("{name}.new"));
        fs::write(&new, text)?;
        fs::rename(new, path)
    }

    /// Reads a file of the room; empty when nobody has written it yet.
    pub fn read(&self, name: &str) -> io::Result<String> {
        match fs::read_to_string(self.outside(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other,
        }
    }
}

fn through(dir: &OwnedFd, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name)
}

fn mount_fs(kind: &str, at: &str, options: Option<&str>) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some(kind), at, Some(kind), flags, options)
        .with_context(|| format!("failed to mount {kind} at `{at}`"))
}

fn open_dir(path: &str) -> Result<OwnedFd> {
    open(path, OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .with_context(|| format!("failed to open `{path}`"))
}
