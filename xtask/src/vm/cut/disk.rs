//! A disk that loses what it was not told to keep.
//!
//! In: the bytes of a file system, then requests of a machine over NBD (the network block device protocol, its
//! `doc/proto.md`) on a socket. Out: after a cut, the bytes that survived it. A write is answered from a cache, as disks do
//! it; only a flush makes it last. At a cut each block of the cache is kept or lost by chance, in no order. A block of
//! 4096 bytes is written whole or not at all, as flash does it, and what a flush has answered for never gets lost: a
//! disk that lies about its flushes is nobody's model here. It can be told to stop at a request to come, so that a cut
//! falls where the cache is full.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use bulkhead_tests::dice::Dice;

/// What is written whole or not at all, and the block size of the file system.
pub(super) const BLOCK: usize = 4096;

const GREETING: &[u8; 8] = b"NBDMAGIC";
const OPTION: &[u8; 8] = b"IHAVEOPT";
/// Fixed newstyle, and no padding behind the answer to an old client.
const HANDSHAKE: u16 = 0b11;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;
/// Has flags, can flush. No FUA: a machine flushes instead.
const FLAGS: u16 = 0b101;

mod option {
    pub(super) const ABORT: u32 = 2;
    pub(super) const GO: u32 = 7;
    pub(super) const ACK: u32 = 1;
    pub(super) const INFO: u32 = 3;
    pub(super) const UNSUPPORTED: u32 = (1 << 31) + 1;
}

mod command {
    pub(super) const READ: u16 = 0;
    pub(super) const WRITE: u16 = 1;
    pub(super) const DISCONNECT: u16 = 2;
    pub(super) const FLUSH: u16 = 3;
}

/// `EINVAL` as the protocol numbers it.
const INVALID: u32 = 22;

/// What a cut leaves of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing.
    Lost,
    /// Each block by chance.
    Torn,
    /// Everything: the disk had just written it.
    Kept,
}

/// What is known of a disk while a machine has it.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Writes and flushes so far.
    requests: AtomicU64,
    /// The one at which it stops; 0 for none.
    stop_at: AtomicU64,
    stopped: AtomicBool,
}

impl Meter {
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// Stops the disk at the write or flush that is so many from now: it takes a write into its cache, does no flush, and
    /// answers neither.
    pub(super) fn stop_in(&self, requests: u64) {
        self.stop_at.store(self.requests() + requests.max(1), Ordering::SeqCst);
    }

    /// Whether it has come to that.
    pub(super) fn has_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Counts a request; whether it is the last.
    fn count(&self) -> bool {
        let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let stop_at = self.stop_at.load(Ordering::SeqCst);
        stop_at != 0 && number >= stop_at
    }
}

/// The disk. It outlives its machines.
pub(super) struct Disk {
    kept: Vec<u8>,
    /// Blocks by their number, not flushed yet.
    cache: BTreeMap<usize, [u8; BLOCK]>,
    flushes: u64,
}

impl Disk {
    /// A disk with this content, of whole blocks.
    pub(super) fn new(content: Vec<u8>) -> Self {
        debug_assert!(content.len().is_multiple_of(BLOCK));
        Self { kept: content, cache: BTreeMap::new(), flushes: 0 }
    }

    /// What survived.
    pub(super) fn content(&self) -> &[u8] {
        &self.kept
    }

    /// How often it was told to keep what it has.
    pub(super) fn flushes(&self) -> u64 {
        self.flushes
    }

    /// The power is off. Returns how many blocks were in the cache, and how many of them are lost.
    pub(super) fn cut(&mut self, fate: Fate, dice: &mut Dice) -> (usize, usize) {
        let cached = self.cache.len();
        let before = std::mem::take(&mut self.cache);
        let mut lost = 0;
        for (number, block) in before {
            let keep = match fate {
                Fate::Lost => false,
                Fate::Torn => dice.below(2) == 0,
                Fate::Kept => true,
            };
            if keep {
                self.kept[number * BLOCK..][..BLOCK].copy_from_slice(&block);
            } else {
                lost += 1;
            }
        }
        (cached, lost)
    }

