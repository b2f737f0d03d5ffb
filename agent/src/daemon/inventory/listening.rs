//! The thread of the inventory: one socket for each NIC, a budget of frames for each, and what is kept.

use std::{
    io,
    os::fd::AsFd,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{
    super::{clock::clocks, stretch::Stretch},
    MOST_NEWS, Place, Shared, held, kept,
    told::New,
};
use crate::{
    dataplane::{Ear, SNAP},
    inventory::{Known, Shift, hear},
    observe::Clock,
    store::Store,
};

/// So long it is waited for frames, before the clock is looked at.
const PATIENCE: u8 = 100;
/// Frames of one NIC that are read while the inventory is held.
const AT_ONCE: u32 = 64;
/// In which a NIC's frames are counted.
const SECOND: Duration = Duration::from_secs(1);
/// What is new is written so often for each MiB of the file, and what was only said once more so often: flash memory wears out, and a flood
/// of forged devices is always new.
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
    /// Why it could not be listened on last; it is said once.
    trouble: Option<String>,
    /// Frames that may be read in this second.
    left: u32,
}

impl Heard {
    /// It cannot be listened on, for now. Whether that is something new.
    fn fails(&mut self, error: &io::Error) -> bool {
        (self.ear, self.tried) = (None, Instant::now());
        let error = error.to_string();
        let is_new = self.trouble.as_ref() != Some(&error);
        if is_new {
            let name = &self.place.name;
            tracing::warn!("`{name}` is not listened on: {error}; it is tried again, and said no more");
        }
        self.trouble = Some(error);
        is_new
    }

