//! What is known, for how long, and what the rules make of it.

use std::net::Ipv4Addr;

use bulkhead_common::lookup::class;

use super::*;
use crate::{
    compile::{Limits, compile},
    policy::{SourceFile, resolve_texts},
};

const MOST: usize = 4096;

const POLICY: &str = r#"
version = 1

[device.plc]
mac = "00:1d:9c:c7:b0:70"
ip = "10.20.1.11"
[[device.plc.allow]]
to = "vendor"
service = "https"

[device.hmi]
mac = "00:0e:8c:11:20:01"
ip = "10.20.1.20"
[[device.hmi.allow]]
to = "files"
service = ["https", "ssh"]

[network.vendor]
dns = ["update.vendor.example", "*.cdn.example"]

[network.files]
dns = ["*.cdn.example"]
"#;

fn tables(text: &str) -> Tables {
    let files = [SourceFile { path: "a.toml".into(), text: text.into() }];
    let policy = resolve_texts(&files).policy.expect("a valid policy");
    compile(&policy, &Limits { devices: 16, rules: 16, rows: 4096 }).expect("it fits")
}

fn at(last: u8) -> IpAddr {
    Ipv4Addr::new(203, 0, 113, last).into()
}

fn known(name: &str, last: u8) -> Known {
    (name.to_owned(), at(last))
}

/// Rows without the marker for some service: device, last octet, until in seconds.
fn told(rows: &Rows) -> Vec<(u32, u64, u64)> {
    let real = rows.iter().filter(|(key, _)| key.class != class::PAIR);
    real.map(|(key, row)| (key.device, key.address.low & 255, row.expires / SECOND)).collect()
}

#[test]
fn a_name_permits_its_own_devices_what_their_rules_say() {
    let tables = tables(POLICY);
    let mut book = Book::new(MOST);
    for (device, name, last) in [
        ("plc", "update.vendor.example", 1),
        ("hmi", "update.vendor.example", 2),
        ("hmi", "a.cdn.example", 3),
    ] {
        assert_eq!(book.learn(device, known(name, last), 9 * SECOND, 9 * SECOND), News::New);
    }
    // The HMI's rule names the CDN alone, over two services; it is device 1 in the order of the names.
    assert_eq!(told(&book.rows(&tables, &[])), [(2, 1, 9), (1, 3, 9), (1, 3, 9)]);
    assert!(book.rows_at(&tables, &[], "hmi", at(2)).is_empty());
    assert_eq!(book.rows_at(&tables, &[], "plc", at(1)).len(), 2, "the service, and that there is one");
    assert_eq!(book.len, 3);
    assert_eq!(book.in_use(&tables), 2);
    assert_eq!(book.of_device(&tables, "hmi"), [(&known("a.cdn.example", 3), 9 * SECOND)]);
}

#[test]
fn an_address_under_two_names_is_known_for_the_longer_time() {
    let tables = tables(POLICY);
    let mut book = Book::new(MOST);
    book.learn("plc", known("update.vendor.example", 1), 9 * SECOND, 9 * SECOND);
    book.learn("plc", known("a.cdn.example", 1), 20 * SECOND, 20 * SECOND);
    assert_eq!(told(&book.rows_at(&tables, &[], "plc", at(1))), [(2, 1, 20)]);
    assert_eq!(book.over(9 * SECOND), BTreeSet::from([("plc".to_owned(), at(1))]));
    book.forget_over(9 * SECOND);
    assert_eq!(told(&book.rows_at(&tables, &[], "plc", at(1))), [(2, 1, 20)]);
    book.forget_over(20 * SECOND);
    assert_eq!(book, Book::new(MOST));
}

#[test]
fn time_is_never_shortened() {
    let mut book = Book::new(MOST);
    let one = || known("update.vendor.example", 1);
    assert_eq!(book.learn("plc", one(), 9, 9), News::New);
    assert_eq!(book.learn("plc", one(), 5, 5), News::Known);
    assert_eq!(book.learn("plc", one(), 12, 12), News::Longer);
    assert!(!book.keep("plc", at(1), 10) && book.keep("plc", at(1), 13) && !book.keep("hmi", at(1), 99));
    assert_eq!(book.due(12), BTreeSet::new());
    assert_eq!(book.due(13), BTreeSet::from([at(1)]));
}

fn nth(n: usize) -> Known {
    let [.., a, b, c] = n.to_be_bytes();
    ("update.vendor.example".to_owned(), IpAddr::from([198, 18 + a, b, c]))
}

#[test]
fn a_device_fills_its_own_room_only() {
    let tables = tables(POLICY);
    let mut book = Book::new(MOST);
    for n in 0..MOST_OF_A_DEVICE {
        assert_eq!(book.learn("plc", nth(n), 90, 10), News::New);
    }
    assert_eq!(book.learn("plc", nth(MOST_OF_A_DEVICE), 90, 10), News::Full);
    assert_eq!(book.learn("plc", nth(0), 91, 10), News::Longer, "what is known needs no room");
    assert_eq!(book.learn("hmi", known("a.cdn.example", 1), 90, 9), News::New);
    // It makes room of its own, though another's answer ended before.
    book.note_spare(&tables, 10, |device, address| device == "plc" && address != nth(7).1);
    assert_eq!(book.spare_for("plc"), Some(("plc".to_owned(), nth(7))));
    assert_eq!(book.spare_for("hmi"), Some(("hmi".to_owned(), known("a.cdn.example", 1))));
}

