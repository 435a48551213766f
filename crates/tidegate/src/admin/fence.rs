//! What the admin address tells of the fence, and takes from whoever knows better.

use std::net::IpAddr;
use std::time::Duration;

use http::{Method, StatusCode};
use pingora::http::RequestHeader;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tidegate_control::clock;
use tidegate_core::Moment;
use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::record::{Answer as Remembered, Body, Phase, Record, State};
use tidegate_core::fence::rules::Knows;
use tidegate_core::policy::Policy;
use tidegate_core::policy::fencing::{FenceRules, FenceStore};
use tidegate_fence::redis::{Founded, How};
use tidegate_fence::store::{Audit, AuditLine, Failure, Filter, Gauges};
use tidegate_fence::tally::Tally;
use tidegate_proxy::access::Rfc3339;
use tidegate_proxy::fencing::explain::{Explained, Explanation, explain};

use super::{Answer, Rights};
use crate::fence::desk::{self, Check, Desk, LISTED_MAX, Outcome, Word};

/// Records that one answer lists unless it is asked for more.
const LISTED: u32 = 100;
/// Longest reason, and longest name of who gives it, in bytes.
const SAID_BYTES_MAX: usize = 1000;
/// Largest question about a write, in bytes: its body is written in two digits for each byte.
pub(super) const QUESTION_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Where such a question is asked.
pub(super) const EXPLAIN: &str = "/v1/fence/explain";

/// What somebody says who knows how a write ended.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    executed: bool,
    who: String,
    reason: String,
    #[serde(default)]
    owner: Option<String>,
}

/// How a store begins to remember.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Beginning {
    #[serde(default)]
    anew: bool,
    who: String,
}

/// A write that somebody asks about.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    #[serde(default)]
    pub(crate) client: Option<IpAddr>,
    /// Its body in hexadecimal digits.
    #[serde(default)]
    pub(crate) body: String,
}

/// The pages of the fence.
pub(super) struct Pages<'a> {
    pub(super) desk: Option<&'a Desk>,
    pub(super) policy: &'a Policy,
    pub(super) rights: Rights,
}

impl Pages<'_> {
    /// Answers what is asked below `/v1/fence`.
    pub(super) async fn answer(
        &self,
        method: &Method,
        parts: &[&str],
        (query, body): (&str, &[u8]),
    ) -> Answer {
        let (Some(desk), Some(rules)) = (self.desk, &self.policy.fence) else {
            let title = "there is no fence: neither the policy nor this process has one";
            return Answer::problem(StatusCode::NOT_FOUND, "no_fence", title);
        };
        match (method.as_str(), parts) {
            ("GET" | "HEAD", []) => status(desk, rules).await,
            ("GET" | "HEAD", ["warm"]) => warm(&desk.warm(rules).await),
            ("GET" | "HEAD", ["keys"]) => list(desk, rules, query).await,
            ("GET" | "HEAD", ["keys", key]) => show(desk, rules, key).await,
            ("GET" | "HEAD", ["audit"]) => audit(desk, query).await,
            ("POST", ["explain"]) => explained(desk, self.policy, body).await,
            ("POST", ["keys", key, "resolve"]) if self.rights == Rights::Operate => {
                resolve(desk, rules, key, body).await
            }
            ("POST", ["init"]) if self.rights == Rights::Operate => init(desk, body).await,
            ("POST", ["keys", _, "resolve"] | ["init"]) => Answer::read_only(),
            _ => Answer::problem(
                StatusCode::NOT_FOUND,
                "no_such_page",
                "nothing here; try /v1/fence, /v1/fence/warm, /v1/fence/keys, /v1/fence/audit",
            ),
        }
    }
}

async fn status(desk: &Desk, rules: &FenceRules) -> Answer {
    let (gauges, took) = desk.look().await;
    let checks = desk.checks(gauges, took, rules);
    let store = match &rules.store {
        FenceStore::Embedded { path } => json!({ "kind": "embedded", "path": path }),
        FenceStore::Redis(redis) => json!({ "kind": "redis", "prefix": &*redis.prefix }),
    };
    let times = json!({
        "failover_window_ms": millis(rules.failover_window),
        "retention_ms": millis(rules.retention.completed()),
        "in_doubt_retention_ms": millis(rules.retention.in_doubt()),
        "quarantine_ms": millis(rules.quarantine),
    });
    Answer::json(&json!({
        "store": store,
        "up": gauges.is_ok(),
        "failure": gauges.as_ref().err().map(ToString::to_string),
        "answered_in_ms": took.as_secs_f64() * 1000.0,
        "warm": checks.iter().all(|it| it.holds),
        "window_open": desk.fence.is_window_open(),
        "records": gauges.ok().map(|it| of_gauges(&it)),
        "counts": of_tally(desk.fence.tally()),
        "times": times,
    }))
}

