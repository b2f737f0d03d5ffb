//! Where the two judges differ by design: each difference with its reason and the packets that prove it.
//!
//! In: nothing. Out: cases, each with what both judges must say of every step. What is here is not thrown by chance.

use std::net::IpAddr;

use super::{
    Midstream, frames,
    frames::{Extra, Way},
    herald,
    scripts::{
        ACK, RST, SYN, Scribe, Step, Talk,
        Who::{Client, Server},
    },
};

/// A packet, and whether Bulkhead and nftables let it through.
type Told = (Step, [bool; 2]);

/// One difference.
pub(crate) struct Exception {
    pub(crate) name: &'static str,
    /// Why it is meant.
    pub(crate) reason: &'static str,
    pub(crate) midstream: Midstream,
    /// The packets, and whether Bulkhead and nftables let them through.
    pub(crate) steps: fn(&mut Scribe, Hosts) -> Vec<Told>,
}

/// Addresses of one plant: an office host, which is no device, and the device it may talk to.
#[derive(Clone, Copy)]
pub(crate) struct Hosts {
    plant: u8,
}

impl Hosts {
    pub(crate) fn of(plant: u8) -> Self {
        Self { plant }
    }

    fn address(self, text: &str) -> IpAddr {
        let number = if text.contains(':') { format!("{:x}", self.plant) } else { self.plant.to_string() };
        text.replace('P', &number).parse().expect("an address")
    }

    fn v4(self) -> Way {
        Way { from: self.address("10.2.P.7"), to: self.address("10.1.P.11") }
    }

    fn v6(self) -> Way {
        Way { from: self.address("fd00:2:P::7"), to: self.address("fd00:1:P::b") }
    }

    fn talk(self, scribe: &mut Scribe, port: u16) -> Talk {
        Talk { way: self.v4(), ports: [scribe.port(), port] }
    }
}

/// What all cases are judged by.
pub(crate) fn policy(plant: u8) -> String {
    format!(
        "version = 1\n\n{}[device.plc]\nip = [\"10.1.{plant}.11\", \"fd00:1:{plant:x}::b\"]\n\
         mac = \"02:00:00:00:01:0b\"\nmode = \"enforce\"\n\n[network.office]\n\
         cidr = [\"10.2.{plant}.0/25\", \"fd00:2:{plant:x}::/64\"]\n\n[network.lab]\ncidr = \"10.2.{plant}.128/25\"\n\n\
         [service.offered]\ntcp = [\"502\"]\nudp = [\"53\"]\nsctp = [\"4000\"]\nicmp = [\"5\", \"8\"]\nicmpv6 = [\"128\", \"139\"]\n\n\
         [[device.plc.allow]]\nfrom = \"office\"\nservice = \"offered\"\n\n\
         [[device.plc.allow]]\nfrom = \"lab\"\nservice = \"offered\"\n\n\
         [[device.plc.allow]]\nto = \"lab\"\nservice = \"any-tcp\"\n\n",
        herald(plant)
    )
}

/// The same without what the office may.
pub(crate) fn without_office(plant: u8) -> String {
    policy(plant).replace("[[device.plc.allow]]\nfrom = \"office\"\nservice = \"offered\"\n\n", "")
}

const BOTH: [bool; 2] = [true, true];
const BULKHEAD: [bool; 2] = [true, false];
const NFTABLES: [bool; 2] = [false, true];

