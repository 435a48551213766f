//! Routing once more, written in the most obvious way: lists that are filtered and sorted.

use tidegate_core::ask::{Ask, Intent};
use tidegate_core::contract::{Found, Report, Value};
use tidegate_core::id::{Epoch, KeyId, RegionId};
use tidegate_core::ownership::Standing;
use tidegate_core::policy::{OnDrain, PinRule, Require, Route, Strategy};
use tidegate_core::route::{Assigned, Choice, PinOutcome, Reason, Refusal, SessionOutcome};
use tidegate_core::snapshot::{Endpoint, Region, Snapshot, Verdict};

type Place<'a> = (RegionId, &'a Region);

/// What `route` should say.
pub(crate) fn route(snapshot: &Snapshot, ask: &Ask<'_>) -> Result<Choice, Refusal> {
    let route = snapshot.policy.routes.get(ask.route).ok_or(Refusal::NoRegion)?;
    let keep = |from: &[Place<'_>], test: &dyn Fn(&Place<'_>) -> bool| -> Vec<RegionId> {
        from.iter().filter(|it| test(it)).map(|(id, _)| *id).collect()
    };
    let find = |ids: &[RegionId]| -> Vec<Place<'_>> {
        snapshot.iter().filter(|(id, _)| ids.contains(id)).collect()
    };
    let all: Vec<Place<'_>> = snapshot.iter().collect();
    let inside = find(&keep(&all, &|(id, _)| route.residency.contains(*id)));
    let matching = find(&keep(&inside, &|(_, it)| matches(snapshot, route, ask, it)));
    let home = home(snapshot, route, ask);
    if matching.is_empty() && home.is_none() {
        let outside = find(&keep(&all, &|(id, _)| !route.residency.contains(*id)));
        let is_elsewhere = outside.iter().any(|(_, it)| matches(snapshot, route, ask, it));
        return Err(refusal(ask, &inside, is_elsewhere));
    }
    let mut left: Vec<RegionId> = matching.iter().map(|(id, _)| *id).collect();
    left.extend(home.map(|(id, _)| id));
    let (left, epoch, is_owner) = owners(snapshot, route, ask, left)?;
    let matching: Vec<Place<'_>> =
        matching.into_iter().filter(|(id, _)| left.contains(id)).collect();
    let home = home.filter(|(id, _)| left.contains(id));
    let untried = find(&keep(&matching, &|(id, _)| !ask.tried.contains(*id)));
    if untried.is_empty() && home.is_none() {
        return Err(Refusal::Unreachable);
    }
    let session = |place: Place<'_>| session(snapshot, ask, place);
    let pin = match pin(snapshot, route, ask, &untried) {
        Some((PinOutcome::Honoured, Some(place))) => {
            let (_, assigned) = released(snapshot, route, ask, vec![place]);
            let (reason, pin) = (Reason::Pin, PinOutcome::Honoured);
            let session = session(place);
            return Ok(Choice { region: place.0, reason, pin, session, assigned, epoch });
        }
        Some((outcome, _)) => outcome,
        None => return Err(Refusal::PinUnavailable),
    };
    if let Some(home) = home {
        let (_, assigned) = released(snapshot, route, ask, vec![home]);
        let (reason, session) = (Reason::Session, SessionOutcome::Honoured);
        return Ok(Choice { region: home.0, reason, pin, session, assigned, epoch });
    }
    let (mut candidates, assigned) = released(snapshot, route, ask, untried);
    candidates.sort_by_key(|place| standing(snapshot, route, place));
    let first = candidates.first().map(|(id, _)| *id);
    let roomy = candidates.iter().find(|(id, _)| !ask.full.contains(*id));
    let (region, chosen) = roomy.copied().ok_or(Refusal::Full)?;
    let reason = if is_owner {
        Reason::Owner
    } else if chosen.held.is_some() {
        Reason::LastResort
    } else if Some(region) == first {
        Reason::Nearest
    } else {
        Reason::Spill
    };
    Ok(Choice { region, reason, pin, session: session((region, chosen)), assigned, epoch })
}

