//! LLDP (IEEE 802.1AB-2016 8) and the inventory of LLDP-MED (ANSI/TIA-1057 10.2.6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    Claim, Evidence, Kind,
    bytes::{be16, printable},
};

const CHASSIS: u8 = 1;
const TIME_TO_LIVE: u8 = 3;
const SYSTEM_NAME: u8 = 5;
const SYSTEM_DESCRIPTION: u8 = 6;
const CAPABILITIES: u8 = 7;
const MANAGEMENT_ADDRESS: u8 = 8;
const ORGANISATION: u8 = 127;
/// LLDP-MED's organisation.
const MED: [u8; 3] = [0x00, 0x12, 0xbb];
/// Bits of the capabilities (table 8-4), in the order in which they say what a device is most of all.
const ROLES: [(u16, &str); 4] =
    [(1 << 5, "telephone"), (1 << 3, "access point"), (1 << 4, "router"), (1 << 2, "bridge")];
/// Elements of one message.
const MOST: usize = 128;

/// What a message says of its sender.
pub(super) fn lldp(payload: &[u8]) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut rest = payload;
    // The first element is always the chassis: what begins otherwise is something else (9.2.7.7.1).
    if payload.first().is_none_or(|first| first >> 1 != CHASSIS) {
        return claims;
    }
    for _ in 0..MOST {
        let Some(head) = be16(rest, 0) else { break };
        let (kind, length) = ((head >> 9) as u8, usize::from(head & 0x1ff));
        let Some(value) = rest.get(2..2 + length) else { break };
        rest = &rest[2 + length..];
        match kind {
            0 => break,
            // It says good-bye (8.5.4).
            TIME_TO_LIVE if be16(value, 0) == Some(0) => return Vec::new(),
            SYSTEM_NAME => push(&mut claims, Kind::Name, value),
            SYSTEM_DESCRIPTION => push(&mut claims, Kind::Description, value),
            CAPABILITIES => claims.extend(role(value)),
            MANAGEMENT_ADDRESS => claims.extend(management(value)),
            ORGANISATION => med(&mut claims, value),
            _ => {}
        }
    }
    claims
}

fn push(claims: &mut Vec<Claim>, kind: Kind, value: &[u8]) {
    claims.extend(printable(value).map(|value| Claim::new(kind, value, Evidence::Lldp)));
}

/// What it does, of what it could: the enabled capabilities (8.5.8).
fn role(value: &[u8]) -> Option<Claim> {
    let enabled = be16(value, 2)?;
    let (_, role) = ROLES.iter().find(|(bit, _)| enabled & bit != 0)?;
    Some(Claim::new(Kind::Role, *role, Evidence::Lldp))
}

/// A management address: a length, a family of IANA, the address (8.5.9).
fn management(value: &[u8]) -> Option<Claim> {
    let address: IpAddr = match (*value.first()?, *value.get(1)?) {
        (5, 1) => Ipv4Addr::from(*value.get(2..)?.first_chunk::<4>()?).into(),
        (17, 2) => Ipv6Addr::from(*value.get(2..)?.first_chunk::<16>()?).into(),
        _ => return None,
    };
    Claim::address(address, Evidence::Lldp)
}

fn med(claims: &mut Vec<Claim>, value: &[u8]) {
    let Some((organisation, [subtype, text @ ..])) = value.split_at_checked(3) else { return };
    if organisation != MED {
        return;
    }
    match subtype {
        6 | 7 => push(claims, Kind::Firmware, text),
        8 => push(claims, Kind::Serial, text),
        9 => push(claims, Kind::Vendor, text),
        10 => push(claims, Kind::Model, text),
        _ => {}
    }
}
