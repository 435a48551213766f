//! Which region answers: one pure function over a snapshot and an ask.
//!
//! Filters come in a fixed order, and each keeps its reason: residency, drained or dark, contract,
//! ownership, already tried, pin, session, release, nearest. [`route`] runs them silently; [`crate::explain`] runs the
//! very same ones and writes down every region that was passed over.

use crate::ask::{Ask, Demand, Session};
use crate::id::{Epoch, RegionId, RegionSet};
use crate::policy::{PinRule, Policy, Require, Route, Strategy};
use crate::snapshot::{Endpoint, Held, Snapshot, Verdict};

mod owner;
mod session;
#[cfg(test)]
mod tests;

pub use owner::owner_of;

/// Where a request goes, and by which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The region.
    pub region: RegionId,
    /// The rule that chose it.
    pub reason: Reason,
    /// What became of the pin.
    pub pin: PinOutcome,
    /// What became of the session.
    pub session: SessionOutcome,
    /// Who assigned a release, if somebody did.
    pub assigned: Option<Assigned>,
    /// The epoch under which its owner takes it, if it is a write that somebody owns.
    pub epoch: Option<Epoch>,
}

impl Choice {
    /// The name of the assigned release, for the policy and the session that were decided on.
    pub fn release<'a>(&self, policy: &'a Policy, session: Option<Session<'a>>) -> Option<&'a str> {
        match self.assigned? {
            Assigned::Split(place) => policy.releases.split.get(place).map(|(name, _)| &**name),
            Assigned::Session => session?.release,
        }
    }
}

/// Who assigned a release to a request that demands none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Assigned {
    /// The policy's split, or the session's side of it: the release at this place.
    Split(usize),
    /// The session, where nothing is split.
    Session,
}

/// The rule that chose a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The request asked for this region.
    Pin,
    /// The client was there before.
    Session,
    /// It owns the partition of the request.
    Owner,
    /// It is the nearest that may answer.
    Nearest,
    /// It is the nearest with room: a nearer one is full.
    Spill,
    /// Nothing better is left, so a region that is being held back answers.
    LastResort,
}

impl Reason {
    /// The reason as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pin => "pin",
            Self::Session => "session",
            Self::Owner => "owner",
            Self::Nearest => "nearest",
            Self::Spill => "spill",
            Self::LastResort => "last_resort",
        }
    }
}

/// What became of the pin of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PinOutcome {
    /// There was none, or the route ignores pins.
    Absent,
    /// The pinned region answers.
    Honoured,
    /// No region has this name.
    Unknown,
    /// The pinned region may not answer now.
    Unavailable,
}

impl PinOutcome {
    /// The outcome as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Honoured => "honoured",
            Self::Unknown => "unknown",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What became of the session of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionOutcome {
    /// There was none, or the route keeps nobody.
    Absent,
    /// The region of the session answers.
    Honoured,
    /// Another region answers: its own may not now, or the request wants another one.
    Moved,
    /// No region has this name any more.
    Orphaned,
}

impl SessionOutcome {
    /// The outcome as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Honoured => "honoured",
            Self::Moved => "moved",
            Self::Orphaned => "orphaned",
        }
    }
}

/// Why no region may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// No region reports, or ever reported, what the request demands.
    #[error("no region meets the versions that the request demands")]
    Unmet,
    /// No endpoint reports the release.
    #[error("no region runs the release that the request demands")]
    UnknownRelease,
    /// A region has what the request demands, but cannot answer now.
    #[error("the region that meets the request's demands is not available")]
    DemandedIsDown,
    /// The pin is strict and its region may not answer.
    #[error("the pinned region is not available, and the pin is strict")]
    PinUnavailable,
    /// Only regions outside the route's residency could answer.
    #[error("no region inside the route's residency is available")]
    OutsideResidency,
    /// The owner of the partition may not answer, and nobody else may.
    #[error("the region that owns this partition is not available")]
    OwnerUnavailable,
    /// This balancer does not know, or not any more, who owns the partition.
    #[error("it is not certain now which region owns this partition")]
    OwnerUnsure,
    /// The partition is being moved, and its former owner may still be written to.
    #[error("this partition is being moved to another region")]
    OwnerMoving,
    /// Other balancers divide into other partitions.
    #[error("the policy of this balancer divides into other partitions than the store")]
    OwnerOutdated,
    /// Every region that could answer is full.
    #[error("every available region is at its capacity")]
    Full,
    /// Every region that could answer was tried and could not be reached.
    #[error("no available region could be reached")]
    Unreachable,
    /// No region is routable.
    #[error("no region is available")]
    NoRegion,
}