#[test]
fn a_full_book_lets_go_first_of_what_no_rule_means_and_then_of_what_outlived_its_answer_unused() {
    let tables = tables(POLICY);
    let mut book = Book::new(4);
    assert_eq!(book.learn("gone", nth(1), 90, 80), News::New);
    assert_eq!(book.learn("plc", nth(2), 90, 20), News::New);
    assert_eq!(book.learn("plc", nth(3), 90, 10), News::New);
    assert!(book.is_filling());
    assert_eq!(book.learn("hmi", known("a.cdn.example", 4), 90, 60), News::New);
    assert_eq!(book.learn("hmi", known("a.cdn.example", 5), 90, 60), News::Full);
    assert_eq!(book.outlived(30), BTreeSet::from([nth(2).1, nth(3).1]));
    assert_eq!(book.spare_for("hmi"), None, "nobody has looked yet");
    book.note_spare(&tables, 30, |_, _| false);
    let mut gone = Vec::new();
    while let Some((device, known)) = book.spare_for("hmi") {
        book.forget(&device, &known);
        gone.push(known);
    }
    assert_eq!(gone, [nth(1), nth(3), nth(2)]);
    assert_eq!(book.len, 1, "an answer that is valid stays");
    // What is heard of again is spare no longer, and neither is what is used.
    let mut book = Book::new(4);
    for (n, valid) in [(1, 10), (2, 11), (3, 12)] {
        book.learn("plc", nth(n), 90, valid);
    }
    book.note_spare(&tables, 30, |_, address| address == nth(2).1);
    assert_eq!(book.learn("plc", nth(1), 80, 50), News::Known);
    assert_eq!(book.spare_for("plc"), Some(("plc".to_owned(), nth(3))));
}

/// What fills a book costs the others no more than a refusal: it is not looked through again for each address.
#[test]
fn a_full_book_is_looked_through_once() {
    let tables = tables(POLICY);
    let mut book = Book::new(64);
    for n in 0..64 {
        book.learn("plc", nth(n), 90, 80);
    }
    let looked = std::cell::Cell::new(0);
    book.note_spare(&tables, 90, |_, _| {
        looked.set(looked.get() + 1);
        true
    });
    for n in 64..1000 {
        assert_eq!(book.learn("plc", nth(n), 90, 80), News::Full);
        assert_eq!(book.spare_for("plc"), None);
    }
    assert_eq!((looked.get(), book.len), (64, 64));
}

#[test]
fn a_policy_that_no_longer_names_a_name_permits_nothing_under_it() {
    let both = tables(POLICY);
    let without = tables(&POLICY.replace("\"update.vendor.example\", ", ""));
    let mut book = Book::new(MOST);
    book.learn("plc", known("update.vendor.example", 1), 9 * SECOND, 9 * SECOND);
    assert!(book.rows(&without, &[]).is_empty());
    assert_eq!((book.in_use(&without), book.of_device(&without, "plc").len()), (0, 0));
    // It comes back before its time is over: nothing has to be asked again.
    assert_eq!(told(&book.rows(&both, &[])), [(2, 1, 9)]);
}

#[test]
fn names_survive_a_boot_by_the_wall_clock() {
    let tables = tables(POLICY);
    let time = |text: &str| text.parse::<Timestamp>().expect("a time");
    let mut book = Book::new(MOST);
    book.learn("plc", known("update.vendor.example", 1), 800 * SECOND, 800 * SECOND);
    let kept = book.to_kept(time("2026-11-22T10:00:00Z"), 500 * SECOND);
    let left = |wall: &str, now: u64| {
        let book = Book::from_kept(&kept, MOST, time(wall), now * SECOND);
        book.of_device(&tables, "plc")[0].1 / SECOND
    };
    // Five minutes were left; a minute later, on a clock that began anew, four are.
    assert_eq!(left("2026-11-22T10:01:00Z", 20), 260);
    assert_eq!(left("2026-11-22T11:00:00Z", 20), 20, "over, and known to be");
    assert_eq!(left("2020-01-01T00:00:00Z", 20), 320, "a clock that went back lengthens nothing");
}

