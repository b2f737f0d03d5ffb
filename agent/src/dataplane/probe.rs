//! What this network namespace looks like: interfaces, the XDP programs on them, our own addresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        InfoData, InfoPortKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp,
        XdpAttached,
    },
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::{AttachMode, DataplaneError};

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its index in this network namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Hardware address; empty for some virtual ones.
    pub mac: Vec<u8>,
    /// Largest payload of a frame, bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Its neighbour is there; unknown, and so false, while it is down.
    pub carrier: bool,
    /// Receives frames for every hardware address.
    pub promiscuous: bool,
    /// The index of the bond it is a port of.
    pub bond: Option<u32>,
    /// The index of the bridge, bond or other interface it is a port of.
    pub controller: Option<u32>,
    /// The VLAN it is, and the index of the interface whose VLAN that is.
    pub vlan: Option<(u32, u16)>,
    /// The XDP program that runs on it.
    pub xdp: Option<Xdp>,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xdp {
    /// Where in the stack it runs.
    pub mode: AttachMode,
    /// The kernel's id of the program.
    pub program: u32,
}

/// All interfaces, in the kernel's order.
///
/// # Errors
/// [`DataplaneError::Netlink`] when the kernel does not answer as expected.
pub fn interfaces() -> Result<Vec<Interface>, DataplaneError> {
    let fail = |what: String| DataplaneError::Netlink(what);
    let mut socket = Socket::new(NETLINK_ROUTE).map_err(|e| fail(e.to_string()))?;
    socket.bind_auto().map_err(|e| fail(e.to_string()))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(request));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).map_err(|e| fail(e.to_string()))?;
    let mut found = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full().map_err(|e| fail(e.to_string()))?;
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let message =
                NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(|e| fail(e.to_string()))?;
            // Messages are padded to four bytes (netlink(7), NLMSG_ALIGN).
            let length = (message.header.length as usize).next_multiple_of(4).min(rest.len());
            rest = &rest[length.max(1)..];
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(found),
                NetlinkPayload::Error(e) => return Err(fail(e.to_string())),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                    found.push(interface(&link))
                }
                NetlinkPayload::InnerMessage(_) | NetlinkPayload::Noop | NetlinkPayload::Overrun(_) => {}
                // The library's enum grows; what it adds is not part of a link dump.
                _ => {}
            }
        }
    }
}

fn interface(link: &LinkMessage) -> Interface {
    let flags = link.header.flags;
    let mut interface = Interface {
        index: link.header.index,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        promiscuous: flags.contains(LinkFlags::Promisc),
        ..Interface::default()
    };
    let (mut in_bond, mut below, mut vlan) = (false, None, None);
    for attribute in &link.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            interface.name.clone_from(name);
        } else if let LinkAttribute::Address(mac) = attribute {
            interface.mac.clone_from(mac);
        } else if let LinkAttribute::Mtu(mtu) = attribute {
            interface.mtu = *mtu;
        } else if let LinkAttribute::Xdp(parts) = attribute {
            interface.xdp = xdp(parts);
        } else if let LinkAttribute::Controller(index) = attribute {
            interface.controller = Some(*index);
        } else if let LinkAttribute::Link(index) = attribute {
            below = Some(*index);
        } else if let LinkAttribute::LinkInfo(parts) = attribute {
            in_bond = parts.iter().any(|part| matches!(part, LinkInfo::PortKind(InfoPortKind::Bond)));
            vlan = parts.iter().find_map(vlan_id);
        }
    }
    interface.bond = interface.controller.filter(|_| in_bond);
    interface.vlan = below.zip(vlan);
    interface
}

fn vlan_id(part: &LinkInfo) -> Option<u16> {
    let LinkInfo::Data(InfoData::Vlan(said)) = part else { return None };
    said.iter().find_map(|word| if let InfoVlan::Id(id) = word { Some(*id) } else { None })
}

fn xdp(parts: &[LinkXdp]) -> Option<Xdp> {
    let mut mode = None;
    let mut program = None;
    for part in parts {
        if let LinkXdp::Attached(attached) = part {
            mode = match attached {
                XdpAttached::Driver | XdpAttached::Hardware | XdpAttached::Multiple => {
                    Some(AttachMode::Native)
                }
                XdpAttached::SocketBuffer => Some(AttachMode::Generic),
                // The library's enum may grow; what a newer kernel says more is no mode of ours.
                XdpAttached::None | XdpAttached::Other(_) | _ => None,
            };
        } else if let LinkXdp::ProgId(id) = part {
            program = Some(*id);
        }
    }
    Some(Xdp { mode: mode?, program: program? })
}

/// The ports of an interface that is a bond, in the kernel's order; nothing for others.
pub fn ports<'a>(interface: &Interface, there: &'a [Interface]) -> Vec<&'a Interface> {
    there.iter().filter(|port| port.bond == Some(interface.index)).collect()
}

/// The name of a loaded program, up to 15 bytes of it; `None` when it has none or may not be asked for.
pub fn program_name(id: u32) -> Option<String> {
    let programs = aya::programs::loaded_programs().filter_map(Result::ok);
    let named = programs.filter(|program| program.id() == id);
    named.filter_map(|program| program.name_as_str().map(str::to_owned)).find(|name| !name.is_empty())
}

/// Whether a program's name is that of one of our entries.
pub fn is_ours(program: &str) -> bool {
    super::Entry::ALL.iter().any(|entry| entry.symbol() == program)
}

/// The gateway's own addresses, loopback included.
///
/// # Errors
/// When the kernel does not list them.
pub fn own_addresses() -> Result<BTreeSet<IpAddr>, DataplaneError> {
    Ok(addressed()?.into_keys().collect())
}

/// The gateway's own addresses, loopback included, each with the interface it belongs to.
///
/// # Errors
/// When the kernel does not list them.
pub fn addressed() -> Result<BTreeMap<IpAddr, String>, DataplaneError> {
    let list = nix::ifaddrs::getifaddrs()
        .map_err(|e| DataplaneError::System { act: "list the gateway's addresses", source: e.into() })?;
    Ok(list
        .filter_map(|entry| {
            let address = entry.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            let ip = v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))?;
            Some((ip, entry.interface_name))
        })
        .collect())
}

/// Under which addresses the gateway's networks have all their hosts at once: the last of each, and the first, which older
/// kernels take for the same (RFC 919, RFC 1122 3.2.1.3).
///
/// # Errors
/// When the kernel does not list them.
pub fn own_broadcasts() -> Result<BTreeSet<IpAddr>, DataplaneError> {
    let list = nix::ifaddrs::getifaddrs()
        .map_err(|e| DataplaneError::System { act: "list the gateway's networks", source: e.into() })?;
    let networks = list.filter_map(|entry| {
        let address = entry.address?.as_sockaddr_in()?.ip();
        ipnet::Ipv4Net::with_netmask(address, entry.netmask?.as_sockaddr_in()?.ip()).ok()
    });
    // A link between two has no such addresses (RFC 3021).
    let shared = networks.filter(|network| network.prefix_len() < 31);
    Ok(shared.flat_map(|network| [network.network(), network.broadcast()]).map(IpAddr::V4).collect())
}
