//! Frames and rows under small policies, and what is said of them.

use std::{net::IpAddr, sync::LazyLock};

use bulkhead_common::{
    layout::Settings,
    lookup::infrastructure,
    wire::{protocol, pseudo},
};
use proptest::prelude::*;

use super::*;
use crate::{
    compile::{Limits, compile, numbered_segments},
    model::Mac,
    policy::{SourceFile, resolve_texts},
    traffic::{Day, End, Hours, Kind, Row, Seen, Service},
};

mod beside;
mod room;
mod touching;
mod whose;

const POLICY: &str = r#"version = 1
[device.plc]
mac = "00:1d:9c:00:00:01"
ip = "10.1.0.1"
mode = "enforce"
criticality = "safety"
segment = "cell"
[[device.plc.allow]]
from = "hmi"
service = "modbus"
[[device.plc.allow]]
from = "hmi"
service = "https"
windows = [{ days = "mon-fri", from = "08:00", to = "10:00", zone = "UTC" }]
[[device.plc.allow]]
to = "multicast:clock"
service = "ntp"
[[device.plc.allow]]
from = "hmi"
service = "profinet"
[[device.plc.allow]]
from = "gateway"
service = "snmp"
[device.hmi]
mac = "00:1d:9c:00:00:02"
ip = "10.1.0.2"
[[device.hmi.allow]]
to = "gateway"
service = "ntp"
[[device.hmi.allow]]
to = "maker"
service = "https"
[device.roamer]
mac = "00:1d:9c:00:00:03"
ip = "dhcp"
mode = "enforce"
[[device.roamer.allow]]
to = "plc"
service = "ssh"
[network.maker]
dns = ["*.maker.example"]
[multicast.clock]
ip = ["224.0.1.1"]
[service.profinet]
ethertype = ["0x8892"]
"#;

/// 2026-11-02, a Monday.
const MONDAY: Day = Day(20_759);

struct Site {
    policy: Policy,
    tables: Tables,
    placed: Placed,
    places: Vec<Place>,
}

impl Site {
    fn new(text: &str) -> Self {
        let files = [SourceFile { path: "policy.toml".into(), text: text.into() }];
        let outcome = resolve_texts(&files);
        let policy = outcome.policy.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics));
        let tables = compile(&policy, &Limits { devices: 99, rules: 99, rows: 9999 }).expect("it is small");
        let placed = Placed {
            segments: numbered_segments(&tables),
            gateway: [IpAddr::from([10, 1, 0, 254])].into(),
            settings: Settings { tcp_idle: u64::MAX, udp_idle: u64::MAX, ..Settings::default() },
            ..Placed::default()
        };
        let segment = SegmentRow { infrastructure: infrastructure::ALL, ..SegmentRow::default() };
        Self { policy, tables, placed, places: vec![Place { segment, anywhere: true, ..Place::default() }] }
    }

    fn setting(&self) -> Setting<'_> {
        let Self { policy, tables, placed, places } = self;
        Setting { policy, tables, placed, places, now: "2026-12-01T00:00:00Z".parse().expect("a time") }
    }

    fn report(&self, all: impl IntoIterator<Item = Row>) -> Report {
        rows(self.setting(), all)
    }
}

/// For those who ask often.
static SITE: LazyLock<Site> = LazyLock::new(|| Site::new(POLICY));

/// The same where every rule holds always.
static TIMELESS: LazyLock<Site> = LazyLock::new(|| {
    let lines = POLICY.lines().filter(|line| !line.starts_with("windows"));
    Site::new(&lines.map(|line| format!("{line}\n")).collect::<String>())
});

fn at(last: u8) -> End {
    End::at(IpAddr::from([10, 1, 0, last]))
}

fn kind(from: End, to: End, protocol: u8, number: u16) -> Kind {
    Kind { from, to, service: Service { protocol, number } }
}

