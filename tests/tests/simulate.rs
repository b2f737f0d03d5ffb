//! `bulkhead simulate` as a person meets it, without root: captures that are made here, what is said of them, and what becomes of captures
//! that are not whole. Snapshots show the text and the JSON.

mod command;

use std::{ffi::OsStr, net::IpAddr, path::Path};

use bulkhead_agent::{
    history::{History, Limits},
    traffic::{Day, End, Kind, Row, Seen, Service, Unseen, Why},
};
use bulkhead_tests::{
    capture::{Recorded, paced, pcap, pcapng},
    frame::frame,
};
use command::{Ran, bulkhead, file, folder};
use serde_json::Value;

/// 2026-11-02T08:00:00Z, a Monday, ns.
const MONDAY: u64 = 1_793_606_400_000_000_000;
const HOUR: u64 = 3_600_000_000_000;

const POLICY: &str = r#"version = 1

[device.plc]
mac = "00:1d:9c:c7:b0:70"
ip = ["10.20.1.11", "fd00:20::a14:10b"]
mode = "enforce"
criticality = "safety"

[[device.plc.allow]]
from = "hmi"
service = ["modbus", "ping"]

[[device.plc.allow]]
from = "hmi"
service = "https"
windows = [{ days = "mon-fri", from = "08:00", to = "10:00", zone = "UTC" }]

[device.oven]
mac = "00:1d:9c:c7:b0:71"
ip = ["10.20.1.12", "fd00:20::a14:10c"]
criticality = "low"

[[device.oven.allow]]
to = "any"
service = "dns"

[device.hmi]
mac = "00:0e:8c:11:20:01"
ip = ["10.20.1.20", "fd00:20::a14:114"]
mode = "enforce"

[[device.hmi.allow]]
to = "line"
service = "ntp"

[network.line]
cidr = ["10.20.9.0/24"]
"#;

fn frames(lines: &str) -> Vec<Vec<u8>> {
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| frame(line).unwrap_or_else(|error| panic!("{error}"))).collect()
}

/// A plant for a moment: what is allowed, what is not, and what is no conversation.
const TALK: &str = "
    hmi>plc tcp 49152>502 S
    plc>hmi tcp 502>49152 SA
    hmi>plc tcp 49152>502 A
    hmi>plc tcp 49152>502 PA
    plc>hmi tcp 502>49152 PA
    hmi>plc tcp 49153>102 S
    plc>hmi tcp 102>49153 SA
    hmi>plc tcp 49153>102 A
    hmi>plc tcp 49153>102 PA
    plc>hmi tcp 102>49153 PA
    hmi>plc tcp6 49154>102 S
    plc>hmi tcp6 102>49154 SA
    hmi>plc tcp6 49154>102 A
    hmi>plc tcp6 49155>502 S vlan=7
    plc>hmi tcp6 502>49155 SA vlan=7
    oven>hmi udp 50000>53
    hmi>oven udp 53>50000
    oven>hmi udp 50001>514
    hmi>plc icmp 8 7
    plc>hmi icmp 0 7
    oven>plc tcp 50100>22 S
    plc>oven tcp 22>50100 RA
    oven>plc tcp 50100>23 S
    oven>plc tcp 50100>80 S
    hmi>plc arp ask plc
    plc>hmi arp is plc
    oven>plc arp is plc
    hmi>plc udp 50002>69 len=16 frag=0+
    hmi>plc udp 50002>69 frag=2
    hmi>plc tcp 49152>502 FS
";

struct Case<'a> {
    folder: &'a Path,
    capture: Vec<u8>,
    more: &'a [&'a str],
}

impl Case<'_> {
    fn run(&self) -> Ran {
        let policy = file(self.folder, "policy.toml", POLICY);
        let capture = file(self.folder, "seen.pcap", &self.capture);
        let mut words: Vec<&OsStr> = vec![
            "simulate".as_ref(),
            "--policy".as_ref(),
            policy.as_os_str(),
            "--pcap".as_ref(),
            capture.as_os_str(),
        ];
        words.extend(self.more.iter().map(OsStr::new));
        let ran = bulkhead(&words);
        // Folders differ from machine to machine.
        let shorten = |text: &str| text.replace(&format!("{}/", self.folder.display()), "");
        Ran { code: ran.code, out: shorten(&ran.out), err: shorten(&ran.err) }
    }

    fn report(&self) -> (i32, Value) {
        let more: Vec<&str> = self.more.iter().copied().chain(["--json"]).collect();
        let ran = Case { more: &more, capture: self.capture.clone(), ..*self }.run();
        let report =
            serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}{}", ran.out, ran.err));
        (ran.code, report)
    }
}

