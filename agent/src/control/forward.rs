//! What is told of direct forwarding.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What became of allowed packets on interfaces that forward directly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardStatus {
    /// Packets that left at once.
    pub direct: u64,
    /// Packets that the kernel got, by why.
    pub kernel: BTreeMap<String, u64>,
    /// News of routes, neighbours and what else a way depends on, heard from the kernel.
    pub route_news: u64,
    /// How often news were lost because they came too fast; every way was asked for anew.
    pub route_news_lost: u64,
}
