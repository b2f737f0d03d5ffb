//! What a DHCP server's answer says of addresses: which one is whose, and for how long.
//!
//! In: a frame as the data path sampled it, after it allowed it. Out: the leases it grants. The bytes are another
//! host's: whatever they are, the answer is a list, at worst an empty one. Read here because the libraries for it
//! panic on a crafted length, and because three options are all that is asked.

use bulkhead_common::{address::Address, wire::mac};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

/// An address that a server gave to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The address.
    pub address: Address,
    /// The client's hardware address, as a number.
    pub mac: u64,
    /// For how long, in seconds from the answer on; `u32::MAX` is for ever (RFC 2131 3.3, RFC 8415 7.7).
    pub seconds: u32,
}

/// Leases that one answer may grant; a host asks for one, at most a few.
const MOST: usize = 16;

/// Reads a server's answer. `frame` may be cut behind the options.
pub fn granted(frame: &[u8]) -> Vec<Granted> {
    let Ok(packet) = SlicedPacket::from_ethernet(frame) else { return Vec::new() };
    let Some(TransportSlice::Udp(udp)) = &packet.transport else { return Vec::new() };
    match packet.net {
        Some(NetSlice::Ipv4(_)) => from_v4(udp.payload()).into_iter().collect(),
        Some(NetSlice::Ipv6(_)) => from_v6(udp.payload(), frame),
        Some(NetSlice::Arp(_)) | None => Vec::new(),
    }
}

/// Options of DHCP (RFC 2132).
mod option {
    pub(super) const PAD: u8 = 0;
    pub(super) const LEASE_TIME: u8 = 51;
    pub(super) const MESSAGE_TYPE: u8 = 53;
    pub(super) const END: u8 = 255;
}

/// Messages and options of DHCPv6 (RFC 8415 7.3, 21).
mod v6 {
    pub(super) const REPLY: u8 = 7;
    pub(super) const IA_NA: u16 = 3;
    pub(super) const IA_TA: u16 = 4;
    pub(super) const IA_ADDR: u16 = 5;
}

/// RFC 2131: an acknowledgement (message type 5) names the address at 16 and, in option 51, the time. An offer grants
/// nothing yet, and an answer to a question about options only (4.3.5) grants no address.
fn from_v4(payload: &[u8]) -> Option<Granted> {
    const ACK: [u8; 1] = [5];
    // An answer, to a client with an Ethernet address, with the cookie that announces options (RFC 2131 2, 3).
    let is_answer = payload.get(..3)? == [2, 1, 6];
    if !is_answer || payload.get(236..240)? != [99, 130, 83, 99] {
        return None;
    }
    let address: [u8; 4] = payload.get(16..20)?.try_into().ok()?;
    let client: [u8; 6] = payload.get(28..34)?.try_into().ok()?;
    let options = payload.get(240..)?;
    let seconds: [u8; 4] = dhcp_option(options, option::LEASE_TIME)?.try_into().ok()?;
    if address == [0; 4] || dhcp_option(options, option::MESSAGE_TYPE)? != ACK {
        return None;
    }
    Some(Granted {
        address: Address::v4(u32::from_be_bytes(address)),
        mac: mac::from_octets(client),
        seconds: u32::from_be_bytes(seconds),
    })
}

/// The value of the first option with a code: a byte of code, one of length (RFC 2132 2).
fn dhcp_option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        let (code, rest) = options.split_first()?;
        match *code {
            option::PAD => options = rest,
            option::END => return None,
            code => {
                let (len, rest) = rest.split_first()?;
                let value = rest.get(..usize::from(*len))?;
                if code == wanted {
                    return Some(value);
                }
                options = &rest[value.len()..];
            }
        }
    }
}

/// RFC 8415: a reply names addresses in its identity associations. On the link it is sent to the client's own
/// hardware address.
fn from_v6(payload: &[u8], frame: &[u8]) -> Vec<Granted> {
    let Some(Ok(client)) = frame.get(..6).map(<[u8; 6]>::try_from) else { return Vec::new() };
    let Some((&[v6::REPLY, ..], options)) = payload.split_at_checked(4) else { return Vec::new() };
    let mac = mac::from_octets(client);
    let associations = options_v6(options).filter_map(|(code, value)| match code {
        // Behind the identity, and for lasting addresses two times, stand the addresses (21.4, 21.5).
        v6::IA_NA => value.get(12..),
        v6::IA_TA => value.get(4..),
        _ => None,
    });
    let addresses = associations.flat_map(options_v6).filter(|(code, _)| *code == v6::IA_ADDR);
    addresses
        .filter_map(|(_, value)| {
            // The address, how long it is preferred, how long it is valid (21.6).
            let address: [u8; 16] = value.get(..16)?.try_into().ok()?;
            let valid: [u8; 4] = value.get(20..24)?.try_into().ok()?;
            Some((Address::from_octets(address), u32::from_be_bytes(valid)))
        })
        // A lifetime of 0 takes the address back (18.2.10.1).
        .filter(|(_, seconds)| *seconds > 0)
        .map(|(address, seconds)| Granted { address, mac, seconds })
        .take(MOST)
        .collect()
}

