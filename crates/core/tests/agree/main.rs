//! Random worlds and asks: routing, its explanation and a naive reference all agree.
//!
//! `SEED=n cargo test -p tidegate-core --test agree` runs one world again.
#![expect(clippy::expect_used, reason = "a broken test should panic")]

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::ask::{Ask, Demand, Intent, Pin};
use tidegate_core::explain::{differences, explain};
use tidegate_core::id::{Generation, RegionId, RegionSet};
use tidegate_core::policy::{OnDrain, Require};
use tidegate_core::route::{Choice, PinOutcome, Reason, Refusal, SessionOutcome, admits, route};
use tidegate_core::snapshot::{Endpoint, Snapshot, Verdict};

mod reference;
#[path = "../sample/mod.rs"]
mod sample;
#[path = "../seeds/mod.rs"]
mod seeds;
mod world;

const SEEDS: u64 = 10_000;
const ASKS_PER_WORLD: usize = 4;

/// How often each thing happened: what the dice never throw is not tested.
type Census = BTreeMap<&'static str, usize>;

#[test]
fn route_and_explain_and_the_reference_agree() {
    let seeds = seeds::seeds(SEEDS);
    let mut census = Census::new();
    for seed in seeds.clone() {
        let mut rng = fastrand::Rng::with_seed(seed);
        let snapshot = world::snapshot(&mut rng);
        for _ in 0..ASKS_PER_WORLD {
            let ask = world::ask(&mut rng, &snapshot);
            if let Err(broken) = judge(&snapshot, &ask, &mut census) {
                panic!("SEED={seed}: {broken}\n{ask:#?}\n{snapshot:#?}");
            }
        }
    }
    if seeds == (0..SEEDS) {
        let rare: Vec<_> = everything()
            .into_iter()
            .filter(|it| census.get(it).is_none_or(|it| *it < 20))
            .collect();
        assert!(rare.is_empty(), "the dice hardly ever throw {rare:?}: {census:?}");
    }
}

fn judge(snapshot: &Snapshot, ask: &Ask<'_>, census: &mut Census) -> Result<(), String> {
    let outcome = route(snapshot, ask);
    let explanation = explain(snapshot, ask);
    ensure(explanation.outcome == outcome, || {
        format!("route says {outcome:?} and explain {:?}", explanation.outcome)
    })?;
    let expected = reference::route(snapshot, ask);
    ensure(expected == outcome, || format!("route says {outcome:?} and not {expected:?}"))?;
    let passed: Vec<RegionId> = explanation.passed.iter().map(|(id, _)| *id).collect();
    let distinct: BTreeSet<RegionId> = passed.iter().copied().collect();
    ensure(distinct.len() == passed.len(), || format!("passed over twice: {explanation:?}"))?;
    match outcome {
        Ok(choice) => {
            let all: BTreeSet<RegionId> = snapshot.iter().map(|(id, _)| id).collect();
            let accounted: BTreeSet<_> = distinct.iter().copied().chain([choice.region]).collect();
            ensure(accounted == all && !distinct.contains(&choice.region), || {
                format!("{:?} is chosen and these are passed over: {passed:?}", choice.region)
            })?;
            admissible(snapshot, ask, choice)?;
            count(census, [choice.reason.word(), choice.pin.word()]);
            count(census, choice.assigned.map(|_| "assigned"));
            count(census, [session_word(choice)]);
        }
        Err(refusal) => {
            let told = differences(snapshot, ask);
            let is_told = !matches!(refusal, Refusal::Unmet | Refusal::UnknownRelease)
                || !told.is_empty()
                || nobody_is_inside(snapshot, ask);
            ensure(is_told, || format!("{refusal:?} without a difference: {told:?}"))?;
            count(census, [refusal.code()]);
        }
    }
    count(census, explanation.passed.iter().map(|(_, cause)| cause.word()));
    Ok(())
}

/// What must hold of any choice, whatever the filters are.
fn admissible(snapshot: &Snapshot, ask: &Ask<'_>, choice: Choice) -> Result<(), String> {
    let region = snapshot.region(choice.region).ok_or("a region that is not there")?;
    let route = snapshot.policy.routes.get(ask.route).ok_or("a route that is not there")?;
    let named = |what: &str| format!("{} {what}", region.name);
    let stays =
        choice.reason == Reason::Session && snapshot.policy.sticky.on_drain == OnDrain::Stay;
    ensure(!region.drained || stays, || named("is drained"))?;
    let is_home = ask.session.is_some_and(|it| *it.region == *region.name);
    ensure(is_home == (choice.session == SessionOutcome::Honoured), || named("is not told right"))?;
    let comes_back = choice.reason == Reason::Session;
    ensure(!comes_back || is_home && region.held.is_none(), || named("is nobody's session"))?;
    ensure(region.verdict.is_answering(), || named("answers nobody"))?;
    ensure(route.residency.contains(choice.region), || named("is outside the residency"))?;
    ensure(!ask.tried.contains(choice.region), || named("was tried"))?;
    ensure(choice.reason == Reason::Pin || !ask.full.contains(choice.region), || named("is full"))?;
    let is_pinned = ask.pin.is_some_and(|pin| *pin.region == *region.name);
    let is_honoured = choice.pin == PinOutcome::Honoured;
    ensure(!is_honoured || is_pinned, || named("is pinned by nobody"))?;
    let assigned = choice.release(&snapshot.policy, ask.session);
    let admitted = region.endpoints.iter().filter(|it| admits(route, it, &ask.demand, assigned));
    let admitted: Vec<&Endpoint> = admitted.collect();
    let is_asked_for = !ask.demand.is_empty() || assigned.is_some();
    ensure(!admitted.is_empty() || !is_asked_for, || named("has nobody who may serve"))?;
    let is_split = !admitted.is_empty() && admitted.len() < region.endpoints.len();
    ensure(!is_split || !snapshot.is_of_one_kind(choice.region), || named("has two kinds"))?;
    for endpoint in admitted {
        serves_rightly(endpoint, ask, route.require).map_err(|why| named(&why))?;
    }
    let mixed_is_fine = snapshot.policy.probing.routes_to_mixed();
    let is_fit = region.verdict.is_routable() || region.verdict == Verdict::Mixed && mixed_is_fine;
    let is_exempt = route.require == Require::Answer || !ask.demand.is_empty();
    ensure(is_fit || is_exempt, || named("does not match the contract"))
}

