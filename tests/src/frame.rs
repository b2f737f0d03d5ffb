//! Frames as one line of text: `hmi>plc tcp 49152>502 S vlan=7`, so that a row of the packet table reads as a sentence.
//!
//! In: a line. Out: the bytes on the wire, or which word of the line means nothing. Made here by hand: neither the
//! parser under test nor a library that refuses nonsense may stand between a row and the nonsense it wants to send.
//!
//! A line is `FROM>TO KIND [WORD]...`. Kinds: `tcp SPORT>DPORT FLAGS`, `udp SPORT>DPORT`, `sctp SPORT>DPORT`,
//! `icmp TYPE[/CODE] ID`, `icmp TYPE/CODE about FROM>TO KIND ...`, `proto NUMBER`, each with a 6 behind it over IPv6
//! (`tcp6`); `arp ask HOST`, `arp is HOST`, `ns TARGET`, `na TARGET`, `rs`, `ra`, `redirect TARGET`, `mld TYPE`,
//! `igmp TYPE`, `dhcp ask`, `dhcp reply`, `ether HEX`, `llc HEX`. The words behind change one thing each, see
//! [`words::change`].

mod build;
mod hosts;
mod kinds;
mod words;

use std::net::Ipv6Addr;

pub use hosts::{Host, host, names};

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
    let kind = kind.strip_suffix('6').map_or(kind, |kind| {
        draft.over_v6();
        kind
    });
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
        "sctp" => {
            let (source, destination) = ports(next("ports")?)?;
            draft.sctp(source, destination);
        }
        "icmp" => {
            let word = next("type")?;
            let (kind, code) = word.split_once('/').unwrap_or((word, "0"));
            match &about {
                Some(about) => draft.icmp_error(number(kind)?, number(code)?, about),
                None => draft.icmp(number(kind)?, number(code)?, number(next("identifier")?)?),
            }
        }
        "proto" => draft.ip(number(next("protocol")?)?),
        "arp" => {
            let operation = match next("operation")? {
                "ask" => 1,
                "is" => 2,
                other => return Err(other.to_owned()),
            };
            draft.arp(operation, known(next("host")?)?);
        }
        "rs" => draft.neighbor(133, None),
        "ra" => draft.neighbor(134, None),
        "ns" => draft.neighbor(135, Some(target(next("target")?)?)),
        "na" => draft.neighbor(136, Some(target(next("target")?)?)),
        "redirect" => draft.neighbor(137, Some(target(next("target")?)?)),
        "mld" => draft.mld(number(next("type")?)?),
        "igmp" => draft.igmp(number(next("type")?)?),
        "dhcp" => match next("operation")? {
            "ask" => draft.dhcp(1),
            "reply" => draft.dhcp(2),
            other => return Err(other.to_owned()),
        },
        "ether" => draft.other(hex(next("ethertype")?)?),
        "llc" => draft.llc(u8::try_from(hex(next("access point")?)?).map_err(|_| "access point")?),
        other => return Err(other.to_owned()),
    }
    for word in words {
        words::change(&mut draft, word)?;
    }
    Ok(draft)
}

fn known(name: &str) -> Result<Host, String> {
    host(name).ok_or_else(|| name.to_owned())
}

/// An IPv6 address: a host's, `ll:HOST` its link-local one, or one in digits.
fn target(text: &str) -> Result<Ipv6Addr, String> {
    if let Some(name) = text.strip_prefix("ll:") {
        return known(name).map(|host| host.link_local());
    }
    match host(text) {
        Some(host) => Ok(host.v6),
        None => text.parse().map_err(|_| text.to_owned()),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| text.to_owned())
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
