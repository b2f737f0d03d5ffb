//! What is no habit is never learned, however it looks.

use super::*;

const TEXT: &str = r#"version = 1
[class.plc]
[device.hmi]
ip = "10.1.0.1"
[device.laptop]
ip = "10.1.0.9"
[device.plc-1]
ip = "10.1.0.11"
class = "plc"
[device.plc-2]
ip = "10.1.0.12"
class = "plc"
[device.plc-3]
ip = "10.1.0.13"
class = "plc"
[device.sick]
ip = "10.1.0.66"
mode = "quarantine"
[network.office]
cidr = "10.2.0.0/24"
"#;

/// The HMI polls all three.
fn polling() -> Vec<Row> {
    ["10.1.0.11", "10.1.0.12", "10.1.0.13"]
        .iter()
        .flat_map(|plc| week(tcp("10.1.0.1", plc, 502), 200))
        .collect()
}

/// The proposal admits what is learned, and that is so many talks.
fn only_those(made: &Made, many: usize) -> Vec<&Talk> {
    assert!(made.proof.holds(), "{:?}", made.proof);
    let learned: Vec<&Talk> =
        made.fates.iter().filter(|(_, fate)| **fate == Fate::Learned).map(|(talk, _)| talk).collect();
    assert_eq!(learned.len(), many, "{learned:?}");
    learned
}

/// Only what the HMI does is learned, and the proposal admits nothing else.
fn only_polling(made: &Made) {
    let learned = only_those(made, 3);
    assert!(learned.iter().all(|talk| talk.service.number == 502), "{learned:?}");
    assert!(
        !made.text.contains("laptop")
            || made.text.lines().all(|line| !line.contains("laptop") || line.starts_with('#'))
    );
}

#[test]
fn port_scan_is_not_learned_though_a_port_is_open() {
    let plant = plant(TEXT);
    let mut rows = polling();
    for port in 1..1000 {
        rows.push(probe(tcp("10.1.0.9", "10.1.0.11", port), MONDAY + 1, 3, port == 502));
    }
    let made = plant.learn(&rows);
    only_polling(&made);
    let scans = made.found.scans.all(&plant.settings);
    assert_eq!((scans.len(), scans[0].2.probes), (1, 999));
    assert_eq!(made.found.left[&crate::learn::Left::Scan].rows, 999);
}

#[test]
fn scan_that_reads_banners_of_open_ports_every_night_waits_for_a_person() {
    let plant = plant(TEXT);
    let mut rows = polling();
    for day in MONDAY..MONDAY + 5 {
        for port in 1..40 {
            rows.push(probe(tcp("10.1.0.9", "10.1.0.12", port), day, 3, false));
        }
        let open = probe(tcp("10.1.0.9", "10.1.0.12", 502), day, 3, true);
        let seen = Seen { flows: 4, opened: 4, answered: 4, packets: [24, 20], ..open.seen };
        rows.push(Row { seen, ..open });
    }
    let made = plant.learn(&rows);
    only_polling(&made);
    assert_eq!(made.fate(&plant, "laptop -> plc-2 tcp/502"), "in-scan");
}

#[test]
fn what_a_scanner_found_and_uses_later_waits_for_a_person() {
    let plant = plant(TEXT);
    let mut rows = polling();
    for scanner in ["10.1.0.9", "10.1.0.1"] {
        rows.extend((600..640).map(|port| probe(tcp(scanner, "10.1.0.12", port), MONDAY, 3, false)));
    }
    rows.extend(week(tcp("10.1.0.9", "10.1.0.12", 8080), 50).into_iter().skip(1));
    let made = plant.learn(&rows);
    assert_eq!(made.fate(&plant, "laptop -> plc-2 tcp/8080"), "after-scan");
    // What somebody did on the day of his scan already is no proof, before it is one.
    assert_eq!(made.fate(&plant, "hmi -> plc-2 tcp/502"), "after-scan");
    let late: Vec<Row> = rows
        .into_iter()
        .map(|row| {
            let is_scan = (600..640).contains(&row.kind.service.number);
            let later = |moment: i64| moment + 2 * 86_400;
            let seen = Seen { first: later(row.seen.first), last: later(row.seen.last), ..row.seen };
            if is_scan { Row { day: Day(row.day.0 + 2), seen, ..row } } else { row }
        })
        .collect();
    let made = plant.learn(&late);
    assert_eq!(made.fate(&plant, "hmi -> plc-2 tcp/502"), "learned");
}

