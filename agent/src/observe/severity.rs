//! How bad a violation is: what was denied, whose device it concerns, and whether it was stopped.

use bulkhead_common::reason::Reason;

use crate::{model::Criticality, record::Severity};

const LEVELS: [Severity; 5] =
    [Severity::Info, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

/// The severity of a violation of a device; of nobody's device it is that of one nobody would miss.
///
/// Somebody who uses another's identity, or speaks although he is cut off, does so on purpose or is badly broken: a step up.
/// What passed was only watched, and may well be legitimate: a step down, but not where people may be hurt.
pub(super) fn severity(reason: Option<Reason>, dropped: bool, criticality: Option<Criticality>) -> Severity {
    let base: usize = match criticality {
        None | Some(Criticality::Low) => 1,
        Some(Criticality::Medium) => 2,
        Some(Criticality::High | Criticality::Safety) => 3,
    };
    let deliberate = reason.is_some_and(is_deliberate);
    let level = base + usize::from(deliberate);
    let watched = !dropped && criticality != Some(Criticality::Safety);
    LEVELS[(level - usize::from(watched)).min(LEVELS.len() - 1)]
}

/// Whether nobody does it by an omission in a policy.
fn is_deliberate(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::SourceMacMismatch
            | Reason::SourceAddressMismatch
            | Reason::ArpSenderMismatch
            | Reason::AddressConflict
            | Reason::NdMismatch
            | Reason::DhcpMismatch
            | Reason::RogueDhcp
            | Reason::RogueRouter
            | Reason::Quarantined
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_follows_device_reason_and_outcome() {
        let of = |reason, dropped, criticality| severity(Some(reason), dropped, criticality);
        assert_eq!(of(Reason::NoRule, true, Some(Criticality::Medium)), Severity::Medium);
        assert_eq!(of(Reason::NoRule, false, Some(Criticality::Medium)), Severity::Low);
        assert_eq!(of(Reason::SourceMacMismatch, true, Some(Criticality::Safety)), Severity::Critical);
        assert_eq!(of(Reason::SourceMacMismatch, false, Some(Criticality::High)), Severity::High);
        assert_eq!(of(Reason::NoRule, false, Some(Criticality::Safety)), Severity::High);
        assert_eq!(of(Reason::NoRule, false, None), Severity::Info);
        assert_eq!(severity(None, true, None), Severity::Low);
    }
}