/// Ten flows, all of them answered, in an hour of a day.
fn row(kind: Kind, day: Day, hour: i64) -> Row {
    let first = day.begin() + hour * 3600 + 600;
    let seen =
        Seen { flows: 10, opened: 10, answered: 10, packets: [50, 40], last: first + 60, ..Seen::at(first) };
    Row { kind, day, seen }
}

fn reasons(listed: &crate::diagnostic::Listed<Break>) -> Vec<(&str, &str, u64)> {
    listed.list.iter().map(|one| (one.selector.as_str(), one.reason.as_str(), one.flows)).collect()
}

const HTTPS: u16 = 443;

#[test]
fn kind_is_judged_once_and_its_days_are_added_up() {
    let site = Site::new(POLICY);
    let allowed = kind(at(2), at(1), protocol::TCP, 502);
    let denied = kind(at(2), at(1), protocol::TCP, 102);
    let days = || (0..3).map(|n| Day(MONDAY.0 + n));
    let all = days().map(|day| row(denied, day, 9)).chain(days().map(|day| row(allowed, day, 9)));
    let report = site.report(all);
    assert_eq!((report.totals.rows, report.totals.kinds, report.totals.flows), (6, 2, 60));
    assert_eq!(reasons(&report.dropped), [("tcp/102", "service-not-allowed", 30)]);
    let one = &report.dropped.list[0];
    assert_eq!((one.first.as_str(), one.last.as_str()), ("2026-11-02T09:10:00Z", "2026-11-04T09:11:00Z"));
    assert_eq!((one.packets, one.device.as_deref()), (270, Some("plc")));
    assert_eq!(report.rules.used.list[0].packets, 270);
    assert!(report.breaks() && report.drops() && report.has_unused());
}

#[test]
fn rule_with_a_window_holds_in_the_hours_of_the_window() {
    let site = Site::new(POLICY);
    let kind = kind(at(2), at(1), protocol::TCP, HTTPS);
    let of = |all: &[Row]| {
        let report = site.report(all.iter().copied());
        let told = report.dropped.list.first();
        told.map(|one| (one.reason.clone(), one.flows, one.first.clone()))
    };
    assert_eq!(of(&[row(kind, MONDAY, 9)]), None);
    let denied = |flows, first: &str| Some(("outside-schedule".to_owned(), flows, first.to_owned()));
    assert_eq!(of(&[row(kind, MONDAY, 11)]), denied(10, "2026-11-02T11:10:00Z"));
    assert_eq!(
        of(&[row(kind, MONDAY, 9), row(kind, Day(MONDAY.0 + 5), 9)]),
        denied(10, "2026-11-07T09:10:00Z")
    );
    // Of a row with several hours each has its share, however little.
    let mut wide = row(kind, MONDAY, 9);
    wide.seen.hours = Hours::between(MONDAY, MONDAY.begin() + 9 * 3600, MONDAY.begin() + 13 * 3600);
    wide.seen.last = MONDAY.begin() + 13 * 3600;
    assert_eq!(of(&[wide]), denied(8, "2026-11-02T10:00:00Z"));
    // Another sensor told no hours.
    let untold = Row { seen: Seen { hours: Hours::default(), ..row(kind, MONDAY, 11).seen }, ..wide };
    assert_eq!(of(&[untold]), denied(10, "2026-11-02T11:10:00Z"));
}