impl Refusal {
    /// Every refusal there is.
    pub const ALL: [Self; 12] = [
        Self::Unmet,
        Self::UnknownRelease,
        Self::DemandedIsDown,
        Self::PinUnavailable,
        Self::OutsideResidency,
        Self::OwnerUnavailable,
        Self::OwnerUnsure,
        Self::OwnerMoving,
        Self::OwnerOutdated,
        Self::Full,
        Self::Unreachable,
        Self::NoRegion,
    ];

    /// The refusal as the stable code of an answer.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unmet => "contract_unmet",
            Self::UnknownRelease => "release_unknown",
            Self::DemandedIsDown => "contract_unavailable",
            Self::PinUnavailable => "pin_unavailable",
            Self::OutsideResidency => "residency_unavailable",
            Self::OwnerUnavailable => "owner_unavailable",
            Self::OwnerUnsure => "ownership_unsure",
            Self::OwnerMoving => "ownership_moving",
            Self::OwnerOutdated => "ownership_outdated",
            Self::Full => "capacity_exhausted",
            Self::Unreachable => "region_unreachable",
            Self::NoRegion => "no_region_available",
        }
    }
}

/// Why a region was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The route's residency rule does not include it.
    OutsideResidency,
    /// The operator takes it out.
    Drained,
    /// Its verdict: unknown, dark, mismatched or mixed.
    Verdict(Verdict),
    /// None of its endpoints reports what the request demands.
    Unmet,
    /// It does not own the partition of the request.
    NotOwner,
    /// None of its endpoints runs the release that the split or the session assigned.
    OtherRelease,
    /// It was tried for this request and could not be reached.
    Tried,
    /// The request is pinned to another region.
    NotPinned,
    /// The client was in another region, which may still answer.
    NotInSession,
    /// It has as many requests open as it may take.
    Full,
    /// It is held back.
    Held(Held),
    /// It differs on keys that degrade, and a region that does not could answer.
    Degraded,
    /// A nearer one could answer.
    Farther,
}

impl Cause {
    /// The cause as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::OutsideResidency => "outside_residency",
            Self::Drained => "drained",
            Self::Verdict(verdict) => verdict.word(),
            Self::Unmet => "demand_unmet",
            Self::NotOwner => "not_owner",
            Self::OtherRelease => "other_release",
            Self::Tried => "tried",
            Self::NotPinned => "not_pinned",
            Self::NotInSession => "not_in_session",
            Self::Full => "full",
            Self::Held(held) => held.word(),
            Self::Degraded => "degraded",
            Self::Farther => "farther",
        }
    }
}

/// Decides which region answers `ask`.
///
/// A demand of the request beats its pin, a pin beats the session, and a session beats distance.
/// Every one of them but a demand and a strict pin is a wish: a region that is not available is
/// passed over.
///
/// # Errors
/// Why nobody may answer. An ask for a route that the policy does not have is refused with
/// [`Refusal::NoRegion`].
pub fn route(snapshot: &Snapshot, ask: &Ask<'_>) -> Result<Choice, Refusal> {
    walk(snapshot, ask, &mut Silent)
}

/// Whether an endpoint of an eligible region may serve a request.
///
/// `assigned` is the release that the split or the session assigned, if one did.
pub fn admits(
    route: &Route,
    endpoint: &Endpoint,
    demand: &Demand<'_>,
    assigned: Option<&str>,
) -> bool {
    if endpoint.drained || !endpoint.verdict.is_answering() {
        return false;
    }
    if assigned.is_some_and(|it| endpoint.release().map(|name| &**name) != Some(it)) {
        return false;
    }
    let matches = match route.require {
        Require::Answer => true,
        Require::Contract => {
            // A demanded key is judged by the demand; all others by the active contract.
            endpoint.verdict.is_routable()
                || (!demand.is_empty() && endpoint.vetoes.without(demand.key_set()).is_empty())
        }
    };
    matches
        && (demand.is_empty()
            || endpoint.report.as_ref().is_some_and(|report| demand.met_by(report)))
}

/// Takes note of every region that is passed over.
pub(crate) trait Trace {
    /// Whether notes are taken at all; when not, causes are not even looked for.
    const RECORDS: bool;
    /// The region was passed over.
    fn passed(&mut self, region: RegionId, cause: Cause);
}

struct Silent;

impl Trace for Silent {
    const RECORDS: bool = false;
    fn passed(&mut self, _: RegionId, _: Cause) {}
}

