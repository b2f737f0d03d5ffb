//! Where packets are decided: interfaces, the segments on them, and what each segment is for.
//!
//! In: nothing; these are values that [`super::parse_config`] has checked. Out: the rows and words made of them.

use std::{fmt, net::IpAddr};

use bulkhead_common::{
    address::Address,
    layout::{SegmentRow, TrustedKey},
    lookup::{infrastructure as set, segment_flag, trust},
    wire::mac,
};

use super::{Attach, Forward, Role, Unmanaged};
use crate::model::Mac;

/// One network interface on which packets are decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's name for it.
    pub name: String,
    /// What is behind it.
    pub role: Role,
    /// How the program is attached.
    pub attach: Attach,
    /// The other side, when what passes here leaves there at once, without a bridge or a route.
    pub pair: Option<Pair>,
    /// Who sends on what passes here.
    pub forward: Forward,
    /// Whether the agent may switch off what hides frames from it (rxvlan, LRO).
    pub fix_offloads: bool,
}

/// An interface's other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Its name; it names this one.
    pub peer: String,
    /// Whether a lost carrier here takes the other side down.
    pub mirror_link: bool,
}

/// A part of the network that is judged by one set of switches: an interface, or one VLAN of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its name: the interface's own, or that of `[segment.NAME]`.
    pub name: String,
    /// The interface it is on, which is configured.
    pub interface: String,
    /// The VLAN, 1 to 4094; `None` is every frame of the interface that no other segment has.
    pub vlan: Option<u16>,
    /// What happens to packets between two ends of which none is a device of the policy.
    pub unmanaged: Unmanaged,
    /// Whether the management pin is honoured here.
    pub management: bool,
    /// Whether any DHCP server and router may be here.
    pub trusted: bool,
    /// What fragments meet.
    pub fragments: Fragments,
    /// DHCP servers that may be here although the segment is not trusted. Sorted.
    pub dhcp_servers: Vec<Host>,
    /// Routers that may be here although the segment is not trusted. Sorted.
    pub routers: Vec<Host>,
    /// What is let through beside the policy.
    pub infrastructure: Infrastructure,
}

/// What a fragment of an IP packet meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Fragments {
    /// The first fragment decides for the rest.
    #[default]
    Track,
    /// It is denied.
    Drop,
}

/// A DHCP server or router, as far as it is known. A hardware address is the stronger word: on the link an address can be
/// anybody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// By its address.
    Address(IpAddr),
    /// By its hardware address.
    Mac(Mac),
}

/// Protocols that are let through beside the policy, and shown in status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Infrastructure {
    /// Address resolution (RFC 826).
    pub arp: bool,
    /// A device asking for an address (RFC 2131, RFC 9915), and the answer.
    pub dhcp_client: bool,
    /// Neighbour discovery (RFC 4861).
    pub ipv6_nd: bool,
    /// Who wants which multicast group (RFC 3376, RFC 3810).
    pub multicast_membership: bool,
    /// Link layer discovery (IEEE 802.1AB).
    pub lldp: bool,
    /// Spanning tree (IEEE 802.1Q).
    pub stp: bool,
    /// Ring and parallel redundancy: MRP (IEC 62439-2), PRP and HSR (IEC 62439-3).
    pub redundancy: bool,
    /// Port authentication (IEEE 802.1X).
    pub eapol: bool,
    /// Precision time (IEEE 1588).
    pub ptp: bool,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Mac(mac) => mac.fmt(f),
        }
    }
}

impl Infrastructure {
    /// Each protocol's word in `status`, its bit in the kernel's row, and whether it is let through.
    pub fn words(&self) -> [(&'static str, u32, bool); 9] {
        let Self { arp, dhcp_client, ipv6_nd, multicast_membership, lldp, stp, redundancy, eapol, ptp } =
            *self;
        [
            ("arp", set::ARP, arp),
            ("dhcp-client", set::DHCP, dhcp_client),
            ("ipv6-nd", set::NEIGHBOR_DISCOVERY, ipv6_nd),
            ("multicast-membership", set::MEMBERSHIP, multicast_membership),
            ("lldp", set::LLDP, lldp),
            ("stp", set::STP, stp),
            ("redundancy", set::REDUNDANCY, redundancy),
            ("eapol", set::EAPOL, eapol),
            ("ptp", set::PTP, ptp),
        ]
    }

    /// The bits of what is let through.
    pub fn bits(&self) -> u32 {
        self.words().iter().filter(|(_, _, on)| *on).map(|(_, bit, _)| bit).sum()
    }
}

impl Default for Infrastructure {
    fn default() -> Self {
        Self {
            arp: true,
            dhcp_client: true,
            ipv6_nd: true,
            multicast_membership: true,
            lldp: true,
            stp: true,
            redundancy: true,
            eapol: true,
            ptp: true,
        }
    }
}

impl Segment {
    /// What packets of this segment need to know, as segment number `id`. Its interface's counter and other side are
    /// for whoever knows them.
    pub fn row(&self, id: u16) -> SegmentRow {
        let bits = [
            (self.management, segment_flag::MANAGEMENT),
            (self.trusted, segment_flag::TRUSTED),
            (self.fragments == Fragments::Drop, segment_flag::DROP_FRAGMENTS),
        ];
        SegmentRow {
            counter: 0,
            redirect: 0,
            infrastructure: self.infrastructure.bits(),
            segment: id,
            unmanaged: self.unmanaged.code(),
            flags: bits.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum(),
        }
    }

    /// Who may be a DHCP server or a router here although not everybody may, as segment number `id`.
    pub fn trusted_hosts(&self, id: u16) -> Vec<TrustedKey> {
        let key = |address, role| TrustedKey { address, segment: u32::from(id), role };
        let of = |hosts: &[Host], by_address, by_mac| -> Vec<TrustedKey> {
            let keys = hosts.iter().map(|host| match host {
                Host::Address(ip) => key(Address::from(*ip), by_address),
                Host::Mac(m) => key(Address { high: 0, low: mac::from_octets(m.0) }, by_mac),
            });
            keys.collect()
        };
        let mut hosts = of(&self.dhcp_servers, trust::DHCP_SERVER, trust::DHCP_SERVER_MAC);
        hosts.extend(of(&self.routers, trust::ROUTER, trust::ROUTER_MAC));
        hosts
    }
}

impl Role {
    /// The word in the configuration and in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::DeviceSide => "device-side",
            Self::Uplink => "uplink",
        }
    }
}

impl Forward {
    /// The word in the configuration and in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Direct => "direct",
        }
    }
}

impl Fragments {
    /// The word in the configuration and in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Track => "track",
            Self::Drop => "drop",
        }
    }
}