#[test]
fn ends_of_every_kind_are_who_the_policy_says() {
    let site = Site::new(POLICY);
    let macs = |last| Mac([0, 0x1d, 0x9c, 0, 0, last]);
    let leased = |last| End::leased(IpAddr::from([10, 1, 0, 77]), macs(last));
    for (one, reason) in [
        // A device by its lease; the same address of nobody.
        (kind(leased(3), at(1), protocol::TCP, 22), None),
        (kind(at(77), at(1), protocol::TCP, 22), Some("unknown-peer")),
        // The gateway asks, and is answered.
        (kind(at(254), at(1), protocol::UDP, 161), None),
        // Its question passes no program: what is judged is the answer.
        (kind(at(254), at(1), protocol::UDP, 162), Some("wrong-direction")),
        // It is asked: its answer passes no program.
        (kind(at(2), at(254), protocol::UDP, 123), None),
        // A group, which does not answer.
        (kind(at(1), End::at(IpAddr::from([224, 0, 1, 1])), protocol::UDP, 123), None),
        (kind(at(2), End::at(IpAddr::from([224, 0, 1, 1])), protocol::UDP, 123), Some("no-rule")),
        // The kernel does not remember which group was asked: one that rules name.
        (kind(at(1), End::at(IpAddr::from([0; 4])), protocol::UDP, 123), None),
        (kind(at(2), End::at(IpAddr::from([0; 4])), protocol::UDP, 123), Some("unknown-peer")),
        // Frames that are not IP.
        (kind(End::hardware(macs(2)), End::hardware(macs(1)), pseudo::ETHERTYPE, 0x8892), None),
        (kind(End::hardware(macs(2)), End::hardware(macs(1)), pseudo::ETHERTYPE, 0x88a4), Some("ethertype")),
        (kind(at(2), at(1), protocol::ICMP, 8 << 8), Some("service-not-allowed")),
    ] {
        let report = site.report([row(one, MONDAY, 9)]);
        let told = report.dropped.list.iter().chain(&report.reported.list).next();
        let found = told.map(|one| one.reason.as_str());
        assert_eq!(found, reason, "{one:?}");
    }
}

#[test]
fn what_nobody_answered_or_may_be_allowed_by_name_is_no_break() {
    let site = Site::new(POLICY);
    let mut attempt = row(kind(at(2), at(1), protocol::TCP, 23), MONDAY, 9);
    attempt.seen.answered = 0;
    let far = End::at(IpAddr::from([198, 51, 100, 7]));
    let named = row(kind(at(2), far, protocol::TCP, HTTPS), MONDAY, 9);
    let strangers = row(kind(far, End::at(IpAddr::from([198, 51, 100, 8])), protocol::TCP, 80), MONDAY, 9);
    let report = site.report([attempt, named, strangers]);
    let Totals { attempts, by_name, unmanaged, .. } = report.totals;
    assert_eq!((attempts, by_name, unmanaged), (1, 1, 1));
    assert!(!report.breaks());
    assert_eq!(report.by_name.list[0].to_address, "198.51.100.7");
}

#[test]
fn whole_fleet_that_is_denied_fills_no_more_than_its_lists() {
    let site = Site::new(POLICY);
    let all = (1..=2000).map(|port| {
        let mut row = row(kind(at(2), at(1), protocol::UDP, port), MONDAY, 9);
        row.seen.flows = u64::from(port);
        row
    });
    let report = site.report(all);
    assert_eq!((report.dropped.list.len(), report.dropped.more), (LISTED, 1500));
    assert_eq!((report.dropped.list[0].flows, report.dropped.list[LISTED - 1].flows), (2000, 1501));
    assert_eq!(report.devices.list[0].dropped, 2000);
    assert!(report.text().lines().count() < 120);
}

