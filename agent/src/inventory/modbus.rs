//! Answers to Read Device Identification of Modbus/TCP (Modbus Application Protocol V1.1b3 6.21).

use super::{
    Claim, Evidence, Kind,
    bytes::{be16, printable},
};

/// The server's port.
pub(super) const PORT: u16 = 502;
/// Messages of one segment: several answers may come at once.
const MOST: usize = 8;

/// What a server answers; `payload` begins with a message.
pub(super) fn modbus(payload: &[u8]) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut rest = payload;
    for _ in 0..MOST {
        // Transaction, protocol 0, the length of what follows it.
        let (Some(0), Some(length)) = (be16(rest, 2), be16(rest, 4)) else { break };
        let Some(message) = rest.get(6..6 + usize::from(length)) else { break };
        rest = &rest[6 + message.len()..];
        if let [_unit, 0x2b, 0x0e, _code, _conformity, _more, _next, count, objects @ ..] = message {
            identification(&mut claims, *count, objects);
        }
    }
    claims
}

/// Objects: an id, a length, text (table in 6.21).
fn identification(claims: &mut Vec<Claim>, count: u8, mut objects: &[u8]) {
    for _ in 0..count {
        let [id, length, rest @ ..] = objects else { return };
        let Some((value, rest)) = rest.split_at_checked(usize::from(*length)) else { return };
        objects = rest;
        let kind = match id {
            0 => Kind::Vendor,
            1 => Kind::Model,
            2 => Kind::Firmware,
            // Names of the product, of its model, of its application: asked for apart from the others.
            4..=6 => Kind::Description,
            _ => continue,
        };
        claims.extend(printable(value).map(|value| Claim::new(kind, value, Evidence::Modbus)));
    }
}
