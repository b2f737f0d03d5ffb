//! The plant: who is where, with which addresses, and whether everybody reaches the PLC.
//!
//! In: routed, bridged or inline. Out: hosts in namespaces of their own.
//!
//! ```text
//!  hmi  historian  engineering  attacker          routed:  cell 10.20.1.0/24, plant 10.20.2.0/24,
//!    \______\______/________/                              the gateway is .1 on both and forwards
//!           plant-sw (a bridge)                   bridged: 10.20.1.0/24 only, cell0 and plant0 are
//!               |                                          ports of br0 (10.20.1.1)
//!            plant0  gateway  cell0 --- plc          inline:  as bridged, but nothing joins cell0 and plant0:
//!                                                             that is left to the agent
//! ```

use std::{
    collections::BTreeMap,
    fs, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};

use super::{
    link::{self, End, Mac},
    namespace::Namespace,
    room::Room,
    wait::{check_interrupt, wait_for},
};

/// The PLC's name in every topology.
pub const PLC: &str = "plc";
/// The hosts on the plant side, with the last byte of their address.
pub const PLANT_HOSTS: [(&str, u8); 4] =
    [("hmi", 20), ("historian", 30), ("engineering", 40), (ATTACKER, 66)];
/// The attacker's name.
pub const ATTACKER: &str = "attacker";
/// The gateway's interface towards the PLC.
pub const DEVICE_SIDE: &str = "cell0";
/// The gateway's interface towards everybody else.
pub const UPLINK: &str = "plant0";
/// The plant switch's port towards the gateway.
pub const SWITCH_PORT: &str = "to-gateway";
/// The plant switch's bridge.
pub const SWITCH: &str = "sw0";
/// The bridge of a bridged gateway.
pub const BRIDGE: &str = "br0";
/// Modbus/TCP (MODBUS Messaging on TCP/IP 1.0b, 4.3.2).
pub const MODBUS: u16 = 502;
/// The TTL of frames made by hand in [`super::attack`], before any router.
pub const FORGED_TTL: u8 = 77;
/// The TTL of everything the attacker's own IP stack sends, before any router.
pub const STACK_TTL: u8 = 99;

const PREFIX: u8 = 24;
const READY_WITHIN: Duration = Duration::from_secs(10);

/// How the gateway forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Between two networks, at layer 3.
    Routed,
    /// Within one network, at layer 2.
    Bridged,
    /// Not at all: without an agent nothing gets through.
    Inline,
}

/// A machine of the plant.
pub struct Host {
    /// What the lab and its policy call it.
    pub name: &'static str,
    /// Where it lives.
    pub namespace: Namespace,
    /// Its only interface besides `lo`.
    pub interface: &'static str,
    /// The address of that interface.
    pub mac: Mac,
    /// As above.
    pub ip: Ipv4Addr,
}

/// The machine between plant and PLC, on which the agent runs.
pub struct Gateway {
    /// Where it lives.
    pub namespace: Namespace,
    /// What its children write.
    pub room: Room,
    /// The address of `cell0`.
    pub cell_mac: Mac,
    /// The address of `plant0`.
    pub plant_mac: Mac,
    /// Its address on the PLC's network.
    pub cell_ip: Ipv4Addr,
    /// Its address on the plant's network (the same when bridged).
    pub plant_ip: Ipv4Addr,
}

/// A plant that is up. Dropping it takes everything down.
pub struct Lab {
    /// How the gateway forwards.
    pub topology: Topology,
    /// The machine under test.
    pub gateway: Gateway,
    hosts: BTreeMap<&'static str, Host>,
    switch: Namespace,
}

impl Lab {
    /// Two networks and a router between them.
    pub fn routed() -> Result<Self> {
        Self::build(Topology::Routed, 1500)
    }

    /// One network and a bridge in the middle.
    pub fn bridged() -> Result<Self> {
        Self::build(Topology::Bridged, 1500)
    }

