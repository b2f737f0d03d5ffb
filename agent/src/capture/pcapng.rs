//! The format of Wireshark (draft-ietf-opsawg-pcapng): sections of blocks. A section has its own byte order and interfaces, an interface
//! its own kind of frames and resolution of time. Blocks of packets and of interfaces are read, the others are passed over.

use std::io::Read;

use pcap_parser::{
    Block, InterfaceDescriptionBlock, OptionCode, parse_block_be, parse_block_le, traits::PcapNGPacketBlock,
};

use super::{CaptureError, Found, Interface, MOST_BYTES, MOST_INTERFACES, Source};

/// The type of the block with which a section begins, the same in both byte orders.
pub(super) const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

const INTERFACE: u32 = 1;
/// Packets, as programs wrote them before 2009.
const PACKET: u32 = 2;
const SIMPLE: u32 = 3;
const ENHANCED: u32 = 6;
/// The option that says which way a packet went.
const FLAGS: OptionCode = OptionCode(2);

/// How the blocks of a section are written.
#[derive(Debug)]
pub(super) struct Section {
    big_endian: bool,
    /// Where its interfaces begin in the list of all.
    first: usize,
    /// How the times of each are written.
    clocks: Vec<Clock>,
}

/// How the times of an interface are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// Units in a second, as the option has it: a power of 2 with the highest bit, else of 10.
    pub(super) resolution: u8,
    /// Seconds that are to be added.
    pub(super) offset: i64,
    /// Bytes of a frame that were recorded at most; 0 is all.
    pub(super) most: u32,
}

impl Clock {
    /// ns since 1970 of a number of units.
    pub(super) fn time(self, units: u64) -> u64 {
        let power = u32::from(self.resolution & 0x7f);
        let (units, second) = (u128::from(units), 1_000_000_000_u128);
        let per_second =
            if self.resolution & 0x80 == 0 { 10_u128.checked_pow(power) } else { 1_u128.checked_shl(power) };
        // Units of less than 10^-38 s: a 64-bit number of them is no time at all.
        let ns = per_second.map_or(0, |per_second| units * second / per_second);
        let offset = i128::from(self.offset) * 1_000_000_000;
        let ns = i128::try_from(ns).unwrap_or(i128::MAX).saturating_add(offset);
        u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
    }
}

/// The first 28 bytes of a block of packets.
type Fields = (usize, u64, u32);

impl Section {
    /// Reads what follows the type of a section's first block, which began at the last four bytes.
    pub(super) fn read<R: Read>(first: usize, source: &mut Source<R>) -> Result<Self, CaptureError> {
        let at = source.at() - 4;
        let what = "the header of a section";
        let mut head = [0; 8];
        source.all(&mut head, at, what)?;
        let [a, b, c, d, magic @ ..] = head;
        let (big_endian, number): (bool, fn([u8; 4]) -> u32) = match magic {
            [0x1a, 0x2b, 0x3c, 0x4d] => (true, u32::from_be_bytes),
            [0x4d, 0x3c, 0x2b, 0x1a] => (false, u32::from_le_bytes),
            _ => {
                let why = "a section without a byte order".to_owned();
                return Err(CaptureError::Damaged { at, why });
            }
        };
        let length = number([a, b, c, d]);
        check_length(length, 28, at)?;
        source.skip(u64::from(length) - 12, at, what)?;
        Ok(Self { big_endian, first, clocks: Vec::new() })
    }

    /// The next packet.
    pub(super) fn next<R: Read>(
        &mut self,
        source: &mut Source<R>,
        block: &mut Vec<u8>,
        interfaces: &mut Vec<Interface>,
    ) -> Result<Option<Found>, CaptureError> {
        loop {
            let at = source.at();
            let mut head = [0; 8];
            match source.up_to(&mut head[..4])? {
                0 => return Ok(None),
                4 => {}
                _ => return Err(CaptureError::Cut { at, what: "the header of a block" }),
            }
            if head[..4] == SECTION {
                *self = Self::read(interfaces.len(), source)?;
                continue;
            }
            source.all(&mut head[4..], at, "the header of a block")?;
            let [kind, length] = [[head[0], head[1], head[2], head[3]], [head[4], head[5], head[6], head[7]]]
                .map(|bytes| self.number(bytes));
            check_length(length, 12, at)?;
            if !matches!(kind, INTERFACE | PACKET | SIMPLE | ENHANCED) {
                source.skip(u64::from(length) - 8, at, "a block")?;
                continue;
            }
            if length > MOST_BYTES {
                let why = format!("a block of {length} bytes, where {MOST_BYTES} is the most");
                return Err(CaptureError::Damaged { at, why });
            }
            block.clear();
            block.extend(head);
            block.resize(length as usize, 0);
            source.all(&mut block[8..], at, "a block")?;
            let damaged = |why: &str| CaptureError::Damaged { at, why: why.to_owned() };
            let [.., a, b, c, d] = block[..] else { return Err(damaged("a block without an end")) };
            if self.number([a, b, c, d]) != length {
                return Err(damaged("a block whose two lengths differ"));
            }
            if kind == INTERFACE {
                let (interface, clock) =
                    self.interface(block).ok_or_else(|| damaged("an interface that cannot be read"))?;
                if interfaces.len() == MOST_INTERFACES {
                    return Err(damaged(&format!("more than {MOST_INTERFACES} interfaces")));
                }
                interfaces.push(interface);
                self.clocks.push(clock);
                continue;
            }
            let found = match kind {
                PACKET => self.old_packet(block),
                _ => self.packet(block),
            };
            let found = found.ok_or_else(|| damaged("a packet that does not fit its block"))?;
            if found.interface - self.first >= self.clocks.len() {
                return Err(damaged("a packet of an interface that was not described"));
            }
            return Ok(Some(found));
        }
    }

