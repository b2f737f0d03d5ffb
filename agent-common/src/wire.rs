//! Header facts of the protocols: numbers and masks, each with its source.

/// EtherTypes (IEEE 802 numbers).
pub mod ethertype {
    /// Internet Protocol version 4 (RFC 894).
    pub const IPV4: u16 = 0x0800;
    /// Address Resolution Protocol (RFC 826).
    pub const ARP: u16 = 0x0806;
    /// Internet Protocol version 6 (RFC 2464).
    pub const IPV6: u16 = 0x86dd;
    /// Customer VLAN tag (IEEE 802.1Q-2018 9.6).
    pub const VLAN: u16 = 0x8100;
    /// Service VLAN tag (IEEE 802.1Q-2018 9.6).
    pub const QINQ: u16 = 0x88a8;
    /// Stacked VLAN tag before 802.1ad, still sent by some switches.
    pub const QINQ_LEGACY: u16 = 0x9100;
    /// The first value that is a type; below it is the length of an IEEE 802.3 frame (IEEE 802.3-2018 3.2.6).
    pub const FIRST: u16 = 0x0600;
    /// Slow protocols, among them LACP (IEEE 802.3-2018 57A).
    pub const SLOW: u16 = 0x8809;
    /// EAP over LAN (IEEE 802.1X-2020 11.1.4).
    pub const EAPOL: u16 = 0x888e;
    /// Link Layer Discovery Protocol (IEEE 802.1AB-2016 7.3).
    pub const LLDP: u16 = 0x88cc;
    /// Media Redundancy Protocol (IEC 62439-2).
    pub const MRP: u16 = 0x88e3;
    /// Precision Time Protocol over Ethernet (IEEE 1588-2019 annex E).
    pub const PTP: u16 = 0x88f7;
    /// Supervision frames of PRP and HSR (IEC 62439-3).
    pub const SUPERVISION: u16 = 0x88fb;
}

/// IEEE 802.2 logical link control, behind a length instead of an EtherType.
pub mod llc {
    /// Destination service access point of the spanning tree protocols (IEEE 802.1Q-2018 14).
    pub const STP: u16 = 0x42;
    /// A SNAP header follows (IEEE 802-2014 9.2).
    pub const SNAP: u16 = 0xaa;
}

/// Numbers that stand in the tables where IP has its protocol. IANA keeps 253-255 from being assigned, and no IP
/// packet with them reaches the tables.
pub mod pseudo {
    /// The "port" is an EtherType.
    pub const ETHERTYPE: u8 = 255;
    /// The "port" is a destination service access point of LLC.
    pub const LLC: u8 = 254;
}

/// IP protocol numbers (IANA).
pub mod protocol {
    /// Hop-by-hop options of IPv6 (RFC 8200 4.3).
    pub const HOP_BY_HOP: u8 = 0;
    /// Internet Control Message Protocol (RFC 792).
    pub const ICMP: u8 = 1;
    /// Internet Group Management Protocol (RFC 3376).
    pub const IGMP: u8 = 2;
    /// Transmission Control Protocol (RFC 9293).
    pub const TCP: u8 = 6;
    /// User Datagram Protocol (RFC 768).
    pub const UDP: u8 = 17;
    /// Routing header of IPv6 (RFC 8200 4.4).
    pub const ROUTING: u8 = 43;
    /// Fragment header of IPv6 (RFC 8200 4.5).
    pub const FRAGMENT: u8 = 44;
    /// Internet Control Message Protocol for IPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// Destination options of IPv6 (RFC 8200 4.6).
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// Stream Control Transmission Protocol (RFC 9260).
    pub const SCTP: u8 = 132;
    /// The first of the numbers that the tables use otherwise, see [`super::pseudo`].
    pub const PSEUDO: u8 = 253;

    /// Whether it is ICMP of either family, whose messages have types and codes where others have ports.
    #[inline(always)]
    pub const fn is_icmp(protocol: u8) -> bool {
        matches!(protocol, ICMP | ICMPV6)
    }
}

/// The first port that Linux gives to a client that asks for none (`net.ipv4.ip_local_port_range`). Below are servers,
/// and clients whose both ends use the same port.
pub const EPHEMERAL_PORTS: u16 = 32_768;

/// TCP control bits (RFC 9293 3.1).
pub mod tcp {
    /// No more data from sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgment field is significant.
    pub const ACK: u8 = 0x10;
    /// Flags that have a meaning for the state of a connection.
    pub const CONTROL: u8 = FIN | SYN | RST | ACK;
}

/// Types of ICMP (RFC 792, RFC 950) and ICMPv6 (RFC 4443), and what they mean for a conversation.
pub mod icmp {
    use super::protocol;

    /// ICMP redirect: it rewrites routes, and nobody needs it.
    pub const REDIRECT: u8 = 5;

