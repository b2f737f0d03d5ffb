//! Datagrams of all versions, as exporters send them and as nobody should.

mod bounds;

use proptest::prelude::*;

use super::*;
use crate::traffic::Seen;

/// When messages are sent, s since 1970.
const SENT: u32 = 1_700_000_000;
/// How long the exporter runs, ms.
const UPTIME: u32 = 1_000_000;

fn exporter(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 9, 9, last], 50_000))
}

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// A datagram of version 5. Of a record: source, destination, ports, protocol, flags, packets, bytes, first, last.
type Five = ([u8; 4], [u8; 4], [u16; 2], u8, u8, u32, u32, u32, u32);

fn v5(sequence: u32, uptime: u32, sampling: u16, records: &[Five]) -> Vec<u8> {
    let count = u16::try_from(records.len()).expect("few");
    let mut datagram = bytes(&[
        &5_u16.to_be_bytes(),
        &count.to_be_bytes(),
        &uptime.to_be_bytes(),
        &SENT.to_be_bytes(),
        &0_u32.to_be_bytes(),
        &sequence.to_be_bytes(),
        &[0, 0],
        &sampling.to_be_bytes(),
    ]);
    for (from, to, ports, protocol, flags, packets, octets, first, last) in records {
        datagram.extend(bytes(&[
            from,
            to,
            &[0; 8],
            &packets.to_be_bytes(),
            &octets.to_be_bytes(),
            &first.to_be_bytes(),
            &last.to_be_bytes(),
            &ports[0].to_be_bytes(),
            &ports[1].to_be_bytes(),
            &[0, *flags, *protocol, 0],
            &[0; 8],
        ]));
    }
    datagram
}

fn set(id: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 4).expect("short");
    bytes(&[&id.to_be_bytes(), &length.to_be_bytes(), body])
}

/// A template of fields with their lengths; those of an enterprise have its number.
fn template(id: u16, fields: &[(u16, u16, Option<u32>)]) -> Vec<u8> {
    let mut body = bytes(&[&id.to_be_bytes(), &u16::try_from(fields.len()).expect("few").to_be_bytes()]);
    for (field, length, enterprise) in fields {
        let id = if enterprise.is_some() { field | 0x8000 } else { *field };
        body.extend(bytes(&[&id.to_be_bytes(), &length.to_be_bytes()]));
        body.extend(enterprise.iter().flat_map(|number| number.to_be_bytes()));
    }
    body
}

fn v9(sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    bytes(&[
        &9_u16.to_be_bytes(),
        &u16::try_from(sets.len()).expect("few").to_be_bytes(),
        &UPTIME.to_be_bytes(),
        &SENT.to_be_bytes(),
        &sequence.to_be_bytes(),
        &7_u32.to_be_bytes(),
        &sets.concat(),
    ])
}

fn ipfix(sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let sets = sets.concat();
    let length = u16::try_from(16 + sets.len()).expect("short");
    bytes(&[
        &10_u16.to_be_bytes(),
        &length.to_be_bytes(),
        &SENT.to_be_bytes(),
        &sequence.to_be_bytes(),
        &7_u32.to_be_bytes(),
        &sets,
    ])
}

/// Addresses, ports, protocol, flags, packets, bytes, start and end since the exporter started: as softflowd and others have them.
const PLAIN: [(u16, u16, Option<u32>); 10] = [
    (8, 4, None),
    (12, 4, None),
    (7, 2, None),
    (11, 2, None),
    (4, 1, None),
    (6, 1, None),
    (2, 4, None),
    (1, 4, None),
    (22, 4, None),
    (21, 4, None),
];

fn plain((from, to, ports, protocol, flags, packets, octets, first, last): Five) -> Vec<u8> {
    bytes(&[
        &from,
        &to,
        &ports[0].to_be_bytes(),
        &ports[1].to_be_bytes(),
        &[protocol, flags],
        &packets.to_be_bytes(),
        &octets.to_be_bytes(),
        &first.to_be_bytes(),
        &last.to_be_bytes(),
    ])
}