/// Which of the regions the partition of a request leaves, the epoch of a write, and whether only
/// its owner is left.
fn owners(
    snapshot: &Snapshot,
    route: &Route,
    ask: &Ask<'_>,
    regions: Vec<RegionId>,
) -> Result<(Vec<RegionId>, Option<Epoch>, bool), Refusal> {
    let Some(belonging) = ask.belongs else { return Ok((regions, None, false)) };
    let owner = snapshot.owners.get(belonging.partition.index());
    let Some((owner, region)) = owner.and_then(|it| Some((it, it.region?))) else {
        return Err(Refusal::OwnerUnsure);
    };
    let is_write = ask.intent == Intent::Write;
    if is_write {
        match owner.standing {
            Standing::Open if belonging.is_leased => {}
            Standing::Open | Standing::Unknown | Standing::GoneBack => {
                return Err(Refusal::OwnerUnsure);
            }
            Standing::Opening => return Err(Refusal::OwnerMoving),
            Standing::Outdated => return Err(Refusal::OwnerOutdated),
        }
    }
    let may_cross = route.owned.as_ref().and_then(|it| it.crossing.as_ref()).filter(|_| !is_write);
    let (own, others): (Vec<RegionId>, Vec<RegionId>) =
        regions.into_iter().partition(|it| *it == region);
    let is_there = own.iter().any(|it| may_cross.is_none() || !ask.tried.contains(*it));
    if is_there {
        return Ok((own, is_write.then_some(owner.epoch), true));
    }
    let wanted = may_cross.and_then(|it| it.index_hash.as_deref());
    let all_report = |id: &RegionId| {
        let endpoints = snapshot.region(*id).map(|it| &it.endpoints);
        endpoints
            .into_iter()
            .flatten()
            .all(|it| says(it.report.as_deref(), KeyId(1), wanted.unwrap_or("-")))
    };
    let others: Vec<RegionId> = others.into_iter().filter(all_report).collect();
    if others.is_empty() || may_cross.is_none() {
        return Err(Refusal::OwnerUnavailable);
    }
    Ok((others, None, false))
}

/// The region of the session, if it may have it.
fn home<'a>(snapshot: &'a Snapshot, route: &Route, ask: &Ask<'_>) -> Option<Place<'a>> {
    let session = ask.session?;
    let (id, region) = snapshot.iter().find(|(_, it)| *it.name == *session.region)?;
    let may_stay = snapshot.policy.sticky.on_drain == OnDrain::Stay;
    let has_place =
        route.residency.contains(id) && !ask.tried.contains(id) && !ask.full.contains(id);
    let is_open = region.held.is_none() && (!region.drained || may_stay);
    (has_place && is_open && is_fit(snapshot, route, ask, region)).then_some((id, region))
}

/// What becomes of the session when this region answers.
fn session(snapshot: &Snapshot, ask: &Ask<'_>, (_, chosen): Place<'_>) -> SessionOutcome {
    match ask.session {
        None => SessionOutcome::Absent,
        Some(session) if *session.region == *chosen.name => SessionOutcome::Honoured,
        Some(session) if snapshot.regions.iter().any(|it| *it.name == *session.region) => {
            SessionOutcome::Moved
        }
        Some(_) => SessionOutcome::Orphaned,
    }
}

/// Whether a region may answer anybody.
fn matches(snapshot: &Snapshot, route: &Route, ask: &Ask<'_>, region: &Region) -> bool {
    !region.drained && is_fit(snapshot, route, ask, region)
}

