//! What two hosts say to each other: sequences of packets, each with its mark.
//!
//! In: a policy and chance, or a test's own words. Out: scripts whose steps are frames for one side or the other. A script
//! has a port, an identifier or a pair of hosts of its own, so that none meets another's state.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use bulkhead_agent::model::Policy;

use super::{
    frames::{self, Extra, ICMP, ICMPV6, SCTP, TCP, UDP, Way, packets},
    plant::{Marks, Side},
};

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// One packet, whole or in fragments.
pub(crate) struct Step {
    /// Where it is sent from.
    pub(crate) side: Side,
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) marks: Marks,
    /// The packet in words.
    pub(crate) text: String,
}

/// Packets that belong together, in order.
pub(crate) struct Script {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
    /// Whether it ends with the first packet that is lost, as among hosts that wait for answers.
    pub(crate) patient: bool,
}

impl Script {
    pub(crate) fn new(name: impl Into<String>, steps: Vec<Step>) -> Self {
        Self { name: name.into(), steps, patient: false }
    }
}

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Client,
    Server,
}

/// A conversation's two ends; ports are client and server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Talk {
    pub(crate) way: Way,
    pub(crate) ports: [u16; 2],
}

impl Talk {
    pub(crate) fn of(self, who: Who) -> (Way, [u16; 2]) {
        match who {
            Who::Client => (self.way, self.ports),
            Who::Server => (self.way.back(), [self.ports[1], self.ports[0]]),
        }
    }
}

/// Who sends a TCP segment, its flags, and its bytes of payload.
pub(crate) type Segment = (Who, u8, usize);

/// Puts frames together, each with a mark that no other has.
pub(crate) struct Scribe {
    macs: BTreeMap<IpAddr, [u8; 6]>,
    next_mark: u16,
    next_port: u16,
    /// Conversations without ports that were given out.
    pub(crate) taken: BTreeSet<(IpAddr, IpAddr, u8)>,
}

impl Scribe {
    pub(crate) fn new(policy: &Policy) -> Self {
        let macs = policy.devices.iter().filter_map(|device| Some((device, device.macs.first()?)));
        let macs = macs.flat_map(|(device, mac)| device.addresses.iter().map(|ip| (*ip, mac.0)));
        Self { macs: macs.collect(), next_mark: 1, next_port: 20_000, taken: BTreeSet::new() }
    }

    /// A client port (or identifier) that no conversation had.
    pub(crate) fn port(&mut self) -> u16 {
        self.next_port += 1;
        self.next_port
    }

    pub(crate) fn step(&mut self, text: &str, way: Way, protocol: u8, body: &[u8], extra: Extra) -> Step {
        let mark = self.next_mark;
        self.next_mark += 1;
        let side = Side::of(way.from);
        let mac = self.macs.get(&way.from).copied().unwrap_or(side.router_mac());
        let packets = packets(way, mark, protocol, body, extra);
        let ethertype = if way.from.is_ipv4() { 0x0800 } else { 0x86dd };
        let marks = packets.iter().filter_map(|packet| frames::mark(ethertype, packet)).collect();
        let extra = if extra == Extra::Nothing { String::new() } else { format!(" ({extra:?})") };
        Step {
            side,
            frames: packets.iter().map(|packet| ethernet(side, mac, way.from, packet)).collect(),
            marks,
            text: format!("{} > {} {text}{extra}", way.from, way.to),
        }
    }

    pub(crate) fn udp(&mut self, talk: Talk, who: Who, extra: Extra) -> Step {
        let (way, ports) = talk.of(who);
        let payload = vec![0x55; if extra == Extra::Fragments { 3000 } else { 20 }];
        let body = frames::udp(way, ports, &payload);
        self.step(&format!("udp {} > {}", ports[0], ports[1]), way, UDP, &body, extra)
    }

