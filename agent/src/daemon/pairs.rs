//! Inline pairs: both sides are up, hear every frame, and show each other's lost carrier.
//!
//! In: the configured NICs and the interfaces as the kernel lists them. Out: orders to the kernel, carried out; what
//! was done, a sentence each; and on each NIC what is to be told in `status`.

use std::time::Instant;

use super::{
    mirror::{Mirror, Order, Side},
    nic::Nic,
};
use crate::dataplane::{self, DataplaneError, probe};

/// One pair, by its places in the list of NICs.
struct Two {
    sides: [usize; 2],
    mirror: Option<Mirror>,
}

/// All pairs of a gateway.
pub(super) struct Pairs {
    list: Vec<Two>,
}

impl Pairs {
    /// The pairs among the configured NICs.
    pub(super) fn among(nics: &[Nic]) -> Self {
        let mut list = Vec::new();
        for (first, nic) in nics.iter().enumerate() {
            let Some(pair) = &nic.config.pair else { continue };
            let other = nics.iter().position(|other| other.config.name == pair.peer);
            // Each names the other, so each pair is met twice.
            if let Some(second) = other.filter(|second| first < *second) {
                let mirror = pair.mirror_link.then(Mirror::default);
                list.push(Two { sides: [first, second], mirror });
            }
        }
        Self { list }
    }

    /// Makes both sides of each pair as they shall be. Returns what was done, or could not be.
    pub(super) fn tend(&mut self, nics: &mut [Nic], there: &[probe::Interface], now: Instant) -> Vec<String> {
        let mut news = Vec::new();
        for Two { sides, mirror } in &mut self.list {
            let found = sides.map(|at| nics[at].found(there));
            for interface in found.into_iter().flatten().filter(|interface| !interface.promiscuous) {
                // Frames pass through for every hardware address but its own.
                news.extend(done(dataplane::set_promiscuous(interface.index), None));
            }
            let seen = found.map(side);
            let orders = match mirror {
                Some(mirror) => mirror.step(seen, now),
                None => (0..2)
                    .filter(|number| seen[*number] == Side::Down)
                    .map(|number| Order { side: number, up: true })
                    .collect(),
            };
            let mut after = seen;
            for Order { side, up } in orders {
                let Some(interface) = found[side] else { continue };
                let (name, peer) = (&interface.name, &nics[sides[1 - side]].config.name);
                let said = if up {
                    format!("took `{name}` up, as one side of a pair")
                } else {
                    format!("took `{name}` down, because `{peer}` has lost its carrier")
                };
                let set = dataplane::set_up(interface.index, up);
                if set.is_ok() {
                    after[side] = if up { Side::Up { carrier: false } } else { Side::Down };
                }
                news.extend(done(set, Some(said)));
            }
            for (number, at) in sides.iter().enumerate() {
                let note = note(&nics[*at], &nics[sides[1 - number]], after[number]);
                nics[*at].link_note = note;
            }
        }
        news
    }

    /// Takes up what is down, because nobody will do so when the agent has ended.
    pub(super) fn lift(&self, nics: &[Nic], there: &[probe::Interface]) -> Vec<String> {
        let sides = self.list.iter().filter(|two| two.mirror.is_some()).flat_map(|two| two.sides);
        let down = sides.filter_map(|at| nics[at].found(there)).filter(|interface| !interface.up);
        let said = |name: &str| format!("took `{name}` up: nobody mirrors its pair's link any more");
        down.flat_map(|interface| done(dataplane::set_up(interface.index, true), Some(said(&interface.name))))
            .collect()
    }
}

fn side(found: Option<&probe::Interface>) -> Side {
    match found {
        None => Side::Missing,
        Some(interface) if !interface.up => Side::Down,
        Some(interface) => Side::Up { carrier: interface.carrier },
    }
}

fn done(result: Result<(), DataplaneError>, said: Option<String>) -> Option<String> {
    match result {
        Ok(()) => said,
        Err(error) => Some(error.to_string()),
    }
}

/// Why nothing passes this side of a pair.
fn note(nic: &Nic, peer: &Nic, side: Side) -> Option<String> {
    let (name, peer) = (&nic.config.name, &peer.config.name);
    match side {
        Side::Down => {
            Some(format!("`{name}` is down until `{peer}`, the other side of its pair, has a carrier"))
        }
        Side::Up { carrier: false } => {
            Some(format!("`{name}` has no carrier, so nothing passes to `{peer}`"))
        }
        // What is missing is told by itself.
        Side::Missing | Side::Up { carrier: true } => None,
    }
}