#[test]
fn plant_is_told_of_by_device_with_what_helps() {
    let folder = folder("plant_is_told_of_by_device_with_what_helps");
    let capture = pcap(&paced(MONDAY, frames(TALK)), 65_535);
    let case = Case { folder: &folder, capture, more: &[] };
    let ran = case.run();
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    insta::assert_snapshot!("plant", ran.out);
    let (code, report) = case.report();
    assert_eq!(code, 1);
    insta::assert_snapshot!("plant-json", serde_json::to_string_pretty(&report).expect("it was JSON"));
}

#[test]
fn exit_code_is_of_what_was_asked_for() {
    let folder = folder("exit_code_is_of_what_was_asked_for");
    let of = |lines: &str, more: &[&str]| {
        let capture = pcap(&paced(MONDAY, frames(lines)), 65_535);
        Case { folder: &folder, capture, more }.run().code
    };
    let allowed = "hmi>plc tcp 49152>502 S\nplc>hmi tcp 502>49152 SA";
    assert_eq!(of(allowed, &[]), 0);
    assert_eq!(of(allowed, &["--fail-on", "unused"]), 1, "no DNS was seen");
    // The oven is only monitored.
    let reported = "oven>hmi udp 50001>514";
    assert_eq!(of(reported, &[]), 1);
    assert_eq!(of(reported, &["--fail-on", "drop"]), 1, "the HMI is enforced");
    let reported = "oven>internet udp 50001>514";
    assert_eq!(of(reported, &["--fail-on", "drop"]), 0);
    assert_eq!(of(reported, &["--fail-on", "drop", "--as-enforced"]), 1);
    assert_eq!(of(reported, &["--fail-on", "none"]), 0);
    // Nobody answers: nothing depends on it.
    assert_eq!(of("oven>plc tcp 50100>22 S\nplc>oven tcp 22>50100 RA", &[]), 0);
    // A sensor that was down proves nothing.
    assert_eq!(of("", &[]), 2);
    assert_eq!(of("", &["--fail-on", "unused"]), 2);
    assert_eq!(of("", &["--fail-on", "none"]), 0);
}

#[test]
fn rule_with_a_window_is_judged_at_the_time_of_the_recording() {
    let folder = folder("rule_with_a_window_is_judged_at_the_time_of_the_recording");
    let talk = "hmi>plc tcp 49152>443 S\nplc>hmi tcp 443>49152 SA";
    let of = |time: u64| {
        let capture = pcap(&paced(time, frames(talk)), 65_535);
        let (code, report) = Case { folder: &folder, capture, more: &[] }.report();
        (code, report["dropped"]["list"][0]["reason"].as_str().map(str::to_owned))
    };
    assert_eq!(of(MONDAY + HOUR), (0, None));
    assert_eq!(of(MONDAY + 3 * HOUR), (1, Some("outside-schedule".to_owned())));
    assert_eq!(of(MONDAY - 24 * HOUR), (1, Some("outside-schedule".to_owned())), "a Sunday");
}

#[test]
fn window_leaves_out_what_is_before_and_behind() {
    let folder = folder("window_leaves_out_what_is_before_and_behind");
    let seen = |hour: u64, line: &str| Recorded {
        time: MONDAY + hour * HOUR,
        interface: 0,
        bytes: frame(line).expect("a frame"),
    };
    let lines = [seen(0, "oven>hmi udp 1>514"), seen(1, "oven>hmi udp 1>515"), seen(2, "oven>hmi udp 1>516")];
    let capture = pcap(&lines, 65_535);
    let more = ["--since", "2026-11-02T08:30:00Z", "--until", "2026-11-02T09:30:00Z"];
    let (_, report) = Case { folder: &folder, capture: capture.clone(), more: &more }.report();
    assert_eq!(report["totals"]["frames"], 1);
    assert_eq!(report["dropped"]["list"][0]["selector"], "udp/515");
    // A day is whole, as `learn` has it; so long ago is long after.
    for (more, frames) in [
        (["--since", "2026-11-02", "--until", "2026-11-02"], 3),
        (["--since", "2026-11-03", "--until", "2026-11-03"], 0),
        (["--since", "4000d", "--until", "2026-11-02T08:59:59Z"], 1),
    ] {
        let (_, report) = Case { folder: &folder, capture: capture.clone(), more: &more }.report();
        assert_eq!(report["totals"]["frames"], frames, "{more:?}");
    }
    for (more, said) in [
        (["--since", "2026-11-03", "--until", "2026-11-02"], "--since is later than --until"),
        (["--since", "yesterday", "--until", "2026-11-02"], "`2026-11-01T08:00:00Z`, `14d`"),
    ] {
        let ran = Case { folder: &folder, capture: capture.clone(), more: &more }.run();
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{more:?}");
        assert!(ran.err.contains(said), "{}", ran.err);
    }
}