    /// A lab whose links all have this MTU. Returns when everybody reaches the PLC, unless that takes an agent.
    pub fn build(topology: Topology, mtu: u32) -> Result<Self> {
        let plant_net = match topology {
            Topology::Routed => 2,
            Topology::Bridged | Topology::Inline => 1,
        };
        let (namespace, room) = Namespace::with_room("gateway")?;
        let (cell_ip, plant_ip) = (ip(1, 1), ip(plant_net, 1));
        // 0xc and 0xa: when bridged both sides would derive the same address.
        let (cell_mac, plant_mac) = (Mac([2, 0xc, 10, 20, 1, 1]), Mac([2, 0xa, 10, 20, plant_net, 1]));
        let gateway = Gateway { namespace, room, cell_mac, plant_mac, cell_ip, plant_ip };
        let switch = Namespace::new("plant-sw")?;
        link::bridge(&switch, SWITCH, Mac([2, 0, 0, 0, 0, 0xfe]))?;

        let plc = host(PLC, ip(1, 11))?;
        let inside = End { namespace: &gateway.namespace, interface: DEVICE_SIDE, mac: cell_mac, mtu };
        connect(&plc, &inside)?;
        let uplink = End { namespace: &gateway.namespace, interface: UPLINK, mac: plant_mac, mtu };
        port(&switch, SWITCH_PORT, 1, &uplink)?;
        let mut hosts = BTreeMap::from([(PLC, plc)]);
        for (number, (name, last)) in (2_u8..).zip(PLANT_HOSTS) {
            check_interrupt()?;
            let host = host(name, ip(plant_net, last))?;
            let end = End { namespace: &host.namespace, interface: host.interface, mac: host.mac, mtu };
            port(&switch, &format!("to-{name}"), number, &end)?;
            link::address(&host.namespace, host.interface, host.ip, PREFIX)?;
            hosts.insert(name, host);
        }
        let lab = Self { topology, gateway, hosts, switch };
        lab.forward()?;
        link::set(&lab.attacker().namespace, "net/ipv4/ip_default_ttl", &STACK_TTL.to_string())?;
        match topology {
            Topology::Routed | Topology::Bridged => lab.ready()?,
            Topology::Inline => {}
        }
        Ok(lab)
    }

    fn forward(&self) -> Result<()> {
        let Gateway { namespace, room: _, cell_mac, plant_mac: _, cell_ip, plant_ip } = &self.gateway;
        match self.topology {
            Topology::Routed => {
                link::address(namespace, DEVICE_SIDE, *cell_ip, PREFIX)?;
                link::address(namespace, UPLINK, *plant_ip, PREFIX)?;
                link::set(namespace, "net/ipv4/ip_forward", "1")?;
                for host in self.hosts.values() {
                    link::default_route(
                        &host.namespace,
                        if host.name == PLC { *cell_ip } else { *plant_ip },
                    )?;
                }
            }
            Topology::Bridged => {
                link::bridge(namespace, BRIDGE, *cell_mac)?;
                link::enslave(namespace, DEVICE_SIDE, BRIDGE)?;
                link::enslave(namespace, UPLINK, BRIDGE)?;
                link::address(namespace, BRIDGE, *cell_ip, PREFIX)?;
            }
            Topology::Inline => {
                // A veth takes what an XDP program of its other end sends there only when it receives through NAPI.
                link::generic_receive_on(&self.plc().namespace, self.plc().interface)?;
                link::generic_receive_on(&self.switch, SWITCH_PORT)?;
            }
        }
        Ok(())
    }

