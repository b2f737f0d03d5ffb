//! The order of windows, and which are compared. In: how many scenarios a group has, which round it is. Out: an order with the
//! reference between any two others, and ratios of windows that are nearest in time.

use std::time::Instant;

use bulkhead_tests::dice::Dice;

use super::window::Window;

/// The same order each time the benchmark runs, another one each round: 0 is the reference, which is beside every other one.
pub(super) fn order(scenarios: usize, round: u32) -> Vec<usize> {
    let mut others: Vec<usize> = (1..scenarios).collect();
    let mut dice = Dice::new(0, round.into());
    for last in (1..others.len()).rev() {
        let bound = u32::try_from(last + 1).unwrap_or(u32::MAX);
        others.swap(last, dice.below(bound) as usize);
    }
    let mut order = vec![0];
    for pair in others.chunks(2) {
        order.extend(pair);
        order.push(0);
    }
    order
}

/// What each window cost, over the one of the reference that is nearest to it.
pub(super) fn ratios(windows: &[Window], reference: &[Window]) -> Vec<f64> {
    let ratio = |window: &Window| Some(window.cost / nearest(reference, window.at)?.cost);
    windows.iter().filter_map(ratio).collect()
}

fn nearest(windows: &[Window], at: Instant) -> Option<&Window> {
    let apart = |other: Instant| other.max(at) - other.min(at);
    windows.iter().min_by_key(|window| apart(window.at))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_scenario_has_one_window_beside_one_of_the_reference() {
        for (scenarios, round) in [(1, 0), (2, 0), (6, 1), (10, 2)] {
            let order = order(scenarios, round);
            for scenario in 1..scenarios {
                let at: Vec<usize> = (0..order.len()).filter(|at| order[*at] == scenario).collect();
                let [at] = at[..] else { panic!("{order:?}") };
                assert!(order[at - 1] == 0 || order[at + 1] == 0, "{order:?}");
            }
        }
    }

    #[test]
    fn order_changes_from_round_to_round_and_not_from_run_to_run() {
        assert_eq!(order(10, 3), order(10, 3));
        assert_ne!(order(10, 3), order(10, 4));
    }

    #[test]
    fn window_is_compared_with_the_nearest_of_the_reference() {
        let start = Instant::now();
        let window = |seconds, cost| Window { at: start + Duration::from_secs(seconds), cost };
        let reference = [window(0, 100.0), window(9, 200.0), window(20, 400.0)];
        assert_eq!(ratios(&[window(5, 1000.0), window(19, 1000.0)], &reference), [5.0, 2.5]);
        assert_eq!(ratios(&[window(5, 1000.0)], &[]), [0.0; 0]);
    }
}
