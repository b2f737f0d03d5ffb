//! Adds up what became of each kind of conversation, in bounded room: of what is denied the worst is kept, and all is counted.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use bulkhead_common::{decide::Action, reason::Reason, wire::protocol};

use super::{
    LISTED, Setting,
    report::{DeviceBreaks, Other, Report, RuleUse, Rules, Totals, VERSION},
    touching::{self, ByDevice},
    words,
};
use crate::{
    compile::{RuleRef, Who},
    diagnostic::Listed,
    model::Criticality,
    traffic::{Kind, Seen},
};

/// What becomes of a kind of conversation that no rule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    Dropped,
    Reported,
    /// Nobody answered it when it happened.
    Attempt,
    /// It is allowed to whoever has learned a name.
    ByName,
    /// An end of it is nobody in particular.
    Unknown,
}

/// A kind of conversation that is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) kind: Kind,
    pub(super) seen: Seen,
    pub(super) reason: Reason,
    pub(super) action: Action,
    /// Devices at its ends, dense ids; 0 where it is none.
    pub(super) ends: [u32; 2],
    /// Whether nobody knows who an end is, so that its packets cannot be made up.
    pub(super) unknown: bool,
    /// Whether it began and went on, and was then no more remembered.
    pub(super) broken_off: bool,
}

/// By what one denied kind comes before another.
pub(super) type Rank = (Option<Criticality>, bool, u64, Reverse<Kind>);

/// The worst of what is denied.
#[derive(Default)]
pub(super) struct Worst {
    kept: BinaryHeap<Reverse<(Rank, Order)>>,
    total: u64,
}

/// A denied kind, which is ordered by its rank alone.
#[derive(Clone, Copy, Debug)]
struct Order(Denied);

impl PartialEq for Order {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Order {}

impl PartialOrd for Order {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Order {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl Worst {
    /// Keeps it if it is among the `most` worst.
    pub(super) fn add(&mut self, most: usize, rank: Rank, denied: Denied) {
        self.total += 1;
        if self.kept.len() < most {
            self.kept.push(Reverse((rank, Order(denied))));
        } else if self.kept.peek().is_some_and(|Reverse((least, _))| *least < rank) {
            self.kept.pop();
            self.kept.push(Reverse((rank, Order(denied))));
        }
    }

    /// The worst first.
    pub(super) fn listed<T>(self, tell: impl Fn(&Denied) -> T) -> Listed<T> {
        let kept = self.kept.into_sorted_vec();
        let list: Vec<T> = kept.iter().map(|Reverse((_, Order(denied)))| tell(denied)).collect();
        let more = usize::try_from(self.total).unwrap_or(usize::MAX).saturating_sub(list.len());
        Listed { list, more }
    }
}

/// What a device would lose.
#[derive(Clone, Copy, Default)]
struct Losses {
    dropped: u64,
    reported: u64,
    flows: u64,
}

/// What a rule allowed.
#[derive(Clone, Copy, Default)]
struct Used {
    packets: u64,
    last: i64,
}

/// Everything that is added up.
pub(super) struct Tally<'a> {
    setting: Setting<'a>,
    /// Who is who.
    pub(super) who: Who<'a>,
    pub(super) totals: Totals,
    pub(super) notes: Vec<String>,
    pub(super) others: Vec<Other>,
    fates: BTreeMap<Fate, Worst>,
    devices: BTreeMap<u32, Losses>,
    rules: Vec<Used>,
    /// Device by device, if that is wanted.
    pub(super) touching: Option<ByDevice>,
    span: Option<(i64, i64)>,
}

impl<'a> Tally<'a> {
    pub(super) fn new(setting: Setting<'a>) -> Self {
        Self {
            totals: Totals::default(),
            notes: Vec::new(),
            others: Vec::new(),
            fates: BTreeMap::new(),
            devices: BTreeMap::new(),
            rules: vec![Used::default(); setting.tables.rules.len()],
            touching: None,
            span: None,
            who: Who::new(setting.policy, setting.placed),
            setting,
        }
    }

    /// Something was seen at these moments, seconds since 1970.
    pub(super) fn seen(&mut self, first: i64, last: i64) {
        let (from, to) = self.span.unwrap_or((first, last));
        self.span = Some((from.min(first), to.max(last)));
    }

    /// A rule, by its dense id, allowed packets, the last of them at a moment.
    pub(super) fn used(&mut self, rule: u32, packets: u64, last: i64) {
        let used = (rule as usize).checked_sub(1).and_then(|at| self.rules.get_mut(at));
        if let Some(used) = used {
            let before = used.packets != 0;
            used.last = if before { used.last.max(last) } else { last };
            used.packets = used.packets.saturating_add(packets);
        }
    }

    /// A kind of conversation that is allowed.
    pub(super) fn allowed(&mut self, flows: u64) {
        self.totals.kinds += 1;
        self.totals.allowed += 1;
        self.totals.flows = self.totals.flows.saturating_add(flows);
    }