#[test]
fn sweep_over_hosts_is_not_learned() {
    let plant = plant(TEXT);
    let mut rows = polling();
    for host in 1..=254 {
        // Pings, of which the devices answer some.
        let kind = Kind {
            service: Service { protocol: 1, number: 8 << 8 },
            ..tcp("10.2.0.7", &format!("10.1.0.{host}"), 0)
        };
        rows.push(probe(kind, MONDAY, 5, host % 2 == 1));
        rows.push(probe(kind, MONDAY + 1, 5, host % 2 == 1));
        rows.push(probe(kind, MONDAY + 2, 5, host % 2 == 1));
    }
    let made = plant.learn(&rows);
    only_polling(&made);
}

#[test]
fn slow_scan_is_not_learned() {
    let plant = plant(TEXT);
    let mut rows = polling();
    for n in 0..60_u16 {
        // Another port every two hours: a few on each day.
        let day = MONDAY + i32::from(n / 8);
        rows.push(probe(tcp("10.1.0.9", "10.1.0.13", 400 + n * 17), day, i64::from(n % 8) * 2, true));
    }
    let made = plant.learn(&rows);
    only_polling(&made);
}

#[test]
fn flood_round_the_ports_is_not_learned_though_it_goes_on_for_days() {
    let plant = plant(TEXT);
    let mut rows = polling();
    for day in MONDAY..MONDAY + 4 {
        for port in 495..510 {
            let one = probe(tcp("10.1.0.9", "10.1.0.11", port), day, 3, true);
            let n = 50_000;
            let seen = Seen {
                flows: n,
                opened: n,
                answered: n,
                packets: [2 * n, n],
                hours: Hours::ALL,
                last: one.seen.first + 60_000,
                ..one.seen
            };
            rows.push(Row { seen, ..one });
        }
    }
    let made = plant.learn(&rows);
    only_polling(&made);
}

#[test]
fn poller_whose_devices_are_off_is_no_scanner() {
    let text: String = (20..50).map(|n| format!("[device.off-{n}]\nip = \"10.1.0.{n}\"\n")).collect();
    let plant = plant(&format!("{TEXT}{text}"));
    let mut rows = polling();
    for n in 20..50 {
        for day in MONDAY..MONDAY + 5 {
            let one = probe(tcp("10.1.0.1", &format!("10.1.0.{n}"), 502), day, 9, false);
            let seen = Seen { flows: 500, opened: 500, packets: [1500, 0], ..one.seen };
            rows.push(Row { seen, ..one });
        }
    }
    let made = plant.learn(&rows);
    only_polling(&made);
    assert!(made.found.scans.all(&plant.settings).is_empty());
    assert_eq!(made.fate(&plant, "hmi -> off-20 tcp/502"), "unanswered");
}

#[test]
fn what_was_seen_once_or_nobody_answers_is_not_learned() {
    let plant = plant(TEXT);
    let mut rows = polling();
    rows.push(seen(tcp("10.1.0.9", "10.1.0.11", 80), MONDAY, 50));
    rows.push(seen(tcp("10.1.0.9", "10.1.0.12", 80), MONDAY, 1));
    rows.push(seen(tcp("10.1.0.9", "10.1.0.12", 80), MONDAY + 2, 1));
    rows.extend(week(tcp("192.168.7.7", "10.1.0.11", 502), 50));
    rows.extend(week(tcp("10.1.0.66", "10.1.0.11", 502), 50));
    rows.extend(week(tcp("10.1.0.11", "10.1.0.66", 502), 50));
    let silent = |row: Row| Row { seen: Seen { answered: 0, packets: [30, 0], ..row.seen }, ..row };
    rows.extend(week(tcp("10.1.0.9", "10.1.0.11", 81), 50).into_iter().map(silent));
    // Refused each time: a reset to each SYN.
    let refused = |row: Row| Row { seen: Seen { answered: 0, packets: [150, 150], ..row.seen }, ..row };
    rows.extend(week(tcp("10.1.0.9", "10.1.0.11", 82), 50).into_iter().map(refused));
    let made = plant.learn(&rows);
    only_polling(&made);
    for (talk, fate) in [
        ("laptop -> plc-1 tcp/80", "one-off"),
        ("laptop -> plc-2 tcp/80", "one-off"),
        ("unknown hosts -> plc-1 tcp/502", "unknown"),
        ("laptop -> plc-1 tcp/81", "unanswered"),
        ("laptop -> plc-1 tcp/82", "unanswered"),
    ] {
        assert_eq!(made.fate(&plant, talk), fate, "{talk}");
    }
    assert_eq!(made.found.left[&crate::learn::Left::Quarantined].rows, 10);
}

