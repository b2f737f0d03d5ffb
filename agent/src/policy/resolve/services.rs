//! Names of services -> traffic. In: the built-in library and the services of all files. Out: for each name its
//! selectors, those of the services it includes among them; services that include themselves.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use super::names::unique;
use crate::{
    diagnostic::{Collector, Diagnostic, quote},
    model::Selector,
    policy::{
        library::built_in,
        raw::{RawFile, RawService},
        reader::Leaf,
        values::{fold, hints::several},
    },
};

/// Selectors, and whether the service is built in.
pub(super) type Traffic<'r> = (Cow<'r, [Selector]>, bool);

/// Services within services: a list of protocols has a name, and a list of lists; nobody needs more.
const MAX_DEPTH: usize = 16;

/// Selectors of all services that include others.
const MAX_SELECTORS: usize = 1 << 20;

pub(super) fn collect<'r>(files: &'r [RawFile], out: &mut Collector<'_>) -> BTreeMap<&'r str, Traffic<'r>> {
    let own = files.iter().flat_map(|file| &file.services);
    let own = unique(own, |s| &s.name, ("BH0307", "service"), out);
    let mut services: BTreeMap<&str, Traffic<'r>> = built_in()
        .iter()
        .map(|(name, selectors)| (name.as_str(), (Cow::Borrowed(selectors.as_slice()), true)))
        .collect();
    for (name, service) in &own {
        if services.contains_key(name) {
            let found = Diagnostic::error("BH0310", format!("service `{name}` is built in"))
                .at(out.locate(service.name.at), "would change what others mean by it")
                .help(format!("use the built-in one, or rename yours, as in `plant-{name}`"));
            out.push(found);
        }
    }
    let mut includes = Includes { own: &own, done: BTreeMap::new(), total: 0 };
    for service in own.values() {
        includes.flatten(service, &mut Vec::new(), out);
    }
    for (name, selectors) in includes.done {
        services.insert(name, (selectors, false));
    }
    services
}

struct Includes<'r, 'o> {
    own: &'o BTreeMap<&'r str, &'r RawService>,
    done: BTreeMap<&'r str, Cow<'r, [Selector]>>,
    /// Selectors joined so far.
    total: usize,
}

impl<'r> Includes<'r, '_> {
    /// `way` holds the services around this one, each with its word for the next.
    fn flatten(
        &mut self,
        service: &'r RawService,
        way: &mut Vec<(&'r str, &'r Leaf<String>)>,
        out: &mut Collector<'_>,
    ) -> Cow<'r, [Selector]> {
        let name = service.name.value.as_str();
        if let Some(done) = self.done.get(name) {
            return done.clone();
        }
        let mut all: Cow<'r, [Selector]> = Cow::Borrowed(&service.selectors);
        let mut seen = BTreeSet::new();
        for leaf in service.includes.iter().filter(|leaf| seen.insert(&leaf.value)) {
            way.push((name, leaf));
            let more = self.included(leaf, way, out);
            way.pop();
            let before = self.total;
            self.total = before.saturating_add(all.len() + more.len());
            if self.total > MAX_SELECTORS {
                if before <= MAX_SELECTORS {
                    too_many(leaf, out);
                }
                break;
            }
            let joined = all.iter().chain(more.iter()).copied().collect();
            all = Cow::Owned(fold(joined));
        }
        self.done.insert(name, all.clone());
        all
    }

    fn included(
        &mut self,
        leaf: &'r Leaf<String>,
        way: &mut Vec<(&'r str, &'r Leaf<String>)>,
        out: &mut Collector<'_>,
    ) -> Cow<'r, [Selector]> {
        if let Some(start) = way.iter().position(|(name, _)| *name == leaf.value) {
            cycle(&way[start..], out);
        } else if let Some(inner) = self.own.get(leaf.value.as_str()) {
            if way.len() <= MAX_DEPTH {
                return self.flatten(inner, way, out);
            }
            let found =
                Diagnostic::error("BH0334", format!("services include services over {MAX_DEPTH} levels"));
            let location = out.locate(leaf.at);
            out.push(found.at(location, "").help("include the innermost services themselves"));
        } else if let Some(selectors) = built_in().get(&leaf.value) {
            return Cow::Borrowed(selectors);
        } else {
            let known = built_in().keys().map(String::as_str).chain(self.own.keys().copied());
            unknown(leaf, known, out);
        }
        Cow::Borrowed(&[])
    }
}

/// Reported at the first service beyond the bound; those after it include nothing.
fn too_many(leaf: &Leaf<String>, out: &mut Collector<'_>) {
    let message = format!("services that include others have more than {MAX_SELECTORS} ranges together");
    let location = out.locate(leaf.at);
    let help = "name the included services in the rules, as in `service = [\"modbus\", \"dnp3\"]`";
    out.push(Diagnostic::error("BH0335", message).at(location, "").help(help));
}

fn cycle(round: &[(&str, &Leaf<String>)], out: &mut Collector<'_>) {
    let (Some((first, _)), Some((_, last))) = (round.first(), round.last()) else { return };
    let mut way: Vec<String> = round.iter().map(|(name, _)| quote(name)).collect();
    way.push(quote(first));
    let message = format!("service {} includes itself: {}", quote(first), way.join(" -> "));
    let mut found = Diagnostic::error("BH0332", message).at(out.locate(last.at), "and back again");
    for (_, leaf) in &round[..round.len() - 1] {
        found = found.also(out.locate(leaf.at), format!("includes {}", quote(&leaf.value)));
    }
    out.push(found.help("take one of them out"));
}

/// Reports a name that is no service's.
pub(super) fn unknown<'n>(
    leaf: &Leaf<String>,
    known: impl IntoIterator<Item = &'n str>,
    out: &mut Collector<'_>,
) {
    let help = match out.suggest(&leaf.value, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => several(&leaf.value).unwrap_or_else(|| {
            "declare it: `[service.NAME]` with `tcp = [\"502\"]`, `udp` or `ethertype`".to_owned()
        }),
    };
    let location = out.locate(leaf.at);
    let found = Diagnostic::error("BH0304", format!("unknown service {}", quote(&leaf.value)));
    out.push(found.at(location, "").help(help));
}