#[test]
fn interface_of_the_configuration_is_found_by_its_name_in_the_capture() {
    let folder = folder("interface_of_the_configuration_is_found_by_its_name_in_the_capture");
    let config = "[interface.cell0]\nrole = \"device-side\"\n[interface.up0]\nrole = \"uplink\"\n\
                  [segment.lane]\ninterface = \"cell0\"\nvlan = 7\ninfrastructure = { arp = false }\n";
    let config = file(&folder, "bulkhead.toml", config);
    let bound = file(
        &folder,
        "bound.toml",
        "version = 1\n[device.plc]\nip = \"10.20.1.11\"\nsegment = \"cell0\"\nmode = \"enforce\"\n",
    );
    let arp = frames("plc>hmi arp ask hmi");
    let of = |names: &[&str], interface: usize, bytes: &[u8], more: &[&str]| {
        let recorded = [Recorded { time: MONDAY, interface, bytes: bytes.to_vec() }];
        let capture = file(&folder, "seen.pcapng", pcapng(&recorded, names));
        let mut words: Vec<&OsStr> =
            vec!["simulate".as_ref(), "--json".as_ref(), "--policy".as_ref(), bound.as_ref()];
        words.extend(["--config".as_ref(), config.as_os_str(), "--pcap".as_ref(), capture.as_os_str()]);
        words.extend(more.iter().map(OsStr::new));
        let ran = bulkhead(&words);
        let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}", ran.err));
        report["totals"]["words"].as_object().expect("words").keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(of(&["up0", "cell0"], 1, &arp[0], &[]), ["arp"]);
    assert_eq!(of(&["up0", "cell0"], 0, &arp[0], &[]), ["wrong-segment"]);
    assert_eq!(of(&["up0", "cell0"], 0, &arp[0], &["--interface", "cell0"]), ["arp"]);
    // Nobody knows where: each sender is where it should be.
    assert_eq!(of(&["mirror"], 0, &arp[0], &[]), ["arp"]);
    let tagged = frames("plc>hmi arp ask hmi vlan=7");
    assert_eq!(of(&["cell0"], 0, &tagged[0], &[]), ["wrong-segment"], "a segment of its own");
    let ran = bulkhead(&[
        "simulate".as_ref(),
        "--policy".as_ref(),
        bound.as_os_str(),
        "--config".as_ref(),
        config.as_os_str(),
        "--interface".as_ref(),
        "cell1".as_ref(),
        "--pcap".as_ref(),
        bound.as_os_str(),
    ]);
    assert_eq!(ran.code, 2);
    assert_eq!(ran.err, "error: no interface `cell1` is configured\nhint: did you mean `cell0`?\n");
}

#[test]
fn frames_of_which_too_little_was_recorded_are_counted_and_not_judged() {
    let folder = folder("frames_of_which_too_little_was_recorded_are_counted_and_not_judged");
    let talk = frames("hmi>plc tcp 49152>502 S\nplc>hmi tcp 502>49152 SA\noven>hmi udp 1>514");
    let of = |most: usize| {
        let capture = pcap(&paced(MONDAY, talk.clone()), most);
        let (code, report) = Case { folder: &folder, capture, more: &[] }.report();
        (code, report["totals"]["cut"].as_u64(), report["totals"]["allowed"].as_u64())
    };
    // Headers are enough.
    assert_eq!(of(54), (1, Some(0), Some(1)));
    assert_eq!(of(40), (2, Some(3), Some(0)), "nothing was judged");
}

