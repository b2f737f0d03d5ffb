//! What the control socket says of sinks.

use serde::{Deserialize, Serialize};

/// Where records go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// Its destination, as configured: `file:/path`.
    pub to: String,
    /// What its receiver reads: `native`, `ecs`, `ocsf`, `cef` or `leef`.
    pub format: String,
    /// Records that it took.
    pub written: u64,
    /// Records that it refused.
    pub refused: u64,
    /// Whether it refused the last one.
    pub failing: bool,
    /// Why it last refused one, even if it took others since.
    pub last_error: Option<String>,
}
