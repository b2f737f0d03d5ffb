//! A packet must belong to one device. In: all devices. Out: MAC and IP addresses that two devices claim.

use std::{collections::BTreeMap, fmt::Display};

use super::names::Names;
use crate::{
    diagnostic::{Collector, Diagnostic},
    policy::{raw::RawDevice, reader::Leaf},
};

pub(super) fn check(names: &Names<'_>, out: &mut Collector<'_>) {
    shared(names, |device| &device.macs, "BH0311", "MAC address", out);
    shared(names, |device| &device.addresses, "BH0312", "address", out);
}

fn shared<'r, T: Ord + Display + Copy + 'r>(
    names: &Names<'r>,
    identities: impl Fn(&'r RawDevice) -> &'r Vec<Leaf<T>>,
    code: &'static str,
    what: &str,
    out: &mut Collector<'_>,
) {
    let mut all: Vec<(&Leaf<T>, &str)> = names
        .devices
        .values()
        .flat_map(|device| identities(device.raw).iter().map(|leaf| (leaf, device.raw.name.value.as_str())))
        .collect();
    let mut values: Vec<T> = all.iter().map(|(leaf, _)| leaf.value).collect();
    values.sort_unstable();
    if values.windows(2).all(|pair| pair[0] != pair[1]) {
        return;
    }
    // In the order of a reader, so that the first claim is the one met first.
    all.sort_by_key(|(leaf, _)| leaf.at);
    let mut owners: BTreeMap<T, (&Leaf<T>, &str)> = BTreeMap::new();
    for (leaf, name) in all {
        let (first, owner) = *owners.entry(leaf.value).or_insert((leaf, name));
        if owner != name {
            let message = format!("{what} `{}` belongs to `{owner}` and to `{name}`", leaf.value);
            let found = Diagnostic::error(code, message)
                .at(out.locate(leaf.at), format!("claimed again by `{name}`"))
                .also(out.locate(first.at), format!("claimed first by `{owner}`"))
                .help("a packet must belong to one device: correct one of them, or join the two devices");
            out.push(found);
        }
    }
}