#[test]
fn broken_captures_are_errors_that_name_the_place_and_keep_what_came_before() {
    let folder = folder("broken_captures_are_errors_that_name_the_place_and_keep_what_came_before");
    let whole = pcap(&paced(MONDAY, frames("hmi>plc tcp 49152>502 S\nplc>hmi tcp 502>49152 SA")), 65_535);
    let of = |capture: Vec<u8>| Case { folder: &folder, capture, more: &[] }.run();
    // It was not closed: a note, and what there is counts.
    let ran = of(whole[..whole.len() - 3].to_vec());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(
        ran.out.contains("note: seen.pcap is cut short: it ends within a record at byte 102"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("looked at: 1 frame"), "{}", ran.out);
    // Nonsense behind what is good.
    let ran = of([&whole[..], &[0xff; 64]].concat());
    assert_eq!(ran.code, 2);
    let place = format!("it is damaged at byte {}: a frame of 4294967295 bytes", whole.len());
    assert!(ran.err.contains(&place) && ran.out.contains("looked at: 2 frames"), "{}{}", ran.err, ran.out);
    for (bytes, wanted) in [
        (
            &b""[..],
            "error: failed to read `seen.pcap`: it is neither pcap nor pcapng: it begins with nothing",
        ),
        (b"\x1f\x8b\x08\x00", "hint: it is compressed: `gunzip` it first"),
        (
            b"version = 1\n",
            "it begins with `76 65 72 73`\nhint: `tcpdump -i IFACE -w FILE` writes what is read here",
        ),
        (&whole[..10], "it ends within the header of the file at byte 0"),
    ] {
        let ran = of(bytes.to_vec());
        assert_eq!((ran.code, ran.out.as_str()), (2, ""));
        assert!(ran.err.contains(wanted), "{}", ran.err);
    }
    // No Ethernet.
    let mut cooked = whole;
    cooked[20] = 113;
    let ran = of(cooked);
    assert_eq!(ran.code, 2);
    assert_eq!(
        ran.err,
        "error: `seen.pcap` has no Ethernet frames: Linux cooked frames, as `tcpdump -i any` writes them (link type 113)\n\
         hint: record on one interface by its name: `tcpdump -i eth0 -w FILE`\n"
    );
}

#[test]
fn files_and_policies_that_are_not_there_are_told() {
    let folder = folder("files_and_policies_that_are_not_there_are_told");
    let policy = file(&folder, "policy.toml", POLICY);
    let wrong = file(&folder, "wrong.toml", "version = 1\n[device.plc]\nipp = \"10.0.0.1\"\n");
    let run = |policy: &Path, pcap: &str| {
        bulkhead(&[
            "simulate".as_ref(),
            "--policy".as_ref(),
            policy.as_os_str(),
            "--pcap".as_ref(),
            pcap.as_ref(),
        ])
    };
    let ran = run(&policy, "/nonexistent/a.pcap");
    assert_eq!(ran.code, 2);
    assert_eq!(
        ran.err,
        "error: failed to read `/nonexistent/a.pcap`: No such file or directory (os error 2)\n"
    );
    let ran = run(&wrong, "/nonexistent/a.pcap");
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("unknown key `ipp`"), "{}", ran.err);
    let ran = bulkhead(&[
        "simulate".as_ref(),
        "--policy".as_ref(),
        policy.as_os_str(),
        "--history".as_ref(),
        "--file".as_ref(),
        OsStr::new("/nonexistent/history.db"),
    ]);
    assert_eq!(ran.code, 2);
    let wanted =
        "error: there is no history at `/nonexistent/history.db`\nhint: the agent begins one when it runs; ";
    assert!(ran.err.starts_with(wanted), "{}", ran.err);
}

/// A history of one conversation, answered, on a Monday.
fn history_of(folder: &Path, from: [u8; 4], to: [u8; 4], number: u16) -> std::path::PathBuf {
    let path = folder.join("history.db");
    let mut history = History::open(&path, Limits { bytes: 1 << 26, days: 400 }).expect("a new file");
    let day = Day(i32::try_from(MONDAY / (24 * HOUR)).expect("a day"));
    let first = day.begin() + 9 * 3600;
    let service = Service { protocol: 6, number };
    let seen =
        Seen { flows: 4, opened: 4, answered: 4, packets: [9, 8], last: first + 60, ..Seen::at(first) };
    let kind = Kind { from: End::at(IpAddr::from(from)), to: End::at(IpAddr::from(to)), service };
    history.add(&[Row { kind, day, seen }], &[], None).expect("it fits");
    path
}

fn simulated(policy: &Path, history: &Path, more: &[&OsStr]) -> Ran {
    let mut words: Vec<&OsStr> = vec!["simulate".as_ref(), "--policy".as_ref(), policy.as_os_str()];
    words.extend(["--history".as_ref(), "--file".as_ref(), history.as_os_str()]);
    words.extend(more);
    bulkhead(&words)
}