    /// Segments with the right numbers: who, flags, bytes of payload.
    pub(crate) fn tcp(&mut self, talk: Talk, segments: &[Segment]) -> Vec<Step> {
        let mut next = [1000, 5000];
        let mut steps = Vec::new();
        for (who, flags, len) in segments {
            let (me, peer) = if *who == Who::Client { (0, 1) } else { (1, 0) };
            if flags & SYN != 0 && flags & ACK == 0 {
                // The next connection is far behind the last one.
                next[me] += 1_000_000;
            }
            let (way, ports) = talk.of(*who);
            let acknowledge = if flags & ACK == 0 { 0 } else { next[peer] };
            let body = frames::tcp(way, ports, *flags, [next[me], acknowledge], &vec![0x54; *len]);
            let said = format!("tcp {} > {} {}", ports[0], ports[1], flag_letters(*flags));
            let extra = if *len > 1400 { Extra::Fragments } else { Extra::Nothing };
            steps.push(self.step(&said, way, TCP, &body, extra));
            let control = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
            next[me] += u32::try_from(*len).expect("payloads are short") + control;
        }
        steps
    }

    /// A message of the family's ICMP; `rest` are the octets behind the checksum.
    pub(crate) fn icmp(&mut self, way: Way, kind: u8, code: u8, rest: [u8; 4], extra: Extra) -> Step {
        let payload = vec![0x49; if extra == Extra::Fragments { 2000 } else { 20 }];
        let body = frames::icmp(way, kind, code, rest, &payload);
        self.step(&format!("icmp {kind}/{code} {rest:?}"), way, icmp_of(way), &body, extra)
    }

    /// An ICMP error from somebody to the sender of what it quotes: the first frame of a step.
    pub(crate) fn error(&mut self, from: IpAddr, to: IpAddr, kind: u8, code: u8, about: &Step) -> Step {
        let way = Way { from, to };
        let mut quote = about.frames[0][14..].to_vec();
        quote.truncate(if from.is_ipv4() { 28 } else { 400 });
        let body = frames::icmp(way, kind, code, [0, 0, 5, 0], &quote);
        self.step(
            &format!("icmp error {kind}/{code}, {}", about.text),
            way,
            icmp_of(way),
            &body,
            Extra::Nothing,
        )
    }

    /// The chunks by which an association begins, and data both ways (RFC 9260 5.1).
    pub(crate) fn association(&mut self, talk: Talk) -> Vec<Step> {
        let init = |tag: u32| [tag.to_be_bytes(), [0, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 1]].concat();
        let data = [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], *b"data"].concat();
        let (ours, theirs) = (0x1111_1111, 0x2222_2222);
        let chunks: [(Who, &str, u32, u8, Vec<u8>); 6] = [
            (Who::Client, "INIT", 0, 1, init(ours)),
            (Who::Server, "INIT ACK", ours, 2, init(theirs)),
            (Who::Client, "COOKIE ECHO", theirs, 10, b"cook".to_vec()),
            (Who::Server, "COOKIE ACK", ours, 11, Vec::new()),
            (Who::Client, "DATA", theirs, 0, data.clone()),
            (Who::Server, "DATA", ours, 0, data),
        ];
        chunks.map(|(who, name, tag, kind, value)| self.chunk(talk, who, name, tag, kind, &value)).into()
    }

    pub(crate) fn chunk(
        &mut self,
        talk: Talk,
        who: Who,
        name: &str,
        tag: u32,
        kind: u8,
        value: &[u8],
    ) -> Step {
        let (way, ports) = talk.of(who);
        let body = frames::sctp(ports, tag, kind, value);
        self.step(&format!("sctp {} > {} {name}", ports[0], ports[1]), way, SCTP, &body, Extra::Nothing)
    }

    /// A packet of a protocol without ports.
    pub(crate) fn bare(&mut self, way: Way, protocol: u8) -> Step {
        self.step(&format!("protocol {protocol}"), way, protocol, &[0; 24], Extra::Nothing)
    }
}

fn icmp_of(way: Way) -> u8 {
    if way.from.is_ipv4() { ICMP } else { ICMPV6 }
}

fn flag_letters(flags: u8) -> String {
    let letters = [(SYN, 'S'), (FIN, 'F'), (RST, 'R'), (ACK, 'A')];
    letters.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, letter)| letter).collect()
}

/// A frame for the gateway from one side.
pub(crate) fn ethernet(side: Side, mac: [u8; 6], from: IpAddr, packet: &[u8]) -> Vec<u8> {
    let mut frame = side.gateway_mac().to_vec();
    frame.extend(mac);
    frame.extend(if from.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] });
    frame.extend(packet);
    frame
}
