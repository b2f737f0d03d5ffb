//! The content hash by which everything else names a policy.

use std::fmt;

use bulkhead_common::layout::{EndRow, RuleKey, RuleRow};
use sha2::{Digest as _, Sha256};

use super::{NamedPeer, NamedPermission, Tables};

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
        schedules,
        named,
        by_name: _,
        segments,
        macs,
        addresses,
        networks,
        leased,
        services,
        rows,
        shapes,
    } = tables;
    let mut hash = Digest { hash: Sha256::new(), buffer: Vec::new() };
    hash.each(devices, |hash, device| {
        hash.text(&device.name);
        hash.text(device.mode.name());
        hash.text(&format!("{:?}", device.criticality));
    });
    hash.each(rules, |hash, rule| {
        hash.text(&rule.text);
        hash.text(&rule.holder);
    });
    hash.each(schedules, |hash, any| hash.each(any, |hash, schedule| hash.text(&format!("{schedule:?}"))));
    hash.each(named, |hash, NamedPeer { names, except, permissions }| {
        hash.each(names, |hash, name| hash.text(name));
        hash.each(except, |hash, prefix| hash.text(&prefix.to_string()));
        hash.each(permissions, |hash, NamedPermission { device, class, row }| {
            hash.numbers(&[*device, *class, row.rule, row.schedule]);
        });
    });
    hash.each(segments, |hash, name| hash.text(name));
    hash.each(macs, |hash, (mac, row)| {
        hash.long(*mac);
        hash.end(row);
    });
    hash.each(addresses, |hash, (address, row)| {
        hash.long(address.high);
        hash.long(address.low);
        hash.end(row);
    });
    hash.each(networks, |hash, (prefix, identity)| {
        hash.text(&prefix.to_string());
        hash.numbers(&[*identity]);
    });
    hash.each(leased, |hash, ((device, networks), identity)| hash.numbers(&[*device, *networks, *identity]));
    hash.each(services, |hash, (prefix, class)| {
        hash.numbers(&[prefix.protocol.into(), prefix.port.into(), prefix.bits, *class]);
    });
    hash.each(rows, |hash, (RuleKey { initiator, responder, class }, RuleRow { rule, schedule })| {
        hash.numbers(&[*initiator, *responder, *class, *rule, *schedule]);
    });
    hash.numbers(&[*shapes]);
    hash.flush();
    Revision(hash.hash.finalize().into())
}

/// A hash that is fed in pieces worth its while.
struct Digest {
    hash: Sha256,
    buffer: Vec<u8>,
}

impl Digest {
    fn each<T>(
        &mut self,
        all: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
        mut one: impl FnMut(&mut Self, T),
    ) {
        let all = all.into_iter();
        self.long(all.len() as u64);
        all.for_each(|item| one(self, item));
    }

    fn text(&mut self, text: &str) {
        self.long(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    fn long(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    fn numbers(&mut self, numbers: &[u32]) {
        self.long(numbers.len() as u64);
        numbers.iter().for_each(|number| self.bytes(&number.to_le_bytes()));
    }

    fn end(&mut self, row: &EndRow) {
        let EndRow { device, identity, class, zone, segment, vlan, mode, flags, pad: _ } = *row;
        self.numbers(&[
            device,
            identity,
            class,
            zone,
            segment.into(),
            vlan.into(),
            mode.into(),
            flags.into(),
        ]);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= 1 << 16 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.hash.update(&self.buffer);
        self.buffer.clear();
    }
}
