//! Devices that are watched after a change, and those that went back because of it: written before the change is acknowledged, so that an
//! agent that is killed goes on watching.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Deadline, Override};
use crate::{
    model::{Mac, Mode},
    rollout::Steady,
    traffic::{End, Kind, Service},
};

/// Name of [`Watching`] in the store.
pub const WATCH: &str = "watch.json";
/// Devices that went back and are remembered: the oldest make room.
pub(super) const MOST_BACK: usize = 256;
/// Steady conversations of one device that are watched.
pub const MOST_BEATS: usize = 64;

/// Who is watched, and who went back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watching {
    /// After a change of policy, by the device's name.
    #[serde(default)]
    pub devices: BTreeMap<String, Watched>,
    /// After a change of mode by hand, by the device's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub modes: BTreeMap<String, Watched>,
    /// A change of policy that is about to be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub armed: Option<Armed>,
    /// The revision that drove devices back, and how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driven: Option<Driven>,
    /// The oldest first.
    #[serde(default)]
    pub back: Vec<WentBack>,
}

/// A change that may never come in force, when the power goes: then those are watched who were before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Armed {
    /// The number of its revision.
    pub number: u64,
    /// Who was watched before it.
    pub former: BTreeMap<String, Watched>,
}

/// How many devices a revision drove back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driven {
    /// The revision.
    pub by: u64,
    /// Devices.
    pub devices: usize,
}

/// A device that a change touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// When the change was made.
    pub since: Timestamp,
    /// Until when it is watched.
    pub deadline: Deadline,
    /// What it had before.
    pub change: Touched,
    /// What it did steadily then.
    pub steady: Vec<KeptBeat>,
}

/// The change that touched a device, and what comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Touched {
    /// Another policy.
    Policy {
        /// The revision that the change made.
        number: u64,
        /// The one before.
        before: u64,
        /// How many devices the change touched.
        touched: usize,
    },
    /// Another mode, by hand.
    Mode {
        /// The mode before.
        #[serde(with = "super::values::ModeWord")]
        from: Mode,
        /// What was set by hand before, if anything.
        before: Option<Override>,
    },
}

/// A conversation that was steady.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBeat {
    /// Who began: address and hardware address, as far as they are known.
    pub from: (Option<IpAddr>, Option<String>),
    /// Who answers.
    pub to: (Option<IpAddr>, Option<String>),
    /// IP protocol number, or a pseudo number for frames.
    pub protocol: u8,
    /// The responder's port, and the like.
    pub number: u16,
    /// Its longest usual silence, seconds.
    pub period: u64,
}

/// A device that went back, or a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WentBack {
    /// When.
    pub at: Timestamp,
    /// The device whose traffic suffered.
    pub device: String,
    /// Whether all devices went back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// The revision that did it harm; none for a mode set by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// Hash of the files of that revision: who applies them again does the same harm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<String>,
    /// The whole story.
    pub why: String,
    /// It was about to be done: an agent that finds this was killed before it could say what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Begun>,
    /// Who has taken note of it, and in which words; none yet while `status` speaks of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledged>,
}

/// A way back that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The revision that was in force.
    pub current: u64,
    /// Whether a packet was denied; otherwise a conversation has stopped.
    pub denied: bool,
    /// The conversation that suffers.
    pub kind: KeptBeat,
}

/// Somebody has taken note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// In his words.
    pub reason: String,
}

impl KeptBeat {
    /// As it is kept.
    pub fn of(steady: &Steady) -> Self {
        let Steady { kind: Kind { from, to, service }, period } = steady;
        let end = |end: &End| (end.address, end.mac.map(|mac| mac.to_string()));
        let Service { protocol, number } = *service;
        Self { from: end(from), to: end(to), protocol, number, period: period.as_secs() }
    }

    /// As it is watched. A hardware address that is none is none.
    pub fn read(&self) -> Steady {
        let end = |(address, mac): &(Option<IpAddr>, Option<String>)| End {
            address: *address,
            mac: mac.as_ref().and_then(|mac| mac.parse::<Mac>().ok()),
        };
        let service = Service { protocol: self.protocol, number: self.number };
        Steady {
            kind: Kind { from: end(&self.from), to: end(&self.to), service },
            period: Duration::from_secs(self.period.max(1)),
        }
    }
}

