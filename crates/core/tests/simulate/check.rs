//! What must hold of every single decision.

use std::time::Duration;

use tidegate_core::Moment;
use tidegate_core::ask::Ask;
use tidegate_core::explain::Explanation;
use tidegate_core::id::RegionId;
use tidegate_core::policy::{OnDrain, Require, Route, Strategy};
use tidegate_core::route::{Choice, Reason, Refusal, SessionOutcome, admits};
use tidegate_core::snapshot::{Endpoint, Held, Region, Snapshot, Verdict};
use tidegate_core::window::Window;

use crate::oracle::Oracle;
use crate::town::Town;
use crate::windows::{self, Windows};

/// One decision, and all that is known when it falls.
pub(crate) struct Decision<'a> {
    pub(crate) now: Moment,
    pub(crate) ask: &'a Ask<'a>,
    pub(crate) route: &'a Route,
    pub(crate) outcome: Result<Choice, Refusal>,
    pub(crate) explanation: &'a Explanation,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) oracle: &'a Oracle,
    pub(crate) town: &'a Town,
    /// The failover window as it is shown, and when it must be open.
    pub(crate) window: Window,
    pub(crate) windows: &'a Windows,
    /// How long after its end a match may still be believed in.
    pub(crate) belief_max: Duration,
    pub(crate) quiet: Quiet,
}

/// For how long nothing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Quiet {
    No,
    /// For so long that all trouble is forgotten.
    Settled,
    /// For so long that every measure has become what it measures.
    Measured,
}

/// One thing that must hold; otherwise it says what does not.
pub(crate) type Check = fn(&Decision<'_>) -> Result<(), String>;

/// Everything that must hold.
pub(crate) const CHECKS: [Check; 12] = [
    explain_says_the_same,
    the_choice_is_one_of_the_eligible,
    a_drained_region_gets_nothing,
    only_a_matching_region_answers,
    only_matching_endpoints_serve,
    a_held_region_is_the_last_resort,
    a_session_comes_back_to_its_region,
    nobody_is_refused_without_need,
    in_quiet_times_the_nearest_answers,
    nobody_is_sent_elsewhere_after_a_flip_while_the_window_is_shut,
    the_window_shuts_as_soon_as_nothing_comes_again,
    the_window_tells_its_end,
];

impl<'a> Decision<'a> {
    fn chosen(&self) -> Option<(Choice, &'a Region)> {
        let choice = self.outcome.ok()?;
        Some((choice, self.snapshot.region(choice.region)?))
    }

    /// Whether only the active contract says who may answer.
    fn goes_by_contract(&self) -> bool {
        self.ask.demand.is_empty() && self.route.require == Require::Contract
    }

    fn serves(&self, region: &Region) -> Result<bool, String> {
        let is_left =
            |it: &Endpoint| it.verdict.is_routable() && !self.oracle.is_drained(region, it);
        Ok(!self.oracle.drained.contains(&region.name)
            && region.endpoints.iter().any(is_left)
            && self.oracle.serves(self.now, self.snapshot, region)?)
    }

    /// The regions inside the residency that are fit to answer.
    fn fit(&self) -> Result<Vec<(RegionId, &'a Region)>, String> {
        let mut fit = Vec::new();
        for (id, region) in self.snapshot.iter() {
            if self.route.residency.contains(id) && self.serves(region)? {
                fit.push((id, region));
            }
        }
        Ok(fit)
    }
}

fn ensure(holds: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(broken()) }
}

fn explain_says_the_same(decision: &Decision<'_>) -> Result<(), String> {
    let (told, outcome) = (&decision.explanation.outcome, decision.outcome);
    ensure(*told == outcome, || format!("route says {outcome:?} and explain says {told:?}"))
}

fn the_choice_is_one_of_the_eligible(decision: &Decision<'_>) -> Result<(), String> {
    let Ok(choice) = decision.outcome else { return Ok(()) };
    let Some((_, region)) = decision.chosen() else { return Err("nobody is chosen".to_owned()) };
    let is_inside = decision.route.residency.contains(choice.region);
    ensure(is_inside, || format!("{} is outside the residency", region.name))?;
    let was_tried = decision.ask.tried.contains(choice.region);
    ensure(!was_tried, || format!("{} was tried before", region.name))?;
    let is_full = decision.ask.full.contains(choice.region) && choice.reason != Reason::Pin;
    ensure(!is_full, || format!("{} has no room", region.name))
}

fn a_drained_region_gets_nothing(decision: &Decision<'_>) -> Result<(), String> {
    let Some((_, region)) = decision.chosen() else { return Ok(()) };
    let is_drained = decision.oracle.drained.contains(&region.name);
    let is_home = decision.ask.session.is_some_and(|it| *it.region == *region.name);
    let stays = is_home && decision.snapshot.policy.sticky.on_drain == OnDrain::Stay;
    ensure(!is_drained || stays, || format!("{} is drained and chosen", region.name))
}

