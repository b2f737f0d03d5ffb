//! `allow` entries and conduits -> rules. In: entries of devices and classes, conduits, and the names. Out: one rule
//! for each of them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{
    again::{Again, Known, OfFile},
    by_name,
    names::Names,
    peers, reach,
    services::{self, Traffic},
    sorted,
};
use crate::{
    diagnostic::{At, Collector, Diagnostic, quote},
    model::{ClassId, DeviceId, Holder, Peer, Rule, Selector, ServiceId, Word},
    policy::{
        limits::{MAX_RULE_PARTS, MAX_RULES},
        raw::{Direction, RawAllow, RawConduit, RawFile, RawPeer, RawTerms},
        reader::Leaf,
    },
};

/// The rules, and what they mention.
pub(super) struct Built<'r> {
    pub(super) rules: Vec<Rule>,
    /// Services of the user's files and of the rules.
    pub(super) services: BTreeMap<&'r str, Traffic<'r>>,
    /// For each device, whether a rule names it at either end; all of them when not every rule was read.
    pub(super) used: Vec<bool>,
    /// What the next reading need not do again; `None` without a fingerprint of the names, and after an error.
    pub(super) known: Option<Known>,
}

pub(super) fn build<'r>(
    names: &Names<'r>,
    files: &'r [RawFile],
    again: Again,
    fingerprint: Option<[u8; 32]>,
    out: &mut Collector<'_>,
) -> Built<'r> {
    let (services, mentioned) = mentioned(names, files, &again, out);
    let again = again.with_services(services.keys().copied());
    let ids = (0..).map(ServiceId).zip(services.keys()).map(|(id, name)| (*name, id)).collect();
    let used = Used { devices: vec![false; names.devices.len()], peers: HashSet::new() };
    let parts: Vec<usize> =
        (0..files.len()).map(|file| again.of(file).map_or(0, |known| known.parts)).collect();
    let total = parts.iter().sum();
    let mut builder =
        Builder { names, ids, rules: Vec::with_capacity(again.rules()), parts, total, full: false, used };
    for known in (0..files.len()).filter_map(|file| again.of(file)) {
        builder.repeat(known);
    }
    let changed =
        || files.iter().enumerate().filter(|(file, _)| again.of(*file).is_none()).map(|(_, raw)| raw);
    for device in changed().flat_map(|file| &file.devices) {
        let Some(entry) = names.devices.get(device.name.value.as_str()) else { continue };
        for allow in &device.allow {
            builder.of_device(entry.id, &device.name.value, allow, out);
        }
    }
    for class in changed().flat_map(|file| &file.classes) {
        let Some(entry) = names.classes.get(class.name.value.as_str()) else { continue };
        for allow in &class.allow {
            builder.of_class(entry.id, &class.name.value, allow, out);
        }
    }
    for conduit in changed().flat_map(|file| &file.conduits) {
        builder.of_conduit(conduit, out);
    }
    let Builder { names: _, ids: _, mut rules, parts, total: _, full, used } = builder;
    let used = used.devices.into_iter().map(|used| used || full).collect();
    // A rule is large: its key is sorted, and the rule moved once.
    rules.sort_by_cached_key(|(at, rule)| (rule.holder, *at));
    let selectors: Vec<&[Selector]> = services.values().map(|(selectors, _)| &**selectors).collect();
    reach::check_ends(names, &rules, |at| again.of(at.file.0 as usize).is_none(), &selectors, out);
    by_name::check_resolvers(names, &rules, &selectors, out);
    let known = fingerprint
        .filter(|_| !out.has_errors())
        .map(|names| again.known(names, services.keys().copied(), mentioned, parts, &rules));
    let (rules, services) = in_use(rules.into_iter().map(|(_, rule)| rule).collect(), services);
    Built { rules, services, used, known }
}

