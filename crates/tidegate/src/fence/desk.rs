//! What operators ask of the fence: how it is, what it remembers, and who knows better.

use std::time::Duration;

use tidegate_control::clock;
use tidegate_control::metrics::Metrics;
use tidegate_core::Moment;
use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::record::{Doubt, Phase, Record};
use tidegate_core::fence::rules::{Knows, Resolution, Resolved};
use tidegate_core::policy::fencing::FenceRules;
use tidegate_fence::Fence;
use tidegate_fence::store::{Audit, Failure, Filter, Gauges};
use tidegate_proxy::metrics::fence::FenceMetrics;

/// Most records that are looked at for one list.
pub(crate) const LISTED_MAX: u32 = 10_000;
/// Longest time that a store which is warm takes to say how it is.
const WARM_WITHIN: Duration = Duration::from_millis(25);
/// Share of its room that a store which is warm has taken at most, in percent.
const WARM_ROOM_PERCENT: u64 = 80;

/// Where operators are served.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub(crate) fence: Fence,
    pub(crate) metrics: FenceMetrics,
}

/// Something that must hold before a region may rely on the fence.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) holds: bool,
    pub(crate) detail: String,
}

/// A word of somebody who knows how a write ended.
#[derive(Debug)]
pub(crate) struct Word {
    /// The owner of the claim that was looked at, as it was shown; any without it.
    pub(crate) owner: Option<String>,
    pub(crate) knows: Knows,
    pub(crate) audit: Audit,
}

/// What became of a word.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is written down.
    Done,
    /// Nothing is remembered of the key.
    Absent,
    /// The key is another claim's by now.
    OtherOwner,
    /// There is no doubt.
    NotInDoubt(Box<Record>),
    /// The write may still be on its way until then.
    TooEarly(Moment),
}

impl Desk {
    /// Opens it, and shows how the fence is among the metrics; `None` if those cannot be changed.
    pub(crate) fn open(fence: Fence, metrics: &Metrics) -> Option<Self> {
        let mut registered = None;
        metrics.register(|registry| {
            registered = Some(FenceMetrics::register(registry, fence.clone()));
        });
        registered.map(|metrics| Self { fence, metrics })
    }

    /// How the store is, and how long it took to say so.
    pub(crate) async fn look(&self) -> (Result<Gauges, Failure>, Duration) {
        let began = clock::instant();
        let gauges = self.fence.gauges().await;
        (gauges, clock::elapsed_since(began))
    }

    /// Everything that must hold before a region may rely on the fence.
    pub(crate) async fn warm(&self, rules: &FenceRules) -> Vec<Check> {
        let (gauges, took) = self.look().await;
        self.checks(gauges, took, rules)
    }

    /// The same, once it is known how the store is.
    pub(crate) fn checks(
        &self,
        gauges: Result<Gauges, Failure>,
        took: Duration,
        rules: &FenceRules,
    ) -> Vec<Check> {
        let mut checks = checks(gauges, took, rules, clock::now());
        checks.extend(self.fence.findings().into_iter().map(|it| Check {
            name: it.check.word(),
            holds: it.is_ok,
            detail: match it.node {
                Some(node) => format!("{node}: {}", it.seen),
                None => it.seen,
            },
        }));
        checks
    }

    /// Looks at everything for a scrape of the metrics.
    pub(crate) async fn refresh(&self, rules: Option<&FenceRules>) {
        let (gauges, took) = self.look().await;
        let checks = rules.map(|it| self.checks(gauges, took, it)).unwrap_or_default();
        self.metrics.show(gauges, checks.iter().map(|it| (it.name, it.holds)));
    }

    /// Open records that were claimed at least so long ago, the oldest first, and whether there may
    /// be more of them.
    pub(crate) async fn list(
        &self,
        filter: Filter,
        older: Duration,
        limit: u32,
    ) -> Result<(Vec<(FenceKey, Record)>, bool), Failure> {
        let now = clock::now();
        let wanted = if older.is_zero() { limit.saturating_add(1) } else { LISTED_MAX };
        let mut found = self.fence.list(filter, wanted.min(LISTED_MAX)).await?;
        let is_cut = found.len() >= usize::try_from(wanted).unwrap_or(usize::MAX);
        found.retain(|(_, record)| older <= now.since(record.created));
        found.sort_by_key(|(_, record)| record.created);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = is_cut || limit < found.len();
        found.truncate(limit);
        Ok((found, has_more))
    }

