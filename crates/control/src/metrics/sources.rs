//! The metrics of what answers: handles for one release and revision of a region.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};
use tidegate_core::id::Name;

use super::fenced::{FencedFamily, FencedOutcomes};
use super::histogram::Histogram;
use super::labels::{Answer, Retry, Source};

/// Most releases and revisions of one region that have series of their own.
pub const SOURCES_PER_REGION_MAX: usize = 64;

/// The label value of whatever is beyond [`SOURCES_PER_REGION_MAX`].
const OTHER: &str = "other";

/// The classes of status codes.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Why a request left an endpoint for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryCause {
    /// No connection could be made.
    Connect,
    /// The exchange broke before the first byte of an answer.
    Broken,
}

impl RetryCause {
    const ALL: [Self; 2] = [Self::Connect, Self::Broken];

    fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Broken => "broken",
        }
    }
}

/// What one release and revision of a region answered.
#[derive(Debug)]
pub struct EndpointMetrics {
    answers: [Counter; CLASSES.len()],
    retries: [Counter; RetryCause::ALL.len()],
    duration: Histogram,
    first_byte: Histogram,
    fenced: FencedOutcomes,
}

impl EndpointMetrics {
    /// A fenced write of this route that was sent here ended like this.
    pub fn settled(&self, route: &Name, outcome: &'static str) {
        self.fenced.count(route, outcome);
    }

    /// A request was answered with this status, and took this long from its head to its end.
    pub fn answered(&self, status: u16, total: Duration) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        if let Some(counter) = self.answers.get(class) {
            counter.inc();
        }
        self.duration.observe(total);
    }

    /// A request left this source, and is tried elsewhere.
    pub fn retried(&self, cause: RetryCause) {
        let [connect, broken] = &self.retries;
        match cause {
            RetryCause::Connect => connect.inc(),
            RetryCause::Broken => broken.inc(),
        };
    }

    /// The head of an answer came this long after the request was sent.
    pub fn first_byte(&self, after: Duration) {
        self.first_byte.observe(after);
    }
}

/// The handles that were given out.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    families: Families,
    known: HashMap<Source, Known>,
    clock: u64,
}

#[derive(Clone, Debug, Default)]
struct Families {
    requests: Family<Answer, Counter>,
    retries: Family<Retry, Counter>,
    durations: Family<Source, Histogram>,
    first_bytes: Family<Source, Histogram>,
    fenced: FencedFamily,
}

#[derive(Debug)]
struct Known {
    metrics: Arc<EndpointMetrics>,
    asked_at: u64,
}

impl Sources {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let Families { requests, retries, durations, first_bytes, fenced } = self.families.clone();
        let help = "Fenced writes that were sent to a region, by how they ended for the fence";
        registry.register("tidegate_fence_outcomes", help, fenced);
        let help = "Requests that left a region's endpoint to be tried elsewhere, by cause";
        registry.register("tidegate_retries", help, retries);
        let help = "Requests that a region answered, by class of status code";
        registry.register("tidegate_requests", help, requests);
        let help = "Time from the head of a request to the end of its answer";
        let name = "tidegate_request_duration";
        registry.register_with_unit(name, help, Unit::Seconds, durations);
        let help = "Time from the request that was sent to the head of its answer";
        let name = "tidegate_first_byte";
        registry.register_with_unit(name, help, Unit::Seconds, first_bytes);
    }

    /// The handles of one source; equal sources share them.
    ///
    /// Beyond [`SOURCES_PER_REGION_MAX`] the one that nobody has used for longest gives up its
    /// series; while all are in use, the new one counts as `other`.
    pub(crate) fn of(&mut self, source: Source) -> Arc<EndpointMetrics> {
        self.clock = self.clock.saturating_add(1);
        if let Some(known) = self.known.get_mut(&source) {
            known.asked_at = self.clock;
            return Arc::clone(&known.metrics);
        }
        if self.has_room(&source.region) {
            return self.add(source);
        }
        let other = Source { release_id: OTHER.into(), revision: OTHER.into(), ..source };
        match self.known.get(&other) {
            Some(known) => Arc::clone(&known.metrics),
            None => self.add(other),
        }
    }

    /// Takes away the series of a region, unless a world or a request still counts in one of them;
    /// answers whether they are gone.
    pub(crate) fn forget(&mut self, region: &Name) -> bool {
        let mut own = self.known.iter().filter(|(it, _)| it.region == *region);
        if own.any(|(_, known)| 1 < Arc::strong_count(&known.metrics)) {
            return false;
        }
        let Self { families, known, .. } = self;
        known.retain(|source, known| {
            let stays = source.region != *region;
            if !stays {
                families.forget(source);
                known.metrics.fenced.forget();
            }
            stays
        });
        true
    }

    fn add(&mut self, source: Source) -> Arc<EndpointMetrics> {
        let metrics = Arc::new(self.families.of(&source));
        let known = Known { metrics: Arc::clone(&metrics), asked_at: self.clock };
        self.known.insert(source, known);
        metrics
    }

    /// Whether one more source of the region may have series; makes room if it can.
    fn has_room(&mut self, region: &Name) -> bool {
        let own =
            self.known.iter().filter(|(it, _)| it.region == *region && &*it.revision != OTHER);
        if own.clone().count() < SOURCES_PER_REGION_MAX {
            return true;
        }
        // Nobody but this map holds it: no world shows it, and no request of an older world can.
        let unused = own.filter(|(_, known)| Arc::strong_count(&known.metrics) == 1);
        let oldest = unused.min_by_key(|(_, known)| known.asked_at).map(|(it, _)| it.clone());
        let Some(oldest) = oldest else { return false };
        if let Some(known) = self.known.remove(&oldest) {
            known.metrics.fenced.forget();
        }
        self.families.forget(&oldest);
        true
    }
}