/// Whether one endpoint may serve the ask, said without the function that decides it.
fn serves_rightly(endpoint: &Endpoint, ask: &Ask<'_>, require: Require) -> Result<(), String> {
    let address = endpoint.address;
    ensure(!matches!(endpoint.verdict, Verdict::Unknown | Verdict::Dark), || {
        format!("sends to {address}, which is {}", endpoint.verdict)
    })?;
    let demanded: Vec<_> = ask.demand.keys().map(|(key, _)| key).collect();
    let vetoes = endpoint.mismatches.iter().filter(|it| endpoint.vetoes.contains(it.key));
    let uncovered = vetoes.filter(|it| !demanded.contains(&it.key)).count();
    let is_mismatched = endpoint.verdict == Verdict::Mismatched;
    ensure(!is_mismatched || require == Require::Answer || uncovered == 0, || {
        format!("sends to {address}, which mismatches on a key that nobody demanded")
    })?;
    let meets = endpoint.report.as_ref().is_some_and(|report| ask.demand.met_by(report));
    ensure(ask.demand.is_empty() || meets, || format!("sends to {address} against the demand"))
}

fn session_word(choice: Choice) -> &'static str {
    match choice.session {
        SessionOutcome::Absent => "without_session",
        SessionOutcome::Honoured => "session_honoured",
        SessionOutcome::Moved => "session_moved",
        SessionOutcome::Orphaned => "session_orphaned",
    }
}

fn nobody_is_inside(snapshot: &Snapshot, ask: &Ask<'_>) -> bool {
    let route = snapshot.policy.routes.get(ask.route);
    route.is_none_or(|route| !snapshot.iter().any(|(id, _)| route.residency.contains(id)))
}

fn ensure(holds: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(broken()) }
}

fn count(census: &mut Census, words: impl IntoIterator<Item = &'static str>) {
    words.into_iter().for_each(|word| *census.entry(word).or_default() += 1);
}

/// Every word that some outcome or some cause has.
fn everything() -> Vec<&'static str> {
    let mut words = vec!["pin", "nearest", "spill", "last_resort", "assigned"];
    words.extend(["absent", "honoured", "unknown", "unavailable", "session", "without_session"]);
    words.extend(["session_honoured", "session_moved", "session_orphaned", "not_in_session"]);
    words.extend(Refusal::ALL.iter().map(|it| it.code()));
    words.extend(["outside_residency", "drained", "dark", "mismatched", "mixed", "demand_unmet"]);
    words.extend(["other_release", "tried", "not_pinned", "full", "degraded", "farther"]);
    words.extend(["recovering", "waiting_for_operator", "frozen", "ejected"]);
    words
}

/// An ask without any wish, for the places that it names.
fn plain(route: usize) -> Ask<'static> {
    Ask {
        route,
        intent: Intent::Read,
        pin: None,
        session: None,
        demand: Demand::default(),
        client_hash: u64::MAX,
        full: RegionSet::EMPTY,
        tried: RegionSet::EMPTY,
        belongs: None,
    }
}

#[test]
fn route_answers_whatever_the_places_are() {
    let everywhere: RegionSet = (0..=u8::MAX).map(RegionId).collect();
    for seed in seeds::seeds(500) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let snapshot = world::snapshot(&mut rng);
        for place in [snapshot.policy.routes.len(), usize::MAX] {
            assert_eq!(route(&snapshot, &plain(place)), Err(Refusal::NoRegion), "SEED={seed}");
        }
        let pin = Some(Pin { region: "", strict: rng.bool() });
        let odd = Ask { full: everywhere, tried: everywhere, pin, ..plain(0) };
        assert!(route(&snapshot, &odd).is_err(), "SEED={seed}");
        // Regions beyond what a set can hold, and a policy that knows fewer than there are.
        let many = snapshot.regions.iter().cycle().take(300).cloned().collect();
        let crowd = Snapshot::new(Generation(1), snapshot.policy, many);
        for ask in [plain(0), odd] {
            assert_eq!(route(&crowd, &ask), explain(&crowd, &ask).outcome, "SEED={seed}");
        }
        let nobody = Snapshot::new(Generation(1), crowd.policy, Vec::new());
        assert!(route(&nobody, &plain(0)).is_err(), "SEED={seed}");
    }
}
