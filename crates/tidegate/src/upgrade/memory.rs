//! What a board remembers, as it goes over the line.
//!
//! Moments travel as distances from the moment at which they are written or read: the clocks of
//! two processes need not agree for a verdict to keep its age. Whatever is left out is as in a
//! memory that knows nothing, so that either side may be the newer one.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_core::Moment;
use tidegate_core::board::memory::{EndpointMemory, Memory, RegionMemory};
use tidegate_core::contract::{BlobManifest, Contract, Found, Key, Queue, Report, Source, Value};
use tidegate_core::distance::Distance;
use tidegate_core::drain::{Cause, Drain, Outcomes, Stage};
use tidegate_core::ejection::{Ejection, Out, SAMPLES_MAX};
use tidegate_core::health::Health;
use tidegate_core::hold::{Hold, LOSSES_MAX};
use tidegate_core::id::KEYS_MAX;
use tidegate_core::snapshot::Verdict;

use crate::state::{self, Unusable};
use window::WindowText;

mod window;

/// What a board remembers.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Remembered {
    keys: Vec<KeyText>,
    regions: Vec<RegionText>,
    window: WindowText,
}

/// Milliseconds from the moment of writing or reading.
type Away = i64;

#[derive(Debug, Serialize, Deserialize)]
struct KeyText {
    name: String,
    source: SourceText,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SourceText {
    Pointer(String),
    Header(String),
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct RegionText {
    name: String,
    drained: bool,
    drain: Option<DrainText>,
    verdict: String,
    since: Away,
    held: Option<String>,
    hold: HoldText,
    distance: DistanceText,
    endpoints: Vec<EndpointText>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct HoldText {
    routable_since: Option<Away>,
    losses: Vec<Away>,
    waiting: bool,
    frozen_until: Option<Away>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct DistanceText {
    probe_us: Option<u64>,
    recent_us: Option<u64>,
    usual_us: Option<u64>,
    settled_us: Option<u64>,
    strays_since: Option<Away>,
    seen: Option<Away>,
}

#[derive(Debug, Serialize, Deserialize)]
struct EndpointText {
    address: SocketAddr,
    weight: u16,
    #[serde(default)]
    drained: bool,
    #[serde(default)]
    drain: Option<DrainText>,
    #[serde(default)]
    health: HealthText,
    #[serde(default)]
    ejection: EjectionText,
    #[serde(default)]
    proven: Option<Away>,
    #[serde(default)]
    serving: Option<Away>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct HealthText {
    verdict: String,
    since: Away,
    report: Option<ReportText>,
    failure: Option<String>,
    probed: Option<Away>,
    last: String,
    good: u32,
    bad: u32,
    same: u32,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ReportText {
    found: Vec<FoundText>,
    release_id: Option<String>,
    revision: Option<String>,
    build_ts: Option<String>,
    ready: Option<bool>,
    blob_manifest: Option<(u64, String)>,
    queue: Option<(u64, u64, Option<String>)>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FoundText {
    Text(String),
    Integer(i64),
    Flag(bool),
    WrongType(String),
    Missing,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct EjectionText {
    unconnected_in_a_row: u64,
    samples: Vec<(Away, u64, u64)>,
    out: Option<(Away, Away)>,
    times: u32,
    returned: Option<Away>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DrainText {
    cause: String,
    since: Away,
    stage: StageText,
    open_at_start: u64,
    joined: u64,
    moved: u64,
    /// Completed, left by the client, broken by the endpoint, closed by us.
    outcomes: [u64; 4],
    is_overdue: bool,
    is_forced: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StageText {
    Beginning,
    Draining,
    /// After so many milliseconds.
    Drained(u64),
}

impl Remembered {
    /// What a board remembers at this moment.
    pub(super) fn of(memory: &Memory, now: Moment) -> Self {
        let keys = memory.contract.keys.iter().map(|key| KeyText {
            name: key.name.to_string(),
            source: match &key.source {
                Source::Pointer(pointer) => SourceText::Pointer(pointer.to_string()),
                Source::Header(header) => SourceText::Header(header.to_string()),
            },
        });
        let clock = Clock(now);
        let regions = memory.regions.iter().map(|it| clock.region_text(it)).collect();
        let window = clock.window_text(&memory.window);
        Self { keys: keys.collect(), regions, window }
    }

    /// What a board remembers that goes on at this moment.
    ///
    /// # Errors
    /// When it uses a word that this process does not know.
    pub(super) fn memory(self, now: Moment) -> Result<Memory, Unusable> {
        let keys = self.keys.into_iter().take(KEYS_MAX).map(|key| Key {
            name: key.name.into(),
            source: match key.source {
                SourceText::Pointer(pointer) => Source::Pointer(pointer.into()),
                SourceText::Header(header) => Source::Header(header.into()),
            },
            expect: None,
        });
        let clock = Clock(now);
        let regions = self.regions.into_iter().map(|it| clock.region(it));
        Ok(Memory {
            contract: Contract { keys: keys.collect() },
            regions: regions.collect::<Result<_, _>>()?,
            window: clock.window(self.window),
        })
    }
}

/// Turns moments into distances from now, and back.
#[derive(Clone, Copy)]
struct Clock(Moment);

impl Clock {
    fn away(self, moment: Moment) -> Away {
        let distance = |to: Moment, from: Moment| Away::try_from(to.0.saturating_sub(from.0));
        let (ahead, behind) = (distance(moment, self.0), distance(self.0, moment));
        ahead.unwrap_or(Away::MAX).saturating_sub(behind.unwrap_or(Away::MAX))
    }

    fn moment(self, away: Away) -> Moment {
        Moment(self.0.0.saturating_add_signed(away))
    }

    fn region_text(self, region: &RegionMemory) -> RegionText {
        let RegionMemory { hold, distance, .. } = region;
        RegionText {
            name: region.name.to_string(),
            drained: region.drained,
            drain: region.drain.as_ref().map(|it| self.drain_text(it)),
            verdict: region.verdict.word().to_owned(),
            since: self.away(region.since),
            held: region.held.map(|it| it.word().to_owned()),
            hold: HoldText {
                routable_since: hold.routable_since.map(|it| self.away(it)),
                losses: hold.losses.iter().map(|it| self.away(*it)).collect(),
                waiting: hold.waiting,
                frozen_until: hold.frozen_until.map(|it| self.away(it)),
            },
            distance: DistanceText {
                probe_us: distance.probe_us,
                recent_us: distance.recent_us,
                usual_us: distance.usual_us,
                settled_us: distance.settled_us,
                strays_since: distance.strays_since.map(|it| self.away(it)),
                seen: distance.seen.map(|it| self.away(it)),
            },
            endpoints: region.endpoints.iter().map(|it| self.endpoint_text(it)).collect(),
        }
    }

    fn region(self, text: RegionText) -> Result<RegionMemory, Unusable> {
        let RegionText { hold, distance, .. } = text;
        let losses = hold.losses.into_iter().rev().take(LOSSES_MAX).rev();
        let endpoints = text.endpoints.into_iter().map(|it| self.endpoint(it));
        Ok(RegionMemory {
            name: text.name.into(),
            drained: text.drained,
            drain: text.drain.as_ref().and_then(|it| self.drain(it)),
            verdict: verdict(&text.verdict)?,
            since: self.moment(text.since),
            held: text.held.as_deref().map(state::held_of).transpose()?,
            hold: Hold {
                routable_since: hold.routable_since.map(|it| self.moment(it)),
                losses: losses.map(|it| self.moment(it)).collect(),
                waiting: hold.waiting,
                frozen_until: hold.frozen_until.map(|it| self.moment(it)),
            },
            distance: Distance {
                probe_us: distance.probe_us,
                recent_us: distance.recent_us,
                usual_us: distance.usual_us,
                settled_us: distance.settled_us,
                strays_since: distance.strays_since.map(|it| self.moment(it)),
                seen: distance.seen.map(|it| self.moment(it)),
            },
            endpoints: endpoints.collect::<Result<_, _>>()?,
        })
    }

    fn drain_text(self, drain: &Drain) -> DrainText {
        let Outcomes { completed, client_closed, upstream_died, forced } = drain.outcomes;
        DrainText {
            cause: drain.cause.word().to_owned(),
            since: self.away(drain.since),
            stage: match drain.stage {
                Stage::Beginning => StageText::Beginning,
                Stage::Draining => StageText::Draining,
                Stage::Drained { took } => {
                    StageText::Drained(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
                }
            },
            open_at_start: drain.open_at_start,
            joined: drain.joined,
            moved: drain.moved,
            outcomes: [completed, client_closed, upstream_died, forced],
            is_overdue: drain.is_overdue,
            is_forced: drain.is_forced,
        }
    }

    /// A drain; one for a cause that is not known here begins anew, for the cause that it has here.
    fn drain(self, text: &DrainText) -> Option<Drain> {
        let cause = Cause::ALL.into_iter().find(|it| it.word() == text.cause)?;
        let [completed, client_closed, upstream_died, forced] = text.outcomes;
        Some(Drain {
            stage: match &text.stage {
                StageText::Beginning => Stage::Beginning,
                StageText::Draining => Stage::Draining,
                StageText::Drained(ms) => Stage::Drained { took: Duration::from_millis(*ms) },
            },
            open_at_start: text.open_at_start,
            joined: text.joined,
            moved: text.moved,
            outcomes: Outcomes { completed, client_closed, upstream_died, forced },
            is_overdue: text.is_overdue,
            is_forced: text.is_forced,
            ..Drain::new(cause, self.moment(text.since))
        })
    }

    fn endpoint_text(self, endpoint: &EndpointMemory) -> EndpointText {
        let EndpointMemory { health, ejection, .. } = endpoint;
        let samples = ejection.samples.iter();
        EndpointText {
            address: endpoint.address,
            weight: endpoint.weight,
            drained: endpoint.drained,
            drain: endpoint.drain.as_ref().map(|it| self.drain_text(it)),
            health: HealthText {
                verdict: health.verdict.word().to_owned(),
                since: self.away(health.since),
                report: health.report.as_deref().map(report_text),
                failure: health.failure.map(|it| it.to_string()),
                probed: health.probed.map(|it| self.away(it)),
                last: health.last.word().to_owned(),
                good: health.good,
                bad: health.bad,
                same: health.same,
            },
            ejection: EjectionText {
                unconnected_in_a_row: ejection.unconnected_in_a_row,
                samples: samples.map(|(at, all, bad)| (self.away(*at), *all, *bad)).collect(),
                out: ejection.out.map(|it| (self.away(it.from), self.away(it.until))),
                times: ejection.times,
                returned: ejection.returned.map(|it| self.away(it)),
            },
            proven: endpoint.proven.map(|it| self.away(it)),
            serving: endpoint.serving.map(|it| self.away(it)),
        }
    }

    fn endpoint(self, text: EndpointText) -> Result<EndpointMemory, Unusable> {
        let EndpointText { health, ejection, .. } = text;
        let samples = ejection.samples.into_iter().rev().take(SAMPLES_MAX).rev();
        let out = ejection.out.map(|(from, until)| (self.moment(from), self.moment(until)));
        Ok(EndpointMemory {
            address: text.address,
            weight: text.weight,
            drained: text.drained,
            drain: text.drain.as_ref().and_then(|it| self.drain(it)),
            health: Health {
                report: health.report.map(|it| report(it).into()),
                failure: health.failure.as_deref().map(state::failure_of).transpose()?,
                probed: health.probed.map(|it| self.moment(it)),
                verdict: verdict(&health.verdict)?,
                last: verdict(&health.last)?,
                good: health.good,
                bad: health.bad,
                same: health.same,
                ..Health::unknown(self.moment(health.since))
            },
            ejection: Ejection {
                unconnected_in_a_row: ejection.unconnected_in_a_row,
                samples: samples.map(|(at, all, bad)| (self.moment(at), all, bad)).collect(),
                out: out.map(|(from, until)| Out { from, until }),
                times: ejection.times,
                returned: ejection.returned.map(|it| self.moment(it)),
                ..Ejection::default()
            },
            proven: text.proven.map(|it| self.moment(it)),
            serving: text.serving.map(|it| self.moment(it)),
        })
    }
}

fn verdict(word: &str) -> Result<Verdict, Unusable> {
    if word.is_empty() { Ok(Verdict::Unknown) } else { state::verdict_of(word) }
}

fn report_text(report: &Report) -> ReportText {
    let text = |it: &std::sync::Arc<str>| it.to_string();
    let found = report.found.iter().map(|found| match found {
        Found::Value(Value::Text(it)) => FoundText::Text(text(it)),
        Found::Value(Value::Integer(number)) => FoundText::Integer(*number),
        Found::Value(Value::Flag(flag)) => FoundText::Flag(*flag),
        Found::WrongType(kind) => FoundText::WrongType((*kind).to_owned()),
        Found::Missing => FoundText::Missing,
    });
    let queue = |it: &Queue| (it.depth, it.oldest_age_ms, it.watermark.as_ref().map(text));
    ReportText {
        found: found.collect(),
        release_id: report.release_id.as_ref().map(text),
        revision: report.revision.as_ref().map(text),
        build_ts: report.build_ts.as_ref().map(text),
        ready: report.ready,
        blob_manifest: report.blob_manifest.as_ref().map(|it| (it.count, text(&it.digest))),
        queue: report.queue.as_ref().map(queue),
    }
}

fn report(text: ReportText) -> Report {
    let found = text.found.into_iter().map(|found| match found {
        FoundText::Text(text) => Found::Value(Value::Text(text.into())),
        FoundText::Integer(number) => Found::Value(Value::Integer(number)),
        FoundText::Flag(flag) => Found::Value(Value::Flag(flag)),
        FoundText::WrongType(kind) => Found::WrongType(state::wrong_type_of(Some(&kind))),
        FoundText::Missing => Found::Missing,
    });
    let queue = |(depth, oldest_age_ms, watermark): (u64, u64, Option<String>)| Queue {
        depth,
        oldest_age_ms,
        watermark: watermark.map(Into::into),
    };
    let blobs = |(count, digest): (u64, String)| BlobManifest { count, digest: digest.into() };
    Report {
        found: found.collect(),
        release_id: text.release_id.map(Into::into),
        revision: text.revision.map(Into::into),
        build_ts: text.build_ts.map(Into::into),
        ready: text.ready,
        blob_manifest: text.blob_manifest.map(blobs),
        queue: text.queue.map(queue),
    }
}

#[cfg(test)]
mod tests;
