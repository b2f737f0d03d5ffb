//! Whatever the bytes: nothing panics, and nothing is larger than it may be.

use proptest::prelude::*;

use super::{
    tests::{
        DEVICE, I_AM, OTHER, accepted, arp, at, bacnet_message, dcp_answer, dhcp_question, enip_identity,
        ethernet, lldp_message, mdns_announcement, modbus_identity, modules, szl, tcp, udp,
    },
    *,
};
use crate::diagnostic::escape;

const PLC: [u8; 4] = [10, 20, 1, 11];

fn frames() -> Vec<Vec<u8>> {
    vec![
        arp(DEVICE, DEVICE, PLC),
        accepted(DEVICE, PLC, 502),
        udp(
            DEVICE,
            [0; 4],
            [68, 67],
            &dhcp_question(DEVICE, &[(12, b"hmi-3"), (55, &[1, 3]), (81, b"\0\0\0x")]),
        ),
        ethernet(DEVICE, 0x88cc, &lldp_message(9)),
        ethernet(DEVICE, 0x8892, &dcp_answer(0xfeff, 5, 1)),
        udp(DEVICE, PLC, [5353, 5353], &mdns_announcement(PLC)),
        udp(DEVICE, PLC, [1900, 1900], b"NOTIFY * HTTP/1.1\r\nSERVER: a\r\nNT: urn:b\r\n\r\n"),
        tcp(DEVICE, PLC, 502, &modbus_identity(&[(0, "a"), (1, "b"), (2, "c")])),
        udp(OTHER, PLC, [44_818, 1], &enip_identity()),
        udp(DEVICE, PLC, [47_808, 1], &bacnet_message(&[0x20, 0xff, 0xff, 0, 255], &I_AM)),
        tcp(DEVICE, PLC, 102, &szl(0x11, 28, &modules())),
    ]
}

/// A frame with some bytes changed, then cut or with more behind it.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12);
    let tail = prop::collection::vec(any::<u8>(), 0..80);
    (prop::sample::select(frames()), edits, any::<prop::sample::Index>(), any::<bool>(), tail).prop_map(
        |(mut frame, edits, cut, cuts, tail)| {
            // Mostly the payload: what is in front of it decides only who reads it.
            for (index, byte) in edits {
                let at = index.index(frame.len());
                frame[at] = byte;
            }
            if cuts {
                frame.truncate(cut.index(frame.len()));
            } else {
                frame.extend(tail);
            }
            frame
        },
    )
}

fn check(heard: &Heard) -> Result<(), TestCaseError> {
    prop_assert!(heard.claims.len() <= MOST_CLAIMS);
    for claim in &heard.claims {
        let chars = claim.value.chars().count();
        prop_assert!((1..=MOST_CHARS).contains(&chars), "{:?}", claim);
        prop_assert_eq!(escape(&claim.value), claim.value.as_str());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_frame_says_little_and_printable_things(frame in mutated()) {
        if let Some(heard) = hear(&frame) {
            check(&heard)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_table_of_mutated_frames_stays_in_its_bounds(frames in prop::collection::vec((mutated(), -90_000..90_000_i64), 1..200)) {
        let mut inventory = Inventory::default();
        for (frame, seconds) in &frames {
            if let Some(heard) = hear(frame) {
                inventory.take(&heard, at(*seconds));
            }
        }
        for device in inventory.devices() {
            prop_assert!(device.facts.len() <= MOST_FACTS && device.first <= device.last);
            for fact in &device.facts {
                prop_assert!(device.of_kind(fact.kind).len() <= MOST_OF_A_KIND);
                prop_assert!(fact.first <= fact.last && fact.count > 0);
            }
        }
        let report = Report::new(&inventory, inventory.known(), &Vendors::default());
        for listed in &report.devices {
            let text = stub(listed, &Default::default());
            let file = crate::policy::SourceFile { path: "a.toml".to_owned(), text: text.clone() };
            let outcome = crate::policy::resolve_texts(&[file]);
            prop_assert!(outcome.policy.is_some(), "{}\n{:?}", text, outcome.diagnostics);
        }
    }
}