    /// Waits until the PLC's stack answers everybody: a refused connection proves ARP, forwarding and the way back.
    fn ready(&self) -> Result<()> {
        // tcpmux: nobody listens there.
        let closed = SocketAddr::V4(SocketAddrV4::new(self.plc().ip, 1));
        for host in self.hosts.values().filter(|host| host.name != PLC) {
            let name = host.name;
            wait_for(&format!("`{name}` to reach the PLC"), READY_WITHIN, || {
                let tried =
                    host.namespace.run(|| TcpStream::connect_timeout(&closed, Duration::from_millis(500)));
                Ok(matches!(tried, Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
                    .then_some(()))
            })?;
        }
        Ok(())
    }

    /// The host of that name. Panics when the lab has none: the names are those of [`PLC`] and [`PLANT_HOSTS`].
    pub fn host(&self, name: &str) -> &Host {
        self.hosts.get(name).unwrap_or_else(|| panic!("the lab has no host `{name}`"))
    }

    /// All hosts, by name.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    /// The PLC.
    pub fn plc(&self) -> &Host {
        self.host(PLC)
    }

    /// The attacker.
    pub fn attacker(&self) -> &Host {
        self.host(ATTACKER)
    }

    /// Frames that full queues between two interfaces have swallowed, by the `host/interface` that was sending: what
    /// nobody counts otherwise. Frames dropped by an XDP program are not among them.
    pub fn dropped_by_links(&self) -> Result<BTreeMap<String, u64>> {
        let hosts = self.hosts.values().map(|host| &host.namespace);
        let mut all = BTreeMap::new();
        for namespace in hosts.chain([&self.gateway.namespace, &self.switch]) {
            let text = namespace.run(|| fs::read_to_string("/proc/thread-self/net/dev"))?;
            // Two header lines, then `name: <8 receive columns> bytes packets errs drop ...` of the way out.
            for line in text.lines().skip(2) {
                let (interface, columns) = line.split_once(':').context("an interface without a colon")?;
                let drops =
                    columns.split_whitespace().nth(11).context("an interface without a drop counter")?;
                if let drops @ 1.. = drops.parse()? {
                    all.insert(format!("{}/{}", namespace.name(), interface.trim()), drops);
                }
            }
        }
        Ok(all)
    }

    /// The namespace of the plant's switch, whose ports are named `to-<host>` and `to-gateway`.
    pub fn switch(&self) -> &Namespace {
        &self.switch
    }

    /// Where the PLC listens.
    pub fn modbus(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.plc().ip, MODBUS)
    }

    /// The destination address of a frame from the plant side that shall reach the PLC.
    pub fn next_hop(&self) -> Mac {
        match self.topology {
            Topology::Routed => self.gateway.plant_mac,
            Topology::Bridged | Topology::Inline => self.plc().mac,
        }
    }

    /// A policy that enforces the PLC: nobody may speak to it.
    pub fn closed(&self) -> String {
        format!("version = 1\n\n{}", self.plc().enforced())
    }

    /// How many routers there are between the plant and the PLC.
    pub fn hops(&self) -> u8 {
        match self.topology {
            Topology::Routed => 1,
            Topology::Bridged | Topology::Inline => 0,
        }
    }
}

impl Host {
    /// Its table in a policy, enforcing, with an empty line behind it.
    pub fn enforced(&self) -> String {
        format!(
            "[device.{}]\nmac = \"{}\"\nip = \"{}\"\nmode = \"enforce\"\n\n",
            self.name, self.mac, self.ip
        )
    }

    /// TCP segments this host's stack has sent again since it came up (RFC 4022, tcpRetransSegs): a lost packet shows
    /// here even when the poll got its answer in time. Unrelated delays can raise it too.
    pub fn retransmitted(&self) -> Result<u64> {
        let text = self.namespace.run(|| fs::read_to_string("/proc/thread-self/net/snmp"))?;
        let mut rows = text.lines().filter_map(|line| line.strip_prefix("Tcp: ")).map(str::split_whitespace);
        let (names, values) = rows.next().zip(rows.next()).context("the kernel shows no TCP counters")?;
        let (_, value) = names
            .zip(values)
            .find(|(name, _)| *name == "RetransSegs")
            .ok_or_else(|| anyhow!("the kernel has no counter `RetransSegs`"))?;
        Ok(value.parse()?)
    }
}

fn ip(net: u8, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 20, net, last)
}

fn host(name: &'static str, ip: Ipv4Addr) -> Result<Host> {
    let [a, b, c, d] = ip.octets();
    // 0x02: locally administered (IEEE 802-2014 8.2.2); the rest is the IPv4 address, for whoever reads a capture.
    Ok(Host { name, namespace: Namespace::new(name)?, interface: "eth0", mac: Mac([2, 0, a, b, c, d]), ip })
}

fn connect(host: &Host, other: &End<'_>) -> Result<()> {
    let end = End { namespace: &host.namespace, interface: host.interface, mac: host.mac, mtu: other.mtu };
    link::veth(&end, other)?;
    link::address(&host.namespace, host.interface, host.ip, PREFIX)
}

fn port(switch: &Namespace, interface: &str, number: u8, other: &End<'_>) -> Result<()> {
    let end = End { namespace: switch, interface, mac: Mac([2, 0, 0, 0, 0, number]), mtu: other.mtu };
    link::veth(&end, other)?;
    link::enslave(switch, interface, SWITCH)
}
