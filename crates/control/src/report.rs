//! From the bytes of an answer to what an endpoint reports.
//!
//! The bytes come from the network: whatever they are, the outcome is a report or a failure.

use http::HeaderMap;
use serde_json::Value as Json;
use tidegate_core::contract::{
    Accepts, BlobManifest, Contract, Found, Key, Queue, Report, Source, VALUE_BYTES_MAX, Value,
};
use tidegate_core::health::ProbeFailure;
use tidegate_core::id::Name;

#[cfg(test)]
mod tests;

/// Reads a report out of an answer whose status was 200.
///
/// A body that is no JSON object is a failure only where something is expected of the body:
/// otherwise any answer is a good one.
///
/// # Errors
///
/// [`ProbeFailure::NotJson`], as told above.
pub fn parse(
    contract: &Contract,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Report, ProbeFailure> {
    let body = serde_json::from_slice(body).ok().filter(Json::is_object);
    if body.is_none() && contract.keys.iter().any(expects_a_body) {
        return Err(ProbeFailure::NotJson);
    }
    let body = body.unwrap_or(Json::Null);
    let found = |key: &Key| match &key.source {
        Source::Pointer(pointer) => body.pointer(pointer).map_or(Found::Missing, of_json),
        Source::Header(name) => of_header(headers, name, key),
    };
    Ok(Report {
        found: contract.keys.iter().map(found).collect(),
        release_id: text(&body, "/release_id"),
        revision: text(&body, "/revision"),
        build_ts: text(&body, "/build_ts"),
        ready: body.pointer("/ready").and_then(Json::as_bool),
        blob_manifest: blob_manifest(&body),
        queue: queue(&body),
    })
}

fn expects_a_body(key: &Key) -> bool {
    key.expect.is_some() && matches!(key.source, Source::Pointer(_))
}

fn of_json(json: &Json) -> Found {
    match json {
        Json::String(text) if VALUE_BYTES_MAX < text.len() => Found::WrongType("oversized string"),
        Json::String(text) => Found::Value(text.as_str().into()),
        Json::Bool(flag) => Found::Value(Value::Flag(*flag)),
        Json::Number(number) => number
            .as_i64()
            .map_or(Found::WrongType("number"), |it| Found::Value(Value::Integer(it))),
        Json::Array(_) => Found::WrongType("array"),
        Json::Object(_) => Found::WrongType("object"),
        Json::Null => Found::WrongType("null"),
    }
}

/// A header has no types, so it is read as the kind of value that the contract expects of it.
fn of_header(headers: &HeaderMap, name: &str, key: &Key) -> Found {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Found::Missing };
    if values.next().is_some() {
        return Found::WrongType("repeated header");
    }
    let Ok(text) = std::str::from_utf8(value.as_bytes()) else {
        return Found::WrongType("header that is not UTF-8");
    };
    let text = text.trim();
    if VALUE_BYTES_MAX < text.len() {
        return Found::WrongType("oversized string");
    }
    let read = match key.expect.as_ref().map(|it| &it.accepts) {
        Some(Accepts::Exactly(value) | Accepts::Either { new: value, .. }) => match value {
            Value::Integer(_) => text.parse().ok().map(Value::Integer),
            Value::Flag(_) => text.parse().ok().map(Value::Flag),
            Value::Text(_) => None,
        },
        Some(Accepts::Agreed) | None => None,
    };
    Found::Value(read.unwrap_or_else(|| text.into()))
}

/// A text, or an integer as text; a longer one than a contract value is left out.
fn text(json: &Json, pointer: &str) -> Option<Name> {
    match of_json(json.pointer(pointer)?) {
        Found::Value(Value::Text(text)) => Some(text),
        Found::Value(value @ Value::Integer(_)) => Some(value.to_string().into()),
        Found::Value(Value::Flag(_)) | Found::WrongType(_) | Found::Missing => None,
    }
}

fn blob_manifest(json: &Json) -> Option<BlobManifest> {
    let count = json.pointer("/blob_manifest/count")?.as_u64()?;
    Some(BlobManifest { count, digest: text(json, "/blob_manifest/digest")? })
}

fn queue(json: &Json) -> Option<Queue> {
    let number = |pointer| json.pointer(pointer).and_then(Json::as_u64);
    Some(Queue {
        depth: number("/queue/depth")?,
        oldest_age_ms: number("/queue/oldest_age_ms")?,
        watermark: text(json, "/queue/watermark"),
    })
}
