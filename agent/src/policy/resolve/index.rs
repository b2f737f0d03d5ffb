//! Names in order, found without a search. In: things by name. Out: all of them sorted, or one of them.

use std::collections::HashMap;

/// A map from names that are looked up far more often than they change.
pub(super) struct Index<'r, T> {
    /// Sorted by name.
    all: Vec<(&'r str, T)>,
    places: HashMap<&'r str, usize>,
}

impl<'r, T> Index<'r, T> {
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.places.get(name).map(|place| &self.all[*place].1)
    }

    /// The thing and its name, which lives as long as the files do.
    pub(super) fn get_key_value(&self, name: &str) -> Option<(&'r str, &T)> {
        self.places.get(name).map(|place| (self.all[*place].0, &self.all[*place].1))
    }

    pub(super) fn contains_key(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter(&self) -> Iter<'_, 'r, T> {
        self.all.iter().map(|(name, one)| (name, one))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &&'r str> + Clone {
        self.all.iter().map(|(name, _)| name)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> + Clone {
        self.all.iter().map(|(_, one)| one)
    }
}

type Iter<'i, 'r, T> =
    std::iter::Map<std::slice::Iter<'i, (&'r str, T)>, fn(&'i (&'r str, T)) -> (&'i &'r str, &'i T)>;

impl<'i, 'r, T> IntoIterator for &'i Index<'r, T> {
    type Item = (&'i &'r str, &'i T);
    type IntoIter = Iter<'i, 'r, T>;

    fn into_iter(self) -> Iter<'i, 'r, T> {
        self.iter()
    }
}

impl<T> Default for Index<'_, T> {
    fn default() -> Self {
        Self { all: Vec::new(), places: HashMap::new() }
    }
}

/// Of two things with one name the first is kept.
impl<'r, T> FromIterator<(&'r str, T)> for Index<'r, T> {
    fn from_iter<I: IntoIterator<Item = (&'r str, T)>>(all: I) -> Self {
        let mut all: Vec<(&'r str, T)> = all.into_iter().collect();
        all.sort_by_key(|(name, _)| *name);
        all.dedup_by(|(later, _), (first, _)| later == first);
        let places = all.iter().enumerate().map(|(place, (name, _))| (*name, place)).collect();
        Self { all, places }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_the_first_of_each_is_found() {
        let index: Index<'_, u8> = [("b", 1), ("a", 2), ("b", 3)].into_iter().collect();
        assert_eq!(index.keys().copied().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(index.values().copied().collect::<Vec<_>>(), [2, 1]);
        assert_eq!((index.get("b"), index.get("c")), (Some(&1), None));
        assert_eq!((index.len(), index.contains_key("c")), (2, false));
    }
}