    /// A frame was read.
    fn hears(&mut self) {
        if self.trouble.take().is_some() {
            tracing::info!("`{}` is listened on again", self.place.name);
        }
    }
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
    /// Bytes of the file.
    size: usize,
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
            size: 0,
            edition,
            frames,
        }
    }

    pub(super) fn run(mut self) {
        let kept::Found { mut inventory, trouble } = kept::restore(&self.store);
        inventory.follow(self.began);
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
                    self.nics.push(Heard { place, ear: None, tried, trouble: None, left: self.budget });
                }
            }
        }
        for heard in
            self.nics.iter_mut().filter(|heard| heard.ear.is_none() && heard.tried.elapsed() >= AGAIN)
        {
            match Ear::open(heard.place.index) {
                Ok(ear) => heard.ear = Some(ear),
                Err(error) => drop(heard.fails(&error)),
            }
        }
    }

    fn know(&self, known: Known) {
        held(&self.shared.inventory).know(known);
    }

    /// Until there is a frame that may be read, or for a moment.
    fn wait(&mut self) {
        let ears = self.nics.iter().filter(|heard| heard.left > 0).filter_map(|heard| heard.ear.as_ref());
        let mut all: Vec<PollFd<'_>> = ears.map(|ear| PollFd::new(ear.as_fd(), PollFlags::POLLIN)).collect();
        match poll(&mut all, PollTimeout::from(PATIENCE)) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Out of memory, or too many of them: what cannot be waited for is closed and tried again, and the next wait is for time alone.
            Err(error) => self.nics.iter_mut().filter(|heard| heard.ear.is_some()).for_each(|heard| {
                heard.fails(&error.into());
            }),
        }
    }

    /// Reads what has come, within the budget. What is beyond it waits, and then the kernel drops and counts it.
    fn listen(&mut self) {
        let mut buffer = [0; SNAP];
        let mut news = Vec::new();
        let now = self.mend_times(&clock());
        let mut inventory = held(&self.shared.inventory);
        for heard in &mut self.nics {
            for _ in 0..heard.left.min(AT_ONCE) {
                let taken = match &heard.ear {
                    Some(ear) => ear.take(&mut buffer),
                    None => break,
                };
                match taken {
                    Ok(Some(told)) => {
                        heard.left -= 1;
                        heard.hears();
                        let Some(said) = hear(&buffer[..told.length]) else { continue };
                        let name = &heard.place.name;
                        let on = told.vlan.map(|vlan| format!("{name} vlan {vlan}"));
                        news.extend(inventory.take_on(&said, now, Some(on.as_ref().unwrap_or(name))));
                    }
                    Ok(None) => break,
                    Err(error) => {
                        heard.fails(&error);
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

    /// Gives every NIC its budget anew, and looks at what is to be written.
    fn end_second(&mut self) {
        self.second = Instant::now();
        let (mut over, mut dropped) = (0, 0);
        for heard in &mut self.nics {
            let lost = heard.ear.as_ref().and_then(|ear| ear.dropped().ok()).unwrap_or(0);
            *if heard.left == 0 { &mut over } else { &mut dropped } += lost;
            heard.left = self.budget;
        }
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
        if is_new && since >= pause(self.size) || is_more && since >= WRITE_ALL {
            self.write();
        }
    }

    /// A clock that was set while the agent ran: what it told before is brought to where it belongs. What is heard next has the time that
    /// is returned, of the same look at the clock: nothing lies between.
    fn mend_times(&mut self, now: &Clock) -> Timestamp {
        if self.since.up_to(now).is_apart {
            let by = SignedDuration::from_secs(self.since.was_set_by(now));
            // By the old clock.
            let to = now.wall.checked_sub(by).unwrap_or(now.wall);
            held(&self.shared.inventory).shift(&Shift { from: self.began, to, by });
            self.began = self.began.checked_add(by).unwrap_or(self.began);
        }
        self.since = Stretch::begin(now);
        now.wall
    }

    fn write(&mut self) {
        let (bytes, edition, frames) = {
            let inventory = held(&self.shared.inventory);
            (kept::lines(&inventory), inventory.edition(), inventory.counts().frames)
        };
        self.size = bytes.as_ref().map_or(self.size, Vec::len);
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

/// The clock that is set, beside one that goes on while the machine sleeps: what was told before that is as old as it says.
fn clock() -> Clock {
    let now = clocks();
    Clock { wall: now.wall, mono_ns: u64::try_from(now.up.as_nanos()).unwrap_or(u64::MAX) }
}

/// After which what is new is written, of a file of so many bytes: 288 MiB a day up to the length at which it is written once an hour.
fn pause(size: usize) -> Duration {
    let mib = u32::try_from(size.div_ceil(1 << 20).max(1)).unwrap_or(u32::MAX);
    WRITE_NEWS.saturating_mul(mib).min(WRITE_ALL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        inventory::{Heard as Frame, Of},
        model::Mac,
    };

    fn listening(folder: &tempfile::TempDir) -> Listening {
        Listening::new(Arc::default(), Store::beside(folder.path()), 500)
    }

    #[test]
    fn large_file_is_written_less_often() {
        let minutes = |size| pause(size).as_secs() / 60;
        assert_eq!([0, 1 << 20, (1 << 20) + 1, 5 << 20, 20 << 20].map(minutes), [5, 5, 10, 25, 60]);
        assert_eq!(pause(usize::MAX), WRITE_ALL);
    }

    #[test]
    fn interface_that_fails_is_told_once_for_each_reason() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut listening = listening(&folder);
        let place = Place { index: i32::MAX as u32, name: "gone0".to_owned() };
        *held(&listening.shared.places) = Some(vec![place]);
        listening.follow();
        let nic = &mut listening.nics[0];
        let trouble = nic.trouble.clone().expect("there is no such interface");
        assert!(nic.ear.is_none() && trouble.contains("No such device"), "{trouble}");
        assert!(!nic.fails(&io::Error::from(Errno::ENODEV)));
        assert!(nic.fails(&io::Error::from(Errno::ENOMEM)));
        assert!(!nic.fails(&io::Error::from(Errno::ENOMEM)));
        nic.hears();
        assert!(nic.fails(&io::Error::from(Errno::ENOMEM)));
    }

    #[test]
    fn what_is_heard_after_a_clock_was_set_back_keeps_its_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut listening = listening(&folder);
        let clock = |wall, mono: u64| Clock {
            wall: Timestamp::from_second(wall).expect("a time"),
            mono_ns: mono * 1_000_000_000,
        };
        let begun = clock(1_780_000_000, 50);
        (listening.began, listening.since) = (begun.wall, Stretch::begin(&begun));
        let hear = |listening: &mut Listening, last: u8, now: &Clock| {
            let time = listening.mend_times(now);
            let frame = Frame { mac: Mac([2, 0, 0, 0, 0, last]), source: None, claims: Vec::new() };
            held(&listening.shared.inventory).take_on(&frame, time, Some("cell0"));
        };
        hear(&mut listening, 1, &clock(1_780_003_600, 3650));
        // Half an hour back, which is a time that this run has told already.
        hear(&mut listening, 2, &clock(1_780_001_801, 3651));
        hear(&mut listening, 3, &clock(1_780_001_802, 3652));
        let inventory = held(&listening.shared.inventory);
        let first = |last| {
            let device = inventory.get(Of::Mac(Mac([2, 0, 0, 0, 0, last]))).expect("it is known");
            device.first.as_second() - 1_780_000_000
        };
        assert_eq!([1, 2, 3].map(first), [1800, 1801, 1802]);
    }
}
