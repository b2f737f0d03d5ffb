//! What is new.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Evidence, Kind, Of, bytes::printable};

/// Something that was not so before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When the frame was seen that says so.
    pub time: Timestamp,
    /// About whom.
    pub of: Of,
    /// What.
    #[serde(flatten)]
    pub news: News,
}

/// What is new about a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum News {
    /// It was never seen before, or is forgotten.
    NewDevice,
    /// It uses another address, beside those or in the place of those that it had.
    NewAddress {
        /// The address.
        address: String,
        /// By which protocol.
        evidence: Evidence,
    },
    /// It says something else of itself.
    Changed {
        /// Of which kind.
        fact: Kind,
        /// What it said before.
        before: String,
        /// What it says now.
        now: String,
        /// By which protocol, both times.
        evidence: Evidence,
    },
}

impl Change {
    /// One that was kept in a file, within the bounds of what is heard; none if nothing of a value can be shown.
    pub(super) fn bounded(self) -> Option<Self> {
        let shown = |value: String| printable(value.as_bytes());
        let news = match self.news {
            News::NewDevice => News::NewDevice,
            News::NewAddress { address, evidence } => News::NewAddress { address: shown(address)?, evidence },
            News::Changed { fact, before, now, evidence } => {
                News::Changed { fact, before: shown(before)?, now: shown(now)?, evidence }
            }
        };
        Some(Self { news, ..self })
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = self.of;
        match &self.news {
            News::NewDevice => write!(f, "new device {of}"),
            News::NewAddress { address, evidence } => {
                write!(f, "{of} has a new address {address} ({})", evidence.name())
            }
            News::Changed { fact, before, now, evidence } => {
                let (fact, evidence) = (fact.name(), evidence.name());
                write!(f, "{of} changed its {fact} from `{before}` to `{now}` ({evidence})")
            }
        }
    }
}
