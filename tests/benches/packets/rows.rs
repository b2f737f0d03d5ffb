//! What was measured, as xtask reads it.

use serde_json::{Value, json};

/// Why a row has no figures.
#[derive(Clone, Debug)]
pub(super) enum Missing {
    /// This machine has not what it takes.
    Absent(String),
    /// It could not be measured, or something else was.
    Failed(String),
}

/// One figure: a sample of each round.
pub(super) struct Row {
    pub(super) group: &'static str,
    pub(super) name: String,
    pub(super) unit: &'static str,
    pub(super) samples: Vec<f64>,
    /// What they are compared with, a sample of each round, and what that is called.
    pub(super) others: Vec<f64>,
    pub(super) over: &'static str,
    /// At most so many times as much is promised.
    pub(super) most: Option<f64>,
    pub(super) missing: Option<Missing>,
}

impl Row {
    /// A row of ns, without any.
    pub(super) fn new(group: &'static str, name: &str) -> Self {
        let (samples, others) = (Vec::new(), Vec::new());
        Self {
            group,
            name: name.to_owned(),
            unit: "ns",
            samples,
            others,
            over: "",
            most: None,
            missing: None,
        }
    }
}

/// All rows as one array.
pub(super) fn document(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        let Row { group, name, unit, samples, others, over, most, missing } = row;
        let (absent, failed) = match missing {
            None => (None, None),
            Some(Missing::Absent(why)) => (Some(why), None),
            Some(Missing::Failed(why)) => (None, Some(why)),
        };
        json!({
            "group": group, "name": name, "unit": unit, "samples": samples, "others": others, "over": over,
            "most": most, "absent": absent, "failed": failed,
        })
    };
    rows.iter().map(row).collect()
}
