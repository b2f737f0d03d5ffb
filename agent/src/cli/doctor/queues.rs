//! How many processors share the packets of an interface, as `doctor` sees it.

use std::{fs, num::NonZero, path::Path, thread};

use super::{Finding, ok, warning};
use crate::{
    config::Config,
    dataplane::{self, Queues},
};

/// Processors that this machine has at work.
fn processors() -> u32 {
    thread::available_parallelism().ok().and_then(|n| u32::try_from(NonZero::get(n)).ok()).unwrap_or(1)
}

/// Processors that share the packets of the interface of the configuration that has the fewest; 1 where none says.
pub(super) fn sharing(config: &Config) -> u32 {
    let rx = config.interfaces.iter().filter_map(|interface| dataplane::queues(&interface.name).ok());
    rx.map(|queues| queues.rx).min().unwrap_or(1).clamp(1, processors())
}

/// What is said of the receive queues of an interface. Not every driver tells of them, and none is worse for it.
pub(super) fn of(subject: &str, interface: &str) -> Option<Finding> {
    let queues = dataplane::queues(interface).ok()?;
    Some(judged(subject, interface, queues, processors(), is_steered(interface)))
}

/// Whether the kernel hands packets of an interface to other processors (RPS): behind XDP, once they have passed.
fn is_steered(interface: &str) -> bool {
    let queues = fs::read_dir(Path::new("/sys/class/net").join(interface).join("queues"));
    let masks = queues.into_iter().flatten().flatten().map(|queue| queue.path().join("rps_cpus"));
    masks
        .filter_map(|mask| fs::read_to_string(mask).ok())
        .any(|mask| mask.contains(|c: char| matches!(c, '1'..='9' | 'a'..='f')))
}

fn judged(subject: &str, interface: &str, queues: Queues, processors: u32, is_steered: bool) -> Finding {
    let Queues { rx, most, combined, .. } = queues;
    let set = |number: u32| {
        let word = if combined { "combined" } else { "rx" };
        format!("ethtool -L {interface} {word} {number}")
    };
    let possible = most.min(processors);
    let steered = if is_steered { "; RPS is set and does not change that, it begins behind XDP" } else { "" };
    let alone = format!(
        "one receive queue, so one of {processors} processors decides about all its packets{steered}"
    );
    if rx == 1 && possible > 1 {
        return warning(subject, &alone, &set(possible));
    }
    if rx > processors {
        let seen = format!(
            "{rx} receive queues on {processors} processors: what is more than one for each takes memory and interrupts, and speeds nothing up"
        );
        return warning(subject, &seen, &set(processors));
    }
    if rx == 1 && processors > 1 {
        return ok(subject, &format!("{alone}; the driver can have no more"));
    }
    ok(subject, &format!("receive queues: {rx} of {most}, for {processors} processors"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State;

    #[test]
    fn queues_are_as_many_as_processors_where_that_can_be() {
        let said = |rx: u32, most: u32, processors: u32, is_steered: bool| {
            let queues = Queues { rx, tx: rx, most, combined: most > 2 };
            let Finding { subject: _, state, seen, fix } =
                judged("nic", "eth1", queues, processors, is_steered);
            assert_eq!(state == State::Ok, fix.is_none());
            format!("{seen} ({})", fix.unwrap_or_default())
        };
        for (told, wanted) in [
            (said(4, 8, 4, false), "receive queues: 4 of 8, for 4 processors ()"),
            (said(2, 8, 4, true), "receive queues: 2 of 8, for 4 processors ()"),
            (said(1, 1, 1, false), "receive queues: 1 of 1, for 1 processors ()"),
            (
                said(1, 8, 4, false),
                "one receive queue, so one of 4 processors decides about all its packets (ethtool -L eth1 combined 4)",
            ),
            (
                said(1, 2, 4, false),
                "one receive queue, so one of 4 processors decides about all its packets (ethtool -L eth1 rx 2)",
            ),
            (
                said(1, 1, 2, true),
                "one receive queue, so one of 2 processors decides about all its packets; RPS is set and does not change that, it begins behind XDP; the driver can have no more ()",
            ),
            (
                said(16, 16, 4, false),
                "16 receive queues on 4 processors: what is more than one for each takes memory and interrupts, and speeds nothing up (ethtool -L eth1 combined 4)",
            ),
        ] {
            assert_eq!(told, wanted);
        }
    }
}
