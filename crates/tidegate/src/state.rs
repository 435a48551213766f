//! The world as JSON: written by a running balancer, read back by `explain --state`.
//!
//! Serialization lives here and not in the core, so that the core may change while what operators
//! have recorded stays readable. Everything may be left out of a stated world; what is left out is
//! as the policy wants it.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use tidegate_control::World;
use tidegate_core::Moment;
use tidegate_core::contract::{Accepts, Contract, Found, Report, Value, Weight};
use tidegate_core::id::{EndpointId, Generation, KeySet, RegionId, RegionSet};
use tidegate_core::policy::{EndpointSource, Policy, RegionPolicy};
use tidegate_core::snapshot::{Endpoint, Held, Region, Snapshot, Verdict};

/// The world as JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct State {
    /// Which snapshot it was.
    generation: u64,
    /// The regions.
    regions: Vec<RegionState>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RegionState {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<String>,
    since_ms: u64,
    drained: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<String>,
    /// Whether it has as many requests open as it may take.
    full: bool,
    open: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured_us: Option<u64>,
    disputed: Vec<String>,
    endpoints: Vec<EndpointState>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointState {
    address: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    verdict: Option<String>,
    #[serde(default)]
    since_ms: u64,
    #[serde(default)]
    ejected: bool,
    /// Hundredths of its weight.
    #[serde(default = "full_share")]
    share: u32,
    /// What it reports, by contract key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    report: Option<Map<String, Json>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    release_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    revision: Option<String>,
    /// Where it differs from the contract; told, and not read back.
    #[serde(default)]
    mismatches: Vec<Json>,
    /// Why its last probe failed; told, and not read back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    failure: Option<String>,
}

fn full_share() -> u32 {
    100
}

/// Why a stated world cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// It is not the JSON that was expected.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// It names a region that the policy does not have.
    #[error("the policy has no region `{0}`")]
    Region(String),
    /// It uses a word that is no verdict.
    #[error("`{0}` is no verdict: unknown, green, degraded, mixed, mismatched or dark")]
    Verdict(String),
    /// It uses a word that is no reason to hold a region back.
    #[error("`{0}` holds no region: recovering, waiting_for_operator, frozen or ejected")]
    Held(String),
}

impl State {
    /// The world of a running balancer.
    pub(crate) fn of(world: &World) -> Self {
        let snapshot = &world.snapshot;
        let full = world.full();
        let region = |(id, region): (RegionId, &Region)| RegionState {
            name: region.name.to_string(),
            verdict: Some(region.verdict.word().to_owned()),
            since_ms: region.since.0,
            drained: region.drained,
            held: region.held.map(|it| it.word().to_owned()),
            full: full.contains(id),
            open: world.region(id).map_or(0, |it| it.open.count()),
            measured_us: region.measured_us,
            disputed: key_names(region.disputed, &snapshot.policy.contract),
            endpoints: region
                .endpoints
                .iter()
                .map(|it| EndpointState::of(it, &snapshot.policy.contract))
                .collect(),
        };
        Self { generation: snapshot.generation.0, regions: snapshot.iter().map(region).collect() }
    }

    /// Reads a stated world.
    pub(crate) fn read(text: &str) -> Result<Self, Unusable> {
        Ok(serde_json::from_str(text)?)
    }

    /// The snapshot that this world is under a policy, and the regions that are full in it.
    pub(crate) fn snapshot(
        &self,
        policy: &Arc<Policy>,
        now: Moment,
    ) -> Result<(Snapshot, RegionSet), Unusable> {
        if let Some(stranger) = self.regions.iter().find(|it| policy.region(&it.name).is_none()) {
            return Err(Unusable::Region(stranger.name.clone()));
        }
        let stated = |name: &str| self.regions.iter().find(|it| it.name == name);
        let regions = policy.regions.iter().map(|of_policy| {
            let default = RegionState::default();
            stated(&of_policy.name).unwrap_or(&default).region(of_policy, &policy.contract, now)
        });
        let regions = regions.collect::<Result<Vec<_>, _>>()?;
        let full = self.regions.iter().filter(|it| it.full);
        let full = full.filter_map(|it| policy.region(&it.name)).collect();
        Ok((Snapshot::new(Generation(self.generation), Arc::clone(policy), regions), full))
    }
}

impl RegionState {
    fn region(
        &self,
        of_policy: &RegionPolicy,
        contract: &Contract,
        now: Moment,
    ) -> Result<Region, Unusable> {
        let stated = self.endpoints.iter().map(|it| it.endpoint(contract, now));
        let mut endpoints = stated.collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            let listed = match &of_policy.endpoints {
                EndpointSource::Listed(listed) => listed.iter().map(|it| it.address).collect(),
                EndpointSource::File { .. } => vec![SocketAddr::from(([0, 0, 0, 0], 0))],
            };
            let green =
                listed.into_iter().map(|it| EndpointState::green(it).endpoint(contract, now));
            endpoints = green.collect::<Result<Vec<_>, _>>()?;
        }
        let verdict = match &self.verdict {
            Some(word) => verdict_of(word)?,
            None => best(&endpoints),
        };
        if self.endpoints.is_empty() {
            for endpoint in &mut endpoints {
                endpoint.verdict = of_endpoint(verdict);
            }
        }
        let held = match &self.held {
            Some(word) => Some(held_of(word)?),
            None => None,
        };
        let is_disputed = |name: &str| self.disputed.iter().any(|it| it == name);
        let disputed = contract.iter().filter(|(_, key)| is_disputed(&key.name));
        Ok(Region {
            name: Arc::clone(&of_policy.name),
            verdict,
            since: Moment(self.since_ms),
            drained: self.drained,
            held,
            measured_us: self.measured_us,
            disputed: disputed.map(|(id, _)| id).collect(),
            endpoints,
        })
    }
}

