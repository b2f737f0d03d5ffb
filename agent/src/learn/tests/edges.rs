//! What a clever sender, a cut day or a clock makes of thresholds.

use super::*;
use crate::{
    learn::{
        Watch, baseline,
        compare::{Comparison, Meaning, Verdict, compare},
    },
    traffic::{Unseen, Why},
};

const TEXT: &str = r#"version = 1
[device.hmi]
mac = "02:00:00:00:00:01"
ip = "10.1.0.1"
[device.plc]
mac = "02:00:00:00:00:02"
ip = "10.1.0.2"
[device.other]
ip = "10.1.0.3"
"#;

/// A plant with so many more devices, `off-20` and on.
fn with_more(many: u8) -> Plant {
    let more = |n: u8| format!("[device.off-{n}]\nip = \"10.1.0.{n}\"\n");
    plant(&format!("{TEXT}{}", (20..20 + many).map(more).collect::<String>()))
}

#[test]
fn whoever_is_answered_without_having_asked_scans_nobody() {
    let plant = with_more(0);
    let mut rows = week(tcp("10.1.0.1", "10.1.0.2", 502), 200);
    for day in MONDAY..MONDAY + 5 {
        for port in 1000..1020 {
            for packets in [[0, 1], [1, 1]] {
                // Somebody answers the HMI from port after port, and it refuses some of it.
                let to = if packets[0] == 0 { "10.1.0.2" } else { "10.1.0.3" };
                let one = probe(tcp("10.1.0.1", to, port), day, 8, false);
                rows.push(Row { seen: Seen { opened: 0, packets, ..one.seen }, ..one });
            }
        }
    }
    let made = plant.learn(&rows);
    assert!(made.found.scans.all(&plant.settings).is_empty());
    assert_eq!(made.fate(&plant, "hmi -> plc tcp/502"), "learned");
}

#[test]
fn day_that_was_cut_is_no_scan() {
    let plant = with_more(20);
    let mut rows = Vec::new();
    for n in 20..40 {
        let kind = tcp("10.1.0.1", &format!("10.1.0.{n}"), 502);
        // The last minute of Sunday.
        rows.push(probe(kind, MONDAY - 1, 23, true));
        rows.extend(week(kind, 200));
    }
    let made = plant.learn(&rows);
    assert!(made.found.scans.all(&plant.settings).is_empty());
    assert_eq!(made.fate(&plant, "hmi -> off-20 tcp/502"), "learned");
    assert_eq!(made.proposal.decisions.len(), 0, "{}", made.text);
}

#[test]
fn scan_casts_doubt_on_those_whom_it_tried_alone() {
    let plant = with_more(20);
    let mut rows = week(tcp("10.1.0.1", "10.1.0.2", 502), 200);
    rows.extend(week(tcp("10.1.0.1", "10.1.0.25", 502), 200).into_iter().skip(1));
    for n in 20..40 {
        rows.push(probe(tcp("10.1.0.1", &format!("10.1.0.{n}"), 8080), MONDAY, 3, false));
    }
    let made = plant.learn(&rows);
    assert_eq!(made.found.scans.all(&plant.settings).len(), 1);
    assert_eq!(made.fate(&plant, "hmi -> plc tcp/502"), "learned");
    assert_eq!(made.fate(&plant, "hmi -> off-25 tcp/502"), "after-scan");
}

#[test]
fn attempts_before_a_scan_make_nothing_older_than_it() {
    let plant = with_more(0);
    let mut rows = vec![probe(tcp("10.1.0.3", "10.1.0.2", 8080), MONDAY - 1, 3, false)];
    rows.extend((600..640).map(|port| probe(tcp("10.1.0.3", "10.1.0.2", port), MONDAY, 3, false)));
    rows.extend(week(tcp("10.1.0.3", "10.1.0.2", 8080), 50).into_iter().skip(1));
    assert_eq!(plant.learn(&rows).fate(&plant, "other -> plc tcp/8080"), "after-scan");
}

#[test]
fn days_that_came_to_something_count_and_not_kinds_on_them() {
    let plant = with_more(0);
    let icmp = |code: u16| Kind {
        service: Service { protocol: 1, number: (8 << 8) + code },
        ..tcp("10.1.0.1", "10.1.0.2", 0)
    };
    let mut rows = vec![seen(icmp(0), MONDAY, 20), seen(icmp(1), MONDAY, 20)];
    rows.push(probe(icmp(0), MONDAY + 1, 3, false));
    assert_eq!(plant.learn(&rows).fate(&plant, "hmi -> plc icmp/8"), "one-off");
    rows.push(seen(icmp(1), MONDAY + 1, 20));
    assert_eq!(plant.learn(&rows).fate(&plant, "hmi -> plc icmp/8"), "learned");
}

#[test]
fn datagrams_between_equals_have_no_direction() {
    let plant = with_more(0);
    for port in [123, 500, 1740, 1743, 2222, 4500, 9600, 20_000, 47_808] {
        let rows = week(udp("10.1.0.1", "10.1.0.2", port), 20).into_iter();
        let rows: Vec<Row> = rows.map(|row| Row { seen: Seen { opened: 0, ..row.seen }, ..row }).collect();
        assert_eq!(plant.learn(&rows).fate(&plant, &format!("hmi -> plc udp/{port}")), "guessed");
    }
}