/// Whether a region is fit to answer, by its verdict or by one of its endpoints.
fn is_fit(snapshot: &Snapshot, route: &Route, ask: &Ask<'_>, region: &Region) -> bool {
    let probing = &snapshot.policy.probing;
    let mixed_is_fine = probing.mixed_allowed || probing.shadow || route.require == Require::Answer;
    if matches!(region.verdict, Verdict::Unknown | Verdict::Dark) {
        return false;
    }
    if !demands(ask).is_empty() || ask.demand.release.is_some() {
        let settled = |key: KeyId| demands(ask).iter().any(|(demanded, _)| *demanded == key);
        let is_agreed = (0..32).map(KeyId).all(|it| !region.disputed.contains(it) || settled(it));
        return (mixed_is_fine || is_agreed)
            && region.endpoints.iter().any(|it| serves(route, ask, it, None));
    }
    let is_left = |would_do: &[Verdict]| {
        let mut endpoints = region.endpoints.iter().filter(|it| would_do.contains(&it.verdict));
        !region.endpoints.iter().any(|it| it.drained) || endpoints.any(|it| !it.drained)
    };
    let (good, other) =
        ([Verdict::Green, Verdict::Degraded], [Verdict::Mixed, Verdict::Mismatched]);
    let is_left = match route.require {
        Require::Contract => is_left(&good),
        Require::Answer => is_left(&[good, other].concat()),
    };
    is_left
        && match (route.require, region.verdict) {
            (Require::Answer, _) | (_, Verdict::Green | Verdict::Degraded) => true,
            (Require::Contract, Verdict::Mixed) => mixed_is_fine,
            (Require::Contract, _) => false,
        }
}

/// Whether an endpoint may serve the ask.
fn serves(route: &Route, ask: &Ask<'_>, endpoint: &Endpoint, release: Option<&str>) -> bool {
    let demands = demands(ask);
    let is_alone = demands.is_empty() && ask.demand.release.is_none();
    let runs = |name: &str| {
        let report = endpoint.report.as_ref();
        report.and_then(|it| it.release_id.as_deref()) == Some(name)
    };
    let fits = !endpoint.drained
        && match endpoint.verdict {
            Verdict::Unknown | Verdict::Dark => false,
            Verdict::Green | Verdict::Degraded => true,
            Verdict::Mixed | Verdict::Mismatched => {
                let demanded = |key: KeyId| demands.iter().any(|(it, _)| *it == key);
                let vetoes = (0..32).map(KeyId).filter(|it| endpoint.vetoes.contains(*it));
                route.require == Require::Answer || (!is_alone && vetoes.into_iter().all(demanded))
            }
        };
    fits && release.is_none_or(runs)
        && ask.demand.release.is_none_or(runs)
        && demands.iter().all(|(key, text)| says(endpoint.report.as_deref(), *key, text))
}

/// The keys that a request demands, with the place that each has in every contract.
fn demands<'a>(ask: &Ask<'a>) -> Vec<(KeyId, &'a str)> {
    let demand = &ask.demand;
    let all = [(0, demand.schema_rev), (1, demand.index_hash), (2, demand.model_tag)];
    all.into_iter().filter_map(|(key, text)| Some((KeyId(key), text?))).collect()
}

fn says(report: Option<&Report>, key: KeyId, text: &str) -> bool {
    match report.and_then(|it| it.found.get(key.index())) {
        Some(Found::Value(Value::Text(value))) => **value == *text,
        Some(Found::Value(Value::Integer(value))) => text == value.to_string(),
        Some(Found::Value(Value::Flag(value))) => text == value.to_string(),
        Some(Found::WrongType(_) | Found::Missing) | None => false,
    }
}

/// Why nobody inside the residency may answer.
fn refusal(ask: &Ask<'_>, inside: &[Place<'_>], is_elsewhere: bool) -> Refusal {
    let demands = demands(ask);
    if demands.is_empty() && ask.demand.release.is_none() {
        return if is_elsewhere { Refusal::OutsideResidency } else { Refusal::NoRegion };
    }
    let endpoints: Vec<&Endpoint> = inside.iter().flat_map(|(_, it)| &it.endpoints).collect();
    let runs = |endpoint: &Endpoint, name: &str| {
        endpoint.report.as_ref().is_some_and(|it| it.release_id.as_deref() == Some(name))
    };
    let has_all = |endpoint: &&&Endpoint| {
        ask.demand.release.is_none_or(|it| runs(endpoint, it))
            && demands.iter().all(|(key, text)| says(endpoint.report.as_deref(), *key, text))
    };
    if endpoints.iter().find(has_all).is_some() {
        return Refusal::DemandedIsDown;
    }
    match ask.demand.release {
        Some(name) if !endpoints.iter().any(|it| runs(it, name)) => Refusal::UnknownRelease,
        Some(_) | None => Refusal::Unmet,
    }
}

