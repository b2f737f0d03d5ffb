//! ListIdentity of EtherNet/IP (CIP volume 2, 2-4.2 and 2-6.2.2).

use super::{
    Claim, Evidence, Kind,
    bytes::{le16, printable},
};

/// The port of TCP and UDP.
pub(super) const PORT: u16 = 44_818;
const LIST_IDENTITY: u16 = 0x63;
const IDENTITY: u16 = 0x0c;

/// What kinds of device say of themselves in a field for it (CIP volume 1, 6-1), where there is a word for them here.
fn role(device_type: u16) -> Option<&'static str> {
    Some(match device_type {
        0x02 => "drive",
        0x07 => "io device",
        0x0c => "communications adapter",
        0x0e => "plc",
        0x18 => "hmi",
        0x2c => "switch",
        _ => return None,
    })
}

/// What a server answers; `payload` begins with a message.
pub(super) fn list_identity(payload: &[u8]) -> Vec<Claim> {
    identity(payload).unwrap_or_default()
}

fn identity(payload: &[u8]) -> Option<Vec<Claim>> {
    // Command, length, session, status, context, options; then the number of items, and the first of them.
    let (command, status) = (le16(payload, 0)?, payload.get(8..12)?);
    if command != LIST_IDENTITY
        || status != [0; 4]
        || le16(payload, 24)? == 0
        || le16(payload, 26)? != IDENTITY
    {
        return None;
    }
    let item = payload.get(30..)?.get(..usize::from(le16(payload, 28)?))?;
    // Version, socket address, then the attributes of the identity object.
    let (vendor, device_type, product) = (le16(item, 18)?, le16(item, 20)?, le16(item, 22)?);
    let [major, minor] = *item.get(24..)?.first_chunk()?;
    let serial = u32::from_le_bytes(*item.get(28..)?.first_chunk()?);
    let name = item.get(33..)?.get(..usize::from(*item.get(32)?))?;
    let claim = |kind, value: String| Claim::new(kind, value, Evidence::EtherNetIp);
    let mut claims = vec![
        claim(Kind::Identifier, format!("ODVA vendor {vendor}, type {device_type}, product {product}")),
        claim(Kind::Firmware, format!("{major}.{minor:03}")),
        claim(Kind::Serial, format!("{serial:08x}")),
    ];
    claims.extend(printable(name).map(|name| claim(Kind::Model, name)));
    claims.extend(role(device_type).map(|role| claim(Kind::Role, role.to_owned())));
    Some(claims)
}