pub(crate) fn walk<T: Trace>(
    snapshot: &Snapshot,
    ask: &Ask<'_>,
    trace: &mut T,
) -> Result<Choice, Refusal> {
    let Some(route) = snapshot.policy.routes.get(ask.route) else { return Err(Refusal::NoRegion) };
    let everywhere: RegionSet =
        if T::RECORDS { snapshot.iter().map(|(id, _)| id).collect() } else { RegionSet::ALL };
    let allowed =
        narrow(trace, everywhere, everywhere.and(route.residency), |_| Cause::OutsideResidency);
    let staying = session::staying(snapshot, ask, route);
    let matching = filter_by_contract(snapshot, ask, route, (allowed, staying), trace);
    if matching.is_empty() {
        return Err(nobody(snapshot, ask, route));
    }
    let owner::Left { regions: matching, epoch, is_owner } =
        owner::filter(snapshot, ask, route, matching, trace)?;
    let reachable = narrow(trace, matching, matching.without(ask.tried), |_| Cause::Tried);
    if reachable.is_empty() {
        return Err(Refusal::Unreachable);
    }
    let chosen = |region, reason, pin, assigned| {
        let session = session::outcome(snapshot, ask, region);
        Choice { region, reason, pin, session, assigned, epoch }
    };
    let pin = match pinned(snapshot, ask, route, reachable.without(staying))? {
        Ok(region) => {
            let cause = |it| if staying.contains(it) { Cause::Drained } else { Cause::NotPinned };
            let only = narrow(trace, reachable, RegionSet::only(region), cause);
            let (_, assigned) = filter_by_release(snapshot, ask, route, only, trace);
            return Ok(chosen(region, Reason::Pin, PinOutcome::Honoured, assigned));
        }
        Err(outcome) => outcome,
    };
    if let Some(region) = session::region(snapshot, ask, reachable) {
        let only = narrow(trace, reachable, RegionSet::only(region), |_| Cause::NotInSession);
        let (_, assigned) = filter_by_release(snapshot, ask, route, only, trace);
        return Ok(chosen(region, Reason::Session, pin, assigned));
    }
    let (released, assigned) = filter_by_release(snapshot, ask, route, reachable, trace);
    let (region, reason) = nearest(snapshot, ask, route, released, trace)?;
    let reason = if is_owner { Reason::Owner } else { reason };
    Ok(chosen(region, reason, pin, assigned))
}

/// Keeps the regions of `to`, and notes why each other one of `from` is passed over.
fn narrow<T: Trace>(
    trace: &mut T,
    from: RegionSet,
    to: RegionSet,
    cause: impl Fn(RegionId) -> Cause,
) -> RegionSet {
    if T::RECORDS {
        from.without(to).iter().for_each(|region| trace.passed(region, cause(region)));
    }
    to
}

fn filter_by_contract<T: Trace>(
    snapshot: &Snapshot,
    ask: &Ask<'_>,
    route: &Route,
    (allowed, staying): (RegionSet, RegionSet),
    trace: &mut T,
) -> RegionSet {
    let answering = allowed.and(snapshot.answering).or(staying);
    let answering = narrow(trace, allowed, answering, |region| match snapshot.region(region) {
        Some(region) if region.is_drained(Verdict::is_answering) => Cause::Drained,
        Some(region) => Cause::Verdict(region.verdict),
        None => Cause::Verdict(Verdict::Unknown),
    });
    let matching = match (ask.demand.is_empty(), route.require) {
        (true, Require::Contract) => answering.and(snapshot.routable.or(staying)),
        (true, Require::Answer) => answering,
        (false, _) => regions_where(answering, |id| demand_met(snapshot, ask, route, id)),
    };
    narrow(trace, answering, matching, |region| match snapshot.region(region) {
        Some(region) if ask.demand.is_empty() && region.verdict.is_routable() => Cause::Drained,
        Some(region) if ask.demand.is_empty() => Cause::Verdict(region.verdict),
        Some(_) | None => Cause::Unmet,
    })
}

fn demand_met(snapshot: &Snapshot, ask: &Ask<'_>, route: &Route, id: RegionId) -> bool {
    let disputed = snapshot.region(id).map(|it| it.disputed).unwrap_or_default();
    let agreed = snapshot.policy.probing.routes_to_mixed()
        || route.require == Require::Answer
        || disputed.without(ask.demand.key_set()).is_empty();
    agreed && snapshot.kinds(id).any(|it| admits(route, it, &ask.demand, None))
}