fn of_gauges(gauges: &Gauges) -> Json {
    let Gauges { in_flight, in_doubt, oldest_open, bytes, bytes_max, born } = gauges;
    json!({
        "in_flight": in_flight,
        "in_doubt": in_doubt,
        "oldest_open_ms": oldest_open.map(|it| millis(clock::now().since(it))),
        "bytes": bytes,
        "bytes_max": bytes_max,
        "since": date(*born),
    })
}

fn of_tally(tally: &Tally) -> Json {
    json!({
        "won": tally.won.get(),
        "busy": tally.busy.get(),
        "waited": tally.waited.get(),
        "done": tally.done.get(),
        "clashes": tally.clashes.get(),
        "in_doubt": tally.in_doubt.get(),
        "refused": tally.refused.get(),
        "unsure": tally.unsure.get(),
        "completed": tally.completed.get(),
        "released": tally.released.get(),
        "doubted": tally.doubted.get(),
        "escapes": tally.escapes.get(),
        "resurrected": tally.resurrected.get(),
        "unsafe_expiries": tally.unsafe_expiries.get(),
        "postponed": tally.postponed.get(),
        "lost": tally.lost.get(),
    })
}

fn warm(checks: &[Check]) -> Answer {
    let told =
        checks.iter().map(|it| json!({ "check": it.name, "ok": it.holds, "detail": it.detail }));
    let told: Vec<Json> = told.collect();
    Answer::json(&json!({ "warm": checks.iter().all(|it| it.holds), "checks": told }))
}

async fn list(desk: &Desk, rules: &FenceRules, query: &str) -> Answer {
    let wanted = match Wanted::read(query) {
        Ok(wanted) => wanted,
        Err(title) => return Answer::problem(StatusCode::BAD_REQUEST, "bad_query", &title),
    };
    match desk.list(wanted.filter, wanted.older, wanted.limit).await {
        Ok((found, has_more)) => {
            let keys: Vec<Json> = found.iter().map(|(key, it)| told(*key, it, rules)).collect();
            Answer::json(&json!({ "keys": keys, "more": has_more }))
        }
        Err(failure) => down(failure),
    }
}

async fn show(desk: &Desk, rules: &FenceRules, key: &str) -> Answer {
    let Some(key) = FenceKey::parse(key) else { return bad_key() };
    match desk.fence.show(key).await {
        Ok(Some(record)) => Answer::json(&told(key, &record, rules)),
        Ok(None) => absent(key),
        Err(failure) => down(failure),
    }
}

async fn audit(desk: &Desk, query: &str) -> Answer {
    let limit = match Wanted::read(query) {
        Ok(wanted) => wanted.limit,
        Err(title) => return Answer::problem(StatusCode::BAD_REQUEST, "bad_query", &title),
    };
    match desk.fence.audit(limit).await {
        Ok(lines) => {
            let lines: Vec<Json> = lines.iter().map(of_audit).collect();
            Answer::json(&json!({ "audit": lines }))
        }
        Err(failure) => down(failure),
    }
}

fn of_audit(line: &AuditLine) -> Json {
    let AuditLine { at, key, owner, executed, audit: Audit { who, reason } } = line;
    json!({
        "at": date(*at), "key": key.to_string(), "owner": owner.to_string(),
        "executed": executed, "who": who, "reason": reason,
    })
}

async fn resolve(desk: &Desk, rules: &FenceRules, key: &str, body: &[u8]) -> Answer {
    let Some(key) = FenceKey::parse(key) else { return bad_key() };
    let said = match said(body) {
        Ok(said) => said,
        Err(title) => return Answer::problem(StatusCode::BAD_REQUEST, "bad_resolution", &title),
    };
    let Said { executed, who, reason, owner } = said;
    let knows = if executed { Knows::Executed } else { Knows::NotExecuted };
    tracing::info!(%key, executed, who, reason, "operator resolves a doubt");
    let word = Word { owner, knows, audit: Audit { who, reason } };
    match desk.resolve(key, word, rules).await {
        Ok(Outcome::Done) => {
            Answer::json(&json!({ "ok": true, "key": key.to_string(), "executed": executed }))
        }
        Ok(Outcome::Absent) => absent(key),
        Ok(Outcome::OtherOwner) => {
            let title = "the key belongs to another claim than the one that was looked at";
            Answer::problem(StatusCode::CONFLICT, "other_owner", title)
        }
        Ok(Outcome::NotInDoubt(record)) => {
            let state = word_of(record.phase(clock::now()));
            let title = format!("there is no doubt about this write: it is {state}");
            let title = title.replace('_', " ");
            Answer::problem(StatusCode::CONFLICT, "not_in_doubt", &title)
                .with("state", json!(state))
        }
        Ok(Outcome::TooEarly(until)) => {
            let title = format!(
                "\"not executed\" cannot be known before {}: until then the write may still be \
                 on its way",
                date(until)
            );
            Answer::problem(StatusCode::CONFLICT, "too_early", &title)
                .with("until", json!(date(until)))
        }
        Err(failure) => down(failure),
    }
}

