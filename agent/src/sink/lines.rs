//! Records as lines, into a file or onto standard output.
//!
//! In: lines, collected into batches. Out: whole lines only; what a full disk cut off is taken back, and
//! a line that an earlier end cut off is closed before the next. The file is rotated by size and opened
//! anew on request. Batches are not synced to the disk: a gateway's flash would wear out, and a power cut
//! costs the last seconds either way.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Status;

/// Longest line with its end, bytes: what a pipe takes whole or not at all (`PIPE_BUF`, pipe(7)).
pub(super) const MAX_LINE: usize = 4096;

/// Bytes after which a batch is written without being asked.
const BATCH: usize = 64 << 10;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Standard output.
    Stdout,
    /// A file. Its folder is made if it is missing; a symbolic link is refused.
    Path {
        /// Where it is.
        path: PathBuf,
        /// Size at which it is put aside, bytes.
        rotate_bytes: u64,
        /// How many files that were put aside are kept: `NAME.1`, the newest, and so on.
        keep: u32,
    },
}

/// A sink of lines. Lines that were written but not flushed are lost when it is dropped.
pub(super) struct Lines {
    target: Target,
    /// `None` when the next batch has to open it.
    output: Option<Output>,
    batch: String,
    status: Status,
}

/// An open target.
enum Output {
    /// A regular file that was opened by its name: rotated, and cut back after a partial write.
    File(File),
    /// Anything else. `torn` is set when the last line has no end yet.
    Stream { file: File, torn: bool },
}

/// Why lines were refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("failed to open `{path}`: {cause}")]
    Open { path: String, cause: io::Error },
    #[error("failed to open `{path}`: it is a symbolic link, which is not followed")]
    Link { path: String },
    #[error("failed to write to `{path}`: {cause}")]
    Write { path: String, cause: io::Error },
    #[error("failed to write to `{path}`: its reader does not keep up")]
    Slow { path: String },
    #[error("failed to rotate `{path}`: {cause}")]
    Rotate { path: String, cause: io::Error },
    #[error("a line of {bytes} bytes is longer than {MAX_LINE} or has an end of line inside")]
    Line { bytes: usize },
}

impl Lines {
    /// Opens the target. A failure is in the status, and the target is tried again with every batch.
    pub(super) fn open(target: Target) -> Self {
        let name = match &target {
            Target::Stdout => "-".to_owned(),
            Target::Path { path, .. } => path.display().to_string(),
        };
        let status = Status::of(name);
        let mut sink = Self { target, output: None, batch: String::new(), status };
        sink.reopen();
        sink
    }

    /// Adds a line, without its end, to the batch.
    pub(super) fn write(&mut self, line: &str) {
        if line.len() >= MAX_LINE || line.contains('\n') {
            // In order: what is before it was not refused with it.
            self.flush();
            return self.refuse(1, &Refusal::Line { bytes: line.len() });
        }
        self.batch.push_str(line);
        self.batch.push('\n');
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    /// Writes the batch. What cannot be written now is refused and counted.
    pub(super) fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let lines = count_lines(batch.as_bytes());
        let name = self.status.target.clone();
        let (written, failure) = match self.ready(batch.len() as u64) {
            Ok(output) => output.append(&batch, &name),
            Err(refusal) => (0, Some(refusal)),
        };
        self.status.written += written;
        match failure {
            None => self.status.failing = false,
            Some(refusal) => {
                // A stream keeps what it is; a file may have been replaced, or end in half a line.
                if let Some(Output::File(_)) = self.output {
                    self.output = None;
                }
                self.refuse(lines - written, &refusal);
            }
        }
    }

    /// Writes the batch and opens the target anew, as after somebody else rotated it.
    pub(super) fn reopen(&mut self) {
        self.flush();
        self.output = None;
        match self.ready(0) {
            Ok(_) => self.status.failing = false,
            Err(refusal) => self.refuse(0, &refusal),
        }
    }

    /// How it fares.
    pub(super) fn status(&self) -> &Status {
        &self.status
    }

    fn refuse(&mut self, lines: u64, refusal: &Refusal) {
        self.status.refuse(lines, refusal.to_string());
    }

