//! What a monitoring system is told: a snapshot of the agent as OpenMetrics text, or as Prometheus read it before.
//!
//! In: a [`Snapshot`], already in names. Out: text. Every family stands in [`FAMILIES`], with its labels: dashboards and alert
//! rules are checked against it. Label sets are bounded: [`Places`] says which devices and rules have series of their own where
//! there are more than [`MOST_DEVICES`] or [`MOST_RULES`]; the others are summed under the name `(others)`.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    registry::Registry,
};

mod classic;
mod families;
mod form;
mod places;
mod rule;
mod snapshot;
mod write;

pub use classic::classic;
pub use families::{FAMILIES, Family, Kind};
pub use form::Form;
pub use places::Places;
pub use rule::{MOST_TEXT, rule_label};
pub use snapshot::{
    DeviceNumbers, HistoryNumbers, InterfaceNumbers, InventoryNumbers, RuleNumbers, SinkNumbers, Snapshot,
    SpoolNumbers, TableNumbers,
};

/// Devices that have series of their own.
pub const MOST_DEVICES: usize = 1000;
/// Rules that have.
pub const MOST_RULES: usize = 1000;

/// The name under which the others are summed. No device can be called so.
pub const OTHERS: &str = "(others)";

/// What every name begins with.
pub const PREFIX: &str = "bulkhead";

/// The snapshot as OpenMetrics text, version 1.0.
pub fn open_metrics(snapshot: Snapshot) -> String {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Page(snapshot)));
    let mut out = String::new();
    text::encode(&mut out, &registry).expect("a string takes everything");
    out
}

#[derive(Debug)]
struct Page(Snapshot);

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        write::page(&self.0, encoder)
    }
}

#[cfg(test)]
mod tests;
