//! A gateway whose power fails at any moment, again and again, on one disk.
//!
//! In: how often, and chance. Out: how it went, or what was found that may not be. Each boot checks what the cut before
//! left, and goes on. A cut falls into a change, or now and then into the start of the agent: after some time of as much as
//! those take, or at one of the requests to the disk that they make. Then the disk's cache is lost, torn or kept.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bulkhead_tests::dice::Dice;

use super::{
    disk::{Disk, Fate},
    image,
    judge::{Fared, Ledger},
    machine::{Bench, Event, SILENCE, Session},
    spooled::{Spooled, Survived},
};

/// One cut of so many falls into the start of the agent.
const STARTS: u32 = 8;
/// Most changes between a boot and its cut.
const CHANGES: u32 = 4;
/// Marks of one boot, more than it makes changes; and how many boots have marks of their own (each is a port).
const MARKS: u32 = 100;
const MARKED: u32 = 400;
/// How long a change takes until the first has told, and how many requests to the disk.
const FIRST: Duration = Duration::from_millis(300);
const FIRST_REQUESTS: u64 = 20;
/// How often the disk is asked whether it has stopped.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// How it went.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) cuts: u32,
    /// Cuts while a change was under way.
    pub(super) inside: u32,
    /// Of those, changes that had happened.
    pub(super) done: u32,
    pub(super) in_start: u32,
    pub(super) changes: u32,
    /// Boots before which the journal of the file system was replayed.
    pub(super) replayed: u32,
    /// Blocks in the disk's cache at the cuts, and those lost.
    pub(super) cached: usize,
    pub(super) lost: usize,
    pub(super) flushes: u64,
    /// Records that were called synced before the cuts, and were found behind them.
    pub(super) synced: usize,
    /// Others that were found.
    pub(super) beyond: usize,
}

impl Tally {
    pub(super) fn plus(&self, other: &Self) -> Self {
        let Self { cuts, inside, done, in_start, changes, replayed, cached, lost, flushes, synced, beyond } =
            other;
        Self {
            cuts: self.cuts + cuts,
            inside: self.inside + inside,
            done: self.done + done,
            in_start: self.in_start + in_start,
            changes: self.changes + changes,
            replayed: self.replayed + replayed,
            cached: self.cached + cached,
            lost: self.lost + lost,
            flushes: self.flushes + flushes,
            synced: self.synced + synced,
            beyond: self.beyond + beyond,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cuts, inside, done, in_start, changes, replayed, cached, lost, flushes, synced, beyond } =
            self;
        write!(
            f,
            "{cuts} power cuts: {inside} in a change ({done} of them had happened), {in_start} in the start of the agent\n\
             {changes} changes were acknowledged; {replayed} journals were replayed\n\
             {synced} records were synced before the cuts, waited, and were found behind them, and {beyond} that were not\n\
             the disks were flushed {flushes} times and lost {lost} of {cached} blocks in their caches"
        )
    }
}

/// How much time and how many requests to the disk things take here, to aim at them.
struct Pace {
    change: (Duration, u64),
    start: (Duration, u64),
}

/// When the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Start,
    /// In the change after so many.
    Change(u32),
    /// Not before everything was looked at.
    Look,
}

/// Takes the power so many times, and looks once more.
pub(super) fn run(bench: &Bench<'_>, cuts: u32, seed: u64) -> Result<Tally> {
    let mut dice = Dice::new(seed, 1);
    let mut pace = Pace { change: (FIRST, FIRST_REQUESTS), start: (FIRST, FIRST_REQUESTS) };
    let (mut ledger, mut records, mut tally) = (Ledger::default(), Spooled::default(), Tally::default());
    let mut disk = image::fresh(&bench.dir)?;
    for boot in 1..=cuts + 1 {
        let plan = match boot > cuts {
            true => Plan::Look,
            false if dice.below(STARTS) == 0 => Plan::Start,
            false => Plan::Change(dice.below(CHANGES)),
        };
        let words =
            format!("bulkhead.steps=change bulkhead.first={} bulkhead.seed={seed}", boot % MARKED * MARKS);
        let session = bench.power_on(disk, &words, None)?;
        let mut life = Life {
            ledger: &mut ledger,
            records: &mut records,
            pace: &mut pace,
            tally: &mut tally,
            found: false,
            told: String::new(),
        };
        let ended = life.live(session, plan, &mut dice);
        let told = std::mem::take(&mut life.told);
        println!("{} | boot {boot}: {told}", bench.name);
        disk = ended.with_context(|| format!("boot {boot} of seed {seed}"))?;
        if plan == Plan::Look {
            break;
        }
        let fate = [Fate::Lost, Fate::Torn, Fate::Torn, Fate::Kept][dice.below(4) as usize];
        let (cached, lost) = disk.cut(fate, &mut dice);
        tally.cuts += 1;
        tally.cached += cached;
        tally.lost += lost;
        tally.replayed += u32::from(image::check(&disk, &bench.dir)?);
    }
    tally.flushes = disk.flushes();
    Ok(tally)
}

