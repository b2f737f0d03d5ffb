//! The registries of the IEEE, where this machine has them.

use std::{fs::File, io::Read, path::Path};

use crate::inventory::Vendors;

/// Where the package `ieee-data` puts them.
const FOLDER: &str = "/usr/share/ieee-data";
/// Assignments of 24, 28 and 36 bits; the last are older ones of 36.
const FILES: [&str; 4] = ["oui.csv", "mam.csv", "oui36.csv", "iab.csv"];
/// Bytes of a registry that are read; the largest has 3 MB.
const MOST_BYTES: u64 = 32 << 20;

/// What is there; that something is not there is said once.
pub(in crate::cli) fn read() -> Vendors {
    let (vendors, missing) = found();
    if !missing.is_empty() {
        say!(
            "note: whose hardware addresses are is not wholly known: no {} in `{FOLDER}`\nhint: `apt install ieee-data`",
            missing.join(", ")
        );
    }
    vendors
}

/// What is there, and which of them are missing.
pub(in crate::cli) fn found() -> (Vendors, Vec<&'static str>) {
    let mut vendors = Vendors::default();
    let mut missing = Vec::new();
    for name in FILES {
        let mut bytes = Vec::new();
        let read = File::open(Path::new(FOLDER).join(name))
            .and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
        if read.is_err() || vendors.add(&String::from_utf8_lossy(&bytes)) == 0 {
            missing.push(name);
        }
    }
    (vendors, missing)
}
