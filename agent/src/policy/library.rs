//! Well-known OT, IoT and IT services, so that a first policy needs no port numbers.
//!
//! In: `services.toml`, read by the same parser as the user's files. Out: name -> selectors.

use std::{collections::BTreeMap, sync::LazyLock};

use super::parse;
use crate::{
    diagnostic::{Collector, FileId, Sources, render_text},
    model::Selector,
};

static TEXT: &str = include_str!("services.toml");

static SERVICES: LazyLock<BTreeMap<String, Vec<Selector>>> = LazyLock::new(|| {
    let sources = Sources::new([("services.toml", TEXT)]);
    let mut out = Collector::new(&sources);
    let (raw, _) = parse::parse(FileId(0), &mut out);
    let found = out.finish();
    assert!(found.is_empty(), "the built-in services are wrong:\n{}", render_text(&found, &sources, false));
    raw.services.into_iter().map(|service| (service.name.value, service.selectors)).collect()
});

/// The built-in services by name; each has at least one selector.
pub fn built_in() -> &'static BTreeMap<String, Vec<Selector>> {
    &SERVICES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::values::{ICMP, TCP, UDP};

    fn selectors(name: &str) -> Vec<(u8, u16, u16)> {
        built_in()[name].iter().map(|s| (s.protocol, s.low, s.high)).collect()
    }

    #[test]
    fn the_library_reads_without_a_finding() {
        assert!(built_in().len() >= 60, "{}", built_in().len());
        assert!(built_in().values().all(|selectors| !selectors.is_empty()));
    }

    #[test]
    fn a_few_services_by_hand() {
        assert_eq!(selectors("modbus"), [(TCP, 502, 502)]);
        assert_eq!(selectors("enip"), [(TCP, 44818, 44818), (UDP, 2222, 2222), (UDP, 44818, 44818)]);
        assert_eq!(selectors("ping"), [(ICMP, 0x0800, 0x08ff)]);
        assert_eq!(selectors("any"), [(ICMP, 0, 0xffff), (TCP, 1, 65535), (UDP, 1, 65535)]);
        assert_eq!(selectors("dns"), [(TCP, 53, 53), (UDP, 53, 53)]);
    }

    #[test]
    fn every_service_says_where_its_ports_come_from() {
        let tables = TEXT.matches("\n[service.").count();
        let comments = TEXT.matches("\ncomment = \"").count();
        assert_eq!(tables, comments);
    }
}
