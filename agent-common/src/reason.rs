//! Why a packet was allowed or denied: the words that appear in counters, records, answers and tests.
//!
//! Codes are stable: they are indices of kernel counters and fields of kernel events. Grants take
//! 1..=31, denials 32..=127; a new one is appended, never inserted.

/// Number of counters a device has: one for each code that seven bits can hold.
pub const CODES: u32 = 128;

macro_rules! codes {
    ($(#[$outer:meta])* $name:ident { $($variant:ident = $code:literal, $word:literal, $text:literal;)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $(#[doc = $text] $variant = $code,)* }

        impl $name {
            /// Every value, in the order of the codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The number in kernel counters and events.
            #[inline(always)]
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The value behind a kernel number.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            /// The word in records, answers and tests.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// One sentence for a person.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

codes! {
    /// Why a packet was allowed.
    Grant {
        Management = 1, "management", "traffic to the gateway from a pinned management peer";
        Arp = 2, "arp", "ARP, part of the infrastructure set";
        Dhcp = 3, "dhcp", "DHCP client traffic, part of the infrastructure set";
        NeighborDiscovery = 4, "nd", "IPv6 neighbour discovery, part of the infrastructure set";
        Flow = 5, "flow", "part of a flow that a rule allowed";
        Rule = 6, "rule", "first packet of a flow that a rule allows";
        Adopted = 7, "adopted", "part of a flow older than the agent, which a rule allows";
        Related = 8, "related", "ICMP error about an allowed flow";
        GatewayReply = 9, "gateway-reply", "answer to the gateway's own request, which a rule allows";
        Remediation = 10, "remediation", "talk of a quarantined device with a remediation peer";
        Unmanaged = 11, "unmanaged-pass", "neither end is a managed device and the segment passes such traffic";
        Membership = 12, "membership", "IGMP or MLD, part of the infrastructure set";
        Lldp = 13, "lldp", "LLDP, part of the infrastructure set";
        Stp = 14, "stp", "spanning tree, part of the infrastructure set";
        Redundancy = 15, "redundancy", "MRP, PRP/HSR supervision or LACP, part of the infrastructure set";
        Eapol = 16, "eapol", "port authentication (EAPOL), part of the infrastructure set";
        Ptp = 17, "ptp", "precision time to its groups, part of the infrastructure set";
        Receiver = 18, "receiver", "what a receiver of the agent's records answers";
    }
}

codes! {
    /// Why a packet was denied.
    Reason {
        Truncated = 32, "truncated", "the frame ends inside a header";
        VlanDepth = 33, "vlan-depth", "more than two VLAN tags";
        Ipv4Header = 34, "ipv4-header", "IPv4 version or header length is wrong (RFC 791 3.1)";
        Ipv4Length = 35, "ipv4-length", "IPv4 total length contradicts the frame (RFC 791 3.1)";
        Ipv4Options = 36, "ipv4-options", "IPv4 options, which can reroute a packet (RFC 7126)";
        Fragment = 37, "fragment", "a fragment, and the segment drops all of them";
        TcpHeader = 38, "tcp-header", "TCP data offset contradicts the segment (RFC 9293 3.1)";
        TcpFlags = 39, "tcp-flags", "a combination of TCP flags that no stack sends";
        UdpLength = 40, "udp-length", "UDP length contradicts the packet (RFC 768)";
        IcmpHeader = 41, "icmp-header", "ICMP message too short (RFC 792, RFC 4443)";
        ArpMalformed = 42, "arp-malformed", "not an Ethernet/IPv4 ARP request or reply (RFC 826)";
        Ipv6Header = 43, "ipv6-header", "IPv6 version or payload length is wrong (RFC 8200 3)";
        MartianSource = 44, "martian-source", "a source address no host may use (RFC 1122 3.2.1.3)";
        SourceAddressMismatch = 45, "source-address-mismatch", "a device's MAC sends from an address that is not the device's";
        SourceMacMismatch = 46, "source-mac-mismatch", "a device's or the gateway's address is used by a MAC that is not its own";
        ArpSenderMismatch = 47, "arp-sender-mismatch", "ARP claims an address for a MAC that does not own it";
        DestinationMismatch = 48, "destination-mismatch", "sent to a device's MAC but not to its address";
        WrongVlan = 49, "wrong-vlan", "the device is seen on a VLAN that is not its own";
        Quarantined = 50, "quarantined", "one end is quarantined and the other is no remediation peer";
        NoRule = 51, "no-rule", "both ends are known, and no rule lets the one talk to the other";
        UnknownPeer = 52, "unknown-peer", "one end is neither a device nor in a network of the policy";
        ServiceNotAllowed = 53, "service-not-allowed", "the two may talk, but not over this service";
        WrongDirection = 54, "wrong-direction", "a rule lets the other end start the conversation, not this one";
        NoFlow = 55, "no-flow", "looks like a reply, but there is no flow it could belong to";
        IcmpErrorUnrelated = 56, "icmp-error-unrelated", "ICMP error about a flow that is not known";
        IpProtocol = 57, "ip-protocol", "an IP protocol that no rule names";
        Ethertype = 59, "ethertype", "neither IP nor ARP, and no rule allows its EtherType between the two";
        InfrastructureOff = 60, "infrastructure-off", "infrastructure traffic that the configuration switched off on this segment";
        Unmanaged = 61, "unmanaged", "neither end is a managed device";
        NoPolicy = 62, "no-policy", "no policy is loaded";
        Ipv6Extension = 63, "ipv6-extension", "IPv6 extension headers out of order, too many or too long (RFC 8200 4.1)";
        Ipv6Routing = 64, "ipv6-routing", "an IPv6 routing header that names further stops (RFC 5095)";
        MartianDestination = 65, "martian-destination", "a destination address no host may have";
        FragmentHeader = 66, "fragment-header", "a fragment of impossible offset or length (RFC 791 3.2, RFC 8200 4.5)";
        FragmentTiny = 67, "fragment-tiny", "a first fragment that does not hold the whole header (RFC 1858, RFC 7112)";
        FragmentOrphan = 68, "fragment-orphan", "a fragment whose first one was not seen or not allowed";
        FragmentOverlap = 69, "fragment-overlap", "a fragment that overlaps another or leaves a second hole (RFC 5722)";
        NdMalformed = 70, "nd-malformed", "neighbour discovery that receivers must discard (RFC 4861 6.1, 7.1)";
        NdMismatch = 71, "nd-mismatch", "neighbour discovery claims an address for a MAC that does not own it";
        AddressConflict = 72, "address-conflict", "a second MAC claims an address of a device or of the gateway";
        RogueRouter = 73, "rogue-router", "a router advertisement where no router may be (RFC 6105)";
        RogueDhcp = 74, "rogue-dhcp", "a DHCP answer from where no DHCP server may be";
        Redirect = 75, "redirect", "an ICMP redirect, which rewrites routes (RFC 792, RFC 4861 8)";
        WrongSegment = 76, "wrong-segment", "the device is seen on a segment that is not its own";
        FlowRate = 77, "flow-rate", "the device takes part in more new flows a second than the configuration allows";
        SctpHeader = 78, "sctp-header", "SCTP packet shorter than its common header (RFC 9260 3.1)";
        DhcpMismatch = 79, "dhcp-mismatch", "a DHCP request in the name of another hardware address";
        LlcLength = 80, "llc-length", "an IEEE 802.3 length that the frame does not have";
        OutsideSchedule = 81, "outside-schedule", "a rule would allow it, but it has expired or its window is closed";
    }
}
