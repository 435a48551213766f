//! What the fence makes of a request, for operators who ask: the same code that fences it.

use std::net::IpAddr;

use pingora::http::RequestHeader;
use tidegate_core::fence::fingerprint::Fingerprint;
use tidegate_core::fence::key::FenceKey;
use tidegate_core::policy::Policy;

use super::Write;
use crate::answer::Problem;
use crate::ask;

/// What the fence makes of a request.
#[derive(Debug)]
pub enum Explained {
    /// No route takes it.
    NoRoute,
    /// It goes on unfenced.
    Free {
        /// The route that takes it.
        route: String,
        /// Why.
        why: &'static str,
    },
    /// It is refused before anything is remembered of it.
    Refused {
        /// The route that takes it.
        route: String,
        /// With what.
        problem: Box<Problem>,
    },
    /// It is a write with a name.
    Named(Box<Explanation>),
}

/// A write with its name.
#[derive(Debug)]
pub struct Explanation {
    /// The route that takes it, which is part of its scope.
    pub route: String,
    /// The key by which it is remembered.
    pub key: FenceKey,
    /// Its tenant, which is part of its scope.
    pub tenant: Option<String>,
    /// Whether there is a principal in its scope. Who that is, is a secret.
    pub has_principal: bool,
    /// Whether its sender has shown who it is.
    pub is_authenticated: bool,
    /// Whether it is an event, which is known by another name whatever the index.
    pub is_event: bool,
    /// What it is; two requests with one key must not differ in it.
    pub fingerprint: Fingerprint,
}

/// What the fence makes of a request with this body.
pub fn explain(
    policy: &Policy,
    request: &RequestHeader,
    client: Option<IpAddr>,
    body: &[u8],
) -> Explained {
    let Some((place, route)) = ask::route(policy, request) else { return Explained::NoRoute };
    let named = route.name.to_string();
    let free = |why| Explained::Free { route: route.name.to_string(), why };
    if route.fence.is_none() {
        return free("the route is not fenced");
    }
    let Some(write) = Write::of(policy, place, request, client) else {
        return free("it only reads");
    };
    if write.is_free() {
        return free("it has no key, and needs none");
    }
    let name = match write.verify(body).and_then(|()| write.name(body)) {
        Ok(name) => name,
        Err(problem) => return Explained::Refused { route: named, problem: Box::new(problem) },
    };
    let mut fingerprinter = write.fingerprinter();
    fingerprinter.update(body);
    let tenant = write.fence.tenant.as_deref().and_then(|it| write.value(it));
    Explained::Named(Box::new(Explanation {
        route: named,
        key: name.key,
        tenant: tenant.map(|it| String::from_utf8_lossy(it).into_owned()),
        has_principal: write.value(&write.fence.principal).is_some(),
        is_authenticated: name.is_authenticated,
        is_event: name.family.is_some(),
        fingerprint: fingerprinter.finish(),
    }))
}
