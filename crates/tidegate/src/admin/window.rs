//! The failover window at the admin address: what is told of it, and what an operator wants.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tidegate_control::clock;
use tidegate_core::Moment;
use tidegate_core::board::Event;
use tidegate_core::snapshot::Snapshot;
use tidegate_core::window::{Cause, Opening, REASON_BYTES_MAX, Window};

use super::{Admin, Answer};

/// Why somebody opens or closes the window.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    reason: String,
}

/// The window of a world. Nobody keeps one without a fence.
pub(crate) fn told(snapshot: &Snapshot, now: Moment) -> Json {
    let Some(rules) = &snapshot.policy.fence else {
        return json!({ "fence": false, "open": false });
    };
    let length_ms = millis(rules.failover_window);
    match &snapshot.window {
        Window::Shut => json!({ "fence": true, "open": false, "failover_window_ms": length_ms }),
        Window::Open(opening) => {
            let Opening { since, cause: opened_by, lasting, last, until } = opening;
            json!({
                "fence": true,
                "open": true,
                "failover_window_ms": length_ms,
                "since_ms": since.0,
                "open_for_ms": millis(now.since(*since)),
                "opened_by": cause(opened_by),
                "lasting": lasting.iter().map(cause).collect::<Vec<_>>(),
                "last": cause(last),
                "until_ms": until.map(|it| it.0),
                "closes_in_ms": until.map(|it| millis(it.since(now))),
            })
        }
    }
}

impl Admin {
    /// The operator opens the window, or keeps it open no longer.
    pub(super) async fn ask_for_window(&self, verb: &str, body: &[u8]) -> Answer {
        if let Some(refused) = self.refuses_change() {
            return refused;
        }
        let reason = match reason(body) {
            Ok(reason) => reason,
            Err(title) => return Answer::problem(StatusCode::BAD_REQUEST, "bad_reason", &title),
        };
        if self.handle.world().snapshot.policy.fence.is_none() {
            let title = "the policy has no fence, so there is no failover window to keep";
            return Answer::problem(StatusCode::CONFLICT, "no_fence", title);
        }
        tracing::info!(window = verb, reason = &*reason, "operator acts");
        match self.handle.ask(Event::WindowAsked { open: verb == "open", reason }).await {
            Ok(world) => Answer::json(&told(&world.snapshot, clock::now())),
            Err(_) => Answer::busy(),
        }
    }
}

/// A reason that is short and stands on one line.
fn reason(body: &[u8]) -> Result<Arc<str>, String> {
    let wanted: Wanted = serde_json::from_slice(body)
        .map_err(|error| format!("a reason is wanted, as in {{\"reason\": \"…\"}}: {error}"))?;
    let reason = wanted.reason.trim();
    if reason.is_empty() {
        return Err("a reason is wanted, and this one is empty".to_owned());
    }
    if REASON_BYTES_MAX < reason.len() || reason.chars().any(char::is_control) {
        return Err(format!("a reason is one line of at most {REASON_BYTES_MAX} bytes"));
    }
    Ok(reason.into())
}

fn cause(cause: &Cause) -> Json {
    let mut told = json!({ "cause": cause.word(), "detail": cause.to_string() });
    let endpoint = match cause {
        Cause::Drain { endpoint, .. } => *endpoint,
        Cause::Operator { .. } | Cause::Loss { .. } | Cause::Return { .. } => None,
    };
    if let Json::Object(told) = &mut told {
        told.extend(cause.region().map(|it| ("region".to_owned(), json!(&**it))));
        told.extend(endpoint.map(|it| ("endpoint".to_owned(), json!(it))));
    }
    told
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