#[test]
fn session_that_never_ends_is_a_habit() {
    let plant = plant(TEXT);
    let mut rows = Vec::new();
    for (n, mut row) in week(tcp("10.1.0.1", "10.1.0.11", 502), 0).into_iter().enumerate() {
        // Begun on the first day, answered once, and going on since.
        let flows = u64::from(n == 0);
        row.seen = Seen {
            flows,
            opened: flows,
            answered: flows,
            packets: [86_400; 2],
            hours: Hours::ALL,
            ..row.seen
        };
        rows.push(row);
    }
    let made = plant.learn(&rows);
    assert_eq!(made.fate(&plant, "hmi -> plc-1 tcp/502"), "learned");
    // The same, older than the window: nobody saw it begin.
    let made = plant.learn(&rows[1..]);
    assert_eq!(made.fate(&plant, "hmi -> plc-1 tcp/502"), "learned");
    assert!(made.text.contains("its begin was never seen"), "{}", made.text);
}

#[test]
fn what_is_suspicious_waits_for_a_person() {
    let plant = plant(TEXT);
    let mut rows = polling();
    for (kind, _) in SUSPICIOUS.map(|(from, to, number, why)| (tcp(from, to, number), why)) {
        rows.extend(week(kind, 20));
    }
    rows.extend(week(udp("10.1.0.11", "10.2.0.5", 69), 20));
    let one_way = |row: Row| Row { seen: Seen { answered: 0, packets: [30, 0], ..row.seen }, ..row };
    rows.extend(week(udp("10.1.0.11", "10.2.0.5", 9995), 20).into_iter().map(one_way));
    rows.extend(week(udp("10.1.0.11", "10.2.0.5", 514), 20).into_iter().map(one_way));
    let made = plant.learn(&rows);
    assert!(made.proof.holds(), "{:?}", made.proof);
    for (talk, why) in [
        ("laptop -> plc-1 tcp/22", "remote-admin"),
        ("laptop -> plc-1 tcp/445", "file-sharing"),
        ("plc-1 -> plc-2 tcp/502", "peers"),
        ("plc-1 -> the internet tcp/443", "internet"),
        ("plc-1 -> 10.2.0.5 (office) udp/69", "file-transfer"),
        ("plc-1 -> 10.2.0.5 (office) udp/9995", "one-way"),
        ("plc-1 -> 10.2.0.5 (office) udp/514", "learned"),
    ] {
        assert_eq!(made.fate(&plant, talk), why, "{talk}");
    }
    insta::assert_snapshot!(made.text);
}

const SUSPICIOUS: [(&str, &str, u16, &str); 4] = [
    ("10.1.0.9", "10.1.0.11", 22, "remote-admin"),
    ("10.1.0.9", "10.1.0.11", 445, "file-sharing"),
    ("10.1.0.11", "10.1.0.12", 502, "peers"),
    ("10.1.0.11", "93.184.216.34", 443, "internet"),
];

#[test]
fn nothing_outside_of_the_window_is_learned() {
    let mut plant = plant(TEXT);
    let rows = polling();
    plant.settings.span = super::super::Span { since: Day(MONDAY + 7).begin(), until: i64::MAX };
    let made = plant.learn(&rows);
    assert!(made.proposal.entries.is_empty() && made.fates.is_empty());
    assert_eq!(made.found.left[&crate::learn::Left::Outside].rows, 15);
    // A row that reaches over its end proves nothing either.
    let until = Day(MONDAY + 1).begin() + 9 * 3600;
    plant.settings.span = super::super::Span { since: i64::MIN, until };
    assert!(plant.learn(&rows).proposal.entries.is_empty(), "one day is left of it");
}

/// In these hours of a day: so many conversations of one packet each way.
fn asked(kind: Kind, day: i32, flows: u64, hours: &[u8]) -> Row {
    let at = |hour: u8| Day(day).begin() + i64::from(hour) * 3600;
    let bits = hours.iter().map(|hour| Hours::of(at(*hour))).fold(Hours::default(), |all, one| all | one);
    let [first, last] = [hours[0], hours[hours.len() - 1]].map(at);
    let seen = Seen { flows, opened: flows, answered: flows, packets: [flows; 2], ..Seen::at(first) };
    Row { kind, day: Day(day), seen: Seen { last, hours: bits, ..seen } }
}

