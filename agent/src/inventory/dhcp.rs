//! What a host says of itself when it asks for an address: DHCP (RFC 2131, RFC 2132).

use std::net::{IpAddr, Ipv4Addr};

use super::{Claim, Evidence, Kind, bytes::printable, fact::is_of_a_host};
use crate::model::Mac;

/// The code of an option (RFC 2132 3 to 9, RFC 4702).
mod option {
    pub(super) const PAD: u8 = 0;
    pub(super) const HOST_NAME: u8 = 12;
    pub(super) const PARAMETERS: u8 = 55;
    pub(super) const VENDOR_CLASS: u8 = 60;
    pub(super) const FQDN: u8 = 81;
    pub(super) const END: u8 = 255;
}

/// Codes of one parameter list that are kept; with their commas no more than fits a value.
const MOST_PARAMETERS: usize = 16;

/// What a client asks. Only of the client itself: a relay asks for others.
pub(super) fn dhcp(payload: &[u8], sender: Mac) -> Vec<Claim> {
    let is_question = payload.get(..3) == Some(&[1, 1, 6]);
    let has_options = payload.get(236..240) == Some(&[99, 130, 83, 99]);
    if !is_question || !has_options || payload.get(28..34) != Some(&sender.0[..]) {
        return Vec::new();
    }
    let mut claims = Vec::new();
    // The address it has and renews; one that it asks for is not yet its own.
    if let Some(address) = payload.get(12..).and_then(<[u8]>::first_chunk::<4>) {
        let address = IpAddr::V4(Ipv4Addr::from(*address));
        claims.extend(is_of_a_host(address).then(|| Claim::address(address, Evidence::Dhcp)).flatten());
    }
    for (code, value) in options(&payload[240..]) {
        let (kind, value) = match code {
            option::HOST_NAME => (Kind::Name, printable(value)),
            // Flags and two bytes that are no longer used; names in the form of DNS are left out (2.1: the E bit).
            option::FQDN => match value.split_at_checked(3) {
                Some((&[flags, ..], name)) if flags & 4 == 0 => (Kind::Name, printable(name)),
                Some(_) | None => continue,
            },
            option::VENDOR_CLASS => (Kind::Description, printable(value)),
            option::PARAMETERS => (Kind::Asks, listed(value)),
            _ => continue,
        };
        claims.extend(value.map(|value| Claim::new(kind, value, Evidence::Dhcp)));
    }
    claims
}

/// Codes as numbers, with an end where there are too many.
fn listed(codes: &[u8]) -> Option<String> {
    let words: Vec<String> = codes.iter().take(MOST_PARAMETERS).map(u8::to_string).collect();
    (!words.is_empty()).then(|| words.join(","))
}

/// Options as far as they are whole.
fn options(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        loop {
            let (code, rest) = bytes.split_first()?;
            match *code {
                option::PAD => bytes = rest,
                option::END => return None,
                code => {
                    let (length, rest) = rest.split_first()?;
                    let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                    bytes = rest;
                    return Some((code, value));
                }
            }
        }
    })
}
