//! PROFINET DCP: answers to Identify and Get, and Hello (IEC 61158-6-10 4.3).

use std::net::{IpAddr, Ipv4Addr};

use super::{
    Claim, Evidence, Kind,
    bytes::{be16, printable},
};

/// The EtherType.
pub(super) const ETHERTYPE: u16 = 0x8892;
/// Frame ids: hello, get and set, answer to identify. The question of identify is between the last two.
const HELLO: u16 = 0xfefc;
const GET_OR_SET: u16 = 0xfefd;
const IDENTIFIED: u16 = 0xfeff;
/// Blocks of one frame.
const MOST: usize = 64;

/// What a frame says of its sender.
pub(super) fn dcp(payload: &[u8]) -> Vec<Claim> {
    let mut claims = Vec::new();
    let (Some(frame), Some(length)) = (be16(payload, 0), be16(payload, 10)) else { return claims };
    let (service, kind) = (payload[2], payload[3]);
    // Service 3 is get, 5 identify, 6 hello; type 1 is an answer, and a hello is none.
    if !matches!((frame, service, kind), (IDENTIFIED, 5, 1) | (GET_OR_SET, 3, 1) | (HELLO, 6, 0)) {
        return claims;
    }
    let Some(mut blocks) = payload.get(12..).map(|rest| &rest[..rest.len().min(length.into())]) else {
        return claims;
    };
    for _ in 0..MOST {
        let [option, suboption, _, _, rest @ ..] = blocks else { break };
        let Some(length) = be16(blocks, 2).map(usize::from) else { break };
        // Two bytes about the block, and a value.
        let Some(value) = rest.get(..length).and_then(|block| block.get(2..)) else { break };
        claims.extend(block(*option, *suboption, value));
        blocks = rest.get(length + length % 2..).unwrap_or_default();
    }
    claims
}

fn block(option: u8, suboption: u8, value: &[u8]) -> Option<Claim> {
    let claim = |kind, value: String| Claim::new(kind, value, Evidence::Profinet);
    match (option, suboption) {
        (1, 2) => Claim::address(IpAddr::V4(Ipv4Addr::from(*value.first_chunk::<4>()?)), Evidence::Profinet),
        (2, 1) => Some(claim(Kind::Model, printable(value)?)),
        (2, 2) => Some(claim(Kind::Name, printable(value)?)),
        (2, 3) => {
            let (vendor, device) = (be16(value, 0)?, be16(value, 2)?);
            Some(claim(Kind::Identifier, format!("PROFINET vendor 0x{vendor:04x}, device 0x{device:04x}")))
        }
        (2, 4) => {
            let role = match value.first()? {
                role if role & 2 != 0 => "plc",
                role if role & 1 != 0 => "io device",
                _ => return None,
            };
            Some(claim(Kind::Role, role.to_owned()))
        }
        _ => None,
    }
}
