//! What the admin address tells of the gates, as JSON.

use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value as Json, json};
use tidegate_control::{Gates, clock};
use tidegate_core::Moment;
use tidegate_core::gate::book::Figures;
use tidegate_core::gate::evidence::Evidence;
use tidegate_core::gate::lambda::LambdaTally;
use tidegate_core::gate::verdict::{Gate, Kind, Move};
use tidegate_core::id::{RegionId, RegionSet};
use tidegate_core::policy::Policy;
use tidegate_core::snapshot::{Endpoint, Snapshot};

use super::Answer;

/// Answers with both gates, for what a query names.
pub(super) async fn told(gates: &Gates, policy: &Policy, query: &str) -> Answer {
    let of = match asked(policy, query) {
        Ok(of) => of,
        Err(title) => return Answer::problem(StatusCode::BAD_REQUEST, "bad_query", &title),
    };
    gates.refresh().await;
    let now = clock::now();
    let gate = |kind| gates.judge(kind, &of).map(|it| of_gate(&it, now));
    let Some((planned, emergency)) = gate(Kind::Planned).zip(gate(Kind::Emergency)) else {
        let title = "the policy has no `gates`";
        return Answer::problem(StatusCode::NOT_FOUND, "no_gates", title);
    };
    let figures =
        gates.figures().into_iter().map(|(region, it)| (region.to_string(), of_figures(&it)));
    Answer::json(&json!({
        "from": of.from.as_deref(),
        "to": of.to.as_deref(),
        "planned": planned,
        "emergency": emergency,
        "probes": figures.collect::<serde_json::Map<_, _>>(),
    }))
}

/// Why a region, or the last endpoint that serves there, may not be drained, if the policy keeps it
/// on.
///
/// A region that takes no traffic anyway may be: nothing is moved then.
pub(super) fn keep_on(
    snapshot: &Snapshot,
    region: RegionId,
    endpoint: Option<SocketAddr>,
) -> Option<Answer> {
    let gates = snapshot.policy.gates.as_ref()?;
    let stay = usize::try_from(snapshot.routable.without(RegionSet::only(region)).count());
    let stay = stay.unwrap_or(usize::MAX);
    let goes_on = |it: &Endpoint| {
        endpoint.is_some_and(|gone| gone != it.address) && !it.drained && it.verdict.is_routable()
    };
    if !snapshot.routable.contains(region) || snapshot.region(region)?.endpoints.iter().any(goes_on)
    {
        return None;
    }
    let conflict = |code, title: &str| {
        let title = format!("{title}; nothing was changed, `--force` drains it all the same");
        Some(Answer::problem(StatusCode::CONFLICT, code, &title))
    };
    if !gates.may_move {
        return conflict("gates_locked", "`gates.locked` forbids to move traffic");
    }
    if stay < gates.regions_min {
        let wanted = gates.regions_min;
        let title = format!("{stay} regions would stay on, and {wanted} are wanted");
        return conflict("too_few_regions", &title);
    }
    None
}

/// The regions that a query names.
fn asked(policy: &Policy, query: &str) -> Result<Move, String> {
    let mut of = Move::default();
    for pair in query.split('&').filter(|it| !it.is_empty()) {
        let (name, region) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match name {
            "from" => &mut of.from,
            "to" => &mut of.to,
            _ => return Err(format!("`{name}` is not asked for here, but `from` and `to`")),
        };
        let known = policy.regions.iter().find(|it| *it.name == *region);
        let known = known.ok_or_else(|| format!("the policy has no region `{region}`"))?;
        *place = Some(Arc::clone(&known.name));
    }
    if of.from.is_some() && of.from == of.to {
        return Err("nothing moves from a region to itself".to_owned());
    }
    Ok(of)
}

fn of_gate(gate: &Gate, now: Moment) -> Json {
    let evidence: Vec<_> = gate.evidence.iter().map(|it| of_evidence(it, now)).collect();
    json!({
        "open": gate.opens_writes(),
        "reads": gate.opens_reads(),
        "writes": gate.opens_writes(),
        "evidence": evidence,
    })
}

fn of_evidence(evidence: &Evidence, now: Moment) -> Json {
    let Evidence { condition, owner, source, seen, age_max, light, code, reason } = evidence;
    json!({
        "condition": condition.word(),
        "owner": &**owner,
        "source": &**source,
        "age_ms": seen.map(|it| now.since(it).as_millis()),
        "age_max_ms": age_max.map(|it| it.as_millis()),
        "light": light.word(),
        "code": code,
        "reason": reason,
        "for_writes_only": condition.is_for_writes(),
    })
}

fn of_figures(figures: &Figures) -> Json {
    let Figures { median, max, drift, lambdas, seeds_ignored, gold } = figures;
    let drift = drift.as_ref().map(|it| {
        json!({
            "max": it.max.as_f64(),
            "median": it.median.as_f64(),
            "p95": it.p95.as_f64(),
            "mean": it.mean.as_f64(),
        })
    });
    let lambda = |(seed, tally): &(u64, LambdaTally)| {
        json!({
            "seed": seed,
            "runs": tally.runs,
            "convergent": tally.convergent,
            "recursive": tally.recursive,
            "chaotic": tally.chaotic,
        })
    };
    json!({
        "delta_s": { "median": median.as_f64(), "max": max.as_f64() },
        "drift": drift,
        "lambda": lambdas.iter().map(lambda).collect::<Vec<_>>(),
        "seeds_ignored": seeds_ignored,
        "gold": gold.as_f64(),
    })
}