    /// Serves one machine until it is gone.
    pub(super) fn serve(&mut self, listener: &UnixListener, meter: &Meter) -> io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        match greet(&mut stream, self.kept.len() as u64)
            .and_then(|goes| if goes { self.answer(&mut stream, meter) } else { Ok(()) })
        {
            // A machine that is killed says no good-bye.
            Err(error) if is_gone(&error) => Ok(()),
            ended => ended,
        }
    }

    fn answer(&mut self, stream: &mut UnixStream, meter: &Meter) -> io::Result<()> {
        loop {
            let mut head = [0; 28];
            stream.read_exact(&mut head)?;
            let (magic, kind) = (u32_at(&head, 0), u16::from_be_bytes([head[6], head[7]]));
            if magic != REQUEST {
                return Err(io::Error::new(ErrorKind::InvalidData, "not a request"));
            }
            let (at, length) = (usize_of(u64_at(&head, 16))?, usize_of(u32_at(&head, 24).into())?);
            let mut payload = vec![0; if kind == command::WRITE { length } else { 0 }];
            stream.read_exact(&mut payload)?;
            let last = matches!(kind, command::WRITE | command::FLUSH) && meter.count();
            let fits = at.checked_add(length).is_some_and(|end| end <= self.kept.len());
            let mut answer = REPLY.to_be_bytes().to_vec();
            let mut ends = |error: u32| {
                answer.extend(error.to_be_bytes());
                answer.extend(&head[8..16]);
            };
            match kind {
                command::READ if fits => {
                    ends(0);
                    answer.extend(self.read(at, length));
                }
                command::WRITE if fits => {
                    self.write(at, &payload);
                    ends(0);
                }
                command::FLUSH => {
                    if !last {
                        self.flush();
                    }
                    ends(0);
                }
                command::DISCONNECT => return Ok(()),
                _ => ends(INVALID),
            }
            if last {
                meter.stopped.store(true, Ordering::SeqCst);
                // The machine waits for its answer until it is gone.
                io::copy(stream, &mut io::sink())?;
                return Ok(());
            }
            stream.write_all(&answer)?;
        }
    }

    fn read(&self, at: usize, length: usize) -> Vec<u8> {
        let mut bytes = self.kept[at..at + length].to_vec();
        for (number, block) in self.cache.range(at / BLOCK..(at + length).div_ceil(BLOCK)) {
            let start = number * BLOCK;
            let (from, to) = (start.max(at), (start + BLOCK).min(at + length));
            bytes[from - at..to - at].copy_from_slice(&block[from - start..to - start]);
        }
        bytes
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        for number in at / BLOCK..end.div_ceil(BLOCK) {
            let start = number * BLOCK;
            let kept = &self.kept;
            let block = self.cache.entry(number).or_insert_with(|| {
                let mut block = [0; BLOCK];
                block.copy_from_slice(&kept[start..start + BLOCK]);
                block
            });
            let (from, to) = (start.max(at), (start + BLOCK).min(end));
            block[from - start..to - start].copy_from_slice(&bytes[from - at..to - at]);
        }
    }

    fn flush(&mut self) {
        self.flushes += 1;
        for (number, block) in std::mem::take(&mut self.cache) {
            self.kept[number * BLOCK..][..BLOCK].copy_from_slice(&block);
        }
    }
}

