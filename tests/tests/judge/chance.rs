//! Scripts that a policy is likely to have an opinion about, from chance.
//!
//! In: a policy. Out: conversations between hosts on both sides, mostly near some rule: its ends or others, its ports or
//! those beside them, its direction or the other. What the judges see differently by design is not thrown
//! (`netns_judge.rs` has a case for each).

use std::{collections::BTreeSet, net::IpAddr};

use bulkhead_agent::model::{DeviceId, Peer, Policy, Selector};

use super::{
    Midstream,
    frames::{Extra, ICMP, ICMPV6, SCTP, TCP, UDP, Way},
    plant::Side,
    random::Random,
    scripts::{
        ACK, FIN, RST, SYN, Scribe, Script, Segment, Step, Talk,
        Who::{self, Client, Server},
    },
};

/// Hosts that are no devices, in and around the networks of the policies; `P` is the plant.
const HOSTS: &[&str] = &[
    "10.1.P.20",
    "10.1.P.21",
    "10.2.P.1",
    "10.2.P.5",
    "10.2.P.7",
    "10.2.P.63",
    "10.2.P.100",
    "10.2.P.128",
    "10.2.P.200",
    "10.3.P.9",
    "203.0.113.9",
    "fd00:1:P::20",
    "fd00:2:P::1",
    "fd00:2:P::5",
    "fd00:2:P::7f",
    "fd00:2:P::80",
    "fd00:2:P:1::5",
    "fd00:3:P::9",
    "2001:db8:f::9",
];

/// Throws scripts over one policy.
pub(crate) struct Thrower<'a> {
    policy: &'a Policy,
    random: &'a mut Random,
    scribe: Scribe,
    midstream: Midstream,
    plant: u8,
    hosts: Vec<IpAddr>,
    devices: BTreeSet<IpAddr>,
}

impl<'a> Thrower<'a> {
    pub(crate) fn new(policy: &'a Policy, random: &'a mut Random, midstream: Midstream, plant: u8) -> Self {
        let devices: BTreeSet<IpAddr> =
            policy.devices.iter().flat_map(|device| device.addresses.iter().copied()).collect();
        let named = HOSTS.iter().map(|host| {
            let number = if host.contains(':') { format!("{plant:x}") } else { plant.to_string() };
            host.replace('P', &number).parse().expect("an address")
        });
        let hosts = named.chain(devices.iter().copied()).collect();
        Self { policy, random, scribe: Scribe::new(policy), midstream, plant, hosts, devices }
    }

    pub(crate) fn scripts(&mut self, n: usize) -> Vec<Script> {
        // Chance often throws two hosts of one side or of two families.
        (0..n * 10).filter_map(|_| self.script()).take(n).collect()
    }

    fn script(&mut self) -> Option<Script> {
        let rule = self.random.pick(&self.policy.rules);
        let (from, to) = (self.host(&rule.initiators)?, self.host(&rule.responders)?);
        let mut way = Way { from, to };
        match self.random.within(0, 19) {
            0..=2 => way = way.back(),
            3 => way.from = *self.random.pick(&self.hosts),
            4 => way.to = *self.random.pick(&self.hosts),
            5.. => {}
        }
        if way.from.is_ipv4() != way.to.is_ipv4() || Side::of(way.from) == Side::of(way.to) {
            return None;
        }
        let services = if self.random.percent(85) {
            &rule.services
        } else {
            &self.random.pick(&self.policy.rules).services
        };
        let service = &self.policy.services[self.random.pick(services).0 as usize];
        let selector = *self.random.pick(&service.selectors);
        let port = self.edge(selector);
        match selector.protocol {
            TCP => Some(self.tcp(way, port)),
            UDP => Some(self.udp(way, port)),
            SCTP => Some(self.sctp(way, port)),
            // A service for both families meets hosts of either.
            ICMP | ICMPV6 => self.icmp(way, selector),
            other => self.bare(way, other),
        }
    }

    fn host(&mut self, peers: &[Peer]) -> Option<IpAddr> {
        let peer = *self.random.pick(peers);
        let inside: Vec<IpAddr> = match peer {
            Peer::Device(_) | Peer::Class(_) | Peer::Zone(_) | Peer::Group(_) => {
                let devices = (0..).map(DeviceId).zip(&self.policy.devices);
                let meant = devices.filter(|(id, _)| self.policy.means(peer, *id));
                meant.flat_map(|(_, device)| device.addresses.iter().copied()).collect()
            }
            Peer::Network(id) => {
                let cidrs = &self.policy.networks[id.0 as usize].cidrs;
                self.hosts.iter().copied().filter(|host| cidrs.iter().any(|net| net.contains(host))).collect()
            }
            Peer::Any => self.hosts.clone(),
            Peer::Gateway | Peer::Broadcast | Peer::Multicast(_) => Vec::new(),
        };
        (!inside.is_empty()).then(|| *self.random.pick(&inside))
    }