/// A row from one minute of its day to another.
fn at(mut row: Row, first: i64, last: i64) -> Row {
    let begin = row.day.begin();
    (row.seen.first, row.seen.last) = (begin + first * 60, begin + last * 60);
    row.seen.hours = Hours::between(row.day, row.seen.first, row.seen.last);
    row
}

/// HTTPS to the PLC at times.
fn with_windows(windows: &str) -> Plant {
    let rule = format!("[[device.plc.allow]]\nfrom = \"hmi\"\nservice = \"https\"\nwindows = [{windows}]\n");
    plant(&TEXT.replace("[device.other]", &format!("{rule}[device.other]")))
}

#[test]
fn shift_that_moves_with_the_clock_on_the_wall_is_covered() {
    let plant =
        with_windows("{ days = \"mon-sun\", from = \"06:00\", to = \"14:00\", zone = \"Europe/Berlin\" }");
    // MONDAY is in November; in October it was an hour earlier by UTC. Each shift is wholly within its window.
    let shift = |day: i32, hour: i64| {
        at(seen(tcp("10.1.0.1", "10.1.0.2", 443), day, 20), hour * 60, (hour + 8) * 60 - 1)
    };
    let summer = (MONDAY - 35..MONDAY - 30).map(|day| shift(day, 4));
    let winter = (MONDAY..MONDAY + 5).map(|day| shift(day, 5));
    let rows: Vec<Row> = summer.chain(winter).collect();
    assert_eq!(plant.learn(&rows).fate(&plant, "hmi -> plc tcp/443"), "covered");
    let rows: Vec<Row> = (MONDAY..MONDAY + 5).map(|day| shift(day, 4)).collect();
    assert_eq!(plant.learn(&rows).fate(&plant, "hmi -> plc tcp/443"), "outside-window");
}

#[test]
fn pause_between_two_windows_of_an_hour_is_none_of_them() {
    let window =
        |from, to| format!("{{ days = \"mon-sun\", from = \"{from}\", to = \"{to}\", zone = \"UTC\" }}");
    let fate = |windows: &str| {
        let plant = with_windows(windows);
        let all = week(tcp("10.1.0.1", "10.1.0.2", 443), 20).into_iter();
        let rows: Vec<Row> = all.map(|row| at(row, 8 * 60 + 5, 8 * 60 + 55)).collect();
        plant.learn(&rows).fate(&plant, "hmi -> plc tcp/443")
    };
    assert_eq!(fate(&window("08:00", "09:00")), "covered");
    let two = [window("08:00", "08:20"), window("08:40", "09:00")].join(", ");
    assert_eq!(fate(&two), "outside-window");
}

#[test]
fn segment_that_nobody_configured_changes_nothing_for_others() {
    use bulkhead_common::layout::SegmentRow;
    // On the segment that there is time is not infrastructure; the policy names one more.
    let text = TEXT.replace("[device.other]", "[device.other]\nsegment = \"line\"");
    let mut plant = plant(&text);
    plant.surroundings.placed.segments = [("cell".to_owned(), 1)].into();
    let off = SegmentRow { segment: 1, infrastructure: 0, ..crate::learn::Surroundings::any_segment() };
    plant.surroundings.field = crate::compile::Field::of(vec![(None, off)], off);
    let ptp = |from: &str| week(udp(from, "224.0.1.129", 319), 20);
    let rows = [ptp("10.1.0.1"), ptp("10.1.0.3")].concat();
    let made = plant.learn(&rows);
    let fate = |name: &str| {
        let (id, _) = plant.policy.device(name).expect("it is there");
        let from = crate::learn::Party::Device(id);
        made.fates.iter().find(|(talk, _)| talk.from == from).map(|(_, fate)| fate.clone())
    };
    assert_ne!(fate("hmi"), Some(Fate::Covered));
    assert_eq!(fate("other"), Some(Fate::Covered));
}

/// What was seen of a device, by a policy without a rule and by another one.
fn compared(plant: &Plant, rows: &[Row], device: &str) -> Comparison {
    let made = plant.learn(rows);
    let who = Who::new(&plant.policy, &plant.surroundings.placed);
    let material = Material { who: &who, found: &made.found, fates: &made.fates };
    let (id, _) = plant.policy.device(device).expect("it is there");
    let judge = |policy| Judge::new(policy, plant.surroundings.clone(), now()).expect("it is small");
    let mut nothing = plant.policy.clone();
    nothing.rules.clear();
    compare(&material, id, (&nothing, &judge(&nothing)), (&plant.policy, &judge(&plant.policy)))
}

