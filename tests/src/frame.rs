//! Frames as one line of text: `hmi>plc tcp 49152>502 S vlan=7`, so that a row of the packet table reads as a sentence.
//!
//! In: a line. Out: the bytes on the wire, or which word of the line means nothing. Made here by hand: neither the
//! parser under test nor a library that refuses nonsense may stand between a row and the nonsense it wants to send.
//!
//! A line is `FROM>TO KIND [WORD]...`. Kinds: `tcp SPORT>DPORT FLAGS`, `udp SPORT>DPORT`, `icmp TYPE[/CODE] ID`,
//! `icmp TYPE/CODE about FROM>TO KIND ...`, `arp ask HOST`, `arp is HOST`, `proto NUMBER`, `nd TYPE`, `ip6 NEXT`,
//! `ether HEX`. The words behind change one thing each, see [`change`].

mod build;
mod hosts;

pub use hosts::{Host, host};

use build::Draft;

/// The bytes of a line.
pub fn frame(line: &str) -> Result<Vec<u8>, String> {
    draft(line).map(|draft| draft.bytes()).map_err(|word| format!("`{word}` in the frame `{line}`"))
}

fn draft(line: &str) -> Result<Draft, String> {
    let (line, about) = match line.split_once(" about ") {
        Some((line, about)) => (line, Some(draft(about)?)),
        None => (line, None),
    };
    let mut words = line.split_whitespace();
    let (from, to) = words.next().and_then(|w| w.split_once('>')).ok_or("FROM>TO")?;
    let mut draft = Draft::between(known(from)?, known(to)?);
    let kind = words.next().ok_or("KIND")?;
    let mut next = |what: &str| words.next().ok_or_else(|| what.to_owned());
    match kind {
        "tcp" => {
            let (source, destination) = ports(next("ports")?)?;
            draft.tcp(source, destination, flags(next("flags")?)?);
        }
        "udp" => {
            let (source, destination) = ports(next("ports")?)?;
            draft.udp(source, destination);
        }
        "icmp" => {
            let word = next("type")?;
            let (kind, code) = word.split_once('/').unwrap_or((word, "0"));
            match &about {
                Some(about) => draft.icmp_error(number(kind)?, number(code)?, about),
                None => draft.icmp(number(kind)?, number(code)?, number(next("identifier")?)?),
            }
        }
        "arp" => {
            let operation = match next("operation")? {
                "ask" => 1,
                "is" => 2,
                other => return Err(other.to_owned()),
            };
            draft.arp(operation, known(next("host")?)?);
        }
        "proto" => draft.ip(number(next("protocol")?)?),
        "nd" => draft.neighbour(number(next("type")?)?),
        "ip6" => draft.ip6(number(next("next header")?)?),
        "ether" => draft.other(hex(next("ethertype")?)?),
        other => return Err(other.to_owned()),
    }
    for word in words {
        change(&mut draft, word)?;
    }
    Ok(draft)
}

/// One word, one thing changed.
fn change(draft: &mut Draft, word: &str) -> Result<(), String> {
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    match name {
        // Addresses that differ from the host's.
        "smac" => draft.source_mac = known(value)?.mac,
        "dmac" => draft.destination_mac = known(value)?.mac,
        "sip" => draft.source = address(value)?,
        "dip" => draft.destination = address(value)?,
        // ARP: sender hardware and protocol address, operation, hardware type.
        "sha" => draft.body[8..14].copy_from_slice(&known(value)?.mac),
        "spa" => draft.body[14..18].copy_from_slice(&address(value)?),
        "op" => draft.body[7] = number(value)?,
        "htype" => draft.body[1] = number(value)?,
        // Tags, outermost first, and what announces them.
        "vlan" => draft.tags = value.split(',').map(number).collect::<Result<_, _>>()?,
        "tpid" => draft.tpid = hex(value)?,
        // IPv4 header fields that lie.
        "ver" => draft.version = number(value)?,
        "ihl" => draft.words = Some(number(value)?),
        "opts" => draft.options = vec![0x83, 3, 4, 0],
        "totlen" => draft.total = delta(value)?,
        "frag" => {
            draft.fragment = match value {
                "mf" => 0x2000,
                "off" => 0x0010,
                "df" => 0x4000,
                other => return Err(other.to_owned()),
            }
        }
        // Transport fields that lie; `doff` is in words, `udplen` and `short` in bytes.
        "doff" => draft.body[12] = number::<u8>(value)? << 4,
        "udplen" => {
            let at = u16::from_be_bytes([draft.body[4], draft.body[5]]);
            let lie = i32::from(at) + delta(value)?;
            draft.body[4..6].copy_from_slice(&u16::try_from(lie).map_err(|_| word)?.to_be_bytes());
        }
        "short" => draft.body.truncate(number(value)?),
        "hop" => draft.hop = number(value)?,
        // The frame as a whole: cut after, or padded to, so many bytes.
        "trunc" => draft.cut = Some(number(value)?),
        "pad" => draft.pad = number(value)?,
        other => return Err(other.to_owned()),
    }
    Ok(())
}

fn known(name: &str) -> Result<Host, String> {
    host(name).ok_or_else(|| name.to_owned())
}

/// A host's address, or one in digits.
fn address(text: &str) -> Result<[u8; 4], String> {
    match host(text) {
        Some(host) => Ok(host.ip),
        None => text.parse::<std::net::Ipv4Addr>().map(|ip| ip.octets()).map_err(|_| text.to_owned()),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| text.to_owned())
}

fn delta(text: &str) -> Result<i32, String> {
    number(text.strip_prefix('+').unwrap_or(text))
}

fn hex(text: &str) -> Result<u16, String> {
    u16::from_str_radix(text, 16).map_err(|_| text.to_owned())
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let (source, destination) = text.split_once('>').ok_or_else(|| text.to_owned())?;
    Ok((number(source)?, number(destination)?))
}

/// `SA` is SYN and ACK; `-` is none.
fn flags(text: &str) -> Result<u8, String> {
    text.chars().try_fold(0, |flags, letter| {
        let bit = match letter {
            'F' => 0x01,
            'S' => 0x02,
            'R' => 0x04,
            'P' => 0x08,
            'A' => 0x10,
            'U' => 0x20,
            '-' => 0,
            other => return Err(other.to_string()),
        };
        Ok(flags | bit)
    })
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    #[test]
    fn a_line_is_the_frame_that_it_says() {
        let bytes = frame("hmi>plc tcp 49152>502 SA vlan=7").expect("it is well formed");
        let packet = SlicedPacket::from_ethernet(&bytes).expect("etherparse reads it");
        assert_eq!(packet.vlan_ids().iter().map(|id| id.value()).collect::<Vec<_>>(), [7]);
        let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("it is IPv4") };
        assert_eq!(ip.header().source(), [10, 20, 1, 20]);
        assert_eq!(ip.header().destination(), [10, 20, 1, 11]);
        assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("it is TCP") };
        assert_eq!((tcp.source_port(), tcp.destination_port()), (49152, 502));
        assert!(tcp.syn() && tcp.ack() && !tcp.rst());
    }

    #[test]
    fn a_word_without_meaning_is_an_error_and_not_another_frame() {
        for (line, word) in [
            ("hmi>moon udp 1>2", "moon"),
            ("hmi>plc tcp 1>2 Q", "Q"),
            ("hmi>plc udp 1>2 lenght=4", "lenght"),
            ("hmi>plc udp 1>70000", "70000"),
        ] {
            assert_eq!(frame(line), Err(format!("`{word}` in the frame `{line}`")));
        }
    }
}
