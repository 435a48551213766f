//! What a region itself says of its contract, with the age of that.

use std::time::Duration;

use super::evidence::{Condition, Evidence, Finding, Seen};
use crate::board::memory::{EndpointMemory, RegionMemory};
use crate::contract::BlobManifest;
use crate::contract::{Accepts, Contract, Found, INDEX_HASH, Queue, Report, Value};
use crate::id::Name;
use crate::moment::Moment;
use crate::snapshot::Verdict;

/// Where a contract is read from, as evidence names it.
pub const CONTRACT_SOURCE: &str = "contract probe";

/// What a region says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// What was concluded from it.
    pub verdict: Verdict,
    /// Whether the operator takes it out.
    pub drained: bool,
    /// What one of its endpoints differs on, or why it could not be asked.
    pub trouble: Option<String>,
    /// The index hashes that its routable endpoints report, each once.
    pub indexes: Vec<Found>,
    /// What they say that they store, each answer once.
    pub manifests: Vec<BlobManifest>,
    /// The worst that they say of the queue.
    pub queue: Option<Queue>,
}

impl Spoken {
    /// What the board remembers of a region; `None` when it was never asked.
    ///
    /// The age is that of the oldest answer that counts: of all routable endpoints, or, where
    /// there is none, of whoever was asked last.
    pub fn of(region: &RegionMemory) -> Option<Seen<Self>> {
        let routable = || region.endpoints.iter().filter(|it| it.health.verdict.is_routable());
        let oldest = routable().filter_map(|it| it.health.probed).min();
        let latest = region.endpoints.iter().filter_map(|it| it.health.probed).max();
        let at = oldest.or(latest)?;
        let reports: Vec<&Report> =
            routable().filter_map(|it| it.health.report.as_deref()).collect();
        let spoken = Self {
            verdict: region.verdict,
            drained: region.drained,
            trouble: region.endpoints.iter().find_map(trouble),
            indexes: once(reports.iter().map(|it| it.found(INDEX_HASH).clone())),
            manifests: once(reports.iter().filter_map(|it| it.blob_manifest.clone())),
            queue: worst(reports.iter().filter_map(|it| it.queue.as_ref())),
        };
        Some(Seen { at, source: CONTRACT_SOURCE.into(), what: spoken })
    }

    /// Whether it takes traffic.
    pub fn is_on(&self) -> bool {
        self.verdict.is_routable() && !self.drained
    }

    /// Whether nobody there answers.
    pub fn lost(&self) -> Finding {
        match self.verdict {
            Verdict::Dark => Finding::green("it does not answer"),
            Verdict::Unknown => Finding::red("unknown", "nobody knows whether it answers"),
            Verdict::Green | Verdict::Degraded | Verdict::Mixed | Verdict::Mismatched => {
                Finding::red("still_answers", "it still answers: move it by plan")
            }
        }
    }

    /// The one index that the region has.
    pub fn index(&self) -> Option<&Found> {
        match self.indexes.as_slice() {
            [one] => Some(one),
            [] | [_, _, ..] => None,
        }
    }

    /// Whether the region is what its contract demands.
    pub fn contract(&self) -> Finding {
        let trouble = self.trouble.as_deref().unwrap_or("it gives no reason");
        match self.verdict {
            Verdict::Green => Finding::green("every key is as the contract demands"),
            Verdict::Degraded => Finding::green(format!("it differs, but may: {trouble}")),
            Verdict::Mixed => Finding::contradictory("mixed", "its endpoints disagree"),
            Verdict::Mismatched => Finding::red("mismatched", trouble),
            Verdict::Dark => Finding::red("dark", trouble),
            Verdict::Unknown => Finding::red("unknown", "nothing is proven yet, or no more"),
        }
    }

