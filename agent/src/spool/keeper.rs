//! The end of a spool that brings it to the disk.
//!
//! In: what was added since the last time. Out: how far a power cut takes nothing, and never further than is known.

use std::{
    fs::File,
    io::{self, ErrorKind},
    path::PathBuf,
    time::Duration,
};

use super::state::{Segment, Shared, Unsynced};

/// The keeping end.
pub struct Keeper {
    folder: PathBuf,
    shared: Shared,
}

impl Keeper {
    pub(super) fn new(folder: PathBuf, shared: Shared) -> Self {
        Self { folder, shared }
    }

    /// Waits for a time, or until nothing will be added any more; whether that is so.
    pub fn pause(&self, most: Duration) -> bool {
        self.shared.wait(most, |state| state.closed);
        self.shared.lock().closed
    }

    /// Brings everything that was added to the disk: after it a power cut takes none of it.
    ///
    /// # Errors
    /// When the disk says no. Then what was to be synced stays in doubt until it was told: to ask again would say nothing.
    pub fn sync(&self) -> io::Result<()> {
        let (unsynced, reached) = self.shared.lock().begin_sync();
        let went = self.bring(unsynced);
        self.shared.lock().end_sync(reached, &went);
        went
    }

    /// Asks for each file, whatever became of the others.
    fn bring(&self, Unsynced { files, inherited, folder }: Unsynced) -> io::Result<()> {
        let written = files.iter().map(File::sync_data);
        let found = inherited.into_iter().map(|start| match File::open(Segment::path(&self.folder, start)) {
            // Nobody needs it any more.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            opened => opened?.sync_data(),
        });
        let went = written.chain(found).fold(Ok(()), Result::and);
        if folder { went.and(File::open(&self.folder)?.sync_all()) } else { went }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::pipe, os::fd::OwnedFd};

    use super::*;
    use crate::spool::{Spool, Stamp};

    const ROOM: u64 = 1 << 20;

    fn add(spool: &mut Spool, seq: u64) {
        spool.append([(Stamp { boot: 7, seq }, 1, "a record")]);
    }

    #[test]
    fn synced_is_what_was_there_when_it_was_asked_for_also_after_a_kill() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("spool/siem");
        let (mut spool, reader) = Spool::open(&folder, ROOM, "boot 1").expect("it opens");
        reader.keeper().sync().expect("synced");
        assert_eq!(spool.synced(), None);
        add(&mut spool, 1);
        reader.keeper().sync().expect("synced");
        add(&mut spool, 2);
        assert_eq!(spool.synced().map(|stamp| stamp.to_string()).as_deref(), Some("0000000000000007-1"));
        drop((spool, reader));

        let (spool, reader) = Spool::open(&folder, ROOM, "boot 1").expect("it opens");
        assert_eq!(spool.synced(), None);
        assert_eq!(reader.keeper().shared.lock().unsynced.inherited, [0]);
        reader.keeper().sync().expect("synced");
        assert_eq!(spool.synced(), Some(Stamp { boot: 7, seq: 2 }));
    }

    #[test]
    fn disk_that_says_no_is_owned_up_to_and_what_follows_is_written_apart() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut spool, mut reader) = Spool::open(dir.path(), ROOM, "boot 1").expect("it opens");
        let keeper = reader.keeper();
        add(&mut spool, 1);
        keeper.sync().expect("synced");
        add(&mut spool, 2);
        // Nothing makes a pipe lasting.
        let (no_file, _other) = pipe().expect("a pipe");
        keeper.shared.lock().unsynced.files.insert(0, File::from(OwnedFd::from(no_file)));
        keeper.sync().expect_err("a pipe");
        keeper.sync().expect("there is nothing to do");
        assert_eq!(spool.synced(), Some(Stamp { boot: 7, seq: 1 }));
        assert!(spool.doubt().is_some_and(|why| why.contains("Invalid argument")));
        for seq in 3..6 {
            add(&mut spool, seq);
        }
        assert_eq!(keeper.shared.lock().segments.len(), 2);
        let (_, told) = reader.read(1 << 10).expect("readable").pop().expect("the first two");
        reader.confirm(told).expect("written");
        keeper.sync().expect("synced");
        assert_eq!((spool.synced(), spool.doubt()), (Some(Stamp { boot: 7, seq: 5 }), None));
    }
}