fn only_a_matching_region_answers(decision: &Decision<'_>) -> Result<(), String> {
    let Some((_, region)) = decision.chosen() else { return Ok(()) };
    if !decision.goes_by_contract() {
        return ensure(region.verdict.is_answering(), || {
            format!("{} does not answer", region.name)
        });
    }
    let serves = decision.oracle.serves(decision.now, decision.snapshot, region)?;
    ensure(serves, || format!("{} does not match: {region:#?}", region.name))
}

fn only_matching_endpoints_serve(decision: &Decision<'_>) -> Result<(), String> {
    let Some((choice, region)) = decision.chosen() else { return Ok(()) };
    let assigned = choice.release(&decision.snapshot.policy, decision.ask.session);
    let demand = &decision.ask.demand;
    let serving = region.endpoints.iter().filter(|it| admits(decision.route, it, demand, assigned));
    let serving: Vec<&Endpoint> = serving.collect();
    let drained = serving.iter().find(|it| decision.oracle.is_drained(region, it));
    ensure(drained.is_none(), || format!("{drained:?} is drained and serves"))?;
    ensure(!serving.is_empty(), || format!("{} has nobody to serve this", region.name))?;
    for endpoint in serving {
        serves_rightly(decision, endpoint, assigned)
            .map_err(|why| format!("{} in {} {why}", endpoint.address, region.name))?;
    }
    Ok(())
}

fn serves_rightly(
    decision: &Decision<'_>,
    endpoint: &Endpoint,
    assigned: Option<&str>,
) -> Result<(), String> {
    let Decision { now, ask, snapshot, .. } = *decision;
    let policy = &snapshot.policy;
    let told = decision.oracle.told(endpoint)?;
    let demand = [ask.demand.schema_rev, ask.demand.index_hash, ask.demand.model_tag];
    let demanded = || demand.iter().enumerate().filter_map(|(key, text)| Some((key, (*text)?)));
    let meets = demanded().all(|(key, text)| told.says(policy, key, text));
    ensure(meets, || format!("serves against the demand: {told:?}"))?;
    for release in [ask.demand.release, assigned].into_iter().flatten() {
        let runs = told.release.as_deref() == Some(release);
        ensure(runs, || format!("serves {release} and runs {:?}", told.release))?;
    }
    if decision.route.require == Require::Answer {
        return Ok(());
    }
    let is_covered = |veto: &usize| demanded().any(|(key, _)| key == *veto);
    let is_exempt = !ask.demand.is_empty() && told.vetoes(policy, now).iter().all(is_covered);
    ensure(told.is_routable || is_exempt, || format!("serves unproven: {told:?}"))?;
    if !told.is_routable {
        return Ok(());
    }
    let last_good = decision.town.look(endpoint.address).last_good;
    let is_recent = last_good.is_some_and(|at| now.since(at) <= decision.belief_max);
    ensure(is_recent, || format!("serves and was last good at {last_good:?}, and it is {now}"))
}

fn a_held_region_is_the_last_resort(decision: &Decision<'_>) -> Result<(), String> {
    let Some((choice, region)) = decision.chosen() else { return Ok(()) };
    let is_asked_for = choice.reason == Reason::Pin || choice.assigned.is_some();
    if region.held.is_none() || is_asked_for || !decision.goes_by_contract() {
        return Ok(());
    }
    let is_free = |(id, region): &&(RegionId, &Region)| {
        let has_room = !decision.ask.full.contains(*id) && !decision.ask.tried.contains(*id);
        region.held.is_none() && has_room
    };
    let fit = decision.fit()?;
    let better = fit.iter().find(is_free).map(|(_, it)| it.name.clone());
    ensure(better.is_none(), || format!("{} is held and {better:?} is not", region.name))
}

/// Where nothing but the session and the contract speaks, a region that may answer answers its own.
fn a_session_comes_back_to_its_region(decision: &Decision<'_>) -> Result<(), String> {
    let Ok(choice) = decision.outcome else { return Ok(()) };
    let Some(session) = decision.ask.session else {
        let is_told = choice.reason == Reason::Session || choice.session != SessionOutcome::Absent;
        return ensure(!is_told, || "a session that nobody has".to_owned());
    };
    if choice.reason == Reason::Pin || !decision.goes_by_contract() {
        return Ok(());
    }
    let fit = decision.fit()?;
    let home = fit.iter().find(|(_, it)| *it.name == *session.region && it.held.is_none());
    let Some((id, region)) = home else { return Ok(()) };
    let (full, tried) = (decision.ask.full.contains(*id), decision.ask.tried.contains(*id));
    ensure(full || tried || (choice.region, choice.reason) == (*id, Reason::Session), || {
        format!("the session in {} goes elsewhere", region.name)
    })
}