    /// Whether its index is the one that is wanted.
    pub fn index_is(&self, wanted: &Wanted) -> Finding {
        let one = match self.indexes.as_slice() {
            [] => {
                return Finding::red("unreported", "no endpoint that serves reports an index_hash");
            }
            [one] => one,
            [_, _, ..] => {
                let all = self.indexes.iter().map(ToString::to_string).collect::<Vec<_>>();
                let reason = format!("its endpoints report {}", all.join(" and "));
                return Finding::contradictory("contradictory", reason);
            }
        };
        match (wanted, one) {
            (Wanted::Any, Found::Missing) => {
                Finding::green("it reports none, and the contract asks for none")
            }
            (Wanted::Value(..) | Wanted::Nothing, Found::Missing) | (_, Found::WrongType(_)) => {
                Finding::red("unreported", format!("its index_hash is {one}"))
            }
            (Wanted::Value(value, of), Found::Value(index)) if value != index => {
                Finding::red("different", format!("it is {index}, and {value} {of}"))
            }
            (Wanted::Nothing, Found::Value(index)) => {
                Finding::red("incomparable", format!("it is {index}, and others report none"))
            }
            (Wanted::Value(..) | Wanted::Any, Found::Value(index)) => {
                Finding::green(index.to_string())
            }
        }
    }

    /// Whether its endpoints report no index, as those of a service without one.
    pub fn has_no_index(&self) -> bool {
        self.indexes == [Found::Missing]
    }
}

/// Which index a region ought to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// This one, and why.
    Value(Value, String),
    /// Whichever it has, as long as its endpoints agree; none, where nobody has one.
    Any,
    /// Nobody can know.
    Nothing,
}

impl Wanted {
    /// What the contract demands of every region, if it demands one value.
    pub fn by(contract: &Contract) -> Option<Self> {
        let expect = contract.key(INDEX_HASH)?.expect.as_ref()?;
        match &expect.accepts {
            Accepts::Exactly(value) => {
                Some(Self::Value(value.clone(), "is what the contract demands".to_owned()))
            }
            // Two values at one time are two indexes, of which only one can be everywhere.
            Accepts::Either { .. } | Accepts::Agreed => None,
        }
    }

    /// The index that a region has, for the others.
    pub fn as_in(name: &Name, spoken: &Spoken) -> Self {
        match spoken.index() {
            Some(Found::Value(value)) => Self::Value(value.clone(), format!("is that of {name}")),
            Some(Found::Missing | Found::WrongType(_)) | None => Self::Nothing,
        }
    }
}

/// Evidence of one condition out of what a region says of itself.
pub(super) fn spoken(
    condition: Condition,
    name: &Name,
    (spoken, age_max): (Option<&Seen<Spoken>>, Duration),
    now: Moment,
    judge: impl Fn(&Spoken) -> Finding,
) -> Evidence {
    match spoken {
        None => Evidence::missing(condition, name, CONTRACT_SOURCE, age_max),
        Some(seen) => Evidence::aged(condition, name, (seen, age_max), now, judge(&seen.what)),
    }
}

fn trouble(endpoint: &EndpointMemory) -> Option<String> {
    let health = &endpoint.health;
    let told = |what: &dyn std::fmt::Display| format!("{}: {what}", endpoint.address);
    match health.failure {
        Some(failure) => Some(told(&failure)),
        None if health.mismatches.is_empty() => None,
        None => {
            let differs: Vec<_> = health.mismatches.iter().map(ToString::to_string).collect();
            Some(told(&differs.join(", ")))
        }
    }
}

/// Each of some values once, in the order in which they came.
fn once<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut once = Vec::new();
    for value in values {
        if !once.contains(&value) {
            once.push(value);
        }
    }
    once
}

/// The worst of several words on one queue.
fn worst<'q>(queues: impl Iterator<Item = &'q Queue>) -> Option<Queue> {
    queues.fold(None, |worst: Option<Queue>, queue| {
        Some(match worst {
            None => queue.clone(),
            Some(worst) => Queue {
                depth: worst.depth.max(queue.depth),
                oldest_age_ms: worst.oldest_age_ms.max(queue.oldest_age_ms),
                watermark: worst.watermark,
            },
        })
    })
}
