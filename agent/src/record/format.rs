//! The languages in which records leave the gateway, as the configuration spells them. `sink` writes them.

/// What a receiver reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Format {
    /// The record's own fields as JSON, documented in `docs/violations.md`.
    #[default]
    Native,
    /// Elastic Common Schema, JSON.
    Ecs,
    /// Open Cybersecurity Schema Framework, JSON.
    Ocsf,
    /// ArcSight Common Event Format.
    Cef,
    /// QRadar Log Event Extended Format.
    Leef,
}

impl Format {
    /// Each with its word, in the order in which people are told of them.
    pub const ALL: [(&'static str, Self); 5] = [
        ("native", Self::Native),
        ("ecs", Self::Ecs),
        ("ocsf", Self::Ocsf),
        ("cef", Self::Cef),
        ("leef", Self::Leef),
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Ecs => "ecs",
            Self::Ocsf => "ocsf",
            Self::Cef => "cef",
            Self::Leef => "leef",
        }
    }
}
