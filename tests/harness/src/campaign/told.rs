//! What a reply says about a write.

use serde_json::Value;

use crate::client::message::Reply;
use crate::history::{Told, digest_of_answer};

/// Reads a reply as a careful client would.
pub(super) fn told(reply: &Reply) -> Told {
    let is_replay = reply.header("idempotent-replayed") == Some("true");
    if is_replay || reply.header("x-served-by").is_some() {
        let digest = digest_of_answer(reply.status, &reply.body);
        return Told::Answer { status: reply.status, replayed: is_replay, digest };
    }
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let code = body.get("code").and_then(Value::as_str).unwrap_or_default();
    let says = |words: &[&str]| words.iter().any(|it| code.contains(it));
    match reply.status {
        _ if says(&["unknown", "doubt"]) => Told::InDoubt,
        _ if says(&["in_flight", "progress"]) => Told::InFlight,
        _ if says(&["executed"]) => Told::Executed,
        422 => Told::Mismatch,
        503 => Told::Refused,
        _ => Told::Failed,
    }
}