    /// Ends a doubt, for whoever knows how the write ended.
    pub(crate) async fn resolve(
        &self,
        key: FenceKey,
        word: Word,
        rules: &FenceRules,
    ) -> Result<Outcome, Failure> {
        let Some(record) = self.fence.show(key).await? else { return Ok(Outcome::Absent) };
        if word.owner.is_some_and(|it| it != record.owner.to_string()) {
            return Ok(Outcome::OtherOwner);
        }
        let resolution = Resolution {
            owner: record.owner,
            knows: word.knows,
            quarantine: rules.quarantine,
            owner_is_dead: is_owner_dead(&record),
        };
        let resolved = self.fence.resolve(key, resolution, rules.retention, word.audit).await?;
        Ok(match resolved {
            Resolved::Stored => Outcome::Done,
            Resolved::NotInDoubt => Outcome::NotInDoubt(Box::new(record)),
            Resolved::TooEarly { until } => Outcome::TooEarly(until),
        })
    }
}

/// Whether the store has seen the end of the process that made the claim.
fn is_owner_dead(record: &Record) -> bool {
    record.phase(clock::now()) == Phase::InDoubt(Doubt::OwnerDied)
}

/// From when on a write in doubt may be said to be not executed; `None` where there is no doubt.
pub(crate) fn not_executed_from(record: &Record, rules: &FenceRules) -> Option<Moment> {
    let Phase::InDoubt(_) = record.phase(clock::now()) else { return None };
    let quarantine = if is_owner_dead(record) { Duration::ZERO } else { rules.quarantine };
    Some(record.lease_until.plus(quarantine))
}

fn checks(
    gauges: Result<Gauges, Failure>,
    took: Duration,
    rules: &FenceRules,
    now: Moment,
) -> Vec<Check> {
    let check = |name, holds, detail: String| Check { name, holds, detail };
    let gauges = match gauges {
        Ok(gauges) => gauges,
        Err(failure) => return vec![check("answers", false, failure.to_string())],
    };
    let (age, retention) = (now.since(gauges.born), rules.retention.completed());
    let is_full = gauges.bytes_max.saturating_mul(WARM_ROOM_PERCENT) / 100 < gauges.bytes;
    let has_room = gauges.bytes_max == 0 || !is_full;
    let room = match gauges.bytes_max {
        0 => format!("{} bytes, without a limit", gauges.bytes),
        max => format!("{} of {max} bytes", gauges.bytes),
    };
    let hours = |it: Duration| format!("{:.1} h", it.as_secs_f64() / 3600.0);
    vec![
        check("answers", true, "it does".to_owned()),
        check("fast", took <= WARM_WITHIN, format!("{:.1} ms", took.as_secs_f64() * 1000.0)),
        check("room", has_room, room),
        check(
            "history",
            retention <= age,
            format!("it remembers {}, and {} are wanted", hours(age), hours(retention)),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use tidegate_core::fence::retention::Retention;
    use tidegate_core::policy::fencing::FenceStore;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn rules() -> FenceRules {
        FenceRules {
            store: FenceStore::Embedded { path: "fence.db".into() },
            local: None,
            failover_window: HOUR,
            retention: Retention::unchecked(25 * HOUR, 168 * HOUR),
            quarantine: Duration::from_mins(5),
            quota: None,
        }
    }

    #[track_caller]
    fn check(gauges: Result<Gauges, Failure>, took_ms: u64, failing: &[&str]) {
        let now = Moment(0).plus(100 * HOUR);
        let checks = checks(gauges, Duration::from_millis(took_ms), &rules(), now);
        let failed = checks.iter().filter(|it| !it.holds).map(|it| it.name);
        assert_eq!(failed.collect::<Vec<_>>(), failing);
    }

    #[test]
    fn a_store_is_warm_when_it_answers_fast_has_room_and_remembers_long_enough() {
        let born = |hours| Moment(0).plus(hours * HOUR);
        let gauges = Gauges { born: born(75), bytes: 80, bytes_max: 100, ..Gauges::default() };
        check(Ok(gauges), 25, &[]);
        check(Ok(Gauges { bytes_max: 0, ..gauges }), 1, &[]);
        check(Ok(Gauges { born: born(76), ..gauges }), 1, &["history"]);
        check(Ok(Gauges { bytes: 81, ..gauges }), 26, &["fast", "room"]);
        check(Err(Failure::Unreachable), 250, &["answers"]);
    }
}
