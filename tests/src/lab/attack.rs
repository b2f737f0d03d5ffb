//! What an attacker on the plant network does, frame by frame, and how the lab recognises it where it arrives.
//!
//! In: a lab. Out: exactly how many frames were sent, so that a sniffer at the PLC can say how many came through.
//! Forged frames carry a TTL nobody else uses; what the attacker's own IP stack sends has another.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    ops::Range,
    time::Duration,
};

use anyhow::Result;

use super::{
    link::Mac,
    modbus::{self, Write},
    sniffer::Sniffer,
    topology::{ATTACKER, FORGED_TTL, Host, Lab, STACK_TTL},
    wait::check_interrupt,
    wire::{self, Path, RawSender, Seen, Transport},
};

/// The source ports of forged conversations, in turn; the stacks of the lab use none of these (32768 and up).
const FORGED_PORTS: Range<u16> = 20_000..32_000;

/// Whose doing a frame is, as judged at the PLC or anywhere else in the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Made by hand in this module: IPv4 of any shape.
    Forged,
    /// Made by hand: an ARP message that claims somebody else's address.
    ForgedArp,
    /// From the attacker's IP stack: connects, and resets of answers to forged frames.
    AttackerStack,
    /// Honest ARP of the attacker's stack.
    AttackerArp,
    /// Everybody else.
    Others,
}

/// How a port answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// SYN-ACK, or the connection stood.
    Open,
    /// RST, or the connection was refused.
    Closed,
}

/// What a scan found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// SYN frames or connection attempts.
    pub sent: u64,
    /// The ports that answered; all others were silent.
    pub answers: BTreeMap<u16, Answer>,
}

/// Tells whose doing a frame is.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    mac: Mac,
    ip: Ipv4Addr,
    hops: u8,
}

impl Judge {
    /// A judge for frames behind the gateway, at the PLC.
    pub fn at_plc(lab: &Lab) -> Self {
        let Host { mac, ip, .. } = *lab.attacker();
        Self { mac, ip, hops: lab.hops() }
    }

    /// A judge for frames before the gateway, such as at `plant0`.
    pub fn at_plant(lab: &Lab) -> Self {
        Self { hops: 0, ..Self::at_plc(lab) }
    }

    /// The verdict. It rests on TTL and ARP fields, which the agent does not change.
    pub fn origin(&self, seen: &Seen) -> Origin {
        if let Some((mac, ip)) = seen.arp_sender() {
            return match (mac == self.mac, ip == self.ip) {
                (true, true) => Origin::AttackerArp,
                (true, false) => Origin::ForgedArp,
                (false, _) => Origin::Others,
            };
        }
        match seen.ttl() {
            Some(ttl) if ttl == FORGED_TTL - self.hops => Origin::Forged,
            Some(ttl) if ttl == STACK_TTL - self.hops => Origin::AttackerStack,
            Some(_) | None => Origin::Others,
        }
    }
}

/// Counts by origin everything that the PLC's interface receives.
pub fn sniff_plc(lab: &Lab) -> Result<Sniffer<Origin>> {
    let judge = Judge::at_plc(lab);
    let plc = lab.plc();
    Sniffer::start(&plc.namespace, plc.interface, move |seen| (!seen.outgoing).then(|| judge.origin(seen)))
}

/// The attacker's hands: sends frames at will, in its own name or in another's.
pub struct Attacker<'a> {
    lab: &'a Lab,
    host: &'a Host,
    sender: RawSender,
}

impl<'a> Attacker<'a> {
    /// The lab's host `attacker`.
    pub fn new(lab: &'a Lab) -> Result<Self> {
        let host = lab.host(ATTACKER);
        Ok(Self { lab, host, sender: RawSender::new(&host.namespace, host.interface)? })
    }

    /// Frames from the attacker's MAC address to the PLC with the source address given.
    fn path(&self, src: Ipv4Addr, src_port: u16, dst_port: u16) -> Path {
        Path {
            src_mac: self.host.mac,
            dst_mac: self.lab.next_hop(),
            src: SocketAddrV4::new(src, src_port),
            dst: SocketAddrV4::new(self.lab.plc().ip, dst_port),
            ttl: FORGED_TTL,
        }
    }

    /// Sends one SYN to each port of the PLC, one frame each, and collects the answers until all are in or `within` is over.
    pub fn scan(&self, ports: &[u16], within: Duration) -> Result<Scan> {
        let (plc, own) = (self.lab.plc().ip, self.host.ip);
        let answers = Sniffer::start(&self.host.namespace, self.host.interface, move |seen| {
            let Transport { src, dst, tcp, .. } = seen.transport().filter(|_| !seen.outgoing)?;
            let (flags, to_us) = (tcp?, *src.ip() == plc && *dst.ip() == own);
            let answer = if flags.rst { Answer::Closed } else { Answer::Open };
            (to_us && flags.ack && (flags.syn || flags.rst)).then_some((src.port(), answer))
        })?;
        for (source, port) in FORGED_PORTS.cycle().zip(ports) {
            self.sender.send(&wire::tcp_syn(self.path(own, source, *port), 1000))?;
        }
        // Silence is an answer too: only the deadline can tell it, and it is no failure.
        drop(answers.wait_until("all ports", within, |counts| counts.len() >= ports.len()));
        let answers = answers.stop()?.into_keys().collect();
        Ok(Scan { sent: sent(ports.len()), answers })
    }

