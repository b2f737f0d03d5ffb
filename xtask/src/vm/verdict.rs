//! What the console of a machine amounts to: facts the tests tell, how each binary ended, rows of the packet table.

use std::{collections::BTreeMap, time::Duration};

use comfy_table::{CellAlignment, Table, presets};

use crate::Outcome;

use super::{initramfs::MARK, kernels::Installed, matrix::Test};

/// One kernel after its run.
pub(super) struct Verdict {
    kernel: String,
    said: Said,
    /// Why it failed, a sentence each; empty when all is well.
    wrong: Vec<String>,
    took: Duration,
}

/// Everything of the console that means something.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    /// How each binary ended.
    exits: BTreeMap<String, String>,
    /// `@@ fact NAME VALUE`, printed by tests.
    facts: BTreeMap<String, String>,
    /// Rows of the packet table that the kernel was asked.
    rows: Option<usize>,
    /// Of those, the ones that went otherwise.
    failed_rows: usize,
    passed: usize,
    failed: usize,
}

/// The facts that every kernel must tell, with their heads in the table.
const FACTS: &[(&str, &str)] =
    &[("native-1500", "native, MTU 1500"), ("native-9000", "native, MTU 9000"), ("bond", "native, bond")];

/// Judges a run: each binary must have ended well, every fact must have been told.
pub(super) fn judge(kernel: &Installed, tests: &[Test], lines: &[String], took: Duration) -> Verdict {
    let said = read(lines);
    let mut wrong = Vec::new();
    for Test { name, args: _ } in tests {
        match said.exits.get(*name).map(String::as_str) {
            Some("0") => {}
            Some(code) => wrong.push(format!("`{name}` ended with {code}")),
            None => wrong.push(format!("`{name}` did not end")),
        }
    }
    for (fact, _) in FACTS {
        if !said.facts.contains_key(*fact) {
            wrong.push(format!("nothing was said of `{fact}`"));
        }
    }
    if said.rows.is_none_or(|rows| rows == 0) {
        wrong.push("no row of the packet table was tried".into());
    }
    Verdict { kernel: kernel.release.clone(), said, wrong, took }
}

fn read(lines: &[String]) -> Said {
    let mut said = Said::default();
    for line in lines {
        if let Some((_, mark)) = line.split_once(MARK) {
            let mut words = mark.split_whitespace();
            match (words.next(), words.next()) {
                (Some("exit"), Some(name)) => {
                    said.exits.insert(name.into(), words.collect::<Vec<_>>().join(" "));
                }
                (Some("fact"), Some(name)) => {
                    said.facts.insert(name.into(), words.collect::<Vec<_>>().join(" "));
                }
                (Some(_) | None, _) => {}
            }
        } else if let Some(rest) = line.strip_prefix("test result: ") {
            let field = |name: &str| {
                let fields = rest.split("; ").flat_map(|part| part.split(". "));
                fields
                    .filter_map(|field| field.strip_suffix(name)?.trim().parse::<usize>().ok())
                    .sum::<usize>()
            };
            said.passed += field("passed");
            // Nothing is ignored here: a test that is, is one that nobody runs.
            said.failed += field("failed") + field("ignored");
        } else if let Some((failed, _)) = line.split_once(" rows failed") {
            let failed = failed.split(" of ").next().and_then(|n| n.trim().parse().ok());
            said.failed_rows = failed.unwrap_or(said.failed_rows);
        } else if let Some(before) = line.strip_suffix(" rows") {
            // Without capturing, a test's first line follows its name.
            let count = before.rsplit(' ').next().and_then(|n| n.parse().ok());
            said.rows = count.or(said.rows);
        }
    }
    said
}

/// Prints what went wrong, the table and the summary.
pub(super) fn print(verdicts: &[Verdict]) -> Outcome {
    println!();
    for Verdict { kernel, wrong, .. } in verdicts {
        for what in wrong {
            println!("Linux {kernel}: {what}");
        }
    }
    let good = verdicts.iter().filter(|verdict| verdict.wrong.is_empty()).count();
    println!("{}\n\n{good} of {} kernels passed", table(verdicts), verdicts.len());
    if good == verdicts.len() { Outcome::Fine } else { Outcome::Found }
}

fn table(verdicts: &[Verdict]) -> Table {
    let mut table = Table::new();
    let heads = FACTS.iter().map(|(_, head)| *head);
    let heads = ["kernel"].into_iter().chain(heads).chain(["rows", "tests", "seconds", "verdict"]);
    table.load_style(presets::NOTHING).set_header(heads.collect::<Vec<_>>());
    for Verdict { kernel, said, wrong, took } in verdicts {
        let mut row = vec![kernel.clone()];
        row.extend(
            FACTS.iter().map(|(fact, _)| said.facts.get(*fact).map_or("-", String::as_str).to_owned()),
        );
        let rows = said.rows.unwrap_or(0);
        row.push(format!("{}/{rows}", rows.saturating_sub(said.failed_rows)));
        row.push(format!("{}/{}", said.passed, said.passed + said.failed));
        row.push(format!("{:.0}", took.as_secs_f64()));
        row.push(if wrong.is_empty() { "passed" } else { "failed" }.into());
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(FACTS.len() + 1).take(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn kernel() -> Installed {
        Installed { name: "6.1", release: "6.1.0-56".into(), image: "k".into(), modules: "m".into() }
    }

    const TESTS: &[Test] = &[Test { name: "packet_table", args: &[] }];

    const WELL: &str = "@@ start packet_table\nrunning 2 tests\n\
        test a ... @@ fact native-1500 linear\n@@ fact native-9000 no\n@@ fact bond yes\nok\n\
        test every_row_holds_in_the_kernel ... 412 rows\nok\n\
        test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 1.0s\n\
        @@ exit packet_table 0\n";

    #[test]
    fn run_that_went_well_is_read() {
        let verdict = judge(&kernel(), TESTS, &lines(WELL), Duration::ZERO);
        assert_eq!(verdict.wrong, Vec::<String>::new());
        assert_eq!((verdict.said.rows, verdict.said.passed, verdict.said.failed), (Some(412), 2, 0));
        assert_eq!(verdict.said.facts["native-9000"], "no");
    }

    #[test]
    fn machine_that_died_on_the_way_has_failed() {
        let cut = WELL.split("test every_row").next().expect("a start");
        let verdict = judge(&kernel(), TESTS, &lines(cut), Duration::ZERO);
        assert_eq!(verdict.wrong, ["`packet_table` did not end", "no row of the packet table was tried"]);
    }

    #[test]
    fn failed_rows_are_counted() {
        let said = read(&lines("test every_row_holds_in_the_kernel ... 412 rows\n3 of 412 rows failed\n"));
        assert_eq!((said.rows, said.failed_rows), (Some(412), 3));
    }
}
