//! How the agent runs: `/etc/bulkhead/bulkhead.toml`.
//!
//! In: the text of the file. Out: a [`Config`] in which every value is usable, or every problem with its place.
//! What the policy says is not here; this is about interfaces, paths, times and sizes. Everything but the
//! interfaces has a default.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use bulkhead_common::layout::{SegmentRow, TrustedKey};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub use bulkhead_common::lookup::Unmanaged;

use crate::{compile::Placed, diagnostic::quote, model::Selector, signing::Requirement};

pub mod duration;
pub mod language;
mod parse;
mod segment;
mod sink;
mod times;

pub use parse::parse_config;
pub use segment::{Fragments, Host, Infrastructure, Interface, Pair, Segment};
pub use sink::{Destination, Framing, MAX_SINKS, Sink, Syslog, Transport, receiver_key};

/// The agent's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The gateway's name in records; `None` is the host's name.
    pub name: Option<String>,
    /// A policy file, or a folder whose `*.toml` files are one policy.
    pub policy: PathBuf,
    /// Folder for what must survive a restart.
    pub state: PathBuf,
    /// Folder on a BPF file system for pinned maps and links.
    pub pins: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// Group that may use the control socket; `None` leaves it to the agent's own group.
    pub socket_group: Option<String>,
    /// Sorted by name, never empty.
    pub interfaces: Vec<Interface>,
    /// Sorted by name: every interface is one, besides those that were declared.
    pub segments: Vec<Segment>,
    /// Who may always reach the gateway itself.
    pub management: Management,
    /// Protocols a network does not live without: the default of every segment.
    pub infrastructure: Infrastructure,
    /// How long conversations are remembered.
    pub flows: Flows,
    /// How long addresses are known that devices learned by name.
    pub names: Names,
    /// How violations become records.
    pub violations: Violations,
    /// Where records go. Sorted by name.
    pub sinks: Vec<Sink>,
    /// What monitoring systems are told.
    pub metrics: Metrics,
    /// How much of the audit trail is kept.
    pub audit: Audit,
    /// Whether the kernel still holds what the agent put there.
    pub drift: Drift,
    /// What is remembered of who talks to whom; `None` is nothing.
    pub history: Option<History>,
    /// How devices are heard that say who they are; `None` is not at all.
    pub inventory: Option<Inventory>,
    /// What follows a change.
    pub rollout: Rollout,
    /// Sizes of tables and buffers.
    pub limits: Limits,
    /// Who may sign policy sets, and whether somebody must.
    pub signing: Requirement,
}

/// What is wrong where only this interface forwards directly.
pub fn alone_said(interface: &str) -> String {
    let interface = quote(interface);
    format!("only {interface} forwards directly, and a way leads from one such interface to another")
}

/// What to do then.
pub const ALONE_HELP: &str = "write `forward = \"direct\"` for the other one too, or remove it";

impl Config {
    /// Whether any interface forwards directly.
    pub fn forwards_directly(&self) -> bool {
        self.interfaces.iter().any(|interface| interface.forward == Forward::Direct)
    }

    /// The only interface that forwards directly, if there is no other: a way leads from one to another.
    pub fn alone(&self) -> Option<&str> {
        let mut direct = self.interfaces.iter().filter(|interface| interface.forward == Forward::Direct);
        let first = direct.next()?;
        direct.next().is_none().then_some(&first.name)
    }

    /// Every segment with its number in the kernel's rows, from 1; 0 is no segment. The number is made of the name, so that
    /// a segment keeps it when others come and go: what an earlier configuration wrote to the kernel holds until it is
    /// written anew.
    pub fn numbered(&self) -> impl Iterator<Item = (u16, &Segment)> {
        let mut taken = BTreeSet::new();
        self.segments.iter().map(move |segment| {
            let mut id = number_of(&segment.name);
            while !taken.insert(id) {
                id = id.checked_add(1).unwrap_or(1);
            }
            (id, segment)
        })
    }

    /// The number of every segment, by name.
    pub fn segment_ids(&self) -> BTreeMap<String, u16> {
        self.numbered().map(|(id, segment)| (segment.name.clone(), id)).collect()
    }

    /// Every segment as tables have it, with its VLAN.
    pub fn rows(&self) -> Vec<(Option<u16>, SegmentRow)> {
        self.numbered().map(|(id, segment)| (segment.vlan, segment.row(id))).collect()
    }