    /// A port in a range or just beside it, and below the clients' ports.
    fn edge(&mut self, selector: Selector) -> u16 {
        let Selector { protocol: _, low, high } = selector;
        let ports = [low, high, low + (high - low) / 2, low.saturating_sub(1), high.saturating_add(1)];
        (*self.random.pick(&ports)).clamp(1, 19_999)
    }

    fn talk(&mut self, way: Way, port: u16) -> Talk {
        Talk { way, ports: [self.scribe.port(), port] }
    }

    fn tcp(&mut self, way: Way, port: u16) -> Script {
        let talk = self.talk(way, port);
        let open = [(Client, SYN, 0), (Server, SYN | ACK, 0), (Client, ACK, 0)];
        let then = |more: &[Segment]| open.iter().chain(more).copied().collect::<Vec<_>>();
        let data = (Client, ACK, 100);
        let choices: &[(&str, Vec<Segment>)] = &match self.midstream {
            Midstream::Strict => vec![
                (
                    "a conversation",
                    then(&[
                        data,
                        (Server, ACK, 50),
                        (Client, FIN | ACK, 0),
                        (Server, FIN | ACK, 0),
                        (Client, ACK, 0),
                    ]),
                ),
                ("fragments of a connection", then(&[(Client, ACK, 3000), (Server, ACK, 3000)])),
                ("a refused connection", vec![(Client, SYN, 0), (Server, RST | ACK, 0)]),
                (
                    "reset and opened again",
                    then(&[
                        data,
                        (Client, RST | ACK, 0),
                        (Client, SYN, 0),
                        (Server, SYN | ACK, 0),
                        (Client, ACK, 0),
                    ]),
                ),
                (
                    "a SYN sent again",
                    vec![(Client, SYN, 0), (Client, SYN, 0), (Server, SYN | ACK, 0), (Client, ACK, 0)],
                ),
                ("an answer to nothing", vec![(Server, SYN | ACK, 0), (Server, ACK, 10)]),
                ("the middle of nothing", vec![data, (Server, ACK, 10), (Client, ACK, 0)]),
                ("a reset of nothing", vec![(Client, RST | ACK, 0), (Server, RST, 0)]),
                ("the end of nothing", vec![(Client, FIN | ACK, 0), (Server, FIN | ACK, 0)]),
            ],
            Midstream::TakenUp => vec![
                ("a conversation", then(&[data, (Server, ACK, 50), (Client, FIN | ACK, 0)])),
                ("the middle of a connection", vec![data, (Server, ACK, 50), data]),
                ("the answer in a connection", vec![(Server, ACK, 50), data, (Server, ACK, 50)]),
            ],
        };
        let (name, segments) = self.random.pick(choices);
        let mut steps = self.scribe.tcp(talk, segments);
        if *name == "a conversation" && self.random.percent(40) {
            let about = &steps[3];
            let errors = self.errors(way, about);
            steps.truncate(5);
            steps.extend(errors);
        }
        // Bulkhead takes up with any segment, conntrack not with SYN and ACK: a lost SYN is the end.
        let patient = self.midstream == Midstream::TakenUp && *name == "a conversation";
        Script { patient, ..Script::new(format!("tcp: {name}"), steps) }
    }

    /// Errors about a packet: from its receiver, from a router behind which it is, and about what was never sent.
    fn errors(&mut self, way: Way, about: &Step) -> Vec<Step> {
        // Unreachable, too big, time exceeded; the one that conntrack and RFC 4443 call otherwise is a case.
        let kinds: &[(u8, u8)] = if way.from.is_ipv4() {
            &[(3, 4), (3, 3), (11, 0), (12, 0)]
        } else {
            &[(1, 4), (2, 0), (3, 0), (4, 1)]
        };
        let (kind, code) = *self.random.pick(kinds);
        let mut steps = vec![self.scribe.error(way.to, way.from, kind, code, about)];
        if self.devices.contains(&way.from) {
            steps.push(self.scribe.error(self.router(way.to), way.from, kind, code, about));
        }
        let other = Talk { way, ports: [self.scribe.port(), 7] };
        let unsent = self.scribe.udp(other, Client, Extra::Nothing);
        steps.push(self.scribe.error(way.to, way.from, kind, code, &unsent));
        let turned = self.scribe.udp(other, Server, Extra::Nothing);
        steps.push(self.scribe.error(way.to, way.from, kind, code, &turned));
        steps
    }

    /// A router that no policy knows, on a host's side.
    fn router(&self, host: IpAddr) -> IpAddr {
        let net = if Side::of(host) == Side::West { 1 } else { 9 };
        let text = if host.is_ipv4() {
            format!("10.{net}.{}.254", self.plant)
        } else {
            format!("fd00:{net}:{:x}::fe", self.plant)
        };
        text.parse().expect("an address")
    }

