//! One `allow` entry after the other. In: a site and whose entries they are. Out: peers and services of which no
//! combination comes twice in one list, so that the policy has neither duplicates nor shadowed rules.

use std::{collections::BTreeSet, fmt::Write};

use super::{SERVICES, Site, outside_name, own_service};
use crate::dice::Dice;

/// Services by whom they are allowed with: kinds of peers that may overlap (a server is in a zone) share none.
const OF_NETWORKS: [&str; 26] = [
    "ntp",
    "dns",
    "syslog-tls",
    "snmp",
    "snmp-trap",
    "https",
    "ssh",
    "ldaps",
    "kerberos",
    "smb",
    "rdp",
    "winrm",
    "mqtts",
    "amqps",
    "opcua",
    "modbus",
    "s7",
    "iec104",
    "dnp3",
    "postgresql",
    "mssql",
    "influxdb",
    "ftp",
    "radius",
    "tftp",
    "vnc",
];
const OF_SERVERS: [&str; 16] = [
    "http",
    "http-alt",
    "pi",
    "oracle",
    "mysql",
    "nfs",
    "smtp",
    "submission",
    "syslog",
    "syslog-tcp",
    "ipfix",
    "tacacs",
    "dicom",
    "hl7-mllp",
    "jetdirect",
    "ipp",
];
const OF_ZONES: [&str; 12] = [
    "enip", "codesys", "ads", "fins", "melsec", "gesrtp", "iccp", "hart-ip", "bacnet", "coap", "mqtt", "rtsp",
];
const OF_CLASSES: [&str; 8] = ["sip", "knxnet-ip", "fox", "lwm2m", "amqp", "telnet", "ping", "wsd"];

/// An entry to be written.
pub(super) struct Allow {
    to: bool,
    peers: Vec<String>,
    services: Vec<String>,
}

impl Allow {
    pub(super) fn write(&self, text: &mut String) {
        let list =
            |names: &[String]| names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let key = if self.to { "to" } else { "from" };
        writeln!(text, "{key} = [{}]\nservice = [{}]", list(&self.peers), list(&self.services))
            .expect("a string takes any text");
    }
}

/// A device's own entries: it talks with its neighbours on the line, to one and from the next.
pub(super) fn own(site: &Site, device: u32, entry: u32) -> Allow {
    let line = device / super::LINE * super::LINE;
    let size = super::LINE.min(site.devices() - line);
    let neighbour = line + (device - line + entry + 1) % size;
    let service = own_service((device * super::OF_DEVICE + entry) % SERVICES);
    // A device that is alone on its line has no neighbour to talk with.
    let peer = if neighbour == device { outside_name(entry) } else { site.device_name(neighbour) };
    Allow { to: entry.is_multiple_of(2), peers: vec![peer], services: vec![service] }
}

/// Whom an entry of a class names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Networks,
    /// The network of a cell: every device of it, and whoever else is there.
    Cell,
    Servers,
    Zones,
    Classes,
}

/// The entries of one class.
pub(super) struct Peers<'s> {
    site: &'s Site,
    class: u32,
    /// What was allowed: direction, kind, peer, service.
    taken: BTreeSet<(bool, Kind, u32, u32)>,
}

impl<'s> Peers<'s> {
    pub(super) fn of_class(site: &'s Site, class: u32) -> Self {
        Self { site, class, taken: BTreeSet::new() }
    }

    pub(super) fn next(&mut self, dice: &mut Dice) -> Allow {
        // Only servers (the first of ten kinds) look after whole cells.
        let servers = self.class.is_multiple_of(super::KINDS_COUNT);
        let (kind, to) = match dice.below(100) {
            0..58 => (Kind::Networks, true),
            58..78 => (Kind::Networks, false),
            78..86 => (Kind::Servers, true),
            86..92 => (Kind::Servers, false),
            92..97 if servers => (Kind::Cell, true),
            92..97 => (Kind::Zones, false),
            _ => (Kind::Classes, dice.below(2) == 0),
        };
        self.of(kind, to, dice).or_else(|| self.of(Kind::Networks, to, dice)).unwrap_or_else(|| self.rest(to))
    }

    /// Up to three peers with up to three services; nothing when chance finds no new combination.
    fn of(&mut self, kind: Kind, to: bool, dice: &mut Dice) -> Option<Allow> {
        let (peers, services) = self.sizes(kind);
        let most = if matches!(kind, Kind::Networks | Kind::Servers) { 3 } else { 1 };
        for _ in 0..40 {
            let chosen: BTreeSet<u32> = (0..=dice.below(most)).map(|_| dice.below(peers)).collect();
            let with: BTreeSet<u32> = (0..=dice.below(most.min(2))).map(|_| dice.below(services)).collect();
            let all: Vec<_> =
                chosen.iter().flat_map(|peer| with.iter().map(move |s| (to, kind, *peer, *s))).collect();
            if all.iter().any(|one| self.taken.contains(one)) {
                continue;
            }
            self.taken.extend(all);
            let peers = chosen.iter().map(|peer| self.peer(kind, *peer)).collect();
            return Some(Allow { to, peers, services: with.iter().map(|s| service(kind, *s)).collect() });
        }
        None
    }

    /// The first combination of a network and a service that is left.
    fn rest(&mut self, to: bool) -> Allow {
        let (peers, services) = self.sizes(Kind::Networks);
        let mut all = (0..peers).flat_map(|peer| (0..services).map(move |s| (to, Kind::Networks, peer, s)));
        let left =
            all.find(|one| !self.taken.contains(one)).expect("there are more than a class has entries");
        self.taken.insert(left);
        let (_, kind, peer, s) = left;
        Allow { to, peers: vec![self.peer(kind, peer)], services: vec![service(kind, s)] }
    }

    fn sizes(&self, kind: Kind) -> (u32, u32) {
        let peers = match kind {
            Kind::Networks => self.site.outside(),
            Kind::Cell | Kind::Zones => self.site.zones(),
            Kind::Servers => self.site.servers(),
            Kind::Classes => self.site.classes(),
        };
        (peers, u32::try_from(services(kind).len()).unwrap_or(1))
    }

    fn peer(&self, kind: Kind, peer: u32) -> String {
        match kind {
            Kind::Networks => outside_name(peer),
            Kind::Cell => format!("lan-{}", self.site.zone_name(peer)),
            Kind::Servers => self.site.device_name(peer),
            Kind::Zones => format!("zone:{}", self.site.zone_name(peer)),
            Kind::Classes => format!("class:{}", self.site.class_name(peer)),
        }
    }
}

fn services(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Networks => &OF_NETWORKS,
        Kind::Servers => &OF_SERVERS,
        Kind::Cell | Kind::Zones => &OF_ZONES,
        Kind::Classes => &OF_CLASSES,
    }
}

fn service(kind: Kind, service: u32) -> String {
    services(kind)[service as usize].to_owned()
}
