//! `allow` entries -> rules. In: entries of devices and classes, and the names. Out: one rule for each entry of
//! a device and for each device of a class's entry.

use std::collections::{BTreeMap, BTreeSet};

use super::{names::Names, peers, reach, sorted};
use crate::{
    diagnostic::{At, Collector, Diagnostic, quote},
    model::{DeviceId, Peer, Rule, Selector, ServiceId},
    policy::{
        limits::{MAX_RULE_PARTS, MAX_RULES},
        raw::{Direction, RawAllow, RawFile, RawPeer},
        reader::Leaf,
        values::hints::several,
    },
};

/// The rules, and what they mention.
pub(super) struct Built<'r> {
    pub(super) rules: Vec<Rule>,
    /// Services of the user's files and of the rules.
    pub(super) services: BTreeMap<&'r str, (&'r [Selector], bool)>,
    /// For each device, whether a rule names it at either end; all of them when not every rule was read.
    pub(super) used: Vec<bool>,
}

pub(super) fn build<'r>(names: &Names<'r>, files: &'r [RawFile], out: &mut Collector<'_>) -> Built<'r> {
    let services = mentioned(names, files, out);
    let ids = (0..).map(ServiceId).zip(services.keys()).map(|(id, name)| (*name, id)).collect();
    let used = vec![false; names.devices.len()];
    let mut builder = Builder { names, ids, rules: Vec::new(), parts: 0, full: false, used };
    for device in files.iter().flat_map(|file| &file.devices) {
        let Some(entry) = names.devices.get(device.name.value.as_str()) else { continue };
        for allow in &device.allow {
            builder.of_device(entry.id, &device.name.value, allow, out);
        }
    }
    for class in files.iter().flat_map(|file| &file.classes) {
        let members = names.class_members.get(class.name.value.as_str());
        for allow in &class.allow {
            builder.of_class(&class.name.value, members.map_or(&[], Vec::as_slice), allow, out);
        }
    }
    let Builder { names: _, ids: _, mut rules, parts: _, full, used } = builder;
    let used = used.into_iter().map(|used| used || full).collect();
    rules.sort_by_key(|(at, rule)| (rule.device, *at));
    let selectors: Vec<&[Selector]> = services.values().map(|(selectors, _)| *selectors).collect();
    reach::check_ends(names, &rules, &selectors, out);
    Built { rules: rules.into_iter().map(|(_, rule)| rule).collect(), services, used }
}

/// The services of the user's files and of all entries; an unknown one is reported at each place.
fn mentioned<'r>(
    names: &Names<'r>,
    files: &'r [RawFile],
    out: &mut Collector<'_>,
) -> BTreeMap<&'r str, (&'r [Selector], bool)> {
    let own = names.services.iter().filter(|(_, (_, built_in))| !built_in);
    let mut found: BTreeMap<_, _> = own.map(|(name, service)| (*name, *service)).collect();
    let of_devices = files.iter().flat_map(|file| &file.devices).flat_map(|device| &device.allow);
    let of_classes = files.iter().flat_map(|file| &file.classes).flat_map(|class| &class.allow);
    for leaf in of_devices.chain(of_classes).flat_map(|allow| &allow.services) {
        match names.services.get_key_value(leaf.value.as_str()) {
            Some((name, service)) => {
                found.insert(name, *service);
            }
            None => {
                let help = match out.suggest(&leaf.value, names.services.keys().copied()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => several(&leaf.value).unwrap_or_else(|| {
                        "declare it: `[service.NAME]` with `tcp = [\"502\"]`, `udp` or `ethertype`".to_owned()
                    }),
                };
                let location = out.locate(leaf.at);
                let found = Diagnostic::error("BH0304", format!("unknown service {}", quote(&leaf.value)));
                out.push(found.at(location, "").help(help));
            }
        }
    }
    found
}

struct Builder<'n, 'r> {
    names: &'n Names<'r>,
    ids: BTreeMap<&'r str, ServiceId>,
    rules: Vec<(At, Rule)>,
    /// Peers, services and words of all rules so far.
    parts: usize,
    /// Whether a bound was reached and reported.
    full: bool,
    used: Vec<bool>,
}

