//! The inventory of the running agent, beside its loop: a thread of its own listens on the NICs, reads what devices say of themselves, and
//! keeps it. Nothing here is waited for, but at the end; what cannot be read in time is counted.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

use super::{beside, nics::Nics};
use crate::{
    config,
    control::{Body, InventoryPage, InventoryStatus, Reply},
    inventory::{Inventory, Known, Named, Of},
    model::Policy,
    store::Store,
};

mod kept;
mod listening;
mod told;

use listening::Listening;
use told::New;

/// Devices of one answer: with all that may be known of each, some megabytes.
const PAGE: usize = 128;
/// Changes that wait to be told.
const MOST_NEWS: usize = 256;
/// At the end the agent waits so long for what is known to be written.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// Where something is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    index: u32,
    name: String,
}

/// What is new, for the loop.
#[derive(Default)]
struct News {
    /// The oldest first.
    waiting: Vec<New>,
    /// Changes for which there was no room.
    beyond: u64,
}

/// What the loop and the thread share. Each is held for a moment, but the inventory: the loop never asks for that.
#[derive(Default)]
struct Shared {
    inventory: Mutex<Inventory>,
    /// Where to listen from now on.
    places: Mutex<Option<Vec<Place>>>,
    /// Who is in the policy from now on.
    known: Mutex<Option<Known>>,
    news: Mutex<News>,
    status: Mutex<InventoryStatus>,
    stop: AtomicBool,
}

fn held<T>(one: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    one.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The loop's end.
pub(super) struct InventoryKeeper {
    shared: Arc<Shared>,
    done: Receiver<()>,
    /// None if the system had none to give.
    thread: Option<thread::JoinHandle<()>>,
    /// Where it was said to listen last.
    places: Vec<Place>,
    /// Sides of inline pairs: the program sends on all that arrives there, so nothing is heard.
    deaf: Vec<String>,
    pace: told::Pace,
}

impl InventoryKeeper {
    /// Goes on with what is kept in the state folder.
    pub(super) fn begin(config: &config::Inventory, store: &Store, policy: &Policy) -> Self {
        let shared = Arc::new(Shared::default());
        *held(&shared.known) = Some(Known::of(policy));
        let (finished, done) = sync_channel(1);
        let (its, folder, budget) =
            (Arc::clone(&shared), store.folder().to_owned(), config.frames_per_second);
        let listens = move || {
            Listening::new(its, Store::beside(&folder), budget).run();
            let _ = finished.send(());
        };
        let thread = thread::Builder::new().name("inventory".to_owned()).spawn(listens);
        let thread =
            thread.inspect_err(|error| tracing::error!("nobody listens for the inventory: {error}")).ok();
        Self { shared, done, thread, places: Vec::new(), deaf: Vec::new(), pace: told::Pace::default() }
    }

    /// Says where to listen: NICs come and go.
    pub(super) fn place(&mut self, nics: &Nics) {
        let on = |nic: &super::nic::Nic| Some(Place { index: nic.index?, name: nic.config.name.clone() });
        let places: Vec<Place> = nics.list.iter().filter_map(on).collect();
        let pairs = nics.list.iter().filter(|nic| nic.config.pair.is_some());
        self.deaf = pairs.map(|nic| nic.config.name.clone()).collect();
        if places != self.places {
            self.places.clone_from(&places);
            *held(&self.shared.places) = Some(places);
        }
    }

    /// Says who is in the policy.
    pub(super) fn know(&self, policy: &Policy) {
        *held(&self.shared.known) = Some(Known::of(policy));
    }

    /// What is new since this was last asked, and for how many more there was no room.
    fn news(&self) -> (Vec<New>, u64) {
        let News { waiting, beyond } = std::mem::take(&mut *held(&self.shared.news));
        (waiting, beyond)
    }

    pub(super) fn status(&self) -> InventoryStatus {
        let mut status = held(&self.shared.status).clone();
        status.deaf.clone_from(&self.deaf);
        status.untold = self.pace.untold();
        if self.thread.as_ref().is_none_or(thread::JoinHandle::is_finished)
            && !self.shared.stop.load(Ordering::Relaxed)
        {
            status.problem =
                Some("whoever listens has failed: nothing is heard until the agent begins anew".to_owned());
        }
        status
    }

    /// Answers beside the loop, a page at a time: devices behind one that was told.
    pub(super) fn tell(&self, after: Option<String>, back: oneshot::Sender<Reply>) {
        let shared = Arc::clone(&self.shared);
        beside::answer("inventory", back, move || {
            let status = held(&shared.status).clone();
            let page = page(&held(&shared.inventory), after.and_then(|after| after.parse().ok()), status);
            Reply::Ok(Box::new(Body::Inventory(Box::new(page))))
        });
    }

    /// Writes what is known.
    pub(super) fn finish(&self) {
        self.shared.stop.store(true, Ordering::Release);
        if self.thread.is_none() {
            return;
        }
        // A disk that hangs must not hold up the end of the agent.
        if self.done.recv_timeout(LAST_WRITE).is_err() {
            tracing::error!("what the inventory learned last is not written");
        }
    }
}

fn page(inventory: &Inventory, after: Option<Of>, status: InventoryStatus) -> InventoryPage {
    let known = inventory.known();
    let mut left = inventory.devices().skip_while(|device| after.is_some_and(|after| device.of <= after));
    let devices: Vec<Named> = left.by_ref().take(PAGE).map(|device| Named::new(device, known)).collect();
    let next = left.next().and_then(|_| devices.last()).map(|last| last.device.of.to_string());
    let is_first = after.is_none();
    InventoryPage {
        devices,
        next,
        changes: if is_first { inventory.changes().cloned().collect() } else { Vec::new() },
        taken: if is_first { known.taken() } else { Default::default() },
        counts: inventory.counts(),
        status,
    }
}
