//! Where and when a history was, and who was there, as far as that is known: what is not known makes nothing better.

use super::*;

/// What a report says of one kind: the word for its fate, and the reason where it is denied.
fn fate(report: &Report) -> (&'static str, Option<&str>) {
    let lists = [
        ("dropped", &report.dropped),
        ("reported", &report.reported),
        ("attempt", &report.attempts),
        ("by-name", &report.by_name),
        ("unknown", &report.unknown),
    ];
    let found = lists.iter().find_map(|(word, list)| Some((*word, list.list.first()?.reason.as_str())));
    match found {
        Some((word, reason)) => (word, Some(reason)),
        None if report.totals.allowed > 0 => ("allowed", None),
        None => ("unmanaged", None),
    }
}

fn ip(text: &str) -> End {
    End::at(text.parse().expect("an address"))
}

/// A segment by its number, with the whole infrastructure set.
fn segment(number: u16) -> SegmentRow {
    SegmentRow { segment: number, infrastructure: infrastructure::ALL, ..SegmentRow::default() }
}

#[test]
fn where_nobody_knows_the_worst_of_the_configured_segments_counts() {
    let mut site = Site::new(POLICY);
    let strangers = kind(ip("10.9.0.1"), ip("10.9.0.2"), protocol::TCP, 80);
    let is_dropped = |site: &Site| site.report([row(strangers, MONDAY, 9)]).drops();
    assert!(!is_dropped(&site), "no configuration");
    let anywhere = site.places[0].clone();
    let unmanaged = bulkhead_common::lookup::Unmanaged::Drop as u8;
    let place = |segment| Place { segment, ..Place::default() };
    let [open, shut] = [segment(1), SegmentRow { unmanaged, ..segment(2) }].map(place);
    for (places, dropped) in [
        (vec![anywhere.clone(), open.clone()], false),
        (vec![anywhere.clone(), open.clone(), shut.clone()], true),
        (vec![anywhere.clone(), shut.clone(), open.clone()], true),
    ] {
        site.places = places;
        assert_eq!(is_dropped(&site), dropped);
        // Who makes rules of the same history says the same of it.
        let rows = site.places.iter().filter(|place| !place.anywhere).map(|place| (None, place.segment));
        let field = crate::compile::Field::of(rows.collect(), SegmentRow::default());
        let who = crate::compile::Who::new(&site.policy, &site.placed);
        let mut host = crate::compile::Host::new(&site.tables, site.placed.clone());
        let decision = crate::compile::Begun::of(&strangers, &who).meets(&mut host, &field);
        assert_eq!(decision.action == bulkhead_common::decide::Action::Drop, dropped);
    }
}

#[test]
fn device_is_judged_on_its_segment() {
    let mut site = Site::new(POLICY);
    // The PLC must be seen on `cell`; a ping needs what only one segment lets through.
    site.placed.segments = [("cell".to_owned(), 2)].into();
    let place = |segment| Place { segment, ..Place::default() };
    let modbus = || site.report([row(kind(at(2), at(1), protocol::TCP, 502), MONDAY, 9)]);
    assert_eq!(fate(&modbus()), ("allowed", None));
    let mut site = Site { places: vec![place(segment(1)), place(segment(2))], ..site };
    let modbus = |site: &Site| site.report([row(kind(at(2), at(1), protocol::TCP, 502), MONDAY, 9)]);
    assert_eq!(fate(&modbus(&site)), ("allowed", None), "its answers come from its own segment");
    site.places = vec![place(segment(1))];
    assert_eq!(fate(&modbus(&site)), ("dropped", Some("wrong-segment")), "which is not configured");
}

#[test]
fn what_goes_to_everybody_is_what_the_gateway_knows_to_be_so() {
    let text = format!("{POLICY}[network.half]\ncidr = \"10.1.0.0/28\"\n");
    let rule = "[[device.hmi.allow]]\nto = \"broadcast\"\nservice = [\"https\", \"bacnet\"]\n";
    let text = text.replace("[device.roamer]", &format!("{rule}[device.roamer]"));
    let mut site = Site::new(&text);
    let fate_of = |site: &Site, to: End, protocol, number| {
        let report = site.report([row(kind(at(2), to, protocol, number), MONDAY, 9)]);
        fate(&report).0
    };
    // The last address of a network of the policy is a host's.
    assert_eq!(fate_of(&site, at(15), protocol::UDP, 47_808), "reported");
    site.placed.broadcasts = [IpAddr::from([10, 1, 0, 15])].into();
    assert_eq!(fate_of(&site, at(15), protocol::UDP, 47_808), "allowed");
    assert_eq!(fate_of(&site, at(15), protocol::TCP, HTTPS), "reported", "a connection is with one host");
    let known = End::leased(IpAddr::from([10, 1, 0, 127]), Mac([0xff; 6]));
    assert_eq!(fate_of(&site, known, protocol::UDP, 47_808), "allowed", "it was seen to be for everybody");
}

#[test]
fn addresses_of_ipv6_are_whose_they_say_or_nobodys() {
    let text = POLICY
        .replace("from = \"hmi\"\nservice = \"modbus\"", "from = \"hmi\"\nservice = [\"modbus\", \"ssh\"]");
    let site = Site::new(&text);
    let of = |from: &str, to: &str, number| {
        let report = site.report([row(kind(ip(from), ip(to), protocol::TCP, number), MONDAY, 9)]);
        let ends = report.dropped.list.first().map(|one| (one.from.clone(), one.to.clone()));
        (fate(&report).0, ends)
    };
    let (hmi, plc) = ("fe80::21d:9cff:fe00:2", "fe80::21d:9cff:fe00:1");
    assert_eq!(of(hmi, plc, 502), ("allowed", None), "made of their hardware addresses");
    let names = |from: &str, to: &str| Some((Some(from.to_owned()), Some(to.to_owned())));
    assert_eq!(of(hmi, plc, 102), ("dropped", names("hmi", "plc")));
    // RFC 7217: it may be the HMI, and may be not.
    assert_eq!(of("fe80::1234:5678:9abc:def0", plc, 502), ("unknown", None));
    let report = site.report([row(kind(ip("fe80::77"), ip(plc), protocol::TCP, 502), MONDAY, 9)]);
    assert!(!report.breaks() && report.totals.unknown == 1);
    assert!(
        report.text().lines().next().is_some_and(|line| line.contains("1 kind not judged, as nobody knows"))
    );
    // An address of no link that nobody has is a stranger's.
    assert_eq!(of("fd00::77", plc, 502).0, "dropped");
}

