//! What a policy file may say: every table and key with its meaning, for the parser, the JSON Schema and the reference.
//!
//! In: nothing. Out: [`ROOT`] and the tables below it. A key that is not described here is refused as unknown; a test
//! proves that the parser reads every key that is.

use crate::language::{Format, Key, Kind, Needs, Table, integer, many, one, table, word, words};

pub(crate) mod formats;

use formats::{
    ADDRESS, CIDR, CLOCK, DAYS, DNS_NAME, ETHERTYPE, GROUP_ADDRESS, GROUP_MAC, ICMP_TYPE, ICMPV6_TYPE, LLC,
    MAC, NAME, PEER, PORT, PROSE, PROTOCOL, SEGMENT, SERVICE_NAME, TIME_ZONE,
};

/// What it is the language of.
pub const TITLE: &str = "Bulkhead policy file";

table! {
    /// Any number of files are one policy; their order and which of them holds what do not matter, but whatever has a name
    /// stands whole in one file: a device with all its rules. Everything that no rule allows is denied, and there are no
    /// deny rules. An unknown key is an error, never ignored.
    pub static ROOT = Table::of("A policy file")
        .later(&["include"]);
    /// The version of the language, in every file.
    "version": integer(1, 1).required().example("1");
    /// What the policy protects.
    "device": Key::of(Kind::Named(&DEVICE, &NAME));
    /// Templates: allow lists that several devices share.
    "class": Key::of(Kind::Named(&CLASS, &NAME));
    /// Declared zones. Where one is declared, all of them must be.
    "zone": Key::of(Kind::Named(&ZONE, &NAME));
    /// Devices and networks that rules name together.
    "group": Key::of(Kind::Named(&GROUP, &NAME));
    /// What zones may say to each other.
    "conduit": Key::of(Kind::Entries(&CONDUIT));
    /// Addresses that are no device.
    "network": Key::of(Kind::Named(&NETWORK, &NAME));
    /// Multicast groups besides the built-in ones.
    "multicast": Key::of(Kind::Named(&MULTICAST, &NAME));
    /// Services besides the built-in ones.
    "service": Key::of(Kind::Named(&SERVICE, &NAME));
    /// What a device that was cut off may still reach.
    "quarantine": Key::of(Kind::Table(&QUARANTINE));
}

