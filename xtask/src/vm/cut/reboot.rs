//! A change that nobody confirms, over reboots: by a power cut and in order, with a clock that went on, far ahead, or back.
//!
//! In: nothing. Out: a line for each boot, or what was found that may not be. Each boot gets its clock from outside.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use bulkhead_tests::dice::Dice;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    disk::{Disk, Fate},
    image, judge,
    machine::{Bench, Event},
    spooled::Spooled,
};

/// How the machine goes down after it has made its change or has been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Down {
    Cut,
    Orderly,
}

/// What is done with a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// A change is applied that must be confirmed within so many minutes.
    Arm(i64),
    /// The change waits.
    Waits,
    /// The change was undone at the start.
    Undone,
    /// It waits, and is undone while somebody looks on.
    WaitsAndReturns,
}

/// When a boot begins.
#[derive(Clone, Copy, Debug)]
enum Clock {
    /// So many minutes after the first.
    At(i64),
    /// So many minutes from the end of the time that the last change was given.
    ToEnd(i64),
}

/// A boot whose machine has the time of the policy's other end. Minutes; a boot on a busy machine may take two of them.
const BOOTS: &[(&str, Clock, Then, Down)] = &[
    ("the first change", Clock::At(0), Then::Arm(30), Down::Cut),
    ("a cut, and the time is not over", Clock::ToEnd(-10), Then::Waits, Down::Orderly),
    ("a reboot, and the time is not over", Clock::ToEnd(-5), Then::Waits, Down::Cut),
    ("a cut, and the time is over", Clock::ToEnd(1), Then::Undone, Down::Cut),
    ("a change again", Clock::At(60), Then::Arm(30), Down::Orderly),
    ("a reboot with the clock behind the change", Clock::At(50), Then::Undone, Down::Orderly),
    ("a change again", Clock::At(60), Then::Arm(30), Down::Cut),
    ("a cut, and a clock from the year of the first RTC", Clock::At(-20_000_000), Then::Undone, Down::Cut),
    ("a change again", Clock::At(120), Then::Arm(30), Down::Cut),
    ("a cut, and a clock far ahead", Clock::At(5_000_000), Then::Undone, Down::Orderly),
    ("a change again", Clock::At(180), Then::Arm(30), Down::Orderly),
    ("a reboot, and the time ends afterwards", Clock::ToEnd(-3), Then::WaitsAndReturns, Down::Cut),
];

/// The wall clock of the first boot. Fixed: the machine's own time must not matter.
const FIRST: &str = "2031-03-01T06:00:00Z";

/// What is known from the boot before.
struct Known {
    disk: Disk,
    /// Number and revision that were in force before the change, once there was a boot.
    old: Option<(Value, Value)>,
    /// The change that waits, and until when.
    new: Option<(Value, Timestamp)>,
    records: Spooled,
}

/// Boots through all of it.
pub(super) fn run(bench: &Bench<'_>, seed: u64) -> Result<usize> {
    let mut dice = Dice::new(seed, 2);
    let first: Timestamp = FIRST.parse()?;
    let mut known =
        Known { disk: image::fresh(&bench.dir)?, old: None, new: None, records: Spooled::default() };
    for (number, (what, clock, then, down)) in (1_u32..).zip(BOOTS) {
        let minutes = SignedDuration::from_mins;
        let clock = match (clock, &known.new) {
            (Clock::At(after), _) => first + minutes(*after),
            (Clock::ToEnd(after), Some((_, until))) => *until + minutes(*after),
            (Clock::ToEnd(_), None) => bail!("{what}: no change waits"),
        };
        known = boot(bench, known, number, clock, *then, *down)
            .map_err(|error| error.context(format!("boot {number} of the reboots, {what}, at {clock}")))?;
        if *down == Down::Cut {
            known.disk.cut(Fate::Torn, &mut dice);
        }
        image::check(&known.disk, &bench.dir)?;
        println!("{} | boot {number}: {what}: as it should be", bench.name);
    }
    Ok(BOOTS.len())
}

