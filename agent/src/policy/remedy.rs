//! What helps against a denial. In: its reason. Out: that a rule would, or a sentence about what would instead.

use bulkhead_common::reason::Reason;

/// What helps against a denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// A rule: the packets would begin or go on with a conversation, and none is there.
    Rule,
    /// Nothing, if a rule allows the conversation: the packets belong to one that is not remembered.
    Flow,
    /// No rule, but this.
    Other(&'static str),
}

const MALFORMED: &str = "no rule allows it: no correct host sends such packets, so look at the sender, the cable and what is in between";

impl Remedy {
    /// What helps against denials for this reason.
    pub fn of(reason: Reason) -> Self {
        match reason {
            Reason::NoRule
            | Reason::UnknownPeer
            | Reason::ServiceNotAllowed
            | Reason::WrongDirection
            | Reason::IcmpErrorUnrelated
            | Reason::OutsideSchedule
            | Reason::Ethertype
            | Reason::IpProtocol => Self::Rule,
            Reason::NoFlow => Self::Flow,
            Reason::SourceAddressMismatch
            | Reason::SourceMacMismatch
            | Reason::ArpSenderMismatch
            | Reason::NdMismatch
            | Reason::AddressConflict
            | Reason::DhcpMismatch => Self::Other(
                "do not allow it before you know who it is: somebody uses an identity that is not his own, and no rule makes \
                 that right. If the device has a new network card or address, change its `mac` or `ip`",
            ),
            Reason::DestinationMismatch => Self::Other(
                "no rule allows it: the address is none of the device's. If the device has a new address, change its `ip`",
            ),
            Reason::WrongVlan => Self::Other(
                "no rule allows it: the device is where it should not be. If it was moved, change its `vlan`",
            ),
            Reason::WrongSegment => Self::Other(
                "no rule allows it: the device is where it should not be. If it was moved, change its `segment`",
            ),
            Reason::Quarantined => Self::Other(
                "no rule opens a quarantine: `bulkhead release DEVICE` ends one that was set by hand, the policy file one that it sets",
            ),
            Reason::RogueRouter => Self::Other(
                "no router may be there. If it is yours, list it in `routers` of the segment in the configuration",
            ),
            Reason::RogueDhcp => Self::Other(
                "no DHCP server may be there. If it is yours, list it in `dhcp_servers` of the segment in the configuration",
            ),
            Reason::InfrastructureOff => Self::Other(
                "the configuration switches it off: `infrastructure` of the segment says what devices there may not do without",
            ),
            Reason::FlowRate => Self::Other(
                "a rule allows it, and there were too many at once: `new_per_second` in `[flows]` of the configuration is the cap",
            ),
            Reason::Fragment => Self::Other(
                "the segment drops every fragment: `fragments = \"track\"` in the configuration judges them by their first one",
            ),
            Reason::Unmanaged => Self::Other(
                "no rule is about it: neither end is a device. Make one of them a device, or set `unmanaged` of the segment",
            ),
            Reason::NoPolicy => Self::Other("no policy was loaded: `bulkhead apply` loads one"),
            Reason::FragmentOrphan => Self::Other(
                "no rule is about it: its first fragment was not allowed, which is another record, or did not come this way",
            ),
            Reason::Redirect => Self::Other("no rule allows it: it would rewrite the routes of its receiver"),
            Reason::Truncated
            | Reason::VlanDepth
            | Reason::Ipv4Header
            | Reason::Ipv4Length
            | Reason::Ipv4Options
            | Reason::TcpHeader
            | Reason::TcpFlags
            | Reason::UdpLength
            | Reason::IcmpHeader
            | Reason::ArpMalformed
            | Reason::Ipv6Header
            | Reason::MartianSource
            | Reason::Ipv6Extension
            | Reason::Ipv6Routing
            | Reason::MartianDestination
            | Reason::FragmentHeader
            | Reason::FragmentTiny
            | Reason::FragmentOverlap
            | Reason::NdMalformed
            | Reason::SctpHeader
            | Reason::LlcLength => Self::Other(MALFORMED),
        }
    }
}
