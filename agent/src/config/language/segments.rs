//! What interfaces and segments may say alike, and the protocols beside the policy.

use super::{
    FRAGMENT_WORDS, Format, INTERFACE_NAME, Key, Kind, Table, UNMANAGED_WORDS, integer, many, one, table,
    word,
};

/// A server or a router.
static HOST: Format = Format {
    name: "host",
    doc: "an IP address or a MAC address",
    pattern: "^[0-9A-Fa-f:.-]+$",
    words: &[],
    number: None,
};

table! {
    /// What a segment lets through.
    pub(super) static SWITCHES = Table::of("Segments");
    /// Traffic of which neither end is a device of the policy.
    "unmanaged": word(UNMANAGED_WORDS).default(r#""monitor""#);
    /// Whether the management pin holds here; left out, on uplinks only.
    "management": Key::of(Kind::Boolean).example("false");
    /// Whether any DHCP server and any router may be here; left out, on uplinks only.
    "trusted": Key::of(Kind::Boolean).example("false");
    /// What later fragments of a packet meet: `track` decides them as the first one, `drop` denies them.
    "fragments": word(FRAGMENT_WORDS).default(r#""track""#);
    /// DHCP servers that may be here although the segment is not trusted.
    "dhcp_servers": many(&HOST).default("[]");
    /// Routers that may be here although the segment is not trusted.
    "routers": many(&HOST).default("[]");
    /// What differs here from `[infrastructure]`.
    "infrastructure": Key::of(Kind::Table(&INFRASTRUCTURE));
}

table! {
    /// One VLAN of an interface; what it does not say is as on the interface.
    pub(in crate::config) static SEGMENT = Table::of("[segment.NAME]")
        .with(&[&SWITCHES])
        .example(r#"
[segment.line-3]
interface = "eth1"
vlan      = 10
"#);
    /// The interface it is on.
    "interface": one(&INTERFACE_NAME).required().example(r#""eth1""#);
    /// Its VLAN.
    "vlan": integer(1, 4094).required().example("10");
}

table! {
    /// Protocols a network does not live without. Each is let through beside the policy; what they claim of addresses is
    /// checked.
    pub(in crate::config) static INFRASTRUCTURE = Table::of("[infrastructure]");
    /// ARP.
    "arp": Key::of(Kind::Boolean).default("true");
    /// DHCP and DHCPv6 as a client.
    "dhcp_client": Key::of(Kind::Boolean).default("true");
    /// IPv6 neighbour discovery.
    "ipv6_nd": Key::of(Kind::Boolean).default("true");
    /// IGMP and MLD.
    "multicast_membership": Key::of(Kind::Boolean).default("true");
    /// LLDP.
    "lldp": Key::of(Kind::Boolean).default("true");
    /// Spanning tree.
    "stp": Key::of(Kind::Boolean).default("true");
    /// MRP, the supervision of PRP and HSR, and LACP.
    "redundancy": Key::of(Kind::Boolean).default("true");
    /// EAPOL (IEEE 802.1X).
    "eapol": Key::of(Kind::Boolean).default("true");
    /// PTP to its groups.
    "ptp": Key::of(Kind::Boolean).default("true");
}
