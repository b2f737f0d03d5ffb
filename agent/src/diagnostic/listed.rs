//! Lists that end: their beginning, and how many entries there are besides.

use serde::{Deserialize, Serialize};

/// The beginning of a list, and how many entries are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed<T> {
    /// As many as there is room for.
    pub list: Vec<T>,
    /// How many others there are.
    pub more: usize,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { list: Vec::new(), more: 0 }
    }
}

impl<T> Listed<T> {
    /// The first `most` of a list.
    pub fn of(mut list: Vec<T>, most: usize) -> Self {
        let more = list.len().saturating_sub(most);
        list.truncate(most);
        Self { list, more }
    }

    /// How many there are in all.
    pub fn total(&self) -> usize {
        self.list.len() + self.more
    }
}