impl Builder<'_, '_> {
    fn of_device(&mut self, device: DeviceId, name: &str, allow: &RawAllow, out: &mut Collector<'_>) {
        if self.full {
            return;
        }
        let mut all = BTreeSet::new();
        for peer in distinct(&allow.peers) {
            let mut expanded = peers::expand(self.names, peer, out);
            let before = expanded.len();
            expanded.retain(|peer| *peer != Peer::Device(device));
            if expanded.is_empty() && before > 0 {
                let message = match &peer.value {
                    RawPeer::Zone(_) | RawPeer::Class(_) => format!("this holds only {} itself", quote(name)),
                    RawPeer::Named(_)
                    | RawPeer::Group(_)
                    | RawPeer::Gateway
                    | RawPeer::Broadcast
                    | RawPeer::Any => {
                        format!("{} is the device whose entry this is", quote(name))
                    }
                };
                let location = out.locate(peer.at);
                let found = Diagnostic::error("BH0402", message);
                out.push(found.at(location, "").help("name the other end; the device is implied"));
            }
            all.extend(expanded);
        }
        self.push(device, None, allow, all.into_iter().collect(), out);
    }

    fn of_class(&mut self, class: &str, members: &[DeviceId], allow: &RawAllow, out: &mut Collector<'_>) {
        if self.full {
            return;
        }
        let expanded =
            distinct(&allow.peers).into_iter().flat_map(|peer| peers::expand(self.names, peer, out));
        let all: Vec<Peer> = sorted(expanded.collect());
        let only_itself = |member: &DeviceId| all == [Peer::Device(*member)];
        if !members.is_empty() && members.iter().all(only_itself) {
            let location = out.locate(allow.peers.first().map_or(allow.at, |peer| peer.at));
            let found = Diagnostic::error("BH0402", format!("class {} has no other device", quote(class)));
            out.push(found.at(location, "").help("name the other end; the device of the class is implied"));
        }
        for member in members {
            if self.full {
                return;
            }
            // Members may be peers of each other, never of themselves.
            let others = all.iter().copied().filter(|peer| *peer != Peer::Device(*member)).collect();
            self.push(*member, Some(class), allow, others, out);
        }
    }

    fn push(
        &mut self,
        device: DeviceId,
        class: Option<&str>,
        allow: &RawAllow,
        others: Vec<Peer>,
        out: &mut Collector<'_>,
    ) {
        let services = allow.services.iter().filter_map(|leaf| self.ids.get(leaf.value.as_str()).copied());
        let services: Vec<ServiceId> = sorted(services.collect());
        peers::mark(&others, &mut self.used);
        peers::mark(&[Peer::Device(device)], &mut self.used);
        // An entry that is no rule for another reason costs its expansion all the same.
        let room = self.has_room(others.len() + services.len(), allow, out);
        let Some(direction) = allow.direction.filter(|_| room) else { return };
        if others.is_empty() || services.is_empty() {
            return;
        }
        let own = vec![Peer::Device(device)];
        let (initiators, responders) = match direction {
            Direction::From => (others, own),
            Direction::To => (own, others),
        };
        let rule = Rule {
            device,
            class: class.map(str::to_owned),
            initiators,
            responders,
            services,
            comment: allow.comment.clone(),
            owner: allow.owner.clone(),
            ticket: allow.ticket.clone(),
            location: out.locate(allow.at),
        };
        self.rules.push((allow.at, rule));
    }

    fn has_room(&mut self, parts: usize, allow: &RawAllow, out: &mut Collector<'_>) -> bool {
        let words = [&allow.comment, &allow.owner, &allow.ticket];
        let words: usize = words.into_iter().flatten().map(String::len).sum();
        // A peer takes eight bytes of a rule, and so do eight bytes of its comment.
        self.parts += parts + words / 8;
        let found = if self.rules.len() >= MAX_RULES {
            Diagnostic::error("BH0407", format!("the policy has more than {MAX_RULES} rules")).help(
                "an entry of a class is one rule for each of its devices: name fewer, or split the policy",
            )
        } else if self.parts > MAX_RULE_PARTS {
            Diagnostic::error("BH0408", format!("the rules have more than {MAX_RULE_PARTS} parts"))
                .help("`zone:` and `class:` count each of their devices: declare a `[network.NAME]` for many")
        } else {
            return true;
        };
        self.full = true;
        let location = out.locate(allow.at);
        out.push(found.at(location, "from here on no rule is read"));
        false
    }
}

/// Each written peer once: a zone named a thousand times is expanded once.
fn distinct(peers: &[Leaf<RawPeer>]) -> Vec<&Leaf<RawPeer>> {
    let mut seen = BTreeSet::new();
    peers.iter().filter(|peer| seen.insert(&peer.value)).collect()
}