    fn number(&self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    fn block<'b>(&self, block: &'b [u8]) -> Option<Block<'b>> {
        let read = if self.big_endian { parse_block_be(block) } else { parse_block_le(block) };
        read.ok().map(|(_, block)| block)
    }

    fn interface(&self, block: &[u8]) -> Option<(Interface, Clock)> {
        let Some(Block::InterfaceDescription(found)) = self.block(block) else { return None };
        let InterfaceDescriptionBlock { linktype, snaplen, ref options, if_tsresol, .. } = found;
        let value = |code: OptionCode| {
            options.iter().find(|one| one.code == code).and_then(|one| one.as_bytes().ok())
        };
        // The library reads it as if every section were little-endian.
        let offset = value(OptionCode::IfTsoffset).and_then(|value| <[u8; 8]>::try_from(value).ok());
        let number = if self.big_endian { i64::from_be_bytes } else { i64::from_le_bytes };
        let name = value(OptionCode::IfName);
        let name = name.map(|name| {
            String::from_utf8_lossy(name).trim_end_matches('\0').chars().take(64).collect::<String>()
        });
        let interface = Interface {
            name: name.filter(|name| !name.is_empty()),
            link: u16::try_from(linktype.0).ok()?,
            skipped: 0,
        };
        let clock = Clock { resolution: if_tsresol, offset: offset.map_or(0, number), most: snaplen };
        Some((interface, clock))
    }

    fn packet(&self, block: &[u8]) -> Option<Found> {
        match self.block(block)? {
            Block::EnhancedPacket(packet) => {
                let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let recorded = packet.packet_data().len();
                let flags = packet.options.iter().find(|option| option.code == FLAGS);
                let flags = flags.and_then(|flags| <[u8; 4]>::try_from(flags.as_bytes().ok()?).ok());
                // The lowest two bits: 1 is inbound, 2 outbound.
                let outbound = flags.is_some_and(|flags| self.number(flags) & 3 == 2);
                let fields = (usize::try_from(packet.if_id).ok()?, units, packet.origlen);
                Some(Found { outbound, ..self.found(fields, 28, recorded)? })
            }
            Block::SimplePacket(packet) => {
                let most = self.clocks.first().map_or(0, |clock| clock.most);
                let recorded = packet.packet_data().len();
                let recorded = if most == 0 { recorded } else { recorded.min(most as usize) };
                self.found((0, 0, packet.origlen), 12, recorded)
            }
            Block::SectionHeader(_)
            | Block::InterfaceDescription(_)
            | Block::NameResolution(_)
            | Block::InterfaceStatistics(_)
            | Block::SystemdJournalExport(_)
            | Block::DecryptionSecrets(_)
            | Block::ProcessInformation(_)
            | Block::Custom(_)
            | Block::Unknown(_) => None,
        }
    }

    /// Of a packet as it was written before 2009: interface and lost packets share the first four bytes.
    fn old_packet(&self, block: &[u8]) -> Option<Found> {
        let number = |at: usize| Some(self.number(block.get(at..at + 4)?.try_into().ok()?));
        let interface = <[u8; 2]>::try_from(block.get(8..10)?).ok()?;
        let interface =
            if self.big_endian { u16::from_be_bytes(interface) } else { u16::from_le_bytes(interface) };
        let units = u64::from(number(12)?) << 32 | u64::from(number(16)?);
        let recorded = usize::try_from(number(20)?).ok()?;
        let fits = recorded.checked_add(32)? <= block.len();
        fits.then(|| self.found((usize::from(interface), units, number(24)?), 28, recorded)).flatten()
    }

    fn found(&self, (interface, units, length): Fields, from: usize, recorded: usize) -> Option<Found> {
        let time = self.clocks.get(interface).map_or(0, |clock| clock.time(units));
        let interface = self.first.checked_add(interface)?;
        Some(Found { time, interface, from, until: from + recorded, length, outbound: false })
    }
}

/// Whether a block can be so long.
fn check_length(length: u32, least: u32, at: u64) -> Result<(), CaptureError> {
    if length < least || !length.is_multiple_of(4) {
        let why = format!("a block of {length} bytes");
        return Err(CaptureError::Damaged { at, why });
    }
    Ok(())
}