impl Families {
    fn of(&self, source: &Source) -> EndpointMetrics {
        let answers = CLASSES.map(|code| self.requests.get_or_create_owned(&answer(source, code)));
        let retries =
            RetryCause::ALL.map(|it| self.retries.get_or_create_owned(&retry(source, it)));
        let duration = self.durations.get_or_create_owned(source);
        let first_byte = self.first_bytes.get_or_create_owned(source);
        let fenced = FencedOutcomes::new(source.clone(), self.fenced.clone());
        EndpointMetrics { answers, retries, duration, first_byte, fenced }
    }

    fn forget(&self, source: &Source) {
        for code in CLASSES {
            self.requests.remove(&answer(source, code));
        }
        for cause in RetryCause::ALL {
            self.retries.remove(&retry(source, cause));
        }
        self.durations.remove(source);
        self.first_bytes.remove(source);
    }
}

fn answer(source: &Source, code: &'static str) -> Answer {
    let Source { region, release_id, revision } = source.clone();
    Answer { region, release_id, revision, code }
}

fn retry(source: &Source, cause: RetryCause) -> Retry {
    let Source { region, release_id, revision } = source.clone();
    Retry { region, release_id, revision, cause: cause.word() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(release: usize) -> Source {
        Source { region: "eu".into(), release_id: release.to_string().into(), revision: "a".into() }
    }

    #[test]
    fn equal_sources_share_their_handles() {
        let mut sources = Sources::default();
        let first = sources.of(source(1));
        assert!(Arc::ptr_eq(&first, &sources.of(source(1))));
        assert!(!Arc::ptr_eq(&first, &sources.of(source(2))));
    }

    #[test]
    fn what_is_one_too_many_and_all_in_use_counts_as_other() {
        let mut sources = Sources::default();
        let held: Vec<_> = (0..SOURCES_PER_REGION_MAX).map(|it| sources.of(source(it))).collect();
        let one_more = sources.of(source(1000));
        assert!(Arc::ptr_eq(&one_more, &sources.of(source(1001))));
        assert_eq!(held.len(), SOURCES_PER_REGION_MAX);
    }

    #[test]
    fn a_source_that_nobody_uses_makes_room_for_a_new_one() {
        let mut sources = Sources::default();
        let mut held: Vec<_> =
            (0..SOURCES_PER_REGION_MAX).map(|it| sources.of(source(it))).collect();
        drop(held.remove(7));
        let one_more = sources.of(source(1000));
        assert!(!sources.known.contains_key(&source(7)));
        assert!(sources.known.contains_key(&source(1000)));
        drop(one_more);
        assert!(sources.families.durations.get(&source(7)).is_none());
    }

    #[test]
    fn a_region_is_forgotten_once_nobody_counts_for_it() {
        let mut sources = Sources::default();
        let elsewhere = Source { region: "us".into(), ..source(1) };
        drop(sources.of(elsewhere.clone()));
        let held = sources.of(source(1));
        held.settled(&"orders".into(), "completed");
        drop(sources.of(source(2)));
        assert!(!sources.forget(&"eu".into()), "somebody counts for it");
        drop(held);
        assert!(sources.forget(&"eu".into()));
        assert_eq!(sources.known.keys().collect::<Vec<_>>(), [&elsewhere]);
        assert!(sources.families.durations.get(&source(2)).is_none());
        let mut registry = Registry::default();
        sources.register(&mut registry);
        let mut encoded = String::new();
        prometheus_client::encoding::text::encode(&mut encoded, &registry).unwrap();
        assert!(!encoded.contains("orders"), "{encoded}");
    }

    #[test]
    fn a_status_is_counted_in_its_class() {
        let mut sources = Sources::default();
        let metrics = sources.of(source(1));
        for status in [99, 101, 200, 204, 301, 404, 503, 999] {
            metrics.answered(status, Duration::ZERO);
        }
        let counts = metrics.answers.each_ref().map(Counter::get);
        assert_eq!(counts, [2, 2, 1, 1, 2]);
        assert_eq!(metrics.duration.count(), 8);
    }
}