/// Regions that run the release which the session or the split assigns to this client.
///
/// An assignment is not the client's own wish, so it keeps nobody from an answer: all regions stay
/// when none of them runs the release, or when those that do are full and others are not.
fn filter_by_release<T: Trace>(
    snapshot: &Snapshot,
    ask: &Ask<'_>,
    route: &Route,
    among: RegionSet,
    trace: &mut T,
) -> (RegionSet, Option<Assigned>) {
    if ask.demand.release.is_some() {
        return (among, None);
    }
    let Some((assigned, name)) = session::assigned(&snapshot.policy, ask) else {
        return (among, None);
    };
    let running = regions_where(among, |id| {
        let mut kinds = snapshot.kinds(id);
        kinds.any(|it| !it.ejected && admits(route, it, &ask.demand, Some(name)))
    });
    let has_room = |set: RegionSet| !set.without(ask.full).is_empty();
    if running.is_empty() || (has_room(among) && !has_room(running)) {
        return (among, None);
    }
    (narrow(trace, among, running, |_| Cause::OtherRelease), Some(assigned))
}

fn regions_where(among: RegionSet, test: impl Fn(RegionId) -> bool) -> RegionSet {
    among.iter().filter(|it| test(*it)).collect()
}

/// The pinned region, or what became of the pin.
fn pinned(
    snapshot: &Snapshot,
    ask: &Ask<'_>,
    route: &Route,
    reachable: RegionSet,
) -> Result<Result<RegionId, PinOutcome>, Refusal> {
    let Some(pin) = ask.pin.filter(|_| route.pin != PinRule::Ignore) else {
        return Ok(Err(PinOutcome::Absent));
    };
    let outcome = match snapshot.policy.region(pin.region) {
        Some(region) if reachable.contains(region) => return Ok(Ok(region)),
        Some(_) => PinOutcome::Unavailable,
        None => PinOutcome::Unknown,
    };
    if pin.strict || route.pin == PinRule::Require {
        return Err(Refusal::PinUnavailable);
    }
    Ok(Err(outcome))
}

fn nearest<T: Trace>(
    snapshot: &Snapshot,
    ask: &Ask<'_>,
    route: &Route,
    reachable: RegionSet,
    trace: &mut T,
) -> Result<(RegionId, Reason), Refusal> {
    let order = match route.strategy {
        Strategy::Nearest => &snapshot.nearest,
        Strategy::Measured => &snapshot.measured,
    };
    let roomy = narrow(trace, reachable, reachable.without(ask.full), |_| Cause::Full);
    let mut near = order.iter().copied().filter(|it| reachable.contains(*it));
    let first = near.next().ok_or(Refusal::NoRegion)?;
    let chosen = if roomy.contains(first) {
        first
    } else {
        near.find(|it| roomy.contains(*it)).ok_or(Refusal::Full)?
    };
    let held = |id| snapshot.region(id).and_then(|region| region.held);
    narrow(trace, roomy, RegionSet::only(chosen), |id| behind(snapshot, id, chosen));
    let reason = match () {
        () if held(chosen).is_some() => Reason::LastResort,
        () if chosen != first => Reason::Spill,
        () => Reason::Nearest,
    };
    Ok((chosen, reason))
}

/// Why a region that could answer as well stands behind the chosen one.
fn behind(snapshot: &Snapshot, id: RegionId, chosen: RegionId) -> Cause {
    let is_preferred = |id| snapshot.region(id).is_some_and(|it| it.verdict.is_preferred());
    match snapshot.region(id).map(|it| (it.held, it.verdict)) {
        Some((Some(held), _)) => Cause::Held(held),
        Some((None, _)) if is_preferred(id) || !is_preferred(chosen) => Cause::Farther,
        Some((None, Verdict::Degraded)) => Cause::Degraded,
        Some((None, verdict)) => Cause::Verdict(verdict),
        None => Cause::Farther,
    }
}

/// Why no region of the route's residency matches.
fn nobody(snapshot: &Snapshot, ask: &Ask<'_>, route: &Route) -> Refusal {
    if ask.demand.is_empty() {
        let elsewhere = match route.require {
            Require::Contract => snapshot.routable,
            Require::Answer => snapshot.answering,
        };
        let outside = elsewhere.without(route.residency);
        return if outside.is_empty() { Refusal::NoRegion } else { Refusal::OutsideResidency };
    }
    let reports = || {
        let inside = snapshot.iter().filter(|(id, _)| route.residency.contains(*id));
        inside.flat_map(|(id, _)| snapshot.kinds(id)).filter_map(|it| it.report.as_deref())
    };
    if reports().any(|report| ask.demand.met_by(report)) {
        return Refusal::DemandedIsDown;
    }
    let runs = |release| reports().any(|it| it.release_id.as_deref() == Some(release));
    match ask.demand.release {
        Some(release) if !runs(release) => Refusal::UnknownRelease,
        Some(_) | None => Refusal::Unmet,
    }
}
