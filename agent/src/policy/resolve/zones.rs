//! Zones. In: what is declared, and what devices say. Out: the zones of the policy; words for zones that nobody
//! declared, once somebody declares them, and zones without a device.

use super::names::{NamedZone, Names};
use crate::{
    diagnostic::{Collector, Diagnostic, quote},
    model::Zone,
    policy::{raw::RawFile, reader::Leaf},
};

/// Where zones are declared, a device's word for another one is a slip.
pub(super) fn check(names: &Names<'_>, files: &[RawFile], out: &mut Collector<'_>) {
    if !names.declare_zones() {
        return;
    }
    for zone in files.iter().flat_map(|file| &file.devices).filter_map(|device| device.zone.as_ref()) {
        if names.zones.get(zone.value.as_str()).is_none_or(|zone| zone.declared.is_none()) {
            undeclared(names, zone, &zone.value, "", out);
        }
    }
    for (name, zone) in &names.zones {
        if let (Some(raw), None) = (zone.declared, zone.named) {
            let location = out.locate(raw.name.at);
            let found = Diagnostic::warning("BH0504", format!("no device is in zone `{name}`"));
            let help = format!("give a device `zone = \"{name}\"`, or remove the zone");
            out.push(found.at(location, "").help(help));
        }
    }
}

/// Reports a zone that is declared nowhere although others are.
pub(super) fn undeclared<T>(
    names: &Names<'_>,
    leaf: &Leaf<T>,
    zone: &str,
    prefix: &str,
    out: &mut Collector<'_>,
) {
    let declared = names.zones.iter().filter(|(_, zone)| zone.declared.is_some()).map(|(name, _)| *name);
    let help = match out.suggest(zone, declared.clone()) {
        Some(meant) => format!("did you mean `{prefix}{meant}`?"),
        None => format!("declare it with `[zone.{zone}]`, as the other zones are"),
    };
    let found = Diagnostic::error("BH0324", format!("zone {} is not declared", quote(zone)));
    let mut found = found.at(out.locate(leaf.at), "").help(help);
    if let Some(example) = names.zones.values().find_map(|zone| zone.declared) {
        let text = "zones are declared, as here";
        found = found.also(out.locate(example.name.at), text);
    }
    out.push(found);
}

pub(super) fn of(names: &Names<'_>, out: &Collector<'_>) -> Vec<Zone> {
    let zone = |(name, zone): (&&str, &NamedZone<'_>)| {
        let place = zone.declared.map(|raw| raw.name.at).or(zone.named.map(|leaf| leaf.at))?;
        Some(Zone {
            name: (*name).to_owned(),
            comment: zone.declared.and_then(|raw| raw.comment.clone()),
            owner: zone.declared.and_then(|raw| raw.owner.clone()),
            location: out.locate(place),
        })
    };
    names.zones.iter().filter_map(zone).collect()
}
