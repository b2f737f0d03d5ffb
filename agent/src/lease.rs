//! What a DHCP server's answer says of addresses: which one is whose, and for how long.
//!
//! In: a frame as the data path sampled it, after it allowed it. Out: the leases it grants. The bytes are another
//! host's: whatever they are, the answer is a list, at worst an empty one.

use bulkhead_common::{address::Address, wire::mac};
use dhcproto::{Decodable, Decoder, v4, v6};
use etherparse::{SlicedPacket, TransportSlice};

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
    let is_v4 = matches!(packet.net, Some(etherparse::NetSlice::Ipv4(_)));
    let mut found = if is_v4 { from_v4(udp.payload()) } else { from_v6(udp.payload(), frame) };
    found.truncate(MOST);
    found
}

/// RFC 2131: an acknowledgement names the address and, in option 51, the time. An offer grants nothing yet.
fn from_v4(payload: &[u8]) -> Vec<Granted> {
    let Ok(message) = v4::Message::decode(&mut Decoder::new(payload)) else { return Vec::new() };
    let is_ack = message.opts().msg_type() == Some(v4::MessageType::Ack);
    let seconds = match message.opts().get(v4::OptionCode::AddressLeaseTime) {
        Some(v4::DhcpOption::AddressLeaseTime(seconds)) => *seconds,
        // An answer to a question about options only (RFC 2131 4.3.5) grants no address.
        Some(_) | None => return Vec::new(),
    };
    let Ok(client) = <[u8; 6]>::try_from(message.chaddr()) else { return Vec::new() };
    if !is_ack || message.yiaddr().is_unspecified() {
        return Vec::new();
    }
    vec![Granted { address: message.yiaddr().into(), mac: mac::from_octets(client), seconds }]
}

/// RFC 8415: a reply names addresses in its identity associations. On the link it is sent to the client's own
/// hardware address.
fn from_v6(payload: &[u8], frame: &[u8]) -> Vec<Granted> {
    let Ok(message) = v6::Message::decode(&mut Decoder::new(payload)) else { return Vec::new() };
    let Some(Ok(client)) = frame.get(..6).map(<[u8; 6]>::try_from) else { return Vec::new() };
    if message.msg_type() != v6::MessageType::Reply {
        return Vec::new();
    }
    let mac = mac::from_octets(client);
    let associations = message.opts().iter().filter_map(|option| match option {
        v6::DhcpOption::IANA(association) => Some(&association.opts),
        v6::DhcpOption::IATA(association) => Some(&association.opts),
        _ => None,
    });
    let addresses = associations.flat_map(|options| options.iter()).filter_map(|option| match option {
        v6::DhcpOption::IAAddr(address) => Some(address),
        _ => None,
    });
    addresses
        // A lifetime of 0 takes the address back (RFC 8415 18.2.10.1).
        .filter(|address| address.valid_life > 0)
        .map(|address| Granted { address: address.addr.into(), mac, seconds: address.valid_life })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use dhcproto::{Encodable, Encoder};
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    const CLIENT: [u8; 6] = [0x00, 0x1d, 0x9c, 0xc7, 0xb0, 0x70];
    const SERVER: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn encoded(message: &impl Encodable) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.encode(&mut Encoder::new(&mut bytes)).expect("it is well formed");
        bytes
    }

    fn frame_v4(kind: v4::MessageType, address: [u8; 4], seconds: Option<u32>) -> Vec<u8> {
        let none = Ipv4Addr::UNSPECIFIED;
        let mut message =
            v4::Message::new_with_id(7, none, Ipv4Addr::from(address), none, none, &CLIENT);
        message.set_opcode(v4::Opcode::BootReply);
        message.opts_mut().insert(v4::DhcpOption::MessageType(kind));
        if let Some(seconds) = seconds {
            message.opts_mut().insert(v4::DhcpOption::AddressLeaseTime(seconds));
        }
        let builder = PacketBuilder::ethernet2(SERVER, CLIENT).ipv4([10, 20, 1, 1], address, 64).udp(67, 68);
        let payload = encoded(&message);
        let mut frame = Vec::new();
        builder.write(&mut frame, &payload).expect("a vector grows");
        frame
    }

    fn frame_v6(kind: v6::MessageType, valid: u32) -> Vec<u8> {
        let address = v6::IAAddr {
            addr: "fd00:20::77".parse().expect("an address"),
            preferred_life: valid / 2,
            valid_life: valid,
            opts: v6::DhcpOptions::default(),
        };
        let mut inner = v6::DhcpOptions::default();
        inner.insert(v6::DhcpOption::IAAddr(address));
        let mut message = v6::Message::new(kind);
        message.opts_mut().insert(v6::DhcpOption::IANA(v6::IANA { id: 1, t1: 0, t2: 0, opts: inner }));
        let (from, to) = ("fe80::1".parse::<Ipv6Addr>(), "fe80::2".parse::<Ipv6Addr>());
        let (from, to) = (from.expect("an address").octets(), to.expect("an address").octets());
        let builder = PacketBuilder::ethernet2(SERVER, CLIENT).ipv6(from, to, 64).udp(547, 546);
        let mut frame = Vec::new();
        builder.write(&mut frame, &encoded(&message)).expect("a vector grows");
        frame
    }

    #[test]
    fn an_acknowledgement_grants_its_address_for_its_time() {
        let granted = granted(&frame_v4(v4::MessageType::Ack, [10, 20, 1, 77], Some(3600)));
        let address = Address::from(Ipv4Addr::new(10, 20, 1, 77));
        assert_eq!(granted, [Granted { address, mac: mac::from_octets(CLIENT), seconds: 3600 }]);
    }

    #[test]
    fn an_offer_a_refusal_and_an_answer_about_options_grant_nothing() {
        for (kind, address, seconds) in [
            (v4::MessageType::Offer, [10, 20, 1, 77], Some(3600)),
            (v4::MessageType::Nak, [0; 4], None),
            (v4::MessageType::Ack, [0; 4], Some(3600)),
            (v4::MessageType::Ack, [10, 20, 1, 77], None),
        ] {
            assert_eq!(granted(&frame_v4(kind, address, seconds)), [], "{kind:?}");
        }
    }

    #[test]
    fn a_reply_of_dhcpv6_grants_what_it_does_not_take_back() {
        let found = granted(&frame_v6(v6::MessageType::Reply, 7200));
        let address = Address::from("fd00:20::77".parse::<Ipv6Addr>().expect("an address"));
        assert_eq!(found, [Granted { address, mac: mac::from_octets(CLIENT), seconds: 7200 }]);
        assert_eq!(granted(&frame_v6(v6::MessageType::Reply, 0)), []);
        assert_eq!(granted(&frame_v6(v6::MessageType::Advertise, 7200)), []);
    }

    proptest! {
        #[test]
        fn whatever_a_server_sends_is_survived(at in 0_usize..400, bytes in proptest::collection::vec(any::<u8>(), 0..64), cut in 0_usize..400, six: bool) {
            let whole = if six {
                frame_v6(v6::MessageType::Reply, 60)
            } else {
                frame_v4(v4::MessageType::Ack, [10, 20, 1, 77], Some(60))
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