const HMI: [u8; 4] = [10, 0, 0, 8];
const PLC: [u8; 4] = [10, 0, 0, 9];
/// SYN, ACK, FIN and more: of a connection from its beginning to its end.
const ALL: u8 = 0x1b;
const SYN: u8 = 0x02;
const RST_ACK: u8 = 0x14;

/// A connection in both directions, the answer first.
fn poll(client: u16) -> [Five; 2] {
    [
        (PLC, HMI, [502, client], 6, ALL, 9, 700, UPTIME - 4_999, UPTIME - 1_000),
        (HMI, PLC, [client, 502], 6, ALL, 10, 600, UPTIME - 5_000, UPTIME - 1_000),
    ]
}

fn heard(datagrams: &[(u8, Vec<u8>)]) -> (Vec<String>, Heard) {
    let mut exports = Exports::new();
    let mut flows = Vec::new();
    for (from, datagram) in datagrams {
        exports.take(datagram, exporter(*from), None, &mut |flow| flows.push(said(&flow)));
    }
    exports.end(&mut |flow| flows.push(said(&flow)));
    (flows, exports.heard())
}

fn from_one(datagrams: &[Vec<u8>]) -> (Vec<String>, Heard) {
    heard(&datagrams.iter().map(|datagram| (1, datagram.clone())).collect::<Vec<_>>())
}

/// A flow in short; times are those before the message was sent.
fn said(flow: &Flow) -> String {
    let Seen { flows, opened, answered, packets, bytes, first, last, .. } = flow.seen;
    let ago = |moment: i64| i64::from(SENT) - moment;
    let service = flow.kind.service;
    format!(
        "{} > {} {}/{} -{}..-{} flows {flows} opened {opened} answered {answered} {packets:?} {bytes:?}",
        flow.kind.from,
        flow.kind.to,
        service.protocol,
        service.number,
        ago(first),
        ago(last)
    )
}

const POLLED: &str = "10.0.0.8 > 10.0.0.9 6/502 -5..-1 flows 1 opened 1 answered 1 [10, 9] [600, 700]";

#[test]
fn all_versions_say_the_same() {
    let [answer, question] = poll(40_000);
    let (flows, told) = from_one(&[v5(0, UPTIME, 0, &[answer, question])]);
    assert_eq!((flows, told.records, told.damaged), (vec![POLLED.to_owned()], 2, 0));
    let data = set(256, &[plain(answer), plain(question)].concat());
    let (flows, told) = from_one(&[v9(0, &[set(0, &template(256, &PLAIN)), data.clone()])]);
    assert_eq!((flows, told.records, told.damaged_sets), (vec![POLLED.to_owned()], 2, 0));
    // IPFIX says in an option when the exporter started (RFC 5655 has it so; softflowd too).
    let started = u64::from(SENT) * 1000 - u64::from(UPTIME);
    let option = bytes(&[
        &257_u16.to_be_bytes(),
        &2_u16.to_be_bytes(),
        &1_u16.to_be_bytes(),
        &[0, 149, 0, 4, 0, 160, 0, 8],
    ]);
    let about = bytes(&[&7_u32.to_be_bytes(), &started.to_be_bytes()]);
    let message = ipfix(0, &[set(2, &template(256, &PLAIN)), set(3, &option), set(257, &about), data]);
    assert_eq!(from_one(&[message]).0, [POLLED]);
}

#[test]
fn counter_of_uptime_begins_anew() {
    // The exporter started anew counting 2 s ago; the flow is from before.
    let records = poll(40_000).map(|(from, to, ports, protocol, flags, packets, octets, first, last)| {
        let moved = |moment: u32| moment.wrapping_sub(UPTIME).wrapping_add(2_000);
        (from, to, ports, protocol, flags, packets, octets, moved(first), moved(last))
    });
    assert_eq!(records[0].7, u32::MAX - 2_998);
    assert_eq!(from_one(&[v5(0, 2_000, 0, &records)]).0, [POLLED]);
}

