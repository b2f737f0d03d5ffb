//! What the tests of a whole plant share: frames that somebody sends and somebody else may see, and an agent between.
#![allow(dead_code, reason = "each test target uses a part of it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bulkhead_tests::{
    lab::{
        Agent, Lab, Sniffer, Topology, lab_for,
        topology::{DEVICE_SIDE, PLC, UPLINK},
        wire::RawSender,
    },
    skip::Tier,
};
use serde_json::{Value, json};

pub(crate) mod said;
pub(crate) mod simulated;
pub(crate) mod talk;

pub(crate) const SOON: Duration = Duration::from_secs(10);
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

pub(crate) fn require_lab(test: &str, topology: Topology) -> Option<Lab> {
    lab_for(Tier::Netns, test, topology, 1500)
}

/// Writes the agent's configuration for a lab of any topology: `device` and `uplink` are keys of the two interfaces,
/// `tables` stand behind everything.
pub(crate) fn configure(lab: &Lab, agent: &Agent<'_>, device: &str, uplink: &str, tables: &str) {
    agent.write_config(tables).expect("written");
    let room = &lab.gateway.room;
    let pair = |peer: &str, side: &str| format!("role = \"pair\"\npeer = \"{peer}\"\nside = \"{side}\"");
    let (inside, outside) = match lab.topology {
        Topology::Routed | Topology::Bridged => {
            ("role = \"device-side\"".to_owned(), "role = \"uplink\"".to_owned())
        }
        Topology::Inline => (pair(UPLINK, "device"), pair(DEVICE_SIDE, "uplink")),
    };
    let config = room.read("bulkhead.toml").expect("written by the lab");
    let config = config.replace("role = \"device-side\"", &format!("{inside}\n{device}"));
    let config = config.replace("role = \"uplink\"", &format!("{outside}\n{uplink}"));
    room.write("bulkhead.toml", &config).expect("writable");
}

/// A frame on its way to the other side of the gateway.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// What it is.
    pub(crate) name: &'static str,
    /// The host whose interface sends it, whoever it claims to be from.
    pub(crate) from: &'static str,
    /// Where it would arrive.
    pub(crate) to: &'static str,
    pub(crate) frame: Vec<u8>,
}

/// Sends each frame once and returns the names of those that arrived: the hopeless ones first, so that they had as much
/// time as the others.
pub(crate) fn deliver(lab: &Lab, all: &[Said], expected: &BTreeSet<&'static str>) -> BTreeSet<&'static str> {
    let places: BTreeSet<&str> = all.iter().map(|said| said.to).collect();
    let sniffers: BTreeMap<&str, Sniffer<&'static str>> = places
        .into_iter()
        .map(|place| {
            let here: BTreeMap<Vec<u8>, &'static str> =
                all.iter().filter(|s| s.to == place).map(|s| (s.frame.clone(), s.name)).collect();
            let host = lab.host(place);
            let sniffer = Sniffer::start(&host.namespace, host.interface, move |seen| {
                here.get(&seen.bytes).copied().filter(|_| !seen.outgoing)
            });
            (place, sniffer.expect("a sniffer"))
        })
        .collect();
    let (hopeful, hopeless): (Vec<&Said>, Vec<&Said>) =
        all.iter().partition(|said| expected.contains(said.name));
    for said in hopeless.into_iter().chain(hopeful) {
        let host = lab.host(said.from);
        let sender = RawSender::new(&host.namespace, host.interface).expect("a packet socket");
        sender.send(&said.frame).expect("sent");
    }
    let mut arrived = BTreeSet::new();
    for (place, sniffer) in sniffers {
        let awaited: Vec<&Said> = all.iter().filter(|s| s.to == place && expected.contains(s.name)).collect();
        // What does not come is missing in the answer.
        drop(
            sniffer.wait_until("the frames", SOON, |seen| {
                awaited.iter().all(|said| seen.contains_key(said.name))
            }),
        );
        arrived.extend(sniffer.stop().expect("no frame was missed").into_keys());
    }
    arrived
}

pub(crate) fn status(agent: &Agent<'_>) -> Value {
    agent.ask(&json!({ "verb": "status" })).expect("an answer")["ok"]["status"].clone()
}

/// All records, once every packet that the kernel counted is told of.
pub(crate) fn settled(agent: &Agent<'_>) -> Vec<Value> {
    agent.settled(SOON).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Brings the policy in force and returns its revision.
pub(crate) fn apply(agent: &Agent<'_>, text: &str) -> String {
    let request = json!({ "verb": "apply", "files": [{ "path": "pushed.toml", "text": text }] });
    let answer = agent.ask(&request).expect("an answer");
    answer["ok"]["applied"]["revision"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// A device of the lab in a policy, enforced, with both of its addresses.
pub(crate) fn device(lab: &Lab, name: &str, more: &str) -> String {
    let host = lab.host(name);
    format!(
        "[device.{name}]\nmac = \"{}\"\nip = [\"{}\", \"{}\"]\nmode = \"enforce\"\n{more}\n\n",
        host.mac,
        host.ip,
        host.ip6()
    )
}

/// Whether a host is on the device side.
pub(crate) fn is_inside(name: &str) -> bool {
    name == PLC
}
