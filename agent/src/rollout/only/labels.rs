//! Classes, zones and groups of two policies side by side: what is on both sides is there twice under one name.
//!
//! In: both policies. Out: the lists of the result, and where each label of either side is in them.

use std::collections::{BTreeMap, BTreeSet};

use super::Side;
use crate::model::{Class, ClassId, Device, Group, GroupId, Peer, Policy, Zone, ZoneId};

/// All labels of the result.
pub(super) struct Labels {
    pub(super) classes: Kind<Class>,
    pub(super) zones: Kind<Zone>,
    pub(super) groups: Kind<Group>,
}

/// Labels of one kind.
pub(super) struct Kind<T> {
    /// Sorted by name, the old one first.
    pub(super) list: Vec<T>,
    places: BTreeMap<(Side, u32), u32>,
    /// The old label with the name of a new one.
    pub(super) same: BTreeMap<u32, u32>,
}

impl Labels {
    pub(super) fn of(old: &Policy, new: &Policy, named: &BTreeSet<String>) -> Self {
        let taken = || new.devices.iter().filter(|device| named.contains(&device.name));
        let used = |of: fn(&Device) -> Vec<u32>| -> BTreeSet<u32> { taken().flat_map(of).collect() };
        Self {
            classes: Kind::of(
                &old.classes,
                &new.classes,
                |class| &class.name,
                &used(|d| d.class.iter().map(|id| id.0).collect()),
            ),
            zones: Kind::of(
                &old.zones,
                &new.zones,
                |zone| &zone.name,
                &used(|d| d.zone.iter().map(|id| id.0).collect()),
            ),
            groups: Kind::of(
                &old.groups,
                &new.groups,
                |group| &group.name,
                &used(|d| d.groups.iter().map(|id| id.0).collect()),
            ),
        }
    }

    /// A label of one side as the result numbers it.
    pub(super) fn peer(&self, side: Side, peer: Peer) -> Option<Peer> {
        self.map(peer, |places, _, id| places.get(&(side, id)).copied())
    }

    /// The old label with the name of this new one.
    pub(super) fn of_the_same_name(&self, peer: Peer) -> Option<Peer> {
        self.map(peer, |_, same, id| same.get(&id).copied())
    }

    /// The new label with the name of this old one, as the result numbers it.
    pub(super) fn taken_of_the_same_name(&self, peer: Peer) -> Option<Peer> {
        self.map(peer, |places, same, id| {
            let new = same.iter().find(|(_, old)| **old == id).map(|(new, _)| *new)?;
            places.get(&(Side::New, new)).copied()
        })
    }

    fn map(
        &self,
        peer: Peer,
        find: impl Fn(&BTreeMap<(Side, u32), u32>, &BTreeMap<u32, u32>, u32) -> Option<u32>,
    ) -> Option<Peer> {
        let Self { classes, zones, groups } = self;
        match peer {
            Peer::Class(id) => find(&classes.places, &classes.same, id.0).map(|id| Peer::Class(ClassId(id))),
            Peer::Zone(id) => find(&zones.places, &zones.same, id.0).map(|id| Peer::Zone(ZoneId(id))),
            Peer::Group(id) => find(&groups.places, &groups.same, id.0).map(|id| Peer::Group(GroupId(id))),
            Peer::Device(_)
            | Peer::Network(_)
            | Peer::Multicast(_)
            | Peer::Gateway
            | Peer::Broadcast
            | Peer::Any => None,
        }
    }
}

impl<T: Clone> Kind<T> {
    /// All of the old ones, and of the new ones those that a named device is in.
    fn of(old: &[T], new: &[T], name: fn(&T) -> &str, used: &BTreeSet<u32>) -> Self {
        let mut all: Vec<(&str, Side, u32, &T)> =
            (0..).zip(old).map(|(id, l)| (name(l), Side::Old, id, l)).collect();
        all.extend(
            (0..).zip(new).filter(|(id, _)| used.contains(id)).map(|(id, l)| (name(l), Side::New, id, l)),
        );
        all.sort_by_key(|(name, side, _, _)| (*name, *side));
        let places = (0..).zip(&all).map(|(place, (_, side, id, _))| ((*side, *id), place)).collect();
        let list = all.into_iter().map(|(_, _, _, label)| label.clone()).collect();
        let olds: BTreeMap<&str, u32> = old.iter().map(name).zip(0..).collect();
        let same = (0..).zip(new).filter_map(|(id, label)| Some((id, *olds.get(name(label))?))).collect();
        Self { list, places, same }
    }
}

impl<T> Kind<T> {
    /// Where a label of one side is in the list.
    pub(super) fn at(&self, side: Side, id: u32) -> Option<u32> {
        self.places.get(&(side, id)).copied()
    }
}
