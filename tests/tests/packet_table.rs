//! The packet table: each row a sentence about the data path, proved on the host and in the kernel alike.
//!
//! In: `tests/packet/*.rows` over the policies beside them. Each frame must meet the expected fate, be counted for the
//! expected device and rule, and move no other counter. In the kernel every row starts with nothing remembered.

mod packet;

use std::collections::BTreeSet;

use bulkhead_agent::dataplane::XdpAction;
use bulkhead_common::{
    layout::{InterfaceCounters, SegmentKey, SegmentRow},
    lookup::{ANY_VLAN, NOWHERE},
    reason::{Grant, Reason},
};
use packet::{
    COUNTER, LO, Setup, host, kernel, lab,
    rows::{self, Row, Step},
    setup::ENDLESS,
};

fn report(results: Vec<(&Row, Result<(), String>)>) {
    let failed: Vec<String> = results
        .iter()
        .filter_map(|(row, result)| result.as_ref().err().map(|error| format!("{}\n{error}", row.place())))
        .collect();
    println!("{} rows", results.len());
    assert!(
        failed.is_empty(),
        "{} of {} rows failed\n\n{}",
        failed.len(),
        results.len(),
        failed.join("\n\n")
    );
}

#[test]
fn every_row_holds_on_the_host() {
    let rows = rows::all();
    report(rows.iter().map(|row| (row, host::run(row))).collect());
}

#[test]
fn every_row_holds_in_the_kernel() {
    let Some((namespace, room)) = lab("every_row_holds_in_the_kernel") else { return };
    let rows = rows::all();
    let results = namespace.run(|| {
        let mut kernel = kernel::Kernel::new(&room, "rows");
        let here = rows.iter().filter(|row| !row.is_for_the_host_only());
        here.map(|row| (row, kernel::run(row, &mut kernel))).collect()
    });
    report(results);
}

/// A reason without a row is a promise without a proof.
#[test]
fn every_grant_and_every_reason_has_a_row() {
    let rows = rows::all();
    let proved: BTreeSet<&str> = rows
        .iter()
        .filter(|row| !row.is_for_the_host_only())
        .flat_map(|row| &row.steps)
        .filter_map(|step| match step {
            Step::Frame { text: _, bytes: _, expected } => Some(expected.word.as_str()),
            Step::Set(_) | Step::Policy(_) | Step::Wait(_) | Step::Clock(_) | Step::Learn(_) => None,
        })
        .collect();
    let words = Grant::ALL.iter().map(|g| g.name()).chain(Reason::ALL.iter().map(|r| r.name()));
    let missing: Vec<&str> =
        words.filter(|word| !proved.contains(word) && *word != Reason::NoPolicy.name()).collect();
    assert!(missing.is_empty(), "no row proves {missing:?}");
}

/// The one reason that is no row's: it is what every frame meets before a policy was applied.
#[test]
fn without_a_policy_nothing_passes() {
    let Some((namespace, room)) = lab("without_a_policy_nothing_passes") else { return };
    namespace.run(|| {
        let mut kernel = kernel::Kernel::new(&room, "empty");
        kernel.set(&Setup::default());
        let frame = bulkhead_tests::frame::frame("admin>gw tcp 49152>22 S").expect("it is well formed");
        let action = kernel.dataplane.test_run(&frame).expect("the program runs");
        assert_eq!(action, XdpAction::Drop);
        let counts = kernel.dataplane.device_counts(0).expect("id 0 exists");
        assert_eq!(counts[usize::from(Reason::NoPolicy.code())], 1);
        let interface = kernel.dataplane.interface_counts(COUNTER).expect("it is configured");
        assert_eq!((interface.seen.packets, interface.dropped.packets), (1, 1));
        let tally = kernel.dataplane.tally().expect("readable");
        assert_eq!((tally.violations, tally.lost), (1, 1), "nobody could be told");
        assert_eq!(LO, 1);
    });
}

/// What arrives at one side of an inline pair has nowhere to go while the other is missing: it is counted as dropped,
/// under the word of its verdict.
#[test]
fn while_the_other_side_of_a_pair_is_missing_nothing_passes() {
    let Some((namespace, room)) = lab("while_the_other_side_of_a_pair_is_missing_nothing_passes") else {
        return;
    };
    namespace.run(|| {
        let mut kernel = kernel::Kernel::new(&room, "pair");
        kernel.set(&Setup::default());
        kernel.apply("cell.toml");
        let alone = Setup::default().placed(&ENDLESS).segment;
        let mut run = |redirect: u32, line: &str| {
            let key = SegmentKey { ifindex: LO, vlan: ANY_VLAN, pad: 0 };
            let row = SegmentRow { redirect, ..alone };
            kernel.dataplane.set_segment(key, row).expect("there is room for one");
            let frame = bulkhead_tests::frame::frame(line).expect("it is well formed");
            let action = kernel.dataplane.test_run(&frame).expect("the program runs");
            let interface = kernel.dataplane.interface_counts(COUNTER).expect("it is configured");
            let tally = kernel.dataplane.tally().expect("readable");
            let InterfaceCounters { seen, passed, dropped, would_drop, remembered: _ } = interface;
            (action, [seen, passed, dropped, would_drop].map(|traffic| traffic.packets), tally.violations)
        };
        let (drop, pass) = (XdpAction::Drop, XdpAction::Pass);
        assert_eq!(run(NOWHERE, "hmi>plc tcp 49152>502 S"), (drop, [1, 0, 1, 0], 0), "allowed, and no way");
        assert_eq!(run(NOWHERE, "oven>internet tcp 49152>22 S"), (drop, [2, 0, 2, 0], 1), "monitored");
        assert_eq!(run(NOWHERE, "all>all ether 88cc"), (drop, [3, 0, 3, 0], 2), "malformed");
        assert_eq!(run(0, "hmi>plc tcp 49153>502 S"), (pass, [4, 1, 3, 0], 2));
        assert_eq!(run(0, "oven>internet tcp 49152>22 S"), (pass, [5, 2, 3, 1], 3));
    });
}
