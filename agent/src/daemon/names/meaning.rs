//! What the rules make of what a device learned: is it meant at all, and what is permitted there.

use std::{collections::BTreeMap, net::IpAddr};

use bulkhead_common::layout::{NamedKey, NamedRow, RuleRow};

use crate::compile::{NamedPermission, Tables};

/// Rows by key, as the data path wants them: devices and rules by their dense ids.
pub(super) type Rows = BTreeMap<NamedKey, NamedRow>;

/// The dense id of a device, as permissions have it.
pub(super) fn dense(tables: &Tables, device: &str) -> Option<u32> {
    tables.device_id(device).map(|id| id.0 + 1)
}

/// Whether a rule lets a device use something behind a name.
pub(super) fn is_named(tables: &Tables, device: u32, name: &str) -> bool {
    tables.named_for(device).any(|(peer, _)| peer.has_name(name))
}

/// Whether a rule lets a device use something at an address that it learned under a name.
pub(super) fn is_meant(tables: &Tables, device: u32, (name, address): &(String, IpAddr)) -> bool {
    tables.named_for(device).any(|(peer, _)| peer.holds(name, *address))
}

/// Adds what a device may do at an address under one name, as long as that is known. Where several names or rules permit
/// the same, the row counts that holds longest from now on, for no longer than its own name is known: whoever holds the book
/// asks again when a schedule opens or closes, and when a name is forgotten.
pub(super) fn permit(
    (tables, deadlines): (&Tables, &[u64]),
    device: u32,
    (name, address): &(String, IpAddr),
    until: u64,
    rows: &mut Rows,
) {
    let open_until = |row: RuleRow| match row.schedule {
        0 => u64::MAX,
        schedule => deadlines.get(schedule as usize - 1).copied().unwrap_or(0),
    };
    let holds_until = |NamedRow { row, expires }: NamedRow| {
        let open = open_until(row);
        (open.min(expires), open, expires)
    };
    let own = tables.named_for(device).filter(|(peer, _)| peer.holds(name, *address));
    for NamedPermission { device, class, row } in own.flat_map(|(_, permissions)| permissions).copied() {
        let key = NamedKey { address: (*address).into(), device, class };
        let one = NamedRow { row, expires: until };
        let there = rows.entry(key).or_insert(one);
        if holds_until(one) > holds_until(*there) {
            *there = one;
        }
    }
}
