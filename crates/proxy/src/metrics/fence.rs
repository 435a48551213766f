//! The metrics of the fence: what it has done, how its store is, and how long that takes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use tidegate_control::clock;
use tidegate_fence::Fence;
use tidegate_fence::latency::Operation;
use tidegate_fence::store::{Failure, Gauges};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabel {
    check: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

/// The metrics of one fence. Clones show the same.
#[derive(Clone, Debug)]
pub struct FenceMetrics {
    fence: Fence,
    seen: Arc<Mutex<Seen>>,
}

/// How the store was when it was last asked.
#[derive(Clone, Debug)]
struct Seen {
    gauges: Result<Gauges, Failure>,
    /// Whether each check holds.
    checks: BTreeMap<&'static str, bool>,
}

impl FenceMetrics {
    /// Registers everything there is to tell of a fence.
    pub fn register(registry: &mut Registry, fence: Fence) -> Self {
        let seen = Seen { gauges: Err(Failure::Unreachable), checks: BTreeMap::new() };
        let seen = Arc::new(Mutex::new(seen));
        let metrics = Self { fence, seen };
        registry.register_collector(Box::new(metrics.clone()));
        metrics
    }

    /// Keeps how the store is for the scrape that follows. A check that is there more than once
    /// holds if all of them do.
    pub fn show(
        &self,
        gauges: Result<Gauges, Failure>,
        checks: impl Iterator<Item = (&'static str, bool)>,
    ) {
        let mut seen = Seen { gauges, checks: BTreeMap::new() };
        for (check, holds) in checks {
            *seen.checks.entry(check).or_insert(true) &= holds;
        }
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

impl Collector for FenceMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut told = Told(encoder);
        told.of_store(seen.gauges)?;
        told.of_checks(&seen.checks)?;
        told.of_redis(&self.fence)?;
        told.of_tally(&self.fence)?;
        told.of_operations(&self.fence)
    }
}

struct Told<'a>(DescriptorEncoder<'a>);

impl Told<'_> {
    fn of_store(&mut self, seen: Result<Gauges, Failure>) -> fmt::Result {
        let help = "Whether the store answered the last scrape.";
        self.gauge("tidegate_fence_store_up", help, None, u64::from(seen.is_ok()))?;
        let Ok(Gauges { in_flight, in_doubt, oldest_open, bytes, bytes_max, born }) = seen else {
            return Ok(());
        };
        let now = clock::now();
        let help = "Writes that are under way.";
        self.gauge("tidegate_fence_in_flight", help, None, in_flight)?;
        let help = "Writes of which nobody knows whether they were executed.";
        self.gauge("tidegate_fence_in_doubt", help, None, in_doubt)?;
        let help = "Age of the claim that is open for the longest time.";
        let age = oldest_open.map_or(0.0, |it| now.since(it).as_secs_f64());
        self.gauge("tidegate_fence_oldest_open", help, Some(&Unit::Seconds), age)?;
        let help = "Time since the store began to remember.";
        let age = now.since(born).as_secs_f64();
        self.gauge("tidegate_fence_store_age", help, Some(&Unit::Seconds), age)?;
        let help = "Bytes that the store takes.";
        self.gauge("tidegate_fence_store_bytes", help, None, bytes)?;
        let help = "Bytes that the store may take; 0 without a limit.";
        self.gauge("tidegate_fence_store_bytes_max", help, None, bytes_max)
    }

    fn of_checks(&mut self, checks: &BTreeMap<&'static str, bool>) -> fmt::Result {
        let help = "Whether what the fence relies on holds.";
        let (name, kind) = ("tidegate_fence_warm", MetricType::Gauge);
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (check, holds) in checks {
            family.encode_family(&CheckLabel { check })?.encode_gauge(&u64::from(*holds))?;
        }
        Ok(())
    }

    fn of_redis(&mut self, fence: &Fence) -> fmt::Result {
        let Some(tally) = fence.of_redis() else { return Ok(()) };
        let help = "Claims that too few replicas had in time.";
        self.counter("tidegate_fence_uncopied", help, tally.uncopied.get())?;
        let help = "How often a server had gone back to an older time.";
        self.counter("tidegate_fence_rollbacks", help, tally.rollbacks.get())?;
        let help = "Records that were written again because a server had lost them.";
        self.counter("tidegate_fence_reasserted", help, tally.reasserted.get())
    }

    fn of_tally(&mut self, fence: &Fence) -> fmt::Result {
        let tally = fence.tally();
        // Records that are written again may find that another owner has an answer, too.
        let of_redis = fence.of_redis().map_or(0, |it| it.escapes.get());
        let help = "Writes of which two owners have an answer.";
        self.counter("tidegate_fence_escapes", help, tally.escapes.get() + of_redis)?;
        for (name, help, count) in [
            ("tidegate_fence_claims_won", "Claims that won their key.", &tally.won),
            ("tidegate_fence_waits", "Duplicates that waited for an answer.", &tally.waited),
            (
                "tidegate_fence_claims_unsure",
                "Claims of which nobody knows whether the store has made them.",
                &tally.unsure,
            ),
            (
                "tidegate_fence_resurrected",
                "Outcomes whose claim the store had lost.",
                &tally.resurrected,
            ),
            (
                "tidegate_fence_unsafe_expiries",
                "Writes in doubt that were forgotten.",
                &tally.unsafe_expiries,
            ),
            (
                "tidegate_fence_outcomes_postponed",
                "Outcomes that had to be written later.",
                &tally.postponed,
            ),
            ("tidegate_fence_outcomes_lost", "Outcomes that will never be written.", &tally.lost),
        ] {
            self.counter(name, help, count.get())?;
        }
        Ok(())
    }

    fn of_operations(&mut self, fence: &Fence) -> fmt::Result {
        let latencies = &fence.tally().latencies;
        let all =
            Operation::ALL.map(|it| (OperationLabel { operation: it.word() }, latencies.of(it)));
        let help = "Time that the store takes.";
        let kind = MetricType::Histogram;
        let unit = Some(&Unit::Seconds);
        let mut family = self.0.encode_descriptor("tidegate_fence_store", help, unit, kind)?;
        for (label, latency) in &all {
            let buckets: Vec<(f64, u64)> = latency.buckets().collect();
            // The sum of what was just read, so that the count can never differ from the buckets.
            let count = buckets.iter().map(|(_, count)| count).sum();
            let sum = latency.sum().as_secs_f64();
            let mut series = family.encode_family(label)?;
            series.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        let help = "Operations of the store that failed, or did not end in time.";
        let name = "tidegate_fence_store_failures";
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (label, latency) in &all {
            let mut series = family.encode_family(label)?;
            series.encode_counter::<NoLabelSet, _, u64>(&latency.failures(), None)?;
        }
        Ok(())
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: impl EncodeGaugeValue + Copy,
    ) -> fmt::Result {
        self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeCounterValue + Copy,
    ) -> fmt::Result {
        let mut series = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        series.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }
}
