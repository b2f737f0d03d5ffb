//! The packet table: each row a sentence about the data path, proved on the host and in the kernel alike.
//!
//! In: `tests/packet/*.rows` over the policies beside them. Each frame must meet the expected fate, be counted for the
//! expected device and rule, and move no other counter. In the kernel every row starts with nothing remembered.

mod packet;

use std::collections::BTreeSet;

use bulkhead_common::reason::{Grant, Reason};
use packet::{
    COUNTER, LO, Setup, host, kernel, lab,
    rows::{self, Row, Step},
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
            Step::Set(_) | Step::Policy(_) | Step::Wait(_) => None,
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
        assert_eq!(action, bulkhead_agent::dataplane::XdpAction::Drop);
        let counts = kernel.dataplane.device_counts(0).expect("id 0 exists");
        assert_eq!(counts[usize::from(Reason::NoPolicy.code())], 1);
        let interface = kernel.dataplane.interface_counts(COUNTER).expect("it is configured");
        assert_eq!((interface.seen.packets, interface.dropped.packets), (1, 1));
        let tally = kernel.dataplane.tally().expect("readable");
        assert_eq!((tally.violations, tally.lost), (1, 1), "nobody could be told");
        assert_eq!(LO, 1);
    });
}