#[test]
fn times_in_all_forms_of_ipfix() {
    const NTP: u64 = 2_208_988_800;
    let sent = u64::from(SENT);
    let half = 1_u64 << 31;
    for (what, start, end, first, last) in [
        ("s", (150, 4), (151, 4), vec![sent - 5], vec![sent - 1]),
        ("ms", (152, 8), (153, 8), vec![sent * 1000 - 4_500], vec![sent * 1000 - 500]),
        ("us", (154, 8), (155, 8), vec![(sent - 5 + NTP) << 32 | half], vec![(sent - 1 + NTP) << 32 | half]),
        ("ns", (156, 8), (157, 8), vec![(sent - 5 + NTP) << 32 | half], vec![(sent - 1 + NTP) << 32 | half]),
        ("before", (158, 4), (159, 4), vec![4_500_000], vec![500_000]),
        ("lasted", (161, 4), (159, 4), vec![4_000], vec![500_000]),
    ] {
        let fields = [
            (8, 4, None),
            (12, 4, None),
            (7, 2, None),
            (11, 2, None),
            (4, 1, None),
            (start.0, start.1, None),
            (end.0, end.1, None),
            (2, 3, None),
        ];
        let time = |value: &[u64], width: u16| value[0].to_be_bytes()[8 - usize::from(width)..].to_vec();
        let record = bytes(&[
            &HMI,
            &PLC,
            &[0x9c, 0x40, 0, 161, 17],
            &time(&first, start.1),
            &time(&last, end.1),
            &[0, 0, 3],
        ]);
        let (flows, told) = from_one(&[ipfix(0, &[set(2, &template(300, &fields)), set(300, &record)])]);
        let expected = "10.0.0.8 > 10.0.0.9 17/161 -5..-1 flows 1 opened 0 answered 0 [3, 0] [0, 0]";
        assert_eq!(flows, [expected], "{what}: {told:?}");
    }
}

#[test]
fn data_waits_for_its_template_and_is_counted_until_then() {
    let [answer, question] = poll(40_000);
    let data = set(256, &[plain(answer), plain(question)].concat());
    for export in [v9 as fn(u32, &[Vec<u8>]) -> Vec<u8>, ipfix] {
        let (flows, told) = from_one(&[export(0, std::slice::from_ref(&data))]);
        assert_eq!((flows.len(), told.without_template, told.records), (0, 1, 0));
        let id = if export(0, &[])[1] == 9 { 0 } else { 2 };
        let template = export(1, &[set(id, &template(256, &PLAIN))]);
        let (flows, told) = from_one(&[export(0, std::slice::from_ref(&data)), template]);
        assert_eq!((flows.len(), told.without_template, told.records), (1, 0, 2), "{told:?}");
    }
    // A template of another exporter, or of another port of it, says nothing.
    let template = v9(0, &[set(0, &template(256, &PLAIN))]);
    let (flows, told) = heard(&[(2, template), (1, v9(0, &[data]))]);
    assert_eq!((flows.len(), told.without_template), (0, 1));
}

#[test]
fn no_more_waits_than_there_is_room_for() {
    let mut exports = Exports::new();
    let body = vec![0_u8; 1_400];
    for number in 0..5_000_u32 {
        let id = 256 + u16::try_from(number % 4_000).expect("small");
        exports.take(&v9(number, &[set(id, &body)]), exporter(1), None, &mut |_| {});
    }
    assert_eq!(exports.heard().without_template, 5_000, "each is counted, kept or not");
    let (_, waits) = exports.exporters.iter().next().expect("one");
    let bound = 32 * 64;
    assert!(waits.waiting() <= bound.min((1 << 17) / 1_400 + 1), "{}", waits.waiting());
}