    /// A kind of conversation that is denied, unless nothing depends on it.
    pub(super) fn denied(&mut self, denied: Denied) {
        let Denied { kind, seen, reason, action, ends, unknown, broken_off } = denied;
        self.totals.kinds += 1;
        self.totals.flows = self.totals.flows.saturating_add(seen.flows);
        let drops = action == Action::Drop;
        // Of what is asked in one datagram nobody knows whether an answer was meant to come.
        let answerable = matches!(kind.service.protocol, protocol::TCP | protocol::ICMP | protocol::ICMPV6);
        let unanswered = answerable && !seen.is_answered();
        let (fate, count) = if reason == Reason::Unmanaged && !drops {
            self.totals.unmanaged += 1;
            return;
        } else if unknown {
            (Fate::Unknown, &mut self.totals.unknown)
        } else if !broken_off && self.setting.tables.may_be_named(&self.who, &kind).next().is_some() {
            (Fate::ByName, &mut self.totals.by_name)
        } else if unanswered && !broken_off {
            (Fate::Attempt, &mut self.totals.attempts)
        } else if drops {
            (Fate::Dropped, &mut self.totals.dropped)
        } else {
            (Fate::Reported, &mut self.totals.reported)
        };
        *count += 1;
        let device = self.setting.more_critical(ends);
        if matches!(fate, Fate::Dropped | Fate::Reported) {
            let losses = self.devices.entry(device).or_default();
            *(if drops { &mut losses.dropped } else { &mut losses.reported }) += 1;
            losses.flows = losses.flows.saturating_add(seen.flows);
        }
        let criticality = self.setting.device(device).map(|device| device.criticality);
        let rank = (criticality, seen.answered > 0, seen.flows, Reverse(kind));
        self.fates.entry(fate).or_default().add(LISTED, rank, denied);
        if let Some(all) = &mut self.touching {
            touching::denied(all, fate, rank, denied);
        }
    }

    /// What came of it.
    pub(super) fn report(mut self) -> Report {
        let setting = self.setting;
        let mut fate = |fate: Fate| {
            let worst = self.fates.remove(&fate).unwrap_or_default();
            worst.listed(|denied| words::told(&setting, denied))
        };
        let dropped = fate(Fate::Dropped);
        let reported = fate(Fate::Reported);
        let attempts = fate(Fate::Attempt);
        let by_name = fate(Fate::ByName);
        let unknown = fate(Fate::Unknown);
        Report {
            version: VERSION,
            revision: setting.tables.revision.to_string(),
            from: self.span.map(|(from, _)| words::moment(from)),
            to: self.span.map(|(_, to)| words::moment(to)),
            totals: self.totals,
            dropped,
            reported,
            devices: devices(&setting, self.devices),
            attempts,
            by_name,
            unknown,
            others: Listed::of(self.others, LISTED),
            rules: rules(&setting, &self.rules),
            notes: self.notes,
        }
    }
}

impl Setting<'_> {
    /// The device of two whose stop does more harm; of equals the one that answers.
    pub(super) fn more_critical(&self, [from, to]: [u32; 2]) -> u32 {
        let criticality = |id| self.device(id).map(|device| device.criticality);
        if criticality(from) > criticality(to) { from } else { to }
    }
}

fn devices(setting: &Setting<'_>, losses: BTreeMap<u32, Losses>) -> Listed<DeviceBreaks> {
    let mut all: Vec<(u32, Losses)> = losses.into_iter().collect();
    let criticality = |id: u32| setting.device(id).map(|device| device.criticality);
    all.sort_by_key(|(id, losses)| (Reverse(criticality(*id)), Reverse(losses.dropped), *id));
    let one = |(id, Losses { dropped, reported, flows }): (u32, Losses)| {
        let device = setting.device(id);
        DeviceBreaks {
            device: device.map(|device| device.name.clone()),
            criticality: device.map(|device| device.criticality.name().to_owned()),
            mode: device.map(|device| device.mode.name().to_owned()),
            dropped,
            reported,
            flows,
        }
    };
    Listed::of(all.into_iter().map(one).collect(), LISTED)
}

fn rules(setting: &Setting<'_>, uses: &[Used]) -> Rules {
    let both = || setting.tables.rules.iter().zip(uses);
    let mut used: Vec<RuleUse> = both()
        .filter(|(_, used)| used.packets > 0)
        .map(|(rule, used)| RuleUse {
            rule: RuleRef::from(rule),
            packets: used.packets,
            last: words::moment(used.last),
        })
        .collect();
    used.sort_by_key(|one| Reverse(one.packets));
    let unused = both().filter(|(_, used)| used.packets == 0).map(|(rule, _)| RuleRef::from(rule));
    Rules { used: Listed::of(used, LISTED), unused: Listed::of(unused.collect(), LISTED) }
}
