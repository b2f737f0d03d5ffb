//! Rules that say what another rule says. In: a policy. Out: a warning for each rule that is another one again, or wholly
//! within one other. What several others admit together is not looked for: whoever takes one of them away would have to
//! know.

use std::collections::{BTreeSet, HashMap};

use super::{Findings, rule_text, traffic::Traffic, wider::Wider};
use crate::{
    diagnostic::Diagnostic,
    model::{Peer, Policy, Rule, Schedule, ServiceId, Window},
};

/// A rule by another: written twice.
const DUPLICATE: &str = "BH0506";
/// A rule within another.
const SHADOWED: &str = "BH0507";

/// A rule of more pairs of peers is not looked for as the wider one.
const MOST_PAIRS: usize = 4096;
/// Pairs of all rules that are looked for.
const MOST_INDEXED: usize = 1 << 22;
/// Look-ups and peers compared in one run: bounds the time a hostile policy can take. Rules beyond are not compared.
const MOST_STEPS: usize = 20_000_000;

/// Minutes of a day.
const DAY: u16 = 1440;

/// All that a rule means.
type Meaning<'r> = (&'r [Peer], &'r [Peer], &'r [ServiceId], Option<&'r Schedule>);

pub(super) fn check(policy: &Policy, traffic: &Traffic, out: &mut Findings) {
    let rules = &policy.rules;
    let mut order: Vec<usize> = (0..rules.len()).collect();
    order.sort_by_key(|rule| (&rules[*rule].location.path, rules[*rule].location.span.start));
    let mut first: HashMap<Meaning<'_>, usize> = HashMap::with_capacity(rules.len());
    let mut left = Vec::with_capacity(rules.len());
    for rule in order {
        let again = &rules[rule];
        match first.get(&meaning(again)) {
            Some(before) => out.push(duplicate(policy, again, &rules[*before])),
            None => {
                first.insert(meaning(again), rule);
                left.push(rule);
            }
        }
    }
    let named: BTreeSet<Peer> =
        rules.iter().flat_map(|rule| rule.initiators.iter().chain(&rule.responders)).copied().collect();
    let wider = Wider::new(policy, &named);
    let mut search = Search { rules, traffic, wider, pairs: HashMap::new(), steps: 0 };
    search.index(&left);
    for (place, rule) in left.iter().enumerate() {
        if let Some(wide) = search.around(&left, place) {
            out.push(shadowed(policy, &rules[*rule], &rules[wide]));
        }
        if search.steps > MOST_STEPS {
            break;
        }
    }
}

fn meaning(rule: &Rule) -> Meaning<'_> {
    (&rule.initiators, &rule.responders, &rule.services, rule.schedule.as_ref())
}

/// Rules by the pairs of peers they join.
struct Search<'p> {
    rules: &'p [Rule],
    traffic: &'p Traffic,
    wider: Wider<'p>,
    /// Places in the list of rules that are compared.
    pairs: HashMap<(Peer, Peer), Vec<u32>>,
    steps: usize,
}

impl Search<'_> {
    fn index(&mut self, left: &[usize]) {
        let mut indexed = 0;
        for (place, rule) in (0..).zip(left) {
            let Rule { initiators, responders, .. } = &self.rules[*rule];
            let pairs = initiators.len().saturating_mul(responders.len());
            if pairs > MOST_PAIRS || indexed + pairs > MOST_INDEXED {
                continue;
            }
            indexed += pairs;
            for from in initiators {
                for to in responders {
                    self.pairs.entry((*from, *to)).or_default().push(place);
                }
            }
        }
    }

    /// A rule that admits all that the rule at a place admits. Of two that admit the same, the first has nobody around it.
    fn around(&mut self, left: &[usize], place: usize) -> Option<usize> {
        let narrow = left[place];
        let rule = &self.rules[narrow];
        let (from, to) = (rule.initiators.first()?, rule.responders.first()?);
        let (from, to) = (self.wider.of(*from), self.wider.of(*to));
        for pair in from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to))) {
            self.steps += 1;
            let Some(candidates) = self.pairs.get(&pair) else { continue };
            for other in candidates {
                let other = *other as usize;
                let wide = left[other];
                self.steps += 1;
                if other == place || !self.traffic.covers(wide, narrow) {
                    continue;
                }
                self.steps += rule.initiators.len() + rule.responders.len();
                if self.steps > MOST_STEPS {
                    return None;
                }
                let same = || other > place && self.holds(narrow, wide);
                if self.holds(wide, narrow) && !same() {
                    return Some(wide);
                }
            }
        }
        None
    }

    fn holds(&self, wide: usize, narrow: usize) -> bool {
        let is_ip = self.traffic.ranges(narrow).is_ip;
        let (outer, inner) = (&self.rules[wide], &self.rules[narrow]);
        let held = |peer: &Peer, by: &[Peer]| {
            self.wider.of(*peer).iter().any(|wide| {
                // A network has addresses: what is not IP it does not hold.
                let is_meant = is_ip || wide == peer || !matches!(wide, Peer::Network(_));
                is_meant && by.binary_search(wide).is_ok()
            })
        };
        self.traffic.covers(wide, narrow)
            && is_within(inner.schedule.as_ref(), outer.schedule.as_ref())
            && inner.initiators.iter().all(|peer| held(peer, &outer.initiators))
            && inner.responders.iter().all(|peer| held(peer, &outer.responders))
    }
}

/// Whether a schedule is closed whenever another is.
fn is_within(inner: Option<&Schedule>, outer: Option<&Schedule>) -> bool {
    let Some(outer) = outer else { return true };
    let Some(inner) = inner else { return false };
    let ends = match (inner.expires, outer.expires) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(inner), Some(outer)) => inner <= outer,
    };
    let end = |window: &Window| if window.to <= window.from { window.to + DAY } else { window.to };
    let holds = |outer: &Window, inner: &Window| {
        outer.zone == inner.zone
            && outer.days & inner.days == inner.days
            && outer.from <= inner.from
            && end(inner) <= end(outer)
    };
    let windows = outer.windows.is_empty()
        || !inner.windows.is_empty()
            && inner.windows.iter().all(|inner| outer.windows.iter().any(|outer| holds(outer, inner)));
    ends && windows
}

fn duplicate(policy: &Policy, again: &Rule, first: &Rule) -> Diagnostic {
    let message = format!("{} says again what another rule says", quoted(policy, again));
    let help = if again.holder == first.holder {
        "remove one of them"
    } else {
        "one end is enough: remove one of them"
    };
    Diagnostic::warning(DUPLICATE, message)
        .at(again.location.clone(), "again")
        .also(first.location.clone(), "said here")
        .help(help)
}

fn shadowed(policy: &Policy, narrow: &Rule, wide: &Rule) -> Diagnostic {
    let message = format!("{} allows nothing that another rule does not", quoted(policy, narrow));
    Diagnostic::warning(SHADOWED, message)
        .at(narrow.location.clone(), "within the other")
        .also(wide.location.clone(), format!("{} allows all of it", quoted(policy, wide)))
        .help("remove the narrow rule, or narrow the wide one if it was meant to say less")
}

fn quoted(policy: &Policy, rule: &Rule) -> String {
    format!("`{}`", rule_text(policy, rule))
}
