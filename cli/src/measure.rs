//! Medians and quantiles of measured times, and numbers with their units.

use std::time::{Duration, Instant};

/// How often something is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// Never less often than this.
    pub min: usize,
    /// Never more often than this.
    pub max: usize,
    /// Between the two, until this much time has passed.
    pub budget: Duration,
}

impl Repeat {
    /// Exactly `times`, at least once.
    pub fn exactly(times: usize) -> Self {
        let times = times.max(1);
        Self { min: times, max: times, budget: Duration::ZERO }
    }

    /// Whether another round is due after `done` rounds since `start`.
    pub fn goes_on(&self, done: usize, start: Instant) -> bool {
        done < self.min || (done < self.max && start.elapsed() < self.budget)
    }
}

/// The value at quantile `q` (0 to 1) of a list, by the nearest rank; zero of an empty one.
pub fn quantile<T: Ord + Copy + Default>(values: &[T], q: f64) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * q).round() as usize).copied().unwrap_or_default()
}

/// The median; of an even number of values, the upper one.
pub fn median<T: Ord + Copy + Default>(values: &[T]) -> T {
    quantile(values, 0.5)
}

/// Nanoseconds; 584 years at most.
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Microseconds per byte, the measure of compile times; zero of no bytes.
pub fn us_per_byte(ns: u64, bytes: usize) -> f64 {
    if bytes == 0 { 0.0 } else { ns as f64 / 1e3 / bytes as f64 }
}

/// A time with a unit that gives three or four digits: `812 ns`, `12.3 µs`, `4.56 ms`, `1.23 s`.
pub fn time(time: Duration) -> String {
    let ns = time.as_nanos() as f64;
    let (value, unit) = match ns {
        ns if ns < 1e3 => return format!("{ns:.0} ns"),
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

/// A number with its thousands apart: `1,234,567`.
pub fn count(number: impl Into<u128>) -> String {
    let digits = number.into().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        assert_eq!(median::<u64>(&[]), 0);
        assert_eq!(median(&[3, 1, 2]), 2);
        assert_eq!(quantile(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 0.9), 10);
        assert_eq!(quantile(&[4, 4, 9], 1.0), 9);
    }

    #[test]
    fn microseconds_per_byte() {
        assert_eq!(us_per_byte(3_000, 2), 1.5);
        assert_eq!(us_per_byte(3_000, 0), 0.0);
    }

    #[test]
    fn units() {
        assert_eq!(time(Duration::from_nanos(812)), "812 ns");
        assert_eq!(time(Duration::from_nanos(12_345)), "12.3 µs");
        assert_eq!(time(Duration::from_micros(4_560)), "4.56 ms");
        assert_eq!(time(Duration::from_millis(120_000)), "120 s");
        assert_eq!(count(0u64), "0");
        assert_eq!(count(999u64), "999");
        assert_eq!(count(1_234_567u64), "1,234,567");
    }

    #[test]
    fn repeats_within_bounds() {
        let past = Instant::now();
        assert!(Repeat::exactly(0).goes_on(0, past));
        assert!(!Repeat::exactly(3).goes_on(3, past));
        let repeat = Repeat { min: 2, max: 5, budget: Duration::from_secs(3600) };
        assert!(repeat.goes_on(4, past) && !repeat.goes_on(5, past));
    }
}
