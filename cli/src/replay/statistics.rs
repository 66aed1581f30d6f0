//! What repeated measurements come to: medians, quartiles, and ratios with the range in which they
//! move from round to round and from process to process.

use crate::measure::median;
use serde::Serialize;

/// Repeated measurements of one thing, in nanoseconds of processor time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Times {
    /// The median.
    pub median_ns: u64,
    /// The lower quartile.
    pub low_ns: u64,
    /// The upper quartile.
    pub high_ns: u64,
}

impl Times {
    /// Of measurements.
    pub fn of(samples: &[u64]) -> Self {
        Self {
            median_ns: median(samples),
            low_ns: quartile(samples, 1),
            high_ns: quartile(samples, 3),
        }
    }

    /// Half the distance of the quartiles, as a share of the median.
    pub fn spread(&self) -> f64 {
        let half = self.high_ns.saturating_sub(self.low_ns) as f64 / 2.0;
        half / self.median_ns.max(1) as f64
    }
}

/// The first or third quartile, between two samples in proportion: of a few, the nearest one would
/// be the median. Zero of none.
fn quartile(samples: &[u64], quarters: usize) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let place = sorted.len().saturating_sub(1) * quarters;
    let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
    let (low, high) = (at(place / 4), at((place / 4 + 1).min(sorted.len().saturating_sub(1))));
    low + high.saturating_sub(low) / 4 * (place % 4) as u64
}

/// How many times as fast as the interpreter something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Ratio {
    /// From the medians.
    pub value: f64,
    /// The least of a round, less [`PROCESS_SPREAD`].
    pub low: f64,
    /// The greatest of a round, and [`PROCESS_SPREAD`] more.
    pub high: f64,
}

/// By how much sums' ratios differ from one process to the next beyond what rounds of one tell:
/// code and state lie elsewhere in memory. Of two runs of one program over 33 blocks, on an EPYC
/// that did nothing else, the ratios hot were 2.07 and 1.95, rotating 1.24 and 1.18.
pub const PROCESS_SPREAD: f64 = 0.05;

impl Ratio {
    /// Of the sums over several blocks: `base[block][round]` over `other[block][round]`, from sums
    /// of medians, with the range of the rounds, widened by [`PROCESS_SPREAD`].
    pub fn of_sums<S: AsRef<[u64]>>(base: &[S], other: &[S]) -> Self {
        let sum = |samples: &[S]| -> u64 { samples.iter().map(|s| median(s.as_ref())).sum() };
        let rounds = base.iter().chain(other).map(|samples| samples.as_ref().len());
        let round = |samples: &[S], round: usize| -> u64 {
            samples.iter().map(|samples| samples.as_ref()[round]).sum()
        };
        let value = ratio(sum(base), sum(other));
        let (low, high) = (0..rounds.min().unwrap_or(0))
            .map(|index| ratio(round(base, index), round(other, index)))
            .fold((value, value), |(low, high), ratio| (low.min(ratio), high.max(ratio)));
        Self { value, low: low * (1.0 - PROCESS_SPREAD), high: high * (1.0 + PROCESS_SPREAD) }
    }
}

/// `base / other`; 0 without a measurement.
pub(super) fn ratio(base: u64, other: u64) -> f64 {
    if other == 0 { 0.0 } else { base as f64 / other as f64 }
}

/// Least, median and greatest of several ratios.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Range {
    /// The least.
    pub min: f64,
    /// The median; of an even number of values, the upper one.
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

impl Range {
    /// Of `values`; zeros of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        Self { min: at(0), median: at(sorted.len() / 2), max: at(sorted.len().saturating_sub(1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_quartiles() {
        let times = Times::of(&[5, 1, 4, 2, 3]);
        assert_eq!(times, Times { median_ns: 3, low_ns: 2, high_ns: 4 });
        assert!((times.spread() - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(Times::of(&[]).spread(), 0.0);
        let times = Times::of(&[300, 100, 200]);
        assert_eq!(times, Times { median_ns: 200, low_ns: 150, high_ns: 250 });
        assert_eq!(Times::of(&[7]), Times { median_ns: 7, low_ns: 7, high_ns: 7 });
    }

    #[test]
    fn a_ratio_of_sums_has_the_widened_range_of_its_rounds() {
        // Rounds: (100 + 200) / (50 + 100), (110 + 190) / (100 + 100), (90 + 200) / (40 + 60).
        let base: [&[u64]; 2] = [&[100, 110, 90], &[200, 190, 200]];
        let other: [&[u64]; 2] = [&[50, 100, 40], &[100, 100, 60]];
        let ratio = Ratio::of_sums(&base, &other);
        let (low, high) = (1.5 * (1.0 - PROCESS_SPREAD), 2.9 * (1.0 + PROCESS_SPREAD));
        assert_eq!(ratio, Ratio { value: 2.0, low, high });
        assert_eq!(Ratio::of_sums::<Vec<u64>>(&[], &[]), Ratio::default());
    }

    #[test]
    fn a_range_needs_no_order() {
        let range = Range::of([1.5, 0.5, 1.0]);
        assert_eq!(range, Range { min: 0.5, median: 1.0, max: 1.5 });
        assert_eq!(Range::of([]), Range::default());
    }
}
