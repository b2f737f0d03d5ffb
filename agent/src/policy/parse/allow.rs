//! `allow` entries -> Raw. In: the entries of one device or class. Out: who, which way, over what.

use std::net::IpAddr;

use ipnet::IpNet;
use toml::de::DeTable;

use super::{Leaf, Reader};
use crate::{
    diagnostic::{At, Diagnostic, quote},
    policy::{
        language::ALLOW,
        raw::{Direction, RawAllow, RawPeer},
        values::is_name,
    },
};

/// What stands before the name of more than one peer.
const PREFIXES: [&str; 4] = ["zone:", "class:", "group:", "multicast:"];

impl Reader<'_, '_> {
    pub(super) fn allow(&mut self, table: &DeTable<'_>, header: &str, what: &str) -> Vec<RawAllow> {
        let entries = self.tables(table, "allow", header);
        entries.into_iter().map(|(at, entry)| self.entry(at, entry, what)).collect()
    }

    fn entry(&mut self, at: At, table: &DeTable<'_>, what: &str) -> RawAllow {
        self.keys(table, &ALLOW, &format!("an `allow` entry of {what}"));
        let direction = self.direction(at, table);
        let mut peers = Vec::new();
        for key in ["from", "to"] {
            let names = self.strings(table, key);
            if let Some(names) = &names {
                self.not_empty(names.at, names.value.len(), key, "name at least one peer, or `any`");
                peers.extend(names.value.iter().filter_map(|name| self.peer(name)));
            }
        }
        RawAllow {
            at,
            direction,
            peers,
            services: self.services(at, table, "the entry"),
            terms: self.terms(table),
        }
    }

    /// The services of an entry or a conduit.
    pub(super) fn services(&mut self, at: At, table: &DeTable<'_>, what: &str) -> Vec<Leaf<String>> {
        let services = self.strings(table, "service");
        match &services {
            Some(list) => {
                self.not_empty(list.at, list.value.len(), "service", "name at least one service, or `any`");
            }
            None if !table.contains_key("service") => {
                let location = self.out.locate(at);
                let found =
                    Diagnostic::error("BH0109", format!("{what} does not say which service it allows"));
                self.out.push(
                    found.at(location, "").help("add `service = [\"modbus\"]`, or `service = \"any\"`"),
                );
            }
            None => {}
        }
        services.map(|list| list.value).unwrap_or_default()
    }

    fn direction(&mut self, at: At, table: &DeTable<'_>) -> Option<Direction> {
        match (table.get_key_value("from"), table.get_key_value("to")) {
            (Some(_), None) => Some(Direction::From),
            (None, Some(_)) => Some(Direction::To),
            (Some((from, _)), Some((to, _))) => {
                let found = Diagnostic::error("BH0107", "the entry has both `from` and `to`")
                    .at(self.locate(to.span()), "and the other one here")
                    .also(self.locate(from.span()), "one end here")
                    .help("the device itself is the other end: write two entries, one for each direction");
                self.out.push(found);
                None
            }
            (None, None) => {
                let location = self.out.locate(at);
                let help = "add `from = [\"NAME\"]` (who may reach the device) or `to = [\"NAME\"]` (whom it may reach)";
                let found = Diagnostic::error("BH0108", "the entry has neither `from` nor `to`");
                self.out.push(found.at(location, "").help(help));
                None
            }
        }
    }

    pub(super) fn not_empty(&mut self, at: At, length: usize, key: &str, help: &str) {
        if length == 0 {
            let location = self.out.locate(at);
            let found = Diagnostic::error("BH0106", format!("`{key}` is an empty list"));
            self.out.push(found.at(location, "allows nothing").help(help));
        }
    }

    pub(super) fn peer(&mut self, leaf: &Leaf<String>) -> Option<Leaf<RawPeer>> {
        let name = leaf.value.as_str();
        let value = match name.split_once(':') {
            Some(("zone", zone)) if is_name(zone) => RawPeer::Zone(zone.to_owned()),
            Some(("class", class)) if is_name(class) => RawPeer::Class(class.to_owned()),
            Some(("multicast", group)) if is_name(group) => RawPeer::Multicast(group.to_owned()),
            Some(("group", group)) if is_name(group) => RawPeer::Group(group.to_owned()),
            Some(_) => return self.not_a_peer(leaf),
            None if name == "gateway" => RawPeer::Gateway,
            None if name == "any" => RawPeer::Any,
            None if name == "broadcast" => RawPeer::Broadcast,
            None if name == "multicast" => {
                let message = "`multicast` does not say which group".to_owned();
                let help = "write `multicast:NAME`, as in `multicast:mdns`, or declare `[multicast.NAME]`";
                return self.refuse("BH0314", leaf, message, help);
            }
            None if name.parse::<IpNet>().is_ok() || name.parse::<IpAddr>().is_ok() => {
                return self.not_a_peer(leaf);
            }
            None => RawPeer::Named(name.to_owned()),
        };
        Some(Leaf { value, at: leaf.at })
    }

    fn not_a_peer(&mut self, leaf: &Leaf<String>) -> Option<Leaf<RawPeer>> {
        let name = &leaf.value;
        let message = format!("{} is not the name of a peer", quote(name));
        let cidr = name.parse::<IpNet>().or_else(|_| name.parse::<IpAddr>().map(IpNet::from));
        let help = match cidr {
            Ok(net) => {
                format!("rules use names: declare `[network.NAME]` with `cidr = [\"{}\"]`", net.trunc())
            }
            Err(_) if PREFIXES.iter().any(|prefix| name.to_lowercase().starts_with(prefix)) && name.to_lowercase() != *name => {
                format!("did you mean `{}`?", name.to_lowercase())
            }
            Err(_) => "name a device, a network, `group:NAME`, `zone:NAME`, `class:NAME`, `multicast:NAME`, `gateway`, \
                       `broadcast` or `any`"
                .to_owned(),
        };
        self.refuse("BH0314", leaf, message, &help)
    }
}