/// Leaves out the built-in services that no rule has: what stands in a class without devices is not one.
fn in_use<'r>(
    mut rules: Vec<Rule>,
    services: BTreeMap<&'r str, Traffic<'r>>,
) -> (Vec<Rule>, BTreeMap<&'r str, Traffic<'r>>) {
    let mut kept = vec![false; services.len()];
    for id in rules.iter().flat_map(|rule| &rule.services) {
        if let Some(kept) = kept.get_mut(id.0 as usize) {
            *kept = true;
        }
    }
    for (kept, (_, built_in)) in kept.iter_mut().zip(services.values()) {
        *kept |= !built_in;
    }
    let mut next = (0..).map(ServiceId);
    let numbers: Vec<Option<ServiceId>> =
        kept.iter().map(|kept| if *kept { next.next() } else { None }).collect();
    if kept.iter().all(|kept| *kept) {
        return (rules, services);
    }
    for id in rules.iter_mut().flat_map(|rule| &mut rule.services) {
        // What a rule has is kept.
        *id = numbers.get(id.0 as usize).copied().flatten().unwrap_or(*id);
    }
    let services =
        services.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(service, _)| service).collect();
    (rules, services)
}

/// The services of the user's files and of all entries, and those that each file mentions; an unknown one is reported
/// at each place.
fn mentioned<'r>(
    names: &Names<'r>,
    files: &'r [RawFile],
    again: &Again,
    out: &mut Collector<'_>,
) -> (BTreeMap<&'r str, Traffic<'r>>, Vec<Vec<String>>) {
    let own = names.services.iter().filter(|(_, (_, built_in))| !built_in);
    let mut found: BTreeMap<_, _> = own.map(|(name, service)| (*name, service.clone())).collect();
    let mut by_file = Vec::with_capacity(files.len());
    for (number, file) in files.iter().enumerate() {
        let mut seen: HashSet<&str> = HashSet::new();
        if let Some(known) = again.of(number) {
            seen.extend(known.mentioned.iter().map(String::as_str));
        } else {
            for leaf in services_of(file).filter(|leaf| !names.services.contains_key(&leaf.value)) {
                services::unknown(leaf, names.services.keys().copied(), out);
            }
            seen.extend(services_of(file).map(|leaf| leaf.value.as_str()));
        }
        for (name, service) in seen.iter().filter_map(|name| names.services.get_key_value(name)) {
            found.entry(name).or_insert_with(|| service.clone());
        }
        by_file.push(seen.into_iter().map(str::to_owned).collect());
    }
    (found, by_file)
}

/// Every word for a service in the entries of a file.
fn services_of(file: &RawFile) -> impl Iterator<Item = &Leaf<String>> {
    let of_devices = file.devices.iter().flat_map(|device| &device.allow);
    let of_classes = file.classes.iter().flat_map(|class| &class.allow);
    let of_entries = of_devices.chain(of_classes).flat_map(|allow| &allow.services);
    of_entries.chain(file.conduits.iter().flat_map(|conduit| &conduit.services))
}

/// The devices that some rule names at either end.
struct Used {
    devices: Vec<bool>,
    /// What was looked at: a zone of a thousand devices is named by many rules.
    peers: HashSet<Peer>,
}

impl Used {
    fn mark(&mut self, names: &Names<'_>, peers: &[Peer]) {
        for peer in peers {
            let devices = names.devices_of(*peer);
            if devices.len() == 1 || !devices.is_empty() && self.peers.insert(*peer) {
                peers::mark(devices, &mut self.devices);
            }
        }
    }
}

struct Builder<'n, 'r> {
    names: &'n Names<'r>,
    ids: HashMap<&'r str, ServiceId>,
    rules: Vec<(At, Rule)>,
    /// Peers, services and words of the rules so far, by the number of the file.
    parts: Vec<usize>,
    /// Of all files.
    total: usize,
    /// Whether a bound was reached and reported.
    full: bool,
    used: Used,
}

/// What a rule is made of, once its names are ids.
struct Ends<'r> {
    at: At,
    holder: Holder,
    initiators: Vec<Peer>,
    responders: Vec<Peer>,
    words: Option<Box<[Vec<Word>; 2]>>,
    services: &'r [Leaf<String>],
    terms: &'r RawTerms,
}

impl Builder<'_, '_> {
    /// Takes over what the entries of a file are known to be.
    fn repeat(&mut self, known: &OfFile) {
        for (_, rule) in &known.rules {
            self.used.mark(self.names, &rule.initiators);
            self.used.mark(self.names, &rule.responders);
        }
        self.rules.extend(known.rules.iter().cloned());
    }

