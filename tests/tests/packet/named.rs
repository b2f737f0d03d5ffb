//! What devices have learned by name, as rows for host and kernel: from words of a row, or from a seed.

use std::{collections::BTreeMap, net::IpAddr};

use bulkhead_agent::{compile::Tables, model::covers};
use bulkhead_common::layout::{NamedKey, NamedRow};
use bulkhead_tests::frame::host;

use super::{FOREVER, random::Random, rows::Learned};

pub type Rows = BTreeMap<NamedKey, NamedRow>;

/// Hosts that names lead to, the protected ones too.
const BEHIND: &[&str] =
    &["internet", "remote", "ntp", "patch", "plc", "hmi", "attacker", "gw", "gw2", "roamer"];

/// The rows of what was learned at `now`.
pub fn rows<'l>(tables: &Tables, learned: impl IntoIterator<Item = &'l Learned>, now: u64) -> Rows {
    let mut rows = Rows::new();
    for Learned { device, host, name, time } in learned {
        let expires = time.map_or(FOREVER, |time| now + time);
        let Some(device) = tables.device_id(device).map(|id| id.0 + 1) else { continue };
        let peers = tables.named.iter().filter(|peer| peer.names.iter().any(|pattern| covers(pattern, name)));
        let permissions = peers.flat_map(|peer| &peer.permissions);
        for permission in permissions.filter(|permission| permission.devices.contains(&device)) {
            for address in addresses(host) {
                let key = NamedKey { address: address.into(), device, class: permission.class };
                rows.entry(key).or_insert(NamedRow { row: permission.row, expires });
            }
        }
    }
    rows
}

fn addresses(name: &str) -> [IpAddr; 2] {
    let behind = host(name).expect("it was looked up before");
    [behind.v4.into(), behind.v6.into()]
}

/// A random part of what could be learned; some of it is over.
pub fn invented(random: &mut Random, tables: &Tables) -> Rows {
    let mut rows = Rows::new();
    for permission in tables.named.iter().flat_map(|peer| &peer.permissions) {
        for device in &permission.devices {
            for name in BEHIND {
                let address = *random.pick(&addresses(name));
                let expires = *random.pick(&[FOREVER, FOREVER, FOREVER, 0]);
                if random.once_in(2) {
                    let key = NamedKey { address: address.into(), device: *device, class: permission.class };
                    rows.entry(key).or_insert(NamedRow { row: permission.row, expires });
                }
            }
        }
    }
    rows
}
