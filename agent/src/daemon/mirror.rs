//! The link of a pair, as its two neighbours see it: when one side has lost its carrier, the other is taken down, so
//! that whoever is behind it notices; when the carrier is back, it is taken up again.
//!
//! In: what each side is like, and the time. Out: which side to take up or down. Pure: nothing is remembered over a
//! restart, because what an administrator or an earlier agent left is treated alike. Both sides are never taken down,
//! and when both are found down they are taken up.

use std::time::{Duration, Instant};

/// A NIC that was taken up may need so long to negotiate (IEEE 802.3 28.3: seconds, more with spanning tree off).
const SETTLE: Duration = Duration::from_secs(10);

/// What a side is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// There is no such interface.
    Missing,
    /// Administratively down; its carrier cannot be known.
    Down,
    /// Up, and its neighbour is there or not.
    Up {
        /// Whether the neighbour is there.
        carrier: bool,
    },
}

/// What shall be done: take the side of this number up, or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) side: usize,
    pub(super) up: bool,
}

/// What was seen of a side since it came up.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    up_since: Option<Instant>,
    had_carrier: bool,
}

/// One pair.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    memory: [Memory; 2],
}

impl Mirror {
    /// What is to be done about the pair now.
    pub(super) fn step(&mut self, sides: [Side; 2], now: Instant) -> Vec<Order> {
        let lost = [0, 1].map(|side| self.memory[side].lost(sides[side], now));
        match sides {
            [Side::Down, Side::Down] => [0, 1].map(|side| Order { side, up: true }).into(),
            [Side::Up { carrier: true }, Side::Down] => vec![Order { side: 1, up: true }],
            [Side::Down, Side::Up { carrier: true }] => vec![Order { side: 0, up: true }],
            [Side::Up { .. }, Side::Up { .. } | Side::Missing] | [Side::Missing, Side::Up { .. }] => {
                let here = |side: usize| matches!(sides[side], Side::Up { .. });
                match lost {
                    [true, false] if here(1) => vec![Order { side: 1, up: false }],
                    [false, true] if here(0) => vec![Order { side: 0, up: false }],
                    [_, _] => Vec::new(),
                }
            }
            // The side that is down waits for the other's carrier.
            [Side::Up { carrier: false }, Side::Down]
            | [Side::Down, Side::Up { carrier: false }]
            | [Side::Missing, Side::Missing | Side::Down]
            | [Side::Down, Side::Missing] => Vec::new(),
        }
    }
}

impl Memory {
    /// Whether the side has lost its neighbour, and is not just about to find it.
    fn lost(&mut self, side: Side, now: Instant) -> bool {
        match side {
            Side::Missing => {
                *self = Self::default();
                true
            }
            Side::Down => {
                *self = Self::default();
                false
            }
            Side::Up { carrier } => {
                let since = *self.up_since.get_or_insert(now);
                self.had_carrier |= carrier;
                !carrier && (self.had_carrier || now.duration_since(since) >= SETTLE)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Side = Side::Up { carrier: true };
    const DARK: Side = Side::Up { carrier: false };

    /// Takes the pair through what is seen each second, and returns what was ordered: `+1` is side 1 up.
    fn play(seen: &[[Side; 2]]) -> Vec<String> {
        let start = Instant::now();
        let mut mirror = Mirror::default();
        let said = seen.iter().zip(0..).map(|(sides, second)| {
            let orders = mirror.step(*sides, start + Duration::from_secs(second));
            let words = orders.iter().map(|o| format!("{}{}", if o.up { '+' } else { '-' }, o.side));
            words.collect::<Vec<_>>().join(" ")
        });
        said.collect()
    }

    #[test]
    fn lost_carrier_is_mirrored_and_lifted() {
        let story =
            [[GOOD, GOOD], [DARK, GOOD], [DARK, Side::Down], [GOOD, Side::Down], [GOOD, DARK], [GOOD, GOOD]];
        assert_eq!(play(&story), ["", "-1", "", "+1", "", ""]);
        let story =
            [[GOOD, GOOD], [GOOD, DARK], [Side::Down, DARK], [Side::Down, GOOD], [DARK, GOOD], [GOOD, GOOD]];
        assert_eq!(play(&story), ["", "-0", "", "+0", "", ""]);
    }

    #[test]
    fn both_sides_are_never_taken_down() {
        assert_eq!(play(&[[GOOD, GOOD], [DARK, DARK], [DARK, DARK]]), ["", "", ""]);
        // One comes back: the other has none, and whoever is behind the first shall know.
        assert_eq!(play(&[[GOOD, GOOD], [DARK, DARK], [GOOD, DARK], [Side::Down, DARK]]), ["", "", "-0", ""]);
        assert_eq!(play(&[[Side::Down, Side::Down]]), ["+0 +1"]);
    }

    #[test]
    fn side_that_comes_up_has_time_to_find_its_neighbour() {
        let mut story = vec![[GOOD, Side::Down]];
        story.extend([[GOOD, DARK]; 12]);
        let said = play(&story);
        assert_eq!(said[0], "+1");
        assert!(said[1..11].iter().all(String::is_empty), "{said:?}");
        assert_eq!(said[11], "-0", "nobody came");
    }

    #[test]
    fn next_agent_goes_on_where_the_last_one_died() {
        // It had taken side 1 down, and the carrier came back while nobody looked.
        assert_eq!(play(&[[GOOD, Side::Down], [GOOD, DARK], [GOOD, GOOD]]), ["+1", "", ""]);
        // Or it is still away: side 1 stays down.
        assert_eq!(play(&[[DARK, Side::Down], [DARK, Side::Down]]), ["", ""]);
    }

    #[test]
    fn missing_side_is_as_one_without_carrier() {
        let story = [
            [GOOD, GOOD],
            [GOOD, Side::Missing],
            [Side::Down, Side::Missing],
            [Side::Down, Side::Down],
            [GOOD, GOOD],
        ];
        assert_eq!(play(&story), ["", "-0", "", "+0 +1", ""]);
        assert_eq!(play(&[[Side::Missing, Side::Missing]]), [""]);
    }
}