#[test]
fn template_may_be_redefined() {
    let [_, question] = poll(40_000);
    let mut turned = PLAIN;
    turned.swap(0, 1);
    turned.swap(2, 3);
    let one = v9(0, &[set(0, &template(256, &PLAIN)), set(256, &plain(question))]);
    let two = v9(1, &[set(0, &template(256, &turned)), set(256, &plain(question))]);
    // The same bytes the other way round are the answer.
    let (flows, _) = from_one(&[one, two]);
    assert_eq!(flows.len(), 1, "{flows:?}");
    assert!(flows[0].contains("[10, 10]"), "{flows:?}");
}

#[test]
fn both_directions_in_one_record() {
    const BACK: Option<u32> = Some(29_305);
    let fields = [&PLAIN[..], &[(2, 4, BACK), (1, 4, BACK), (6, 1, BACK), (239, 1, None)]].concat();
    let started = [(160, 8, None)];
    let fields = [&fields[..], &started[..]].concat();
    let [answer, question] = poll(40_000);
    let at = (u64::from(SENT) * 1000 - u64::from(UPTIME)).to_be_bytes();
    let record = |one: Five, other: Five, direction: u8| {
        bytes(&[&plain(one), &other.5.to_be_bytes(), &other.6.to_be_bytes(), &[other.4, direction], &at])
    };
    for (one, other, direction) in [(question, answer, 1), (answer, question, 2)] {
        let message = ipfix(0, &[set(2, &template(256, &fields)), set(256, &record(one, other, direction))]);
        assert_eq!(from_one(&[message]).0[0][..40], POLLED[..40]);
    }
}

#[test]
fn who_began_is_what_packets_say_then_ports_then_time() {
    let udp = |from, to, ports, first| (from, to, ports, 17, 0, 1, 100, first, first);
    let icmp = |from, to, number| (from, to, [0, number], 1, 0, 4, 400, UPTIME - 5_000, UPTIME - 1_000);
    for (what, records, expected) in [
        (
            "nobody answers",
            vec![(HMI, PLC, [40_000, 102], 6, SYN, 3, 180, UPTIME - 5_000, UPTIME - 1_000)],
            vec!["10.0.0.8 > 10.0.0.9 6/102 -5..-1 flows 1 opened 1 answered 0 [3, 0] [180, 0]"],
        ),
        (
            "refused",
            vec![
                (PLC, HMI, [102, 40_000], 6, RST_ACK, 1, 40, UPTIME - 5_000, UPTIME - 5_000),
                (HMI, PLC, [40_000, 102], 6, SYN, 1, 60, UPTIME - 5_000, UPTIME - 5_000),
            ],
            vec!["10.0.0.8 > 10.0.0.9 6/102 -5..-5 flows 1 opened 1 answered 0 [1, 1] [60, 40]"],
        ),
        (
            "a query",
            vec![udp(PLC, HMI, [161, 50_000], UPTIME - 2_000), udp(HMI, PLC, [50_000, 161], UPTIME - 2_000)],
            vec!["10.0.0.8 > 10.0.0.9 17/161 -2..-2 flows 1 opened 0 answered 1 [1, 1] [100, 100]"],
        ),
        (
            "ports of servers at both ends: the earlier one",
            vec![
                udp(PLC, HMI, [2_222, 2_222], UPTIME - 1_000),
                udp(HMI, PLC, [2_222, 2_222], UPTIME - 3_000),
            ],
            vec!["10.0.0.8 > 10.0.0.9 17/2222 -3..-1 flows 1 opened 0 answered 1 [1, 1] [100, 100]"],
        ),
        (
            "an echo",
            vec![icmp(PLC, HMI, 0), icmp(HMI, PLC, 0x0800)],
            vec![
                "10.0.0.8 > 10.0.0.9 1/2048 -5..-1 flows 1 opened 1 answered 1 [0, 4] [0, 400]",
                "10.0.0.8 > 10.0.0.9 1/2048 -5..-1 flows 0 opened 0 answered 0 [4, 0] [400, 0]",
            ],
        ),
        (
            "told of in pieces",
            vec![
                (HMI, PLC, [40_000, 502], 6, 0x1a, 5, 300, UPTIME - 900_000, UPTIME - 600_000),
                (PLC, HMI, [502, 40_000], 6, 0x1a, 5, 300, UPTIME - 899_999, UPTIME - 600_000),
                (HMI, PLC, [40_000, 502], 6, 0x18, 5, 300, UPTIME - 600_000, UPTIME - 300_000),
            ],
            vec![
                "10.0.0.8 > 10.0.0.9 6/502 -900..-600 flows 1 opened 1 answered 1 [5, 5] [300, 300]",
                "10.0.0.8 > 10.0.0.9 6/502 -600..-300 flows 0 opened 0 answered 0 [5, 0] [300, 0]",
            ],
        ),
    ] {
        let (flows, told) = from_one(&[v5(0, UPTIME, 0, &records)]);
        assert_eq!(flows, expected, "{what}: {told:?}");
    }
    let (flows, told) = from_one(&[v5(0, UPTIME, 0, &[icmp(PLC, HMI, 0x0301)])]);
    assert_eq!((flows.len(), told.left_out.values().sum::<u64>()), (0, 1));
}