fn boot(
    bench: &Bench<'_>,
    known: Known,
    number: u32,
    clock: Timestamp,
    then: Then,
    down: Down,
) -> Result<Known> {
    let Known { disk, mut old, mut new, mut records } = known;
    let step = match then {
        Then::Arm(minutes) => format!("arm={minutes}m"),
        Then::Waits | Then::Undone => String::new(),
        Then::WaitsAndReturns => "wait".to_owned(),
    };
    let end = match down {
        Down::Cut => "hold",
        Down::Orderly => "end",
    };
    let steps = [&step[..], end].into_iter().filter(|step| !step.is_empty()).collect::<Vec<_>>().join(",");
    let words = format!("bulkhead.steps={steps} bulkhead.first={number} bulkhead.seed=1");
    let clock = clock.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let mut session = bench.power_on(disk, &words, Some(&clock))?;
    loop {
        match session.wait()? {
            Event::Starting | Event::Try(_) => {}
            Event::Kept(said) => records.promises(&said).map_err(anyhow::Error::msg)?,
            Event::Found(said) => {
                let wrong = judge::well(&said);
                ensure!(wrong.is_empty(), "{}\n{said:#}", wrong.join("\n"));
                records.finds(&said).map_err(anyhow::Error::msg)?;
                let in_force = (said["number"].clone(), said["revision"].clone());
                match then {
                    Then::Arm(_) => ensure!(said["pending"].is_null(), "a change waits: {said:#}"),
                    Then::Waits | Then::WaitsAndReturns => waits(&said, new.as_ref())?,
                    Then::Undone => {
                        ensure!(Some(&in_force) == old.as_ref(), "another policy than before: {said:#}");
                        ensure!(said["pending"].is_null(), "a change waits: {said:#}");
                        is_told(&said, &in_force.0)?;
                    }
                }
                if matches!(then, Then::Arm(_)) {
                    old = Some(in_force);
                } else if then != Then::WaitsAndReturns {
                    break;
                }
            }
            Event::Ack(said) => {
                let until = said["pending"]["until"].as_str().unwrap_or_default().parse()?;
                new = Some((said["number"].clone(), until));
                break;
            }
            Event::Returned(said) => {
                let in_force = (said["number"].clone(), said["revision"].clone());
                ensure!(Some(&in_force) == old.as_ref(), "another policy than before: {said:#}");
                break;
            }
            Event::Ended => bail!("the gateway has ended too early"),
        }
    }
    let disk = match down {
        Down::Cut => session.cut()?.0,
        Down::Orderly => session.wait_for_end()?,
    };
    Ok(Known { disk, old, new, records })
}

/// The change waits, for as long as the clock of this boot says.
fn waits(said: &Value, new: Option<&(Value, Timestamp)>) -> Result<()> {
    let Some((number, until)) = new else { bail!("no change was made") };
    ensure!(said["number"] == *number, "another revision than {number}: {said:#}");
    let pending = &said["pending"];
    let told = pending["until"].as_str().and_then(|text| text.parse().ok());
    ensure!(told == Some(*until), "the change waits until {until}: {said:#}");
    let left = pending["seconds_left"].as_u64().map(Duration::from_secs);
    ensure!(left.is_some_and(|left| left <= Duration::from_secs(600)), "the time did not go on: {said:#}");
    let warned = said["warnings"].as_array().is_some_and(|warnings| !warnings.is_empty());
    ensure!(warned, "nothing warns of the unconfirmed change: {said:#}");
    Ok(())
}

/// The trail has the return.
fn is_told(said: &Value, number: &Value) -> Result<()> {
    let number = number.to_string();
    let told = said["trail"].as_array().into_iter().flatten().any(|entry| {
        entry["action"] == "auto-rollback"
            && entry["result"] == "ok"
            && entry["target"] == number
            && entry["by"]["agent"] == "start"
    });
    ensure!(told, "the audit trail does not tell of the return: {said:#}");
    Ok(())
}
