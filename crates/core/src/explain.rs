//! Why a request goes where it goes: the same walk as routing, with every reason kept.

use crate::ask::Ask;
use crate::contract::Found;
use crate::id::{Name, RegionId};
use crate::route::{Cause, Choice, Refusal, Trace, walk};
use crate::snapshot::Snapshot;

/// A decision with every region that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What [`crate::route::route`] answers.
    pub outcome: Result<Choice, Refusal>,
    /// The other regions, in the order in which the filters removed them.
    pub passed: Vec<(RegionId, Cause)>,
}

/// One version that a request demands and a region does not report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The region.
    pub region: RegionId,
    /// The contract key, or `release_id`.
    pub key: Name,
    /// What the request demands.
    pub asked: Name,
    /// What an endpoint of the region reports instead.
    pub found: Found,
}

struct Notes(Vec<(RegionId, Cause)>);

impl Trace for Notes {
    const RECORDS: bool = true;
    fn passed(&mut self, region: RegionId, cause: Cause) {
        self.0.push((region, cause));
    }
}

/// Decides which region answers `ask`, and says why every other one does not.
pub fn explain(snapshot: &Snapshot, ask: &Ask<'_>) -> Explanation {
    let mut notes = Notes(Vec::new());
    let outcome = walk(snapshot, ask, &mut notes);
    Explanation { outcome, passed: notes.0 }
}

/// Where each region differs from what the request demands.
///
/// A region is judged by the endpoint that comes closest, so that a rollout shows the difference
/// that is left rather than the one that is going away. A region without any report differs on
/// every key as [`Found::Missing`].
pub fn differences(snapshot: &Snapshot, ask: &Ask<'_>) -> Vec<Difference> {
    let route = snapshot.policy.routes.get(ask.route);
    let inside = |id| route.is_none_or(|route| route.residency.contains(id));
    snapshot
        .iter()
        .filter(|(id, _)| inside(*id))
        .flat_map(|(id, region)| {
            let reports = region.endpoints.iter().map(|it| it.report.as_deref());
            let closest = reports.map(|report| of_report(snapshot, ask, (id, report)));
            closest.min_by_key(Vec::len).unwrap_or_else(|| of_report(snapshot, ask, (id, None)))
        })
        .collect()
}

fn of_report(
    snapshot: &Snapshot,
    ask: &Ask<'_>,
    (region, report): (RegionId, Option<&crate::contract::Report>),
) -> Vec<Difference> {
    let mut differences: Vec<_> = ask
        .demand
        .keys()
        .filter(|(key, asked)| !report.is_some_and(|it| it.says(*key, asked)))
        .filter_map(|(key, asked)| {
            let name = snapshot.policy.contract.key(key)?.name.clone();
            let found = report.map_or(Found::Missing, |it| it.found(key).clone());
            Some(Difference { region, key: name, asked: asked.into(), found })
        })
        .collect();
    let release = report.and_then(|it| it.release_id.clone());
    if let Some(asked) = ask.demand.release.filter(|it| release.as_deref() != Some(*it)) {
        let found =
            release.map_or(Found::Missing, |it| Found::Value(crate::contract::Value::Text(it)));
        differences.push(Difference {
            region,
            key: "release_id".into(),
            asked: asked.into(),
            found,
        });
    }
    differences
}