#[test]
fn same_ports_again_are_another_connection() {
    let later = |(from, to, ports, protocol, flags, packets, octets, first, last): Five| {
        (from, to, ports, protocol, flags, packets, octets, first + 4_500, last + 900)
    };
    let [answer, question] = poll(40_000);
    let (flows, _) = from_one(&[v5(0, UPTIME, 0, &[question, answer, later(question), later(answer)])]);
    assert_eq!(flows.len(), 2, "{flows:?}");
    assert!(flows.iter().all(|flow| flow.contains("flows 1 opened 1 answered 1 [10, 9]")), "{flows:?}");
}

#[test]
fn what_two_exporters_tell_is_counted_once() {
    let [answer, question] = poll(40_000);
    let one = v5(0, UPTIME, 0, &[question]);
    let other = v5(0, UPTIME, 0, &[answer, question]);
    let (flows, told) = heard(&[(1, one), (2, other)]);
    // The answer takes another way, of which the first exporter knows nothing.
    assert_eq!((flows, told.repeated), (vec![POLLED.to_owned()], 1));
}

#[test]
fn numbers_tell_what_never_came() {
    let [answer, question] = poll(40_000);
    let records = |sequence| v5(sequence, UPTIME, 0, &[answer, question]);
    assert_eq!(from_one(&[records(10), records(12), records(17)]).1.missing, 3);
    // One that began anew lost nothing.
    assert_eq!(from_one(&[records(10_000_000), records(0), records(2)]).1.missing, 0);
    let nine = |sequence| v9(sequence, &[set(0, &template(256, &PLAIN))]);
    assert_eq!(from_one(&[nine(1), nine(2), nine(6)]).1.missing, 3);
    let ten = |sequence| ipfix(sequence, &[set(2, &template(256, &PLAIN)), set(256, &plain(question))]);
    assert_eq!(from_one(&[ten(1), ten(2), ten(6)]).1.missing, 3);
}

#[test]
fn sampling_is_said_and_nothing_is_multiplied() {
    let [answer, question] = poll(40_000);
    let (flows, told) = from_one(&[v5(0, UPTIME, 0x4000 | 100, &[answer, question])]);
    assert_eq!((flows, told.sampled), (vec![POLLED.to_owned()], BTreeMap::from([(exporter(1).ip(), 100)])));
}

