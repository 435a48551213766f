//! What a session wishes for: the region where its client was, and the release that it had there.

use crate::ask::Ask;
use crate::id::{RegionId, RegionSet};
use crate::policy::{OnDrain, Policy, Require, Route};
use crate::snapshot::{Region, Snapshot, Verdict};

use super::{Assigned, SessionOutcome};

/// The drained region to which this client, and nobody else, may come back; at most one.
///
/// It is in every other respect a region that its session could have, so that it is chosen unless
/// the request itself wants something else.
pub(super) fn staying(snapshot: &Snapshot, ask: &Ask<'_>, route: &Route) -> RegionSet {
    let policy = &snapshot.policy;
    let (Some(session), OnDrain::Stay) = (ask.session, policy.sticky.on_drain) else {
        return RegionSet::EMPTY;
    };
    let own: RegionSet = policy.region(session.region).into_iter().collect();
    let allowed = own.and(route.residency).without(ask.tried).without(ask.full);
    let is_fit = |verdict: Verdict| match route.require {
        _ if !ask.demand.is_empty() => verdict.is_answering(),
        Require::Answer => verdict.is_answering(),
        Require::Contract => {
            verdict.is_routable() || (verdict == Verdict::Mixed && policy.probing.routes_to_mixed())
        }
    };
    let is_left = |region: &Region| match route.require {
        Require::Contract if ask.demand.is_empty() => region.has_left(Verdict::is_routable),
        Require::Contract | Require::Answer => region.has_left(Verdict::is_answering),
    };
    let drained = allowed.iter().filter(|id| {
        let region = snapshot.region(*id).filter(|it| it.drained && is_left(it));
        region.is_some_and(|it| it.held.is_none() && is_fit(it.verdict))
    });
    drained.collect()
}

/// The region of the session, if it may answer.
///
/// One that is held back may only answer when nobody else can, and one that is full leaves its
/// sessions to others as it does everything else: a capacity that did not count for those who come
/// back would not count at all.
pub(super) fn region(snapshot: &Snapshot, ask: &Ask<'_>, reachable: RegionSet) -> Option<RegionId> {
    let id = snapshot.policy.region(ask.session?.region)?;
    let is_free = reachable.contains(id) && !ask.full.contains(id);
    let is_held = snapshot.region(id).is_none_or(|it| it.held.is_some());
    (is_free && !is_held).then_some(id)
}

/// What became of the session of a request that this region answers.
pub(super) fn outcome(snapshot: &Snapshot, ask: &Ask<'_>, chosen: RegionId) -> SessionOutcome {
    let Some(session) = ask.session else { return SessionOutcome::Absent };
    match snapshot.policy.region(session.region) {
        None => SessionOutcome::Orphaned,
        Some(region) if region == chosen => SessionOutcome::Honoured,
        Some(_) => SessionOutcome::Moved,
    }
}

/// The release that a client should get: that of its session, or else what the split says.
///
/// A session has no claim to a release that a split leaves out or gives nothing: that is how an
/// operator takes it back.
pub(super) fn assigned<'a>(policy: &'a Policy, ask: &Ask<'a>) -> Option<(Assigned, &'a str)> {
    let split = &policy.releases.split;
    let kept = ask.session.and_then(|it| it.release);
    if split.is_empty() {
        return kept.map(|release| (Assigned::Session, release));
    }
    let kept = kept.and_then(|release| {
        split.iter().position(|(name, weight)| **name == *release && 0 < *weight)
    });
    let place = kept.or_else(|| policy.releases.assigned(ask.client_hash))?;
    Some((Assigned::Split(place), split.get(place).map(|(name, _)| &**name)?))
}
