//! `tidegate explain`: the decision of one request with every reason, here or by a running balancer.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use pingora::http::RequestHeader;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tidegate_control::clock;
use tidegate_control::sessions::Sessions;
use tidegate_core::ask::{Ask as CoreAsk, Belonging};
use tidegate_core::explain::{Explanation, explain as explain_core};
use tidegate_core::id::{RegionId, RegionSet};
use tidegate_core::policy::Policy;
use tidegate_core::route::{Cause, Choice, PinOutcome, SessionOutcome, admits};
use tidegate_core::snapshot::Snapshot;
use tidegate_proxy::answer::Problem;
use tidegate_proxy::ask::{self, Circumstances};
use tidegate_proxy::owning;
use tidegate_proxy::session::Brought;

use crate::cli::{Ask, Output};
use crate::client;
use crate::say::{self, Trouble};
use crate::state::State;

mod text;

/// A request, as the admin address takes it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    #[serde(default)]
    pub(crate) client: Option<IpAddr>,
}

/// Carries out the verb.
pub(crate) fn explain(asked: &Ask, output: Output) -> Result<ExitCode, Trouble> {
    let question = question(asked)?;
    let answer = if let Some(path) = &asked.policy {
        let policy = Arc::new(tidegate_policy::load_file(path)?);
        let (snapshot, full) = world(&policy, asked.state.as_deref())?;
        let known = Known { full, is_leased: true };
        answer(&snapshot, &Arc::new(Sessions::of(&policy.sticky, None)), known, &question)?
    } else {
        let body = json!(question).to_string();
        let reply = client::send(&asked.admin.admin, "POST", "/v1/explain", &body)?;
        reply.json()?
    };
    say::result(&match output {
        Output::Json => answer.to_string(),
        Output::Text => text::of(&question, &answer),
    });
    Ok(ExitCode::SUCCESS)
}

