//! The world as JSON: written by a running balancer, read back by `explain --state`.
//!
//! Serialization lives here and not in the core, so that the core may change while what operators
//! have recorded stays readable. Everything may be left out of a stated world; what is left out is
//! as the policy wants it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::admin::open::drain;
use crate::admin::window;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use tidegate_control::{World, clock};
use tidegate_core::Moment;
use tidegate_core::contract::{Accepts, Contract, Found, Report, Value, Weight};
use tidegate_core::drain::{Cause, Flip};
use tidegate_core::health::ProbeFailure;
use tidegate_core::id::{EndpointId, Epoch, Generation, KeySet, RegionId, RegionSet};
use tidegate_core::ownership::Standing;
use tidegate_core::policy::owning::PartitionPolicy;
use tidegate_core::policy::{EndpointSource, Policy, RegionPolicy};
use tidegate_core::snapshot::{Endpoint, Held, Owner, Region, Snapshot, Verdict};

/// What a report may have at a key that is no value of a contract, besides an object.
const WRONG_TYPES: [&str; 6] =
    ["array", "null", "number", "oversized string", "repeated header", "header that is not UTF-8"];

/// The world as JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct State {
    /// Which snapshot it was.
    generation: u64,
    /// The policy in force; nothing is decided by it.
    #[serde(skip_serializing_if = "Json::is_null")]
    policy: Json,
    /// The regions.
    regions: Vec<RegionState>,
    /// Who owns what; each partition is at home and open when left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    owners: Vec<OwnerState>,
    /// The failover window; told, and not read back.
    #[serde(skip_serializing_if = "Json::is_null")]
    window: Json,
    /// What has left the policy and has something open still; told, and not read back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removed: Vec<Json>,
}

/// Who owns a partition.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnerState {
    partition: String,
    region: String,
    epoch: u64,
    standing: String,
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
    /// How it is being drained; told, and not read back.
    #[serde(skip_serializing_if = "Option::is_none")]
    drain: Option<Json>,
    /// Its endpoints; as the policy lists them when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoints: Option<Vec<EndpointState>>,
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
    #[serde(default)]
    drained: bool,
    /// What it has open; told, and not read back.
    #[serde(default)]
    open: u64,
    /// How it is being drained; told, and not read back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    drain: Option<Json>,
    /// Hundredths of its weight.
    #[serde(default = "full_share")]
    share: u32,
    /// What it reports, by contract key.
    #[serde(default)]
    report: Reported,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    release_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    revision: Option<String>,
    /// Where it differs from the contract; told, and not read back.
    #[serde(default)]
    mismatches: Vec<Json>,
    /// Why its last probe failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    failure: Option<String>,
}

/// What an endpoint reports.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Option<Map<String, Json>>", into = "Option<Map<String, Json>>")]
enum Reported {
    /// Nobody says, so it is what the policy wants.
    #[default]
    AsWanted,
    /// It never reported anything: `null`.
    Nothing,
    /// This.
    Keys(Map<String, Json>),
}

impl From<Option<Map<String, Json>>> for Reported {
    fn from(report: Option<Map<String, Json>>) -> Self {
        report.map_or(Self::Nothing, Self::Keys)
    }
}

impl From<Reported> for Option<Map<String, Json>> {
    fn from(report: Reported) -> Self {
        match report {
            Reported::AsWanted | Reported::Nothing => None,
            Reported::Keys(keys) => Some(keys),
        }
    }
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
    /// It uses a word that is no standing of an owner.
    #[error("`{0}` is no standing: open, opening, unknown, outdated or gone_back")]
    Standing(String),
    /// It gives a reason for which no probe fails.
    #[error("no probe fails because of `{0}`")]
    Failure(String),
}

