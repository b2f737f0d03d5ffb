//! `[zone.NAME]`, `[group.NAME]` and `[[conduit]]` -> Raw. In: one table. Out: what devices are called together, and
//! what two zones may say to each other.

use toml::de::DeTable;

use super::{Leaf, Reader, prose};
use crate::{
    diagnostic::{At, quote},
    policy::{
        language::{CONDUIT, GROUP, ZONE},
        raw::{RawConduit, RawGroup, RawPeer, RawZone},
        values::is_name,
    },
};

pub(super) fn zone(reader: &mut Reader<'_, '_>, name: Leaf<String>, table: &DeTable<'_>) -> RawZone {
    reader.name(&name, "zone");
    reader.keys(table, &ZONE, &format!("zone {}", quote(&name.value)));
    RawZone { comment: prose(reader, table, "comment"), owner: prose(reader, table, "owner"), name }
}

pub(super) fn group(reader: &mut Reader<'_, '_>, name: Leaf<String>, table: &DeTable<'_>) -> RawGroup {
    reader.name(&name, "group");
    let what = format!("group {}", quote(&name.value));
    reader.keys(table, &GROUP, &what);
    let help = "name devices, networks, `group:NAME`, `zone:NAME` or `class:NAME`: `members = [\"hmi-1\"]`";
    reader.required(name.at, table, "members", &what, help);
    let members = reader.strings(table, "members");
    let members = members.iter().flat_map(|list| &list.value);
    let members = members.filter_map(|leaf| reader.peer(leaf).and_then(|peer| reader.member(peer))).collect();
    RawGroup { members, comment: prose(reader, table, "comment"), name }
}

pub(super) fn conduit(reader: &mut Reader<'_, '_>, at: At, table: &DeTable<'_>) -> RawConduit {
    reader.keys(table, &CONDUIT, "a conduit");
    let [from, to] = [("from", "who may start a conversation"), ("to", "who answers")].map(|(key, who)| {
        let help = format!("say {who}: `{key} = \"zone:NAME\"`");
        reader.required(at, table, key, "the conduit", &help);
        let names = reader.strings(table, key);
        if let Some(names) = &names {
            reader.not_empty(names.at, names.value.len(), key, "name at least one zone");
        }
        names.iter().flat_map(|names| &names.value).filter_map(|name| reader.zone_end(name)).collect()
    });
    RawConduit {
        at,
        from,
        to,
        services: reader.services(at, table, "the conduit"),
        terms: reader.terms(table),
    }
}

impl Reader<'_, '_> {
    /// What a group can hold: things with a name and a bounded number of ends.
    fn member(&mut self, peer: Leaf<RawPeer>) -> Option<Leaf<RawPeer>> {
        let name = match &peer.value {
            RawPeer::Gateway => "gateway".to_owned(),
            RawPeer::Broadcast => "broadcast".to_owned(),
            RawPeer::Any => "any".to_owned(),
            RawPeer::Multicast(name) => format!("multicast:{name}"),
            RawPeer::Zone(_) | RawPeer::Class(_) | RawPeer::Group(_) | RawPeer::Named(_) => {
                return Some(peer);
            }
        };
        let message = format!("{} cannot be a member of a group", quote(&name));
        let help = "a group holds devices, networks, `group:NAME`, `zone:NAME` and `class:NAME`: name this one in the \
                    rule, beside the group";
        self.refuse("BH0326", &Leaf { value: name, at: peer.at }, message, help)
    }

    fn zone_end(&mut self, leaf: &Leaf<String>) -> Option<Leaf<RawPeer>> {
        let name = leaf.value.as_str();
        if let Some(zone) = name.strip_prefix("zone:").filter(|zone| is_name(zone)) {
            return Some(Leaf { value: RawPeer::Zone(zone.to_owned()), at: leaf.at });
        }
        let message = format!("a conduit joins zones, and {} is none", quote(name));
        let help = if is_name(name) && !["any", "gateway", "broadcast", "multicast"].contains(&name) {
            format!(
                "if it is a zone write `zone:{name}`; for one device or network write a rule, `[[device.NAME.allow]]`"
            )
        } else {
            "write `zone:NAME`; what single devices may do stands in `[[device.NAME.allow]]` or `[[class.NAME.allow]]`"
                .to_owned()
        };
        self.refuse("BH0325", leaf, message, &help)
    }
}