/// The world that a file states under a policy, and the regions that are full in it.
fn world(policy: &Arc<Policy>, stated: Option<&Path>) -> Result<(Snapshot, RegionSet), Trouble> {
    let now = clock::now();
    let Some(path) = stated else {
        let all_green = State::default().snapshot(policy, now);
        return all_green.map_err(|error| Trouble::doing("state the world")(&error));
    };
    let trouble = |error: &dyn Display| {
        Trouble::Doing("read the state", format!("{}: {error}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| trouble(&error))?;
    let state = State::read(&text).map_err(|error| trouble(&error))?;
    state.snapshot(policy, now).map_err(|error| trouble(&error))
}

/// The request that the command line describes.
pub(crate) fn question(asked: &Ask) -> Result<Question, Trouble> {
    let header = |text: &String| match text.split_once(':') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
        None => Err(Trouble::Doing("read a header", format!("`{text}` has no colon"))),
    };
    let headers = asked.header.iter().map(header).collect::<Result<_, _>>()?;
    let (method, path) = (asked.method.to_uppercase(), asked.path.clone());
    Ok(Question { method, path, headers, client: asked.client })
}

/// What is known beside a snapshot.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    /// The regions that are full.
    pub(crate) full: RegionSet,
    /// Whether it may be relied on what is known of owners.
    pub(crate) is_leased: bool,
}

/// Decides a request in a snapshot, and keeps every reason.
pub(crate) fn answer(
    snapshot: &Snapshot,
    sessions: &Arc<Sessions>,
    known: Known,
    question: &Question,
) -> Result<Json, Trouble> {
    let request = request(question)?;
    let policy = &snapshot.policy;
    let generation = snapshot.generation.0;
    let Some((place, route)) = ask::route(policy, &request) else {
        let problem = Problem::no_route();
        let (status, code, title) = (problem.status, problem.code, problem.title);
        return Ok(json!({
            "outcome": "refused", "status": status, "code": code, "title": title,
            "generation": generation, "passed": [],
        }));
    };
    let brought = Brought::read(sessions, route, &request, (None, clock::now()));
    let session = brought.as_ref().and_then(Brought::session);
    let (client, tried) = (question.client, RegionSet::EMPTY);
    let Known { full, is_leased } = known;
    let partition = match owning::partition(policy, route, &request, &[]) {
        Ok(partition) => partition,
        Err(why) => {
            let problem = Problem::no_partition(why);
            let (status, code, title) = (problem.status, problem.code, problem.title);
            return Ok(json!({
                "outcome": "refused", "status": status, "code": code, "title": title,
                "route": &*route.name, "generation": generation, "passed": [],
            }));
        }
    };
    let belongs = partition.map(|partition| Belonging { partition, is_leased });
    let circumstances = Circumstances { client, session, full, tried, belongs };
    let ask = ask::read(policy, (place, route), &request, circumstances);
    let Explanation { outcome, passed } = explain_core(snapshot, &ask);
    let passed: Vec<_> = passed.iter().map(|it| pass(snapshot, *it)).collect();
    let mut answer = match outcome {
        Ok(choice) => chosen(snapshot, &ask, choice),
        Err(refusal) => {
            let problem = Problem::refused(refusal, snapshot, &ask);
            let mut answer = json!({
                "outcome": "refused", "status": problem.status, "code": problem.code,
                "title": problem.title,
            });
            merge(&mut answer, Json::Object(problem.members));
            answer
        }
    };
    let kept = outcome.map_or(SessionOutcome::Absent, |it| it.session);
    if let Some(word) = brought.as_ref().and_then(|it| it.word(kept)) {
        let told = session.map(|it| json!({ "region": it.region, "release": it.release }));
        let mut told = told.unwrap_or_else(|| json!({}));
        merge(&mut told, json!({ "outcome": word }));
        merge(&mut answer, json!({ "session": told }));
    }
    if let Some(belongs) = belongs {
        merge(&mut answer, json!({ "ownership": owned(snapshot, belongs) }));
    }
    merge(
        &mut answer,
        json!({
            "route": &*route.name, "intent": ask.intent.word(), "generation": generation,
            "passed": passed,
        }),
    );
    Ok(answer)
}

/// Whose a request is.
fn owned(snapshot: &Snapshot, Belonging { partition, is_leased }: Belonging) -> Json {
    let rules = snapshot.policy.ownership.as_ref();
    let name = rules.and_then(|it| it.partitions.get(partition.index())).map(|it| &*it.name);
    let owner = snapshot.owners.get(partition.index()).copied().unwrap_or_default();
    json!({
        "partition": name, "region": owner.region.map(|it| snapshot.name(it)),
        "epoch": owner.epoch.0, "standing": owner.standing.word(), "leased": is_leased,
    })
}

fn request(question: &Question) -> Result<RequestHeader, Trouble> {
    let bad = |error: &dyn Display| Trouble::Doing("read the request", error.to_string());
    let built = RequestHeader::build(question.method.as_str(), question.path.as_bytes(), None);
    let mut request = built.map_err(|error| bad(&error))?;
    for (name, value) in &question.headers {
        request.append_header(name.clone(), value.as_str()).map_err(|error| bad(&error))?;
    }
    Ok(request)
}

fn chosen(snapshot: &Snapshot, ask: &CoreAsk<'_>, choice: Choice) -> Json {
    let policy = &snapshot.policy;
    let assigned = choice.release(policy, ask.session);
    let route = policy.routes.get(ask.route);
    let region = snapshot.region(choice.region);
    let endpoints = region.into_iter().flat_map(|it| &it.endpoints).filter(|endpoint| {
        route.is_some_and(|route| admits(route, endpoint, &ask.demand, assigned))
    });
    let mut answer = json!({
        "outcome": "routed",
        "region": snapshot.name(choice.region),
        "reason": choice.reason.word(),
        "endpoints": endpoints.map(|it| it.address.to_string()).collect::<Vec<_>>(),
    });
    if let (Some(pin), true) = (ask.pin, choice.pin != PinOutcome::Absent) {
        let told = json!({ "pin": { "region": pin.region, "outcome": choice.pin.word() } });
        merge(&mut answer, told);
    }
    if let Some(release) = assigned {
        let is_kept = ask.session.is_some_and(|it| it.release == Some(release));
        let by = if is_kept { "session" } else { "split" };
        merge(&mut answer, json!({ "assigned_release": release, "assigned_by": by }));
    }
    answer
}

fn pass(snapshot: &Snapshot, (id, cause): (RegionId, Cause)) -> Json {
    let region = snapshot.region(id);
    let endpoints = region.into_iter().flat_map(|it| &it.endpoints);
    let detail = endpoints.flat_map(|it| {
        let mismatches = it.mismatches.iter().map(ToString::to_string);
        let failure = it.failure.map(|failure| failure.to_string());
        mismatches.chain(failure).map(|text| format!("{}: {text}", it.address))
    });
    let wanted = matches!(cause, Cause::Verdict(_) | Cause::Unmet | Cause::Degraded);
    let detail: Vec<_> = detail.filter(|_| wanted).collect();
    json!({ "region": snapshot.name(id), "cause": cause.word(), "detail": detail })
}

fn merge(into: &mut Json, from: Json) {
    if let (Json::Object(into), Json::Object(from)) = (into, from) {
        into.extend(from);
    }
}
