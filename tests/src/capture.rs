//! Recordings, written byte by byte: pcap and pcapng as their drafts have them (draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng), in the
//! byte order of this machine's kind. No reader under test stands behind them.

/// A frame of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// ns since 1970.
    pub time: u64,
    /// A place in the list of interfaces.
    pub interface: usize,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// Frames a millisecond apart, from a moment on.
pub fn paced(start: u64, frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<Recorded> {
    let times = (0..).map(|n| start + n * 1_000_000);
    times.zip(frames).map(|(time, bytes)| Recorded { time, interface: 0, bytes }).collect()
}

/// A file of libpcap with times in ns. Of each frame no more than `most` bytes are kept.
pub fn pcap(frames: &[Recorded], most: usize) -> Vec<u8> {
    let mut file = four(0xa1b2_3c4d).to_vec();
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(four(length(most)));
    file.extend(four(1));
    for Recorded { time, interface: _, bytes } in frames {
        let kept = &bytes[..bytes.len().min(most)];
        file.extend(four(u32::try_from(time / 1_000_000_000).expect("before 2106")));
        file.extend(four(u32::try_from(time % 1_000_000_000).expect("below a second")));
        file.extend(four(length(kept.len())));
        file.extend(four(length(bytes.len())));
        file.extend(kept);
    }
    file
}

/// A file of Wireshark with times in ns, of frames on Ethernet interfaces of these names.
pub fn pcapng(frames: &[Recorded], interfaces: &[&str]) -> Vec<u8> {
    let mut file =
        block(0x0a0d_0d0a, &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    for name in interfaces {
        let mut body = vec![1, 0, 0, 0, 0, 0, 0, 0];
        body.extend([2, 0]);
        body.extend(u16::try_from(name.len()).expect("a short name").to_le_bytes());
        body.extend(name.bytes());
        body.resize(body.len().next_multiple_of(4), 0);
        // Nanoseconds, and the end of the options.
        body.extend([9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        file.extend(block(1, &body));
    }
    for Recorded { time, interface, bytes } in frames {
        let mut body = four(length(*interface)).to_vec();
        body.extend(four(u32::try_from(time >> 32).expect("32 bits")));
        body.extend(four(u32::try_from(time & 0xffff_ffff).expect("32 bits")));
        body.extend(four(length(bytes.len())));
        body.extend(four(length(bytes.len())));
        body.extend(bytes);
        file.extend(block(6, &body));
    }
    file
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let mut block = four(kind).to_vec();
    block.extend(four(length(padded + 12)));
    block.extend(body);
    block.resize(8 + padded, 0);
    block.extend(four(length(padded + 12)));
    block
}

fn four(number: u32) -> [u8; 4] {
    number.to_le_bytes()
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("a recording of a test is short")
}
