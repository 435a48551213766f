//! Who brings evidence: one task for each region and kind, from time to time, within a deadline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pingora::connectors::http::Connector;
use serde_json::json;
use tidegate_core::gate::book::NoManifest;
use tidegate_core::gate::evidence::Seen;
use tidegate_core::gate::manifest::{BadManifest, Inventory};
use tidegate_core::gate::probes::{Answer, Measurement, Run, Slot, Unusable};
use tidegate_core::gate::rules::{Asking, GateRules, ProbeRules};
use tidegate_core::health::ProbeFailure;
use tidegate_core::id::Name;
use tidegate_core::policy::Protocol;
use tidegate_core::snapshot::Endpoint;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::answers;
use super::errand::Errand;
use super::{Gates, locked};
use crate::clock;

/// How often it is looked whether a region has somebody to ask.
const PATIENCE: Duration = Duration::from_millis(200);
/// Most by which a pause is made longer or shorter, in percent.
const JITTER_PERCENT: u32 = 10;
/// Longest wait before the first errand: not everybody is asked in the same instant.
const SPREAD_MAX: Duration = Duration::from_millis(200);
/// How often one question is asked before it counts as failed.
const ATTEMPTS: usize = 2;
/// How many questions may fail before the rest of a round is not asked any more.
const FAILURES_MAX: usize = 3;
/// Largest answer with two vectors that is read.
const VECTORS_BYTES_MAX: usize = 1 << 20;

/// What a task brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Manifest,
    Probes,
}

/// One task's region, rules, and way to the book.
#[derive(Clone)]
pub(super) struct Collector {
    pub(super) gates: Gates,
    pub(super) connector: Arc<Connector>,
    pub(super) rules: Arc<GateRules>,
    pub(super) region: Name,
}

/// One endpoint, as errands reach it.
#[derive(Clone, Copy)]
struct Somebody {
    address: std::net::SocketAddr,
    protocol: Protocol,
}

impl Collector {
    /// Brings one kind of evidence for ever.
    pub(super) async fn run(self, kind: Kind) {
        let blobs = self.rules.blobs.as_ref().and_then(|it| it.asking.clone());
        let probes = self.rules.probes.clone();
        sleep(SPREAD_MAX * fastrand::u32(0..=100) / 100).await;
        loop {
            let Some(somebody) = self.somebody() else {
                // What is known stays as it is, and grows stale.
                sleep(PATIENCE).await;
                continue;
            };
            let started = clock::instant();
            let every = match (kind, &blobs, &probes) {
                (Kind::Manifest, Some(asking), _) => {
                    self.bring_manifest(asking, somebody).await;
                    asking.every
                }
                (Kind::Probes, _, Some(probes)) => {
                    self.bring_answers(probes).await;
                    probes.asking.every
                }
                (Kind::Manifest, None, _) | (Kind::Probes, _, None) => return,
            };
            let every = every * fastrand::u32(100 - JITTER_PERCENT..=100 + JITTER_PERCENT) / 100;
            sleep(every.saturating_sub(clock::elapsed_since(started)).max(every / 10)).await;
        }
    }

    /// One of the endpoints that serve.
    fn somebody(&self) -> Option<Somebody> {
        let world = self.gates.handle.world();
        let snapshot = &world.snapshot;
        let id = snapshot.policy.region(&self.region)?;
        let serves = |it: &&Endpoint| it.verdict.is_routable() && !it.drained;
        let serving: Vec<_> = snapshot.region(id)?.endpoints.iter().filter(serves).collect();
        let place = (!serving.is_empty()).then(|| fastrand::usize(0..serving.len()))?;
        let protocol = snapshot.policy.regions.get(id.index())?.protocol;
        Some(Somebody { address: serving.get(place)?.address, protocol })
    }

    fn errand(&self, asking: &Asking, somebody: Somebody, body: Option<Bytes>) -> Errand {
        Errand {
            address: somebody.address,
            protocol: somebody.protocol,
            region: Some(Name::clone(&self.region)),
            path: Name::clone(&asking.path),
            body,
            timeout: asking.timeout,
            body_bytes_max: asking.body_bytes_max,
        }
    }

