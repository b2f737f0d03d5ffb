//! What devices have learned by name, as rows for host and kernel: from words of a row, or from a seed.

use std::{collections::BTreeMap, net::IpAddr};

use bulkhead_agent::{
    compile::{NamedPeer, Tables},
    model::covers,
};
use bulkhead_common::layout::{NamedKey, NamedRow};
use bulkhead_tests::frame::host;

use super::{FOREVER, random::Random, rows::Learned};

pub type Rows = BTreeMap<NamedKey, NamedRow>;

/// Hosts that names lead to, the protected ones too.
const BEHIND: &[&str] =
    &["internet", "remote", "ntp", "patch", "plc", "hmi", "attacker", "gw", "gw2", "roamer", "subnet"];

/// The rows of what was learned, and when; `deadlines` says until when each schedule is open. Of all that permits the same, by
/// whatever name, the one that ends last.
pub fn rows<'l>(
    tables: &Tables,
    deadlines: &[u64],
    learned: impl IntoIterator<Item = (&'l Learned, u64)>,
) -> Rows {
    let mut all: Vec<(NamedKey, NamedRow)> = Vec::new();
    for (Learned { device, host, name, time }, at) in learned {
        let expires = time.map_or(FOREVER, |time| at + time);
        let at = tables.devices.iter().position(|known| known.name == *device);
        let Some(device) = at.map(|at| u32::try_from(at + 1).expect("a few")) else { continue };
        for address in addresses(host) {
            for NamedPeer { names, except, permissions } in &tables.named {
                let is_named = names.iter().any(|pattern| covers(pattern, name));
                if !is_named || except.iter().any(|prefix| prefix.contains(&address)) {
                    continue;
                }
                let own = permissions.iter().filter(|permission| permission.device == device);
                all.extend(own.map(|one| {
                    let key = NamedKey { address: address.into(), device, class: one.class };
                    (key, NamedRow { row: one.row, expires })
                }));
            }
        }
    }
    // In a map the last of equal keys stays.
    all.sort_by_key(|(key, row)| (*key, ends(row, deadlines)));
    all.into_iter().collect()
}

/// When a row ends: with its schedule, or when it is forgotten. What always holds ends after what ends at the same time.
fn ends(NamedRow { row, expires }: &NamedRow, deadlines: &[u64]) -> (u64, u64) {
    let schedule = row.schedule as usize;
    let closes = if schedule == 0 { u64::MAX } else { deadlines.get(schedule - 1).copied().unwrap_or(0) };
    (closes.min(*expires), closes)
}

fn addresses(name: &str) -> [IpAddr; 2] {
    let behind = host(name).expect("it was looked up before");
    [behind.v4.into(), behind.v6.into()]
}

/// A random part of what could be learned; some of it is over.
pub fn invented(random: &mut Random, tables: &Tables) -> Rows {
    let mut rows = Rows::new();
    for permission in tables.named.iter().flat_map(|peer| &peer.permissions) {
        for name in BEHIND {
            let address = *random.pick(&addresses(name));
            let expires = *random.pick(&[FOREVER, FOREVER, FOREVER, 0]);
            if random.once_in(2) {
                let key =
                    NamedKey { address: address.into(), device: permission.device, class: permission.class };
                // Whichever: host and kernel have the same.
                rows.insert(key, NamedRow { row: permission.row, expires });
            }
        }
    }
    rows
}