    /// Segments on which every packet is judged alike, by name: `cell0 (device-side)`.
    pub fn alike(&self) -> Vec<(String, SegmentRow)> {
        let mut groups: Vec<(SegmentRow, Vec<String>)> = Vec::new();
        for (id, segment) in self.numbered() {
            let row = segment.row(id);
            let same = |other: &SegmentRow| SegmentRow { segment: id, ..*other } == row;
            match groups.iter_mut().find(|(other, _)| same(other)) {
                Some((_, names)) => names.push(self.shown(segment)),
                None => groups.push((row, vec![self.shown(segment)])),
            }
        }
        groups.into_iter().map(|(row, names)| (names.join(", "), row)).collect()
    }

    /// Who may be a DHCP server or a router on which segment, and which address receives records at which port.
    pub fn trusted_hosts(&self) -> BTreeSet<TrustedKey> {
        let receivers = self.sinks.iter().filter_map(Sink::receiver).map(receiver_key);
        self.numbered().flat_map(|(id, segment)| segment.trusted_hosts(id)).chain(receivers).collect()
    }

    /// The segments of an interface: first the one it is by itself, then those of its VLANs in their order, each with its
    /// number.
    pub fn segments_on(&self, interface: &str) -> Vec<(u16, Segment)> {
        let here = self.numbered().filter(|(_, segment)| segment.interface == interface);
        let mut found: Vec<(u16, Segment)> = here.map(|(id, segment)| (id, segment.clone())).collect();
        found.sort_by_key(|(_, segment)| segment.vlan);
        found
    }

    /// `cell0 (device-side)`, or `line-3 (cell0 vlan 10, device-side)`.
    fn shown(&self, segment: &Segment) -> String {
        let interface = self.interfaces.iter().find(|interface| interface.name == segment.interface);
        let role = interface.map(|interface| interface.role).unwrap_or_default().name();
        match segment.vlan {
            None => format!("{} ({role})", segment.name),
            Some(vlan) => format!("{} ({} vlan {vlan}, {role})", segment.name, segment.interface),
        }
    }
}

/// FNV-1a of a name, folded to 16 bits; never 0.
fn number_of(name: &str) -> u16 {
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_be_bytes();
    u16::from_be_bytes([a ^ c, b ^ d]).max(1)
}

/// What is behind an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Role {
    /// Devices of the policy, visible with their MAC addresses.
    DeviceSide,
    /// The rest of the world.
    #[default]
    Uplink,
}

/// Where in the kernel packets are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Attach {
    /// In the driver.
    #[default]
    Native,
    /// After the kernel has built its own packet structure: any driver, slower; shown loudly.
    Generic,
}

/// Who sends on what a routed gateway lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Forward {
    /// The kernel.
    #[default]
    Kernel,
    /// The program itself, by the way that the kernel would take; the kernel where that is not plain.
    Direct,
}

/// Traffic to the gateway's own addresses that no policy can close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Management {
    /// Who may. Sorted, without host bits.
    pub from: Vec<IpNet>,
    /// Over what. Sorted, adjacent ranges folded.
    pub services: Vec<Selector>,
}

/// How conversations are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flows {
    /// After the first attach, for so long mid-stream packets that a rule allows in either direction are taken
    /// for part of a flow; zero is never.
    pub adopt_for: Duration,
    /// What mid-stream packets meet afterwards.
    pub midstream: Midstream,
    /// A TCP flow without packets is forgotten after this.
    pub tcp_idle: Duration,
    /// A TCP flow that is not established yet is forgotten after this.
    pub tcp_opening: Duration,
    /// Flows a device may begin in a second; 0 is any number.
    pub new_per_second: u32,
    /// A UDP flow without packets is forgotten after this.
    pub udp_idle: Duration,
    /// An ICMP exchange without packets is forgotten after this.
    pub icmp_idle: Duration,
}

/// What becomes of addresses that devices learn by the names that rules name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// An address is known at least for so long, however short the resolver says it is valid.
    pub keep: Duration,
    /// Whether a name may lead to private addresses.
    pub private: bool,
}

/// What a TCP packet without SYN and without a known flow meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Midstream {
    /// It passes when a rule allows its own direction.
    #[default]
    Forward,
    /// It is denied.
    Strict,
}

/// How violations become records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violations {
    /// Repeats of a violation are written as one record this often.
    pub summary: Duration,
    /// The agent tests itself, and says that it is there, this often; zero is never.
    pub heartbeat: Duration,
}

/// What monitoring systems are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Where they ask; `None` is nowhere.
    pub listen: Option<SocketAddr>,
}

/// How much of the audit trail is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit {
    /// A file is not added to beyond this, bytes.
    pub file_bytes: u32,
    /// Files, the one that is written included.
    pub files: u32,
}

/// Whether the kernel still holds what the agent put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drift {
    /// How often that is looked at; zero is never.
    pub every: Duration,
    /// Whether what differs is written anew.
    pub repair: bool,
}

