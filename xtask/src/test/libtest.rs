//! Reads the lines a libtest binary prints for people: its `--format json` is not stable.

use super::report::Counts;

/// What the output of one cargo command amounts to so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: Counts,
    /// Binaries that said `running N tests` and have not said `test result:` yet.
    unfinished: usize,
}

impl Tally {
    /// Takes in one line of output.
    pub(super) fn line(&mut self, line: &str) {
        if is_start(line) {
            self.unfinished += 1;
        } else if let Some(counts) = parse_result(line) {
            self.unfinished = self.unfinished.saturating_sub(1);
            self.counts = self.counts.plus(counts);
        }
    }

    /// The final counts. A binary that died, or a build that failed, is a failure even without a failed test.
    pub(super) fn finish(self, success: bool) -> Counts {
        let Self { mut counts, unfinished } = self;
        counts.failed += unfinished;
        if !success && counts.failed == 0 {
            counts.failed = 1;
        }
        counts
    }
}

/// `running 3 tests`.
fn is_start(line: &str) -> bool {
    line.strip_prefix("running ")
        .and_then(|rest| rest.strip_suffix(" tests").or(rest.strip_suffix(" test")))
        .is_some_and(|count| count.parse::<usize>().is_ok())
}

/// `test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s`.
fn parse_result(line: &str) -> Option<Counts> {
    let (_, fields) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let field = |name: &str| {
        fields.split("; ").find_map(|field| field.strip_suffix(name)?.trim().parse::<usize>().ok())
    };
    // There are no ignored tests here: one that appears is a test nobody runs.
    Some(Counts { passed: field("passed")?, failed: field("failed")? + field("ignored")?, skipped: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lines: &[&str], success: bool) -> Counts {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.line(line));
        tally.finish(success)
    }

    #[test]
    fn results_of_several_binaries_add_up() {
        let lines = [
            "running 2 tests",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "running 1 test",
            "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ];
        assert_eq!(tally(&lines, false), Counts { passed: 2, failed: 1, skipped: 0 });
    }

    #[test]
    fn binary_that_dies_is_a_failure() {
        assert_eq!(
            tally(&["running 5 tests", "test a ... ok"], false),
            Counts { passed: 0, failed: 1, skipped: 0 }
        );
    }

    #[test]
    fn build_that_fails_is_a_failure() {
        assert_eq!(tally(&[], false), Counts { passed: 0, failed: 1, skipped: 0 });
    }

    #[test]
    fn ignored_test_is_a_failure() {
        let line =
            "test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(tally(&[line], true), Counts { passed: 1, failed: 1, skipped: 0 });
    }

    #[test]
    fn text_that_only_resembles_a_summary_counts_nothing() {
        assert_eq!(tally(&["running late tests", "test result: fine"], true), Counts::default());
    }
}