    /// An open target with room for `bytes`.
    fn ready(&mut self, bytes: u64) -> Result<&mut Output, Refusal> {
        let name = self.status.target.as_str();
        let mut output = match self.output.take() {
            // Nobody would ever read what is written into a deleted file.
            Some(output) if !output.is_deleted() => output,
            Some(_) | None => Output::open(&self.target, name)?,
        };
        if let Target::Path { path, rotate_bytes, keep } = &self.target
            && output.len() > 0
            && output.len() + bytes > *rotate_bytes
        {
            rotate(path, *keep).map_err(|cause| Refusal::Rotate { path: name.to_owned(), cause })?;
            output = Output::open(&self.target, name)?;
        }
        Ok(self.output.insert(output))
    }
}

impl Output {
    fn open(target: &Target, name: &str) -> Result<Self, Refusal> {
        let failed = |cause: io::Error| match cause.raw_os_error() {
            Some(libc::ELOOP) => Refusal::Link { path: name.to_owned() },
            Some(_) | None => Refusal::Open { path: name.to_owned(), cause },
        };
        match target {
            Target::Stdout => {
                let fd = io::stdout().as_fd().try_clone_to_owned().map_err(failed)?;
                Ok(Self::Stream { file: File::from(fd), torn: false })
            }
            Target::Path { path, .. } => open_path(path).map_err(failed),
        }
    }

    fn is_deleted(&self) -> bool {
        match self {
            Self::File(file) => file.metadata().is_ok_and(|meta| meta.nlink() == 0),
            Self::Stream { .. } => false,
        }
    }

    /// Bytes in the file; a stream has none.
    fn len(&self) -> u64 {
        match self {
            Self::File(file) => file.metadata().map_or(0, |meta| meta.len()),
            Self::Stream { .. } => 0,
        }
    }

    /// Appends whole lines: how many were written, and what stopped the others.
    fn append(&mut self, batch: &str, name: &str) -> (u64, Option<Refusal>) {
        let failed = |cause| Refusal::Write { path: name.to_owned(), cause };
        match self {
            Self::File(file) => {
                let (written, failure) = write_all(file, batch.as_bytes());
                let kept = keep_whole_lines(file, &batch.as_bytes()[..written]);
                (count_lines(&batch.as_bytes()[..kept]), failure.map(failed))
            }
            Self::Stream { file, torn } => {
                let mut lines = 0;
                for line in batch.split_inclusive('\n') {
                    match takes_now(file) {
                        Ok(true) => {}
                        Ok(false) => return (lines, Some(Refusal::Slow { path: name.to_owned() })),
                        Err(cause) => return (lines, Some(failed(cause))),
                    }
                    let text = if *torn { format!("\n{line}") } else { line.to_owned() };
                    let (written, failure) = write_all(file, text.as_bytes());
                    if let Some(cause) = failure {
                        *torn = if written == 0 { *torn } else { text.as_bytes()[written - 1] != b'\n' };
                        return (lines, Some(failed(cause)));
                    }
                    *torn = false;
                    lines += 1;
                }
                (lines, None)
            }
        }
    }
}

fn open_path(path: &Path) -> io::Result<Output> {
    let open = || {
        OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            // A link could lead anywhere; a pipe without a reader must not hold the agent up.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)
    };
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
                // Of a path with a mistake in it nothing else would be seen.
                tracing::info!("made folder `{}`, which was missing", folder.display());
            }
            open()?
        }
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Ok(Output::Stream { file, torn: false });
    }
    // A power cut may have left half a line: it is closed, so that it spoils no other.
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(Output::File(file))
}

/// Whether a line can be written without waiting. An error or a hang-up shows when it is.
fn takes_now(file: &File) -> io::Result<bool> {
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO)?;
    Ok(fds[0].any().unwrap_or(true))
}

/// Writes as much as goes: how many bytes, and what stopped the rest.
fn write_all(file: &mut File, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

/// Takes the half line at the end of `written`, which was just appended, out of the file again: how many
/// bytes stay. When even that fails, opening the file anew closes the line.
fn keep_whole_lines(file: &File, written: &[u8]) -> usize {
    let kept = written.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let half = (written.len() - kept) as u64;
    if half > 0 {
        let _ = file.metadata().and_then(|meta| file.set_len(meta.len().saturating_sub(half)));
    }
    kept
}

/// Puts the file aside as `NAME.1` and the older ones one further; the oldest is overwritten.
fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    let aside = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    // What is not there, or was moved away by somebody else, needs no moving.
    let rename = |from: &Path, to: &Path| match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    };
    for number in (1..keep).rev() {
        rename(&aside(number), &aside(number + 1))?;
    }
    rename(path, &aside(1))
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests;
