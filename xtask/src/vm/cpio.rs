//! The archive format of an initramfs: `newc` cpio (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::io::{self, Write};

/// Entries are aligned to four bytes.
const ALIGN: usize = 4;
const MAGIC: &str = "070701";

/// What an entry is, as in `st_mode`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    Program,
    File,
}

impl Kind {
    fn mode(self) -> u32 {
        match self {
            Self::Directory => 0o040_755,
            Self::Program => 0o100_755,
            Self::File => 0o100_644,
        }
    }
}

/// Writes one archive; nothing is kept in memory.
pub(super) struct Archive<W: Write> {
    out: W,
    inode: u32,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, inode: 0 }
    }

    /// Adds an entry; `path` has no leading slash, and its directory came before.
    pub(super) fn add(&mut self, path: &str, kind: Kind, content: &[u8]) -> io::Result<()> {
        self.inode += 1;
        self.entry(path, kind.mode(), content)
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, &[])?;
        self.out.flush()
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        // The name ends with a NUL that is counted.
        let name = u32::try_from(path.len() + 1).map_err(io::Error::other)?;
        // inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name, checksum
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name, 0];
        let mut header = MAGIC.to_owned();
        header.extend(fields.iter().map(|field| format!("{field:08X}")));
        header.push_str(path);
        header.push('\0');
        self.padded(header.as_bytes())?;
        self.padded(content)
    }

    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        let missing = bytes.len().next_multiple_of(ALIGN) - bytes.len();
        self.out.write_all(&[0; ALIGN][..missing])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_is_what_the_kernel_reads() {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        archive.add("init", Kind::Program, b"hello").expect("memory");
        archive.finish().expect("memory");
        let text = String::from_utf8(bytes).expect("text");
        let zeros = "00000000";
        let header = format!("07070100000001000081ED{zeros}{zeros}00000001{zeros}00000005");
        assert!(
            text.starts_with(&format!("{header}{zeros}{zeros}{zeros}{zeros}00000005{zeros}init\0")),
            "{text}"
        );
        // 110 bytes of header, 5 of name, 1 of padding; 5 of content, 3 of padding; the trailer.
        assert_eq!(text.find("hello"), Some(116));
        assert_eq!(text.len(), 124 + 124);
    }
}
