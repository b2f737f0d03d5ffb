//! Who has series of its own where there is no room for all: whoever came first, for as long as the agent lives.
//!
//! In: the counters of all at each look. Out: those who are told by name, and the growth of the others together. A reader takes a
//! counter that falls for one that began anew: so nobody loses a series to another who counts more, and what the others have
//! counted stays when one of them is gone.

use std::collections::{BTreeMap, BTreeSet};

/// Places for series, each of them for `N` counters.
#[derive(Debug)]
pub struct Places<const N: usize> {
    most: usize,
    taken: BTreeSet<u32>,
    /// What the counters of each of the others said last.
    others: BTreeMap<u32, [u64; N]>,
    sum: Option<[u64; N]>,
}

impl<const N: usize> Places<N> {
    /// So many.
    pub fn new(most: usize) -> Self {
        Self { most, taken: BTreeSet::new(), others: BTreeMap::new(), sum: None }
    }

    /// Looks at the counters of all that there are, by their stable number: the smaller one came first. Gives back the numbers
    /// of those who have a place, and what the others have counted; `None` as long as there was room for all.
    pub fn look(&mut self, all: &BTreeMap<u32, [u64; N]>) -> (Vec<u32>, Option<[u64; N]>) {
        let left: Vec<u32> = self.taken.iter().copied().filter(|id| !all.contains_key(id)).collect();
        let mut left = left.into_iter();
        // One that comes back is no growth: but not everybody who ever was can be remembered.
        if self.others.len() > all.len() + self.most {
            self.others.retain(|id, _| all.contains_key(id));
        }
        for (id, now) in all {
            if self.taken.contains(id) || (!self.others.contains_key(id) && self.take(*id, &mut left)) {
                continue;
            }
            let before = self.others.insert(*id, *now).unwrap_or([0; N]);
            let sum = self.sum.get_or_insert([0; N]);
            for (sum, (now, before)) in sum.iter_mut().zip(now.iter().zip(before)) {
                // A counter is cleared when its number changes hands.
                *sum += now.checked_sub(before).unwrap_or(*now);
            }
        }
        (self.taken.iter().copied().filter(|id| all.contains_key(id)).collect(), self.sum)
    }

    /// Finds a place for a newcomer: a free one, or that of one who is gone.
    fn take(&mut self, id: u32, left: &mut impl Iterator<Item = u32>) -> bool {
        if self.taken.len() >= self.most {
            let Some(left) = left.next() else { return false };
            self.taken.remove(&left);
        }
        self.taken.insert(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look at counters by number.
    fn look(places: &mut Places<1>, all: &[(u32, u64)]) -> (Vec<u32>, Option<u64>) {
        let (own, others) = places.look(&all.iter().map(|(id, n)| (*id, [*n])).collect());
        (own, others.map(|[n]| n))
    }

    #[test]
    fn who_has_a_series_keeps_it_and_the_others_only_grow() {
        let mut places = Places::new(2);
        assert_eq!(look(&mut places, &[(1, 100), (2, 50)]), (vec![1, 2], None));
        // By what they have counted, the third would push out the second, and the others would fall from 60 to 51.
        assert_eq!(look(&mut places, &[(1, 100), (2, 50), (3, 60)]), (vec![1, 2], Some(60)));
        assert_eq!(look(&mut places, &[(1, 101), (2, 51), (3, 900)]), (vec![1, 2], Some(900)));
        // Who is gone takes nothing away, and brings nothing when it comes back.
        assert_eq!(look(&mut places, &[(1, 101), (2, 51)]), (vec![1, 2], Some(900)));
        assert_eq!(look(&mut places, &[(1, 101), (2, 51), (3, 902)]), (vec![1, 2], Some(902)));
        // Another now has the number.
        assert_eq!(look(&mut places, &[(1, 101), (2, 51), (3, 4)]), (vec![1, 2], Some(906)));
    }

    #[test]
    fn a_newcomer_gets_the_place_of_one_who_is_gone_and_the_others_stay_where_they_are() {
        let mut places = Places::new(2);
        look(&mut places, &[(1, 1), (2, 2), (3, 3)]);
        assert_eq!(look(&mut places, &[(1, 1), (3, 3)]), (vec![1], Some(3)));
        // Nobody needed the place meanwhile.
        assert_eq!(look(&mut places, &[(1, 1), (2, 2), (3, 3)]), (vec![1, 2], Some(3)));
        assert_eq!(look(&mut places, &[(1, 1), (3, 3), (4, 4)]), (vec![1, 4], Some(3)));
        assert_eq!(look(&mut places, &[(1, 1), (2, 2), (3, 3), (4, 4)]), (vec![1, 4], Some(5)));
    }

    #[test]
    fn those_who_came_first_have_the_places_after_a_restart_too() {
        let all: Vec<(u32, u64)> = (1..=3000).map(|id| (id, u64::from(id))).collect();
        let (own, others) = look(&mut Places::new(1000), &all);
        assert_eq!(own, (1..=1000).collect::<Vec<_>>());
        assert_eq!(others, Some((1001..=3000).sum()));
    }

    #[test]
    fn what_is_remembered_of_others_is_bounded() {
        let mut places = Places::new(3);
        look(&mut places, &[(1, 0), (2, 0), (3, 0)]);
        for id in 4..1000 {
            let (own, others) = look(&mut places, &[(1, 0), (2, 0), (3, 0), (id, 1)]);
            assert_eq!((own, others), (vec![1, 2, 3], Some(u64::from(id) - 3)));
            assert!(places.others.len() <= 8, "{places:?}");
        }
    }
}
