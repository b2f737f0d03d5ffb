//! A table that becomes another: the same code as on the kernel's maps, on maps of this process.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A map that takes as many rows as it was made for, and no row away that it does not have, as the kernel's do.
#[derive(Debug)]
struct Fake {
    rows: BTreeMap<u8, u8>,
    room: usize,
}

impl Table<u8, u8> for Fake {
    fn make(room: u32) -> Result<Self, MapError> {
        Ok(Self { rows: BTreeMap::new(), room: room as usize })
    }

    fn put(&mut self, key: &u8, value: &u8) -> Result<(), MapError> {
        if self.rows.len() == self.room && !self.rows.contains_key(key) {
            return Err(MapError::OutOfBounds { index: u32::from(*key), max_entries: 0 });
        }
        self.rows.insert(*key, *value);
        Ok(())
    }

    fn take(&mut self, key: &u8) -> Result<(), MapError> {
        self.rows.remove(key).map(|_| ()).ok_or(MapError::KeyNotFound)
    }
}

type Rows = BTreeMap<u8, u8>;

fn list(rows: &Rows) -> Vec<(u8, u8)> {
    rows.iter().map(|(key, value)| (*key, *value)).collect()
}

fn rows() -> impl Strategy<Value = Rows> {
    proptest::collection::btree_map(any::<u8>(), 0..3_u8, 0..60)
}

/// Room for so many more rows, as for those that are learned.
const FEW: usize = 8;

proptest! {
    #[test]
    fn a_difference_applied_to_one_table_gives_the_other(tables in proptest::collection::vec(rows(), 1..5)) {
        let mut written = Written::default();
        let mut table = Inner::<Fake, u8, u8>::new((list(&tables[0]), FEW), "TEST", &mut written)
            .expect("there is room for what it is made for");
        for (old, new) in tables.iter().zip(&tables[1..]) {
            written = Written::default();
            table = table.become_((list(new), FEW), "TEST", &mut written).expect("there is room");
            prop_assert_eq!(&table.map.rows, new);
            prop_assert_eq!(&table.rows, &list(new));
            prop_assert_eq!(table.is_new, written.tables == 1);
            if !table.is_new {
                let put = new.iter().filter(|(key, value)| old.get(key) != Some(value)).count();
                let removed = old.keys().filter(|key| !new.contains_key(key)).count();
                prop_assert_eq!((written.put, written.removed), (put, removed), "no step too many");
            }
        }
    }

    #[test]
    fn what_is_learned_between_two_changes_ends_with_the_next(
        first in rows(),
        learned in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..12),
        forgotten in proptest::collection::vec(any::<u8>(), 0..12),
        next in rows(),
    ) {
        let mut written = Written::default();
        let mut table = Inner::<Fake, u8, u8>::new((list(&first), FEW), "TEST", &mut written)
            .expect("there is room for what it is made for");
        let mut expected = first;
        for (key, value) in learned {
            if table.insert(key, value, "TEST").expect("a full table says so") {
                expected.insert(key, value);
            }
        }
        for key in forgotten {
            table.remove(&key, "TEST").expect("what is not there is no error");
            expected.remove(&key);
        }
        prop_assert_eq!(&table.map.rows, &expected);
        let copy = table.copy(FEW, "TEST", &mut written).expect("there is room for what it is made for");
        prop_assert_eq!(&copy.map.rows, &expected);
        let table = table.become_((list(&next), FEW), "TEST", &mut written).expect("there is room");
        prop_assert_eq!(&table.map.rows, &next);
    }
}
