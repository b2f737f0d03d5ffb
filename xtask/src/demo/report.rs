//! What held and what did not: one row a phase, one sentence a claim, and the line `RESULT` at the end.
//!
//! In: claims as they are checked. Out: text on standard output and the task's outcome, which is fine only if all held.

use std::path::PathBuf;

use anyhow::Error;
use comfy_table::{CellAlignment, Table, presets};

use crate::Outcome;

/// Colours, where a person looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    on: bool,
}

impl Paint {
    pub(super) fn new(on: bool) -> Self {
        Self { on }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub(super) fn red(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The numbers of one phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) phase: &'static str,
    /// HMI polls with an answer, and without.
    pub(super) polls_ok: u64,
    pub(super) polls_lost: u64,
    /// Frames of the attacker.
    pub(super) sent: u64,
    pub(super) reached: u64,
    /// Of these, in the violation log with the right reason, device and action.
    pub(super) recorded: u64,
}

/// Where what is left to read was saved.
pub(super) struct Saved {
    pub(super) violations: PathBuf,
    pub(super) others: Vec<PathBuf>,
}

/// The story's outcome, as far as it is told.
pub(super) struct Report {
    pub(super) paint: Paint,
    rows: Vec<Row>,
    held: usize,
    failed: Vec<String>,
}

impl Report {
    pub(super) fn new(paint: Paint) -> Self {
        Self { paint, rows: Vec::new(), held: 0, failed: Vec::new() }
    }

    /// Begins a chapter.
    pub(super) fn chapter(&self, title: &str) {
        println!("\n{}", self.paint.bold(&format!("== {title}")));
    }

    pub(super) fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Notes whether `claim` held; `found` says what was seen instead. It is printed only when it did not.
    pub(super) fn claim(&mut self, held: bool, claim: &str, found: impl FnOnce() -> String) {
        if held {
            self.held += 1;
        } else {
            let failure = format!("{claim}: {}", found());
            println!("   {}", self.paint.red(&format!("NOT SO: {failure}")));
            self.failed.push(failure);
        }
    }

    /// The story could not be told to its end.
    pub(super) fn broke_off(&mut self, error: &Error) {
        self.claim(false, "the story is told to its end", || format!("{error:#}"));
    }

    /// Prints table, files and result.
    pub(super) fn print(&self, saved: &Saved) -> Outcome {
        self.chapter("What happened");
        println!("{}\n", self.table());
        println!("violation log  {}", saved.violations.display());
        for path in &saved.others {
            println!("also saved     {}", path.display());
        }
        println!("\n{}", self.result());
        if self.failed.is_empty() { Outcome::Fine } else { Outcome::Found }
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header([
            "PHASE",
            "HMI POLLS OK",
            "LOST",
            "ATTACK FRAMES SENT",
            "REACHED PLC",
            "RECORDED",
        ]);
        for row in &self.rows {
            let Row { phase, polls_ok, polls_lost, sent, reached, recorded } = row;
            let recorded = format!("{recorded} of {sent}");
            table.add_row([
                (*phase).to_owned(),
                polls_ok.to_string(),
                polls_lost.to_string(),
                sent.to_string(),
                reached.to_string(),
                recorded,
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    fn result(&self) -> String {
        let all = self.held + self.failed.len();
        if self.failed.is_empty() {
            return self.paint.green(&format!("RESULT: all {all} claims held"));
        }
        let failed: Vec<String> = self.failed.iter().map(|failure| format!("  {failure}")).collect();
        let line = format!("RESULT: {} of {all} claims did not hold", self.failed.len());
        format!("{}\n{}", self.paint.red(&line), failed.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_names_every_claim_that_did_not_hold() {
        let mut report = Report::new(Paint::new(false));
        report.claim(true, "polls go on", || unreachable!("it held"));
        assert_eq!(report.result(), "RESULT: all 1 claims held");
        report.claim(false, "nothing reaches the PLC", || "3 frames did".to_owned());
        report.broke_off(&anyhow::anyhow!("no lab"));
        assert_eq!(
            report.result(),
            "RESULT: 2 of 3 claims did not hold\n  nothing reaches the PLC: 3 frames did\n  \
             the story is told to its end: no lab"
        );
    }

    #[test]
    fn row_shows_recorded_beside_sent() {
        let mut report = Report::new(Paint::new(false));
        let phase = "enforce";
        report.row(Row { phase, polls_ok: 90, polls_lost: 0, sent: 72, reached: 0, recorded: 71 });
        let table = report.table().to_string();
        let cells: Vec<&str> = table.lines().last().unwrap_or_default().split_whitespace().collect();
        assert_eq!(cells, ["enforce", "90", "0", "72", "0", "71", "of", "72"]);
    }
}