#[test]
fn of_two_rules_with_schedules_the_one_counts_that_is_open() {
    let rule = |day: &str| {
        format!(
            "[[device.plc.allow]]\nto = \"vendor\"\nservice = \"https\"\n\
             windows = [{{ days = \"{day}\", from = \"08:00\", to = \"10:00\", zone = \"UTC\" }}]\n"
        )
    };
    let text = format!(
        "version = 1\n[network.vendor]\ndns = [\"update.vendor.example\"]\n\
         [device.plc]\nip = \"10.20.1.11\"\n{}{}",
        rule("mon"),
        rule("tue")
    );
    let tables = tables(&text);
    let mut book = Book::new(MOST);
    book.learn("plc", known("update.vendor.example", 1), 9 * SECOND, 9 * SECOND);
    // A Monday, a Tuesday.
    for time in ["2026-11-23T09:00:00Z", "2026-11-24T09:00:00Z"] {
        let deadlines = tables.deadlines(time.parse().expect("a time"), 1);
        assert_eq!(deadlines.iter().filter(|deadline| **deadline != 0).count(), 1);
        let rows = book.rows_at(&tables, &deadlines, "plc", at(1));
        for (_, row) in rows.iter().filter(|(key, _)| key.class != class::PAIR) {
            assert_ne!(deadlines[row.row.schedule as usize - 1], 0, "{time}: a closed schedule counts");
        }
    }
}

/// Whatever is known under whatever names: a row never opens more than some name and rule do, and it opens what they do now.
#[test]
fn a_row_by_name_opens_what_one_of_the_rules_opens_and_no_more() {
    let allow = |to: &str, from: u64| {
        let windows = match from {
            0 => String::new(),
            hour => format!(
                "windows = [{{ days = \"mon-sun\", from = \"{hour:02}:00\", to = \"{:02}:00\", zone = \"UTC\" }}]\n",
                hour + 2
            ),
        };
        format!("[[device.plc.allow]]\nto = \"{to}\"\nservice = \"https\"\n{windows}")
    };
    const NAMES: [&str; 3] = ["a.example", "b.example", "c.example"];
    // Each rule: the network, and at which hour its window of two begins.
    let rules: [&[(usize, u64)]; 5] = [
        &[(0, 8), (0, 12)],
        &[(0, 8), (1, 9), (2, 0)],
        &[(0, 0), (1, 9)],
        &[(0, 8), (1, 10), (1, 14), (2, 9)],
        &[(0, 20), (1, 21)],
    ];
    let noon = "2026-11-23T00:00:00Z".parse::<Timestamp>().expect("a time");
    const HOUR: u64 = 3600 * SECOND;
    for rules in rules {
        let networks = NAMES.iter().enumerate();
        let mut text = "version = 1\n[device.plc]\nip = \"10.20.1.11\"\n".to_owned();
        text.extend(networks.map(|(n, name)| format!("[network.n{n}]\ndns = [\"{name}\"]\n")));
        text.extend(rules.iter().map(|(network, from)| allow(&format!("n{network}"), *from)));
        let tables = tables(&text);
        for (now, a, b, c) in (0..24).flat_map(|now| {
            let ends = [0, 1, 3, 30];
            ends.into_iter().flat_map(move |a| {
                ends.into_iter().flat_map(move |b| ends.into_iter().map(move |c| (now, a, b, c)))
            })
        }) {
            let at = |hours: u64| 1 + hours * HOUR;
            let mut book = Book::new(MOST);
            for (name, until) in NAMES.iter().zip([a, b, c]) {
                book.learn("plc", known(name, 1), at(now + until), at(now));
            }
            let wall = noon + SignedDuration::from_hours(i64::try_from(now).expect("a few"));
            let deadlines = tables.deadlines(wall, at(now));
            let rows = book.rows(&tables, &deadlines);
            let open = |later: u64| {
                rows.iter().filter(|(key, _)| key.class != class::PAIR).any(|(_, row)| {
                    let schedule = row.row.schedule;
                    let closes = if schedule == 0 { u64::MAX } else { deadlines[schedule as usize - 1] };
                    row.expires > at(now + later) && closes > at(now + later)
                })
            };
            let wanted = |later: u64| {
                rules.iter().any(|(network, from)| {
                    let hour = (now + later) % 24;
                    let is_open = *from == 0 || (*from..from + 2).contains(&hour);
                    is_open && [a, b, c][*network] > later
                })
            };
            let what = format!("{rules:?} at {now} known for {a}, {b} and {c}");
            assert_eq!(open(0), wanted(0), "{what}");
            for later in 1..6 {
                assert!(!open(later) || wanted(later), "{what}, {later} h later");
            }
        }
    }
}

#[test]
fn what_a_network_excepts_no_name_brings_back() {
    let text = POLICY.replace(
        "dns = [\"*.cdn.example\"]",
        "dns = [\"*.cdn.example\"]\ncidr = \"203.0.113.0/24\"\nexcept = \"203.0.113.64/26\"",
    );
    let tables = tables(&text);
    let mut book = Book::new(MOST);
    for last in [63, 66] {
        book.learn("plc", known("a.cdn.example", last), 9 * SECOND, 9 * SECOND);
        book.learn("hmi", known("a.cdn.example", last), 9 * SECOND, 9 * SECOND);
    }
    // Of the one network it is no part; of the other, which says nothing of it, it is.
    assert_eq!(told(&book.rows(&tables, &[])), [(1, 63, 9), (1, 63, 9), (2, 63, 9), (2, 66, 9)]);
    assert_eq!((book.in_use(&tables), book.of_device(&tables, "hmi").len()), (3, 1));
}