/// What somebody says, or what is wrong with how it is said.
fn said(body: &[u8]) -> Result<Said, String> {
    let said: Said = serde_json::from_slice(body)
        .map_err(|error| format!("the resolution cannot be read: {error}"))?;
    for (name, text) in [("who", &said.who), ("reason", &said.reason)] {
        if text.trim().is_empty() || SAID_BYTES_MAX < text.len() {
            return Err(format!("`{name}` is wanted, in at most {SAID_BYTES_MAX} bytes"));
        }
    }
    Ok(said)
}

async fn explained(desk: &Desk, policy: &Policy, body: &[u8]) -> Answer {
    let read = serde_json::from_slice::<Question>(body).map_err(|error| error.to_string());
    let told = match read.and_then(|question| made_of(policy, &question)) {
        Ok(told) => told,
        Err(why) => {
            let title = format!("the question cannot be read: {why}");
            return Answer::problem(StatusCode::BAD_REQUEST, "bad_question", &title);
        }
    };
    let (Some(key), Some(rules)) = (told.key, &policy.fence) else {
        return Answer::json(&told.json);
    };
    let record = match desk.fence.show(key).await {
        Ok(Some(record)) => self::told(key, &record, rules),
        Ok(None) => json!({ "state": "absent" }),
        Err(failure) => json!({ "state": "unknown", "failure": failure.to_string() }),
    };
    Answer::json(&told.json).with("record", record)
}

/// Lets a store remember from now on.
async fn init(desk: &Desk, body: &[u8]) -> Answer {
    let beginning = match serde_json::from_slice::<Beginning>(body) {
        Ok(beginning) => beginning,
        Err(error) => {
            let title = format!("the beginning cannot be read: {error}");
            return Answer::problem(StatusCode::BAD_REQUEST, "bad_beginning", &title);
        }
    };
    let Beginning { anew, who } = beginning;
    tracing::info!(anew, who, "operator begins the fence");
    match desk.fence.found(if anew { How::Anew } else { How::First }).await {
        Ok(founded) => {
            Answer::json(&json!({ "ok": true, "begun": founded == Founded::Now, "anew": anew }))
        }
        Err(error) => Answer::problem(StatusCode::CONFLICT, "not_begun", &error.to_string()),
    }
}

/// What the fence makes of a write that somebody asks about.
pub(crate) struct Made {
    pub(crate) key: Option<FenceKey>,
    pub(crate) json: Json,
}

/// What the fence makes of a write by this policy.
///
/// # Errors
/// What is wrong with the question.
pub(crate) fn made_of(policy: &Policy, question: &Question) -> Result<Made, String> {
    let Question { method, path, headers, client, body } = question;
    let body = bytes(body).ok_or("the body is wanted in hexadecimal digits")?;
    let built = RequestHeader::build(method.as_str(), path.as_bytes(), None);
    let mut request = built.map_err(|error| error.to_string())?;
    for (name, value) in headers {
        let added = request.append_header(name.clone(), value.as_str());
        added.map_err(|error| error.to_string())?;
    }
    let (key, json) = match explain(policy, &request, *client, &body) {
        Explained::NoRoute => (None, json!({ "outcome": "no_route" })),
        Explained::Free { route, why } => {
            (None, json!({ "outcome": "unfenced", "route": route, "why": why }))
        }
        Explained::Refused { route, problem } => {
            let (status, code, title) = (problem.status, problem.code, problem.title);
            let outcome = json!({
                "outcome": "refused", "route": route, "status": status, "code": code,
                "title": title,
            });
            (None, outcome)
        }
        Explained::Named(explanation) => (Some(explanation.key), of_explanation(&explanation)),
    };
    Ok(Made { key, json })
}

fn of_explanation(explanation: &Explanation) -> Json {
    let Explanation { route, key, tenant, has_principal, is_authenticated, is_event, fingerprint } =
        explanation;
    json!({
        "outcome": "fenced",
        "route": route,
        "key": key.to_string(),
        "scope": { "route": route, "tenant": tenant, "principal": has_principal },
        "authenticated": is_authenticated,
        "event": is_event,
        "fingerprint": fingerprint.to_string(),
    })
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    let nibble = |it: &u8| char::from(*it).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(nibble(high)? << 4 | nibble(low)?),
        _ => None,
    });
    pairs.collect()
}

