//! The generator behind the benchmarks makes the packets that it says: of each flow one, over the whole grid, and the policy of
//! the grid allows exactly those.

mod packet;

use bulkhead_agent::dataplane::{Dataplane, Moment, Sizes};
use bulkhead_common::reason::{CODES, Grant, Reason};
use bulkhead_tests::{
    grid::Grid,
    lab::{
        Room,
        program::{Jump, Program},
        stream::{Family, Kind, Order, Peers, Stream},
    },
};
use packet::{CACHE, Setup, gateway, lab, open, tables};

const GRID: Grid = Grid { devices: 250, entries: 10 };
const FLOWS: u32 = 1 << 10;
const SIZES: Sizes =
    Sizes { devices: 512, rules: 512, flows: 1 << 14, violations: 64, ring_bytes: 4096, cache: CACHE };

/// A data path with the policy of the grid, and a way into its program.
fn enforcing(room: &Room, pins: &str) -> (Dataplane, Jump) {
    let (mut dataplane, _) = open(room, pins, SIZES);
    Setup::default().configure(&mut dataplane);
    let tables = tables(&[("grid.toml", &GRID.policy())]);
    let applied = dataplane.apply(tables, &gateway(), &Setup::segments(), &Moment::default());
    applied.map(drop).unwrap_or_else(|error| panic!("{error}"));
    let programs = dataplane.programs().expect("the kernel tells");
    let jump = Jump::to(&Program::by_id(programs[0].0).expect("it is loaded")).expect("it can be jumped to");
    (dataplane, jump)
}

/// Packets of all devices by code, those of remembered verdicts too, and how many devices had any.
fn counts(dataplane: &Dataplane) -> ([u64; CODES as usize], usize) {
    dataplane.collect().expect("the CPUs are there");
    let mut sum = [0; CODES as usize];
    let mut busy = 0;
    for id in 0..=GRID.devices {
        let counts = dataplane.device_counts(id).expect("the id is in the map");
        busy += usize::from(counts.iter().any(|count| *count > 0));
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    (sum, busy)
}

#[test]
fn every_packet_of_a_stream_is_what_the_stream_says() {
    let Some((namespace, room)) = lab("every_packet_of_a_stream_is_what_the_stream_says") else { return };
    namespace.run(|| {
        let (mut dataplane, jump) = enforcing(&room, "stream");
        let (flow, rule) = (Grant::Flow.code(), Grant::Rule.code());
        let unknown = Reason::UnknownPeer.code();
        let expected = [
            (Kind::Udp, Peers::Allowed, rule),
            (Kind::Udp, Peers::Allowed, flow),
            (Kind::Syn, Peers::Allowed, rule),
            (Kind::SynAck, Peers::Allowed, flow),
            (Kind::Ack, Peers::Allowed, flow),
            (Kind::Udp, Peers::OtherService, Reason::ServiceNotAllowed.code()),
            (Kind::Udp, Peers::Anybody, unknown),
            (Kind::Udp, Peers::Strangers, unknown),
        ];
        for family in [Family::V4, Family::V6] {
            dataplane.forget().expect("tables can be emptied");
            for (kind, peers, code) in expected {
                let before = counts(&dataplane).0;
                let stream = Stream { grid: GRID, bits: FLOWS.trailing_zeros(), family, kind, peers };
                let program = stream.program(Order::InTurn, &jump).expect("it is loaded");
                program.run(&stream.frame(0), FLOWS).expect("it runs");
                let (after, busy) = counts(&dataplane);
                let moved: Vec<(u8, u64)> = (0..)
                    .zip(before.iter().zip(after))
                    .map(|(code, (before, after))| (code, after - before))
                    .filter(|(_, moved)| *moved > 0)
                    .collect();
                assert_eq!(moved, [(code, u64::from(FLOWS))], "{stream:?}");
                assert_eq!(busy, GRID.devices as usize, "{stream:?}");
            }
        }
    });
}

#[test]
fn an_order_without_repetition_meets_each_flow_once() {
    let Some((namespace, room)) = lab("an_order_without_repetition_meets_each_flow_once") else { return };
    namespace.run(|| {
        let (dataplane, jump) = enforcing(&room, "apart");
        let bits = FLOWS.trailing_zeros();
        let stream = Stream { grid: GRID, bits, family: Family::V4, kind: Kind::Udp, peers: Peers::Allowed };
        let run = |order, first: u32, times| {
            let program = stream.program(order, &jump).expect("it is loaded");
            program.run(&stream.frame(first), times).expect("it runs");
            counts(&dataplane).0[usize::from(Grant::Rule.code())]
        };
        assert_eq!(run(Order::Apart, 7, FLOWS), u64::from(FLOWS));
        assert_eq!(run(Order::Mixed, 0, 2 * FLOWS), u64::from(FLOWS), "none is new");
        assert_eq!(run(Order::InTurn, 3, 2 * FLOWS), u64::from(FLOWS), "none is new");
    });
}
