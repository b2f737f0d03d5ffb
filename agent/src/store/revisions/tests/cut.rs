//! A power cut after each single step of the file system, with everything that a disk may do then.
//!
//! The model keeps apart what the running system sees and what is on the disk. Contents are on it after a sync of the
//! file, names after a sync of their folder; before that, each of them may be there or not, in any combination, and
//! contents may be empty, half or whole.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{apply, layers, pending, record};
use crate::store::{
    Disk, Pointer, Store, StoreError, io_error,
    pointer::{COPY, CURRENT},
};

/// A file's contents; its name is elsewhere.
type Inode = usize;

#[derive(Clone, Default)]
struct State {
    /// What was written, and whether it is on the disk.
    contents: Vec<(Vec<u8>, bool)>,
    /// As the running system sees them.
    names: BTreeMap<PathBuf, Inode>,
    /// As they are on the disk.
    durable: BTreeMap<PathBuf, Inode>,
    /// Changes of names that are not on the disk yet.
    changes: Vec<Change>,
    steps: usize,
    /// The power goes after so many.
    cut: usize,
}

#[derive(Clone, Debug)]
enum Change {
    Link(PathBuf, Inode),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, Inode),
}

impl Change {
    fn folder(&self) -> &Path {
        let (Self::Link(path, _) | Self::Unlink(path) | Self::Rename(path, _, _)) = self;
        path.parent().expect("every file is in a folder")
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Inode>) {
        match self {
            Self::Link(path, inode) => drop(names.insert(path.clone(), *inode)),
            Self::Unlink(path) => drop(names.remove(path)),
            Self::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

/// What a disk makes of contents that were not synced.
#[derive(Clone, Copy)]
enum Unsynced {
    Empty,
    Half,
    Whole,
}

#[derive(Clone, Default)]
struct Model(Rc<RefCell<State>>);

impl Model {
    /// One more step, unless the power is gone.
    fn step<T>(&self, path: &Path, act: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        let mut state = self.0.borrow_mut();
        if state.steps == state.cut {
            return Err(io_error("reach", path)(io::Error::other("the power is gone")));
        }
        state.steps += 1;
        Ok(act(&mut state))
    }

    /// Every disk that the cut may leave, each with the power back.
    fn after_the_cut(&self) -> Vec<Self> {
        let state = self.0.borrow();
        let open = state.changes.len();
        assert!(open <= 6, "{open} changes of names at once are too many to enumerate: {:?}", state.changes);
        let mut disks = Vec::new();
        for chosen in 0..1_usize << open {
            for unsynced in [Unsynced::Empty, Unsynced::Half, Unsynced::Whole] {
                let mut names = state.durable.clone();
                for (at, change) in state.changes.iter().enumerate() {
                    if chosen & 1 << at != 0 {
                        change.apply(&mut names);
                    }
                }
                let contents = state.contents.iter().map(|(bytes, synced)| {
                    let keep = match (synced, unsynced) {
                        (true, _) | (false, Unsynced::Whole) => bytes.len(),
                        (false, Unsynced::Half) => bytes.len() / 2,
                        (false, Unsynced::Empty) => 0,
                    };
                    (bytes[..keep].to_vec(), true)
                });
                let left = State {
                    contents: contents.collect(),
                    durable: names.clone(),
                    names,
                    changes: Vec::new(),
                    steps: 0,
                    cut: usize::MAX,
                };
                disks.push(Self(Rc::new(RefCell::new(left))));
            }
        }
        disks
    }

    /// The same disk, with one file that cannot be read any more.
    fn damaged(&self, name: &str) -> Self {
        let mut state = self.0.borrow().clone();
        if let Some(inode) = state.names.get(&Path::new("/state").join(name)) {
            state.contents[*inode].0.clear();
        }
        Self(Rc::new(RefCell::new(state)))
    }
}

impl Disk for Model {
    fn make_folder(&self, _: &Path) -> Result<(), StoreError> {
        // Folders are made once; one that is missing after a cut is made again.
        Ok(())
    }

    fn read(&self, path: &Path, _: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let state = self.0.borrow();
        Ok(state.names.get(path).map(|inode| state.contents[*inode].0.clone()))
    }

    fn names(&self, folder: &Path) -> Result<Vec<String>, StoreError> {
        let state = self.0.borrow();
        let inside = state.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        self.step(path, |state| match state.names.get(path) {
            Some(inode) => state.contents[*inode] = (bytes.to_vec(), false),
            None => {
                let inode = state.contents.len();
                state.contents.push((bytes.to_vec(), false));
                state.names.insert(path.to_owned(), inode);
                state.changes.push(Change::Link(path.to_owned(), inode));
            }
        })
    }

    fn sync(&self, path: &Path) -> Result<(), StoreError> {
        self.step(path, |state| {
            let inode = state.names[path];
            state.contents[inode].1 = true;
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.step(from, |state| {
            let inode = state.names[from];
            let change = Change::Rename(from.to_owned(), to.to_owned(), inode);
            change.apply(&mut state.names);
            state.changes.push(change);
        })
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        self.step(path, |state| {
            if state.names.remove(path).is_some() {
                state.changes.push(Change::Unlink(path.to_owned()));
            }
        })
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), StoreError> {
        self.step(folder, |state| {
            let (synced, open) = state.changes.iter().cloned().partition(|change| change.folder() == folder);
            state.changes = open;
            let synced: Vec<Change> = synced;
            synced.iter().for_each(|change| change.apply(&mut state.durable));
        })
    }
}

/// What may be in force after a cut.
#[derive(Default)]
struct Story {
    /// What was acknowledged last.
    acknowledged: Pointer,
    /// What was under way.
    attempted: Option<Pointer>,
    /// The text of each revision.
    texts: BTreeMap<u64, String>,
}

fn open(disk: Model) -> Store {
    Store { folder: "/state".into(), disk: Box::new(disk), _lock: None }
}

impl Story {
    fn point(&mut self, store: &Store, next: Pointer) -> Result<(), StoreError> {
        self.attempted = Some(next.clone());
        store.point(&next)?;
        self.acknowledged = next;
        self.attempted = None;
        Ok(())
    }

    /// One change, as the agent makes it.
    fn change(&mut self, store: &Store, text: &str, waits: bool) -> Result<(), StoreError> {
        let old = self.acknowledged.clone();
        let number = store.next_number(&old)?;
        self.texts.insert(number, text.to_owned());
        let layers = layers(&[("a.toml", text), ("b.toml", "same")]);
        store.keep(&record(number, Some(old.current).filter(|n| *n != 0), &layers), &layers)?;
        let mut next = old.forward(number);
        if waits {
            next.pending = Some(pending(number, old.current));
            let armed = Pointer { pending: next.pending.clone(), ..old };
            self.attempted = Some(armed.clone());
            store.point(&armed)?;
            // Not acknowledged to anybody; from here on it is what is on the disk.
            self.acknowledged = armed;
        }
        self.point(store, next.clone())?;
        store.prune(2, &next, &BTreeSet::new())
    }

    /// Everything that happens to a store.
    fn run(&mut self, store: &Store) -> Result<(), StoreError> {
        self.change(store, "one", false)?;
        self.change(store, "two", true)?;
        self.point(store, Pointer { pending: None, ..self.acknowledged.clone() })?;
        self.change(store, "three", false)?;
        self.point(store, self.acknowledged.back(2))?;
        self.change(store, "four", true)?;
        let back_to = self.acknowledged.pending.as_ref().expect("it waits").back_to;
        self.point(store, self.acknowledged.back(back_to))?;
        self.change(store, "one", false)?;
        self.change(store, "five", false)
    }

    fn whole(&self, store: &Store, number: u64) {
        let record = store.record(number).expect("it is whole").expect("it is there");
        let texts = store.texts(&record).expect("they are whole");
        assert_eq!(texts[0].files[0].text, self.texts[&number]);
    }

    /// What must hold on every disk that a cut leaves.
    fn holds_on(&self, disk: Model) {
        let expected = [Some(&self.acknowledged), self.attempted.as_ref()];
        for name in [CURRENT, COPY] {
            // One more misfortune is the damage of one file; before the first change is acknowledged it may be the only one.
            let found = open(disk.damaged(name)).find_pointer().pointer;
            let known = expected.contains(&found.as_ref());
            assert!(
                known || self.acknowledged.current == 0,
                "{found:?} is none of {expected:?} without `{name}`"
            );
        }
        let store = open(disk);
        let found = store.pointer().expect("it is never half a pointer").unwrap_or_default();
        assert!(expected.contains(&Some(&found)), "{found:?} is none of {expected:?}");
        if found.current != 0 {
            self.whole(&store, found.current);
            let record = store.record(found.current).expect("it is whole").expect("it is there");
            // What was before a revision that was returned to may be too old.
            let newest = record.number == found.last;
            record.before.into_iter().filter(|_| newest).for_each(|before| self.whole(&store, before));
        }
        found
            .pending
            .iter()
            .filter(|p| p.number == found.current)
            .for_each(|p| self.whole(&store, p.back_to));
        // Whatever the cut has left behind is in nobody's way.
        let next = apply(&store, &found, &[("a.toml", "after the cut")]).expect("there is room");
        store.prune(2, &next, &BTreeSet::new()).expect("it can be removed");
        let record = store.record(next.current).expect("it is whole").expect("it is there");
        assert_eq!(store.texts(&record).expect("they are whole")[0].files[0].text, "after the cut");
    }
}

#[test]
fn power_cut_after_any_step_leaves_the_last_acknowledged_revision_whole() {
    let whole = Model::default();
    whole.0.borrow_mut().cut = usize::MAX;
    Story::default().run(&open(whole.clone())).expect("nothing fails");
    let steps = whole.0.borrow().steps;
    assert!(steps > 100, "{steps}");
    let mut disks = 0;
    let mut seen = BTreeSet::new();
    for cut in 0..=steps {
        let model = Model::default();
        model.0.borrow_mut().cut = cut;
        let mut story = Story::default();
        let ended = story.run(&open(model.clone()));
        assert_eq!(ended.is_ok(), cut == steps, "cut after {cut} of {steps}");
        for disk in model.after_the_cut() {
            disks += 1;
            story.holds_on(disk);
        }
        seen.insert(story.acknowledged.current);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
    assert!(disks > 4 * steps, "{disks} disks after {steps} steps");
}

#[test]
fn a_store_that_syncs_nothing_would_be_caught() {
    let model = Model::default();
    model.0.borrow_mut().cut = usize::MAX;
    let store = open(model.clone());
    let mut story = Story::default();
    story.change(&store, "one", false).expect("nothing fails");
    // As if the rename were durable by itself.
    story.acknowledged = story.acknowledged.forward(2);
    let next = layers(&[("a.toml", "two")]);
    story.texts.insert(2, "two".into());
    store.keep(&record(2, Some(1), &next), &next).expect("nothing fails");
    let prepared = store.prepare(&story.acknowledged).expect("nothing fails");
    store.disk.rename(&prepared.new, Path::new("/state/current.json")).expect("nothing fails");
    let lost = model.after_the_cut().into_iter().filter(|disk| {
        let found = open(disk.clone()).pointer().expect("it is whole").unwrap_or_default();
        found != story.acknowledged
    });
    assert!(lost.count() > 0, "some disks have the old one");
}
