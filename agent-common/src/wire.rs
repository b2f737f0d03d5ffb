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
}

/// IP protocol numbers (IANA).
pub mod protocol {
    /// Internet Control Message Protocol (RFC 792).
    pub const ICMP: u8 = 1;
    /// Transmission Control Protocol (RFC 9293).
    pub const TCP: u8 = 6;
    /// User Datagram Protocol (RFC 768).
    pub const UDP: u8 = 17;
    /// Internet Control Message Protocol for IPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
}

/// The first port that is not a System Port (RFC 6335 6). Below are servers; a client uses none of them, unless
/// both ends use the same one.
pub const SYSTEM_PORTS_END: u16 = 1024;

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

/// ICMP types (RFC 792, RFC 950).
pub mod icmp {
    /// The request that a reply of type `reply` answers.
    #[inline(always)]
    pub const fn request_of(reply: u8) -> Option<u8> {
        match reply {
            0 => Some(8),   // echo
            14 => Some(13), // timestamp
            16 => Some(15), // information
            18 => Some(17), // address mask (RFC 950)
            _ => None,
        }
    }

    /// Whether the message asks and expects a reply that carries the same identifier.
    #[inline(always)]
    pub const fn is_request(kind: u8) -> bool {
        matches!(kind, 8 | 13 | 15 | 17)
    }

    /// Whether the message quotes the packet it complains about: unreachable, quench, redirect,
    /// time exceeded, parameter problem. Redirect is left out: it rewrites routes, and nobody needs it.
    #[inline(always)]
    pub const fn is_error(kind: u8) -> bool {
        matches!(kind, 3 | 4 | 11 | 12)
    }
}

/// UDP ports of the DHCP client and server (RFC 2131 4.1).
pub mod dhcp {
    /// Server and relay.
    pub const SERVER: u16 = 67;
    /// Client.
    pub const CLIENT: u16 = 68;
}

/// Hardware addresses as numbers: the six octets are the low 48 bits, first octet highest.
pub mod mac {
    /// Broadcast.
    pub const BROADCAST: u64 = 0xffff_ffff_ffff;
    /// The group bit (IEEE 802-2014 8.2.2): the least significant bit of the first octet.
    pub const GROUP: u64 = 0x0100_0000_0000;

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
