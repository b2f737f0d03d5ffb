//! Announcements of multicast DNS (RFC 6762) and of services with it (RFC 6763).

use std::net::IpAddr;

use domain::{
    base::{Message, ParsedName, Rtype, iana::Class, name::ToLabelIter},
    rdata::{A, Aaaa, Ptr, Txt},
};

use super::{Claim, Evidence, Kind, bytes::printable};

/// The port of both ends.
pub(super) const PORT: u16 = 5353;
/// Records of one message that are read.
const MOST: usize = 64;
/// Keys of TXT records by which devices say what they are, in lower case.
const KEYS: [(&[u8], Kind); 14] = [
    (b"ty", Kind::Model),
    (b"md", Kind::Model),
    (b"am", Kind::Model),
    (b"model", Kind::Model),
    (b"modelname", Kind::Model),
    (b"usb_mdl", Kind::Model),
    (b"usb_mfg", Kind::Vendor),
    (b"manufacturer", Kind::Vendor),
    (b"vendor", Kind::Vendor),
    (b"fv", Kind::Firmware),
    (b"fw", Kind::Firmware),
    (b"firmware", Kind::Firmware),
    (b"version", Kind::Firmware),
    (b"serialnumber", Kind::Serial),
];

/// What an answer or an announcement from `source` says of its sender. Answers to questions for addresses count if they give the sender's
/// own address: others can be answered for.
pub(super) fn mdns(payload: &[u8], source: IpAddr) -> Vec<Claim> {
    let mut claims = Vec::new();
    let Ok(message) = Message::from_slice(payload) else { return claims };
    if !message.header().qr() {
        return claims;
    }
    let Ok((_, answer, _, additional)) = message.sections() else { return claims };
    let records = answer.chain(additional).take(MOST).map_while(Result::ok);
    for record in records {
        // The highest bit of the class says that older answers are void (RFC 6762 10.2); no time left is a good-bye (10.1).
        let is_internet = record.class().to_int() & 0x7fff == Class::IN.to_int();
        if !is_internet || record.ttl().as_secs() == 0 {
            continue;
        }
        let owner = record.owner();
        match record.rtype() {
            Rtype::A => {
                let data = record.to_record::<A>().ok().flatten();
                let is_own = data.is_some_and(|data| IpAddr::V4(data.data().addr()) == source);
                claims.extend(is_own.then(|| host(&owner)).flatten());
            }
            Rtype::AAAA => {
                let data = record.to_record::<Aaaa>().ok().flatten();
                let is_own = data.is_some_and(|data| IpAddr::V6(data.data().addr()) == source);
                claims.extend(is_own.then(|| host(&owner)).flatten());
            }
            Rtype::PTR => {
                let data = record.to_record::<Ptr<ParsedName<_>>>().ok().flatten();
                claims.extend(data.map(|data| service(&owner, data.data().ptrdname())).unwrap_or_default());
            }
            Rtype::TXT => {
                if let Ok(Some(data)) = record.to_record::<Txt<_>>() {
                    told(&mut claims, data.data());
                }
            }
            _ => {}
        }
    }
    claims
}

/// The name of a host, without `local`.
fn host(owner: &ParsedName<&[u8]>) -> Option<Claim> {
    Some(Claim::new(Kind::Name, label(owner, 0)?, Evidence::Mdns))
}

/// A service: its kind, `_ipp._tcp`, and what this one of it is called. The list of all kinds has kinds alone (RFC 6763 9).
fn service(owner: &ParsedName<&[u8]>, named: &ParsedName<&[u8]>) -> Vec<Claim> {
    let is_list = label(owner, 0).is_some_and(|first| first == "_services");
    let of = if is_list { named } else { owner };
    let (Some(kind), Some(transport)) = (label(of, 0), label(of, 1)) else { return Vec::new() };
    if !kind.starts_with('_') || !matches!(transport.as_str(), "_tcp" | "_udp") {
        return Vec::new();
    }
    let kind = printable(format!("{kind}.{transport}").as_bytes());
    let instance = label(named, 0).filter(|_| !is_list);
    let claims = [(Kind::Service, kind), (Kind::Description, instance)];
    claims.into_iter().filter_map(|(kind, value)| Some(Claim::new(kind, value?, Evidence::Mdns))).collect()
}

fn label(name: &ParsedName<&[u8]>, at: usize) -> Option<String> {
    let label = name.iter_labels().filter(|label| !label.is_root()).nth(at)?;
    printable(label.as_slice())
}

fn told(claims: &mut Vec<Claim>, txt: &Txt<&[u8]>) {
    for text in txt.iter().take(MOST) {
        let Some(equals) = text.iter().position(|byte| *byte == b'=') else { continue };
        let key = text[..equals].to_ascii_lowercase();
        let Some((_, kind)) = KEYS.iter().find(|(known, _)| *known == key.as_slice()) else { continue };
        let value = printable(&text[equals + 1..]);
        claims.extend(value.map(|value| Claim::new(*kind, value, Evidence::Mdns)));
    }
}