/// Options of DHCPv6: two bytes of code, two of length (RFC 8415 21.1). Ends where one is cut.
fn options_v6(mut options: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = options.split_at_checked(4)?;
        let code = u16::from_be_bytes([head[0], head[1]]);
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([head[2], head[3]])))?;
        options = rest;
        Some((code, value))
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    const CLIENT: [u8; 6] = [0x00, 0x1d, 0x9c, 0xc7, 0xb0, 0x70];
    const SERVER: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const OFFER: u8 = 2;
    const ACK: u8 = 5;
    const NAK: u8 = 6;
    const ADVERTISE: u8 = 2;

    fn frame_v4(kind: u8, address: [u8; 4], seconds: Option<u32>) -> Vec<u8> {
        let mut payload = vec![0; 240];
        payload[..3].copy_from_slice(&[2, 1, 6]);
        payload[16..20].copy_from_slice(&address);
        payload[28..34].copy_from_slice(&CLIENT);
        payload[236..].copy_from_slice(&[99, 130, 83, 99]);
        // The server's identifier stands between, and pads.
        payload.extend([53, 1, kind, 0, 0, 54, 4, 10, 20, 1, 1]);
        if let Some(seconds) = seconds {
            payload.extend([51, 4]);
            payload.extend(seconds.to_be_bytes());
        }
        payload.push(255);
        let builder = PacketBuilder::ethernet2(SERVER, CLIENT).ipv4([10, 20, 1, 1], address, 64).udp(67, 68);
        let mut frame = Vec::new();
        builder.write(&mut frame, &payload).expect("a vector grows");
        frame
    }

    fn option_v6(code: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = code.to_be_bytes().to_vec();
        bytes.extend(u16::try_from(value.len()).expect("short").to_be_bytes());
        bytes.extend(value);
        bytes
    }

    fn frame_v6(kind: u8, valid: u32) -> Vec<u8> {
        let mut address = "fd00:20::77".parse::<Ipv6Addr>().expect("an address").octets().to_vec();
        address.extend([0; 4]);
        address.extend(valid.to_be_bytes());
        let mut association = vec![0; 12];
        association.extend(option_v6(5, &address));
        let mut payload = vec![kind, 0, 0, 7];
        // The server's identifier first.
        payload.extend(option_v6(2, &[0, 3, 0, 1, 2, 0, 0, 0, 0, 1]));
        payload.extend(option_v6(3, &association));
        let link_local = |last| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last).octets();
        let builder =
            PacketBuilder::ethernet2(SERVER, CLIENT).ipv6(link_local(1), link_local(2), 64).udp(547, 546);
        let mut frame = Vec::new();
        builder.write(&mut frame, &payload).expect("a vector grows");
        frame
    }

    #[test]
    fn an_acknowledgement_grants_its_address_for_its_time() {
        let granted = granted(&frame_v4(ACK, [10, 20, 1, 77], Some(3600)));
        let address = Address::from(Ipv4Addr::new(10, 20, 1, 77));
        assert_eq!(granted, [Granted { address, mac: mac::from_octets(CLIENT), seconds: 3600 }]);
    }

    #[test]
    fn an_offer_a_refusal_and_an_answer_about_options_grant_nothing() {
        for (kind, address, seconds) in [
            (OFFER, [10, 20, 1, 77], Some(3600)),
            (NAK, [0; 4], None),
            (ACK, [0; 4], Some(3600)),
            (ACK, [10, 20, 1, 77], None),
        ] {
            assert_eq!(granted(&frame_v4(kind, address, seconds)), [], "{kind:?}");
        }
    }

    #[test]
    fn a_reply_of_dhcpv6_grants_what_it_does_not_take_back() {
        let found = granted(&frame_v6(v6::REPLY, 7200));
        let address = Address::from("fd00:20::77".parse::<Ipv6Addr>().expect("an address"));
        assert_eq!(found, [Granted { address, mac: mac::from_octets(CLIENT), seconds: 7200 }]);
        assert_eq!(granted(&frame_v6(v6::REPLY, 0)), []);
        assert_eq!(granted(&frame_v6(ADVERTISE, 7200)), []);
    }

    proptest! {
        #[test]
        fn whatever_a_server_sends_is_survived(at in 0_usize..400, bytes in proptest::collection::vec(any::<u8>(), 0..64), cut in 0_usize..400, six: bool) {
            let whole = if six {
                frame_v6(v6::REPLY, 60)
            } else {
                frame_v4(ACK, [10, 20, 1, 77], Some(60))
            };
            let mut frame = whole;
            for (place, byte) in frame.iter_mut().skip(at).zip(&bytes) {
                *place = *byte;
            }
            frame.truncate(cut.max(14));
            prop_assert!(granted(&frame).len() <= MOST);
        }
    }
}
