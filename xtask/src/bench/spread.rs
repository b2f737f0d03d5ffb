//! Samples -> their middle and their ends.

/// The middle of the samples, and their ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Spread {
    /// `None` of no samples.
    pub(super) fn of(samples: &[f64]) -> Option<Self> {
        let mut samples = samples.to_vec();
        samples.sort_by(f64::total_cmp);
        let (least, most) = (*samples.first()?, *samples.last()?);
        let half = samples.len() / 2;
        let median = if samples.len() % 2 == 1 {
            samples[half]
        } else {
            f64::midpoint(samples[half - 1], samples[half])
        };
        Some(Self { median, least, most })
    }

    /// Like `2.05 (1.90-2.20)`, or `205 (190-220)`.
    pub(super) fn cell(self) -> String {
        let Self { median, least, most } = self;
        let places = if median < 10.0 { 2 } else { 0 };
        format!("{median:.places$} ({least:.places$}-{most:.places$})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_and_between_the_two_middles() {
        let median = |samples: &[f64]| Spread::of(samples).map(|spread| spread.median);
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[9.0, 1.0]), Some(5.0));
        assert_eq!(median(&[]), None);
        let cells =
            [[1.0, 2.0, 3.5], [190.4, 205.0, 220.0]].map(|samples| Spread::of(&samples).map(Spread::cell));
        assert_eq!(cells, ["2.00 (1.00-3.50)", "205 (190-220)"].map(|cell| Some(cell.to_owned())));
    }
}
