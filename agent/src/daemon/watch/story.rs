//! A trip, and how it is told.

use std::time::Duration;

use bulkhead_common::{reason::Reason, wire::protocol};

use super::super::agent::Agent;
use crate::{
    compile::{RuleEntry, network_of},
    config::duration::spell,
    model::spelled,
    record,
    record::Trigger,
    store::{Touched, Watched},
    traffic::{End, Kind},
};

/// Legitimate traffic of a device suffers.
#[derive(Clone)]
pub(super) struct Trip {
    pub(super) device: String,
    /// Whether it is about a mode that was set by hand; otherwise about a policy.
    pub(super) of_mode: bool,
    pub(super) trigger: Trigger,
    /// The conversation that suffers.
    pub(super) kind: Kind,
    /// Why it is denied now; none where it is not.
    pub(super) reason: Option<Reason>,
    /// The rule that allowed it before, with its place.
    pub(super) rule: Option<String>,
    /// For how long it has been silent, and for how long it usually is at most.
    pub(super) silent: Option<(Duration, Duration)>,
    /// Whether the device is not heard at all.
    pub(super) gone: bool,
}

impl Trip {
    /// Which watch it is of: whose, and whether of a mode.
    pub(super) fn whose(&self) -> (String, bool) {
        (self.device.clone(), self.of_mode)
    }
}

impl Trip {
    /// Whether the policy in force denies it: where it allows it, the change may not be why.
    pub(super) fn is_denied(&self) -> bool {
        self.trigger == Trigger::Denied || self.reason.is_some()
    }
}

impl Agent {
    /// What happened, in sentences.
    pub(super) fn story(&self, trip: &Trip, watched: &Watched) -> String {
        let Trip { device, of_mode: _, trigger, kind, reason, rule, silent, gone } = trip;
        let change = match &watched.change {
            Touched::Policy { number, .. } => {
                let by = self.store.record(*number).ok().flatten().map(|record| format!(" by {}", record.by));
                format!("revision {number}{}", by.unwrap_or_default())
            }
            Touched::Mode { .. } => format!("the change of `{device}` to enforce"),
        };
        let talk = self.talk(kind);
        let because = reason.map(|reason| format!(" ({})", reason.name())).unwrap_or_default();
        let rule = rule.as_ref().map(|rule| format!("; the rule was {rule}")).unwrap_or_default();
        let mut text = match trigger {
            Trigger::Denied => format!("{change} dropped{because} what was allowed before: {talk}{rule}"),
            Trigger::Stopped => {
                let (silent, period) = silent.unwrap_or_default();
                format!(
                    "after {change} nothing was answered for {} of {talk}, which was never silent for longer than {}{rule}",
                    spell(silent),
                    spell(period)
                )
            }
        };
        if *trigger == Trigger::Stopped {
            text += &match reason {
                Some(reason) => format!("; the policy in force denies it ({})", reason.name()),
                None => "; the policy in force allows it, so the change may not be why".to_owned(),
            };
            if *gone {
                text += &format!(
                    "; `{device}` is not heard at all, though packets of it were dropped: it may be off"
                );
            }
        }
        text
    }

    /// `hmi (10.20.2.20) -> press-plc (10.20.1.11) tcp/502`.
    pub(super) fn talk(&self, kind: &Kind) -> String {
        let shown = |end: &End| match self.name_of(end) {
            Some(name) => format!("{name} ({end})"),
            None => end.to_string(),
        };
        format!("{} -> {} {}", shown(&kind.from), shown(&kind.to), spelled(kind.service.selector()))
    }

    fn name_of(&self, end: &End) -> Option<String> {
        let policy = &self.in_force.policy;
        let of_mac = |mac| policy.devices.iter().find(|device| device.macs.contains(&mac));
        let device = end.mac.and_then(of_mac).or_else(|| policy.device_of(end.address?));
        if let Some(device) = device {
            return Some(device.name.clone());
        }
        let address = end.address?;
        if self.nics.addresses.contains(&address) {
            return Some("gateway".to_owned());
        }
        network_of(policy, address)
    }

    /// An end as records have it.
    pub(super) fn end_of(&self, end: &End, port: Option<u16>) -> record::End {
        record::End {
            name: self.name_of(end),
            mac: end.mac.map(|mac| mac.to_string()),
            ip: end.address,
            port,
        }
    }
}

/// The word of a protocol as violations have it, and the port of who answers.
pub(super) fn service_of(kind: &Kind) -> (String, Option<u16>) {
    let word = spelled(kind.service.selector());
    let word = word.split(['/', ' ']).next().unwrap_or_default();
    let ported = matches!(kind.service.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
    let word = if word == "ip" { format!("ip/{}", kind.service.protocol) } else { word.to_owned() };
    (word, ported.then_some(kind.service.number))
}

/// A rule with its place.
pub(super) fn placed(rule: &RuleEntry) -> String {
    format!("{} ({}:{})", rule.text, rule.location.path, rule.location.line)
}