/// What becomes of the pin, with its region when it is honoured; `None` refuses.
fn pin<'a>(
    snapshot: &Snapshot,
    route: &Route,
    ask: &Ask<'_>,
    among: &[Place<'a>],
) -> Option<(PinOutcome, Option<Place<'a>>)> {
    let Some(pin) = ask.pin else { return Some((PinOutcome::Absent, None)) };
    if route.pin == PinRule::Ignore {
        return Some((PinOutcome::Absent, None));
    }
    if let Some(place) = among.iter().find(|(_, it)| *it.name == *pin.region) {
        return Some((PinOutcome::Honoured, Some(*place)));
    }
    if pin.strict || route.pin == PinRule::Require {
        return None;
    }
    let is_known = snapshot.policy.regions.iter().any(|it| *it.name == *pin.region);
    Some((if is_known { PinOutcome::Unavailable } else { PinOutcome::Unknown }, None))
}

/// Those of the regions that run the release which is assigned, if that leaves an answer.
fn released<'a>(
    snapshot: &Snapshot,
    route: &Route,
    ask: &Ask<'_>,
    among: Vec<Place<'a>>,
) -> (Vec<Place<'a>>, Option<Assigned>) {
    let Some((assigned, name)) = assigned(snapshot, ask) else { return (among, None) };
    if ask.demand.release.is_some() {
        return (among, None);
    }
    let runs = |(_, region): &&Place<'a>| {
        let mut endpoints = region.endpoints.iter().filter(|it| !it.ejected);
        endpoints.any(|it| serves(route, ask, it, Some(&name)))
    };
    let running: Vec<Place<'a>> = among.iter().filter(runs).copied().collect();
    let has_room = |places: &[Place<'_>]| places.iter().any(|(id, _)| !ask.full.contains(*id));
    if running.is_empty() || (!has_room(&running) && has_room(&among)) {
        return (among, None);
    }
    (running, Some(assigned))
}

/// The release that a client gets: the one that it had, or the one that it draws.
fn assigned(snapshot: &Snapshot, ask: &Ask<'_>) -> Option<(Assigned, String)> {
    let split = &snapshot.policy.releases.split;
    let had = ask.session.and_then(|it| it.release);
    if split.is_empty() {
        return Some((Assigned::Session, had?.to_owned()));
    }
    let tickets: Vec<(usize, &str)> = split
        .iter()
        .enumerate()
        .flat_map(|(place, (name, weight))| (0..*weight).map(move |_| (place, &**name)))
        .collect();
    let total = u64::try_from(tickets.len()).unwrap_or(u64::MAX);
    let drawn = ask.client_hash.checked_rem(total).and_then(|it| usize::try_from(it).ok());
    let kept = tickets.iter().find(|(_, name)| Some(*name) == had);
    let (place, name) = kept.or_else(|| tickets.get(drawn?))?;
    Some((Assigned::Split(*place), (*name).to_owned()))
}

/// What regions are sorted by: held ones last, then those that differ, then distance, then name.
fn standing(snapshot: &Snapshot, route: &Route, (id, region): &Place<'_>) -> impl Ord + use<> {
    let configured = snapshot.policy.regions.get(id.index()).map_or(u32::MAX, |it| it.distance);
    let distance_us = match route.strategy {
        Strategy::Measured => region.measured_us,
        Strategy::Nearest => None,
    };
    let differs = !matches!(region.verdict, Verdict::Green | Verdict::Mixed);
    let distance_us = distance_us.unwrap_or(u64::from(configured) * 1000);
    (region.held.is_some(), differs, distance_us, region.name.to_string())
}
