//! The thread of the inventory: one socket for each NIC, a budget of frames for each, and what is kept.

use std::{
    os::fd::AsFd,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    super::{history::clock, stretch::Stretch},
    MOST_NEWS, Place, Shared, held, kept,
    told::New,
};
use crate::{
    dataplane::{Ear, SNAP},
    inventory::{Known, Shift, hear},
    store::Store,
};

/// So long it is waited for frames, before the clock is looked at.
const PATIENCE: u8 = 100;
/// Frames of one NIC that are read while the inventory is held.
const AT_ONCE: u32 = 64;
/// In which a NIC's frames are counted, and after which it is looked whether the clock was set.
const SECOND: Duration = Duration::from_secs(1);
/// What is new is written so often, and what was only said once more so often: flash memory wears out.
const WRITE_NEWS: Duration = Duration::from_secs(300);
const WRITE_ALL: Duration = Duration::from_secs(3600);
/// What cannot be listened on is tried again so often.
const AGAIN: Duration = Duration::from_secs(5);

/// One NIC.
struct Heard {
    place: Place,
    /// None while it cannot be listened on.
    ear: Option<Ear>,
    tried: Instant,
    /// Frames that may be read in this second.
    left: u32,
}

/// The thread.
pub(super) struct Listening {
    shared: Arc<Shared>,
    store: Store,
    budget: u32,
    nics: Vec<Heard>,
    /// The present second.
    second: Instant,
    /// The clock as it was at its begin.
    since: Stretch,
    /// When this run began, by the clock as it is set now.
    began: Timestamp,
    written: Instant,
    /// The edition that was written last, and whether anything was said since.
    edition: u64,
    frames: u64,
}

impl Listening {
    pub(super) fn new(shared: Arc<Shared>, store: Store, budget: u32) -> Self {
        let at = clock();
        let now = Instant::now();
        let since = Stretch::begin(&at);
        let nics = Vec::new();
        let (edition, frames) = (0, 0);
        Self {
            shared,
            store,
            budget,
            nics,
            second: now,
            since,
            began: at.wall,
            written: now,
            edition,
            frames,
        }
    }

    pub(super) fn run(mut self) {
        let kept::Found { inventory, trouble } = kept::restore(&self.store);
        if let Some(trouble) = &trouble {
            tracing::error!("{trouble}");
        }
        (self.edition, self.frames) = (inventory.edition(), inventory.counts().frames);
        *held(&self.shared.inventory) = inventory;
        held(&self.shared.status).problem = trouble;
        while !self.shared.stop.load(Ordering::Acquire) {
            self.follow();
            self.wait();
            self.listen();
            if self.second.elapsed() >= SECOND {
                self.end_second();
            }
        }
        self.end_second();
        self.write();
    }

    /// Takes over where to listen, and who is known.
    fn follow(&mut self) {
        if let Some(known) = held(&self.shared.known).take() {
            self.know(known);
        }
        let places = held(&self.shared.places).take();
        if let Some(places) = places {
            self.nics.retain(|heard| places.contains(&heard.place));
            for place in places {
                if !self.nics.iter().any(|heard| heard.place == place) {
                    let tried = Instant::now().checked_sub(AGAIN).unwrap_or_else(Instant::now);
                    self.nics.push(Heard { place, ear: None, tried, left: self.budget });
                }
            }
        }
        for heard in
            self.nics.iter_mut().filter(|heard| heard.ear.is_none() && heard.tried.elapsed() >= AGAIN)
        {
            heard.tried = Instant::now();
            match Ear::open(heard.place.index) {
                Ok(ear) => heard.ear = Some(ear),
                Err(error) => tracing::warn!("`{}` cannot be listened on: {error}", heard.place.name),
            }
        }
    }

    fn know(&self, known: Known) {
        held(&self.shared.inventory).know(known);
    }

    /// Until there is a frame that may be read, or for a moment.
    fn wait(&self) {
        let ears = self.nics.iter().filter(|heard| heard.left > 0).filter_map(|heard| heard.ear.as_ref());
        let mut all: Vec<PollFd<'_>> = ears.map(|ear| PollFd::new(ear.as_fd(), PollFlags::POLLIN)).collect();
        // Interrupted, or out of memory for a moment: the sockets are asked all the same.
        if poll(&mut all, PollTimeout::from(PATIENCE)).is_err() {
            std::thread::sleep(Duration::from_millis(PATIENCE.into()));
        }
    }

