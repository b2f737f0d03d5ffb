//! What is known of a device, and how.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::Mac;

/// Whom facts are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Of {
    /// Who sends from this hardware address.
    Mac(Mac),
    /// Who sends from this address, from behind a router.
    Address(IpAddr),
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl FromStr for Of {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mac = text.parse().map(Self::Mac);
        mac.or_else(|_| text.parse().map(Self::Address))
            .map_err(|_| "write a MAC address, as in `00:1d:9c:c7:b0:70`, or an IP address".to_owned())
    }
}

impl TryFrom<String> for Of {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Of> for String {
    fn from(of: Of) -> Self {
        of.to_string()
    }
}

/// What a fact says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An address it uses.
    Address,
    /// What it is called.
    Name,
    /// Who made it, as it says itself.
    Vendor,
    /// Which product it is.
    Model,
    /// The version of what runs on it.
    Firmware,
    /// The number of this one piece.
    Serial,
    /// What a protocol calls it: numbers that mean something to that protocol.
    Identifier,
    /// What it is for, in a field that exists to say so.
    Role,
    /// Free text about itself.
    Description,
    /// What it announces to offer.
    Service,
    /// A port on which it accepted a connection.
    Serves,
    /// What it asks of a DHCP server, in its order: systems differ in it.
    Asks,
}

impl Kind {
    /// Whether another value in the place of one is worth an event.
    pub(super) fn is_told(self) -> bool {
        match self {
            Self::Name | Self::Vendor | Self::Model | Self::Firmware | Self::Serial | Self::Role => true,
            Self::Address
            | Self::Identifier
            | Self::Description
            | Self::Service
            | Self::Serves
            | Self::Asks => false,
        }
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Name => "name",
            Self::Vendor => "vendor",
            Self::Model => "model",
            Self::Firmware => "firmware",
            Self::Serial => "serial",
            Self::Identifier => "identifier",
            Self::Role => "role",
            Self::Description => "description",
            Self::Service => "service",
            Self::Serves => "serves",
            Self::Asks => "asks",
        }
    }
}

/// Which protocol said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// It announced it with ARP (RFC 826).
    Arp,
    /// It announced it with neighbour discovery (RFC 4861).
    Nd,
    /// What it asked a DHCP server (RFC 2132).
    Dhcp,
    /// LLDP (IEEE 802.1AB).
    Lldp,
    /// PROFINET DCP (IEC 61158-6-10).
    Profinet,
    /// It was the source of IP packets.
    Ip,
    /// It accepted a TCP connection.
    Tcp,
    /// Multicast DNS (RFC 6762).
    Mdns,
    /// SSDP of UPnP.
    Ssdp,
    /// Read device identification of Modbus (function 43/14).
    Modbus,
    /// ListIdentity of EtherNet/IP.
    EtherNetIp,
    /// I-Am and ReadProperty of BACnet (ASHRAE 135).
    Bacnet,
    /// System status lists of S7.
    S7,
}

impl Evidence {
    /// Whether its frames are never passed on by a router, so that their sender is on this link.
    pub(super) fn is_of_the_link(self) -> bool {
        match self {
            Self::Arp | Self::Nd | Self::Dhcp | Self::Lldp | Self::Profinet => true,
            Self::Ip
            | Self::Tcp
            | Self::Mdns
            | Self::Ssdp
            | Self::Modbus
            | Self::EtherNetIp
            | Self::Bacnet
            | Self::S7 => false,
        }
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arp => "arp",
            Self::Nd => "nd",
            Self::Dhcp => "dhcp",
            Self::Lldp => "lldp",
            Self::Profinet => "profinet",
            Self::Ip => "ip",
            Self::Tcp => "tcp",
            Self::Mdns => "mdns",
            Self::Ssdp => "ssdp",
            Self::Modbus => "modbus",
            Self::EtherNetIp => "ether-net-ip",
            Self::Bacnet => "bacnet",
            Self::S7 => "s7",
        }
    }
}

/// What one frame says of its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// About what.
    pub kind: Kind,
    /// Printable, one line, at most [`MOST_CHARS`](super::MOST_CHARS) characters.
    pub value: String,
    /// By which protocol.
    pub evidence: Evidence,
}

impl Claim {
    pub(super) fn new(kind: Kind, value: impl Into<String>, evidence: Evidence) -> Self {
        Self { kind, value: value.into(), evidence }
    }

    /// An address, unless it is one that nobody has of its own.
    pub(super) fn address(address: IpAddr, evidence: Evidence) -> Option<Self> {
        is_of_a_host(address).then(|| Self::new(Kind::Address, address.to_string(), evidence))
    }
}

/// Whether an address can be a host's own: neither nobody's, nor a group's, nor everybody's, nor that of a host to itself.
pub(super) fn is_of_a_host(address: IpAddr) -> bool {
    !address.is_unspecified()
        && !address.is_multicast()
        && !address.is_loopback()
        && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// What is counted of an address that somebody borrows.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

/// A claim that was made, once or often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// About what.
    pub kind: Kind,
    /// What it says.
    pub value: String,
    /// By which protocol.
    pub evidence: Evidence,
    /// From which address it was said; none where the protocol needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// When it was first said.
    pub first: Timestamp,
    /// When it was last said.
    pub last: Timestamp,
    /// In how many frames.
    pub count: u64,
}