#[test]
fn policy_as_enforced_drops_what_it_only_reported() {
    let site = Site::new(POLICY);
    let one = [row(kind(at(2), at(9), protocol::UDP, 9), MONDAY, 9)];
    let report = site.report(one);
    assert_eq!((report.dropped.total(), report.reported.total()), (0, 1));
    let policy = as_enforced(&site.policy).into_owned();
    let tables = compile(&policy, &Limits { devices: 99, rules: 99, rows: 9999 }).expect("it is small");
    let report = rows(Setting { policy: &policy, tables: &tables, ..site.setting() }, one);
    assert_eq!((report.dropped.total(), report.reported.total()), (1, 0));
    assert!(matches!(as_enforced(&policy), Cow::Borrowed(_)), "there is nothing to change");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whatever is in a frame, and however much of it was recorded, it is judged or counted, and the report can be written.
    #[test]
    fn no_frame_stops_a_replay(
        seeds in prop::collection::vec((1_u8..6, 1_u8..6, any::<bool>(), any::<u16>()), 1..6),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..24),
        noise in prop::collection::vec(any::<u8>(), 0..90),
        cut in any::<prop::sample::Index>(),
        times in prop::collection::vec(any::<u64>(), 8),
    ) {
        let site = &*SITE;
        let mut frames = Frames::new(site.setting(), site.placed.settings);
        let mut sent: Vec<Vec<u8>> = seeds
            .into_iter()
            .map(|(from, to, udp, port)| {
                first_frame(from, to, if udp { protocol::UDP } else { protocol::TCP }, port)
            })
            .collect();
        for (n, (at, byte)) in changes.into_iter().enumerate() {
            let which = n % sent.len();
            let at = at.index(sent[which].len());
            sent[which][at] = byte;
        }
        sent.push(noise);
        for (frame, time) in sent.iter().zip(times.iter().cycle()) {
            frames.arrive(&frame[..], *time, 0);
            let length = u32::try_from(frame.len()).expect("short");
            let kept = if frame.is_empty() { 0 } else { cut.index(frame.len()) };
            frames.arrive(&Cut { bytes: &frame[..kept], length }, *time, 7);
        }
        let report = frames.report();
        let judged: u64 = report.totals.words.values().sum();
        prop_assert_eq!(judged + report.totals.cut, report.totals.frames);
        prop_assert_eq!(report.totals.frames, 2 * sent.len() as u64);
        prop_assert!(!report.text().is_empty());
    }

    /// A row says what its first frame says: a kind is allowed in a history when the conversation is in a capture.
    #[test]
    fn rows_and_frames_say_the_same(
        from in 1_u8..6,
        to in 1_u8..6,
        udp in any::<bool>(),
        port in prop::sample::select(vec![22_u16, 80, 102, 123, 161, 443, 502, 9999]),
    ) {
        prop_assume!(from != to);
        // Windows are another matter.
        let site = &*TIMELESS;
        let number = if udp { protocol::UDP } else { protocol::TCP };
        let by_row = site.report([row(kind(at(from), at(to), number, port), MONDAY, 9)]);
        let mut frames = Frames::new(site.setting(), site.placed.settings);
        let frame = first_frame(from, to, number, port);
        let Judged::Decided(decision) = frames.arrive(&frame[..], 1, 0) else { panic!("it is whole") };
        let allowed = matches!(decision.verdict, bulkhead_common::decide::Verdict::Allow(_));
        prop_assert_eq!(by_row.totals.allowed == 1, allowed, "{:?} {:?}", decision, by_row);
    }
}

/// A frame of which the end is missing.
struct Cut<'b> {
    bytes: &'b [u8],
    length: u32,
}

impl bulkhead_common::bytes::Bytes for Cut<'_> {
    fn len(&self) -> u32 {
        self.length
    }

    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes.array(offset)
    }
}

/// The first packet of a conversation, from whom the policy says it comes.
fn first_frame(from: u8, to: u8, number: u8, port: u16) -> Vec<u8> {
    let mac = |last: u8| if last < 4 { [0, 0x1d, 0x9c, 0, 0, last] } else { [2, 0, 0, 0, 0, last] };
    let builder = etherparse::PacketBuilder::ethernet2(mac(from), mac(to));
    let builder = builder.ipv4([10, 1, 0, from], [10, 1, 0, to], 64);
    let mut frame = Vec::new();
    if number == protocol::UDP {
        builder.udp(50_000, port).write(&mut frame, b"x").expect("a vector grows");
    } else {
        builder.tcp(50_000, port, 1, 1024).syn().write(&mut frame, b"").expect("a vector grows");
    }
    frame
}