/// A record as operators see it: nothing of what was sent or answered.
fn told(key: FenceKey, record: &Record, rules: &FenceRules) -> Json {
    let now = clock::now();
    let phase = record.phase(now);
    let doubt = match phase {
        Phase::InDoubt(doubt) => Some(doubt.word()),
        Phase::InFlight { .. } | Phase::Completed => None,
    };
    let answer = match &record.state {
        State::Completed(answer) => Some(of_answer(answer)),
        State::InFlight | State::InDoubt(_) => None,
    };
    json!({
        "key": key.to_string(),
        "state": word_of(phase),
        "doubt": doubt,
        "owner": record.owner.to_string(),
        "epoch": record.epoch.0,
        "attempt": record.attempt,
        "claimed": date(record.created),
        "age_ms": millis(now.since(record.created)),
        "lease_until": date(record.lease_until),
        "not_executed_from": desk::not_executed_from(record, rules).map(date),
        "expires": date(record.expires),
        "fingerprint": record.fingerprint.map(|it| it.to_string()),
        "degraded": record.is_degraded,
        "resurrected": record.is_resurrected,
        "answer": answer,
    })
}

fn of_answer(answer: &Remembered) -> Json {
    let (kept, length) = match &answer.body {
        Body::Whole(body) => ("whole", u64::try_from(body.len()).ok()),
        Body::Digest { length, .. } => ("digest", Some(*length)),
        Body::Streamed => ("streamed", None),
        Body::Partial => ("partial", None),
        Body::NotKept => ("nothing", None),
    };
    json!({ "status": answer.status, "kept": kept, "bytes": length })
}

fn word_of(phase: Phase) -> &'static str {
    match phase {
        Phase::InFlight { .. } => "in_flight",
        Phase::Completed => "completed",
        Phase::InDoubt(_) => "in_doubt",
    }
}

fn date(moment: Moment) -> String {
    Rfc3339(moment).to_string()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn bad_key() -> Answer {
    let title = "a key is wanted, which has 64 hexadecimal digits";
    Answer::problem(StatusCode::BAD_REQUEST, "bad_key", title)
}

fn absent(key: FenceKey) -> Answer {
    let title = format!("nothing is remembered of {key}");
    Answer::problem(StatusCode::NOT_FOUND, "no_such_key", &title)
}

fn down(failure: Failure) -> Answer {
    Answer::problem(StatusCode::SERVICE_UNAVAILABLE, "store_down", &failure.to_string())
}

/// Which records somebody wants to see.
struct Wanted {
    filter: Filter,
    older: Duration,
    limit: u32,
}

impl Wanted {
    fn read(query: &str) -> Result<Self, String> {
        let mut wanted = Self { filter: Filter::InDoubt, older: Duration::ZERO, limit: LISTED };
        for pair in query.split('&').filter(|it| !it.is_empty()) {
            match pair.split_once('=') {
                Some(("state", "in_doubt")) => wanted.filter = Filter::InDoubt,
                Some(("state", "in_flight")) => wanted.filter = Filter::InFlight,
                Some(("older", text)) => {
                    let older = tidegate_policy::duration(text);
                    wanted.older = older.map_err(|error| format!("older: {error}"))?;
                }
                Some(("limit", number)) => {
                    let limit: Result<u32, _> = number.parse();
                    let limit = limit.map_err(|error| format!("`{number}`: {error}"))?;
                    wanted.limit = limit.min(LISTED_MAX - 1);
                }
                Some(_) | None => {
                    return Err(format!(
                        "`{pair}` is unknown; try state=in_doubt, state=in_flight, older or limit"
                    ));
                }
            }
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_or_refused() {
        let wanted = Wanted::read("state=in_flight&older=5m&limit=7").unwrap();
        assert_eq!((wanted.filter, wanted.limit), (Filter::InFlight, 7));
        assert_eq!(wanted.older, Duration::from_mins(5));
        let usual = Wanted::read("").unwrap();
        assert_eq!((usual.filter, usual.limit), (Filter::InDoubt, LISTED));
        assert_eq!(Wanted::read("limit=4000000000").unwrap().limit, LISTED_MAX - 1);
        for query in ["state=done", "older=5", "limit=-1", "limit", "key=1"] {
            assert!(Wanted::read(query).is_err(), "{query}");
        }
    }

    #[test]
    fn bytes_are_pairs_of_digits() {
        assert_eq!(bytes("00fF"), Some(vec![0, 255]));
        assert_eq!(bytes(""), Some(Vec::new()));
        for odd in ["0", "0g", "0 ", "é"] {
            assert_eq!(bytes(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_resolution_says_who_and_why() {
        let said = |who: &str, reason: &str| {
            said(json!({ "executed": true, "who": who, "reason": reason }).to_string().as_bytes())
        };
        assert!(said("eve", "seen in the ledger").is_ok());
        assert!(said(" ", "x").is_err() && said("eve", "").is_err());
        assert!(said("eve", &"x".repeat(SAID_BYTES_MAX + 1)).is_err());
        assert!(super::said(b"{}").is_err());
    }
}
