//! What is told of each device, and by which names its breaks go.

use std::collections::BTreeMap;

use super::*;

fn touching(site: &Site, mut all: Vec<Row>) -> BTreeMap<String, Touching> {
    all.sort_by(Row::in_order);
    let mut found = Rows::touching(site.setting());
    all.iter().for_each(|row| found.add(row));
    found.reports().1
}

fn names(touching: &Touching) -> Vec<&str> {
    touching.breaks.list.iter().map(|hurt| hurt.id.as_str()).collect()
}

#[test]
fn a_break_is_told_of_both_its_devices_whatever_their_modes() {
    let ssh = row(kind(at(2), at(1), protocol::TCP, 22), MONDAY, 9);
    let polled = row(kind(at(2), at(1), protocol::TCP, 502), MONDAY, 9);
    let told = touching(&SITE, vec![ssh, polled]);
    let [plc, hmi] = ["plc", "hmi"].map(|name| &told[name]);
    assert_eq!(names(plc).len(), 1);
    assert_eq!((names(plc), plc.allowed), (names(hmi), 1));
    assert_eq!(plc.breaks.list[0].seen, ssh.seen.last);
    let monitored = Site::new(&POLICY.replace("mode = \"enforce\"", "mode = \"monitor\""));
    let again = touching(&monitored, vec![ssh, polled]);
    assert_eq!((names(&again["plc"]), again["plc"].allowed), (names(plc), plc.allowed));
}

#[test]
fn the_name_of_a_break_hangs_on_who_and_over_what_and_on_nothing_else() {
    let ssh = kind(at(2), at(1), protocol::TCP, 22);
    let name = |site: &Site, rows: Vec<Row>| names(&touching(site, rows)["plc"]).join(" ");
    let once = name(&SITE, vec![row(ssh, MONDAY, 9)]);
    let often = name(&SITE, vec![row(ssh, MONDAY, 9), row(ssh, Day(MONDAY.0 + 1), 3)]);
    assert_eq!(once, often);
    // Devices move, strangers do not: a network that is as wide as the world is nobody.
    let moved = POLICY.replace("10.1.0.2", "10.1.0.7");
    let there = kind(at(7), at(1), protocol::TCP, 22);
    assert_eq!(name(&Site::new(&moved), vec![row(there, MONDAY, 9)]), once);
    let wide = Site::new(&format!("{POLICY}[network.all]\ncidr = \"10.0.0.0/8\"\n"));
    let stranger =
        |last: u8| row(kind(End::at([10, 9, 0, last].into()), at(1), protocol::TCP, 22), MONDAY, 9);
    let strangers = touching(&wide, vec![stranger(1), stranger(2)]);
    let both = names(&strangers["plc"]);
    assert!(both.len() == 2 && both[0] != both[1] && !both.contains(&once.as_str()), "{both:?}");
    for other in [kind(at(1), at(2), protocol::TCP, 22), kind(at(2), at(1), protocol::UDP, 22)] {
        assert_ne!(name(&SITE, vec![row(other, MONDAY, 9)]), once);
    }
}

#[test]
fn what_nobody_answered_is_counted_and_is_no_break() {
    let mut tried = row(kind(at(2), at(1), protocol::TCP, 22), MONDAY, 9);
    (tried.seen.answered, tried.seen.packets) = (0, [20, 0]);
    let told = &touching(&SITE, vec![tried])["plc"];
    assert_eq!((names(told).len(), told.attempts, told.allowed), (0, 1, 0));
    assert_eq!(told.tried.list[0].seen, tried.seen.last);
    // It was answered once, and is tried again: that would be missed.
    let answered = row(tried.kind, Day(MONDAY.0 - 9), 9);
    let told = &touching(&SITE, vec![tried, answered])["plc"];
    assert_eq!((names(told).len(), told.breaks.list[0].seen), (1, tried.seen.last));
}

#[test]
fn breaks_of_a_device_are_bounded_and_the_others_counted() {
    let ports = 1000..1500;
    let rows = ports.map(|port| row(kind(at(2), at(1), protocol::TCP, port), MONDAY, 9));
    let told = &touching(&SITE, rows.collect())["plc"];
    assert_eq!((told.breaks.list.len(), told.breaks.total()), (200, 500));
}

#[test]
fn a_break_outside_of_a_window_was_seen_as_late_as_its_hour_may_have_been() {
    let mut late = row(kind(at(2), at(1), protocol::TCP, HTTPS), MONDAY, 10);
    (late.seen.first, late.seen.last) = (MONDAY.begin() + 9 * 3600, MONDAY.begin() + 10 * 3600 + 2700);
    late.seen.hours = Hours::between(MONDAY, late.seen.first, late.seen.last);
    let told = touching(&SITE, vec![late]);
    let seen: Vec<i64> = told["plc"].breaks.list.iter().map(|hurt| hurt.seen).collect();
    assert_eq!(seen, [late.seen.last]);
}