fn nobody_is_refused_without_need(decision: &Decision<'_>) -> Result<(), String> {
    let Err(refusal) = decision.outcome else { return Ok(()) };
    if !decision.goes_by_contract() {
        return Ok(());
    }
    let mut fit = decision.fit()?;
    let reason = match refusal {
        Refusal::NoRegion | Refusal::OutsideResidency => "fit",
        Refusal::Unreachable => {
            fit.retain(|(id, _)| !decision.ask.tried.contains(*id));
            "fit and was not tried"
        }
        Refusal::Full => {
            let ask = decision.ask;
            fit.retain(|(id, _)| !ask.tried.contains(*id) && !ask.full.contains(*id));
            "fit and has room"
        }
        Refusal::PinUnavailable => {
            let pinned = decision.ask.pin.and_then(|it| decision.snapshot.policy.region(it.region));
            fit.retain(|(id, _)| Some(*id) == pinned && !decision.ask.tried.contains(*id));
            "fit and pinned"
        }
        Refusal::OwnerUnavailable
        | Refusal::OwnerUnsure
        | Refusal::OwnerMoving
        | Refusal::OwnerOutdated => {
            return Err(format!("refused with {refusal:?} though nobody owns anything"));
        }
        Refusal::Unmet | Refusal::UnknownRelease | Refusal::DemandedIsDown => {
            return Err(format!("refused with {refusal:?} though nothing is demanded"));
        }
    };
    let names: Vec<&str> = fit.iter().map(|(_, it)| &*it.name).collect();
    ensure(names.is_empty(), || format!("refused with {refusal:?} though {names:?} is {reason}"))
}

fn in_quiet_times_the_nearest_answers(decision: &Decision<'_>) -> Result<(), String> {
    if decision.quiet == Quiet::No {
        return Ok(());
    }
    let policy = &decision.snapshot.policy;
    let mut best = Vec::new();
    for (id, region) in decision.snapshot.iter() {
        if decision.oracle.drained.contains(&region.name) {
            continue;
        }
        let is_manual = region.held == Some(Held::Manual);
        ensure(region.held.is_none() || is_manual, || {
            format!("{} is held in quiet times: {region:#?}", region.name)
        })?;
        ensure(region.verdict == Verdict::Green, || {
            format!("{} is {} in quiet times: {region:#?}", region.name, region.verdict)
        })?;
        for endpoint in &region.endpoints {
            let is_full = endpoint.share % 100 == 0 && endpoint.share > 0;
            ensure(!endpoint.ejected && is_full, || format!("still in trouble: {endpoint:?}"))?;
        }
        if decision.route.residency.contains(id) {
            let distance = policy.regions.get(id.index()).map_or(u32::MAX, |it| it.distance);
            best.push((is_manual, distance, region.name.clone(), id));
        }
    }
    best.sort();
    let nearest = best.first().map(|(.., id)| *id);
    let chosen = decision.outcome.ok().map(|it| it.region);
    if decision.route.strategy == Strategy::Measured {
        let fit = best.iter().map(|(is_manual, .., id)| (*is_manual, took(decision, *id)));
        let quickest = fit.min().unwrap_or_default();
        return is_about_the_quickest(decision, quickest);
    }
    ensure(chosen.is_some() == nearest.is_some(), || "quiet, and refused".to_owned())?;
    ensure(chosen == nearest, || format!("{chosen:?} is chosen and not the nearest, {nearest:?}"))
}

/// A region that loses its traffic opens the window before another one gets any of it.
fn nobody_is_sent_elsewhere_after_a_flip_while_the_window_is_shut(
    decision: &Decision<'_>,
) -> Result<(), String> {
    let is_safe = decision.window.is_open() || !decision.windows.may_come_again();
    ensure(is_safe, || format!("the window is shut: {:?}", decision.windows))
}

fn the_window_shuts_as_soon_as_nothing_comes_again(decision: &Decision<'_>) -> Result<(), String> {
    let is_needed = decision.windows.may_come_again() || !decision.window.is_open();
    ensure(is_needed, || format!("the window is open: {:?}", decision.window))
}

fn the_window_tells_its_end(decision: &Decision<'_>) -> Result<(), String> {
    let (told, until) =
        (windows::until(&decision.window), decision.windows.until(decision.snapshot));
    ensure(told == until, || format!("the window ends at {told:?} instead of {until:?}"))
}

/// How long answers of a region really take.
fn took(decision: &Decision<'_>, id: RegionId) -> Duration {
    let endpoints = decision.snapshot.region(id).map(|it| it.endpoints.iter());
    let houses = endpoints.into_iter().flatten().map(|it| decision.town.look(it.address));
    houses.map(|it| it.took).min().unwrap_or_default()
}

/// A measure may stray by its band before it counts, so the second of two near ones may answer.
fn is_about_the_quickest(
    decision: &Decision<'_>,
    (is_manual, quickest): (bool, Duration),
) -> Result<(), String> {
    let Some((choice, region)) = decision.chosen() else { return Ok(()) };
    let took = took(decision, choice.region);
    let is_near = decision.quiet < Quiet::Measured || took * 2 <= quickest * 3;
    ensure(region.held.is_some() == is_manual && is_near, || {
        format!("{} takes {took:?} and the nearest {quickest:?}: {region:#?}", region.name)
    })
}