    async fn bring_manifest(&self, asking: &Asking, somebody: Somebody) {
        let what = match self.errand(asking, somebody, None).run(&self.connector).await {
            Err(failure) => Err(NoManifest::Failed(failure)),
            Ok(body) => list(&body),
        };
        let source = format!("{}{}", somebody.address, asking.path);
        let seen = Seen { at: clock::now(), source: source.into(), what };
        locked(&self.gates.book).listed(&self.region, seen);
    }

    async fn bring_answers(&self, probes: &ProbeRules) {
        let what = self.round(probes).await;
        let source = format!("probe set at {}", probes.asking.path);
        let seen = Seen { at: clock::now(), source: source.into(), what };
        locked(&self.gates.book).answered(&self.region, seen);
    }

    /// Asks all questions once, so many at one time.
    async fn round(&self, probes: &ProbeRules) -> Result<Measurement, Unusable> {
        let mut slots = probes.set.slots();
        let mut asking = JoinSet::new();
        let mut runs: Vec<Run> = Vec::new();
        let (mut failures, mut last) = (0, None);
        loop {
            while failures < FAILURES_MAX && asking.len() < probes.parallel {
                let Some(slot) = slots.next() else { break };
                let (collector, probes) = (self.clone(), probes.clone());
                asking.spawn(async move { (slot, collector.ask_again(&probes, slot).await) });
            }
            match asking.join_next().await {
                None => break,
                Some(Ok((slot, outcome))) => {
                    if let Err(failure) = &outcome {
                        (failures, last) = (failures + 1, Some(*failure));
                    }
                    runs.push((slot, outcome));
                }
                // A panic is this round's, and its slot is missing.
                Some(Err(error)) => tracing::error!(%error, "a question panicked"),
            }
        }
        if let Some(failure) = last {
            runs.extend(slots.map(|slot| (slot, Err(failure))));
        }
        probes.set.measure(probes.measure, &runs)
    }

    /// Asks one question, and once more if that fails.
    async fn ask_again(&self, probes: &ProbeRules, slot: Slot) -> Result<Answer, ProbeFailure> {
        let mut outcome = Err(ProbeFailure::Connect);
        for _ in 0..ATTEMPTS {
            outcome = self.ask(probes, slot).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    async fn ask(&self, probes: &ProbeRules, slot: Slot) -> Result<Answer, ProbeFailure> {
        let somebody = self.somebody().ok_or(ProbeFailure::Connect)?;
        let question = answers::question(&probes.set, slot).ok_or(ProbeFailure::Broken)?;
        let body = Bytes::from(question.to_string());
        let errand = self.errand(&probes.asking, somebody, Some(body));
        let (mut answer, context) = answers::answer(&errand.run(&self.connector).await?)?;
        let Some(embeddings) = &probes.embeddings else { return Ok(answer) };
        // Without a text there is nothing to make a vector of, which is named where it is judged.
        let Some(context) = context else { return Ok(Answer { vectors: None, ..answer }) };
        let wording = question.get("question").and_then(serde_json::Value::as_str);
        let texts = answers::texts(&embeddings.model, [wording.unwrap_or_default(), &context]);
        let errand = Errand {
            address: embeddings.address,
            protocol: Protocol::Http1,
            region: None,
            path: Name::clone(&embeddings.path),
            body: Some(Bytes::from(json!(texts).to_string())),
            timeout: probes.asking.timeout,
            body_bytes_max: VECTORS_BYTES_MAX,
        };
        answer.vectors = Some(answers::vectors(&errand.run(&self.connector).await?)?);
        Ok(answer)
    }
}

fn list(body: &[u8]) -> Result<Inventory, NoManifest> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let lines = body.iter().take(error.valid_up_to()).filter(|it| **it == b'\n').count();
        BadManifest::Line(lines + 1)
    })?;
    Ok(Inventory::parse(text)?)
}