#[test]
fn broken_sets_are_counted() {
    let [answer, question] = poll(40_000);
    let mut data = [plain(answer), plain(question)].concat();
    data.extend([0; 3]);
    let template = set(0, &template(256, &PLAIN));
    assert_eq!(from_one(&[v9(0, &[template.clone(), set(256, &data)])]).1.damaged_sets, 0, "padding");
    for datagram in [vec![], vec![0, 5], vec![0, 9, 0, 1], vec![0, 1, 2, 3], v5(0, UPTIME, 0, &[])] {
        assert_eq!(from_one(&[datagram]).1.damaged, 1);
    }
    let cut = v9(0, &[template, set(256, &data)]);
    assert_eq!(from_one(&[cut[..cut.len() - 5].to_vec()]).1.damaged, 1);
}

#[test]
fn memory_has_bounds_whoever_tells() {
    let mut exports = Exports::new();
    let mut flows = 0;
    let mut told = 0_u32;
    while told < 2_200 {
        let records: Vec<Five> = (0..30)
            .map(|at| {
                let number = told * 30 + at;
                let [_, a, b, c] = number.to_be_bytes();
                ([11, a, b, c], PLC, [40_000, 502], 17, 0, 1, 60, UPTIME, UPTIME)
            })
            .collect();
        let from = SocketAddr::from(([10, 9, 9, 1], 1_024 + u16::try_from(told).expect("small")));
        exports.take(&v5(0, UPTIME, 0, &records), from, None, &mut |_| flows += 1);
        told += 1;
        assert!(exports.exporters() <= MOST_EXPORTERS);
        assert!(exports.joined.len() <= 2 * joined::REMEMBERED);
    }
    exports.end(&mut |_| flows += 1);
    assert_eq!(flows, 66_000, "each is told, however many wait");
    assert_eq!(exports.heard().forgotten, u64::from(told) - MOST_EXPORTERS as u64);
}

fn datagrams() -> impl Strategy<Value = Vec<u8>> {
    let [answer, question] = poll(40_000);
    let data = set(256, &[plain(answer), plain(question)].concat());
    let option = bytes(&[&257_u16.to_be_bytes(), &[0, 2, 0, 1, 0, 149, 0, 4, 0, 160, 0, 8]]);
    let good = [
        v5(0, UPTIME, 0, &[answer, question]),
        v9(0, &[set(0, &template(256, &PLAIN)), data.clone()]),
        v9(1, std::slice::from_ref(&data)),
        ipfix(0, &[set(2, &template(256, &PLAIN)), set(3, &option), data]),
    ];
    let mutated = (
        0..good.len(),
        proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        any::<prop::sample::Index>(),
    )
        .prop_map(move |(which, changes, end)| {
            let mut datagram = good[which].clone();
            for (at, byte) in changes {
                let at = at.index(datagram.len());
                datagram[at] = byte;
            }
            datagram.truncate(end.index(datagram.len() + 64).max(1));
            datagram
        });
    prop_oneof![mutated, proptest::collection::vec(any::<u8>(), 0..2_000)]
}

proptest! {
    #[test]
    fn nothing_that_comes_makes_it_panic_or_grow(datagrams in proptest::collection::vec((0_u8..4, datagrams()), 1..40)) {
        let mut exports = Exports::new();
        let mut flows = Vec::new();
        for (from, datagram) in &datagrams {
            let _ = is_export(datagram);
            exports.take(datagram, exporter(*from), None, &mut |flow| flows.push(flow));
        }
        exports.end(&mut |flow| flows.push(flow));
        let heard = exports.heard();
        prop_assert_eq!(heard.datagrams, datagrams.len() as u64);
        prop_assert!(exports.exporters() <= MOST_EXPORTERS);
        prop_assert!(flows.len() as u64 <= 2 * heard.records);
        for flow in &flows {
            prop_assert!(flow.seen.first <= flow.seen.last);
            let counted = flow.seen.flows + flow.seen.packets.iter().fold(0_u64, |sum, packets| sum.saturating_add(*packets));
            prop_assert!(counted > 0 || flow.seen.bytes != [0; 2]);
        }
    }
}
