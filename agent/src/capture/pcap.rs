//! The format of libpcap (draft-ietf-opsawg-pcap): a header, then records, in the byte order and with the fractions of a second that the
//! first four bytes say.

use std::io::Read;

use pcap_parser::{LegacyPcapBlock, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified};

use super::{CaptureError, Found, MOST_BYTES, Source};

/// What the first four bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Magic {
    big_endian: bool,
    /// ns of one unit of the fraction.
    fraction: u64,
    /// Bytes in front of each frame: patched kernels of Linux 2.0 wrote more.
    ahead: usize,
}

impl Magic {
    pub(super) fn of(bytes: [u8; 4]) -> Option<Self> {
        let of = |big_endian, fraction, ahead| Some(Self { big_endian, fraction, ahead });
        match bytes {
            [0xd4, 0xc3, 0xb2, 0xa1] => of(false, 1000, 16),
            [0x4d, 0x3c, 0xb2, 0xa1] => of(false, 1, 16),
            [0xa1, 0xb2, 0xc3, 0xd4] => of(true, 1000, 16),
            [0xa1, 0xb2, 0x3c, 0x4d] => of(true, 1, 16),
            [0x34, 0xcd, 0xb2, 0xa1] => of(false, 1000, 24),
            _ => None,
        }
    }
}

/// How the records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    magic: Magic,
    /// The kind of the frames.
    pub(super) link: u16,
}

impl Header {
    pub(super) fn read<R: Read>(magic: Magic, source: &mut Source<R>) -> Result<Self, CaptureError> {
        let mut rest = [0; 20];
        source.all(&mut rest, 0, "the header of the file")?;
        let [.., a, b, c, d] = rest;
        let number = if magic.big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        // Above the lower 16 bits stands whether there is a checksum behind each frame.
        let [_, _, high, low] = number([a, b, c, d]).to_be_bytes();
        Ok(Self { magic, link: u16::from_be_bytes([high, low]) })
    }

    /// The next record.
    pub(super) fn next<R: Read>(
        &self,
        source: &mut Source<R>,
        record: &mut Vec<u8>,
    ) -> Result<Option<Found>, CaptureError> {
        let Magic { big_endian, fraction, ahead } = self.magic;
        let at = source.at();
        record.clear();
        record.resize(ahead, 0);
        match source.up_to(record)? {
            0 => return Ok(None),
            len if len < ahead => return Err(CaptureError::Cut { at, what: "the header of a record" }),
            _ => {}
        }
        let number = if big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        let length = number([record[8], record[9], record[10], record[11]]);
        if length > MOST_BYTES {
            let why = format!("a frame of {length} bytes, where {MOST_BYTES} is the most");
            return Err(CaptureError::Damaged { at, why });
        }
        record.resize(ahead + length as usize, 0);
        source.all(&mut record[ahead..], at, "a record")?;
        let read = match (big_endian, ahead) {
            (_, 24) => parse_pcap_frame_modified(record),
            (true, _) => parse_pcap_frame_be(record),
            (false, _) => parse_pcap_frame(record),
        };
        let Ok((_, LegacyPcapBlock { ts_sec, ts_usec, caplen: _, origlen, data })) = read else {
            return Err(CaptureError::Damaged { at, why: "a record that cannot be read".to_owned() });
        };
        let time = u64::from(ts_sec) * 1_000_000_000 + u64::from(ts_usec) * fraction;
        let until = ahead + data.len();
        Ok(Some(Found { time, interface: 0, from: ahead, until, length: origlen, outbound: false }))
    }
}