pub(crate) const EXCEPTIONS: &[Exception] = &[
    Exception {
        name: "the order of a handshake",
        reason: "once a SYN was allowed its connection is: hosts know their state better than a gateway that lost a packet",
        midstream: Midstream::Strict,
        steps: |scribe, hosts| {
            let talk = hosts.talk(scribe, 502);
            let steps = scribe.tcp(talk, &[(Client, SYN, 0), (Client, ACK, 10)]);
            steps.into_iter().zip([BOTH, BULKHEAD]).collect()
        },
    },
    Exception {
        name: "a connection opened from both ends at once",
        reason: "who sends a SYN starts a conversation, and the responder has no rule that lets it",
        midstream: Midstream::Strict,
        steps: |scribe, hosts| {
            let talk = hosts.talk(scribe, 502);
            let steps = scribe.tcp(talk, &[(Client, SYN, 0), (Server, SYN, 0)]);
            steps.into_iter().zip([BOTH, NFTABLES]).collect()
        },
    },
    Exception {
        name: "a SYN from the answering end of a live connection",
        reason: "another rule lets that end start, so its SYN begins a conversation; conntrack calls it invalid",
        midstream: Midstream::Strict,
        steps: |scribe, hosts| {
            let way = Way { from: hosts.address("10.2.P.200"), ..hosts.v4() };
            let talk = Talk { way, ports: [scribe.port(), 502] };
            let said = [(Client, SYN, 0), (Server, SYN | ACK, 0), (Client, ACK, 0), (Server, SYN, 0)];
            scribe.tcp(talk, &said).into_iter().zip([BOTH, BOTH, BOTH, BULKHEAD]).collect()
        },
    },
    Exception {
        name: "a reset in a connection that nobody saw begin",
        reason: "while connections are taken up every segment in a rule's direction is one; conntrack wants data",
        midstream: Midstream::TakenUp,
        steps: |scribe, hosts| {
            let (reset, answer) = (hosts.talk(scribe, 502), hosts.talk(scribe, 502));
            let mut steps = scribe.tcp(reset, &[(Client, RST | ACK, 0)]);
            steps.extend(scribe.tcp(answer, &[(Client, SYN | ACK, 0)]));
            steps.into_iter().zip([BULKHEAD, BULKHEAD]).collect()
        },
    },
    Exception {
        name: "an association without its beginning",
        reason: "SCTP is judged by its ports: chunks and tags are left to the hosts",
        midstream: Midstream::Strict,
        steps: |scribe, hosts| {
            let talk = hosts.talk(scribe, 4000);
            let late = scribe.association(talk).into_iter().skip(2);
            late.zip([BULKHEAD, BULKHEAD]).collect()
        },
    },
    Exception {
        name: "a redirect",
        reason: "it rewrites routes: no rule lets it, and nobody needs it",
        midstream: Midstream::Strict,
        steps: |scribe, hosts| {
            let redirect = scribe.icmp(hosts.v4(), 5, 1, [0; 4], Extra::Nothing);
            vec![(redirect, NFTABLES)]
        },
    },
    Exception {
        name: "a question about a node and its answer",
        reason: "node information (RFC 4620) is an experiment: a rule may name its types, no state holds them together",
        midstream: Midstream::Strict,
        steps: |scribe, hosts| {
            let way = hosts.v6();
            let ask = scribe.icmp(way, 139, 0, [0; 4], Extra::Nothing);
            let answer = scribe.icmp(way.back(), 140, 0, [0; 4], Extra::Nothing);
            vec![(ask, BOTH), (answer, NFTABLES)]
        },
    },
    Exception {
        name: "an error about an answer to an echo",
        reason: "nobody waits for it: of ICMP only what asks is looked for among the flows",
        midstream: Midstream::Strict,
        steps: |scribe, hosts| {
            let way = hosts.v4();
            let ask = scribe.icmp(way, 8, 0, [7, 7, 0, 1], Extra::Nothing);
            let answer = scribe.icmp(way.back(), 0, 0, [7, 7, 0, 1], Extra::Nothing);
            let error = scribe.error(way.from, way.to, 3, 1, &answer);
            vec![(ask, BOTH), (answer, BOTH), (error, NFTABLES)]
        },
    },
    Exception {
        name: "a packet whose last fragment never comes",
        reason: "the first fragment decides and goes on at once; conntrack keeps it until the packet is whole",
        midstream: Midstream::Strict,
        steps: |scribe, hosts| {
            let talk = hosts.talk(scribe, 53);
            let mut step = scribe.udp(talk, Client, Extra::Fragments);
            step.frames.truncate(1);
            step.marks.retain(|(_, offset)| *offset == 0);
            vec![(step, BULKHEAD)]
        },
    },
    Exception {
        name: "a device's address from somebody else's hardware address",
        reason: "an address is nobody's proof; the ruleset has no words for who may use one",
        midstream: Midstream::Strict,
        steps: |scribe, hosts| {
            let way = Way { from: hosts.v4().to, to: hosts.address("10.2.P.200") };
            let talk = Talk { way, ports: [scribe.port(), 80] };
            let mut spoofed = scribe.tcp(talk, &[(Client, SYN, 0)]);
            for frame in &mut spoofed[0].frames {
                frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0x66, 0x66]);
            }
            spoofed.into_iter().zip([NFTABLES]).collect()
        },
    },
    Exception {
        name: "IPv4 options",
        reason: "they can reroute a packet, and nothing but IGMP needs them (RFC 7126)",
        midstream: Midstream::Strict,
        steps: |scribe, hosts| {
            let talk = hosts.talk(scribe, 53);
            let mut step = scribe.udp(talk, Client, Extra::Nothing);
            for frame in &mut step.frames {
                let packet = frames::with_options(&frame[14..]);
                frame.truncate(14);
                frame.extend(packet);
            }
            vec![(step, NFTABLES)]
        },
    },
];
