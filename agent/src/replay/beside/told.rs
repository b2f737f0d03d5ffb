//! What differs, in words: who, whom, over what, what both policies say of it, and by which rule.

use std::cmp::Reverse;

use bulkhead_common::decide::{Decision, Verdict};
use serde::{Deserialize, Serialize};

use super::{
    super::{Setting, report::Break, tally::Denied, words},
    Differences, Fate, Way,
    kept::Kept,
};
use crate::{compile::RuleRef, diagnostic::Listed, traffic::Kind};

/// What one policy says of a kind of conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// What becomes of it.
    pub fate: Fate,
    /// The word for the grant or the reason.
    pub reason: String,
    /// The rule that allows it.
    pub rule: Option<RuleRef>,
}

/// A kind of conversation of which the two say something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The device of the two that is more critical; none where neither is one.
    pub device: Option<String>,
    /// How much harm its stop does.
    pub criticality: Option<String>,
    /// Who began: a device, `gateway` or a network; nothing known otherwise.
    pub from: Option<String>,
    /// Its address.
    pub from_address: String,
    /// Who answers.
    pub to: Option<String>,
    /// Its address.
    pub to_address: String,
    /// What the policy calls it, like `modbus`.
    pub service: String,
    /// Its numbers, like `tcp/502`.
    pub selector: String,
    /// Conversations that began.
    pub flows: u64,
    /// Whether anybody answered.
    pub answered: bool,
    /// Packets of them.
    pub packets: u64,
    /// When the first was seen.
    pub first: String,
    /// When the last was.
    pub last: String,
    /// What the policy in force says of it.
    pub now: Said,
    /// What the proposed one says.
    pub then: Said,
    /// Rules of the proposed policy that come close, where it denies.
    pub nearest: Vec<RuleRef>,
    /// Lines for a policy file that would allow it there.
    pub missing: Option<String>,
    /// What would help where no rule does.
    pub help: Option<String>,
}

impl Differences {
    /// What differs in one way, in the words of both policies: the most critical device first, then what was answered, then the most packets.
    pub fn told(&self, way: Way, [now, then]: [&Setting<'_>; 2], most: usize) -> Listed<Difference> {
        let list = match way {
            Way::Break => &self.breaks,
            Way::Open => &self.opens,
        };
        let mut order: Vec<(&Kind, &Kept)> = list.iter().collect();
        order.sort_by_cached_key(|(kind, kept)| {
            let setting = if way == Way::Break { now } else { then };
            let ends = if way == Way::Break { kept.compared.ends_now } else { kept.compared.ends_then };
            let device = setting.device(setting.more_critical(ends));
            let packets = kept.seen.packets[0].saturating_add(kept.seen.packets[1]);
            Reverse((
                device.map(|device| device.criticality),
                kept.seen.is_answered(),
                packets,
                Reverse(**kind),
            ))
        });
        let more = order.len().saturating_sub(most);
        let list = order.into_iter().take(most).map(|(kind, kept)| told(*kind, kept, way, [now, then]));
        Listed { list: list.collect(), more }
    }
}

fn told(kind: Kind, kept: &Kept, way: Way, [now, then]: [&Setting<'_>; 2]) -> Difference {
    let Kept { seen, compared } = kept;
    // In the words of the policy that denies: it is the one that lacks something.
    let (setting, decision, ends) = match way {
        Way::Break => (then, &compared.then, compared.ends_then),
        Way::Open => (now, &compared.now, compared.ends_now),
    };
    let Verdict::Deny(reason) = decision.verdict else {
        unreachable!("only what is denied by one of them differs")
    };
    let denied = Denied {
        kind,
        seen: *seen,
        reason,
        action: decision.action,
        ends,
        unknown: false,
        broken_off: false,
    };
    let Break {
        device,
        criticality,
        from,
        from_address,
        to,
        to_address,
        service,
        selector,
        flows,
        answered: _,
        packets,
        first,
        last,
        dropped: _,
        reason: _,
        explanation: _,
        nearest,
        missing,
        help,
    } = words::told(setting, &denied);
    // Who is known to one of them only is called as that one calls him.
    let (other, other_ends) = match way {
        Way::Break => (now, compared.ends_now),
        Way::Open => (then, compared.ends_then),
    };
    let also = other.device(other.more_critical(other_ends));
    let is_break = way == Way::Break;
    Difference {
        device: device.or_else(|| also.map(|device| device.name.clone())),
        criticality: criticality.or_else(|| also.map(|device| device.criticality.name().to_owned())),
        from: from.or_else(|| other.name_of(&kind.from, other_ends[0])),
        from_address,
        to: to.or_else(|| other.name_of(&kind.to, other_ends[1])),
        to_address,
        service,
        selector,
        flows,
        answered: seen.is_answered(),
        packets,
        first,
        last,
        now: said(now, &compared.now),
        then: said(then, &compared.then),
        nearest: if is_break { nearest } else { Vec::new() },
        missing: missing.filter(|_| is_break),
        help: help.filter(|_| is_break),
    }
}

fn said(setting: &Setting<'_>, decision: &Decision) -> Said {
    let reason = match decision.verdict {
        Verdict::Allow(grant) => grant.name(),
        Verdict::Deny(reason) => reason.name(),
    };
    let rule = setting.tables.rule(decision.rule).map(RuleRef::from);
    Said { fate: Fate::of(decision), reason: reason.to_owned(), rule }
}
