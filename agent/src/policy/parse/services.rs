//! `[service.NAME]` and `[multicast.NAME]` -> Raw. In: one table. Out: what traffic it is; where a group receives.

use toml::de::DeTable;

use super::{Leaf, Reader, is_absent, prose};
use crate::{
    diagnostic::{Diagnostic, quote},
    model::Selector,
    policy::{
        language::{MULTICAST, SERVICE},
        raw::{RawMulticast, RawService},
        values::{ICMP, ICMPV6, SCTP, TCP, UDP, fold},
    },
};

/// How a leaf behind a key of a service is read.
type Read = fn(&mut Reader<'_, '_>, &Leaf<String>) -> Option<Selector>;

/// The keys of a service that say what traffic it is.
const TRAFFIC: [(&str, Read); 8] = [
    ("tcp", |reader, leaf| reader.ports(leaf, TCP)),
    ("udp", |reader, leaf| reader.ports(leaf, UDP)),
    ("sctp", |reader, leaf| reader.ports(leaf, SCTP)),
    ("icmp", |reader, leaf| reader.icmp(leaf, ICMP)),
    ("icmpv6", |reader, leaf| reader.icmp(leaf, ICMPV6)),
    ("protocol", |reader, leaf| reader.protocol(leaf)),
    ("ethertype", |reader, leaf| reader.ethertype(leaf)),
    ("llc", |reader, leaf| reader.llc(leaf)),
];

pub(super) fn service(reader: &mut Reader<'_, '_>, name: Leaf<String>, table: &DeTable<'_>) -> RawService {
    reader.name(&name, "service");
    let what = format!("service {}", quote(&name.value));
    reader.keys(table, &SERVICE, &what);
    prose(reader, table, "comment");
    let mut selectors: Vec<Selector> = Vec::new();
    for (key, read) in TRAFFIC {
        let leaves = reader.numbers(table, key);
        selectors.extend(leaves.iter().flat_map(|list| &list.value).filter_map(|leaf| read(reader, leaf)));
    }
    // What stands in a service of a later version makes it one with traffic, so the only complaint about it is
    // that the key is not supported.
    let later = SERVICE.later.iter().any(|key| table.contains_key(*key));
    let includes = reader.strings(table, "include").map(|list| list.value).unwrap_or_default();
    if !later && is_absent(table, "include") && TRAFFIC.iter().all(|(key, _)| is_absent(table, key)) {
        let location = reader.out.locate(name.at);
        let found = Diagnostic::error("BH0403", format!("{what} does not say what traffic it is"));
        let help = "add `tcp = [\"502\"]`, `udp = [\"53\"]`, `icmp = [\"8\"]`, `ethertype = [\"0x8892\"]` or \
                    `include = [\"modbus\"]`";
        reader.out.push(found.at(location, "").help(help));
    }
    RawService { selectors: fold(selectors), includes, name }
}

pub(super) fn group(reader: &mut Reader<'_, '_>, name: Leaf<String>, table: &DeTable<'_>) -> RawMulticast {
    reader.name(&name, "multicast group");
    let what = format!("multicast group {}", quote(&name.value));
    reader.keys(table, &MULTICAST, &what);
    prose(reader, table, "comment");
    let addresses = reader.strings(table, "ip");
    let cidrs = addresses.iter().flat_map(|list| &list.value).filter_map(|leaf| reader.group_cidr(leaf));
    let cidrs = cidrs.map(|leaf| leaf.value).collect();
    let macs = reader.strings(table, "mac");
    let macs = macs.iter().flat_map(|list| &list.value).flat_map(|leaf| reader.group_macs(leaf)).collect();
    if is_absent(table, "ip") && is_absent(table, "mac") {
        let location = reader.out.locate(name.at);
        let found = Diagnostic::error("BH0410", format!("{what} has neither `ip` nor `mac`"));
        let help = "say where it receives: `ip = [\"239.1.2.3\"]`, `mac = [\"01:0e:cf:00:00:00\"]`, or both";
        reader.out.push(found.at(location, "").help(help));
    }
    RawMulticast { name, cidrs, macs }
}
