//! What is known, for how long, and what the rules make of it.

use std::net::Ipv4Addr;

use bulkhead_common::lookup::class;

use super::*;
use crate::{
    compile::{Limits, compile},
    policy::{SourceFile, resolve_texts},
};

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
    let mut book = Book::default();
    for (device, name, last) in [
        ("plc", "update.vendor.example", 1),
        ("hmi", "update.vendor.example", 2),
        ("hmi", "a.cdn.example", 3),
    ] {
        assert_eq!(book.learn(&tables, device, known(name, last), 9 * SECOND), News::New);
    }
    // The HMI's rule names the CDN alone, over two services; it is device 1 in the order of the names.
    assert_eq!(told(&book.rows(&tables, &[])), [(2, 1, 9), (1, 3, 9), (1, 3, 9)]);
    assert!(book.rows_at(&tables, &[], "hmi", at(2)).is_empty());
    assert_eq!(book.rows_at(&tables, &[], "plc", at(1)).len(), 2, "the service, and that there is one");
    assert_eq!(book.len(), 3);
    assert_eq!(book.in_use(&tables), 2);
    assert_eq!(book.of_device(&tables, "hmi"), [(&known("a.cdn.example", 3), 9 * SECOND)]);
}

#[test]
fn an_address_under_two_names_is_known_for_the_longer_time() {
    let tables = tables(POLICY);
    let mut book = Book::default();
    book.learn(&tables, "plc", known("update.vendor.example", 1), 9 * SECOND);
    book.learn(&tables, "plc", known("a.cdn.example", 1), 20 * SECOND);
    assert_eq!(told(&book.rows_at(&tables, &[], "plc", at(1))), [(2, 1, 20)]);
    assert_eq!(book.over(9 * SECOND), BTreeSet::from([("plc".to_owned(), at(1))]));
    book.forget_over(9 * SECOND);
    assert_eq!(told(&book.rows_at(&tables, &[], "plc", at(1))), [(2, 1, 20)]);
    book.forget_over(20 * SECOND);
    assert_eq!(book, Book::default());
}

#[test]
fn time_is_never_shortened() {
    let tables = tables(POLICY);
    let mut book = Book::default();
    let one = || known("update.vendor.example", 1);
    assert_eq!(book.learn(&tables, "plc", one(), 9), News::New);
    assert_eq!(book.learn(&tables, "plc", one(), 5), News::Known);
    assert_eq!(book.learn(&tables, "plc", one(), 12), News::Longer);
    assert!(!book.keep("plc", at(1), 10) && book.keep("plc", at(1), 13) && !book.keep("hmi", at(1), 99));
    assert_eq!(book.due(12), BTreeSet::new());
    assert_eq!(book.due(13), BTreeSet::from([at(1)]));
}

#[test]
fn a_device_fills_its_own_room_only_and_all_have_a_bound() {
    let tables = tables(POLICY);
    let mut book = Book::default();
    let nth = |n: usize| {
        let [.., a, b] = n.to_be_bytes();
        ("update.vendor.example".to_owned(), IpAddr::from([198, 18, a, b]))
    };
    for n in 0..MOST_OF_A_DEVICE {
        assert_eq!(book.learn(&tables, "plc", nth(n), 9), News::New);
    }
    assert_eq!(book.learn(&tables, "plc", nth(MOST_OF_A_DEVICE), 9), News::Full);
    assert_eq!(book.learn(&tables, "plc", nth(0), 10), News::Longer, "what is known needs no room");
    assert_eq!(book.learn(&tables, "hmi", known("a.cdn.example", 1), 9), News::New);
    // What no rule means makes room: here of devices that are gone.
    let mut book = Book::default();
    for n in 0..MOST {
        let device = format!("gone-{}", n / MOST_OF_A_DEVICE);
        assert_eq!(book.learn(&tables, &device, nth(n), 9), News::New);
    }
    assert_eq!(book.learn(&tables, "plc", nth(0), 9), News::New);
    assert_eq!(book.len(), 1);
}

#[test]
fn a_policy_that_no_longer_names_a_name_permits_nothing_under_it() {
    let both = tables(POLICY);
    let without = tables(&POLICY.replace("\"update.vendor.example\", ", ""));
    let mut book = Book::default();
    book.learn(&both, "plc", known("update.vendor.example", 1), 9 * SECOND);
    assert!(book.rows(&without, &[]).is_empty());
    assert_eq!((book.in_use(&without), book.of_device(&without, "plc").len()), (0, 0));
    // It comes back before its time is over: nothing has to be asked again.
    assert_eq!(told(&book.rows(&both, &[])), [(2, 1, 9)]);
}

#[test]
fn names_survive_a_boot_by_the_wall_clock() {
    let tables = tables(POLICY);
    let time = |text: &str| text.parse::<Timestamp>().expect("a time");
    let mut book = Book::default();
    book.learn(&tables, "plc", known("update.vendor.example", 1), 800 * SECOND);
    let kept = book.to_kept(time("2026-11-22T10:00:00Z"), 500 * SECOND);
    let left = |wall: &str, now: u64| {
        let book = Book::from_kept(&kept, time(wall), now * SECOND);
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
    let mut book = Book::default();
    book.learn(&tables, "plc", known("update.vendor.example", 1), 9 * SECOND);
    // A Monday, a Tuesday.
    for time in ["2026-11-23T09:00:00Z", "2026-11-24T09:00:00Z"] {
        let deadlines = tables.deadlines(time.parse().expect("a time"), 1);
        assert_eq!(deadlines.iter().filter(|deadline| **deadline != 0).count(), 1);
        for row in book.rows_at(&tables, &deadlines, "plc", at(1)).values() {
            assert_ne!(deadlines[row.row.schedule as usize - 1], 0, "{time}: a closed schedule counts");
        }
    }
}
