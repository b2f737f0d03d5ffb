//! What the control socket says of a policy that is judged beside the one in force.

use serde::{Deserialize, Serialize};

use crate::{
    compile::RuleRef,
    diagnostic::Listed,
    replay::beside::{Counts, Difference},
};

/// A proposed policy and all that it would do otherwise.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ShadowStatus {
    /// The proposed policy; none while there is none.
    pub set: Option<ShadowSet>,
    /// The revision in force that it is compared with.
    pub compared_with: String,
    /// Since when it is counted: since it was set, the policy in force changed, or the agent started. RFC 3339.
    pub counted_since: Option<String>,
    /// How much was compared since then.
    pub counts: Counts,
    /// Kinds and conversations that were seen and not judged, because there was no time or no room.
    pub not_judged: u64,
    /// What is allowed or passes now, and would be denied or dropped.
    pub would_break: Listed<Difference>,
    /// What is denied or dropped now, and would be allowed or pass.
    pub would_open: Listed<Difference>,
    /// Rules of the proposed policy that nothing would have used.
    pub unused: Listed<RuleRef>,
    /// What a person should know besides: a line each.
    pub notes: Vec<String>,
    /// Why it is not judged, if it is not.
    pub problem: Option<String>,
}

/// A proposed policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShadowSet {
    /// Its revision, twelve hexadecimal digits; none while it cannot be compiled.
    pub revision: Option<String>,
    /// When it was set, RFC 3339.
    pub since: String,
    /// By whom.
    pub by: String,
    /// Where its files were read.
    pub from: String,
    /// In that user's words.
    pub reason: Option<String>,
    /// Who signed its files.
    pub signed: Option<String>,
}

/// The same in a line, and as metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowBrief {
    /// When it was set, RFC 3339.
    pub since: String,
    /// Where its files were read.
    pub from: String,
    /// Kinds of conversation that would break.
    pub would_break: u64,
    /// Kinds that would open.
    pub would_open: u64,
    /// Kinds that differ and found no room, each once a look.
    pub refused: u64,
    /// What was seen and not judged.
    pub not_judged: u64,
    /// Why it is not judged, if it is not.
    pub problem: Option<String>,
}