impl State {
    /// The world of a running balancer.
    pub(crate) fn of(world: &World, drains: &[Flip]) -> Self {
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
            drain: drain_of(drains, region, None),
            endpoints: Some(endpoints((id, region), world, drains)),
        };
        let removed = drains.iter().filter(|it| it.drain.cause == Cause::Removed);
        Self {
            policy: Json::Null,
            generation: snapshot.generation.0,
            regions: snapshot.iter().map(region).collect(),
            owners: owners(snapshot),
            window: window::told(snapshot, clock::now()),
            removed: removed.map(|it| drain(it, clock::now())).collect(),
        }
    }

    /// The same with what is known of the policy in force.
    pub(crate) fn with_policy(self, policy: Json) -> Self {
        Self { policy, ..self }
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
        let mut snapshot = Snapshot::new(Generation(self.generation), Arc::clone(policy), regions);
        snapshot.owners = self.owned(&snapshot)?;
        Ok((snapshot, full))
    }
}

impl State {
    /// Who owns each partition of the policy.
    fn owned(&self, snapshot: &Snapshot) -> Result<Arc<[Owner]>, Unusable> {
        let rules = snapshot.policy.ownership.as_ref();
        let partitions = rules.map(|it| &*it.partitions).unwrap_or_default();
        let owner = |of_policy: &PartitionPolicy| {
            let stated = self.owners.iter().find(|it| it.partition == *of_policy.name);
            let Some(OwnerState { region, epoch, standing, .. }) = stated else {
                let (region, standing) = (Some(of_policy.home), Standing::Open);
                return Ok(Owner { region, epoch: Epoch(0), standing });
            };
            let id = snapshot.policy.region(region);
            let region = id.ok_or_else(|| Unusable::Region(region.clone()))?;
            let found = STANDINGS.into_iter().find(|it| it.word() == *standing);
            let standing = found.ok_or_else(|| Unusable::Standing(standing.clone()))?;
            Ok(Owner { region: Some(region), epoch: Epoch(*epoch), standing })
        };
        partitions.iter().map(owner).collect()
    }
}

const STANDINGS: [Standing; 5] =
    [Standing::Open, Standing::Opening, Standing::Unknown, Standing::Outdated, Standing::GoneBack];

/// Who owns each partition, by names.
fn owners(snapshot: &Snapshot) -> Vec<OwnerState> {
    let rules = snapshot.policy.ownership.as_ref();
    let partitions = rules.map(|it| &*it.partitions).unwrap_or_default();
    let state = |(partition, owner): (&PartitionPolicy, &Owner)| OwnerState {
        partition: partition.name.to_string(),
        region: owner.region.map_or("-", |it| snapshot.name(it)).to_owned(),
        epoch: owner.epoch.0,
        standing: owner.standing.word().to_owned(),
    };
    partitions.iter().zip(&*snapshot.owners).map(state).collect()
}

impl RegionState {
    fn region(
        &self,
        of_policy: &RegionPolicy,
        contract: &Contract,
        now: Moment,
    ) -> Result<Region, Unusable> {
        let as_listed = if self.endpoints.is_none() { listed(of_policy) } else { Vec::new() };
        let stated = self.endpoints.as_ref().unwrap_or(&as_listed);
        let endpoints = stated.iter().map(|it| it.endpoint(contract, now));
        let mut endpoints = endpoints.collect::<Result<Vec<_>, _>>()?;
        let verdict = match &self.verdict {
            Some(word) => verdict_of(word)?,
            None => best(&endpoints),
        };
        if self.endpoints.is_none() {
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
            drained: endpoint.drained,
            open: 0,
            drain: None,
            share: endpoint.share,
            report: report.map(|report| reported(report, contract)).into(),
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
            drained: false,
            open: 0,
            drain: None,
            share: full_share(),
            report: Reported::AsWanted,
            release_id: None,
            revision: None,
            mismatches: Vec::new(),
            failure: None,
        }
    }

