//! Networks, services and multicast groups of two policies as one list. In: both lists, and what either side needs of
//! its own. Out: the list of the result, and every name that both need and mean differently.

use std::collections::{BTreeMap, BTreeSet};

use super::Side;
use crate::model::{Multicast, Network, Service};

/// What has a name and is one for all devices.
pub(super) trait Named {
    fn name(&self) -> &str;
}

impl Named for Network {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for Multicast {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for Service {
    fn name(&self) -> &str {
        &self.name
    }
}

/// The list of the result.
pub(super) struct Merged<T> {
    /// Sorted by name.
    pub(super) list: Vec<T>,
    places: BTreeMap<(Side, u32), u32>,
}

impl<T> Merged<T> {
    /// Where something that a rule of one side names is in the list.
    pub(super) fn at(&self, side: Side, id: u32) -> u32 {
        *self.places.get(&(side, id)).expect("what a rule that stays names is in the list")
    }
}

/// Everything of the old policy, and what the rules taken from the new one name besides or instead.
pub(super) fn merge<T: Named + Clone>(
    what: &str,
    (old, old_used): (&[T], BTreeSet<u32>),
    (new, new_used): (&[T], BTreeSet<u32>),
    same: fn(&T, &T) -> bool,
    problems: &mut Vec<String>,
) -> Merged<T> {
    let mut by_name: BTreeMap<&str, &T> = old.iter().map(|item| (item.name(), item)).collect();
    let kept: BTreeSet<&str> =
        (0..).zip(old).filter(|(id, _)| old_used.contains(id)).map(|(_, item)| item.name()).collect();
    for (_, item) in (0_u32..).zip(new).filter(|(id, _)| new_used.contains(id)) {
        let before = by_name.get(item.name());
        if before.is_some_and(|before| !same(before, item)) && kept.contains(item.name()) {
            problems.push(format!(
                "{what} `{}` is another one in it, and rules between the other devices need the old one",
                item.name()
            ));
            continue;
        }
        if before.is_none_or(|before| !same(before, item)) {
            by_name.insert(item.name(), item);
        }
    }
    let numbers: BTreeMap<&str, u32> = by_name.keys().copied().zip(0..).collect();
    let place = |side: Side, list: &[T]| -> Vec<((Side, u32), u32)> {
        let found = (0..).zip(list).filter_map(|(id, item)| Some(((side, id), *numbers.get(item.name())?)));
        found.collect()
    };
    let places = place(Side::Old, old).into_iter().chain(place(Side::New, new)).collect();
    Merged { list: by_name.values().map(|item| (*item).clone()).collect(), places }
}
