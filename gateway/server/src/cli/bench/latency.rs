//! Latencies as they are told: a few quantiles.

use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};
use serde::{Deserialize, Serialize};

/// Milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Quantiles {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) p999_ms: f64,
}

/// Latencies of one run.
#[derive(Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Result<Self, CreationError> {
        // From a microsecond to ten minutes, which is longer than any run waits for an answer, at three digits.
        Histogram::new_with_bounds(1, 600_000_000, 3).map(Self)
    }

    pub(super) fn note(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn clear(&mut self) {
        self.0.reset();
    }

    pub(super) fn quantiles(&self) -> Quantiles {
        let ms = |quantile| Duration::from_micros(self.0.value_at_quantile(quantile)).as_secs_f64() * 1e3;
        Quantiles { p50_ms: ms(0.5), p99_ms: ms(0.99), p999_ms: ms(0.999) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_milliseconds() {
        let mut latencies = Latencies::new().unwrap();
        assert_eq!(latencies.quantiles(), Quantiles::default());
        (1..=1000).for_each(|ms| latencies.note(Duration::from_millis(ms)));
        let Quantiles { p50_ms, p99_ms, p999_ms } = latencies.quantiles();
        for (found, expected) in [(p50_ms, 500.0), (p99_ms, 990.0), (p999_ms, 999.0)] {
            assert!((found - expected).abs() <= 1.0, "{found} for {expected}");
        }
        latencies.clear();
        assert_eq!(latencies.quantiles(), Quantiles::default());
    }
}
