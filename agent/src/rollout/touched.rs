//! Which devices a change of policy touches: those that had something before which is not the same after it.
//!
//! In: both policies. Out: names of devices of the old one whose identity, whose own rules (or those of their class and conduits), or
//! whose enforcement is another. Who only stands at the other end of somebody's rule is not touched: when the rule's holder goes back,
//! so does the rule. What a rule means is compared, not how it is written: peers by their addresses, services by their ports.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use crate::model::{Device, DeviceId, Holder, Peer, Policy, Rule};

/// Names of the devices of `old` that `new` touches.
pub fn touched(old: &Policy, new: &Policy) -> BTreeSet<String> {
    let (before, after) = (Meanings::of(old), Meanings::of(new));
    let is_touched = |device: &&Device| {
        let Some((_, now)) = new.device(&device.name) else { return true };
        identity(device) != identity(now)
            || (now.mode.enforces() && !device.mode.enforces())
            || before.rules.get(device.name.as_str()) != after.rules.get(device.name.as_str())
    };
    old.devices.iter().filter(is_touched).map(|device| device.name.clone()).collect()
}

/// The devices in whose name a rule stands: its holder, the members of its class, or who a conduit leads to and from.
pub fn holders(policy: &Policy, rule: &Rule) -> Vec<DeviceId> {
    let all = || (0..).map(DeviceId).zip(&policy.devices);
    match rule.holder {
        Holder::Device(id) => vec![id],
        Holder::Class(class) => {
            all().filter(|(_, device)| device.class == Some(class)).map(|(id, _)| id).collect()
        }
        Holder::Conduit => {
            let named = |id: &DeviceId| {
                let ends = rule.responders.iter().chain(&rule.initiators);
                ends.into_iter().any(|peer| is_of_devices(*peer) && policy.means(*peer, *id))
            };
            all().map(|(id, _)| id).filter(named).collect()
        }
    }
}

fn is_of_devices(peer: Peer) -> bool {
    match peer {
        Peer::Device(_) | Peer::Class(_) | Peer::Zone(_) | Peer::Group(_) => true,
        Peer::Network(_) | Peer::Multicast(_) | Peer::Gateway | Peer::Broadcast | Peer::Any => false,
    }
}

fn identity(device: &Device) -> impl PartialEq {
    let Device { macs, addresses, dynamic, segment, vlan, .. } = device;
    (macs.clone(), addresses.clone(), *dynamic, segment.clone(), *vlan)
}

/// What the rules of each device mean, as hashes: two that differ have the same one in one case of 2^64.
struct Meanings<'p> {
    rules: BTreeMap<&'p str, BTreeSet<u64>>,
}

impl<'p> Meanings<'p> {
    fn of(policy: &'p Policy) -> Self {
        let mut peers: BTreeMap<Peer, u64> = BTreeMap::new();
        let mut rules: BTreeMap<&'p str, BTreeSet<u64>> = BTreeMap::new();
        for rule in &policy.rules {
            let own = match rule.holder {
                Holder::Device(id) => Some(Peer::Device(id)),
                Holder::Class(id) => Some(Peer::Class(id)),
                Holder::Conduit => None,
            };
            let mut end = |list: &[Peer]| -> BTreeSet<Option<u64>> {
                let mut meant = |peer: &Peer| *peers.entry(*peer).or_insert_with(|| meaning(policy, *peer));
                list.iter().map(|peer| (own != Some(*peer)).then(|| meant(peer))).collect()
            };
            let ends = [end(&rule.initiators), end(&rule.responders)];
            let services: BTreeSet<_> = (rule.services.iter())
                .flat_map(|id| &policy.services[id.0 as usize].selectors)
                .map(|selector| (selector.protocol, selector.low, selector.high))
                .collect();
            let mark = hashed(&(ends, services, format!("{:?}", rule.schedule)));
            for id in holders(policy, rule) {
                rules.entry(&policy.devices[id.0 as usize].name).or_default().insert(mark);
            }
        }
        Self { rules }
    }
}

/// Whom a peer stands for.
fn meaning(policy: &Policy, peer: Peer) -> u64 {
    match peer {
        Peer::Device(_) | Peer::Class(_) | Peer::Zone(_) | Peer::Group(_) => {
            let members = (0..).map(DeviceId).zip(&policy.devices).filter(|(id, _)| policy.means(peer, *id));
            let members: BTreeSet<_> =
                members.map(|(_, d)| (&d.macs, &d.addresses, d.dynamic, &d.segment, d.vlan)).collect();
            hashed(&("devices", members))
        }
        Peer::Network(id) => {
            let network = &policy.networks[id.0 as usize];
            hashed(&("network", &network.cidrs, &network.except, format!("{:?}", network.names)))
        }
        Peer::Multicast(id) => {
            let group = &policy.multicasts[id.0 as usize];
            hashed(&("group", &group.cidrs, &group.macs))
        }
        Peer::Gateway => hashed(&"gateway"),
        Peer::Broadcast => hashed(&"broadcast"),
        Peer::Any => hashed(&"any"),
    }
}

fn hashed(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{SourceFile, resolve_texts};

    fn policy(text: &str) -> Policy {
        let text = format!("version = 1\n{text}");
        let outcome = resolve_texts(&[SourceFile { path: "a.toml".into(), text }]);
        outcome.policy.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics))
    }

    const PLANT: &str = "[device.hmi]\nip = \"10.0.0.1\"\n\
        [device.press]\nip = \"10.0.0.2\"\nmode = \"enforce\"\n[[device.press.allow]]\nfrom = \"hmi\"\nservice = \"modbus\"\n\
        [device.saw]\nip = \"10.0.0.3\"\nclass = \"cutter\"\n\
        [device.lathe]\nip = \"10.0.0.4\"\nclass = \"cutter\"\n\
        [class.cutter]\n[[class.cutter.allow]]\nfrom = \"office\"\nservice = \"ssh\"\n\
        [network.office]\ncidr = [\"10.9.0.0/16\"]\n";

    fn by(from: &str, to: &str) -> Vec<String> {
        let new = PLANT.replace(from, to);
        assert!(from.is_empty() || new != PLANT, "`{from}` is in it");
        touched(&policy(PLANT), &policy(&new)).into_iter().collect()
    }

    #[test]
    fn those_are_touched_whose_rules_mean_something_else() {
        assert_eq!(by("", ""), [""; 0]);
        assert_eq!(by("\"modbus\"", "\"ssh\""), ["press"]);
        assert_eq!(by("[[device.press", "# other lines\n\n[[device.press"), [""; 0]);
        assert_eq!(by("\"ssh\"", "[\"ssh\", \"http\"]"), ["lathe", "saw"]);
        assert_eq!(by("10.9.0.0/16", "10.8.0.0/16"), ["lathe", "saw"]);
        // The HMI is another, and so is who may ask the press.
        assert_eq!(by("10.0.0.1\"", "10.0.0.9\""), ["hmi", "press"]);
        // One that is new has nothing to lose; one that goes has.
        assert_eq!(by("[device.hmi]", "[device.pc]\nip = \"10.0.0.8\"\n[device.hmi]"), [""; 0]);
        assert_eq!(by("[device.lathe]\nip = \"10.0.0.4\"\nclass = \"cutter\"\n", ""), ["lathe"]);
    }

    #[test]
    fn those_are_touched_that_begin_to_be_enforced() {
        assert_eq!(by("10.0.0.3\"", "10.0.0.3\"\nmode = \"enforce\""), ["saw"]);
        assert_eq!(by("mode = \"enforce\"", "mode = \"monitor\""), [""; 0]);
    }
}
