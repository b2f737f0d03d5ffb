//! The content hash by which everything else names a policy.

use std::fmt;

use sha2::{Digest, Sha256};

use super::Tables;

/// SHA-256 over the tables; shown as its first twelve hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub [u8; 32]);

impl Revision {
    /// The first eight bytes, which the kernel keeps beside the tables.
    pub fn short(&self) -> [u8; 8] {
        let mut short = [0; 8];
        short.copy_from_slice(&self.0[..8]);
        short
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Hashes every table in its order. Lengths go first, so that no two tables run into each other.
pub(super) fn of(tables: &Tables) -> Revision {
    let Tables {
        revision: _,
        devices,
        rules,
        segments,
        macs,
        addresses,
        networks,
        leased,
        services,
        rows,
        shapes,
    } = tables;
    let mut hash = Sha256::new();
    let mut text = |s: &str| {
        hash.update((s.len() as u64).to_le_bytes());
        hash.update(s.as_bytes());
    };
    for device in devices {
        text(&device.name);
        text(device.mode.name());
        text(&format!("{:?}", device.criticality));
    }
    for rule in rules {
        text(&rule.text);
        text(&rule.holder);
    }
    segments.iter().for_each(|name| text(name));
    for (mac, row) in macs {
        text(&format!("{mac:x} {row:?}"));
    }
    for (address, row) in addresses {
        text(&format!("{address:?} {row:?}"));
    }
    for (prefix, identity) in networks {
        text(&format!("{prefix} {identity}"));
    }
    for (ends, identity) in leased {
        text(&format!("{ends:?} {identity}"));
    }
    for (prefix, class) in services {
        text(&format!("{prefix:?} {class}"));
    }
    for (key, rule) in rows {
        text(&format!("{key:?} {rule}"));
    }
    text(&format!("{shapes}"));
    Revision(hash.finalize().into())
}
