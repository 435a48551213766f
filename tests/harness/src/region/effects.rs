//! The book of what a fake region was asked to do, and what it really did.

use std::collections::BTreeMap;
use std::sync::Mutex;

use hyper::Request;

use crate::runtime::lock;

/// What happened for one method, path and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The method as it arrived.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The `Idempotency-Key`, or else the `X-Test-Id`.
    pub id: Option<String>,
    /// How often the headers of such a request arrived.
    pub received: u64,
    /// How often such a request was carried out: its whole body had arrived.
    pub executed: u64,
}

/// What an effect is counted under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    method: String,
    path: String,
    id: Option<String>,
}

impl Name {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        Self {
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            id: header("idempotency-key").or_else(|| header("x-test-id")).map(str::to_owned),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    received: u64,
    executed: u64,
}

/// The book.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    counts: Mutex<BTreeMap<Name, Counts>>,
}

impl Effects {
    pub(crate) fn received(&self, name: &Name) {
        lock(&self.counts).entry(name.clone()).or_default().received += 1;
    }

    pub(crate) fn executed(&self, name: &Name) {
        lock(&self.counts).entry(name.clone()).or_default().executed += 1;
    }

    pub(crate) fn all(&self) -> Vec<Effect> {
        let effect = |(name, counts): (&Name, &Counts)| Effect {
            method: name.method.clone(),
            path: name.path.clone(),
            id: name.id.clone(),
            received: counts.received,
            executed: counts.executed,
        };
        lock(&self.counts).iter().map(effect).collect()
    }

    pub(crate) fn clear(&self) {
        lock(&self.counts).clear();
    }
}