impl Watching {
    /// Those that went back and that nobody has taken note of.
    pub fn unread(&self) -> impl Iterator<Item = &WentBack> {
        self.back.iter().filter(|back| back.acknowledged.is_none())
    }

    /// How many devices a revision has driven back.
    pub fn driven_back_by(&self, number: u64) -> usize {
        self.driven.filter(|driven| driven.by == number).map_or(0, |driven| driven.devices)
    }

    /// Counts one more. Those of another revision do not count any more: a later change ends the watch of the one before it.
    pub fn drove_back(&mut self, number: u64) {
        self.driven = Some(Driven { by: number, devices: self.driven_back_by(number) + 1 });
    }

    /// Revisions without which nothing could come back, while `current` is in force: those before the changes that are watched, and what
    /// was made since.
    pub fn needed(&self, current: u64) -> BTreeSet<u64> {
        let changes: BTreeSet<(u64, u64)> = (self.devices.values())
            .filter_map(|watched| match watched.change {
                Touched::Policy { number, before, .. } => Some((before, number)),
                Touched::Mode { .. } => None,
            })
            .collect();
        changes.into_iter().flat_map(|(before, number)| (number..=current).chain([before])).collect()
    }

    /// Remembers one more that went back; the oldest makes room, one that was noted before one that was not.
    pub fn went_back(&mut self, back: WentBack) {
        self.back.push(back);
        if self.back.len() > MOST_BACK {
            let read = self.back.iter().position(|back| back.acknowledged.is_some());
            self.back.remove(read.unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back() {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let kind = Kind {
            from: End::leased(IpAddr::from([10, 0, 0, 1]), mac),
            to: End::hardware(mac),
            service: Service { protocol: 6, number: 502 },
        };
        let steady = Steady { kind, period: Duration::from_secs(7) };
        let text = serde_json::to_string(&KeptBeat::of(&steady)).expect("JSON");
        let kept: KeptBeat = serde_json::from_str(&text).expect("what was written");
        assert_eq!(kept.read(), steady);
    }

    #[test]
    fn what_would_come_back_is_needed_as_long_as_somebody_is_watched() {
        let mut watching = Watching::default();
        assert_eq!(watching.needed(9), BTreeSet::new());
        let clocks =
            crate::store::Clocks { boot: "a".into(), up: Duration::ZERO, wall: Timestamp::UNIX_EPOCH };
        let watched = Watched {
            since: Timestamp::UNIX_EPOCH,
            deadline: Deadline::after(Duration::from_secs(60), &clocks),
            change: Touched::Policy { number: 7, before: 2, touched: 3 },
            steady: Vec::new(),
        };
        watching.devices.insert("press".into(), watched);
        assert_eq!(watching.needed(9), BTreeSet::from([2, 7, 8, 9]));
        let text = serde_json::to_string(&watching).expect("JSON");
        assert_eq!(serde_json::from_str::<Watching>(&text).expect("what was written"), watching);
    }

    #[test]
    fn those_that_went_back_are_bounded_and_who_was_not_noted_stays_longest() {
        let back = |device: usize, noted: bool| WentBack {
            at: Timestamp::UNIX_EPOCH,
            device: device.to_string(),
            all: false,
            number: Some(3),
            files: None,
            why: String::new(),
            begun: None,
            acknowledged: noted.then(|| Acknowledged {
                at: Timestamp::UNIX_EPOCH,
                by: "root".into(),
                reason: "seen".into(),
            }),
        };
        let mut watching = Watching::default();
        for device in 0..=MOST_BACK {
            watching.went_back(back(device, device == 5));
            watching.drove_back(3);
        }
        assert_eq!((watching.back.len(), watching.driven_back_by(3)), (MOST_BACK, MOST_BACK + 1));
        assert_eq!(watching.driven_back_by(4), 0);
        assert!(watching.back.iter().all(|back| back.device != "5"));
        watching.went_back(back(999, false));
        assert_eq!(watching.back[0].device, "1");
    }
}
