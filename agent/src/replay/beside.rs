//! Two policies beside each other: the one in force, and one that is only proposed, are asked about the same conversations.
//!
//! In: two [`Setting`]s and kinds of conversations, as they are seen. Out: for each what both make of it ([`Compared`]), and all that
//! differs, bounded ([`Differences`]). A kind is made up of the packets with which it begins, as for a history, and both are judged by
//! [`bulkhead_common::decide::decide`]: so two policies that say the same never differ, whatever the traffic.

use std::net::IpAddr;

use bulkhead_common::{
    decide::{Action, Decision, Verdict},
    layout::Settings,
    reason::Reason,
};
use serde::{Deserialize, Serialize};

use super::{Setting, rows};
use crate::{
    compile::{Begun, Field, Host, Placed, Who},
    model::{Device, DeviceId},
    traffic::{End, Kind},
};

mod kept;
mod told;
pub use kept::{Counts, Differences, MOST_KINDS};
pub use told::{Difference, Said};

/// What becomes of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// A rule, or what is always let through, allows it.
    Allowed,
    /// None of its ends is a device, and it passes.
    Unmanaged,
    /// It is denied, and passes: no end of it is enforced.
    Reported,
    /// It is denied and dropped.
    Dropped,
}

impl Fate {
    /// Of a decision.
    pub fn of(decision: &Decision) -> Self {
        match (decision.verdict, decision.action) {
            (Verdict::Allow(_), _) => Self::Allowed,
            (Verdict::Deny(Reason::Unmanaged), Action::Pass) => Self::Unmanaged,
            (Verdict::Deny(_), Action::Pass) => Self::Reported,
            (Verdict::Deny(_), Action::Drop) => Self::Dropped,
        }
    }

    /// What passes and is nobody's loses nothing and gains nothing.
    fn harm(self) -> u8 {
        match self {
            Self::Allowed | Self::Unmanaged => 0,
            Self::Reported => 1,
            Self::Dropped => 2,
        }
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Unmanaged => "unmanaged",
            Self::Reported => "reported",
            Self::Dropped => "dropped",
        }
    }
}

/// How the proposed policy differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// It would deny what is allowed, or drop what passes.
    Break,
    /// It would allow what is denied, or let pass what is dropped.
    Open,
}

/// What both make of a kind of conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    /// The policy in force.
    pub now: Decision,
    /// The proposed one.
    pub then: Decision,
    /// The devices at the ends in the policy in force, dense ids; 0 where it is none.
    pub ends_now: [u32; 2],
    /// The same in the proposed one.
    pub ends_then: [u32; 2],
    /// It would be a break, but the proposed one allows it to whoever has learned a name that it names, and nobody knows whether the device has.
    pub is_by_name: bool,
}

impl Compared {
    /// How they differ, if they do.
    pub fn way(&self) -> Option<Way> {
        let [now, then] = [&self.now, &self.then].map(|decision| Fate::of(decision).harm());
        match then.cmp(&now) {
            std::cmp::Ordering::Less => Some(Way::Open),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater if self.is_by_name => None,
            std::cmp::Ordering::Greater => Some(Way::Break),
        }
    }
}

/// One of the two.
struct One<'a> {
    setting: Setting<'a>,
    who: Who<'a>,
    host: Host<'a>,
}

impl<'a> One<'a> {
    fn new(setting: Setting<'a>) -> Self {
        // Nothing is taken on trust, and no flow is one too many.
        let settings = Settings { adopt_until: 0, flow_cap: 0, ..setting.placed.settings };
        let host = Host::new(setting.tables, Placed { settings, ..setting.placed.clone() });
        Self { setting, who: Who::new(setting.policy, setting.placed), host }
    }

    fn at(&mut self, monotonic: u64, deadlines: Vec<u64>) {
        self.host.reschedule(deadlines);
        self.host.set_now(monotonic);
    }

    fn device(&self, begun: &Begun, end: usize) -> Option<&'a Device> {
        let DeviceId(id) = begun.parties[end].device()?;
        self.setting.policy.devices.get(id as usize)
    }
}

/// Both, and where packets may be seen.
pub struct Beside<'a> {
    now: One<'a>,
    then: One<'a>,
    field: Field,
}

impl<'a> Beside<'a> {
    /// The policy in force and the proposed one, on the same gateway. [`Setting::now`] is not looked at.
    pub fn new(now: Setting<'a>, then: Setting<'a>) -> Self {
        Self { field: rows::field(now.places), now: One::new(now), then: One::new(then) }
    }

    /// What time it is, ns of the monotonic clock, and until when the schedules of each are open.
    pub fn at(&mut self, monotonic: u64, deadlines: [Vec<u64>; 2]) {
        let [now, then] = deadlines;
        self.now.at(monotonic, now);
        self.then.at(monotonic, then);
    }

    /// What both make of a kind.
    pub fn compare(&mut self, kind: &Kind) -> Compared {
        let kind = self.asked_group(kind).unwrap_or(*kind);
        let begun = Begun::of(&kind, &self.now.who);
        let proposed = Begun::of(&kind, &self.then.who);
        let differs = [0, 1].map(|end| self.is_known_otherwise(&begun, &proposed, end));
        let proposed = proposed.sent_as(&begun, differs, [0, 1].map(|end| self.seen_on(&begun, end)));
        let now = begun.meets(&mut self.now.host, &self.field);
        let then = proposed.meets(&mut self.then.host, &self.field);
        let ends_then = proposed.devices();
        let [harm_now, harm_then] = [&now, &then].map(|decision| Fate::of(decision).harm());
        // Where both deny it there is nothing that a name would excuse.
        let is_by_name = harm_then > harm_now
            && matches!(then.verdict, Verdict::Deny(_))
            && self.then.setting.tables.may_be_named(&self.then.who, &kind).next().is_some();
        Compared { now, then, ends_now: begun.devices(), ends_then, is_by_name }
    }

    /// Whether the policy in force knows an end by a hardware address or a tag that the proposed one does not give that device: what it sends
    /// now is what it will send.
    fn is_known_otherwise(&self, now: &Begun, then: &Begun, end: usize) -> bool {
        match (self.now.device(now, end), self.then.device(then, end)) {
            (Some(old), Some(new)) => {
                let is_other = !old.macs.is_empty() && !old.macs.iter().any(|mac| new.macs.contains(mac));
                is_other || old.vlan != new.vlan
            }
            (Some(old), None) => !old.macs.is_empty(),
            (None, _) => false,
        }
    }

    /// The segment on which the policy in force lets an end speak, where the other one may say another; 0 for any.
    fn seen_on(&self, now: &Begun, end: usize) -> u16 {
        let segment = self.now.device(now, end).and_then(|device| device.segment.as_ref());
        segment.and_then(|name| self.now.setting.placed.segments.get(name)).copied().unwrap_or(0)
    }

    /// A question to a group that nobody remembers: the kernel keeps who asked. It is the first of those that rules name that may be asked, by
    /// what is in force before what is proposed.
    fn asked_group(&mut self, kind: &Kind) -> Option<Kind> {
        let asker = kind.from.address?;
        if !kind.to.address?.is_unspecified() {
            return None;
        }
        [&mut self.now, &mut self.then].into_iter().find_map(|one| {
            let groups: Vec<IpAddr> = rows::groups(one.setting.policy, asker).into_iter().collect();
            groups.into_iter().map(|group| Kind { to: End::at(group), ..*kind }).find(|kind| {
                let decision = Begun::of(kind, &one.who).meets(&mut one.host, &self.field);
                matches!(decision.verdict, Verdict::Allow(_))
            })
        })
    }
}
