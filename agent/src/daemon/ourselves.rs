//! What the gateway itself is known by, held against what a policy says its devices are.
//!
//! In: the kernel's list of interfaces and addresses, a policy that somebody wants in force. Out: a refusal where what is
//! forwarded would be denied; where such a policy is in force all the same, a warning. A start never fails for it: the
//! gateway may have been given another NIC since.

use super::{
    agent::Agent,
    policies::{Candidate, Refused},
};
use crate::{
    dataplane::{DataplaneError, probe},
    diagnostic::{Diagnostic, Severity},
    lint::{Own, own_devices},
};

/// What this machine's interfaces are known by.
///
/// # Errors
/// When the kernel does not say.
pub fn own() -> Result<Own, DataplaneError> {
    let interfaces = probe::interfaces()?;
    Ok(Own::new(interfaces.iter().map(|i| (i.name.as_str(), &i.mac[..])), probe::addressed()?))
}

/// The same for those who go on without it.
fn own_if_known() -> Own {
    own().unwrap_or_else(|error| {
        tracing::warn!("devices are not compared with the gateway's own interfaces: {error}");
        Own::default()
    })
}

/// Lets a candidate through unless it makes a device of the gateway.
pub(super) fn not_ourselves(mut candidate: Candidate) -> Result<Candidate, Refused> {
    let found = own_devices(candidate.doubts.of(&candidate.policy), &own_if_known());
    let (errors, warnings): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|found| found.severity == Severity::Error);
    if !errors.is_empty() {
        return Err(candidate.doubts.refuse(&errors));
    }
    candidate.doubts.add(warnings);
    Ok(candidate)
}

impl Agent {
    /// Devices of the policy in force that are this gateway, a sentence each.
    pub(super) fn ourselves(&self) -> Vec<String> {
        let found = own_devices(&self.in_force.policy, &own_if_known());
        found.into_iter().map(|Diagnostic { code, message, .. }| format!("{message} ({code})")).collect()
    }
}
