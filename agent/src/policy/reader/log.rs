//! Which keys a parser asks for, in tests only: proof that the description of a language and its parser agree.
//!
//! In: the calls of [`super::Reader`] on this thread. Out: (table, key) pairs that were read.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use toml::de::DeTable;

use crate::language::Table;

#[derive(Default)]
struct Log {
    /// Tables by address: they live until [`asked`] is called, so no address is used twice.
    described: BTreeMap<usize, &'static Table>,
    read: BTreeSet<(usize, String)>,
}

thread_local! {
    static LOG: RefCell<Log> = RefCell::default();
}

fn address(table: &DeTable<'_>) -> usize {
    std::ptr::from_ref(table).addr()
}

/// A table of the document is one of this kind.
pub(super) fn is(table: &DeTable<'_>, described: &'static Table) {
    LOG.with_borrow_mut(|log| log.described.insert(address(table), described));
}

/// A key was asked for, whether it is there or not.
pub(super) fn read(table: &DeTable<'_>, key: &str) {
    LOG.with_borrow_mut(|log| log.read.insert((address(table), key.to_owned())));
}

/// Runs a parser on one document. Out: the names of the tables and the keys it asked for.
pub(crate) fn asked(parse: impl FnOnce()) -> BTreeSet<(&'static str, String)> {
    LOG.take();
    parse();
    let Log { described, read } = LOG.take();
    let name = |table| described.get(&table).map_or("a table that is not described", |table| table.name);
    read.into_iter().map(|(table, key)| (name(table), key)).collect()
}

/// Every table below `root` and each of its keys.
pub(crate) fn described(root: &'static Table) -> BTreeSet<(&'static str, String)> {
    let keys = |table: &'static Table| table.keys().map(|key| (table.name, key.name.to_owned()));
    root.all().into_iter().flat_map(keys).collect()
}
