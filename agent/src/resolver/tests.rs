//! Answers as resolvers send them, as nobody should, and cut or changed anywhere.

use std::net::{Ipv4Addr, Ipv6Addr};

use domain::base::{
    MessageBuilder, Ttl,
    iana::{Opcode, Rcode},
};
use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;

const VENDOR: &str = "update.vendor.example";
const ONE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const TWO: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const SIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);

fn name(text: &str) -> Name<Vec<u8>> {
    text.parse().expect("a name")
}

enum Says<'a> {
    Is(&'a str, IpAddr, u32),
    Alias(&'a str, &'a str),
}
use Says::{Alias, Is};

fn message(asked: &str, code: Rcode, records: &[Says<'_>]) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_qr(true);
    builder.header_mut().set_rcode(code);
    let mut builder = builder.question();
    builder.push((name(asked), Rtype::A)).expect("there is room");
    let mut builder = builder.answer();
    for record in records {
        match record {
            Is(owner, IpAddr::V4(address), ttl) => {
                builder.push((name(owner), Ttl::from_secs(*ttl), A::new(*address)))
            }
            Is(owner, IpAddr::V6(address), ttl) => {
                builder.push((name(owner), Ttl::from_secs(*ttl), Aaaa::new(*address)))
            }
            Alias(owner, of) => builder.push((name(owner), Ttl::from_secs(60), Cname::new(name(of)))),
        }
        .expect("there is room");
    }
    builder.into_message().into_octets()
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [0x00, 0x1d, 0x9c, 0xc7, 0xb0, 0x70]);
    let builder = builder.ipv4([10, 9, 0, 53], [10, 20, 1, 11], 64).udp(53, 40_000);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).expect("a vector grows");
    frame
}

fn read(asked: &str, records: &[Says<'_>]) -> Vec<(IpAddr, u32)> {
    let found = resolved(&frame(&message(asked, Rcode::NOERROR, records))).expect("an answer");
    assert_eq!(found.name, asked.to_ascii_lowercase());
    found.addresses
}

#[test]
fn an_answer_names_its_addresses_of_both_families() {
    let records = [Is(VENDOR, ONE.into(), 60), Is(VENDOR, SIX.into(), 30), Is(VENDOR, TWO.into(), 5)];
    assert_eq!(read(VENDOR, &records), [(ONE.into(), 60), (TWO.into(), 5), (SIX.into(), 30)]);
    assert_eq!(read(VENDOR, &[]), [], "there is nothing behind it");
}

#[test]
fn names_are_the_same_in_any_case() {
    assert_eq!(
        read("Update.VENDOR.example", &[Is("update.vendor.EXAMPLE", ONE.into(), 60)]),
        [(ONE.into(), 60)]
    );
}

#[test]
fn aliases_lead_to_addresses_in_any_order() {
    let records = [
        Is("edge.cdn.example", ONE.into(), 60),
        Alias("lb.vendor.example", "edge.cdn.example"),
        Alias(VENDOR, "lb.vendor.example"),
    ];
    assert_eq!(read(VENDOR, &records), [(ONE.into(), 60)]);
}

#[test]
fn records_of_other_names_are_no_part_of_the_answer() {
    let records = [Is("other.example", TWO.into(), 60), Alias("else.example", "edge.cdn.example")];
    assert_eq!(read(VENDOR, &records), []);
    let records =
        [Alias(VENDOR, "a.example"), Is("b.example", ONE.into(), 60), Is("a.example", TWO.into(), 9)];
    assert_eq!(read(VENDOR, &records), [(TWO.into(), 9)]);
}

#[test]
fn aliases_in_a_circle_end() {
    let records = [Alias(VENDOR, "b.example"), Alias("b.example", VENDOR), Is("c.example", ONE.into(), 1)];
    assert_eq!(read(VENDOR, &records), []);
}

#[test]
fn what_is_no_answer_says_nothing() {
    let good = message(VENDOR, Rcode::NOERROR, &[Is(VENDOR, ONE.into(), 60)]);
    let told = |payload: &[u8]| resolved(&frame(payload));
    assert!(told(&good).is_some());
    assert_eq!(told(&message(VENDOR, Rcode::NXDOMAIN, &[Is(VENDOR, ONE.into(), 60)])), None);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(told(&with(2, 0)), None, "a query");
    assert_eq!(told(&with(2, 0x80 | Opcode::NOTIFY.to_int() << 3)), None, "another kind of message");
    assert_eq!(told(&with(5, 0)), None, "no question");
    assert_eq!(told(&with(5, 2)), None, "two questions");
    assert_eq!(told(&good[..11]), None);
    assert_eq!(resolved(&[]), None);
}

#[test]
fn a_name_that_no_policy_can_write_is_none() {
    for asked in ["a\\046b.vendor.example", "\\027[31m.vendor.example", "."] {
        let payload = message(asked, Rcode::NOERROR, &[Is(asked, ONE.into(), 60)]);
        assert_eq!(resolved(&frame(&payload)), None, "{asked}");
    }
}

#[test]
fn a_message_that_is_cut_counts_as_far_as_it_goes() {
    let records: Vec<Says<'_>> =
        (0..40).map(|n| Is(VENDOR, Ipv4Addr::new(203, 0, 113, n).into(), 60)).collect();
    let whole = frame(&message(VENDOR, Rcode::NOERROR, &records));
    let all = resolved(&whole).expect("an answer").addresses;
    assert_eq!(all.len(), 40);
    let cut = resolved(&whole[..whole.len() - 100]).expect("an answer").addresses;
    assert!(!cut.is_empty() && cut.len() < 40 && all.starts_with(&cut), "{cut:?}");
}

#[test]
fn an_answer_is_bounded() {
    let records: Vec<Says<'_>> =
        (0..90).map(|n| Is(VENDOR, Ipv4Addr::new(203, 0, 113, n).into(), 60)).collect();
    assert_eq!(read(VENDOR, &records).len(), MOST);
    let names: Vec<String> = (0..40).map(|n| format!("a{n}.example")).collect();
    let mut records: Vec<Says<'_>> = names.windows(2).map(|pair| Alias(&pair[0], &pair[1])).collect();
    records.push(Is("a39.example", ONE.into(), 1));
    assert_eq!(read("a0.example", &records), [], "a chain longer than any resolver follows");
}

proptest! {
    #[test]
    fn whatever_a_resolver_sends_is_survived(
        at in 0_usize..300,
        bytes in proptest::collection::vec(any::<u8>(), 0..32),
        cut in 0_usize..300,
    ) {
        let records = [Alias(VENDOR, "edge.cdn.example"), Is("edge.cdn.example", ONE.into(), 60), Is(VENDOR, SIX.into(), 30)];
        let mut frame = frame(&message(VENDOR, Rcode::NOERROR, &records));
        for (place, byte) in frame.iter_mut().skip(at).zip(&bytes) {
            *place = *byte;
        }
        frame.truncate(cut.max(14));
        let found = resolved(&frame);
        prop_assert!(found.is_none_or(|found| found.addresses.len() <= MOST && !found.name.is_empty()));
    }

    #[test]
    fn no_message_at_all_is_survived(payload in proptest::collection::vec(any::<u8>(), 0..600)) {
        let found = answered(&payload);
        prop_assert!(found.is_none_or(|found| found.addresses.len() <= MOST));
    }
}
