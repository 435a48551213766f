//! What the tail of a queue and the answers to a probe set come to, as findings.

use super::drift::{self, Reference};
use super::evidence::Finding;
use super::facts::Spoken;
use super::probes::{Measurement, Unusable};
use super::queue::{QueueLimits, Tail};
use super::rules::ProbeRules;
use crate::contract::Found;

/// Where answers to the probe set come from, as evidence names it.
pub(super) const PROBE_SOURCE: &str = "probe set";

/// Most faults that are told of one region.
const FAULTS_MAX: usize = 5;

/// Whether the tail of a queue is clean.
pub(super) fn tail(tail: &Tail, limits: &QueueLimits) -> Finding {
    let Some((_, queue)) = tail.last() else {
        return Finding::red("unread", "nothing was read of the queue");
    };
    match tail.judge(limits) {
        Err(dirty) => Finding::red(dirty.word(), dirty.to_string()),
        Ok(()) => Finding::green(format!(
            "{} entries wait, the oldest for {} ms",
            queue.depth, queue.oldest_age_ms
        )),
    }
}

/// Whether the answers of a region are as good as anybody's, and of the index that it has now.
pub(super) fn answers(
    rules: &ProbeRules,
    (answers, own): (&Result<Measurement, Unusable>, Option<&Spoken>),
    reference: Option<Reference<'_>>,
) -> Finding {
    let measurement = match answers {
        Ok(measurement) => measurement,
        Err(unusable) => {
            let (word, reason) = (unusable.why.word(), unusable.to_string());
            return match word {
                "contradictory" => Finding::contradictory(word, reason),
                _ => Finding::red(word, reason),
            };
        }
    };
    if let Some(Found::Value(index)) = own.and_then(Spoken::index)
        && !index.is_written(&measurement.index_hash)
    {
        let asked = &measurement.index_hash;
        let reason = format!("the answers are of index {asked}, and it reports {index} now");
        return Finding::contradictory("index_moved", reason);
    }
    let faults = drift::judge(&rules.set, &rules.limits, measurement, reference);
    let Some(first) = faults.first() else {
        return Finding::green(told(rules, measurement, reference));
    };
    let told: Vec<_> = faults.iter().take(FAULTS_MAX).map(ToString::to_string).collect();
    Finding::red(first.word(), told.join("; "))
}

fn told(rules: &ProbeRules, of: &Measurement, reference: Option<Reference<'_>>) -> String {
    let drift = reference.and_then(|it| drift::drift(&rules.set, of, it)).unwrap_or_default();
    let seeds = if of.seeds_ignored > 0 { "a single seed" } else { "every seed" };
    format!(
        "delta_s drifts by {} at the most, its median is {}, and lambda converges with {seeds}",
        drift.max,
        of.median()
    )
}
