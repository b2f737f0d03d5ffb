//! Recordings of traffic: bytes of a file in, frames with their time out.
//!
//! One file for each format. A [`Reader`] knows by the first bytes which one it is, holds one record at a time, and gives what comes
//! before a damaged place: the error behind it names the byte. Frames that are not Ethernet are counted, for each interface, and left
//! out. Nothing here opens a file.

use std::{
    fmt,
    io::{self, BufReader, Read},
};

use bulkhead_common::bytes::Bytes;

mod pcap;
mod pcapng;
mod source;
use source::Source;

/// Bytes of the longest record that is read. Programs that capture write no longer frame than 262144 bytes; comments come on top.
pub const MOST_BYTES: u32 = 1 << 20;
/// Interfaces of one capture.
pub const MOST_INTERFACES: usize = 4096;
/// LINKTYPE_ETHERNET.
pub const ETHERNET: u16 = 1;

/// One recorded frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// When it was seen, ns since 1970 (UTC).
    pub time: u64,
    /// Where: a place in [`Reader::interfaces`].
    pub interface: usize,
    /// What that interface is called, where the format says so.
    pub name: Option<&'a str>,
    /// As much of it as was recorded.
    pub bytes: &'a [u8],
    /// How long it was on the wire, bytes; never less than was recorded.
    pub length: u32,
    /// Whether the recording says that the interface sent it rather than received it.
    pub outbound: bool,
}

impl Frame<'_> {
    /// Whether some of it was not recorded.
    pub fn is_cut(&self) -> bool {
        (self.bytes.len() as u64) < u64::from(self.length)
    }
}

/// A frame of which the end was not recorded reads like the whole one, as far as it goes.
impl Bytes for Frame<'_> {
    fn len(&self) -> u32 {
        self.length
    }

    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes.array(offset)
    }
}

/// Where frames were recorded.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Interface {
    /// Its name, where the format has one.
    pub name: Option<String>,
    /// The kind of its frames, as <https://www.tcpdump.org/linktypes.html> numbers them.
    pub link: u16,
    /// Frames that were left out because they are not Ethernet.
    pub skipped: u64,
}

/// Why a capture cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It is something else.
    #[error("it is neither pcap nor pcapng: it begins with {}{}", Hex(begins), hint(begins))]
    Unknown {
        /// Its first bytes.
        begins: Vec<u8>,
    },
    /// It ends within a record. Captures that were not closed do.
    #[error("it ends within {what} at byte {at}")]
    Cut {
        /// Where that begins.
        at: u64,
        /// What it is.
        what: &'static str,
    },
    /// A record contradicts itself.
    #[error("it is damaged at byte {at}: {why}")]
    Damaged {
        /// Where the record begins.
        at: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The world said no.
    #[error("failed to read it at byte {at}")]
    Read {
        /// Where.
        at: u64,
        /// Why.
        source: io::Error,
    },
}

/// Bytes for a person.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing: it is empty");
        }
        let bytes: Vec<String> = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        write!(f, "`{}`", bytes.join(" "))
    }
}

/// What helps, where the beginning is a known one.
fn hint(begins: &[u8]) -> &'static str {
    match begins {
        [0x1f, 0x8b, ..] => "\nhint: it is compressed: `gunzip` it first",
        [0x28, 0xb5, 0x2f, 0xfd] => "\nhint: it is compressed: `zstd -d` it first",
        [0xfd, b'7', b'z', b'X'] => "\nhint: it is compressed: `unxz` it first",
        [] => "",
        _ => "\nhint: `tcpdump -i IFACE -w FILE` writes what is read here",
    }
}

/// The formats.
enum Format {
    Pcap(pcap::Header),
    Pcapng(pcapng::Section),
}

/// Reads a capture of any format record by record.
pub struct Reader<R> {
    source: Source<BufReader<R>>,
    format: Format,
    interfaces: Vec<Interface>,
    /// The record at hand.
    record: Vec<u8>,
    over: bool,
}

/// Whether something begins as a capture does, by its first four bytes.
pub fn is_capture(begins: &[u8]) -> bool {
    <[u8; 4]>::try_from(begins)
        .is_ok_and(|magic| pcap::Magic::of(magic).is_some() || magic == pcapng::SECTION)
}

/// A frame without its bytes, which lie in the record.
struct Found {
    time: u64,
    interface: usize,
    from: usize,
    until: usize,
    length: u32,
    outbound: bool,
}

impl<R: Read> Reader<R> {
    /// Looks at the beginning of a capture.
    ///
    /// # Errors
    /// When it is no capture, or ends or is damaged before its first record.
    pub fn new(source: R) -> Result<Self, CaptureError> {
        let mut source = Source::new(BufReader::with_capacity(1 << 16, source));
        let mut magic = [0; 4];
        let len = source.up_to(&mut magic)?;
        let mut interfaces = Vec::new();
        let format = match pcap::Magic::of(magic) {
            Some(magic) if len == 4 => {
                let header = pcap::Header::read(magic, &mut source)?;
                interfaces.push(Interface { name: None, link: header.link, skipped: 0 });
                Format::Pcap(header)
            }
            Some(_) | None if len == 4 && magic == pcapng::SECTION => {
                Format::Pcapng(pcapng::Section::read(0, &mut source)?)
            }
            Some(_) | None => return Err(CaptureError::Unknown { begins: magic[..len].to_vec() }),
        };
        Ok(Self { source, format, interfaces, record: Vec::new(), over: false })
    }

    /// Where frames were recorded, as far as it is known by now.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Bytes that were read.
    pub fn position(&self) -> u64 {
        self.source.at()
    }

    /// The next Ethernet frame; none at the end, and behind an error.
    ///
    /// # Errors
    /// When what comes next cannot be read. What came before was good.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        if self.over {
            return Ok(None);
        }
        loop {
            let next = match &mut self.format {
                Format::Pcap(header) => header.next(&mut self.source, &mut self.record),
                Format::Pcapng(section) => {
                    section.next(&mut self.source, &mut self.record, &mut self.interfaces)
                }
            };
            let found = match next {
                Ok(Some(found)) => found,
                Ok(None) => {
                    self.over = true;
                    return Ok(None);
                }
                Err(error) => {
                    self.over = true;
                    return Err(error);
                }
            };
            let Found { time, interface, from, until, length, outbound } = found;
            match self.interfaces.get_mut(interface) {
                Some(of) if of.link != ETHERNET => {
                    of.skipped += 1;
                    continue;
                }
                Some(_) | None => {}
            }
            let name = self.interfaces.get(interface).and_then(|interface| interface.name.as_deref());
            let bytes = self.record.get(from..until).unwrap_or_default();
            let recorded = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            return Ok(Some(Frame { time, interface, name, bytes, length: length.max(recorded), outbound }));
        }
    }
}

#[cfg(test)]
mod tests;
