//! A histogram of durations that is counted without a lock.
//!
//! The one that comes with `prometheus-client` takes a lock for each observation.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Upper bounds of the buckets in tenths of a millisecond, each included; the last has none.
///
/// From a local answer to a language model that thinks for ten minutes.
const BOUNDS_TENTHS_MS: [u32; 18] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 300_000,
    600_000, 1_200_000, 3_000_000, 6_000_000,
];

/// How many buckets there are, the one without a bound included.
const BUCKETS: usize = BOUNDS_TENTHS_MS.len() + 1;

/// How durations are spread; clones count into the same buckets.
#[derive(Clone, Default)]
pub struct Histogram(Arc<Counts>);

#[derive(Default)]
struct Counts {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS_TENTHS_MS.partition_point(|bound| u64::from(*bound) * 100 < us);
        if let Some(bucket) = self.0.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.0.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.0.buckets.iter().map(|it| it.load(Ordering::Relaxed)).sum()
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram").field("count", &self.count()).finish_non_exhaustive()
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS_TENTHS_MS.iter().map(|it| f64::from(*it) / 10_000.0);
        let counts = self.0.buckets.iter().map(|it| it.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        // The sum of what was just read, so that the count can never differ from the buckets.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_micros(self.0.sum_us.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    fn encoded(durations: &[Duration]) -> String {
        let histogram = Histogram::default();
        for duration in durations {
            histogram.observe(*duration);
        }
        let mut registry = Registry::default();
        registry.register("h", "h", histogram);
        let mut encoded = String::new();
        text::encode(&mut encoded, &registry).expect("writing to a string cannot fail");
        encoded
    }

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let encoded = encoded(&[Duration::from_millis(1), Duration::from_micros(1_001)]);
        assert!(encoded.contains("h_bucket{le=\"0.001\"} 1\n"), "{encoded}");
        assert!(encoded.contains("h_bucket{le=\"0.0025\"} 2\n"), "{encoded}");
        assert!(encoded.contains("h_sum 0.002001\n"), "{encoded}");
    }

    #[test]
    fn what_is_longer_than_every_bound_is_still_counted() {
        let encoded = encoded(&[Duration::from_secs(601), Duration::MAX]);
        assert!(encoded.contains("h_bucket{le=\"600.0\"} 0\n"), "{encoded}");
        assert!(encoded.contains("h_bucket{le=\"+Inf\"} 2\n"), "{encoded}");
        assert!(encoded.contains("h_count 2\n"), "{encoded}");
    }
}