impl EndpointState {
    fn of(endpoint: &Endpoint, contract: &Contract) -> Self {
        let report = endpoint.report.as_deref();
        let mismatch = |it: &tidegate_core::contract::Mismatch| json!({ "key": &*it.name, "kind": it.kind(), "detail": it.to_string() });
        Self {
            address: endpoint.address,
            verdict: Some(endpoint.verdict.word().to_owned()),
            since_ms: endpoint.since.0,
            ejected: endpoint.ejected,
            share: endpoint.share,
            report: report.map(|report| reported(report, contract)),
            release_id: report.and_then(|it| it.release_id.as_deref()).map(str::to_owned),
            revision: report.and_then(|it| it.revision.as_deref()).map(str::to_owned),
            mismatches: endpoint.mismatches.iter().map(mismatch).collect(),
            failure: endpoint.failure.map(|it| it.to_string()),
        }
    }

    fn green(address: SocketAddr) -> Self {
        Self {
            address,
            verdict: None,
            since_ms: 0,
            ejected: false,
            share: full_share(),
            report: None,
            release_id: None,
            revision: None,
            mismatches: Vec::new(),
            failure: None,
        }
    }

    fn endpoint(&self, contract: &Contract, now: Moment) -> Result<Endpoint, Unusable> {
        let found = contract.keys.iter().map(|key| match &self.report {
            Some(report) => report.get(&*key.name).map_or(Found::Missing, found_of),
            None => match key.expect.as_ref().map(|it| &it.accepts) {
                Some(Accepts::Exactly(value) | Accepts::Either { new: value, .. }) => {
                    Found::Value(value.clone())
                }
                Some(Accepts::Agreed) => Found::Value(Value::from("any")),
                None => Found::Missing,
            },
        });
        let report = Report {
            found: found.collect(),
            release_id: self.release_id.as_deref().map(Into::into),
            revision: self.revision.as_deref().map(Into::into),
            ..Report::default()
        };
        let mismatches = contract.differences(&report, now);
        let of_weight = |weight| mismatches.iter().filter(move |it| it.expected.weight == weight);
        let vetoes: KeySet = of_weight(Weight::Veto).map(|it| it.key).collect();
        let verdict = match &self.verdict {
            Some(word) => verdict_of(word)?,
            None if !vetoes.is_empty() => Verdict::Mismatched,
            None if of_weight(Weight::Degrade).next().is_some() => Verdict::Degraded,
            None => Verdict::Green,
        };
        Ok(Endpoint {
            id: EndpointId(0),
            address: self.address,
            share: self.share,
            verdict,
            since: Moment(self.since_ms),
            ejected: self.ejected,
            report: Some(Arc::new(report)),
            mismatches: mismatches.into(),
            vetoes,
            failure: None,
        })
    }
}

fn key_names(keys: KeySet, contract: &Contract) -> Vec<String> {
    let named = contract.iter().filter(|(id, _)| keys.contains(*id));
    named.map(|(_, key)| key.name.to_string()).collect()
}

fn reported(report: &Report, contract: &Contract) -> Map<String, Json> {
    let shown = contract.iter().filter_map(|(id, key)| {
        let json = match report.found(id) {
            Found::Value(Value::Text(text)) => Json::from(&**text),
            Found::Value(Value::Integer(number)) => Json::from(*number),
            Found::Value(Value::Flag(flag)) => Json::from(*flag),
            Found::WrongType(kind) => json!({ "wrong_type": kind }),
            Found::Missing => return None,
        };
        Some((key.name.to_string(), json))
    });
    shown.collect()
}

fn found_of(json: &Json) -> Found {
    match json {
        Json::String(text) => Found::Value(text.as_str().into()),
        Json::Bool(flag) => Found::Value(Value::Flag(*flag)),
        Json::Number(number) => number
            .as_i64()
            .map_or(Found::WrongType("number"), |it| Found::Value(Value::Integer(it))),
        Json::Null => Found::WrongType("null"),
        Json::Array(_) => Found::WrongType("array"),
        Json::Object(_) => Found::WrongType("object"),
    }
}

/// A region whose endpoints are stated and whose verdict is not is as good as its best endpoint.
fn best(endpoints: &[Endpoint]) -> Verdict {
    let order =
        [Verdict::Green, Verdict::Degraded, Verdict::Mismatched, Verdict::Unknown, Verdict::Dark];
    let any = |verdict: &Verdict| endpoints.iter().any(|it| it.verdict == *verdict);
    order.into_iter().find(any).unwrap_or_default()
}

/// What the endpoints of a region are when only the region is stated.
fn of_endpoint(verdict: Verdict) -> Verdict {
    if verdict == Verdict::Mixed { Verdict::Green } else { verdict }
}

fn verdict_of(word: &str) -> Result<Verdict, Unusable> {
    Verdict::from_word(word).ok_or_else(|| Unusable::Verdict(word.to_owned()))
}

fn held_of(word: &str) -> Result<Held, Unusable> {
    let all = [Held::Recovering, Held::Manual, Held::Frozen, Held::Ejected];
    let held = all.into_iter().find(|it| it.word() == word);
    held.ok_or_else(|| Unusable::Held(word.to_owned()))
}
