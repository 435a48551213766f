//! What a fake region shows of its blobs and answers to probes, and how both can be spoiled.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use http::StatusCode;
use hyper::Response;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::answer::{hex, json_answer, text_answer};
use super::body::Body;
use crate::runtime::lock;

/// Changes an answer to a probe; it sees what was asked, and the answer as it would be.
pub(crate) type Spoil = Box<dyn Fn(&Value, &mut Value) + Send>;

/// Blobs by their keys, and answers to probes.
pub(crate) struct Evidence {
    blobs: Mutex<BTreeMap<String, Vec<u8>>>,
    spoil: Mutex<Option<Spoil>>,
    asked: Mutex<u64>,
}

impl Default for Evidence {
    fn default() -> Self {
        let blobs = ["doc/1.txt", "doc/2.txt", "img/a.png"];
        let blobs = blobs.map(|key| (key.to_owned(), key.as_bytes().to_vec()));
        Self { blobs: Mutex::new(blobs.into()), spoil: Mutex::default(), asked: Mutex::default() }
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evidence").field("blobs", &self.blobs).finish_non_exhaustive()
    }
}

impl Evidence {
    pub(crate) fn set_blob(&self, key: &str, bytes: Option<&[u8]>) {
        let mut blobs = lock(&self.blobs);
        match bytes {
            Some(bytes) => blobs.insert(key.to_owned(), bytes.to_vec()),
            None => blobs.remove(key),
        };
    }

    pub(crate) fn spoil(&self, spoil: Option<Spoil>) {
        *lock(&self.spoil) = spoil;
    }

    /// How often a probe was answered.
    pub(crate) fn asked(&self) -> u64 {
        *lock(&self.asked)
    }

    /// The list of all blobs in its canonical form.
    fn list(&self) -> String {
        let line = |(key, bytes): (&String, &Vec<u8>)| {
            format!("{}  {}  {key}\n", hex(&Sha256::digest(bytes)), bytes.len())
        };
        lock(&self.blobs).iter().map(line).collect()
    }

    /// Count and digest, as the contract has them.
    pub(crate) fn summary(&self) -> Value {
        let list = self.list();
        json!({ "count": list.lines().count(), "digest": hex(&Sha256::digest(&list)) })
    }

    pub(crate) fn manifest(&self) -> Response<Body> {
        text_answer(StatusCode::OK, &self.list())
    }

    /// The answer to one question: the same in every region that has the same index.
    pub(crate) fn probe(&self, asked: &[u8], index_hash: Option<&Value>) -> Response<Body> {
        let Ok(asked) = serde_json::from_slice::<Value>(asked) else {
            return text_answer(StatusCode::BAD_REQUEST, "that is not JSON\n");
        };
        *lock(&self.asked) += 1;
        let question = asked.get("question_id").and_then(Value::as_str).unwrap_or_default();
        let documents = (0..asked.get("k").and_then(Value::as_u64).unwrap_or(10))
            .map(|it| format!("{question}/{it}"));
        let mut answer = json!({
            "question_id": question,
            "delta_s": 0.41,
            "retrieved_ids": documents.collect::<Vec<_>>(),
            "lambda_state": "convergent",
            "coverage": 0.8,
            "seed_applied": true,
            "index_hash": index_hash,
            "context": format!("context of {question}"),
        });
        if let Some(spoil) = &*lock(&self.spoil) {
            spoil(&asked, &mut answer);
        }
        json_answer(StatusCode::OK, &answer)
    }
}

/// Vectors of texts: all contexts point the same way, and questions a little beside them, so that
/// `1 − cos` is 0.4.
pub(crate) fn embeddings(asked: &[u8]) -> Response<Body> {
    let asked: Value = serde_json::from_slice(asked).unwrap_or_default();
    let texts = asked.get("input").and_then(Value::as_array).cloned().unwrap_or_default();
    let vector = |text: &Value| match text.as_str() {
        Some(text) if text.starts_with("context") => json!([3.0, 0.0]),
        Some(_) | None => json!([3.0, 4.0]),
    };
    let data = texts.iter().enumerate();
    let data: Vec<_> =
        data.map(|(at, text)| json!({ "index": at, "embedding": vector(text) })).collect();
    json_answer(StatusCode::OK, &json!({ "object": "list", "data": data }))
}
