//! Announcements of UPnP (UPnP Device Architecture 2.0, 1.2.2 and 1.3.3).

use super::{Claim, Evidence, Kind, bytes::printable};

/// The port of the group.
pub(super) const PORT: u16 = 1900;
/// Header lines that are read.
const MOST: usize = 32;

/// What an announcement, or an answer to a search, says of its sender.
pub(super) fn ssdp(payload: &[u8]) -> Vec<Claim> {
    let mut lines = payload.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default().trim_ascii();
    if !matches!(first, b"NOTIFY * HTTP/1.1" | b"HTTP/1.1 200 OK") {
        return Vec::new();
    }
    let mut claims = Vec::new();
    for line in lines.take(MOST) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (line[..colon].trim_ascii().to_ascii_lowercase(), line[colon + 1..].trim_ascii());
        let claim = match name.as_slice() {
            b"nts" if value == b"ssdp:byebye" => return Vec::new(),
            b"server" => (Kind::Description, printable(value)),
            b"nt" | b"st" if value.starts_with(b"urn:") => (Kind::Service, printable(value)),
            _ => continue,
        };
        let (kind, Some(value)) = claim else { continue };
        claims.push(Claim::new(kind, value, Evidence::Ssdp));
    }
    claims
}
