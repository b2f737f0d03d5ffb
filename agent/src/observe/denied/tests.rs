//! Packets as the kernel tells of them, and the conversations they are.

use super::*;

const PLC: [u8; 4] = [10, 0, 0, 1];
const HMI: [u8; 4] = [10, 0, 0, 2];
const SECOND: u64 = 1_000_000_000;

/// The packets that somebody sends, as the kernel would tell of them.
#[derive(Clone, Copy)]
struct Packets {
    from: ([u8; 4], u16),
    to: ([u8; 4], u16),
    protocol: u8,
    flags: u8,
    at: u64,
    count: u64,
    /// As an event, or drained.
    alone: bool,
}

const ASKED: Packets = Packets {
    from: (HMI, 40_000),
    to: (PLC, 502),
    protocol: protocol::TCP,
    flags: tcp::SYN,
    at: 1,
    count: 1,
    alone: true,
};

impl Packets {
    fn back(self) -> Self {
        Self { from: self.to, to: self.from, flags: tcp::SYN | tcp::ACK, ..self }
    }

    fn repeated(self, count: u64) -> Self {
        Self { count, alone: false, ..self }
    }

    fn denial(self) -> Denial {
        let Self { from, to, protocol, flags, at, count, alone } = self;
        let packet = bulkhead_common::parse::Packet {
            protocol,
            source_port: from.1,
            destination_port: to.1,
            tcp_flags: flags,
            ..bulkhead_common::parse::Packet::EMPTY
        };
        let answer = bulkhead_common::layout::is_answer(&packet);
        let (port, other) = if answer { (from.1, to.1) } else { (to.1, from.1) };
        let address = |[a, b, c, d]: [u8; 4]| Address::v4(u32::from_be_bytes([a, b, c, d]));
        let key = ViolationKey {
            source: address(from.0),
            destination: address(to.0),
            ethertype: ethertype::IPV4,
            protocol,
            port,
            answer: u8::from(answer),
            reason: Reason::NoRule.code(),
            ..ViolationKey::default()
        };
        let alone = alone.then_some((other, flags));
        Denial { key, packets: count, bytes: 60 * count, first: at * SECOND, last: at * SECOND, alone }
    }
}

fn take(denied: &mut Denied, denial: &Denial) -> Option<(Kind, Seen)> {
    let clock = Clock { wall: jiff::Timestamp::UNIX_EPOCH, mono_ns: 0 };
    denied.take(denial, &clock, &Leased::new())
}

/// Everything that is taken, added up.
fn all(packets: &[Packets]) -> BTreeMap<Kind, Seen> {
    let mut denied = Denied::default();
    let mut kinds: BTreeMap<Kind, Seen> = BTreeMap::new();
    for one in packets {
        let (kind, seen) = take(&mut denied, &one.denial()).expect("a conversation");
        kinds.entry(kind).and_modify(|there| there.add(&seen)).or_insert(seen);
    }
    kinds
}

fn kind(from: [u8; 4], to: [u8; 4], protocol: u8, number: u16) -> Kind {
    let at = |address: [u8; 4]| End::at(address.into());
    Kind { from: at(from), to: at(to), service: Service { protocol, number } }
}

/// Checks that the packets are one conversation of HMI and PLC: its port, flows, those opened and answered, packets.
fn one(packets: &[Packets], number: u16, counts: [u64; 3], sides: [u64; 2]) {
    let kinds = all(packets);
    let wanted = kind(HMI, PLC, packets[0].protocol, number);
    assert_eq!(kinds.keys().collect::<Vec<_>>(), [&wanted]);
    let seen = &kinds[&wanted];
    assert_eq!([seen.flows, seen.opened, seen.answered], counts, "{seen:?}");
    assert_eq!((seen.packets, seen.denied, seen.dropped), (sides, sides[0] + sides[1], 0), "{seen:?}");
}

#[test]
fn both_directions_are_one_conversation() {
    let goes_on = Packets { flags: tcp::ACK, at: 2, ..ASKED };
    one(&[ASKED, ASKED.back(), goes_on.repeated(9), goes_on.back().repeated(8)], 502, [1, 1, 1], [10, 9]);
}

