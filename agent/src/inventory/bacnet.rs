//! I-Am, and what devices answer about themselves, over BACnet/IP (ASHRAE 135-2016 annex J, 6, 16.10, 15.5, 20.2).

use super::{
    Claim, Evidence, Kind,
    bytes::{be16, printable},
};

/// The port of both ends.
pub(super) const PORT: u16 = 47_808;
const DEVICE: u32 = 8;

/// What a datagram says of its sender. One that was passed on from another network is another device's.
pub(super) fn bacnet(payload: &[u8]) -> Vec<Claim> {
    let message = || application(payload);
    match message() {
        // Unconfirmed, I-Am.
        Some([0x10, 0x00, rest @ ..]) => i_am(rest).unwrap_or_default(),
        // Complex-ACK, not segmented, of ReadProperty.
        Some([0x30, _invoke, 0x0c, rest @ ..]) => property(rest).into_iter().collect(),
        Some(_) | None => Vec::new(),
    }
}

/// What is inside of BVLC and NPDU.
fn application(payload: &[u8]) -> Option<&[u8]> {
    let (function, length) = match payload {
        [0x81, function, ..] => (*function, usize::from(be16(payload, 2)?)),
        _ => return None,
    };
    // Unicast and broadcast; a forwarded one is another sender's.
    if !matches!(function, 0x0a | 0x0b) {
        return None;
    }
    let network = payload.get(4..length)?;
    let control = *network.get(1)?;
    // Version 1, an application's message, from no other network.
    if network[0] != 1 || control & 0x88 != 0 {
        return None;
    }
    if control & 0x20 == 0 {
        return network.get(2..);
    }
    // To another network: its number, an address with its length, and a hop count.
    let skipped = 2 + 3 + usize::from(*network.get(4)?) + 1;
    network.get(skipped..)
}

fn i_am(rest: &[u8]) -> Option<Vec<Claim>> {
    let (tag, rest) = rest.split_first()?;
    let object = u32::from_be_bytes(*rest.first_chunk()?);
    if *tag != 0xc4 || object >> 22 != DEVICE {
        return None;
    }
    let mut claims =
        vec![Claim::new(Kind::Identifier, format!("BACnet device {}", object & 0x3f_ffff), Evidence::Bacnet)];
    // Longest message, segmentation, vendor: unsigned, enumerated, unsigned, each with its own length.
    let mut rest = &rest[4..];
    let mut vendor = None;
    for expected in [2, 9, 2] {
        let Some((tag, behind)) = rest.split_first() else { return Some(claims) };
        let (number, length) = (tag >> 4, usize::from(tag & 7));
        let Some((value, behind)) = behind.split_at_checked(length) else { return Some(claims) };
        if number != expected || tag & 8 != 0 || length > 4 {
            return Some(claims);
        }
        vendor = Some(value.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte)));
        rest = behind;
    }
    let vendor = vendor.map(|vendor| format!("BACnet vendor {vendor}"));
    claims.extend(vendor.map(|vendor| Claim::new(Kind::Identifier, vendor, Evidence::Bacnet)));
    Some(claims)
}

/// A property of the device object: the object, the property, its text between two marks.
fn property(rest: &[u8]) -> Option<Claim> {
    let [0x0c, object @ ..] = rest else { return None };
    let number = u32::from_be_bytes(*object.first_chunk()?);
    let [0x19, property, 0x3e, value @ ..] = object.get(4..)? else { return None };
    if number >> 22 != DEVICE {
        return None;
    }
    let kind = match property {
        77 => Kind::Name,
        70 => Kind::Model,
        121 => Kind::Vendor,
        44 => Kind::Firmware,
        // Of the application and of the device.
        12 | 28 => Kind::Description,
        _ => return None,
    };
    // A character string: its length in the tag or in the byte behind it, then the character set, 0 being UTF-8.
    let (length, value) = match value {
        [0x75, length @ 0..=253, value @ ..] => (usize::from(*length), value),
        [tag @ 0x71..=0x74, value @ ..] => (usize::from(tag & 7), value),
        _ => return None,
    };
    let [0, text @ ..] = value.get(..length)? else { return None };
    Some(Claim::new(kind, printable(text)?, Evidence::Bacnet))
}
