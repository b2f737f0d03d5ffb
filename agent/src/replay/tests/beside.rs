//! Two policies beside each other: what one says alone it says here, and the same policy never differs from itself.

use bulkhead_common::{decide::Verdict, reason::Reason};

use super::*;
use crate::replay::beside::{Beside, Compared, Differences, Fate, MOST_KINDS, Way};

/// Devices, and some of the rules between them.
fn policy(rules: &[bool], mode: &str) -> String {
    let mut text = "version = 1\n".to_owned();
    for last in 1..=4 {
        text += &format!(
            "[device.d{last}]\nmac = \"00:1d:9c:00:00:0{last}\"\nip = \"10.1.0.{last}\"\nmode = \"{mode}\"\n"
        );
    }
    let all = [("d1", "d2", "modbus"), ("d2", "d1", "ssh"), ("d3", "d1", "https"), ("any", "d4", "modbus")];
    for ((from, to, service), _) in all.iter().zip(rules).filter(|(_, there)| **there) {
        text += &format!("[[device.{to}.allow]]\nfrom = \"{from}\"\nservice = \"{service}\"\n");
    }
    text
}

fn compared(now: &Site, then: &Site, kind: &Kind) -> Compared {
    let mut beside = Beside::new(now.setting(), then.setting());
    let open = |site: &Site| vec![u64::MAX; site.tables.schedules.len()];
    beside.at(1, [open(now), open(then)]);
    beside.compare(kind)
}

fn some_kind() -> impl Strategy<Value = Kind> {
    let ports = prop::sample::select(vec![22, 443, 502, 9999]);
    let protocols = prop::sample::select(vec![protocol::TCP, protocol::UDP]);
    (0_u8..7, 0_u8..7, protocols, ports)
        .prop_map(|(from, to, protocol, port)| kind(at(from), at(to), protocol, port))
}

fn rules() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(any::<bool>(), 4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn each_says_what_it_says_alone(
        now in rules(), then in rules(), enforces in any::<bool>(), kind in some_kind(),
    ) {
        let mode = if enforces { "enforce" } else { "monitor" };
        let (now, then) = (Site::new(&policy(&now, "enforce")), Site::new(&policy(&then, mode)));
        let found = compared(&now, &then, &kind);
        for (site, decision) in [(&now, found.now), (&then, found.then)] {
            let report = site.report([row(kind, MONDAY, 9)]);
            let fate = if report.totals.allowed > 0 {
                Fate::Allowed
            } else if report.drops() {
                Fate::Dropped
            } else if report.totals.reported > 0 {
                Fate::Reported
            } else {
                Fate::Unmanaged
            };
            prop_assert_eq!(Fate::of(&decision), fate);
        }
        // The other way round it is the other way.
        let back = compared(&then, &now, &kind).way();
        let turned = found.way().map(|way| if way == Way::Break { Way::Open } else { Way::Break });
        prop_assert_eq!(back, turned);
    }

    #[test]
    fn the_same_policy_never_differs_from_itself(rules in rules(), kinds in prop::collection::vec(some_kind(), 1..20)) {
        let [one, two] = [(); 2].map(|()| Site::new(&policy(&rules, "enforce")));
        let mut beside = Beside::new(one.setting(), two.setting());
        let mut differences = Differences::new(two.tables.rules.len());
        for (at, kind) in kinds.iter().enumerate() {
            let seen = Seen { denied: at as u64 % 2, ..row(*kind, MONDAY, 9).seen };
            differences.take(*kind, &seen, &beside.compare(kind));
        }
        prop_assert_eq!(differences.kinds(), [0, 0]);
    }
}

#[test]
fn every_kind_of_the_policy_with_windows_groups_and_names_is_alike_beside_itself() {
    let (one, two) = (Site::new(POLICY), Site::new(POLICY));
    let ends = [at(1), at(2), at(3), at(254), End::at([0, 0, 0, 0].into()), End::at([8, 8, 8, 8].into())];
    for (from, to) in ends.iter().flat_map(|from| ends.iter().map(move |to| (*from, *to))) {
        for number in [22, 123, 161, HTTPS, 502] {
            for protocol in [protocol::TCP, protocol::UDP] {
                let found = compared(&one, &two, &kind(from, to, protocol, number));
                assert_eq!((found.now, found.way()), (found.then, None), "{from} {to} {protocol}/{number}");
            }
        }
    }
}

#[test]
fn a_question_to_a_group_is_asked_of_both() {
    let without = POLICY.replace("[[device.plc.allow]]\nto = \"multicast:clock\"\nservice = \"ntp\"\n", "");
    let (now, then) = (Site::new(POLICY), Site::new(&without));
    let asked = kind(at(1), End::at([0, 0, 0, 0].into()), protocol::UDP, 123);
    let found = compared(&now, &then, &asked);
    assert_eq!((Fate::of(&found.now), found.way()), (Fate::Allowed, Some(Way::Break)));
}

