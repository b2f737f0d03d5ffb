//! Addresses that a host announces on its link: ARP (RFC 826) and neighbour discovery (RFC 4861).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_common::wire::neighbor;

use super::{Claim, Evidence, Kind, bytes::be16};
use crate::model::Mac;

/// Options of one advertisement.
const MOST_OPTIONS: usize = 8;

/// The sender of an ARP message, whatever it asks or answers. A probe (RFC 5227) has no address yet, and who announces the address of
/// another hardware address than the frame is from is not believed.
pub(super) fn arp(payload: &[u8], sender: Mac) -> Vec<Claim> {
    let claimed = || {
        let is_ethernet_and_ipv4 = payload.get(..6)? == [0, 1, 8, 0, 6, 4];
        let hardware: [u8; 6] = *payload.get(8..)?.first_chunk()?;
        let address: [u8; 4] = *payload.get(14..)?.first_chunk()?;
        if !is_ethernet_and_ipv4 || Mac(hardware) != sender || !matches!(be16(payload, 6)?, 1 | 2) {
            return None;
        }
        Claim::address(IpAddr::V4(Ipv4Addr::from(address)), Evidence::Arp)
    };
    claimed().into_iter().collect()
}

/// What a message of ICMPv6 says of its sender; `message` begins with its type. An advertisement that gives another hardware address than
/// the frame is from, as of a proxy (RFC 4389), is not believed; one that gives none only of the address that it is from.
pub(super) fn neighbour(message: &[u8], source: IpAddr, sender: Mac) -> Vec<Claim> {
    let target = || {
        // The target of an advertisement is the sender's own address (4.4).
        let target: [u8; 16] = *message.get(8..)?.first_chunk()?;
        let target = IpAddr::V6(Ipv6Addr::from(target));
        let is_own = target_hardware(message.get(24..)?).map_or(target == source, |mac| mac == sender);
        Claim::address(target, Evidence::Nd).filter(|_| is_own)
    };
    match message.first() {
        Some(&neighbor::ADVERTISEMENT) => target().into_iter().collect(),
        Some(&neighbor::ROUTER_ADVERTISEMENT) if message.len() >= 16 => {
            vec![Claim::new(Kind::Role, "router", Evidence::Nd)]
        }
        Some(_) | None => Vec::new(),
    }
}

/// The target's hardware address among the options of an advertisement (RFC 4861 4.6.1).
fn target_hardware(mut options: &[u8]) -> Option<Mac> {
    const TARGET: u8 = 2;
    for _ in 0..MOST_OPTIONS {
        let [kind, length, ..] = options else { return None };
        // In units of eight bytes; one of none is malformed.
        let length = usize::from(*length) * 8;
        if *kind == TARGET {
            return options.get(2..)?.first_chunk().map(|mac| Mac(*mac));
        }
        options = options.get(length..).filter(|_| length > 0)?;
    }
    None
}