    /// Tries to connect to each port of the PLC through the attacker's own stack, one after the other.
    pub fn connect_scan(&self, ports: &[u16], within_each: Duration) -> Result<Scan> {
        let plc = self.lab.plc().ip;
        let mut answers = BTreeMap::new();
        for port in ports {
            check_interrupt()?;
            let address = SocketAddr::V4(SocketAddrV4::new(plc, *port));
            match self.host.namespace.run(|| TcpStream::connect_timeout(&address, within_each)) {
                Ok(_) => drop(answers.insert(*port, Answer::Open)),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    answers.insert(*port, Answer::Closed);
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::TimedOut
                            | io::ErrorKind::HostUnreachable
                            | io::ErrorKind::NetworkUnreachable
                    ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Scan { sent: sent(ports.len()), answers })
    }

    /// A Modbus write with a connection of its own.
    pub fn write(&self, register: u16, value: u16, within: Duration) -> Result<Write> {
        modbus::write_once(self.host, self.lab.modbus(), register, value, within)
    }

    /// `count` SYNs to the PLC's Modbus port with the address of `victim` and the attacker's MAC.
    pub fn spoofed_syns(&self, victim: &str, count: u16) -> Result<u64> {
        let (victim, port) = (self.lab.host(victim).ip, self.lab.modbus().port());
        for source in FORGED_PORTS.cycle().take(usize::from(count)) {
            self.sender.send(&wire::tcp_syn(self.path(victim, source, port), 2000))?;
        }
        Ok(u64::from(count))
    }

    /// `count` segments that claim to belong to a session of `victim` and carry a Modbus write.
    pub fn spoofed_writes(&self, victim: &str, count: u16, register: u16, value: u16) -> Result<u64> {
        let (victim, port) = (self.lab.host(victim).ip, self.lab.modbus().port());
        for source in FORGED_PORTS.cycle().take(usize::from(count)) {
            let request = modbus_write(source, register, value);
            self.sender.send(&wire::tcp_data(self.path(victim, source, port), 3000, 4000, &request))?;
        }
        Ok(u64::from(count))
    }

    /// Announces the addresses of HMI and PLC as the attacker's own: two frames. Nothing forwards what it attracts.
    pub fn arp_spoof(&self) -> Result<u64> {
        for claimed in [self.lab.host("hmi").ip, self.lab.plc().ip] {
            self.sender.send(&wire::arp_announcement(self.host.mac, claimed))?;
        }
        Ok(2)
    }

    /// One of each [`malformed`] frame. A router's own stack drops most of them; a bridge passes them all.
    pub fn malformed(&self) -> Result<u64> {
        let frames = malformed(self.path(self.host.ip, FORGED_PORTS.start, self.lab.modbus().port()));
        for (_, frame) in &frames {
            self.sender.send(frame)?;
        }
        Ok(sent(frames.len()))
    }

    /// `count` datagrams to the PLC's port 9999 from `sources` different ports (at most 12,000): as many
    /// distinct violations.
    pub fn udp_flood(&self, count: u64, sources: u16) -> Result<u64> {
        let ports = FORGED_PORTS.take(usize::from(sources.max(1))).cycle();
        for (_, source) in (0..count).zip(ports) {
            self.sender.send(&wire::udp(self.path(self.host.ip, source, 9999), b"flood"))?;
        }
        Ok(count)
    }
}

/// Datagrams to so many of the PLC's ports, each from so many hardware addresses: every one is another violation.
pub fn kinds(lab: &Lab, sources: u8, ports: u16) -> Vec<Vec<u8>> {
    let attacker = lab.attacker();
    let kinds = (0..sources).flat_map(|source| (1..=ports).map(move |port| (source, port)));
    let frame = |(source, port)| {
        let mut src_mac = attacker.mac;
        src_mac.0[4] = source;
        let path = Path {
            src_mac,
            dst_mac: lab.next_hop(),
            src: SocketAddrV4::new(attacker.ip, 21_000),
            dst: SocketAddrV4::new(lab.plc().ip, port),
            ttl: FORGED_TTL,
        };
        wire::udp(path, b"flood")
    };
    kinds.map(frame).collect()
}

/// Frames that contradict themselves, each with what is wrong about it.
pub fn malformed(path: Path) -> Vec<(&'static str, Vec<u8>)> {
    let good = wire::tcp_syn(path, 5000);
    // Offsets behind the Ethernet header: version and IHL at 0, total length at 2 (RFC 791 3.1).
    let changed = |at: usize, bytes: &[u8]| {
        let mut frame = good.clone();
        frame[14 + at..14 + at + bytes.len()].copy_from_slice(bytes);
        // The checksum is right for what the header now says: one thing is wrong about a frame, not two.
        wire::set_ipv4_checksum(&mut frame);
        frame
    };
    vec![
        ("IHL of two words, minimum is five", changed(0, &[0x42])),
        ("total length beyond the frame", changed(2, &1400_u16.to_be_bytes())),
        ("total length shorter than the header", changed(2, &12_u16.to_be_bytes())),
        ("three VLAN tags", wire::tagged(&good, &[1, 2, 3])),
        ("TCP header cut after the ports", {
            let mut frame = changed(2, &24_u16.to_be_bytes());
            frame.truncate(14 + 24);
            frame
        }),
    ]
}

/// Write single register, function 6, unit 255 (MODBUS Application Protocol 1.1b3, 6.6; MBAP header before it).
fn modbus_write(transaction: u16, register: u16, value: u16) -> Vec<u8> {
    let mut request = Vec::with_capacity(12);
    request.extend(transaction.to_be_bytes());
    request.extend([0, 0, 0, 6, 255, 6]);
    request.extend(register.to_be_bytes());
    request.extend(value.to_be_bytes());
    request
}

fn sent(frames: usize) -> u64 {
    u64::try_from(frames).expect("a vector's length fits")
}
