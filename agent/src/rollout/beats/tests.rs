//! Heartbeats by the clock of a test: what is one, what is none, and that no steady one ever trips.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::traffic::{End, Service};

fn kind(port: u16) -> Kind {
    let [from, to] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(|ip| End::at(IpAddr::from(ip)));
    Kind { from, to, service: Service { protocol: 6, number: port } }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Looks every five seconds until a moment; what moved since the last look is told with the time of its last packet.
fn watch(beats: &mut Beats, from: u64, until: u64, moves: &[u64]) {
    for at in (from + 1..=until).filter(|at| at % 5 == 0) {
        let last = moves.iter().filter(|moved| **moved <= at && **moved > at - 5).max();
        if let Some(last) = last {
            beats.heard(kind(502), [1, 1], seconds(*last));
        }
        beats.looked(seconds(at));
    }
}

#[test]
fn a_conversation_without_answers_is_no_heartbeat() {
    let mut beats = Beats::default();
    for at in 0..40 {
        beats.heard(kind(514), [1, 0], seconds(at * 5));
        // Question and answer may be told apart from each other.
        beats.heard(kind(502), [1, 0], seconds(at * 5));
        beats.heard(kind(502), [0, 1], seconds(at * 5));
        beats.looked(seconds(at * 5));
    }
    let steady = Steady { kind: kind(502), period: seconds(5) };
    assert_eq!(beats.steady(|_| true), [steady]);
    assert_eq!(beats.steady(|kind| kind.service.number == 514), []);
    assert_eq!(beats.heard_last().get(&kind(502).to), Some(&seconds(195)));
}

#[test]
fn what_is_uneven_or_young_is_no_heartbeat() {
    let mut beats = Beats::default();
    let mut at = 0;
    for pause in [1, 40, 2, 3, 90, 1, 2, 60, 1, 1, 200] {
        at += pause;
        beats.heard(kind(80), [3, 3], seconds(at));
    }
    for at in at - 20..=at {
        // Too few.
        if at % 5 == 0 {
            beats.heard(kind(443), [1, 1], seconds(at));
        }
    }
    beats.looked(seconds(at));
    assert_eq!(beats.steady(|_| true), []);
}

#[test]
fn what_had_stopped_before_is_not_steady() {
    let mut beats = Beats::default();
    let moves: Vec<u64> = (1..=60).collect();
    watch(&mut beats, 0, 60, &moves);
    assert_eq!(beats.steady(|_| true).len(), 1);
    watch(&mut beats, 60, 80, &[]);
    assert_eq!(beats.steady(|_| true), []);
}

#[test]
fn memory_is_bounded_and_says_what_it_refused() {
    let mut beats = Beats::default();
    for number in 0..KINDS + 7 {
        let service = Service { protocol: 6, number: u16::try_from(number).expect("a port") };
        beats.heard(Kind { service, ..kind(0) }, [1, 1], seconds(1));
    }
    assert_eq!((beats.kinds.len(), beats.refused()), (KINDS, 7));
    beats.looked(seconds(1) + FORGOTTEN);
    assert_eq!(beats.kinds.len(), 0);
}

proptest! {
    /// Looked at every five seconds.
    #[test]
    fn steady_with_jitter_never_trips(
        period in 1_u64..60,
        jitter in prop::collection::vec(0_u64..=100, 200),
        change in 60_usize..120,
    ) {
        // Each silence is between the period and almost three times that.
        let mut moves = vec![1];
        for share in &jitter {
            let last = moves[moves.len() - 1];
            moves.push(last + period + period * share * 2 / 101);
        }
        let (change, end) = (moves[change], moves[moves.len() - 1]);
        let mut beats = Beats::default();
        watch(&mut beats, 0, change, &moves);
        let steady = beats.steady(|_| true);
        prop_assert_eq!(steady.len(), 1);
        let since = (seconds(change), beats.looks());
        for at in change..end {
            watch(&mut beats, at, at + 1, &moves);
            prop_assert_eq!(beats.stopped(&steady[0], since), None, "at {}", at);
        }
    }

    /// One that stops trips, and not later than it should: three periods, three looks, and a look to see it.
    #[test]
    fn what_stops_always_trips_in_time(period in 1_u64..60, change in 600_u64..900) {
        let moves: Vec<u64> = (1..=change).filter(|at| at % period == 0).collect();
        let mut beats = Beats::default();
        watch(&mut beats, 0, change, &moves);
        let steady = beats.steady(|_| true);
        prop_assert_eq!(steady.len(), 1);
        // Looks make a period longer by less than one of them.
        prop_assert!(steady[0].period >= seconds(period) && steady[0].period <= seconds(period + 5));
        let since = (seconds(change), beats.looks());
        let bound = change + u64::from(PERIODS) * (period + 5) + LOOKS * 5 + 5;
        let mut tripped = None;
        for at in change..bound {
            watch(&mut beats, at, at + 1, &moves);
            tripped = tripped.or(beats.stopped(&steady[0], since).map(|_| at));
        }
        let tripped = tripped.ok_or_else(|| TestCaseError::fail("it never tripped"))?;
        prop_assert!(tripped >= change + u64::from(PERIODS) * period);
    }
}
