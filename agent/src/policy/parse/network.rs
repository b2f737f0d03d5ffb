//! `[network.NAME]` -> Raw. In: one table. Out: its prefixes, what is not part of it, and its DNS names.

use ipnet::IpNet;
use toml::de::DeTable;

use super::{Leaf, Reader, is_absent, peer_name, prose};
use crate::{
    diagnostic::{Diagnostic, quote},
    policy::{language::NETWORK, raw::RawNetwork},
};

pub(super) fn network(reader: &mut Reader<'_, '_>, name: Leaf<String>, table: &DeTable<'_>) -> RawNetwork {
    peer_name(reader, &name, "network");
    let what = format!("network {}", quote(&name.value));
    reader.keys(table, &NETWORK, &what);
    let cidrs = prefixes(reader, table, "cidr");
    let except = prefixes(reader, table, "except");
    let names = reader.strings(table, "dns");
    let names = names.iter().flat_map(|list| &list.value).filter_map(|leaf| reader.dns_name(leaf)).collect();
    if is_absent(table, "cidr") && is_absent(table, "dns") {
        let location = reader.out.locate(name.at);
        let found = Diagnostic::error("BH0404", format!("{what} has neither `cidr` nor `dns`"));
        let help = "add `cidr = [\"10.9.0.0/24\"]`, or `dns = [\"update.vendor.example\"]`";
        reader.out.push(found.at(location, "").help(help));
    }
    exceptions(reader, &what, &cidrs, &except);
    let is_by_name = is_absent(table, "cidr") && !is_absent(table, "dns");
    RawNetwork { cidrs, except, names, is_by_name, comment: prose(reader, table, "comment"), name }
}

fn prefixes(reader: &mut Reader<'_, '_>, table: &DeTable<'_>, key: &str) -> Vec<Leaf<IpNet>> {
    let list = reader.strings(table, key);
    list.iter().flat_map(|list| &list.value).filter_map(|leaf| reader.cidr(leaf)).collect()
}

/// An exception takes something away, and leaves something.
fn exceptions(reader: &mut Reader<'_, '_>, what: &str, cidrs: &[Leaf<IpNet>], except: &[Leaf<IpNet>]) {
    let mut inside = Vec::new();
    for leaf in except {
        if cidrs.iter().any(|cidr| cidr.value.contains(&leaf.value)) {
            inside.push(leaf.value);
            continue;
        }
        let message = format!("`{}` is not part of {what}", leaf.value);
        let within = cidrs.iter().find(|cidr| leaf.value.contains(&cidr.value));
        let mut found = Diagnostic::error("BH0412", message).at(reader.out.locate(leaf.at), "");
        if let Some(cidr) = within {
            found = found.also(reader.out.locate(cidr.at), "it holds this prefix whole");
        }
        let help = "an exception lies within a prefix of `cidr`: correct it, or leave it out";
        reader.out.push(found.help(help));
    }
    let left = cidrs.iter().any(|cidr| !is_covered(cidr.value, &IpNet::aggregate(&inside)));
    if let (Some(first), false) = (except.first(), left || inside.is_empty()) {
        let found = Diagnostic::error("BH0413", format!("`except` takes every prefix of {what}"));
        let location = reader.out.locate(first.at);
        reader
            .out
            .push(found.at(location, "").help("shorten `except`: a network holds at least one address"));
    }
}

/// Whether aggregated prefixes hold all of `net`: two halves have been joined into one.
fn is_covered(net: IpNet, aggregated: &[IpNet]) -> bool {
    aggregated.iter().any(|other| other.contains(&net))
}