    /// Reads what has come, within the budget. What is beyond it waits, and then the kernel drops and counts it.
    fn listen(&mut self) {
        let mut buffer = [0; SNAP];
        let mut news = Vec::new();
        let mut inventory = held(&self.shared.inventory);
        let now = Timestamp::now();
        for heard in &mut self.nics {
            for _ in 0..heard.left.min(AT_ONCE) {
                let taken = match &heard.ear {
                    Some(ear) => ear.take(&mut buffer),
                    None => break,
                };
                match taken {
                    Ok(Some(told)) => {
                        heard.left -= 1;
                        let Some(said) = hear(&buffer[..told.length]) else { continue };
                        let name = &heard.place.name;
                        let on = told.vlan.map(|vlan| format!("{name} vlan {vlan}"));
                        news.extend(inventory.take_on(&said, now, Some(on.as_ref().unwrap_or(name))));
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!("`{}` is not listened on any more: {error}", heard.place.name);
                        (heard.ear, heard.tried) = (None, Instant::now());
                        break;
                    }
                }
            }
        }
        let named = news.into_iter().map(|change| {
            let known = inventory.name_of(change.of).map(str::to_owned);
            let on = inventory.get(change.of).and_then(|device| device.on.clone());
            New { change, known, on }
        });
        let named: Vec<New> = named.filter(New::is_told).collect();
        drop(inventory);
        let mut news = held(&self.shared.news);
        for new in named {
            if news.waiting.len() < MOST_NEWS {
                news.waiting.push(new);
            } else {
                news.beyond += 1;
            }
        }
    }

    /// Gives every NIC its budget anew, and looks at the clock and at what is to be written.
    fn end_second(&mut self) {
        self.second = Instant::now();
        let (mut over, mut dropped) = (0, 0);
        for heard in &mut self.nics {
            let lost = heard.ear.as_ref().and_then(|ear| ear.dropped().ok()).unwrap_or(0);
            *if heard.left == 0 { &mut over } else { &mut dropped } += lost;
            heard.left = self.budget;
        }
        self.mend_times();
        let (counts, [known, unknown], edition) = {
            let inventory = held(&self.shared.inventory);
            (inventory.counts(), inventory.known_and_unknown(), inventory.edition())
        };
        {
            let mut status = held(&self.shared.status);
            (status.known, status.unknown, status.frames) = (known, unknown, counts.frames);
            status.refused = counts.refused_devices + counts.refused_facts;
            status.forgotten = counts.forgotten;
            status.over_budget += over;
            status.dropped += dropped;
            status.listens = self
                .nics
                .iter()
                .filter(|heard| heard.ear.is_some())
                .map(|heard| heard.place.name.clone())
                .collect();
        }
        let (is_new, is_more) = (edition != self.edition, counts.frames != self.frames);
        let since = self.written.elapsed();
        if is_new && since >= WRITE_NEWS || is_more && since >= WRITE_ALL {
            self.write();
        }
    }

    /// A clock that was set while the agent ran: what it told before is brought to where it belongs.
    fn mend_times(&mut self) {
        let now = clock();
        if self.since.up_to(&now).is_apart {
            let by = SignedDuration::from_secs(self.since.was_set_by(&now));
            // By the old clock.
            let to = now.wall.checked_sub(by).unwrap_or(now.wall);
            held(&self.shared.inventory).shift(&Shift { from: self.began, to, by });
            self.began = self.began.checked_add(by).unwrap_or(self.began);
        }
        self.since = Stretch::begin(&now);
    }

    fn write(&mut self) {
        let (bytes, edition, frames) = {
            let inventory = held(&self.shared.inventory);
            (kept::lines(&inventory), inventory.edition(), inventory.counts().frames)
        };
        let written = bytes.map_err(|error| error.to_string());
        let written =
            written.and_then(|bytes| kept::write(&self.store, &bytes).map_err(|error| error.caused()));
        self.written = Instant::now();
        match written {
            Ok(()) => {
                (self.edition, self.frames) = (edition, frames);
                held(&self.shared.status).problem = None;
            }
            Err(error) => {
                let known = held(&self.shared.status).problem.replace(error.clone());
                if known.as_ref() != Some(&error) {
                    tracing::error!("the inventory is not written: {error}");
                }
            }
        }
    }
}