#[test]
fn habit_beside_a_scan_of_every_night_is_known_by_its_other_hours() {
    let plant = plant(TEXT);
    let every_other: Vec<u8> = (0..24).step_by(2).collect();
    let all: Vec<u8> = (0..24).collect();
    for (busy, fate) in [(MONDAY, "learned"), (MONDAY + 2, "after-scan")] {
        let mut rows = polling();
        for day in MONDAY..MONDAY + 5 {
            for host in 20..30 {
                rows.push(probe(tcp("10.1.0.9", &format!("10.1.0.{host}"), 502), day, 3, true));
            }
            // Few on each day but one.
            let (flows, hours) = if day == busy { (24, &all) } else { (12, &every_other) };
            rows.push(asked(udp("10.1.0.9", "10.2.0.5", 123), day, flows, hours));
        }
        let made = plant.learn(&rows);
        only_those(&made, if busy == MONDAY { 4 } else { 3 });
        let scans = made.found.scans.all(&plant.settings);
        assert!(scans.iter().all(|(_, _, scanned)| scanned.hours.each().eq([3])), "{scans:?}");
        assert_eq!(made.fate(&plant, "laptop -> 10.2.0.5 (office) udp/123"), fate);
    }
}

#[test]
fn what_is_seldom_without_the_hours_of_scans_waits_for_a_person() {
    let plant = plant(TEXT);
    let mut rows = polling();
    let kind = tcp("10.1.0.9", "10.1.0.12", 502);
    let talked = |day: i32, hour: i64| {
        let open = probe(kind, day, hour, true);
        let seen = Seen { flows: 4, opened: 4, answered: 4, packets: [24, 20], ..open.seen };
        Row { seen, ..open }
    };
    for day in MONDAY..MONDAY + 5 {
        rows.extend((1..40).map(|port| probe(tcp("10.1.0.9", "10.1.0.12", port), day, 3, false)));
        rows.push(talked(day, 3));
    }
    rows.push(talked(MONDAY + 6, 10));
    let made = plant.learn(&rows);
    only_polling(&made);
    assert_eq!(made.fate(&plant, "laptop -> plc-2 tcp/502"), "in-scan");
    let habit = &made.found.in_scans
        [&crate::learn::Talk::of(&Who::new(&plant.policy, &plant.surroundings.placed), &kind)];
    assert_eq!((habit.flows, habit.days.len(), habit.exchanges()), (24, 6, 6));
}

#[test]
fn whoever_tells_everybody_scans_nobody() {
    let mut plant = plant(TEXT);
    // The gateway has an address of that network: that is how it knows the last one.
    plant.surroundings.placed.broadcasts.extend(["10.2.0.255".parse::<IpAddr>().expect("an address")]);
    let mut rows = polling();
    for day in MONDAY..MONDAY + 5 {
        for port in 5000..5012 {
            for to in ["255.255.255.255", "10.2.0.255"] {
                let one = asked(udp("10.1.0.9", to, port), day, 5, &[8, 9]);
                rows.push(Row { seen: Seen { answered: 0, packets: [5, 0], ..one.seen }, ..one });
            }
        }
    }
    rows.extend(week(tcp("10.1.0.9", "10.1.0.11", 502), 50));
    let made = plant.learn(&rows);
    let scans = made.found.scans.all(&plant.settings);
    assert!(scans.is_empty(), "{scans:?}");
    assert_eq!(made.fate(&plant, "laptop -> plc-1 tcp/502"), "learned");
}

#[test]
fn session_of_many_days_that_was_imported_as_one_flow_is_a_habit() {
    let plant = plant(TEXT);
    let first = Day(MONDAY).begin() + 8 * 3600;
    let long = Seen {
        flows: 1,
        opened: 1,
        answered: 1,
        packets: [400_000; 2],
        last: first + 4 * 86_400,
        ..Seen::at(first)
    };
    let silent = Seen { answered: 0, packets: [400_000, 0], ..long };
    let mut sum = crate::traffic::Sum::new(100);
    sum.add(tcp("10.1.0.1", "10.1.0.11", 502), &long);
    sum.add(udp("10.1.0.1", "10.1.0.12", 5000), &silent);
    let made = plant.learn(&sum.take().0);
    assert_eq!(made.fate(&plant, "hmi -> plc-1 tcp/502"), "learned");
    assert!(made.fate(&plant, "hmi -> plc-2 udp/5000") != "learned");
}
