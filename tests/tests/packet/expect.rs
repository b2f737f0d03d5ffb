//! What counters must show after a frame, in names, and what they do show.

use std::collections::BTreeMap;

use bulkhead_common::{
    decide::{Action, Decision, Verdict},
    layout::{InterfaceCounters, Traffic},
    reason::{Grant, Reason},
};

use super::rows::{Expected, Fate};

/// Everything that moved, zeros left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// By device (`-` for none) and word.
    pub devices: BTreeMap<(String, String), u64>,
    /// By rule, as file and line: packets and bytes.
    pub rules: BTreeMap<String, (u64, u64)>,
    pub interface: InterfaceCounters,
    /// Denied packets, and those of which neither event nor repeat tells.
    pub violations: u64,
    pub lost: u64,
}

impl Moved {
    /// What one frame of `len` bytes must move.
    pub fn by(expected: &Expected, len: usize) -> Self {
        let bytes = len as u64;
        let one = Traffic { packets: 1, bytes };
        let none = Traffic::default();
        let Expected { action, word, device, rule } = expected;
        let device = device.clone().unwrap_or_else(|| "-".into());
        let (passed, dropped, would_drop) = match action {
            Fate::Pass => (one, none, none),
            Fate::Drop => (none, one, none),
            Fate::Report => (one, none, one),
        };
        Self {
            devices: BTreeMap::from([((device, word.clone()), 1)]),
            rules: rule.iter().map(|rule| (rule.clone(), (1, bytes))).collect(),
            interface: InterfaceCounters { seen: one, passed, dropped, would_drop, remembered: 0 },
            violations: u64::from(*action != Fate::Pass),
            lost: 0,
        }
    }
}

/// The word of a counter's code.
pub fn word(code: u8) -> &'static str {
    Grant::from_code(code)
        .map(Grant::name)
        .or_else(|| Reason::from_code(code).map(Reason::name))
        .unwrap_or("a code that means nothing")
}

/// A decision in the words of a row. `device` and `rule` name ids.
pub fn told(
    decision: &Decision,
    device: impl Fn(u32) -> Option<String>,
    rule: impl Fn(u32) -> Option<String>,
) -> Expected {
    let (denied, word) = match decision.verdict {
        Verdict::Allow(grant) => (false, grant.name()),
        Verdict::Deny(reason) => (true, reason.name()),
    };
    let action = match (decision.action, denied) {
        (Action::Drop, _) => Fate::Drop,
        (Action::Pass, true) => Fate::Report,
        (Action::Pass, false) => Fate::Pass,
    };
    Expected { action, word: word.into(), device: device(decision.device), rule: rule(decision.rule) }
}