/// The fixed newstyle handshake; whether the machine goes on to requests.
fn greet(stream: &mut UnixStream, size: u64) -> io::Result<bool> {
    stream.write_all(&[&GREETING[..], OPTION, &HANDSHAKE.to_be_bytes()].concat())?;
    stream.read_exact(&mut [0; 4])?;
    loop {
        let mut head = [0; 16];
        stream.read_exact(&mut head)?;
        let (number, length) = (u32_at(&head, 8), u32_at(&head, 12));
        if &head[..8] != OPTION || length > 1 << 16 {
            return Err(io::Error::new(ErrorKind::InvalidData, "not an option"));
        }
        stream.read_exact(&mut vec![0; usize_of(length.into())?])?;
        let mut reply = |kind: u32, data: &[u8]| {
            let length = u32::try_from(data.len()).map_err(io::Error::other)?;
            let head = [OPTION_REPLY.to_be_bytes().to_vec(), number.to_be_bytes().to_vec()].concat();
            stream.write_all(&[&head[..], &kind.to_be_bytes(), &length.to_be_bytes(), data].concat())
        };
        match number {
            option::GO => {
                // The kind of the information (0, the export), its size, its flags.
                reply(option::INFO, &[&[0; 2], &size.to_be_bytes()[..], &FLAGS.to_be_bytes()].concat())?;
                reply(option::ACK, &[])?;
                return Ok(true);
            }
            option::ABORT => {
                reply(option::ACK, &[])?;
                return Ok(false);
            }
            _ => reply(option::UNSUPPORTED, &[])?,
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    [ErrorKind::UnexpectedEof, ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}

fn usize_of(number: u64) -> io::Result<usize> {
    usize::try_from(number).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> Disk {
        Disk::new(vec![0; 4 * BLOCK])
    }

    #[test]
    fn what_was_flushed_survives_and_what_was_not_is_read_until_the_cut() {
        let mut disk = disk();
        disk.write(BLOCK - 1, &[1, 2]);
        disk.flush();
        disk.write(BLOCK, &[3; 8]);
        assert_eq!(disk.read(BLOCK - 2, 5), [0, 1, 3, 3, 3]);
        assert_eq!(disk.cut(Fate::Lost, &mut Dice::new(1, 1)), (1, 1));
        assert_eq!(disk.read(BLOCK - 2, 5), [0, 1, 2, 0, 0]);
        assert_eq!(disk.flushes(), 1);
    }

    #[test]
    fn a_torn_cache_keeps_some_blocks_whole() {
        let mut disk = Disk::new(vec![0; 64 * BLOCK]);
        disk.write(0, &vec![7; 64 * BLOCK]);
        let (cached, lost) = disk.cut(Fate::Torn, &mut Dice::new(5, 1));
        assert!(cached == 64 && (10..54).contains(&lost), "{lost}");
        let whole = |block: &[u8]| block.iter().all(|byte| *byte == block[0]);
        assert!(disk.content().chunks(BLOCK).all(whole));
        disk.write(0, &[9]);
        assert_eq!(disk.cut(Fate::Kept, &mut Dice::new(5, 1)), (1, 0));
        assert_eq!(disk.content()[0], 9);
    }

    #[test]
    fn a_machine_reads_writes_and_is_killed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("disk");
        let listener = UnixListener::bind(&path).expect("a socket");
        let (mut disk, meter) = (disk(), Meter::default());
        std::thread::scope(|scope| {
            let served = scope.spawn(|| disk.serve(&listener, &meter));
            let mut client = UnixStream::connect(&path).expect("it listens");
            let mut read = |count: usize, send: &[u8]| {
                client.write_all(send).expect("sent");
                let mut bytes = vec![0; count];
                client.read_exact(&mut bytes).expect("an answer");
                bytes
            };
            assert_eq!(&read(18, &[])[..16], b"NBDMAGICIHAVEOPT");
            let go = [&[0, 0, 0, 3][..], OPTION, &[0, 0, 0, 7, 0, 0, 0, 6], &[0; 6]].concat();
            assert_eq!(read(20 + 12 + 20, &go)[22..30], (4 * BLOCK as u64).to_be_bytes());
            let request = |kind: u8, at: u64, length: u32| {
                let head = [&REQUEST.to_be_bytes()[..], &[0, 0, 0, kind], &[5; 8]].concat();
                [head, at.to_be_bytes().to_vec(), length.to_be_bytes().to_vec()].concat()
            };
            let good = [&REPLY.to_be_bytes()[..], &[0; 4], &[5; 8]].concat();
            assert_eq!(read(16, &[request(1, 8, 3), vec![1, 2, 3]].concat()), good);
            assert_eq!(read(19, &request(0, 8, 3)), [&good[..], &[1, 2, 3]].concat());
            assert_eq!(read(16, &request(3, 0, 0)), good);
            assert_eq!(read(16, &request(0, u64::MAX, 1))[4..8], INVALID.to_be_bytes());
            assert_eq!(meter.requests(), 2);
            // The flush after the next write is never answered, and never done.
            meter.stop_in(2);
            assert_eq!(read(16, &[request(1, 8, 1), vec![9]].concat()), good);
            assert!(!meter.has_stopped());
            read(0, &[request(3, 0, 0), request(0, 8, 3)].concat());
            drop(client);
            served.join().expect("no panic").expect("a machine that is gone is no error");
        });
        assert!(meter.has_stopped());
        assert_eq!(disk.read(8, 3), [9, 2, 3]);
        assert_eq!(disk.content()[8..11], [1, 2, 3]);
    }
}
