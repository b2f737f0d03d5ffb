//! Answers of S7 controllers to questions for their system status lists (Siemens A5E00709327, SZL 0x11 and 0x1c).

use super::{
    Claim, Evidence, Kind,
    bytes::{be16, printable},
};

/// The server's port (RFC 1006).
pub(super) const PORT: u16 = 102;
/// Records of one list.
const MOST: usize = 32;

/// What a server answers; `payload` begins with a TPKT.
pub(super) fn s7(payload: &[u8]) -> Vec<Claim> {
    list(payload).unwrap_or_default()
}

fn list(payload: &[u8]) -> Option<Vec<Claim>> {
    let [3, 0, ..] = payload else { return None };
    let packet = payload.get(4..usize::from(be16(payload, 2)?))?;
    // COTP: its length without itself, and that it is data.
    let (length, cotp) = packet.split_first()?;
    if *cotp.first()? != 0xf0 {
        return None;
    }
    let message = cotp.get(usize::from(*length)..)?;
    let [0x32, 7, ..] = message else { return None };
    let (parameters, data) = (usize::from(be16(message, 6)?), usize::from(be16(message, 8)?));
    let (parameters, rest) = message.get(10..)?.split_at_checked(parameters)?;
    let data = rest.get(..data)?;
    // A head of three bytes and a length; then an answer about the CPU, to a question for a list.
    if parameters.get(..3)? != [0, 1, 0x12] || parameters.get(5..7)? != [0x84, 1] || *data.first()? != 0xff {
        return None;
    }
    let (id, each, count) = (be16(data, 4)?, usize::from(be16(data, 8)?), usize::from(be16(data, 10)?));
    if each < 2 {
        return None;
    }
    let records = data.get(12..)?.chunks_exact(each).take(count.min(MOST));
    Some(match id {
        0x11 => records.flat_map(module).collect(),
        0x1c => records.filter_map(component).collect(),
        _ => return None,
    })
}

/// An order number, and for the firmware its version.
fn module(record: &[u8]) -> Vec<Claim> {
    let claim = |kind, value: String| Claim::new(kind, value, Evidence::S7);
    match be16(record, 0) {
        Some(1) => {
            let order = record.get(2..22).and_then(printable);
            order.map(|order| claim(Kind::Model, order)).into_iter().collect()
        }
        Some(7) => match record.get(24..28) {
            Some([b'V', major, minor, patch]) => {
                vec![claim(Kind::Firmware, format!("V{major}.{minor}.{patch}"))]
            }
            Some(_) | None => Vec::new(),
        },
        Some(_) | None => Vec::new(),
    }
}

/// Names and numbers of the station and of its module.
fn component(record: &[u8]) -> Option<Claim> {
    let kind = match be16(record, 0)? {
        1 => Kind::Name,
        // Of the module, of the plant, of the type of the module.
        2 | 3 | 7 => Kind::Description,
        5 => Kind::Serial,
        _ => return None,
    };
    Some(Claim::new(kind, printable(record.get(2..)?)?, Evidence::S7))
}
