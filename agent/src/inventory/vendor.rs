//! Whose a hardware address is, by the registries of the IEEE.

use std::collections::HashMap;

use serde::{Serialize, Serializer};

use super::bytes::printable;
use crate::model::Mac;

/// Assignments that are kept; the registries have some 60,000.
const MOST: usize = 1 << 20;

/// The registries, as far as they were there to be read.
#[derive(Clone, Debug, Default)]
pub struct Vendors {
    /// By how many bits are assigned, the longest first.
    by_length: [(u32, HashMap<u64, String>); 3],
}

/// Who made a device, by its hardware address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// The registries name somebody.
    Named(String),
    /// The address was made up where it is used (IEEE 802-2014 8.4): nobody has registered it.
    Local,
    /// The registries name nobody, or are not there.
    Unknown,
}

impl std::fmt::Display for Vendor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Named(name) => name,
            Self::Local => "locally administered",
            Self::Unknown => "unknown",
        })
    }
}

impl Serialize for Vendor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Vendors {
    /// Takes a registry as the IEEE publishes it: CSV with the assignment in the second column, 6, 7 or 9 hexadecimal digits, and the
    /// organisation in the third. Lines that are something else are left out; returns how many assignments there were.
    pub fn add(&mut self, csv: &str) -> usize {
        for (at, bits) in [36, 28, 24].into_iter().enumerate() {
            self.by_length[at].0 = bits;
        }
        let mut added = 0;
        let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(csv.as_bytes());
        for row in rows.records().map_while(Result::ok) {
            let (Some(assignment), Some(name)) = (row.get(1), row.get(2)) else { continue };
            let (Ok(prefix), Some(name)) = (u64::from_str_radix(assignment, 16), printable(name.as_bytes()))
            else {
                continue;
            };
            let bits = 4 * u32::try_from(assignment.len()).unwrap_or(u32::MAX);
            let of_length = self.by_length.iter_mut().find(|(length, _)| *length == bits);
            if let Some((_, names)) = of_length.filter(|(_, names)| names.len() < MOST) {
                names.insert(prefix, name);
                added += 1;
            }
        }
        added
    }

    /// Whose an address is: the longest assignment that covers it.
    pub fn of(&self, mac: Mac) -> Vendor {
        if mac.0[0] & 2 != 0 {
            return Vendor::Local;
        }
        let number = bulkhead_common::wire::mac::from_octets(mac.0);
        let named = self.by_length.iter().find_map(|(bits, names)| names.get(&(number >> (48 - bits))));
        named.map_or(Vendor::Unknown, |name| Vendor::Named(name.clone()))
    }
}