#[test]
fn reset_is_no_answer_and_what_may_be_one_neither() {
    let reset = Packets { flags: tcp::RST | tcp::ACK, ..ASKED.back() };
    one(&[ASKED, reset, reset.repeated(3)], 502, [1, 1, 0], [1, 4]);
}

#[test]
fn refusal_that_is_told_before_its_question_takes_nothing_from_it() {
    let reset = Packets { flags: tcp::RST | tcp::ACK, ..ASKED.back() };
    one(&[reset, ASKED], 502, [1, 1, 0], [1, 1]);
    one(&[reset, ASKED, ASKED], 502, [1, 1, 0], [2, 1]);
}

#[test]
fn connection_that_is_tried_again_is_one_and_another_port_is_another() {
    let again = Packets { at: 3, ..ASKED };
    let other = Packets { from: (HMI, 40_001), at: 4, ..ASKED };
    one(&[ASKED, again, other], 502, [2, 2, 0], [3, 0]);
}

#[test]
fn middle_of_a_connection_is_told_by_its_ports_and_who_began_is_not_known() {
    let middle = Packets { flags: tcp::ACK, ..ASKED.back() };
    one(&[middle, middle.repeated(4), Packets { flags: tcp::ACK, ..ASKED }], 502, [1, 0, 1], [1, 5]);
}

#[test]
fn server_at_a_high_port_is_known_by_the_packet_that_opened() {
    let asked = Packets { to: (PLC, 50_000), ..ASKED };
    one(&[asked, asked.back(), asked.back().repeated(5), asked.repeated(2)], 50_000, [1, 1, 1], [3, 6]);
    // The client at a port of servers: what it sends looks like an answer.
    let asked = Packets { from: (HMI, 102), to: (PLC, 50_000), ..ASKED };
    let goes_on = Packets { flags: tcp::ACK, ..asked };
    one(&[asked, asked.back(), goes_on, goes_on.repeated(5)], 50_000, [1, 1, 1], [7, 1]);
}

#[test]
fn answers_that_nobody_asked_for_prove_nothing() {
    // Somebody accepts what the PLC never began, and the PLC says so, again and again.
    let accepts = Packets { from: (HMI, 443), to: (PLC, 49_000), flags: tcp::SYN | tcp::ACK, ..ASKED };
    let refuses = Packets { flags: tcp::RST, ..accepts.back() };
    let kinds = all(&[accepts, refuses, accepts.repeated(9), refuses.repeated(9)]);
    assert_eq!(kinds.values().map(|seen| (seen.opened, seen.answered)).collect::<Vec<_>>(), [(0, 0)]);
    // Where it was under way before anybody looked, both are heard.
    let goes_on = Packets { flags: tcp::ACK, ..accepts.back() };
    let kinds = all(&[Packets { flags: tcp::ACK, ..accepts }, goes_on]);
    assert_eq!(kinds.values().map(|seen| (seen.opened, seen.answered)).collect::<Vec<_>>(), [(0, 1)]);
}

#[test]
fn answers_to_one_who_asks_from_port_after_port_begin_nothing() {
    // Of what is asked the first is told, and of the others how many; each answer goes to another port, one of servers.
    let from = |port: u16| Packets { from: (HMI, port), ..ASKED };
    for refused in [false, true] {
        let answers = (1_000..1_005).map(|port| {
            let answer = from(port).back();
            if refused { Packets { flags: tcp::RST | tcp::ACK, ..answer } } else { answer }
        });
        let packets: Vec<Packets> =
            [from(1_000), from(1_001).repeated(4)].into_iter().chain(answers).collect();
        one(&packets, 502, [1, 1, u64::from(!refused)], [5, 5]);
    }
}

#[test]
fn silence_ends_a_conversation() {
    let asked = Packets { protocol: protocol::UDP, flags: 0, to: (PLC, 161), ..ASKED };
    let later = Packets { at: 2 + IDLE.as_secs(), ..asked };
    one(&[asked, Packets { flags: 0, ..asked.back() }, later], 161, [2, 0, 1], [2, 1]);
}

