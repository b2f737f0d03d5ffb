//! Counts, skips and the table at the end.

use std::{collections::BTreeMap, time::Duration};

use comfy_table::{CellAlignment, Table, presets};

use crate::Outcome;

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
}

impl Counts {
    /// A check that counts as one.
    pub(super) fn of_one(passed: bool) -> Self {
        Self { passed: usize::from(passed), failed: usize::from(!passed), skipped: 0 }
    }

    /// Both together.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }

    /// Takes `skips` off the passed ones, since to libtest a test that returns early has passed.
    pub(super) fn with_skips(self, skips: usize, required: bool) -> Self {
        let passed = self.passed.saturating_sub(skips);
        if required {
            Self { passed, failed: self.failed + skips, ..self }
        } else {
            Self { passed, skipped: self.skipped + skips, ..self }
        }
    }
}

/// One tier after it ran.
pub(super) struct TierResult {
    pub(super) name: String,
    pub(super) counts: Counts,
    pub(super) skips: Vec<Skip>,
    pub(super) took: Duration,
}

/// A test that said it could not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Skip {
    pub(super) test: String,
    pub(super) reason: String,
}

/// Reads a skip log: one `name<TAB>reason` a line. A test that skips twice counts once, with its first reason.
pub(super) fn parse_skips(text: &str) -> Vec<Skip> {
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines() {
        let (test, reason) = line.split_once('\t').unwrap_or((line, "no reason given"));
        first.entry(test).or_insert(reason);
    }
    first.into_iter().map(|(test, reason)| Skip { test: test.into(), reason: reason.into() }).collect()
}

/// Prints skips, the table and, last, `N passed, N failed, N skipped`.
pub(super) fn print(results: &[TierResult]) -> Outcome {
    let total = results.iter().fold(Counts::default(), |sum, result| sum.plus(result.counts));
    println!();
    for result in results {
        for Skip { test, reason } in &result.skips {
            println!("skipped {} `{test}`: {reason}", result.name);
        }
    }
    println!("{}\n\n{}", table(results), summary(total));
    if total.failed == 0 { Outcome::Fine } else { Outcome::Found }
}

fn table(results: &[TierResult]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["tier", "passed", "failed", "skipped", "seconds"]);
    for TierResult { name, counts, skips: _, took } in results {
        let Counts { passed, failed, skipped } = counts;
        table.add_row([
            name.clone(),
            passed.to_string(),
            failed.to_string(),
            skipped.to_string(),
            format!("{:.1}", took.as_secs_f64()),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn summary(total: Counts) -> String {
    let Counts { passed, failed, skipped } = total;
    format!("{passed} passed, {failed} failed, {skipped} skipped")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(passed: usize, failed: usize, skipped: usize) -> Counts {
        Counts { passed, failed, skipped }
    }

    #[test]
    fn skipped_tests_are_not_passed_ones() {
        assert_eq!(counts(5, 0, 0).with_skips(2, false), counts(3, 0, 2));
    }

    #[test]
    fn skip_in_a_required_tier_is_a_failure() {
        assert_eq!(counts(5, 1, 0).with_skips(2, true), counts(3, 3, 0));
    }

    #[test]
    fn test_that_skips_twice_counts_once() {
        let skips = parse_skips("a\tno root\nb\tno BPF\na\tno BPF\n");
        let skip = |test: &str, reason: &str| Skip { test: test.into(), reason: reason.into() };
        assert_eq!(skips, [skip("a", "no root"), skip("b", "no BPF")]);
    }

    #[test]
    fn summary_is_the_line_that_ci_reads() {
        assert_eq!(summary(counts(12, 0, 3)), "12 passed, 0 failed, 3 skipped");
    }
}
