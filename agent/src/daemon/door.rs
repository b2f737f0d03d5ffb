//! Who is served on the control socket at the same time.
//!
//! In: connections. Out: a place for each, and for one more than there are places the oldest that has not said yet what it
//! wants is sent away: nobody keeps others out by holding connections.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Connections served at the same time; further ones wait in the kernel's backlog.
const CONNECTIONS: usize = 64;

/// Those who have not spoken, by the order in which they came. To drop one's word is to send it away.
type Silent = BTreeMap<u64, oneshot::Sender<()>>;

/// The places, and who of those that have one is silent.
pub(super) struct Door {
    places: Arc<Semaphore>,
    silent: Arc<Mutex<Silent>>,
    /// Of the next place. None is given twice: whoever leaves late would take another's word with him.
    next: AtomicU64,
}

impl Default for Door {
    fn default() -> Self {
        Self::of(CONNECTIONS)
    }
}

impl Door {
    fn of(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), silent: Arc::default(), next: AtomicU64::new(0) }
    }

    pub(super) fn is_full(&self) -> bool {
        self.places.available_permits() == 0
    }

    /// Sends the one away that has been silent for longest, if anybody is.
    pub(super) fn send_one_away(&self) {
        drop(locked(&self.silent).pop_first());
    }

    /// A place, as soon as there is one.
    pub(super) async fn place(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (word, away) = oneshot::channel();
        locked(&self.silent).insert(number, word);
        Some(Place { number, away, silent: Arc::clone(&self.silent), _permit: permit })
    }
}

fn locked(silent: &Mutex<Silent>) -> MutexGuard<'_, Silent> {
    // Each change of it is one step: what a panic leaves is whole.
    silent.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place, free again when it is dropped.
pub(super) struct Place {
    number: u64,
    away: oneshot::Receiver<()>,
    silent: Arc<Mutex<Silent>>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Waits until it is sent away.
    pub(super) async fn sent_away(&mut self) {
        // Nobody says anything: the word is dropped.
        let _ = (&mut self.away).await;
    }

    /// It has said what it wants, and stays until it has its answer.
    pub(super) fn has_spoken(&self) {
        drop(locked(&self.silent).remove(&self.number));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.has_spoken();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn whoever_leaves_sends_nobody_else_away() {
        let door = Door::of(3);
        let first = door.place().await.expect("there is room");
        first.has_spoken();
        let mut second = door.place().await.expect("there is room");
        drop(first);
        assert!(timeout(Duration::ZERO, second.sent_away()).await.is_err());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_oldest_silent_one_makes_room() {
        let door = Door::of(3);
        let mut places = Vec::new();
        for _ in 0..3 {
            assert!(!door.is_full());
            places.push(door.place().await.expect("there is room"));
        }
        assert!(door.is_full());
        places[0].has_spoken();
        door.send_one_away();
        places[1].sent_away().await;
        let at_once = Duration::ZERO;
        assert!(timeout(at_once, places[2].sent_away()).await.is_err(), "one is enough");
        drop(places.remove(1));
        places.push(door.place().await.expect("there is room"));
        for place in &places {
            place.has_spoken();
        }
        // Nobody who has spoken is sent away; the next waits until one leaves by itself.
        door.send_one_away();
        assert!(timeout(at_once, door.place()).await.is_err());
        drop(places.pop());
        assert!(door.place().await.is_some());
    }
}