    fn of_device(&mut self, device: DeviceId, name: &str, allow: &RawAllow, out: &mut Collector<'_>) {
        if self.full {
            return;
        }
        let mut all = BTreeSet::new();
        for peer in distinct(&allow.peers) {
            let expanded = peers::expand(self.names, peer, out);
            let mut devices = expanded.iter().flat_map(|p| self.names.devices_of(*p));
            let only_itself = devices.next() == Some(&device) && devices.next().is_none();
            if only_itself && expanded.len() > 1 {
                // A group that holds networks beside the device.
                all.extend(expanded.into_iter().filter(|peer| self.names.devices_of(*peer).is_empty()));
                continue;
            }
            // What a group should have held beside the device was reported.
            if only_itself && !self.is_whole(&peer.value) {
                continue;
            }
            if only_itself {
                let message = match &peer.value {
                    RawPeer::Zone(_) | RawPeer::Class(_) | RawPeer::Group(_) => {
                        format!("this holds only {} itself", quote(name))
                    }
                    RawPeer::Named(_)
                    | RawPeer::Multicast(_)
                    | RawPeer::Gateway
                    | RawPeer::Broadcast
                    | RawPeer::Any => {
                        format!("{} is the device whose entry this is", quote(name))
                    }
                };
                let location = out.locate(peer.at);
                let found = Diagnostic::error("BH0402", message);
                out.push(found.at(location, "").help("name the other end; the device is implied"));
                continue;
            }
            all.extend(expanded);
        }
        self.entry(
            Holder::Device(device),
            (Peer::Device(device), name),
            allow,
            all.into_iter().collect(),
            out,
        );
    }

    fn is_whole(&self, peer: &RawPeer) -> bool {
        match peer {
            RawPeer::Group(name) => self.names.groups.get(name.as_str()).is_none_or(|group| group.is_whole),
            RawPeer::Zone(_)
            | RawPeer::Class(_)
            | RawPeer::Named(_)
            | RawPeer::Multicast(_)
            | RawPeer::Gateway
            | RawPeer::Broadcast
            | RawPeer::Any => true,
        }
    }

    fn of_class(&mut self, class: ClassId, name: &str, allow: &RawAllow, out: &mut Collector<'_>) {
        if self.full {
            return;
        }
        let expanded =
            distinct(&allow.peers).into_iter().flat_map(|peer| peers::expand(self.names, peer, out));
        let all: Vec<Peer> = sorted(expanded.collect());
        let is_itself = |member: DeviceId| {
            let only = |peer: &Peer| {
                let devices = self.names.devices_of(*peer);
                !devices.is_empty() && devices.iter().all(|device| *device == member)
            };
            !all.is_empty() && all.iter().all(only)
        };
        if let [member] = self.names.devices_of(Peer::Class(class))
            && is_itself(*member)
        {
            let location = out.locate(allow.peers.first().map_or(allow.at, |peer| peer.at));
            let found = Diagnostic::error("BH0402", format!("class {} has no other device", quote(name)));
            out.push(found.at(location, "").help("name the other end; the device of the class is implied"));
        }
        self.entry(Holder::Class(class), (Peer::Class(class), name), allow, all, out);
    }

    /// The other ends of an entry, and the holder's own end.
    fn entry(
        &mut self,
        holder: Holder,
        (own, name): (Peer, &str),
        allow: &RawAllow,
        others: Vec<Peer>,
        out: &mut Collector<'_>,
    ) {
        let inherited = !self.names.devices_of(own).is_empty();
        if inherited {
            self.used.mark(self.names, &others);
            self.used.mark(self.names, &[own]);
        }
        let others_said = distinct(&allow.peers);
        let mut words = peers::words(self.names, [&others_said, &[]]);
        if let Some(words) = &mut words {
            let text = match holder {
                Holder::Class(_) => format!("class:{name}"),
                Holder::Device(_) | Holder::Conduit => name.to_owned(),
            };
            words[1].push(Word { text, holds: Vec::new() });
            if allow.direction == Some(Direction::To) {
                words.swap(0, 1);
            }
        }
        let (initiators, responders) = match allow.direction {
            Some(Direction::From) => (others, vec![own]),
            Some(Direction::To) => (vec![own], others),
            None => (others, Vec::new()),
        };
        let ends = Ends {
            at: allow.at,
            holder,
            initiators,
            responders,
            words,
            services: &allow.services,
            terms: &allow.terms,
        };
        self.push(ends, inherited, out);
    }

