//! A gateway between two sides, twice alike: one has a judge that is asked, the other another.
//!
//! In: frames for either side. Out: which of them came out at the other, told by marks. The gateway is a router with
//! fixed neighbours, so nothing but what is asked is on the wires; nobody lives behind it, so nobody answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use bulkhead_tests::lab::{
    Mac, Namespace, Room, Seen, Sniffer,
    link::{self, End},
    wire::RawSender,
};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::{neighbour::NeighbourState, route::RouteFlags},
};

use super::frames;

/// A frame that is judged within this time, or the plant is broken.
const SOON: Duration = Duration::from_secs(5);

/// Where a host is: the west is the plant, the east everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    West,
    East,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::West, Self::East];

    /// 10.1.0.0/16 and fd00:1::/32 are in the west.
    pub(crate) fn of(address: IpAddr) -> Self {
        let west = match address {
            IpAddr::V4(address) => address.octets()[..2] == [10, 1],
            IpAddr::V6(address) => address.segments()[..2] == [0xfd00, 1],
        };
        if west { Self::West } else { Self::East }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::West => Self::East,
            Self::East => Self::West,
        }
    }

    /// The gateway's interface, and the hosts'.
    pub(crate) fn interface(self) -> &'static str {
        match self {
            Self::West => "west",
            Self::East => "east",
        }
    }

    /// The hardware address of the gateway there.
    pub(crate) fn gateway_mac(self) -> [u8; 6] {
        [2, 0, 0, 0, 0xaa, u8::from(self == Self::East)]
    }

    /// The hardware address of the router there, which every host without one of its own sends from.
    pub(crate) fn router_mac(self) -> [u8; 6] {
        [2, 0, 0, 0, 0xbb, u8::from(self == Self::East)]
    }
}

/// Which packet and fragment, see [`frames::mark`].
pub(crate) type Marks = BTreeSet<(u16, u16)>;

/// The mark of the packet that says that everything sent before it was judged.
pub(crate) const LAST: u16 = u16::MAX;

struct Wire {
    sender: RawSender,
    /// Counts [`LAST`] alone.
    sniffer: Sniffer<()>,
    seen: Arc<Mutex<Marks>>,
}

/// One gateway with its two sides.
pub(crate) struct Plant {
    pub(crate) gateway: Namespace,
    pub(crate) room: Room,
    wires: [Wire; 2],
    _hosts: Namespace,
}

impl Plant {
    pub(crate) fn build(name: &str) -> Result<Self> {
        let (gateway, room) = Namespace::with_room(name)?;
        let hosts = Namespace::new(&format!("{name}-hosts"))?;
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            link::set(&gateway, key, "1")?;
        }
        link::set(&gateway, "net/ipv6/conf/all/disable_ipv6", "0")?;
        link::set(&gateway, "net/ipv6/conf/default/disable_ipv6", "0")?;
        for side in Side::BOTH {
            let (interface, mtu) = (side.interface(), 1500);
            link::veth(
                &End { namespace: &gateway, interface, mac: Mac(side.gateway_mac()), mtu },
                &End { namespace: &hosts, interface, mac: Mac(side.router_mac()), mtu },
            )?;
            route(&gateway, side)?;
        }
        let wires = [Wire::open(&hosts, Side::West)?, Wire::open(&hosts, Side::East)?];
        Ok(Self { gateway, room, wires, _hosts: hosts })
    }

    fn wire(&self, side: Side) -> &Wire {
        match side {
            Side::West => &self.wires[0],
            Side::East => &self.wires[1],
        }
    }

    /// Sends frames in from one side, and `last`, which must come out: then everything before it was judged.
    pub(crate) fn send(&self, from: Side, frames: &[Vec<u8>], last: &[u8]) -> Result<()> {
        let out = self.wire(from.other());
        let goal = out.sniffer.count(&()) + 1;
        for frame in frames.iter().map(Vec::as_slice).chain([last]) {
            self.wire(from).sender.send(frame)?;
        }
        let arrived = |counts: &BTreeMap<(), u64>| counts.get(&()) >= Some(&goal);
        out.sniffer.wait_until("the packet that is always allowed", SOON, arrived).map(drop)
    }

    /// Everything that came out since the last call.
    pub(crate) fn take(&self) -> Marks {
        let mut all = Marks::new();
        for wire in &self.wires {
            all.append(&mut wire.seen.lock().unwrap_or_else(PoisonError::into_inner));
        }
        all
    }
}

impl Wire {
    fn open(hosts: &Namespace, side: Side) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Marks::new()));
        let sniffer = Sniffer::start(hosts, side.interface(), {
            let seen = Arc::clone(&seen);
            move |frame: &Seen| {
                if frame.outgoing {
                    return None;
                }
                let (ethertype, packet) = frame.payload()?;
                let mark = frames::mark(ethertype, packet)?;
                if mark.0 == LAST {
                    return Some(());
                }
                // The gateway's own neighbour discovery has no flow label.
                if mark.0 != 0 {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).insert(mark);
                }
                None
            }
        })?;
        Ok(Self { sender: RawSender::new(hosts, side.interface())?, sniffer, seen })
    }
}

/// Everything of a side is behind its router, whose hardware address is known for good.
fn route(gateway: &Namespace, side: Side) -> Result<()> {
    let index = link::index(gateway, side.interface())?;
    let (v4, v6) = match side {
        Side::West => ((Ipv4Addr::new(10, 1, 0, 0), 16), (Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0), 32)),
        Side::East => ((Ipv4Addr::UNSPECIFIED, 0), (Ipv6Addr::UNSPECIFIED, 0)),
    };
    let hop = u8::from(side == Side::East) + 1;
    let hop_v4 = Ipv4Addr::new(192, 0, 2, hop);
    let hop_v6 = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, u16::from(hop));
    let mac = side.router_mac().to_vec();
    link::netlink(gateway, async move |handle| {
        for hop in [IpAddr::from(hop_v4), IpAddr::from(hop_v6)] {
            let neighbour = handle.neighbours().add(index, hop).state(NeighbourState::Permanent);
            neighbour.link_layer_address(&mac).replace().execute().await?;
        }
        let builder = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index);
        let mut message = builder.destination_prefix(v4.0, v4.1).gateway(hop_v4).build();
        message.header.flags |= RouteFlags::Onlink;
        handle.route().add(message).execute().await?;
        let builder = RouteMessageBuilder::<Ipv6Addr>::new().output_interface(index);
        let message = builder.destination_prefix(v6.0, v6.1).gateway(hop_v6).build();
        handle.route().add(message).execute().await
    })
    .with_context(|| format!("failed to route to `{}`", side.interface()))
}

/// Keeps the calling thread on one processor: each has a queue of its own for what was received, and a packet in one
/// could overtake another in the next.
pub(crate) fn stay_on_one_processor() {
    let me = Pid::from_raw(0);
    let allowed = sched_getaffinity(me).expect("the kernel says where a thread may run");
    let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(first.expect("it runs somewhere")).expect("the number came from a set");
    sched_setaffinity(me, &one).expect("a thread may be bound to where it may run");
}
