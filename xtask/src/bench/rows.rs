//! The common table of what is measured against something else: one row for each figure.
//!
//! In: samples and ratios, one of each round. Out: a table or JSON, and whether a target was missed. A ratio is taken within one round
//! and judged by the median of all rounds: what else the machine has to do then changes both of its sides.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::spread::Spread;

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    /// At most so much.
    Most(f64),
    /// At least so much.
    Least(f64),
}

impl Target {
    pub(super) fn holds(self, found: f64) -> bool {
        match self {
            Self::Most(most) => found <= most,
            Self::Least(least) => found >= least,
        }
    }

    pub(super) fn cell(self) -> String {
        match self {
            Self::Most(most) => format!("<= {most}"),
            Self::Least(least) => format!(">= {least}"),
        }
    }

    pub(super) fn value(self) -> Value {
        match self {
            Self::Most(most) => json!({ "most": most }),
            Self::Least(least) => json!({ "least": least }),
        }
    }
}

/// What came of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// It was measured.
    Measured(Spread),
    /// This machine has not what it takes: why. No target is missed by that.
    Absent(String),
    /// It could not be measured, or something else was: why. A target is missed by that.
    Failed(String),
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) group: String,
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) found: Found,
    /// How many times as much as `over`; what a target is about, where there is one.
    pub(super) ratio: Option<Spread>,
    pub(super) over: String,
    pub(super) target: Option<Target>,
}

impl Row {
    /// A figure, of a sample of each round.
    pub(super) fn new(
        group: impl Into<String>,
        name: impl Into<String>,
        unit: impl Into<String>,
        samples: &[f64],
    ) -> Self {
        let none = || Found::Failed("no round was measured".to_owned());
        let found = Spread::of(samples).map_or_else(none, Found::Measured);
        let (group, name, unit) = (group.into(), name.into(), unit.into());
        Self { group, name, unit, found, ratio: None, over: String::new(), target: None }
    }

    /// The figure over another one: a ratio of each round.
    pub(super) fn over(self, over: impl Into<String>, ratios: &[f64]) -> Self {
        Self { ratio: Spread::of(ratios), over: over.into(), ..self }
    }

    /// What is promised of the ratio, or of the figure if it has none.
    pub(super) fn target(self, target: impl Into<Option<Target>>) -> Self {
        Self { target: target.into(), ..self }
    }

    /// The row without figures: why there are none.
    pub(super) fn without(self, found: Found) -> Self {
        Self { found, ratio: None, ..self }
    }

    /// Whether a promise was not kept, or could not be looked at.
    pub(super) fn misses(&self) -> bool {
        let Some(target) = self.target else { return matches!(self.found, Found::Failed(_)) };
        match &self.found {
            Found::Measured(found) => !target.holds(self.ratio.unwrap_or(*found).median),
            Found::Absent(_) => false,
            Found::Failed(_) => true,
        }
    }
}

/// Each round's sample over the other one's of the same round.
pub(super) fn ratios(samples: &[f64], over: &[f64]) -> Vec<f64> {
    samples.iter().zip(over).map(|(sample, over)| sample / over).collect()
}

/// Whether any promise was not kept.
pub(super) fn misses(rows: &[Row]) -> bool {
    rows.iter().any(Row::misses)
}

/// One line for each row; below it stands what is without figures, and why.
pub(super) fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["", "", "", "found", "ratio", "over", "target", ""]);
    let mut group = "";
    let mut reasons = String::new();
    for row in rows {
        let Row { name, unit, found, ratio, over, target, .. } = row;
        let first = if row.group == group { "" } else { &row.group };
        group = &row.group;
        let cell = match found {
            Found::Measured(spread) => spread.cell(),
            Found::Absent(why) => {
                reasons.push_str(&format!("\n{group}: {name}: not measured: {why}\n"));
                "-".to_owned()
            }
            Found::Failed(why) => {
                reasons.push_str(&format!("\n{group}: {name}: failed: {why}\n"));
                "-".to_owned()
            }
        };
        table.add_row([
            first.to_owned(),
            name.clone(),
            unit.clone(),
            cell,
            ratio.map(Spread::cell).unwrap_or_default(),
            if ratio.is_some() { over.clone() } else { String::new() },
            target.map(Target::cell).unwrap_or_default(),
            if row.misses() { "missed".to_owned() } else { String::new() },
        ]);
    }
    for column in table.column_iter_mut().skip(3).take(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{}\n{reasons}", table.trim_fmt())
}

/// The same as one object.
pub(super) fn document(rows: &[Row], rounds: u32) -> Value {
    let spread =
        |Spread { median, least, most }: Spread| json!({ "median": median, "min": least, "max": most });
    let row = |row: &Row| {
        let Row { group, name, unit, found, ratio, over, target } = row;
        let (found, absent, failed) = match found {
            Found::Measured(found) => (Some(spread(*found)), None, None),
            Found::Absent(why) => (None, Some(why), None),
            Found::Failed(why) => (None, None, Some(why)),
        };
        json!({
            "group": group,
            "name": name,
            "unit": unit,
            "found": found,
            "ratio": ratio.map(spread),
            "over": over,
            "target": target.map(Target::value),
            "missed": row.misses(),
            "not_measured": absent,
            "failed": failed,
        })
    };
    json!({ "rounds": rounds, "rows": rows.iter().map(row).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(samples: &[f64]) -> Row {
        Row::new("drop", "a packet", "ns", samples)
    }

    #[test]
    fn ratio_is_judged_where_there_is_one_and_else_the_figure() {
        assert!(!row(&[9.0]).misses());
        assert!(row(&[9.0]).target(Target::Most(8.0)).misses());
        assert!(!row(&[9.0]).over("empty", &[1.5]).target(Target::Most(1.5)).misses());
        assert!(row(&[9.0]).over("nft", &[3.4, 3.5, 3.3]).target(Target::Least(3.5)).misses());
    }

    #[test]
    fn what_fails_is_missed_and_what_the_machine_has_not_is_none() {
        assert!(row(&[]).misses());
        let promised = row(&[1.0]).target(Target::Most(2.0));
        let why = || "xdp-filter is not installed".to_owned();
        assert!(promised.clone().without(Found::Failed(why())).misses());
        let absent = promised.without(Found::Absent(why()));
        assert!(!absent.misses());
        assert!(table(&[absent]).contains("drop: a packet: not measured: xdp-filter is not installed"));
    }

    #[test]
    fn ratios_are_taken_within_one_round() {
        assert_eq!(ratios(&[2.0, 9.0], &[1.0, 3.0]), [2.0, 3.0]);
    }

    #[test]
    fn table_names_a_group_once_and_says_what_is_missed() {
        let rows = [row(&[9.0]).over("empty", &[2.0]).target(Target::Most(1.0)), row(&[1.0])];
        let table = table(&rows);
        assert_eq!(table.matches("drop").count(), 1, "{table}");
        let missed = table.lines().find(|line| line.ends_with("missed")).unwrap_or_default();
        assert!(missed.contains("9.00 (9.00-9.00)") && missed.contains("<= 1"), "{table}");
    }
}
