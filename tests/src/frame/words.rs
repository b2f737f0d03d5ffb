//! The words behind the kind of a line: each changes one thing.

use std::net::IpAddr;

use super::{
    build::{Draft, Extension},
    host, known, number, target,
};

/// Where the fixed part of a DHCP message begins in a datagram.
const MESSAGE: usize = 8;

/// One word, one thing changed.
pub(super) fn change(draft: &mut Draft, word: &str) -> Result<(), String> {
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    match name {
        // Addresses that differ from the host's.
        "smac" => draft.source_mac = known(value)?.mac_of(&draft.source),
        "dmac" => draft.destination_mac = known(value)?.mac_of(&draft.destination),
        "sip" => draft.source = address(draft, value)?,
        "dip" => draft.destination = address(draft, value)?,
        "ll" => {
            draft.source = draft.from.link_local().into();
            if !draft.to.v6.is_multicast() {
                draft.destination = draft.to.link_local().into();
            }
        }
        // ARP: sender hardware and protocol address, operation, hardware type.
        "sha" => put(draft, 8, &known(value)?.mac)?,
        "spa" => put(draft, 14, &octets(address(draft, value)?))?,
        "op" => put(draft, 7, &[number(value)?])?,
        "htype" => put(draft, 1, &[number(value)?])?,
        // Neighbour discovery: its options in order, and its code.
        "slla" => option(draft, 1, &known(value)?.mac),
        "tlla" => option(draft, 2, &known(value)?.mac),
        "nonce" => option(draft, 14, b"nonce!"),
        "prefix" => option(draft, 3, &[0x40; 30]),
        "opt" => {
            // TYPE/UNITS: an option that says it is so many times eight bytes long, and is.
            let (kind, units) = pair(value)?;
            let mut bytes = vec![kind, units];
            bytes.resize(usize::from(units) * 8, 0x11);
            draft.body.extend(if bytes.len() < 2 { vec![kind, 0, 0, 0, 0, 0, 0, 0] } else { bytes });
        }
        "code" => put(draft, 1, &[number(value)?])?,
        // DHCP: whose address it becomes, and what kind of hardware.
        "yiaddr" => put(draft, MESSAGE + 16, &octets(address(draft, value)?))?,
        "chaddr" => put(draft, MESSAGE + 28, &known(value)?.mac)?,
        "hlen" => put(draft, MESSAGE + 2, &[number(value)?])?,
        "bootp" => put(draft, MESSAGE, &[number(value)?])?,
        // Tags, outermost first, and what announces them.
        "vlan" => draft.tags = value.split(',').map(number).collect::<Result<_, _>>()?,
        "tpid" => draft.tpid = super::hex(value)?,
        // IP header fields that lie.
        "ver" => draft.version = Some(number(value)?),
        "ihl" => draft.words = Some(number(value)?),
        "opts" => {
            draft.options = match value {
                "" => vec![0x83, 3, 4, 0],
                "alert" => vec![0x94, 4, 0, 0],
                "none" => Vec::new(),
                "nop" => vec![1, 1, 1, 1],
                other => return Err(other.to_owned()),
            }
        }
        "totlen" => draft.total = delta(value)?,
        "hop" => draft.hop = number(value)?,
        "badsum" => draft.checksum_lies = true,
        "df" => draft.fragment |= 0x4000,
        "frag" => fragment(draft, value)?,
        // Extension headers of IPv6, in their order. Sizes are bytes.
        "hbh" => padding(draft, 0, value)?,
        "dst" => padding(draft, 60, value)?,
        "mobility" => padding(draft, 135, value)?,
        "rh" => {
            let (kind, left) = pair(value)?;
            draft.extensions.push(Extension { kind: 43, bytes: vec![0, 0, kind, left, 0, 0, 0, 0] });
        }
        // Transport fields that lie; `doff` is in words, `udplen`, `short` and `len` in bytes.
        "doff" => put(draft, 12, &[number::<u8>(value)? << 4])?,
        "udplen" => {
            let at = u16::from_be_bytes([draft.body[4], draft.body[5]]);
            let lie = i32::from(at) + delta(value)?;
            put(draft, 4, &u16::try_from(lie).map_err(|_| word)?.to_be_bytes())?;
        }
        "short" => draft.body.truncate(number(value)?),
        "len" => draft.body.resize(number(value)?, b'.'),
        // The frame as a whole: cut after, or padded to, so many bytes.
        "trunc" => draft.cut = Some(number(value)?),
        "pad" => draft.pad = number(value)?,
        other => return Err(other.to_owned()),
    }
    Ok(())
}

fn put(draft: &mut Draft, at: usize, bytes: &[u8]) -> Result<(), String> {
    let place = draft.body.get_mut(at..at + bytes.len()).ok_or("a field that this kind does not have")?;
    place.copy_from_slice(bytes);
    Ok(())
}

fn option(draft: &mut Draft, kind: u8, bytes: &[u8]) {
    let units = (2 + bytes.len()) / 8;
    draft.body.extend([kind, u8::try_from(units).expect("options are short")]);
    draft.body.extend(bytes);
}

/// `OFFSET[+][/ID]`, the offset in units of eight bytes, `+` for more to come. Of IPv6 a header of its own.
fn fragment(draft: &mut Draft, value: &str) -> Result<(), String> {
    let (place, id) = value.split_once('/').unwrap_or((value, "7"));
    let (offset, more) = place.strip_suffix('+').map_or((place, false), |offset| (offset, true));
    let (offset, id): (u16, u16) = (number(offset)?, number(id)?);
    if draft.is_v6() {
        let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
        let [a, b] = id.to_be_bytes();
        draft.extensions.push(Extension { kind: 44, bytes: vec![0, 0, high, low, 0, 0, a, b] });
    } else {
        draft.fragment |= offset | if more { 0x2000 } else { 0 };
        draft.id = id;
    }
    Ok(())
}

/// A header of so many bytes, all padding (RFC 8200 4.2).
fn padding(draft: &mut Draft, kind: u8, size: &str) -> Result<(), String> {
    let size: usize = if size.is_empty() { 8 } else { number(size)? };
    let units =
        u8::try_from(size / 8).map_err(|_| size.to_string())?.checked_sub(1).ok_or(size.to_string())?;
    let mut bytes = vec![0, units, 1, u8::try_from((size - 4).min(255)).expect("at most 255")];
    bytes.resize(size, 0);
    draft.extensions.push(Extension { kind, bytes });
    Ok(())
}

/// A host's address of the frame's family, or one in digits.
fn address(draft: &Draft, text: &str) -> Result<IpAddr, String> {
    match host(text) {
        Some(host) if draft.is_v6() => Ok(host.v6.into()),
        Some(host) => Ok(host.v4.into()),
        None if draft.is_v6() => target(text).map(IpAddr::V6),
        None => text.parse().map(IpAddr::V4).map_err(|_| text.to_owned()),
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn pair(text: &str) -> Result<(u8, u8), String> {
    let (a, b) = text.split_once('/').ok_or_else(|| text.to_owned())?;
    Ok((number(a)?, number(b)?))
}

fn delta(text: &str) -> Result<i32, String> {
    number(text.strip_prefix('+').unwrap_or(text))
}
