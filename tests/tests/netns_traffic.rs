//! The source behind `cargo xtask bench wire`: it sends the flows that a policy is written for, with right checksums, and exactly as
//! many frames as it says.

use std::time::Duration;

use bulkhead_tests::{
    lab::{
        Mac, Namespace, Seen, Sniffer,
        link::{self, End},
        napi, requirements,
        traffic::{self, ALLOWED, DEVICES, FLOWS, FORBIDDEN, Traffic, Turn},
        wire,
    },
    skip::{Tier, skip},
};

const SOON: Duration = Duration::from_secs(60);
const NEXT_HOP: Mac = Mac([2, 0, 0, 0, 0, 2]);
/// The sniffer has room for all of these frames, even if it takes none meanwhile.
const TURNS: u32 = 20;

/// A flow and whether its frame was a forbidden one, or what is wrong with it.
type Class = Result<(u16, bool), String>;

fn classify(seen: &Seen) -> Option<Class> {
    let transport = seen.transport()?;
    let flow = transport.src.port() & (FLOWS - 1);
    let (mac, _) = traffic::device(flow);
    let (src, mut dst) = traffic::flow(flow);
    let forbidden = transport.dst.port() >= FORBIDDEN;
    if forbidden {
        dst.set_port(dst.port() - ALLOWED + FORBIDDEN);
    }
    let mut right = seen.bytes.clone();
    wire::set_ipv4_checksum(&mut right);
    let expected = seen.src_mac() == Some(mac) && (transport.src, transport.dst) == (src, dst);
    let fits = expected && seen.bytes[..6] == NEXT_HOP.0 && seen.bytes == right;
    Some(if fits { Ok((flow, forbidden)) } else { Err(format!("{:02x?}", seen.bytes)) })
}

#[test]
fn every_frame_is_of_a_known_flow_and_counted() {
    let test = "every_frame_is_of_a_known_flow_and_counted";
    if let Err(reason) = requirements() {
        skip(Tier::Netns, test, &reason);
        return;
    }
    let source = Namespace::new("source").expect("a namespace");
    let sink = Namespace::new("sink").expect("a namespace");
    let end = |namespace, interface, mac| End { namespace, interface, mac, mtu: 1500 };
    link::veth(&end(&source, "gen0", Mac([2, 0, 0, 0, 0, 1])), &end(&sink, "sink0", NEXT_HOP))
        .expect("a cable");
    link::generic_receive_on(&sink, "sink0").expect("NAPI");
    let index = link::index(&source, "gen0").expect("an index");
    let processor = napi::processors().expect("processors")[0];
    let traffic = Traffic::new(index, NEXT_HOP, processor).expect("programs");

    let sniffer = Sniffer::start(&sink, "sink0", classify).expect("a sniffer");
    let turn = Turn { allowed: 3, forbidden: 1, burst: 128, paced: true };
    let sent = traffic.turns(&source, "gen0", turn, TURNS).expect("it sends");
    assert_eq!((sent.allowed, sent.forbidden), (7680, 2560));
    let link = link::counted(&source, "gen0").expect("counters");
    assert_eq!((link.sent, link.unsent), (sent.allowed + sent.forbidden, 0));
    let complete = sniffer.wait_until("all frames", SOON, |counts| {
        counts.values().sum::<u64>() >= sent.allowed + sent.forbidden
    });
    let counts = complete.expect("every frame arrives");

    let wrong: Vec<_> = counts.keys().filter_map(|class| class.as_ref().err()).collect();
    assert!(wrong.is_empty(), "{:?}", wrong.first());
    let of =
        |forbidden| counts.iter().filter(move |(class, _)| matches!(class, Ok((_, f)) if *f == forbidden));
    let sum = |forbidden| of(forbidden).map(|(_, count)| *count).sum::<u64>();
    assert_eq!((sum(false), sum(true)), (sent.allowed, sent.forbidden));
    // By chance: of 4,096 flows some six hundred are not among 7,680 frames.
    assert!(of(false).count() > usize::from(FLOWS - DEVICES), "{} flows", of(false).count());
}
