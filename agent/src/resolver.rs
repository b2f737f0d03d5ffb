//! What a resolver's answer says of names: which addresses are behind the one that was asked for, and for how long.
//!
//! In: a frame as the data path sampled it, after it allowed it. Out: the name and its addresses, or nothing. The bytes are
//! another host's: whatever they are, the answer is bounded, and a message that is cut counts as far as it goes.

use std::net::{IpAddr, SocketAddr};

use domain::{
    base::{Message, Name, ParsedName, Rtype, iana::Class, name::ToName},
    rdata::{A, Aaaa, Cname},
};
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

/// What a device was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The name it asked for: in lower case, without the final dot.
    pub name: String,
    /// The addresses, each with its time to live in seconds.
    pub addresses: Vec<(IpAddr, u32)>,
}

/// Addresses that one answer may name; more than a datagram of the usual size holds of IPv4.
const MOST: usize = 64;

/// Aliases that an answer may go through to its addresses. Resolvers themselves follow fewer: BIND 16, Unbound 11.
const MOST_ALIASES: usize = 16;

/// Reads a resolver's answer to a question for addresses. `frame` may be cut.
pub fn resolved(frame: &[u8]) -> Option<Resolved> {
    let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
    let Some(TransportSlice::Udp(udp)) = packet.transport else { return None };
    answered(udp.payload())
}

/// Between whom a datagram goes: source and destination, each with its port. `frame` may be cut.
pub fn ends(frame: &[u8]) -> Option<[SocketAddr; 2]> {
    let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
    let [from, to]: [IpAddr; 2] = match packet.net? {
        LaxNetSlice::Ipv4(ip) => [ip.header().source_addr().into(), ip.header().destination_addr().into()],
        LaxNetSlice::Ipv6(ip) => [ip.header().source_addr().into(), ip.header().destination_addr().into()],
        LaxNetSlice::Arp(_) => return None,
    };
    let Some(TransportSlice::Udp(udp)) = packet.transport else { return None };
    Some([SocketAddr::new(from, udp.source_port()), SocketAddr::new(to, udp.destination_port())])
}

fn answered(payload: &[u8]) -> Option<Resolved> {
    let message = Message::from_slice(payload).ok()?;
    let header = message.header();
    // A response, to a standard query, without an error (RFC 1035 4.1.1).
    if !header.qr() || header.opcode().to_int() != 0 || header.rcode().to_int() != 0 {
        return None;
    }
    let question = message.sole_question().ok()?;
    if question.qclass() != Class::IN || !matches!(question.qtype(), Rtype::A | Rtype::AAAA | Rtype::ANY) {
        return None;
    }
    let answer = message.answer().ok()?;
    let aliases: Vec<(ParsedName<_>, ParsedName<_>)> = answer
        .limit_to_in::<Cname<_>>()
        .map_while(Result::ok)
        .take(MOST_ALIASES)
        .map(|record| (*record.owner(), record.into_data().into_cname()))
        .collect();
    // The names by which the question is answered: its own, and what that is an alias of. No record of another name is
    // part of the answer, whoever added it.
    let mut names = vec![*question.qname()];
    while let Some(last) = names.last()
        && let Some((_, next)) = aliases.iter().find(|(owner, _)| owner == last)
        && !names.contains(next)
    {
        names.push(*next);
    }
    let v4 = answer.limit_to_in::<A>().map_while(Result::ok);
    let v4 = v4.map(|record| (*record.owner(), IpAddr::from(record.data().addr()), record.ttl().as_secs()));
    let v6 = answer.limit_to_in::<Aaaa>().map_while(Result::ok);
    let v6 = v6.map(|record| (*record.owner(), IpAddr::from(record.data().addr()), record.ttl().as_secs()));
    let addresses = v4.chain(v6).take(MOST).filter(|(owner, _, _)| names.contains(owner));
    Some(Resolved {
        name: spelled(question.qname())?,
        addresses: addresses.map(|(_, address, seconds)| (address, seconds)).collect(),
    })
}

/// A name as policies write it. What no policy can name has no spelling: a label may hold any byte (RFC 2181 11), dots and
/// those that steer a terminal included.
fn spelled(name: &ParsedName<&[u8]>) -> Option<String> {
    let name: Name<Vec<u8>> = name.try_to_name().ok()?;
    let mut labels = Vec::new();
    for label in name.iter().filter(|label| !label.is_root()) {
        let plain = label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        let text = str::from_utf8(label.as_slice()).ok().filter(|_| plain)?;
        labels.push(text.to_ascii_lowercase());
    }
    (!labels.is_empty()).then(|| labels.join("."))
}

#[cfg(test)]
mod tests;
