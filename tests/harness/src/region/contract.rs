//! The contract that a fake region reports, and the book of who asked for it.

use std::sync::Mutex;

use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::Response;
use serde_json::{Map, Value, json};

use super::body::{Body, whole};
use super::faults::Fault;
use crate::runtime::lock;

/// The keys that are also sent as headers.
const HEADERS: [(&str, HeaderName); 4] = [
    ("schema_rev", HeaderName::from_static("x-schema-rev")),
    ("model_tag", HeaderName::from_static("x-model-tag")),
    ("index_hash", HeaderName::from_static("x-index-hash")),
    ("secrets_rev", HeaderName::from_static("x-secrets-rev")),
];

/// More than any sane limit for a contract.
const HUGE_BYTES: usize = 256 * 1024;

#[derive(Debug)]
struct State {
    original: Value,
    current: Value,
    probes: u64,
    last_probe: Option<HeaderMap>,
}

/// What is reported now, what was reported at the start, and who asked.
#[derive(Debug)]
pub(crate) struct Contract {
    state: Mutex<State>,
}

impl Contract {
    pub(crate) fn new(region: &str, blobs: &Value) -> Self {
        let original = json!({
            "ready": true,
            "region": region,
            "release_id": "r-2025-08-01",
            "revision": "rev-1",
            "schema_rev": "sc-12",
            "model_tag": "gpt-4o-2025-07-15",
            "index_hash": "a1b2c3",
            "secrets_rev": "k_2025_08a",
            "metric": "cosine",
            "analyzer": "icu-v3",
            "build_ts": "2025-08-01T00:00:00Z",
            "blob_manifest": blobs,
            "queue": { "depth": 0, "oldest_age_ms": 0, "watermark": 0 },
        });
        let current = original.clone();
        Self { state: Mutex::new(State { original, current, probes: 0, last_probe: None }) }
    }

    pub(crate) fn set(&self, contract: Value) {
        lock(&self.state).current = contract;
    }

    pub(crate) fn get(&self) -> Value {
        lock(&self.state).current.clone()
    }

    pub(crate) fn set_key(&self, key: &str, value: Value) {
        if let Some(object) = lock(&self.state).current.as_object_mut() {
            object.insert(key.to_owned(), value);
        }
    }

    pub(crate) fn remove_key(&self, key: &str) {
        if let Some(object) = lock(&self.state).current.as_object_mut() {
            object.remove(key);
        }
    }

    /// Makes what is reported now the original that [`Contract::merge`] goes back to.
    pub(crate) fn keep_as_original(&self) {
        let mut state = lock(&self.state);
        state.original = state.current.clone();
    }

    /// Merges keys into the contract. No key at all restores the original.
    pub(crate) fn merge(&self, keys: Map<String, Value>) -> Value {
        let mut state = lock(&self.state);
        if keys.is_empty() || !state.current.is_object() {
            state.current = state.original.clone();
        }
        if let Some(object) = state.current.as_object_mut() {
            object.extend(keys);
        }
        state.current.clone()
    }

    pub(crate) fn probed(&self, headers: &HeaderMap) {
        let mut state = lock(&self.state);
        state.probes += 1;
        state.last_probe = Some(headers.clone());
    }

    pub(crate) fn probes(&self) -> u64 {
        lock(&self.state).probes
    }

    pub(crate) fn last_probe(&self) -> Option<HeaderMap> {
        lock(&self.state).last_probe.clone()
    }

    /// The answer to a probe.
    pub(crate) fn answer(&self, fault: Option<Fault>) -> Response<Body> {
        let mut contract = self.get();
        match fault {
            Some(Fault::WrongContract) => spoil(&mut contract),
            Some(Fault::HugeContract) => pad(&mut contract),
            Some(Fault::NotJson) => return html(),
            Some(Fault::ContractStatus(status)) => return status_only(status),
            Some(_) | None => {}
        }
        let mut response = Response::new(whole(contract.to_string()));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(http::header::CONTENT_TYPE, json);
        for (key, header) in HEADERS {
            let text = match contract.get(key) {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => continue,
            };
            if let Ok(value) = HeaderValue::from_str(&text) {
                response.headers_mut().insert(header, value);
            }
        }
        response
    }
}

/// Gives every key of the contract proper a value that nobody expects.
fn spoil(contract: &mut Value) {
    for (key, _header) in HEADERS {
        if let Some(value) = contract.get_mut(key) {
            *value = Value::String(format!("wrong-{key}"));
        }
    }
}

fn pad(contract: &mut Value) {
    if let Some(object) = contract.as_object_mut() {
        object.insert("padding".to_owned(), Value::String("x".repeat(HUGE_BYTES)));
    }
}

fn html() -> Response<Body> {
    let mut response = Response::new(whole("<!doctype html><title>All is well</title>\n"));
    let html = HeaderValue::from_static("text/html");
    response.headers_mut().insert(http::header::CONTENT_TYPE, html);
    response
}

fn status_only(status: u16) -> Response<Body> {
    let mut response = Response::new(whole(format!("contract status {status}\n")));
    if let Ok(status) = http::StatusCode::from_u16(status) {
        *response.status_mut() = status;
    }
    response
}
