//! A record in a segment: a header of 40 bytes and the record as it is told.
//!
//! In: bytes that may have been cut or changed. Out: a whole frame, or none. Each frame knows how many packets the records
//! before it account for, so that a hole shows its size.

use std::fmt;

/// Bytes before the record: length and checksum, 4 each; agent run, sequence, packets before, packets, 8 each.
pub(super) const HEADER: usize = 40;

/// Longest record, bytes.
pub const MAX_RECORD: usize = 1 << 16;

/// Which record of which agent run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// The agent run.
    pub boot: u64,
    /// Counts its records, from 1.
    pub seq: u64,
}

/// Its id, as everywhere.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { boot, seq } = self;
        write!(f, "{boot:016x}-{seq}")
    }
}

/// A record on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Which it is.
    pub stamp: Stamp,
    /// Packets that the records before it account for.
    pub before: u64,
    /// Packets that it accounts for.
    pub count: u64,
    /// The record, at most [`MAX_RECORD`] bytes.
    pub record: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Bytes it takes.
    pub(super) fn len(&self) -> usize {
        HEADER + self.record.len()
    }

    /// Adds it to a segment.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let Self { stamp: Stamp { boot, seq }, before, count, record } = *self;
        let begin = out.len();
        out.extend(u32::try_from(record.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend([0; 4]);
        [boot, seq, before, count].into_iter().for_each(|field| out.extend(field.to_le_bytes()));
        out.extend(record);
        let sum = checksum(&out[begin..]);
        out[begin + 4..begin + 8].copy_from_slice(&sum.to_le_bytes());
    }

    /// The frame at the beginning of `bytes`; `None` when it is not whole, or not what was put there.
    pub(super) fn take(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(HEADER)?;
        let (len, sum) = (u32_at(header, 0), u32_at(header, 4));
        let len = usize::try_from(len).ok().filter(|len| *len <= MAX_RECORD)?;
        let record = rest.get(..len)?;
        let field = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap_or_default());
        let found = Self {
            stamp: Stamp { boot: field(8), seq: field(16) },
            before: field(24),
            count: field(32),
            record,
        };
        (checksum(&bytes[..HEADER + len]) == sum).then_some(found)
    }
}

/// Of everything but the checksum itself.
fn checksum(frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[..4]);
    hasher.update(&frame[8..]);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_byte_is_seen_and_every_cut() {
        let frame = Frame { stamp: Stamp { boot: 7, seq: 8 }, before: 9, count: 10, record: b"{\"a\":1}" };
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        assert_eq!(Frame::take(&bytes), Some(frame));
        for at in 0..bytes.len() {
            assert_eq!(Frame::take(&bytes[..at]), None, "cut at {at}");
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert_eq!(Frame::take(&changed), None, "byte {at}");
        }
        // A file system that lost its blocks gives zeros.
        assert_eq!(Frame::take(&[0; 64]), None);
    }
}