    /// The request that a reply of type `reply` answers.
    #[inline(always)]
    pub const fn request_of(protocol: u8, reply: u8) -> Option<u8> {
        match (protocol, reply) {
            (protocol::ICMP, 0) => Some(8),       // echo
            (protocol::ICMP, 14) => Some(13),     // timestamp
            (protocol::ICMP, 16) => Some(15),     // information
            (protocol::ICMP, 18) => Some(17),     // address mask (RFC 950)
            (protocol::ICMPV6, 129) => Some(128), // echo
            _ => None,
        }
    }

    /// Whether the message asks and expects a reply that carries the same identifier.
    #[inline(always)]
    pub const fn is_request(protocol: u8, kind: u8) -> bool {
        matches!((protocol, kind), (protocol::ICMP, 8 | 13 | 15 | 17) | (protocol::ICMPV6, 128))
    }

    /// Whether the message quotes the packet it complains about: unreachable, quench, time exceeded, parameter
    /// problem; of ICMPv6 also packet too big. Redirect is left out.
    #[inline(always)]
    pub const fn is_error(protocol: u8, kind: u8) -> bool {
        matches!((protocol, kind), (protocol::ICMP, 3 | 4 | 11 | 12) | (protocol::ICMPV6, 1..=4))
    }

    /// Whether it is Multicast Listener Discovery: query, report, done (RFC 2710), report of version 2 (RFC 3810).
    #[inline(always)]
    pub const fn is_membership(kind: u8) -> bool {
        matches!(kind, 130..=132 | 143)
    }
}

/// Types of neighbour discovery messages (RFC 4861 4) and of their options (RFC 4861 4.6).
pub mod neighbor {
    /// Router solicitation.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbour solicitation.
    pub const SOLICITATION: u8 = 135;
    /// Neighbour advertisement.
    pub const ADVERTISEMENT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;
    /// The hop limit that proves a message is from the link.
    pub const HOP_LIMIT: u8 = 255;
    /// Option: link-layer address of the sender.
    pub const SOURCE_LINK: u8 = 1;
    /// Option: link-layer address of the target.
    pub const TARGET_LINK: u8 = 2;
}

/// UDP ports of Precision Time Protocol messages (IEEE 1588-2019 annex C).
pub mod ptp {
    /// Messages whose time of arrival matters.
    pub const EVENT: u16 = 319;
    /// The others.
    pub const GENERAL: u16 = 320;
}

/// Ports of DNS (RFC 1035 4.2). Multicast DNS has others: nobody's resolver answers there.
pub mod dns {
    /// Server.
    pub const SERVER: u16 = 53;
}

/// UDP ports of the DHCP client and server (RFC 2131 4.1).
pub mod dhcp {
    /// Server and relay.
    pub const SERVER: u16 = 67;
    /// Client.
    pub const CLIENT: u16 = 68;
    /// Server and relay of DHCPv6 (RFC 8415 7.2).
    pub const SERVER_V6: u16 = 547;
    /// Client of DHCPv6.
    pub const CLIENT_V6: u16 = 546;
}

/// Hardware addresses as numbers: the six octets are the low 48 bits, first octet highest.
pub mod mac {
    /// Broadcast.
    pub const BROADCAST: u64 = 0xffff_ffff_ffff;
    /// The group bit (IEEE 802-2014 8.2.2): the least significant bit of the first octet.
    pub const GROUP: u64 = 0x0100_0000_0000;
    /// Nearest bridge, also all of a bridge's own protocols: spanning tree (IEEE 802.1Q-2018 table 8-1).
    pub const BRIDGE: u64 = 0x0180_c200_0000;
    /// Slow protocols (IEEE 802.3-2018 57A.3).
    pub const SLOW: u64 = 0x0180_c200_0002;
    /// Nearest non-TPMR bridge: LLDP and port authentication.
    pub const NEAREST_NON_TPMR: u64 = 0x0180_c200_0003;
    /// Provider bridges: spanning tree (IEEE 802.1Q-2018 table 8-2).
    pub const PROVIDER_BRIDGE: u64 = 0x0180_c200_0008;
    /// Nearest bridge: LLDP, and time that no bridge may pass on.
    pub const NEAREST_BRIDGE: u64 = 0x0180_c200_000e;
    /// Time that bridges pass on (IEEE 1588-2019 annex E).
    pub const PTP: u64 = 0x011b_1900_0000;
    /// Spanning tree for each VLAN, as one vendor's switches speak it.
    pub const PER_VLAN_STP: u64 = 0x0100_0ccc_cccd;
    /// Ring redundancy (IEC 62439-2): the last octet varies.
    pub const MRP: u64 = 0x0115_4e00_0000;
    /// Supervision of PRP and HSR (IEC 62439-3): the last octet varies.
    pub const SUPERVISION: u64 = 0x0115_4e00_0100;

    /// The number behind six octets.
    #[inline(always)]
    pub const fn from_octets(o: [u8; 6]) -> u64 {
        u64::from_be_bytes([0, 0, o[0], o[1], o[2], o[3], o[4], o[5]])
    }

    /// The six octets behind a number.
    #[inline(always)]
    pub const fn octets(mac: u64) -> [u8; 6] {
        let b = mac.to_be_bytes();
        [b[2], b[3], b[4], b[5], b[6], b[7]]
    }
}