    /// What may stand in a packet of the way's family.
    fn extra(&mut self, way: Way) -> Extra {
        let v6 = [Extra::HopByHop, Extra::Destination, Extra::Both, Extra::Atomic, Extra::Fragments];
        match (self.random.percent(60), way.from.is_ipv4()) {
            (true, _) => Extra::Nothing,
            (false, true) => Extra::Fragments,
            (false, false) => *self.random.pick(&v6),
        }
    }

    fn udp(&mut self, way: Way, port: u16) -> Script {
        let talk = self.talk(way, port);
        let (ask, answer) = (self.extra(way), self.extra(way));
        let (name, who): (&str, &[Who]) = *self.random.pick(&[
            ("question and answer", &[Client, Server, Client, Server][..]),
            ("an answer to nothing", &[Server][..]),
            ("an answer before its question", &[Server, Client, Server][..]),
        ]);
        let say = |who: &Who| self.scribe.udp(talk, *who, if *who == Client { ask } else { answer });
        let mut steps: Vec<Step> = who.iter().map(say).collect();
        if name == "question and answer" {
            let another = Talk { ports: [talk.ports[0], talk.ports[1] + 1], ..talk };
            steps.push(self.scribe.udp(another, Server, Extra::Nothing));
            if ask == Extra::Nothing {
                let errors = self.errors(way, &steps[0]);
                steps.extend(errors);
            }
        }
        Script::new(format!("udp: {name}"), steps)
    }

    fn sctp(&mut self, way: Way, port: u16) -> Script {
        let talk = self.talk(way, port);
        let mut steps = self.scribe.association(talk);
        if self.random.percent(25) {
            // From the port of the service: nobody asked.
            let init = [[0x33; 4], [0, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 1]].concat();
            steps = vec![self.scribe.chunk(talk, Server, "INIT", 0, 1, &init)];
        }
        // Bulkhead knows no chunks: what is not the first would be a beginning where a rule allows its direction.
        Script { patient: true, ..Script::new("sctp: an association", steps) }
    }

    fn icmp(&mut self, way: Way, selector: Selector) -> Option<Script> {
        let is_v4 = way.from.is_ipv4();
        let [low, _] = selector.low.to_be_bytes();
        let [high, _] = selector.high.to_be_bytes();
        let kind =
            *self.random.pick(&[low, high, low.saturating_add(1).min(high), if is_v4 { 8 } else { 128 }]);
        let identifier = self.scribe.port().to_be_bytes();
        let rest = [identifier[0], identifier[1], 0, 1];
        let asks = if is_v4 { matches!(kind, 8 | 13 | 15 | 17) } else { kind == 128 };
        let answers = if is_v4 { matches!(kind, 0 | 14 | 16 | 18) } else { kind == 129 };
        // Discovery and membership are of the link, and no router forwards them (RFC 4861 3.1, RFC 3810 5).
        let of_the_link = !is_v4 && matches!(kind, 130..=137 | 143);
        // Conntrack holds question and answer together.
        let node_information = !is_v4 && matches!(kind, 139 | 140);
        // Denied whatever a rule says.
        let redirect = is_v4 && kind == 5;
        if of_the_link || node_information || redirect {
            return None;
        }
        if !asks && !answers {
            let code = *self.random.pick(&[0, 1, 4]);
            let steps = vec![self.scribe.icmp(way, kind, code, [0; 4], Extra::Nothing)];
            return Some(Script::new("icmp: a message", steps));
        }
        let ask = if answers { if is_v4 { 8 } else { 128 } } else { kind };
        let answer = match ask {
            8 => 0,
            ask => ask + 1,
        };
        let (extra, back) = (self.extra(way), way.back());
        let mut steps = Vec::new();
        if self.random.percent(30) {
            steps.push(self.scribe.icmp(back, answer, 0, rest, Extra::Nothing));
        }
        steps.push(self.scribe.icmp(way, ask, 0, rest, extra));
        if extra == Extra::Nothing && self.random.percent(30) {
            let errors = self.errors(way, &steps[steps.len() - 1]);
            steps.extend(errors);
        }
        steps.push(self.scribe.icmp(back, answer, 0, rest, extra));
        steps.push(self.scribe.icmp(way, ask, 0, rest, Extra::Nothing));
        Some(Script::new("icmp: question and answer", steps))
    }

    fn bare(&mut self, way: Way, protocol: u8) -> Option<Script> {
        let pair = (way.from.min(way.to), way.from.max(way.to), protocol);
        if !self.scribe.taken.insert(pair) {
            return None;
        }
        let back = way.back();
        let order = if self.random.percent(30) { vec![back, way, back] } else { vec![way, back, way] };
        let steps = order.into_iter().map(|way| self.scribe.bare(way, protocol)).collect();
        Some(Script::new(format!("protocol {protocol}"), steps))
    }
}
