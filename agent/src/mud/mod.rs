//! Manufacturer usage descriptions (MUD, RFC 8520): what a vendor says that a kind of device needs to talk, as a class of the policy, and back.
//!
//! In: the JSON of a description, or a policy. Out: policy text for a class, or a description; and a [`Note`] for everything that the other side
//! cannot say. Nothing is admitted that the description does not admit: what cannot be said exactly is left out, unless a note says how it
//! became wider.

use std::{collections::BTreeMap, fmt};

use ipnet::IpNet;

use crate::model::{Mac, Selector};

mod export;
mod meaning;
mod ports;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use export::{ExportError, Exported, export};
pub use read::{ReadError, read};
pub use write::{Answers, Imported, own, write};

/// The largest description that is read, bytes: the largest known ones have some hundred kilobytes.
pub const MAX_BYTES: usize = 4 << 20;
/// Entries of access lists that are read.
pub const MAX_ENTRIES: usize = 10_000;
/// The scheme of names of this policy in the place of a controller's: what is exported comes back.
const OURS: &str = "urn:x-bulkhead:peer:";

/// Who the other end of a conversation may be, as a description says it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// Addresses.
    Prefix(IpNet),
    /// The addresses behind a name (RFC 8519 4.1 with the augmentation of RFC 8520 5).
    Dns(String),
    /// Everybody on the link.
    Broadcast,
    /// Frames to a group of hardware addresses.
    Group(Mac),
    /// Frames to anybody.
    Anybody,
    /// The router.
    Gateway,
    /// Something that only the operator of the network can say who it is.
    Abstract(Abstraction),
}

/// A word for somebody whom the manufacturer cannot know (RFC 8520 5).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Abstraction {
    /// A device that serves the function of this URI.
    Controller(String),
    /// What controls this very device.
    MyController,
    /// The local networks.
    LocalNetworks,
    /// Other devices of the manufacturer.
    SameManufacturer,
    /// Devices of a manufacturer, by the authority of its URLs.
    Manufacturer(String),
    /// Devices of the model with this URL.
    Model(String),
    /// A peer of the policy that the description was exported from, by its name there.
    Peer(String),
}

impl Abstraction {
    /// As the operator names it to say who it is.
    pub fn parse(text: &str) -> Option<Self> {
        let named = |rest: &str| (!rest.is_empty()).then(|| rest.to_owned());
        match text.split_once(':') {
            None => match text {
                "my-controller" => Some(Self::MyController),
                "local-networks" => Some(Self::LocalNetworks),
                "same-manufacturer" => Some(Self::SameManufacturer),
                _ => None,
            },
            Some(("controller", uri)) => named(uri).map(Self::Controller),
            Some(("manufacturer", authority)) => named(authority).map(Self::Manufacturer),
            Some(("model", url)) => named(url).map(Self::Model),
            Some(("peer", name)) => named(name).map(Self::Peer),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Abstraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller(uri) => write!(f, "controller:{uri}"),
            Self::MyController => f.write_str("my-controller"),
            Self::LocalNetworks => f.write_str("local-networks"),
            Self::SameManufacturer => f.write_str("same-manufacturer"),
            Self::Manufacturer(authority) => write!(f, "manufacturer:{authority}"),
            Self::Model(url) => write!(f, "model:{url}"),
            Self::Peer(name) => write!(f, "peer:{name}"),
        }
    }
}

/// Who begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Begins {
    /// The device.
    Device,
    /// The other end.
    Peer,
}

/// What a description says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Where the description is (`mud-url`).
    pub url: String,
    /// What the device is, in the manufacturer's words (`systeminfo`).
    pub info: Option<String>,
    /// Who may begin to talk to whom over what, with the names of the entries that say so.
    pub permissions: BTreeMap<(Begins, Party, Selector), Vec<String>>,
    /// What could not be said.
    pub notes: Vec<Note>,
}

/// Something that the other side cannot say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Note {
    /// The entry, or the rule.
    pub about: String,
    /// What became of it.
    pub effect: Effect,
    /// Why.
    pub why: String,
}

/// What became of something that cannot be said exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It is not in the result.
    LeftOut,
    /// The result admits more.
    Wider,
    /// It stands there as a comment, for somebody to complete.
    Open,
}

impl Effect {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LeftOut => "left out",
            Self::Wider => "wider",
            Self::Open => "open",
        }
    }
}
