//! Captures of every kind, written here byte by byte, and what is wrong with those that are not whole.

use proptest::prelude::*;

use super::*;

/// Bytes of frames, with their times in ns.
type Seen = (u64, Vec<u8>, u32);

fn all(bytes: &[u8]) -> (Vec<Seen>, Vec<Interface>, Option<String>) {
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Vec::new(), Some(error.to_string())),
    };
    let mut seen = Vec::new();
    let error = loop {
        match reader.next_frame() {
            Ok(Some(frame)) => seen.push((frame.time, frame.bytes.to_vec(), frame.length)),
            Ok(None) => break None,
            Err(error) => break Some(error.to_string()),
        }
    };
    assert!(matches!(reader.next_frame(), Ok(None)), "nothing comes behind an end");
    assert!(reader.position() <= bytes.len() as u64);
    (seen, reader.interfaces().to_vec(), error)
}

/// Numbers of one byte order.
#[derive(Clone, Copy)]
struct Order(bool);

impl Order {
    fn four(self, number: u32) -> [u8; 4] {
        if self.0 { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn two(self, number: u16) -> [u8; 2] {
        if self.0 { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn pcap(self, magic: u32, link: u32, records: &[(u32, u32, &[u8], u32)]) -> Vec<u8> {
        let mut file = self.four(magic).to_vec();
        file.extend(self.two(2));
        file.extend(self.two(4));
        for number in [0, 0, 262_144, link] {
            file.extend(self.four(number));
        }
        for (seconds, fraction, bytes, length) in records {
            for number in [*seconds, *fraction, u32::try_from(bytes.len()).expect("short"), *length] {
                file.extend(self.four(number));
            }
            file.extend(*bytes);
        }
        file
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let length = u32::try_from(padded + 12).expect("short");
        let mut block = self.four(kind).to_vec();
        block.extend(self.four(length));
        block.extend(body);
        block.resize(8 + padded, 0);
        block.extend(self.four(length));
        block
    }

    fn section(self) -> Vec<u8> {
        let mut body = self.four(0x1a2b_3c4d).to_vec();
        body.extend(self.two(1));
        body.extend(self.two(0));
        body.extend([0xff; 8]);
        self.block(0x0a0d_0d0a, &body)
    }

    fn interface(self, link: u16, options: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = self.two(link).to_vec();
        body.extend(self.two(0));
        body.extend(self.four(0));
        body.extend(self.options(options));
        self.block(1, &body)
    }

    fn options(self, options: &[(u16, &[u8])]) -> Vec<u8> {
        let mut all = Vec::new();
        for (code, value) in options {
            all.extend(self.two(*code));
            all.extend(self.two(u16::try_from(value.len()).expect("short")));
            all.extend(*value);
            all.resize(all.len().next_multiple_of(4), 0);
        }
        if !options.is_empty() {
            all.extend([0; 4]);
        }
        all
    }

    fn packet(
        self,
        interface: u32,
        units: u64,
        bytes: &[u8],
        length: u32,
        options: &[(u16, &[u8])],
    ) -> Vec<u8> {
        let half = |half: u64| self.four(u32::try_from(half & 0xffff_ffff).expect("32 bits"));
        let mut body = self.four(interface).to_vec();
        body.extend(half(units >> 32));
        body.extend(half(units));
        body.extend(self.four(u32::try_from(bytes.len()).expect("short")));
        body.extend(self.four(length));
        body.extend(bytes);
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(self.options(options));
        self.block(6, &body)
    }
}

const LITTLE: Order = Order(false);
const BIG: Order = Order(true);
const FRAME: [u8; 17] = [0x5a; 17];

#[test]
fn pcap_of_both_byte_orders_and_resolutions_reads_the_same() {
    for order in [LITTLE, BIG] {
        for (magic, fraction) in [(0xa1b2_c3d4, 7_000), (0xa1b2_3c4d, 7)] {
            // Above 16 bits the header says that there is a checksum behind each frame.
            let file = order.pcap(magic, 0x2400_0001, &[(3, 7, &FRAME, 17), (4, 0, &FRAME[..5], 90)]);
            let (seen, interfaces, error) = all(&file);
            assert_eq!(error, None);
            assert_eq!(interfaces, [Interface { name: None, link: 1, skipped: 0 }]);
            assert_eq!(seen[0], (3_000_000_000 + fraction, FRAME.to_vec(), 17));
            assert_eq!(seen[1], (4_000_000_000, FRAME[..5].to_vec(), 90));
        }
    }
}

#[test]
fn pcapng_of_both_byte_orders_knows_interfaces_and_their_clocks() {
    for order in [LITTLE, BIG] {
        let offset = if order.0 { 5_i64.to_be_bytes() } else { 5_i64.to_le_bytes() };
        let file = [
            order.section(),
            order.interface(1, &[(2, b"cell0"), (9, &[9])]),
            order.interface(113, &[(2, b"any")]),
            order.interface(1, &[(9, &[0x80 | 10]), (14, &offset)]),
            // Not known here, and passed over.
            order.block(5, &[7; 12]),
            order.packet(0, 3_000_000_007, &FRAME, 17, &[(2, &order.four(2))]),
            order.packet(1, 1, &FRAME, 17, &[]),
            order.packet(2, 3 << 10 | 512, &FRAME, 1500, &[]),
        ]
        .concat();
        let (seen, interfaces, error) = all(&file);
        assert_eq!(error, None);
        assert_eq!(seen, [(3_000_000_007, FRAME.to_vec(), 17), (8_500_000_000, FRAME.to_vec(), 1500)]);
        let named: Vec<_> =
            interfaces.iter().map(|one| (one.name.as_deref(), one.link, one.skipped)).collect();
        assert_eq!(named, [(Some("cell0"), 1, 0), (Some("any"), 113, 1), (None, 1, 0)]);
        let mut reader = Reader::new(&file[..]).expect("it was read before");
        let first = reader.next_frame().expect("it was read before").expect("there are two");
        assert!(first.outbound, "its flags say so");
        assert_eq!(first.name, Some("cell0"));
    }
}

#[test]
fn sections_have_byte_orders_and_interfaces_of_their_own() {
    let file = [
        LITTLE.section(),
        LITTLE.interface(1, &[]),
        LITTLE.packet(0, 1_000_000, &FRAME, 17, &[]),
        BIG.section(),
        BIG.interface(113, &[]),
        BIG.interface(1, &[]),
        BIG.packet(0, 2_000_000, &FRAME, 17, &[]),
        BIG.packet(1, 3_000_000, &FRAME, 17, &[]),
    ]
    .concat();
    let (seen, interfaces, error) = all(&file);
    assert_eq!(error, None);
    assert_eq!(seen.iter().map(|one| one.0).collect::<Vec<_>>(), [1_000_000_000, 3_000_000_000]);
    assert_eq!(interfaces.iter().map(|one| one.skipped).collect::<Vec<_>>(), [0, 1, 0]);
}

#[test]
fn packets_in_blocks_of_other_kinds_are_read() {
    let mut simple = LITTLE.four(17).to_vec();
    simple.extend(FRAME);
    // Interface and lost packets in the first four bytes.
    let mut old = LITTLE.two(0).to_vec();
    old.extend(LITTLE.two(9));
    for number in [0, 2_000_000, 17, 60] {
        old.extend(LITTLE.four(number));
    }
    old.extend(FRAME);
    let file = [LITTLE.section(), LITTLE.interface(1, &[]), LITTLE.block(3, &simple), LITTLE.block(2, &old)]
        .concat();
    let (seen, _, error) = all(&file);
    assert_eq!(error, None);
    assert_eq!(seen, [(0, FRAME.to_vec(), 17), (2_000_000_000, FRAME.to_vec(), 60)]);
}

#[test]
fn what_comes_before_a_damaged_place_is_kept_and_the_place_is_named() {
    let good = LITTLE.pcap(0xa1b2_c3d4, 1, &[(1, 0, &FRAME, 17)]);
    let begin = LITTLE.section();
    let packet = LITTLE.packet(0, 1, &FRAME, 17, &[]);
    let ng = [begin.clone(), LITTLE.interface(1, &[]), packet.clone()].concat();
    let with = |file: &[u8], more: &[u8]| [file, more].concat();
    let mut differing = packet.clone();
    let last = differing.len() - 4;
    differing[last] ^= 4;
    let mut overfull = packet.clone();
    overfull[20] = 200;
    for (file, frames, wanted) in [
        (Vec::new(), 0, "it is neither pcap nor pcapng: it begins with nothing: it is empty".to_owned()),
        (
            vec![0x1f, 0x8b, 8, 0, 0],
            0,
            "it is neither pcap nor pcapng: it begins with `1f 8b 08 00`\nhint: it is compressed: `gunzip` it first"
                .to_owned(),
        ),
        (good[..20].to_vec(), 0, "it ends within the header of the file at byte 0".to_owned()),
        (with(&good, &[1, 2, 3]), 1, "it ends within the header of a record at byte 57".to_owned()),
        (good[..50].to_vec(), 0, "it ends within a record at byte 24".to_owned()),
        (
            with(&good, &[0xff; 40]),
            1,
            "it is damaged at byte 57: a frame of 4294967295 bytes, where 1048576 is the most".to_owned(),
        ),
        (ng[..10].to_vec(), 0, "it ends within the header of a section at byte 0".to_owned()),
        (with(&ng, &[6, 0]), 1, format!("it ends within the header of a block at byte {}", ng.len())),
        (with(&ng, &packet[..30]), 1, format!("it ends within a block at byte {}", ng.len())),
        (
            with(&ng, &LITTLE.four(6).iter().chain(&LITTLE.four(13)).copied().collect::<Vec<u8>>()),
            1,
            format!("it is damaged at byte {}: a block of 13 bytes", ng.len()),
        ),
        (with(&ng, &differing), 1, format!("it is damaged at byte {}: a block whose two lengths differ", ng.len())),
        (
            with(&ng, &overfull),
            1,
            format!("it is damaged at byte {}: a packet that does not fit its block", ng.len()),
        ),
        (
            with(&ng, &LITTLE.packet(1, 1, &FRAME, 17, &[])),
            1,
            format!("it is damaged at byte {}: a packet of an interface that was not described", ng.len()),
        ),
        (
            [begin.clone(), packet.clone()].concat(),
            0,
            "it is damaged at byte 28: a packet of an interface that was not described".to_owned(),
        ),
    ] {
        let (seen, _, error) = all(&file);
        assert_eq!((seen.len(), error.as_deref()), (frames, Some(wanted.as_str())), "{file:02x?}");
    }
}

#[test]
fn frame_of_which_the_end_is_missing_reads_as_far_as_it_goes() {
    let file = LITTLE.pcap(0xa1b2_c3d4, 1, &[(1, 0, &FRAME, 90)]);
    let mut reader = Reader::new(&file[..]).expect("it is one");
    let frame = reader.next_frame().expect("it is whole").expect("there is one");
    assert!(frame.is_cut());
    assert_eq!(Bytes::len(&frame), 90);
    assert_eq!(frame.array::<2>(15), Some([0x5a; 2]));
    assert_eq!(frame.array::<2>(16), None);
}

#[test]
fn times_of_any_resolution_are_ns_or_as_far_as_there_are_any() {
    let clock = |resolution, offset| Clock { resolution, offset, most: 0 };
    use super::pcapng::Clock;
    assert_eq!(clock(0, 0).time(7), 7_000_000_000);
    assert_eq!(clock(12, 0).time(7_999), 7);
    assert_eq!(clock(0x80 | 63, 0).time(1 << 63), 1_000_000_000);
    assert_eq!(clock(6, -10).time(3_000_000), 0);
    assert_eq!(clock(0x7f, 0).time(u64::MAX), 0);
    assert_eq!(clock(0, i64::MAX).time(u64::MAX), u64::MAX);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    /// Whatever is changed in a capture, it is read to an end, and no frame is longer than a record.
    #[test]
    fn nothing_in_a_file_stops_the_reader(
        which in 0_usize..4,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<proptest::sample::Index>(),
    ) {
        let order = if which & 1 == 0 { LITTLE } else { BIG };
        let mut file = if which < 2 {
            order.pcap(0xa1b2_c3d4, 1, &[(1, 2, &FRAME, 17), (2, 3, &FRAME[..4], 90), (3, 4, &FRAME, 17)])
        } else {
            [
                order.section(),
                order.interface(1, &[(2, b"cell0"), (9, &[9]), (14, &[0; 8])]),
                order.packet(0, 3, &FRAME, 17, &[(2, &[1, 0, 0, 0])]),
                order.block(4, &[1, 2, 3]),
                order.packet(0, 4, &FRAME, 17, &[]),
            ]
            .concat()
        };
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let keep = cut.index(file.len() * 2).min(file.len());
        let (seen, interfaces, _) = all(&file[..keep]);
        prop_assert!(seen.iter().all(|(_, bytes, length)| bytes.len() <= keep && bytes.len() as u64 <= u64::from(*length)));
        prop_assert!(interfaces.len() <= MOST_INTERFACES);
    }
}