/// One boot and its end.
struct Life<'a> {
    ledger: &'a mut Ledger,
    records: &'a mut Spooled,
    pace: &'a mut Pace,
    tally: &'a mut Tally,
    /// Whether the agent got so far that it was looked at.
    found: bool,
    /// What is printed of it.
    told: String,
}

impl Life<'_> {
    fn live(&mut self, mut session: Session, plan: Plan, dice: &mut Dice) -> Result<Disk> {
        let mut left = None;
        let mut began = (Instant::now(), 0);
        // What the cut is aimed at.
        let aim = loop {
            let event = session.wait()?;
            let (now, requests) = (Instant::now(), session.meter.requests());
            let took = (now.duration_since(began.0), requests - began.1);
            began = (now, requests);
            let aim = match (&event, plan, left) {
                (Event::Starting, Plan::Start, _) => Some(self.pace.start),
                (Event::Try(_), Plan::Change(_), Some(0)) => Some(self.pace.change),
                _ => None,
            };
            match &event {
                Event::Found(_) => {
                    self.pace.start = took;
                    if let Plan::Change(changes) = plan {
                        left = Some(changes);
                    }
                }
                Event::Ack(_) => {
                    let (time, requests) = self.pace.change;
                    self.pace.change = ((time * 3 + took.0) / 4, (requests * 3 + took.1).div_ceil(4));
                    left = left.map(|left| left - 1);
                }
                Event::Starting | Event::Kept(_) | Event::Try(_) | Event::Returned(_) | Event::Ended => {}
            }
            let looked = matches!(event, Event::Found(_)) && plan == Plan::Look;
            self.take(event)?;
            if looked || aim.is_some() {
                break aim;
            }
        };
        let place = if plan == Plan::Start { "the start" } else { "the change" };
        if let Some((time, requests)) = aim {
            // Some come a little later than what is aimed at.
            let chance =
                |dice: &mut Dice, most: u64| dice.below(u32::try_from(most * 5 / 4).unwrap_or(u32::MAX));
            if dice.below(2) == 0 {
                let time = chance(dice, u64::try_from(time.as_millis())?);
                self.go_on(&mut session, Duration::from_millis(time.into()), |_| false)?;
                self.told += &format!("cut {time} ms into {place}");
            } else {
                let request = 1 + chance(dice, requests);
                session.meter.stop_in(request.into());
                self.go_on(&mut session, SILENCE, |session| session.meter.has_stopped())?;
                self.told += &format!("cut at request {request} of {place}");
            }
        }
        let (disk, said) = session.cut()?;
        for event in said {
            self.take(event)?;
        }
        self.tally.in_start += u32::from(!self.found);
        Ok(disk)
    }

    /// Listens for some time, or until this is so.
    fn go_on(
        &mut self,
        session: &mut Session,
        time: Duration,
        over: impl Fn(&Session) -> bool,
    ) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end && !over(session) {
            if let Some(event) = session.hear(end.min(Instant::now() + ASK_EVERY))? {
                self.take(event)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Starting => {}
            Event::Found(said) => {
                self.found = true;
                let number = &said["number"];
                match self.ledger.finds(&said) {
                    Ok(fared) => {
                        self.tally.inside += u32::from(fared != Fared::Between);
                        self.tally.done += u32::from(fared == Fared::Done);
                        let fared = match fared {
                            Fared::Between => "as acknowledged",
                            Fared::Undone => "what was under way did not happen",
                            Fared::Done => "what was under way happened",
                        };
                        self.told += &format!("revision {number} found, {fared}; ");
                    }
                    Err(wrong) => bail!("{}\n{said:#}", wrong.join("\n")),
                }
                match self.records.finds(&said) {
                    Ok(Survived { synced, beyond }) => {
                        self.tally.synced += synced;
                        self.tally.beyond += beyond;
                        self.told += &format!("{synced} synced records, {beyond} more; ");
                    }
                    Err(wrong) => bail!("{wrong}\n{said:#}"),
                }
            }
            Event::Kept(said) => self.records.promises(&said).map_err(anyhow::Error::msg)?,
            Event::Try(said) => self.ledger.tries(&said).map_err(anyhow::Error::msg)?,
            Event::Ack(said) => {
                self.ledger.acknowledges(&said).map_err(anyhow::Error::msg)?;
                self.records.promises(&said).map_err(anyhow::Error::msg)?;
                self.tally.changes += 1;
            }
            Event::Returned(said) => bail!("a change was undone: {said}"),
            Event::Ended => bail!("the gateway has ended by itself"),
        }
        Ok(())
    }
}