#[test]
fn echo_and_its_reply_are_one_conversation() {
    let mut denied = Denied::default();
    let mut echo = Packets { protocol: protocol::ICMP, flags: 0, ..ASKED }.denial();
    echo.key.port = 8 << 8;
    echo.key.answer = 0;
    let mut reply = Packets { protocol: protocol::ICMP, flags: 0, ..ASKED.back() }.denial();
    reply.key.port = 0;
    reply.key.answer = 0;
    let asked = take(&mut denied, &echo).expect("a conversation");
    let answered = take(&mut denied, &reply).expect("a conversation");
    assert_eq!(asked.0, kind(HMI, PLC, protocol::ICMP, 8 << 8));
    assert_eq!((answered.0, answered.1.packets, answered.1.answered), (asked.0, [0, 1], 1));
}

#[test]
fn question_to_everybody_is_known_by_its_frame() {
    let asked =
        Packets { to: ([10, 0, 0, 255], 47_808), protocol: protocol::UDP, flags: 0, ..ASKED }.denial();
    let to = |mac: [u8; 6]| Denial { key: ViolationKey { destination_mac: mac, ..asked.key }, ..asked };
    for (frame, destination) in [([0xff; 6], [255; 4]), ([2, 0, 0, 0, 0, 1], [10, 0, 0, 255])] {
        let (found, _) = take(&mut Denied::default(), &to(frame)).expect("a conversation");
        assert_eq!(found, kind(HMI, destination, protocol::UDP, 47_808));
    }
}

#[test]
fn frames_that_are_not_ip_are_told_by_hardware_addresses() {
    let mut denied = Denied::default();
    let (a, b) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let frame = |from, to| {
        let key = ViolationKey {
            source_mac: from,
            destination_mac: to,
            ethertype: 0x8892,
            reason: Reason::Ethertype.code(),
            dropped: 1,
            ..ViolationKey::default()
        };
        Denial { key, packets: 2, bytes: 120, first: 5, last: 9, alone: None }
    };
    let (kind, asked) = take(&mut denied, &frame(a, b)).expect("a conversation");
    let (same, answered) = take(&mut denied, &frame(b, a)).expect("a conversation");
    assert_eq!((kind.from, kind.to, same), (End::hardware(Mac(a)), End::hardware(Mac(b)), kind));
    assert_eq!(kind.service, Service { protocol: pseudo::ETHERTYPE, number: 0x8892 });
    assert_eq!((asked.packets, answered.packets, answered.answered, asked.dropped), ([2, 0], [0, 2], 1, 2));
}

#[test]
fn what_is_part_of_no_conversation_is_left_out() {
    let mut denied = Denied::default();
    for reason in
        [Reason::Truncated, Reason::SourceMacMismatch, Reason::ArpSenderMismatch, Reason::IcmpErrorUnrelated]
    {
        let mut denial = ASKED.denial();
        denial.key.reason = reason.code();
        assert_eq!(take(&mut denied, &denial), None, "{reason:?}");
    }
    let mut unreachable = Packets { protocol: protocol::ICMP, flags: 0, ..ASKED }.denial();
    (unreachable.key.port, unreachable.key.answer) = (3 << 8 | 3, 0);
    assert_eq!(take(&mut denied, &unreachable), None);
    let mut untold = ASKED.denial();
    untold.key = untold.key.without_ends();
    assert!(untold.is_untold() && take(&mut denied, &untold).is_none());
}

#[test]
fn scan_takes_no_more_room_than_there_is_and_each_packet_is_told() {
    let mut denied = Denied::default();
    let mut count = 0;
    for number in 0..u32::try_from(2 * KINDS).expect("a number") {
        let [_, b, c, d] = number.to_be_bytes();
        let denial = Packets { to: ([172, b, c, d], 502), ..ASKED }.denial();
        count += take(&mut denied, &denial).expect("a conversation").1.packets[0];
    }
    assert_eq!((count, denied.known.len()), (2 * KINDS as u64, KINDS));
}
