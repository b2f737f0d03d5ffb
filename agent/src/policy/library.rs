//! Well-known OT, IoT and IT services and multicast groups, so that a first policy needs no numbers.
//!
//! In: `services.toml` and `groups.toml`, read by the same parser as the user's files. Out: name -> what it is.

use std::{collections::BTreeMap, sync::LazyLock};

use super::{
    parse,
    raw::{RawFile, RawMulticast},
};
use crate::{
    diagnostic::{Collector, FileId, Sources, render_text},
    model::Selector,
};

static SERVICES_TEXT: &str = include_str!("services.toml");
static GROUPS_TEXT: &str = include_str!("groups.toml");

static SERVICES: LazyLock<BTreeMap<String, Vec<Selector>>> = LazyLock::new(|| {
    let services = read("services.toml", SERVICES_TEXT).services.into_iter();
    services.map(|service| (service.name.value, service.selectors)).collect()
});

static GROUPS: LazyLock<BTreeMap<String, RawMulticast>> = LazyLock::new(|| {
    let groups = read("groups.toml", GROUPS_TEXT).multicasts.into_iter();
    groups.map(|group| (group.name.value.clone(), group)).collect()
});

fn read(name: &str, text: &str) -> RawFile {
    let sources = Sources::new([(name, text)]);
    let mut out = Collector::new(&sources);
    let (raw, _) = parse::parse(FileId(0), &mut out);
    let found = out.finish();
    assert!(found.is_empty(), "the built-in {name} is wrong:\n{}", render_text(&found, &sources, false));
    raw
}

/// The built-in services by name; each has at least one selector.
pub fn built_in() -> &'static BTreeMap<String, Vec<Selector>> {
    &SERVICES
}

/// The built-in multicast groups by name, without the prefix by which rules name them.
pub(super) fn built_in_groups() -> &'static BTreeMap<String, RawMulticast> {
    &GROUPS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::pseudo,
        policy::values::{ICMP, ICMPV6, SCTP, TCP, UDP},
    };

    fn selectors(name: &str) -> Vec<(u8, u16, u16)> {
        built_in()[name].iter().map(|s| (s.protocol, s.low, s.high)).collect()
    }

    #[test]
    fn the_library_reads_without_a_finding() {
        assert!(built_in().len() >= 130, "{}", built_in().len());
        assert!(built_in().values().all(|selectors| !selectors.is_empty()));
        assert!(built_in_groups().len() >= 35, "{}", built_in_groups().len());
        assert!(built_in_groups().values().all(|group| !(group.cidrs.is_empty() && group.macs.is_empty())));
    }

    #[test]
    fn a_few_services_by_hand() {
        assert_eq!(selectors("modbus"), [(TCP, 502, 502)]);
        assert_eq!(selectors("enip"), [(TCP, 44818, 44818), (UDP, 2222, 2222), (UDP, 44818, 44818)]);
        assert_eq!(selectors("ping"), [(ICMP, 0x0800, 0x08ff), (ICMPV6, 0x8000, 0x80ff)]);
        let every =
            [(ICMP, 0, 0xffff), (TCP, 1, 65535), (UDP, 1, 65535), (ICMPV6, 0, 0xffff), (SCTP, 1, 65535)];
        assert_eq!(selectors("any"), every);
        assert_eq!(selectors("dns"), [(TCP, 53, 53), (UDP, 53, 53)]);
        assert_eq!(selectors("gre"), [(47, 0, 65535)]);
        assert_eq!(selectors("stp"), [(pseudo::LLC, 0x42, 0x42)]);
        assert_eq!(selectors("ptp"), [(UDP, 319, 320), (pseudo::ETHERTYPE, 0x88f7, 0x88f7)]);
    }

    #[test]
    fn a_few_groups_by_hand() {
        let shown =
            |name: &str| built_in_groups()[name].cidrs.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown("mdns"), ["224.0.0.251/32", "ff02::fb/128"]);
        assert_eq!(shown("cip"), ["239.192.0.0/16"]);
        let goose = &built_in_groups()["goose"].macs;
        let ends = [goose[0], goose[goose.len() - 1]].map(|mac| mac.to_string());
        assert_eq!((goose.len(), ends), (512, ["01:0c:cd:01:00:00", "01:0c:cd:01:01:ff"].map(str::to_owned)));
    }

    #[test]
    fn everything_says_where_its_numbers_come_from() {
        for (text, header) in [(SERVICES_TEXT, "\n[service."), (GROUPS_TEXT, "\n[multicast.")] {
            assert_eq!(text.matches(header).count(), text.matches("\ncomment = \"").count());
        }
    }
}
