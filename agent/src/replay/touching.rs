//! What of each device is denied, however many others there are: the worst of it, with a name for each that stays the same as long as it
//! is between the same two over the same service.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    Setting,
    report::Break,
    tally::{Denied, Fate, Rank, Worst},
    words,
};
use crate::{
    diagnostic::Listed,
    model::{Device, spelled},
    traffic::{End, Kind},
};

/// Denied kinds of one device that are told one by one.
const MOST: usize = 200;

/// What became of the conversations of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touching {
    /// Conversations that no rule allows, whatever the modes: the worst first.
    pub breaks: Listed<Hurt>,
    /// Conversations with somebody of whom nobody knows who it is: not judged.
    pub unknown: Listed<Hurt>,
    /// Kinds of which nothing but attempts was seen, and denied.
    pub attempts: u64,
    /// The same one by one, the last seen first: under enforcement nobody knows whether one would have been answered.
    pub tried: Listed<Hurt>,
    /// Kinds that are allowed to whoever has learned a name.
    pub by_name: u64,
    /// Kinds that are allowed.
    pub allowed: u64,
}

/// A denied kind of conversation of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hurt {
    /// Names it: the same as long as it is between the same devices or addresses over the same service, whatever was seen of it.
    pub id: String,
    /// When it was last seen, seconds since 1970.
    pub seen: i64,
    /// What it is.
    #[serde(flatten)]
    pub what: Break,
}

/// The same while it is added up.
#[derive(Default)]
pub(super) struct Touched {
    breaks: Worst,
    unknown: Worst,
    attempts: u64,
    tried: Worst,
    by_name: u64,
    allowed: u64,
}

/// Of every device, by its dense id.
pub(super) type ByDevice = BTreeMap<u32, Touched>;

fn each(ends: [u32; 2]) -> impl Iterator<Item = u32> {
    let [from, to] = ends;
    [from, if to == from { 0 } else { to }].into_iter().filter(|id| *id != 0)
}

pub(super) fn denied(all: &mut ByDevice, fate: Fate, rank: Rank, one: Denied) {
    for id in each(one.ends) {
        let touched = all.entry(id).or_default();
        match fate {
            Fate::Dropped | Fate::Reported => touched.breaks.add(MOST, rank, one),
            Fate::Unknown => touched.unknown.add(MOST, rank, one),
            Fate::Attempt => {
                touched.attempts += 1;
                let when = u64::try_from(one.seen.last).unwrap_or(0);
                touched.tried.add(MOST, (None, false, when, rank.3), one);
            }
            Fate::ByName => touched.by_name += 1,
        }
    }
}

/// A kind that is allowed.
pub(super) fn allowed(all: &mut ByDevice, ends: [u32; 2]) {
    each(ends).for_each(|id| all.entry(id).or_default().allowed += 1);
}

pub(super) fn told(setting: &Setting<'_>, all: ByDevice) -> BTreeMap<String, Touching> {
    let one = |(id, touched): (u32, Touched)| {
        let Touched { breaks, unknown, attempts, tried, by_name, allowed } = touched;
        let list = |worst: Worst| worst.listed(|denied| hurt(setting, denied));
        let (breaks, unknown, tried) = (list(breaks), list(unknown), list(tried));
        let touching = Touching { breaks, unknown, attempts, tried, by_name, allowed };
        Some((setting.device(id)?.name.clone(), touching))
    };
    all.into_iter().filter_map(one).collect()
}

fn hurt(setting: &Setting<'_>, denied: &Denied) -> Hurt {
    let id = break_id(&denied.kind, denied.ends.map(|id| setting.device(id)), denied.unknown);
    Hurt { id, seen: denied.seen.last, what: words::told(setting, denied) }
}

/// Names a denied kind of conversation between two ends, with the device that each of them is: 16 hexadecimal digits. Whoever accepts what
/// is denied has not accepted what nobody could judge (`unknown`).
pub fn break_id(kind: &Kind, devices: [Option<&Device>; 2], unknown: bool) -> String {
    let [from, to] = [called(devices[0], &kind.from), called(devices[1], &kind.to)];
    let service = spelled(words::selector(kind.service));
    let fate = if unknown { "not judged" } else { "denied" };
    let digest = Sha256::digest(format!("{from}\n{to}\n{service}\n{fate}"));
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A device by its name, whatever address it has at the time; anybody else by the address alone.
fn called(device: Option<&Device>, end: &End) -> String {
    match (device, end.address) {
        (Some(device), _) => format!("device {}", device.name),
        (None, Some(address)) => address.to_string(),
        (None, None) => end.to_string(),
    }
}