#[test]
fn both_ends_of_an_hour_are_within_a_window_or_it_is_a_break() {
    let site = Site::new(&POLICY.replace("to = \"10:00\"", "to = \"08:30\""));
    let kind = kind(at(2), at(1), protocol::TCP, HTTPS);
    let of = |first: i64, last: i64| {
        let begin = MONDAY.begin();
        let mut one = row(kind, MONDAY, 8);
        one.seen.hours = Hours::between(MONDAY, begin + first, begin + last);
        (one.seen.first, one.seen.last) = (begin + first, begin + last);
        let report = site.report([one]);
        report.dropped.list.first().map(|one| (one.reason.clone(), one.first.clone()))
    };
    let minute = |hour: i64, minute: i64| hour * 3600 + minute * 60;
    assert_eq!(of(minute(8, 0), minute(8, 20)), None);
    let outside = |first: &str| Some(("outside-schedule".to_owned(), first.to_owned()));
    // The first minute of the hour is in it, those after half past are not.
    assert_eq!(of(minute(8, 10), minute(8, 45)), outside("2026-11-02T08:30:00Z"));
    assert_eq!(of(minute(8, 10), minute(9, 5)), outside("2026-11-02T08:30:00Z"));
}

#[test]
fn names_are_for_addresses_that_may_be_anywhere_and_nothing_else_means() {
    let site =
        Site::new(&format!("{POLICY}[network.office]\ncidr = [\"10.2.0.0/16\", \"198.51.100.0/28\"]\n"));
    let to = |to: &str| {
        let report = site.report([row(kind(at(2), ip(to), protocol::TCP, HTTPS), MONDAY, 9)]);
        let answer = report.text().lines().next().unwrap_or_default().to_owned();
        (fate(&report).0, report.relies_on_names(), answer.contains("1 kind allowed only under a name"))
    };
    assert_eq!(to("198.51.100.77"), ("by-name", true, true));
    assert_eq!(to("198.51.100.7"), ("reported", false, false), "of the office");
    assert_eq!(to("10.2.0.5"), ("reported", false, false), "of the office");
    assert_eq!(to("10.3.0.5"), ("reported", false, false), "nowhere in the Internet");
}

#[test]
fn link_local_stranger_whom_no_rule_may_mean_is_a_break() {
    let site = Site::new(POLICY);
    let of = |from: End, to: End, number: u16| {
        fate_word(&site.report([row(kind(from, to, protocol::TCP, number), MONDAY, 9)]))
    };
    let (stranger, plc) = (ip("fe80::1234:5678:9abc:def0"), ip("fe80::21d:9cff:fe00:1"));
    // The HMI may do that, and this may be the HMI.
    assert_eq!(of(stranger, plc, 502), "unknown");
    assert_eq!(of(stranger, plc, HTTPS), "unknown", "at some time");
    // Nobody may do that.
    assert_eq!(of(stranger, plc, 4840), "dropped");
    assert_eq!(of(plc, stranger, 502), "dropped", "nor this way");
}

fn fate_word(report: &Report) -> &'static str {
    fate(report).0
}

#[test]
fn answer_is_one_in_each_hour_of_its_row() {
    let site = Site::new(POLICY);
    let mut one = row(kind(at(2), at(1), protocol::TCP, HTTPS), MONDAY, 8);
    // Nobody knows how it began, and that it went on; of its hours one is outside of the window.
    one.seen.hours = Hours::from_bits(0b11 << 8 | 1 << 12);
    (one.seen.first, one.seen.last) = (MONDAY.begin() + 8 * 3600, MONDAY.begin() + 13 * 3600 - 1);
    (one.seen.flows, one.seen.opened, one.seen.answered) = (1, 0, 0);
    one.seen.packets = [20, 20];
    assert!(one.seen.is_answered());
    assert_eq!(fate(&site.report([one])), ("dropped", Some("outside-schedule")));
}

#[test]
fn pause_between_two_windows_of_an_hour_is_a_break() {
    let two = "{ days = \"mon-fri\", from = \"08:00\", to = \"08:20\", zone = \"UTC\" }, \
               { days = \"mon-fri\", from = \"08:40\", to = \"09:00\", zone = \"UTC\" }";
    let window = "{ days = \"mon-fri\", from = \"08:00\", to = \"10:00\", zone = \"UTC\" }";
    let site = Site::new(&POLICY.replace(window, two));
    let of = |first: i64, last: i64| {
        let mut one = row(kind(at(2), at(1), protocol::TCP, HTTPS), MONDAY, 8);
        (one.seen.first, one.seen.last) = (MONDAY.begin() + first, MONDAY.begin() + last);
        one.seen.hours = Hours::of(one.seen.first);
        fate(&site.report([one])).0
    };
    let at = |minute: i64| 8 * 3600 + minute * 60;
    assert_eq!([of(at(5), at(15)), of(at(45), at(55)), of(at(5), at(55))], ["allowed", "allowed", "dropped"]);
}
