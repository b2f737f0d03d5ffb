//! What the values of a policy look like, for editors and the reference; `values` is what judges them.
//!
//! A pattern accepts at least what the parser accepts: a schema that refused a good policy would be worse than none.

use super::{Format, words};
use crate::policy::values::{ETHERTYPES, ICMP_TYPES, ICMPV6_TYPES, POINTS};

/// Six pairs of hexadecimal digits in the three usual notations, or without separators.
pub(crate) static MAC: Format = Format {
    name: "MAC address",
    doc: "a MAC address, as in `00:1d:9c:c7:b0:70`",
    pattern: "^(([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}|([0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}|([0-9A-Fa-f]{4}\\.){2}[0-9A-Fa-f]{4}|[0-9A-Fa-f]{12})$",
    words: &[],
    number: None,
};

/// One of a device's own addresses.
pub(crate) static ADDRESS: Format = Format {
    name: "IP address",
    doc: "an IP address, as in `10.20.1.11` or `fd00:20::11`, or `dhcp`",
    pattern: "^(dhcp|([0-9]{1,3}\\.){3}[0-9]{1,3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)$",
    words: &[],
    number: None,
};

/// A prefix without host bits.
pub(crate) static CIDR: Format = Format {
    name: "prefix",
    doc: "an address and a prefix length, as in `10.9.0.0/24` or `fd00:9::/64`",
    pattern: "^(([0-9]{1,3}\\.){3}[0-9]{1,3}/([0-9]|[12][0-9]|3[0-2])|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*/[0-9]{1,3})$",
    words: &[],
    number: None,
};

/// A multicast address or prefix.
pub(crate) static GROUP_ADDRESS: Format = Format {
    name: "multicast address",
    doc: "a multicast address or prefix, as in `239.1.2.3`, `239.192.0.0/16` or `ff02::fb`",
    pattern: "^((22[4-9]|23[0-9])(\\.[0-9]{1,3}){3}(/[0-9]{1,2})?|[Ff][Ff][0-9A-Fa-f:.]*(/[0-9]{1,3})?)$",
    words: &[],
    number: None,
};

/// A group MAC address, or all that share their first bits.
pub(crate) static GROUP_MAC: Format = Format {
    name: "group MAC address",
    doc: "a group MAC address, as in `01:0e:cf:00:00:00`, or all that share 38 or more bits, as in `01:0c:cd:01:00:00/39`",
    pattern: "^(([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}|([0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}|([0-9A-Fa-f]{4}\\.){2}[0-9A-Fa-f]{4}|[0-9A-Fa-f]{12})(/(3[89]|4[0-8]))?$",
    words: &[],
    number: None,
};

/// A name that someone gives.
pub(crate) static NAME: Format =
    Format { name: "name", doc: "a name", pattern: "^[a-z0-9][a-z0-9._-]{0,62}$", words: &[], number: None };

/// The name of a service, built in or declared.
pub(crate) static SERVICE_NAME: Format = Format {
    name: "service",
    doc: "the name of a service, or `any`",
    pattern: "^[a-z0-9][a-z0-9._-]{0,62}$",
    words: &[],
    number: None,
};

/// The other end of a rule.
pub(crate) static PEER: Format = Format {
    name: "peer",
    doc: "a device, a network, `group:NAME`, `zone:NAME`, `class:NAME`, `multicast:NAME`, `gateway`, `broadcast` or `any`",
    pattern: "^((group|zone|class|multicast):)?[a-z0-9][a-z0-9._-]{0,62}$",
    words: &[],
    number: None,
};

/// The name of a segment of the configuration.
pub(crate) static SEGMENT: Format = Format {
    name: "segment",
    doc: "the name of a segment",
    pattern: "^[^/:\\s]{1,32}$",
    words: &[],
    number: None,
};

/// Text for people.
pub(crate) static PROSE: Format = Format {
    name: "text",
    doc: "text of at most 512 bytes",
    pattern: "^[^\\u0000-\\u0008\\u000b-\\u001f\\u007f]{0,512}$",
    words: &[],
    number: None,
};

/// A port or a range.
pub(crate) static PORT: Format = Format {
    name: "port",
    doc: "a port or a range, as in `502` or `\"9100-9103\"`",
    pattern: "^\\s*[0-9]{1,5}\\s*(-\\s*[0-9]{1,5}\\s*)?$",
    words: &[],
    number: Some((1, 65535)),
};

/// An ICMP type, a range of types, or a type and a code.
pub(crate) static ICMP_TYPE: Format = Format {
    name: "ICMP type",
    doc: "a type or its name, a range of types, or a type and a code, as in `8`, `\"13-14\"` or `\"3/4\"`",
    pattern: ICMP_PATTERN,
    words: &words(&ICMP_TYPES),
    number: Some((0, 255)),
};

/// The same of ICMPv6.
pub(crate) static ICMPV6_TYPE: Format = Format {
    name: "ICMPv6 type",
    doc: "a type or its name, a range of types, or a type and a code, as in `128`, `\"130-132\"` or `\"1/4\"`",
    pattern: ICMP_PATTERN,
    words: &words(&ICMPV6_TYPES),
    number: Some((0, 255)),
};

const ICMP_PATTERN: &str =
    "^\\s*([0-9]{1,3}\\s*(-\\s*[0-9]{1,3}\\s*)?|([0-9]{1,3}|[a-z][a-z0-9-]*)\\s*/\\s*[0-9]{1,3}\\s*)$";

/// A protocol number.
pub(crate) static PROTOCOL: Format = Format {
    name: "IP protocol",
    doc: "an IP protocol by number or keyword (IANA), as in `47` or `\"gre\"`",
    pattern: "^(\\s*[0-9]{1,3}\\s*|0x[0-9A-Fa-f]{1,4}|[a-z][a-z0-9]*)$",
    words: &[],
    number: Some((1, 252)),
};

/// An ethertype, as a number or a word.
pub(crate) static ETHERTYPE: Format = Format {
    name: "ethertype",
    doc: "an ethertype from `0x0600` on, or a word for one",
    pattern: "^(0x[0-9A-Fa-f]{1,4}|\\s*[0-9]{1,5}\\s*)$",
    words: &words(&ETHERTYPES),
    number: Some((0x600, 0xffff)),
};

/// A service access point.
pub(crate) static LLC: Format = Format {
    name: "service access point",
    doc: "one byte, as in `0x42`, or a word for it",
    pattern: "^(0x[0-9A-Fa-f]{1,4}|\\s*[0-9]{1,3}\\s*)$",
    words: &words(&POINTS),
    number: Some((0, 255)),
};

/// Days of the week.
pub(crate) static DAYS: Format = Format {
    name: "days",
    doc: "a day or a range of days, as in `mon` or `mon-fri`",
    pattern: "^(mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))?$",
    words: &[],
    number: None,
};

/// A time of the day.
pub(crate) static CLOCK: Format = Format {
    name: "time of day",
    doc: "a time of the day, from `00:00` to `24:00`",
    pattern: "^([01][0-9]|2[0-4]):[0-5][0-9]$",
    words: &[],
    number: None,
};

/// A time zone.
pub(crate) static TIME_ZONE: Format = Format {
    name: "time zone",
    doc: "a time zone of the IANA database, as in `Europe/Berlin` or `UTC`",
    pattern: "^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$",
    words: &[],
    number: None,
};

/// A DNS name.
pub(crate) static DNS_NAME: Format = Format {
    name: "DNS name",
    doc: "a DNS name, as in `update.vendor.example`, or `*.vendor.example` for every name below",
    pattern: "^(\\*\\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})$",
    words: &[],
    number: None,
};
