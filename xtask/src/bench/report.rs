//! Samples -> medians beside their targets. In: what was measured at each size. Out: a table or JSON.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::spread::Spread;

/// What is measured, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Check,
    CheckCpu,
    CheckPeak,
    Start,
    Load,
    Change,
    Returned,
    ChangeCpu,
    Read,
    Resolve,
    Compile,
    Keep,
    Patch,
    Flip,
    Resident,
    Peak,
    Maps,
}

/// Every measurement.
pub(super) const ALL: [What; 17] = [
    What::Check,
    What::CheckCpu,
    What::CheckPeak,
    What::Start,
    What::Load,
    What::Change,
    What::Returned,
    What::ChangeCpu,
    What::Read,
    What::Resolve,
    What::Compile,
    What::Keep,
    What::Patch,
    What::Flip,
    What::Resident,
    What::Peak,
    What::Maps,
];

/// The size at which the targets hold.
const LARGE: u32 = 10_000;
/// The size of an ordinary gateway.
const SMALL: u32 = 50;

impl What {
    /// The word in JSON, the sentence in the table, and the unit.
    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Check => ("check", "`check`", "ms"),
            Self::CheckCpu => ("check-cpu", "  its time on a processor", "ms"),
            Self::CheckPeak => ("check-memory", "  its memory, peak", "MiB"),
            Self::Start => ("start", "start of the agent to enforcing", "ms"),
            Self::Load => ("load", "  of which load into the kernel", "ms"),
            Self::Change => ("change", "one device changed, saved to enforced", "ms"),
            Self::Returned => ("returned", "  to the return of `apply`, with its warnings", "ms"),
            Self::ChangeCpu => ("change-cpu", "  the agent's time on a processor", "ms"),
            Self::Read => ("read", "  of which reading the files", "ms"),
            Self::Resolve => ("resolve", "  of which text to policy", "ms"),
            Self::Compile => ("compile", "  of which policy to tables", "ms"),
            Self::Keep => ("keep", "  of which keeping the revision", "ms"),
            Self::Patch => ("patch", "  of which tables into the kernel", "ms"),
            Self::Flip => ("flip", "    of which the flip", "ms"),
            Self::Resident => ("agent-memory", "memory of the agent", "MiB"),
            Self::Peak => ("agent-memory-peak", "  at its peak", "MiB"),
            Self::Maps => ("kernel-memory", "kernel memory of its tables", "MiB"),
        }
    }

    /// What is promised at a size: at most so much.
    pub(super) fn target(self, devices: u32) -> Option<f64> {
        match (self, devices) {
            (Self::Check, LARGE) => Some(5000.0),
            (Self::CheckPeak, LARGE) => Some(1024.0),
            (Self::Load, LARGE) => Some(3000.0),
            (Self::Change, LARGE) => Some(300.0),
            (Self::Resident, LARGE) => Some(300.0),
            (Self::Resident, SMALL) => Some(30.0),
            (
                Self::Check
                | Self::CheckCpu
                | Self::CheckPeak
                | Self::Start
                | Self::Load
                | Self::Change
                | Self::Returned
                | Self::ChangeCpu
                | Self::Read
                | Self::Resolve
                | Self::Compile
                | Self::Keep
                | Self::Patch
                | Self::Flip
                | Self::Resident
                | Self::Peak
                | Self::Maps,
                _,
            ) => None,
        }
    }
}

/// What was found at one size.
#[derive(Debug, Default)]
pub(super) struct Size {
    pub(super) devices: u32,
    pub(super) entries: u32,
    pub(super) effective: u32,
    pub(super) samples: BTreeMap<What, Vec<f64>>,
    /// Why nothing further was measured.
    pub(super) stopped: Option<String>,
}

impl Size {
    pub(super) fn add(&mut self, what: What, sample: f64) {
        self.samples.entry(what).or_default().push(sample);
    }

    fn spread(&self, what: What) -> Option<Spread> {
        Spread::of(self.samples.get(&what)?)
    }

    /// Whether a promise was not kept, or could not be looked at.
    pub(super) fn misses(&self) -> bool {
        ALL.into_iter().any(|what| {
            let target = what.target(self.devices);
            target.is_some_and(|target| self.spread(what).is_none_or(|found| found.median > target))
        })
    }
}

/// One row for each measurement, one column for each size.
pub(super) fn table(sizes: &[Size]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let columns = sizes.iter().map(|size| format!("{} devices", size.devices));
    table.set_header(["".to_owned(), "".to_owned()].into_iter().chain(columns).chain(["target".to_owned()]));
    let count = |name: &str, of: fn(&Size) -> u32| {
        let cells = sizes.iter().map(|size| of(size).to_string());
        [name.to_owned(), String::new()].into_iter().chain(cells).chain([String::new()]).collect::<Vec<_>>()
    };
    table.add_row(count("entries written", |size| size.entries));
    table.add_row(count("rules in effect", |size| size.effective));
    for what in ALL {
        let (_, name, unit) = what.names();
        let cells = sizes.iter().map(|size| size.spread(what).map_or_else(|| "-".to_owned(), Spread::cell));
        let targets = sizes.iter().filter_map(|size| Some((what.target(size.devices)?, size.devices)));
        let targets: Vec<String> =
            targets.map(|(target, devices)| format!("<= {target} at {devices}")).collect();
        let row = [name.to_owned(), unit.to_owned()].into_iter().chain(cells);
        table.add_row(row.chain([targets.join(", ")]));
    }
    for column in table.column_iter_mut().skip(2).take(sizes.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let stopped = sizes.iter().filter_map(|size| Some((size.devices, size.stopped.as_ref()?)));
    let stopped: String = stopped.map(|(devices, why)| format!("\n{devices} devices: {why}\n")).collect();
    format!("{}\n{stopped}", table.trim_fmt())
}

/// The same as one object.
pub(super) fn document(sizes: &[Size], rounds: u32) -> Value {
    let size = |size: &Size| {
        let found = ALL.into_iter().filter_map(|what| {
            let (word, _, unit) = what.names();
            let Spread { median, least, most } = size.spread(what)?;
            let target = what.target(size.devices);
            Some((
                word.to_owned(),
                json!({ "unit": unit, "median": median, "min": least, "max": most, "target": target }),
            ))
        });
        json!({
            "devices": size.devices,
            "entries": size.entries,
            "rules": size.effective,
            "found": found.collect::<serde_json::Map<_, _>>(),
            "stopped": size.stopped,
        })
    };
    json!({ "rounds": rounds, "sizes": sizes.iter().map(size).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(devices: u32, samples: &[f64]) -> Size {
        let mut size = Size { devices, ..Size::default() };
        for what in ALL {
            samples.iter().for_each(|sample| size.add(what, *sample));
        }
        size
    }

    #[test]
    fn promise_is_missed_when_the_median_is_over_it_or_there_is_none() {
        assert!(!size(LARGE, &[200.0, 300.0, 900.0]).misses());
        assert!(size(LARGE, &[200.0, 301.0, 900.0]).misses());
        assert!(!size(1000, &[1e9]).misses());
        assert!(Size { devices: LARGE, ..Size::default() }.misses());
    }
}