#[test]
fn history_is_judged_on_the_segments_of_the_configuration() {
    let folder = folder("history_is_judged_on_the_segments_of_the_configuration");
    let policy = file(&folder, "policy.toml", POLICY);
    // Two strangers.
    let history = history_of(&folder, [10, 9, 0, 1], [10, 9, 0, 2], 80);
    let of = |lines: &str| {
        let config = file(&folder, "bulkhead.toml", format!("[interface.cell0]\n{lines}"));
        simulated(&policy, &history, &["--config".as_ref(), config.as_os_str()]).code
    };
    assert_eq!(of(""), 0);
    assert_eq!(of("unmanaged = \"drop\"\n"), 1);
    assert_eq!(of("[interface.cell1]\nunmanaged = \"drop\"\n"), 1, "nobody knows where it was");
}

#[test]
fn what_is_allowed_under_a_name_alone_is_failed_on_if_that_is_wanted() {
    let folder = folder("what_is_allowed_under_a_name_alone_is_failed_on_if_that_is_wanted");
    let rule = "[[device.hmi.allow]]\nto = \"maker\"\nservice = \"https\"\n[network.maker]\ndns = [\"*.maker.example\"]\n";
    let policy = file(&folder, "policy.toml", format!("{POLICY}{rule}"));
    let history = history_of(&folder, [10, 20, 1, 20], [198, 51, 100, 7], 443);
    let ran = simulated(&policy, &history, &[]);
    let first = ran.out.lines().next().unwrap_or_default();
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(
        first.starts_with("NOTHING BREAKS") && first.contains("1 kind allowed only under a name"),
        "{first}"
    );
    assert_eq!(simulated(&policy, &history, &["--fail-on".as_ref(), "name".as_ref()]).code, 1);
}

#[test]
fn history_is_judged_by_the_days_asked_for_and_its_gaps_are_told() {
    let folder = folder("history_is_judged_by_the_days_asked_for_and_its_gaps_are_told");
    let policy = file(&folder, "policy.toml", POLICY);
    let path = folder.join("history.db");
    let mut history = History::open(&path, Limits { bytes: 1 << 26, days: 400 }).expect("a new file");
    let monday = Day(i32::try_from(MONDAY / (24 * HOUR)).expect("a day"));
    let end = |last: u8| End::at(IpAddr::from([10, 20, 1, last]));
    let row = |number: u16, day: Day| {
        let first = day.begin() + 9 * 3600;
        let service = Service { protocol: 6, number };
        let seen =
            Seen { flows: 4, opened: 4, answered: 4, packets: [9, 8], last: first + 60, ..Seen::at(first) };
        Row { kind: Kind { from: end(20), to: end(11), service }, day, seen }
    };
    let rows = [row(502, monday), row(102, monday), row(102, Day(monday.0 + 1)), row(23, Day(monday.0 + 1))];
    let gap = Unseen { from: monday.begin(), to: monday.begin() + 60, why: Why::Forgotten, count: 3 };
    history.add(&rows, &[gap], None).expect("it fits");
    drop(history);
    let run = |more: &[&str]| {
        let mut words: Vec<&OsStr> = vec!["simulate".as_ref(), "--policy".as_ref(), policy.as_os_str()];
        words.extend(["--history".as_ref(), "--file".as_ref(), path.as_os_str()]);
        words.extend(more.iter().map(OsStr::new));
        bulkhead(&words)
    };
    let ran = run(&[]);
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    let text = ran.out.replace(&format!("{}/", folder.display()), "");
    insta::assert_snapshot!("history", text);
    // Whole days.
    let ran = run(&["--until", "2026-11-02T00:00:00Z", "--json"]);
    let report: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!((&report["totals"]["rows"], &report["totals"]["dropped"]), (&2.into(), &1.into()));
    let ran = run(&["--since", "2026-11-03T12:00:00Z"]);
    assert!(
        ran.out.contains("looked at: 2 rows, 8 conversations") && !ran.out.contains("note: "),
        "{}",
        ran.out
    );
}

/// A scan of a thousand ports, of which one is allowed, is neither a break nor a thousand lines.
#[test]
fn scan_is_counted_and_shown_as_far_as_there_is_room() {
    let folder = folder("scan_is_counted_and_shown_as_far_as_there_is_room");
    let scan: String = (1..=1000)
        .map(|port| format!("oven>plc tcp 50000>{port} S\nplc>oven tcp {port}>50000 RA\n"))
        .collect();
    let capture = pcap(&paced(MONDAY, frames(&scan)), 65_535);
    let case = Case { folder: &folder, capture, more: &[] };
    let (code, report) = case.report();
    assert_eq!((code, &report["totals"]["attempts"]), (0, &Value::from(999)));
    assert_eq!(report["attempts"]["more"], 499);
    let ran = case.run();
    assert!(ran.out.lines().count() < 40, "{}", ran.out);
    assert!(ran.out.contains("  + 989 more"), "{}", ran.out);
}
