//! Looks at a table that goes on meanwhile.

use std::net::IpAddr;

use super::*;

const SECOND: u64 = 1_000_000_000;
/// The wall clock when the monotonic one began.
const WALL: i64 = 20_780 * 86_400;

fn address(last: u8) -> Address {
    IpAddr::from([10, 0, 0, last]).into()
}

/// From a higher address to a lower one: the initiator is the second end.
fn key(port: u16) -> FlowKey {
    FlowKey {
        low: address(1),
        high: address(2),
        low_port: 502,
        high_port: port,
        protocol: protocol::TCP,
        ..FlowKey::default()
    }
}

/// `packets` by the initiator and by who answers.
fn flow(began: u64, seen: u64, packets: [u64; 2]) -> Flow {
    let [asked, answered] = packets;
    Flow {
        began: began * SECOND,
        seen: seen * SECOND,
        packets: [answered, asked],
        bytes: [answered * 100, asked * 60],
        initiator: 1,
        state: if answered > 0 { state::ANSWERED } else { 0 },
        ..Flow::default()
    }
}

/// Looks at `now` (s), and says what each flow did.
fn look(conversations: &mut Conversations, now: u64, flows: &[(FlowKey, Flow)]) -> Vec<(Kind, Seen)> {
    let wall = jiff::Timestamp::from_second(WALL + i64::try_from(now).expect("small")).expect("a time");
    let leased = Leased::from([(address(3), Mac([2, 0, 0, 0, 0, 3]))]);
    let look = Look { clock: Clock { wall, mono_ns: now * SECOND }, leased: &leased };
    conversations.begin();
    let seen = flows.iter().filter_map(|(key, flow)| conversations.take(key, flow, &look)).collect();
    conversations.end(now * SECOND);
    seen
}

#[test]
fn conversation_is_counted_once_and_then_what_is_new_of_it() {
    let mut conversations = Conversations::new(100 * SECOND);
    let [(kind, seen)] = look(&mut conversations, 110, &[(key(40_000), flow(105, 109, [4, 3]))])[..] else {
        panic!("one")
    };
    assert_eq!((kind.from, kind.to), (End::at([10, 0, 0, 2].into()), End::at([10, 0, 0, 1].into())));
    assert_eq!(kind.service, Service { protocol: protocol::TCP, number: 502 });
    assert_eq!(
        (seen.flows, seen.opened, seen.answered, seen.packets, seen.bytes),
        (1, 1, 1, [4, 3], [240, 300])
    );
    assert_eq!((seen.first, seen.last), (WALL + 105, WALL + 109));
    let [(_, seen)] = look(&mut conversations, 115, &[(key(40_000), flow(105, 114, [6, 5]))])[..] else {
        panic!("one")
    };
    assert_eq!((seen.flows, seen.answered, seen.packets, seen.bytes), (0, 0, [2, 2], [120, 200]));
    assert_eq!((seen.first, seen.last), (WALL + 110, WALL + 114), "since the last look");
    assert_eq!(look(&mut conversations, 120, &[(key(40_000), flow(105, 114, [6, 5]))]), [], "it was silent");
    // Of a single packet it is known when it came.
    let [(_, seen)] = look(&mut conversations, 125, &[(key(40_000), flow(105, 123, [7, 5]))])[..] else {
        panic!("one")
    };
    assert_eq!((seen.packets, seen.first, seen.last), ([1, 0], WALL + 123, WALL + 123));
    assert_eq!(conversations.met(), 1);
}

#[test]
fn same_ports_again_are_another_conversation() {
    let mut conversations = Conversations::new(100 * SECOND);
    look(&mut conversations, 110, &[(key(40_000), flow(105, 109, [4, 3]))]);
    let [(_, seen)] = look(&mut conversations, 115, &[(key(40_000), flow(112, 113, [2, 0]))])[..] else {
        panic!("one")
    };
    assert_eq!((seen.flows, seen.answered, seen.packets), (1, 0, [2, 0]));
    assert_eq!(conversations.met(), 1, "the kernel had it in the same place");
}

#[test]
fn reset_is_no_answer() {
    let mut conversations = Conversations::new(0);
    let refused =
        Flow { packets: [1, 1], state: state::RESET | state::OPENING, initiator: 1, ..flow(5, 6, [0, 0]) };
    let [(_, seen)] = look(&mut conversations, 10, &[(key(40_000), refused)])[..] else { panic!("one") };
    assert_eq!((seen.flows, seen.answered, seen.packets), (1, 0, [1, 1]));
}

#[test]
fn what_began_before_is_not_counted_again() {
    let mut conversations = Conversations::new(100 * SECOND);
    let flows = [
        (key(40_000), flow(50, 90, [9, 9])),
        (key(40_001), flow(60, 104, [9, 9])),
        (key(40_002), flow(103, 104, [2, 2])),
    ];
    let seen = look(&mut conversations, 105, &flows);
    let told: Vec<_> = seen.iter().map(|(_, seen)| (seen.flows, seen.packets, seen.last)).collect();
    assert_eq!(
        told,
        [(0, [0, 0], WALL + 104), (1, [2, 2], WALL + 104)],
        "the first is silent, the second goes on"
    );
    let later = look(&mut conversations, 110, &[(key(40_000), flow(50, 109, [10, 9]))]);
    assert_eq!((later[0].1.flows, later[0].1.packets), (0, [1, 0]));
}

#[test]
fn conversation_that_a_walk_missed_is_the_same_when_it_is_met_again() {
    let mut conversations = Conversations::new(0);
    look(&mut conversations, 10, &[(key(40_000), flow(5, 9, [4, 3]))]);
    look(&mut conversations, 15, &[]);
    let again = look(&mut conversations, 20, &[(key(40_000), flow(5, 19, [5, 3]))]);
    assert_eq!((again[0].1.flows, again[0].1.packets, conversations.met()), (0, [1, 0], 1));
    for now in 0..LOOKS {
        look(&mut conversations, 25 + now, &[]);
    }
    assert!(conversations.is_empty(), "what is gone takes no room");
}

#[test]
fn leased_address_is_told_with_whose_it_is_and_a_group_as_nobody() {
    let mut conversations = Conversations::new(0);
    let key = FlowKey {
        low: Address::UNSPECIFIED,
        high: address(3),
        low_port: 5353,
        high_port: 5353,
        protocol: protocol::UDP,
        ..FlowKey::default()
    };
    let [(kind, _)] = look(&mut conversations, 10, &[(key, flow(5, 9, [1, 0]))])[..] else { panic!("one") };
    assert_eq!(kind.from, End::leased([10, 0, 0, 3].into(), Mac([2, 0, 0, 0, 0, 3])));
    assert_eq!((kind.to, kind.service.number), (End::at([0, 0, 0, 0].into()), 5353));
}