#[test]
fn a_device_goes_on_sending_as_the_policy_in_force_knows_it() {
    let asked = kind(at(2), at(1), protocol::TCP, 502);
    let site = Site::new(POLICY);
    let reason = |text: &str, kind: &Kind| {
        let found = compared(&site, &Site::new(text), kind);
        let word = match found.then.verdict {
            Verdict::Deny(reason) => reason.name(),
            Verdict::Allow(grant) => grant.name(),
        };
        (found.way(), word)
    };
    // Another hardware address, another tag, another segment in the proposed policy: what is sent is what was sent before.
    let mac = POLICY.replace("00:1d:9c:00:00:02", "00:1d:9c:00:00:99");
    assert_eq!(reason(&mac, &asked), (Some(Way::Break), "source-mac-mismatch"));
    let both =
        POLICY.replace("mac = \"00:1d:9c:00:00:02\"", "mac = [\"00:1d:9c:00:00:02\", \"00:1d:9c:00:00:99\"]");
    assert_eq!(reason(&both, &asked), (None, "rule"));
    let mut sites = [Site::new(POLICY), Site::new(&POLICY.replace("\"cell\"", "\"office\""))];
    sites.iter_mut().for_each(|site| {
        site.placed.segments = [("cell".to_owned(), 1), ("office".to_owned(), 2)].into();
    });
    let found = compared(&sites[0], &sites[1], &asked);
    assert_eq!(found.then.verdict, Verdict::Deny(Reason::WrongSegment));
    assert_eq!(compared(&sites[0], &sites[0], &asked).way(), None);
}

#[test]
fn modes_count_for_what_becomes_of_it() {
    let asked = kind(at(1), at(2), protocol::TCP, 9999);
    let [monitor, enforce] = ["monitor", "enforce"].map(|mode| Site::new(&policy(&[true; 4], mode)));
    let found = compared(&monitor, &enforce, &asked);
    assert_eq!((Fate::of(&found.now), Fate::of(&found.then)), (Fate::Reported, Fate::Dropped));
    assert_eq!(found.way(), Some(Way::Break), "it passes now");
    assert_eq!(compared(&enforce, &monitor, &asked).way(), Some(Way::Open));
}

#[test]
fn what_is_only_allowed_under_a_name_is_no_break() {
    let all = POLICY.replace("to = \"maker\"\nservice = \"https\"", "to = \"any\"\nservice = \"https\"");
    let asked = kind(at(2), End::at([8, 8, 8, 8].into()), protocol::TCP, HTTPS);
    let found = compared(&Site::new(&all), &Site::new(POLICY), &asked);
    assert_eq!((Fate::of(&found.now), found.is_by_name, found.way()), (Fate::Allowed, true, None));
    let mut differences = Differences::new(9);
    differences.take(asked, &row(asked, MONDAY, 9).seen, &found);
    assert_eq!((differences.kinds(), differences.counts().by_name), ([0, 0], 1));
}

#[test]
fn differences_are_bounded_and_what_is_answered_comes_first() {
    let (now, then) = (Site::new(&policy(&[true; 4], "enforce")), Site::new(&policy(&[false; 4], "enforce")));
    let asked = kind(at(1), at(2), protocol::TCP, 502);
    let found = compared(&now, &then, &asked);
    assert_eq!(found.way(), Some(Way::Break));
    let seen = row(asked, MONDAY, 9).seen;
    let silent = Seen { answered: 0, packets: [1, 0], ..seen };
    let mut differences = Differences::new(then.tables.rules.len());
    let port = |number: usize| kind(at(1), at(2), protocol::TCP, u16::try_from(number).expect("a port"));
    (0..MOST_KINDS + 10).for_each(|number| differences.take(port(number), &silent, &found));
    assert_eq!((differences.kinds(), differences.counts().refused), ([MOST_KINDS, 0], 10));
    // What nobody answered makes room, and what is there is counted on.
    differences.take(port(60_000), &seen, &found);
    differences.take(port(60_000), &seen, &found);
    assert_eq!((differences.kinds(), differences.counts().refused), ([MOST_KINDS, 0], 11));
    let told = differences.told(Way::Break, [&now.setting(), &then.setting()], 3);
    assert_eq!((told.list.len(), told.total()), (3, MOST_KINDS));
    let first = &told.list[0];
    assert_eq!((first.selector.as_str(), first.flows, first.answered), ("tcp/60000", 20, true));
    assert_eq!(first.now.rule.as_ref().map(|rule| rule.place.as_str()), Some("policy.toml:18"));
    assert_eq!((first.then.fate, first.then.rule.is_none()), (Fate::Dropped, true));
}

#[test]
fn rules_that_nothing_would_use_are_known() {
    let site = Site::new(&policy(&[true; 4], "enforce"));
    let asked = kind(at(1), at(2), protocol::TCP, 502);
    let found = compared(&site, &site, &asked);
    let mut differences = Differences::new(site.tables.rules.len());
    assert_eq!(differences.unused(9).total(), 4);
    differences.take(asked, &row(asked, MONDAY, 9).seen, &found);
    let unused = differences.unused(9);
    assert_eq!((unused.total(), unused.list.contains(&found.then.rule)), (3, false));
}