table! {
    /// A machine the policy protects. Its name is what rules, violations and commands call it: at most 63 of `a-z`, `0-9`,
    /// `.`, `_` and `-`. A device and a network cannot have one name.
    pub(super) static DEVICE = Table::of("[device.NAME]")
        .needs(&[Needs::Any(&["mac", "ip"])])
        .example(r#"
[device.press-plc]
mac         = "00:1d:9c:c7:b0:70"
ip          = ["10.20.1.11", "fd00:20::11"]
zone        = "cell-1"
class       = "plc"
criticality = "safety"
mode        = "monitor"
comment     = "hydraulic press, hall 2"
"#)
        .later(&["interface", "ethertype", "expires", "source", "infrastructure"]);
    /// Hardware addresses, as printed on the device. With one the device is recognised by it and speaks for its own `ip`
    /// only; without one it is known by its address alone, which anybody on the way can use.
    "mac": many(&MAC).example(r#"["00:1d:9c:c7:b0:70"]"#);
    /// Its own addresses: any other host that uses them is a spoof. `dhcp` is whatever a DHCP server leases to its `mac`.
    "ip": many(&ADDRESS).example(r#"["10.20.1.11", "fd00:20::11"]"#);
    /// Where it must be seen: a segment of the agent's configuration, which is an interface or a VLAN with a name.
    "segment": one(&SEGMENT).example(r#""cell0""#);
    /// The VLAN on which it must be seen; left out, any will do.
    "vlan": integer(1, 4094).example("20");
    /// A label that rules name as `zone:NAME`: devices with one security need (IEC 62443).
    "zone": one(&NAME).example(r#""cell-1""#);
    /// A class whose allow list it inherits.
    "class": one(&NAME).example(r#""plc""#);
    /// How much depends on it; shown beside its violations.
    "criticality": word(CRITICALITIES).default(r#""medium""#);
    /// What happens to its denied packets: `monitor` lets them pass and reports them, `enforce` drops and reports them,
    /// `quarantine` drops everything but talk with the quarantine peers.
    "mode": word(MODES).default(r#""monitor""#);
    /// What a reader should know.
    "comment": one(&PROSE).example(r#""hydraulic press, hall 2""#);
    /// Its rules.
    "allow": Key::of(Kind::Entries(&ALLOW));
}

table! {
    /// One rule: the device, or every device of the class, is one end, and `from` or `to` names the other. Replies are
    /// implied. A flow is allowed when a rule at either end allows it.
    pub(super) static ALLOW = Table::of("[[device.NAME.allow]], [[class.NAME.allow]]")
        .needs(&[Needs::One(&["from", "to"])])
        .with(&[&TERMS])
        .example(r#"
[device.press-plc]
ip = "10.20.1.11"

[[device.press-plc.allow]]
from    = ["hmi-1", "zone:engineering"]
service = ["modbus"]
comment = "line display"
owner   = "ot-team"
ticket  = "CHG-1042"
"#)
        .later(&["modbus", "from-port", "mode"]);
    /// Who may start a conversation with the device.
    "from": many(&PEER).example(r#"["hmi-1", "zone:engineering"]"#);
    /// With whom the device may start a conversation.
    "to": many(&PEER).example(r#"["ntp-servers"]"#);
    /// Over what, by the ports of the side that answers: a built-in service or a `[service.NAME]`.
    "service": many(&SERVICE_NAME).required().example(r#"["modbus"]"#);
}

table! {
    /// What every rule can say besides whom it lets talk: why, on whose account, and when.
    static TERMS = Table::of("of every rule");
    /// Why the rule is there; copied into every record about it.
    "comment": one(&PROSE).example(r#""line display""#);
    /// Who answers for the rule.
    "owner": one(&PROSE).example(r#""ot-team""#);
    /// The change it came with.
    "ticket": one(&PROSE).example(r#""CHG-1042""#);
    /// From then on it allows nothing, and ends what it had allowed. A date with time and offset.
    "expires": Key::of(Kind::Time).example("2027-01-31T18:00:00Z");
    /// When in the week it allows something; left out, always. What it has allowed ends with the window.
    "windows": Key::of(Kind::Entries(&WINDOW));
    /// How it came to be: written by hand, learned from traffic, or from a manufacturer's usage description (RFC 8520).
    "source": word(SOURCES).default(r#""hand""#);
}

table! {
    /// A span of time that comes again every week: maintenance, a vendor's access.
    pub(super) static WINDOW = Table::of("windows = [{ ... }]")
        .example(r#"
[device.press-plc]
ip = "10.20.1.11"

[[device.press-plc.allow]]
from    = "any"
service = "ssh"
windows = [{ days = ["mon-fri"], from = "22:00", to = "06:00", zone = "Europe/Berlin" }]
"#);
    /// The days on which it begins.
    "days": many(&DAYS).required().example(r#"["mon-fri", "sun"]"#);
    /// When it begins: the first time the clocks show this or later on that day. A time that they skip in spring is the
    /// moment at which they do.
    "from": one(&CLOCK).required().example(r#""06:00""#);
    /// When it ends, likewise: on the next day, if that is not later than `from`. `24:00` is the end of the day.
    "to": one(&CLOCK).required().example(r#""18:00""#);
    /// By whose clock: a time zone of the IANA database.
    "zone": one(&TIME_ZONE).required().example(r#""Europe/Berlin""#);
}

table! {
    /// A zone (IEC 62443): devices are in it by their `zone`, rules name it as `zone:NAME`. It need not be declared; where
    /// one is, every zone must be, and a slip of the pen is found.
    pub(super) static ZONE = Table::of("[zone.NAME]")
        .example(r#"
[zone.cell-1]
comment = "the press line"
owner   = "ot-team"

[device.press-plc]
ip   = "10.20.1.11"
zone = "cell-1"
"#)
        .later(&["security-level"]);
    /// What a reader should know.
    "comment": one(&PROSE).example(r#""the press line""#);
    /// Who answers for it.
    "owner": one(&PROSE).example(r#""ot-team""#);
}

table! {
    /// Devices and networks that rules name together, as `group:NAME`.
    pub(super) static GROUP = Table::of("[group.NAME]")
        .example(r#"
[group.engineering]
members = ["station-1", "station-2"]

[device.station-1]
ip = "10.20.2.1"

[device.station-2]
ip = "10.20.2.2"
"#)
        .later(&["source"]);
    /// Devices, networks, `group:NAME`, `zone:NAME` and `class:NAME`.
    "members": many(&PEER).required().example(r#"["station-1", "station-2"]"#);
    /// What a reader should know.
    "comment": one(&PROSE).example(r#""they share the project server""#);
}

table! {
    /// What the devices of one zone may say to those of another (IEC 62443). Replies are implied.
    pub(super) static CONDUIT = Table::of("[[conduit]]")
        .with(&[&TERMS])
        .example(r#"
[device.scada]
ip   = "10.20.2.1"
zone = "operations"

[device.press-plc]
ip   = "10.20.1.11"
zone = "cell-1"

[[conduit]]
from    = "zone:operations"
to      = "zone:cell-1"
service = "modbus"
"#)
        .later(&["modbus", "mode"]);
    /// Zones whose devices may start a conversation.
    "from": many(&PEER).required().example(r#""zone:operations""#);
    /// Zones whose devices answer.
    "to": many(&PEER).required().example(r#""zone:cell-1""#);
    /// Over what.
    "service": many(&SERVICE_NAME).required().example(r#"["modbus"]"#);
}

table! {
    /// A template: every device with `class = "NAME"` has its rules besides its own.
    pub(super) static CLASS = Table::of("[class.NAME]")
        .example(r#"
[class.plc]
comment = "controllers of the line"

[[class.plc.allow]]
to      = "ntp-servers"
service = "ntp"
"#)
        .later(&["source"]);
    /// That of its devices which do not say it themselves.
    "criticality": word(CRITICALITIES).example(r#""high""#);
    /// Likewise.
    "mode": word(MODES).example(r#""enforce""#);
    /// What a reader should know.
    "comment": one(&PROSE).example(r#""controllers of the line""#);
    /// The rules of every device of the class.
    "allow": Key::of(Kind::Entries(&ALLOW));
}

table! {
    /// Addresses that are no device: other plants, servers behind a router, the Internet. Its name covers every address in
    /// it, devices and smaller networks included, except the gateway's own.
    pub(super) static NETWORK = Table::of("[network.NAME]")
        .needs(&[Needs::Any(&["cidr", "dns"])])
        .example(r#"
[network.ntp-servers]
cidr = ["10.9.0.5/32", "fd00:9::5/128"]
"#)
        .later(&["interface", "vlan", "zone", "source"]);
    /// Prefixes without host bits.
    "cidr": many(&CIDR).example(r#"["10.9.0.0/24"]"#);
    /// What is not part of it, although it lies within `cidr` or behind one of its names.
    "except": many(&CIDR).example(r#"["10.9.0.128/25"]"#);
    /// DNS names: the addresses behind them, as each device learns them from its resolver, are part of it for that device.
    /// `*.` in front means every name below. A network without `cidr` only answers.
    "dns": many(&DNS_NAME).example(r#"["update.vendor.example", "*.cdn.vendor.example"]"#);
    /// What a reader should know.
    "comment": one(&PROSE).example(r#""two of them, in the office""#);
}

table! {
    /// A multicast group, which rules name in `to` as `multicast:NAME`. Some forty are built in (`mdns`, `ptp`,
    /// `profinet-dcp`, `goose`).
    pub(super) static MULTICAST = Table::of("[multicast.NAME]")
        .needs(&[Needs::Any(&["ip", "mac"])])
        .example(r#"
[multicast.line]
ip  = ["239.1.2.3", "ff15::1"]
mac = "01:0e:cf:00:07:00/46"
"#)
        .later(&["vlan", "segment", "source"]);
    /// Where it receives IP packets.
    "ip": many(&GROUP_ADDRESS).example(r#"["239.1.2.3", "ff15::1"]"#);
    /// Where it receives frames that are not IP.
    "mac": many(&GROUP_MAC).example(r#"["01:0e:cf:00:00:00"]"#);
    /// What a reader should know.
    "comment": one(&PROSE).example(r#""the line's vendor""#);
}

table! {
    /// Traffic with a name. The built-in library has some 140 services (`modbus`, `s7`, `opc-ua`, `ntp`); one of your own is
    /// whatever any of its keys names.
    pub(super) static SERVICE = Table::of("[service.NAME]")
        .needs(&[Needs::Any(&["tcp", "udp", "sctp", "icmp", "icmpv6", "protocol", "ethertype", "llc", "include"])])
        .example(r#"
[service.line-scanner]
tcp = ["9100-9103", 9200]
udp = 9100
"#)
        .later(&["modbus", "s7", "opcua", "dnp3", "iec104", "bacnet", "enip", "source"]);
    /// TCP ports of the side that answers.
    "tcp": many(&PORT).example(r#"["502", "9100-9103"]"#);
    /// UDP ports of the side that answers.
    "udp": many(&PORT).example(r#"["161"]"#);
    /// SCTP ports of the side that answers.
    "sctp": many(&PORT).example(r#"["2905"]"#);
    /// ICMP (RFC 792).
    "icmp": many(&ICMP_TYPE).example(r#"["8"]"#);
    /// ICMPv6 (RFC 4443).
    "icmpv6": many(&ICMPV6_TYPE).example(r#"["128"]"#);
    /// IP protocols without ports (IANA protocol numbers).
    "protocol": many(&PROTOCOL).example("[47]");
    /// Frames that are not IP.
    "ethertype": many(&ETHERTYPE).example(r#"["0x8892"]"#);
    /// Frames with an IEEE 802.2 header, by their destination service access point.
    "llc": many(&LLC).example(r#"["0x42"]"#);
    /// Other services, whose traffic it is as well.
    "include": many(&SERVICE_NAME).example(r#"["modbus", "dnp3"]"#);
    /// What a reader should know.
    "comment": one(&PROSE).example(r#""hand scanners of the line""#);
}

table! {
    /// What devices in quarantine may still talk to. A quarantine peer that is itself a device keeps its own allow list.
    pub(super) static QUARANTINE = Table::of("[quarantine]")
        .example(r#"
[quarantine]
peers = ["patch-server"]
"#)
        .later(&["service"]);
    /// Whom a quarantined device may still talk to, over every service.
    "peers": many(&PEER).example(r#"["patch-server"]"#);
    /// What a reader should know.
    "comment": one(&PROSE).example(r#""where devices are mended""#);
}

const MODES: &[&str] = &words(&super::parse::MODES);
const SOURCES: &[&str] = &words(&super::parse::SOURCES);
const CRITICALITIES: &[&str] = &words(&super::parse::CRITICALITIES);
