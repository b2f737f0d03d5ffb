//! What finds no room is not called clean, and what is broken off is told.

use super::*;

const SECOND: u64 = 1_000_000_000;

/// A TCP packet of the HMI (2) and the PLC (1).
fn segment(from: u8, ports: (u16, u16), flags: &str) -> Vec<u8> {
    let mac = |last: u8| [0, 0x1d, 0x9c, 0, 0, last];
    let to = 3 - from;
    let builder = etherparse::PacketBuilder::ethernet2(mac(from), mac(to));
    let builder = builder.ipv4([10, 1, 0, from], [10, 1, 0, to], 64).tcp(ports.0, ports.1, 1, 1024);
    let builder = flags.chars().fold(builder, |builder, flag| match flag {
        'S' => builder.syn(),
        'A' => builder.ack(1),
        'F' => builder.fin(),
        'R' => builder.rst(),
        _ => builder.psh(),
    });
    let mut frame = Vec::new();
    builder.write(&mut frame, b"").expect("a vector grows");
    frame
}

fn talk(frames: &mut Frames<'_>, begin: u64, client: u16) {
    for (n, (from, flags)) in [(2, "S"), (1, "SA"), (2, "A"), (2, "PA"), (1, "PA")].into_iter().enumerate() {
        let ports = if from == 2 { (client, 502) } else { (502, client) };
        frames.arrive(&segment(from, ports, flags)[..], begin + n as u64 * SECOND, 0);
    }
}

/// A site that forgets idle connections after an hour.
fn site() -> Site {
    let mut site = Site::new(POLICY);
    let settings = Settings {
        tcp_idle: 3600 * SECOND,
        opening_idle: 30 * SECOND,
        closing_idle: 60 * SECOND,
        ..site.placed.settings
    };
    site.placed.settings = settings;
    site
}

#[test]
fn session_that_is_forgotten_before_it_goes_on_is_broken_off() {
    let site = site();
    let of = |late: &[(u8, &str, u64)]| {
        let mut frames = Frames::new(site.setting(), site.placed.settings);
        talk(&mut frames, SECOND, 50_000);
        for (from, flags, time) in late {
            let ports = if *from == 2 { (50_000, 502) } else { (502, 50_000) };
            frames.arrive(&segment(*from, ports, flags)[..], time * SECOND, 0);
        }
        let report = frames.report();
        let told = report.dropped.list.first().map(|one| one.reason.clone());
        (told, report.breaks(), report.totals.late_packets)
    };
    assert_eq!(of(&[]), (None, false, 0));
    // The server speaks first after two hours: nothing says that it may begin.
    let broken_off = (Some("broken-off".to_owned()), true, 0);
    assert_eq!(of(&[(1, "PA", 7200)]), broken_off);
    assert_eq!(of(&[(1, "PA", 7200), (1, "R", 7300)]), broken_off);
    // What is left of a connection that ended is no loss.
    assert_eq!(of(&[(1, "FA", 7200), (1, "A", 7201)]), (None, false, 2));
    assert_eq!(of(&[(2, "R", 100), (1, "PA", 7200)]), (None, false, 1));
}

#[test]
fn what_finds_no_room_is_not_called_clean() {
    let site = site();
    let mut frames = Frames::new(site.setting(), site.placed.settings);
    frames.most = 8;
    // Datagrams, of which nobody knows whether they are answered.
    for port in 1..=20 {
        frames.arrive(&first_frame(2, 9, protocol::UDP, port)[..], SECOND, 0);
    }
    let report = frames.report();
    assert_eq!((report.totals.kinds, report.totals.refused), (8, 12));
    assert!(report.is_partial());
    assert!(report.text().starts_with("BREAKS: 8 of 8 kinds"), "{}", report.text());
    assert!(report.text().lines().next().is_some_and(|line| line.contains("12 conversations not judged")));
    let mut frames = Frames::new(site.setting(), site.placed.settings);
    frames.most = 1;
    talk(&mut frames, SECOND, 50_000);
    frames.arrive(&first_frame(2, 9, protocol::UDP, 9)[..], SECOND, 0);
    assert!(frames.report().text().starts_with("NOT ALL WAS JUDGED: of 1 kind"));
}

#[test]
fn scan_at_the_beginning_shuts_nobody_out() {
    let site = site();
    let mut frames = Frames::new(site.setting(), site.placed.settings);
    frames.most = 8;
    for port in 1000..1100 {
        frames.arrive(&first_frame(2, 1, protocol::TCP, port)[..], SECOND, 0);
    }
    talk(&mut frames, 10 * SECOND, 50_001);
    let report = frames.report();
    let Totals { kinds, attempts, allowed, refused, .. } = report.totals;
    assert_eq!((kinds, attempts, allowed, refused), (101, 100, 1, 0));
    assert!(!report.breaks());
}

#[test]
fn end_that_is_done_hears_the_other_one_on() {
    let site = site();
    let of = |late: &[(u8, &str, u64)]| {
        let mut frames = Frames::new(site.setting(), site.placed.settings);
        talk(&mut frames, SECOND, 50_000);
        for (from, flags, time) in late {
            let ports = if *from == 2 { (50_000, 502) } else { (502, 50_000) };
            frames.arrive(&segment(*from, ports, flags)[..], time * SECOND, 0);
        }
        frames.report().dropped.list.first().map(|one| one.reason.clone())
    };
    // The client has said all it had to say; the server goes on when nobody remembers.
    assert_eq!(of(&[(2, "FA", 100), (1, "PA", 7200)]), Some("broken-off".to_owned()));
    assert_eq!(of(&[(2, "FA", 100), (1, "FA", 101), (2, "A", 7200)]), None);
    assert_eq!(of(&[(1, "FA", 7200), (2, "A", 7201), (2, "FA", 7202)]), None);
}

#[test]
fn answers_that_nobody_asked_for_are_no_conversation() {
    let site = site();
    let of = |packets: &[(u8, &str)]| {
        let mut frames = Frames::new(site.setting(), site.placed.settings);
        for (n, (from, flags)) in packets.iter().enumerate() {
            // From a port of the PLC that no rule allows anybody.
            let ports = if *from == 2 { (50_000, 22) } else { (22, 50_000) };
            frames.arrive(&segment(*from, ports, flags)[..], (1 + n as u64) * SECOND, 0);
        }
        let report = frames.report();
        (report.totals.attempts, report.breaks())
    };
    assert_eq!(of(&[(1, "SA"), (2, "R")]), (1, false));
    assert_eq!(of(&[(1, "SA"), (1, "SA"), (2, "R")]), (1, false));
    assert_eq!(of(&[(2, "S"), (1, "SA"), (2, "A")]), (0, true));
    // Recorded in one direction alone.
    assert_eq!(of(&[(1, "SA"), (1, "PA")]), (0, true));
}