/// What follows a change of policy or mode, and how devices come to be enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// For how long the devices that it touches are watched; zero is not at all.
    pub watch: Duration,
    /// For how long a canary is watched before it may be kept enforced.
    pub canary: Duration,
    /// Canaries of one class at a time.
    pub canaries: u32,
}

impl Default for Rollout {
    fn default() -> Self {
        Self { watch: Duration::ZERO, canary: Duration::from_secs(3600), canaries: 1 }
    }
}

/// How devices are heard that say who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// Frames of one interface that are read in a second.
    pub frames_per_second: u32,
}

/// What is remembered of who talks to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The file.
    pub file: PathBuf,
    /// Its size, bytes.
    pub file_bytes: u32,
    /// Days that are kept.
    pub days: u32,
    /// How often what was added up in memory is written.
    pub flush: Duration,
    /// What exporters elsewhere tell of; `None` is nothing.
    pub collector: Option<FlowCollector>,
}

/// Where exporters of NetFlow and IPFIX are heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowCollector {
    /// An address of this gateway, and the UDP port.
    pub listen: SocketAddr,
    /// Exporters that are heard. Sorted, never empty.
    pub from: Vec<IpAddr>,
}

impl History {
    /// The name of the file in the state folder.
    pub(crate) const NAME: &str = "history.db";

    /// In a state folder, as it is when nothing is said of it.
    pub fn below(state: &Path) -> Self {
        // A year and a month, of some thousand kinds of conversations a day: what happens once a year has happened.
        Self {
            file: state.join(Self::NAME),
            file_bytes: 256 << 20,
            days: 400,
            flush: Duration::from_secs(60),
            collector: None,
        }
    }
}

/// Sizes of tables and buffers, in entries unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Devices of the policy.
    pub devices: u32,
    /// Rules of the policy.
    pub rules: u32,
    /// Compiled rows.
    pub rows: u32,
    /// Live conversations.
    pub flows: u32,
    /// Verdicts that each processor remembers.
    pub verdicts: u32,
    /// Distinct violations held between two drains.
    pub violations: u32,
    /// Bytes of the event ring: a power of two of at least a page.
    pub ring_bytes: u32,
    /// Addresses that all devices together may have learned by name.
    pub names: u32,
    /// Revisions kept to return to.
    pub revisions: u32,
}

impl Management {
    /// The same place, with this management pin.
    #[must_use]
    pub fn pin(&self, placed: Placed) -> Placed {
        Placed { management_peers: self.from.clone(), management_services: self.services.clone(), ..placed }
    }
}

impl Default for Management {
    fn default() -> Self {
        Self {
            from: vec![IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())],
            // SSH: a gateway that locks its administrator out cannot be mended from afar.
            services: vec![Selector { protocol: 6, low: 22, high: 22 }],
        }
    }
}

impl Default for Flows {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            adopt_for: Duration::from_secs(10 * 60),
            midstream: Midstream::default(),
            // What Linux uses for established connections (nf_conntrack_tcp_timeout_established): sessions of
            // controllers are quiet for days.
            tcp_idle: Duration::from_secs(5 * DAY),
            tcp_opening: Duration::from_secs(60),
            new_per_second: 1000,
            udp_idle: Duration::from_secs(3 * 60),
            icmp_idle: Duration::from_secs(30),
        }
    }
}

impl Default for Names {
    fn default() -> Self {
        // Names of content networks are valid for seconds, and hosts use an answer for longer than it says.
        Self { keep: Duration::from_secs(5 * 60), private: true }
    }
}

impl Default for Violations {
    fn default() -> Self {
        Self { summary: Duration::from_secs(10), heartbeat: Duration::from_secs(5 * 60) }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        // The numbers are for anybody who can connect: nobody outside, unless the operator says so.
        Self { listen: Some((Ipv4Addr::LOCALHOST, 9479).into()) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            devices: 4096,
            rules: 65_536,
            rows: 1 << 20,
            flows: 1 << 17,
            verdicts: 1 << 16,
            violations: 8192,
            ring_bytes: 256 << 10,
            names: 4096,
            revisions: 32,
        }
    }
}

impl Default for Inventory {
    fn default() -> Self {
        Self { frames_per_second: 500 }
    }
}

impl Default for Drift {
    fn default() -> Self {
        Self { every: Duration::from_secs(5 * 60), repair: false }
    }
}

impl Default for Audit {
    fn default() -> Self {
        // Some three thousand entries a file.
        Self { file_bytes: 1 << 20, files: 8 }
    }
}

#[cfg(test)]
mod tests;