    /// What it reports, unless it never reported anything.
    fn report(&self, contract: &Contract) -> Option<Report> {
        let found = contract.keys.iter().map(|key| match &self.report {
            Reported::Keys(report) => report.get(&*key.name).map_or(Found::Missing, found_of),
            Reported::Nothing => Found::Missing,
            Reported::AsWanted => match key.expect.as_ref().map(|it| &it.accepts) {
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
        (!matches!(self.report, Reported::Nothing)).then_some(report)
    }

    fn endpoint(&self, contract: &Contract, now: Moment) -> Result<Endpoint, Unusable> {
        let report = self.report(contract);
        let mismatches = report.as_ref().map_or_else(Vec::new, |it| contract.differences(it, now));
        let of_weight = |weight| mismatches.iter().filter(move |it| it.expected.weight == weight);
        let vetoes: KeySet = of_weight(Weight::Veto).map(|it| it.key).collect();
        let verdict = match &self.verdict {
            Some(word) => verdict_of(word)?,
            None if report.is_none() => Verdict::Unknown,
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
            drained: self.drained,
            report: report.map(Arc::new),
            mismatches: mismatches.into(),
            vetoes,
            failure: self.failure.as_deref().map(failure_of).transpose()?,
        })
    }
}

fn endpoints(
    (id, region): (RegionId, &Region),
    world: &World,
    drains: &[Flip],
) -> Vec<EndpointState> {
    let contract = &world.snapshot.policy.contract;
    let open = world.region(id).into_iter().flat_map(|it| &it.endpoints);
    let open = open.map(|it| it.traffic.reading().open);
    let endpoint = |(endpoint, open): (&Endpoint, u64)| EndpointState {
        open,
        drain: drain_of(drains, region, Some(endpoint.address)),
        ..EndpointState::of(endpoint, contract)
    };
    region.endpoints.iter().zip(open).map(endpoint).collect()
}

/// The drain of a region or of one of its endpoints, if there is one.
fn drain_of(drains: &[Flip], region: &Region, endpoint: Option<SocketAddr>) -> Option<Json> {
    let mut drains = drains.iter().filter(|it| it.drain.cause != Cause::Removed);
    let flip = drains.find(|it| it.region == region.name && it.endpoint == endpoint)?;
    Some(drain(flip, clock::now()))
}

/// The endpoints of a region of which only the region is stated.
fn listed(region: &RegionPolicy) -> Vec<EndpointState> {
    match &region.endpoints {
        EndpointSource::Listed(listed) => {
            listed.iter().map(|it| EndpointState::green(it.address)).collect()
        }
        EndpointSource::File { .. } => {
            vec![EndpointState::green(SocketAddr::from(([0, 0, 0, 0], 0)))]
        }
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
        Json::Object(it) => {
            Found::WrongType(wrong_type_of(it.get("wrong_type").and_then(Json::as_str)))
        }
    }
}

/// The kind of a value that was recorded as none; an object where nothing else is recorded.
pub(crate) fn wrong_type_of(recorded: Option<&str>) -> &'static str {
    WRONG_TYPES.into_iter().find(|it| recorded == Some(it)).unwrap_or("object")
}

/// The failure of a probe that a text tells.
pub(crate) fn failure_of(text: &str) -> Result<ProbeFailure, Unusable> {
    let status = text.strip_prefix("status ").and_then(|it| it.split(' ').next()?.parse().ok());
    let all = [
        ProbeFailure::Connect,
        ProbeFailure::Timeout,
        ProbeFailure::Broken,
        ProbeFailure::TooLarge,
        ProbeFailure::NotJson,
        ProbeFailure::NotReady,
    ];
    let mut all = all.into_iter().chain(status.map(ProbeFailure::Status));
    all.find(|it| it.to_string() == text).ok_or_else(|| Unusable::Failure(text.to_owned()))
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

pub(crate) fn verdict_of(word: &str) -> Result<Verdict, Unusable> {
    Verdict::from_word(word).ok_or_else(|| Unusable::Verdict(word.to_owned()))
}

pub(crate) fn held_of(word: &str) -> Result<Held, Unusable> {
    let all = [Held::Recovering, Held::Manual, Held::Frozen, Held::Ejected];
    let held = all.into_iter().find(|it| it.word() == word);
    held.ok_or_else(|| Unusable::Held(word.to_owned()))
}