#[test]
fn name_in_the_rule_of_another_device_allows_nothing() {
    let text = format!(
        "{TEXT}[network.pool]\ndns = [\"*.pool.example\"]\n[[device.hmi.allow]]\nto = \"pool\"\nservice = \"ntp\"\n"
    );
    let plant = plant(&text);
    let rows = [udp("10.1.0.1", "93.184.216.34", 123), udp("10.1.0.2", "93.184.216.34", 123)];
    let rows: Vec<Row> = rows.into_iter().flat_map(|kind| week(kind, 20)).collect();
    let verdict = |device: &str| compared(&plant, &rows, device).seen[0].written;
    assert_eq!([verdict("hmi"), verdict("plc")], [Verdict::ByName, Verdict::No]);
}

#[test]
fn what_a_window_denies_is_no_agreement() {
    let plant = with_windows("{ days = \"mon-sun\", from = \"06:00\", to = \"14:00\", zone = \"UTC\" }");
    let at_hour = |hour: i64| -> Vec<Row> {
        let all = week(tcp("10.1.0.1", "10.1.0.2", 443), 20).into_iter();
        all.map(|row| at(row, hour * 60, hour * 60 + 30)).collect()
    };
    let line = |hour: i64| {
        let told = compared(&plant, &at_hour(hour), "plc");
        (told.seen[0].written, told.seen[0].meaning, told.differs())
    };
    assert_eq!(line(8), (Verdict::Yes, Meaning::Beyond, true));
    assert_eq!(line(2), (Verdict::Partly, Meaning::Beyond, true));
    // Both say the same, and neither allows it at night.
    let judge = Judge::new(&plant.policy, plant.surroundings.clone(), now()).expect("it is small");
    let made = plant.learn(&at_hour(2));
    let who = Who::new(&plant.policy, &plant.surroundings.placed);
    let material = Material { who: &who, found: &made.found, fates: &made.fates };
    let (id, _) = plant.policy.device("plc").expect("it is there");
    let told = compare(&material, id, (&plant.policy, &judge), (&plant.policy, &judge));
    assert_eq!((told.seen[0].meaning, told.differs()), (Meaning::Agreed, true));
}

#[test]
fn rule_that_lets_in_more_than_it_seems_to_goes_alone() {
    let text = format!("{TEXT}[service.odd]\ntcp = 610\n");
    let plant = plant(&text);
    let mut rows = week(tcp("10.1.0.1", "10.1.0.2", 502), 20);
    rows.extend(week(tcp("10.1.0.3", "10.1.0.2", 610), 20));
    rows.push(seen(tcp("10.1.0.3", "10.1.0.2", 611), MONDAY, 1));
    let made = plant.learn(&rows);
    let who = Who::new(&plant.policy, &plant.surroundings.placed);
    let material = Material { who: &who, found: &made.found, fates: &made.fates };
    // In the files the service has grown meanwhile.
    let mut files = plant.files.clone();
    files[0].text = files[0].text.replace("tcp = 610", "tcp = [610, 611]");
    let settled = settle(&material, made.proposal.clone(), &files, &plant.surroundings, now()).expect("TOML");
    assert!(settled.proof.holds(), "{:?}", settled.proof);
    let [dropped] = settled.proposal.dropped.as_slice() else { panic!("{:?}", settled.proposal.dropped) };
    assert_eq!(dropped.what, "the rule for other -> plc tcp/610");
    assert_eq!(settled.proposal.entries.len(), made.proposal.entries.len() - 1);
}

#[test]
fn what_found_no_room_is_told_where_it_is_not_proved() {
    let plant = with_more(0);
    let mut rows = week(tcp("10.1.0.1", "10.1.0.2", 502), 20);
    // Hosts that nobody knows are one talk for each service: there are more than are told apart.
    for number in 1..=u16::MAX {
        for from in ["172.16.0.1", "93.184.216.34"] {
            rows.push(seen(tcp(from, "10.1.0.2", number), MONDAY, 30));
        }
    }
    let made = plant.learn(&rows);
    let kept = made.found.talks.len() as u64;
    assert!(kept < 2 * 65_535, "{kept}");
    assert_eq!(made.found.more_probed, 2 * 65_535 + 1 - kept);
}

#[test]
fn hours_in_which_the_agent_stopped_were_not_watched_even_when_there_are_no_others() {
    let plant = with_more(0);
    let made = plant.learn(&week(tcp("10.1.0.1", "10.1.0.2", 502), 200));
    let who = Who::new(&plant.policy, &plant.surroundings.placed);
    let hours = |times: &[(i64, i64)], stops: &[(i64, i64)]| {
        let stop = |(from, to): &(i64, i64)| Unseen { from: *from, to: *to, why: Why::Stopped, count: 0 };
        let watch = Watch { times: times.to_vec(), unseen: stops.iter().map(stop).collect() };
        baseline(&who, &made.found, &made.fates, &watch, Scope::All).hours
    };
    let four = Day(MONDAY).begin() + 4 * 3600;
    assert_eq!(hours(&[(four, four + 600)], &[]), 1);
    assert_eq!(hours(&[(four, four + 600)], &[(four, four + 7)]), 0);
    assert_eq!(hours(&[(four, four + 3700)], &[(four, four + 7)]), 1);
    // Rows of elsewhere alone: whoever told them was there.
    assert!(hours(&[], &[]) > 24);
}