    fn of_conduit(&mut self, conduit: &RawConduit, out: &mut Collector<'_>) {
        if self.full {
            return;
        }
        for to in &conduit.to {
            if let Some(from) = conduit.from.iter().find(|from| from.value == to.value) {
                let RawPeer::Zone(zone) = &to.value else { continue };
                let found = Diagnostic::error("BH0411", format!("the conduit joins zone {} with itself", quote(zone)))
                    .at(out.locate(to.at), "and at the other end")
                    .also(out.locate(from.at), "at one end")
                    .help("a conduit joins two zones; what devices of one zone may do stands in their `allow` entries");
                out.push(found);
            }
        }
        let mut ends = [&conduit.from, &conduit.to].map(|peers| {
            let expanded = distinct(peers).into_iter().flat_map(|peer| peers::expand(self.names, peer, out));
            sorted(expanded.collect::<Vec<Peer>>())
        });
        let [initiators, responders] = ends.each_mut().map(std::mem::take);
        self.used.mark(self.names, &initiators);
        self.used.mark(self.names, &responders);
        let holder = Holder::Conduit;
        let (services, terms) = (&conduit.services, &conduit.terms);
        self.push(
            Ends { at: conduit.at, holder, initiators, responders, words: None, services, terms },
            true,
            out,
        );
    }

    /// What nobody inherits allows nothing.
    fn push(&mut self, ends: Ends<'_>, inherited: bool, out: &mut Collector<'_>) {
        let Ends { at, holder, initiators, responders, words, services, terms } = ends;
        let services = services.iter().filter_map(|leaf| self.ids.get(leaf.value.as_str()).copied());
        let services: Vec<ServiceId> = sorted(services.collect());
        // An entry that is no rule for another reason costs its room all the same.
        let parts = initiators.len() + responders.len() + services.len();
        let room = self.has_room(parts, at, terms, out);
        if !room || !inherited || initiators.is_empty() || responders.is_empty() || services.is_empty() {
            return;
        }
        let RawTerms { schedule, comment, owner, ticket, source } = terms;
        let rule = Rule {
            holder,
            initiators,
            responders,
            words,
            services,
            schedule: schedule.clone(),
            comment: comment.clone(),
            owner: owner.clone(),
            ticket: ticket.clone(),
            source: *source,
            location: out.locate(at),
        };
        self.rules.push((at, rule));
    }

    fn has_room(&mut self, parts: usize, at: At, terms: &RawTerms, out: &mut Collector<'_>) -> bool {
        let words = [&terms.comment, &terms.owner, &terms.ticket];
        let words: usize = words.into_iter().flatten().map(String::len).sum();
        let windows = terms.schedule.as_ref().map_or(0, |schedule| schedule.windows.len());
        // A peer takes eight bytes of a rule, and so do eight bytes of its comment; a window takes six times that.
        let parts = parts + words / 8 + windows * 6;
        self.total += parts;
        if let Some(of_file) = self.parts.get_mut(at.file.0 as usize) {
            *of_file += parts;
        }
        let found = if self.rules.len() >= MAX_RULES {
            Diagnostic::error("BH0407", format!("the policy has more than {MAX_RULES} rules"))
                .help("let devices share a `[class.NAME]`, or split the policy over gateways")
        } else if self.total > MAX_RULE_PARTS {
            Diagnostic::error("BH0408", format!("the rules have more than {MAX_RULE_PARTS} parts"))
                .help("give many peers of one rule a `zone`, a `class` or a `[network.NAME]` in common")
        } else {
            return true;
        };
        self.full = true;
        let location = out.locate(at);
        out.push(found.at(location, "from here on no rule is read"));
        false
    }
}

/// Each written peer once: a zone named a thousand times is expanded once.
fn distinct(peers: &[Leaf<RawPeer>]) -> Vec<&Leaf<RawPeer>> {
    if let [only] = peers {
        return vec![only];
    }
    let mut seen = BTreeSet::new();
    peers.iter().filter(|peer| seen.insert(&peer.value)).collect()
}
