//! Fenced writes, before they are claimed: how one is named, whose it is, and what is read of it.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use tidegate_control::clock;
use tidegate_core::ask::Intent;
use tidegate_core::contract::{Accepts, INDEX_HASH, Value};
use tidegate_core::fence::family::FamilyKey;
use tidegate_core::fence::fingerprint::Fingerprinter;
use tidegate_core::fence::key::{FenceKey, Scope, Unscoped, digest_of};
use tidegate_core::fence::source::{Given, KeyError};
use tidegate_core::fence::webhook;
use tidegate_core::policy::fencing::{EventFields, Naming, OtherIndex, RouteFence};
use tidegate_core::policy::{Policy, Route};
use tidegate_fence::quota::Principal;

use crate::answer::Problem;
use crate::ask;
use crate::headers;

pub(crate) mod claiming;
pub mod explain;
pub(crate) mod problems;
pub(crate) mod replay;
pub(crate) mod start;

/// A request on a fenced route.
#[derive(Clone, Copy)]
pub(crate) struct Write<'p, 'r> {
    pub(crate) policy: &'p Policy,
    pub(crate) route: &'p Route,
    pub(crate) fence: &'p RouteFence,
    pub(crate) request: &'r RequestHeader,
    pub(crate) client: Option<IpAddr>,
}

/// How a write is named.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named {
    pub(crate) key: FenceKey,
    /// Under which name it is known whatever the index, and what a repeat under another index is.
    pub(crate) family: Option<(FamilyKey, OtherIndex)>,
    /// Whether its sender has shown who it is.
    pub(crate) is_authenticated: bool,
    pub(crate) principal: Principal,
}

impl<'p, 'r> Write<'p, 'r> {
    /// The request, if its route fences it: only writes are, and only what is not a connection that
    /// becomes something else.
    pub(crate) fn of(
        policy: &'p Policy,
        place: usize,
        request: &'r RequestHeader,
        client: Option<IpAddr>,
    ) -> Option<Self> {
        let route = policy.routes.get(place)?;
        let fence = route.fence.as_ref()?;
        let intent = route.intent.unwrap_or_else(|| Intent::of_method(request.method.as_str()));
        (intent == Intent::Write).then_some(Self { policy, route, fence, request, client })
    }

    /// Whether it goes on unfenced, because it has no name and needs none.
    pub(crate) fn is_free(&self) -> bool {
        if self.fence.required || self.needs_whole_body() {
            return false;
        }
        let values = |name: &str| self.values(name);
        let given = Given { headers: &values, body: &[], body_sha256: [0; 32] };
        match &self.fence.naming {
            Naming::Sender(source) => {
                matches!(source.name(&given), Err(KeyError::Missing(_)))
            }
            Naming::Event(fields) => {
                let names = [&fields.source_id, &fields.revision, &fields.partition];
                names.iter().all(|it| !self.request.headers.contains_key(&***it))
            }
        }
    }

    /// Whether its name cannot be known, or not be trusted, before the whole body is there.
    pub(crate) fn needs_whole_body(&self) -> bool {
        let by_name = match &self.fence.naming {
            Naming::Sender(source) => source.needs_body(),
            Naming::Event(_) => false,
        };
        by_name || self.fence.signature.is_some()
    }

    /// Begins to compute what the request is.
    pub(crate) fn fingerprinter(&self) -> Fingerprinter {
        let target = self.request.raw_path();
        let chosen = self.fence.fingerprint.iter();
        let chosen =
            chosen.map(|it| (&**it, self.request.headers.get(&**it).map(HeaderValue::as_bytes)));
        // A target is bytes; those that are not text are told apart all the same.
        Fingerprinter::new(self.request.method.as_str(), &target.escape_ascii().to_string(), chosen)
    }

    /// Looks at the signature, if the route wants one. The body has to be whole.
    pub(crate) fn verify(&self, body: &[u8]) -> Result<(), Problem> {
        let Some(rules) = &self.fence.signature else { return Ok(()) };
        let values = |name: &str| self.values(name);
        let given = Given { headers: &values, body, body_sha256: [0; 32] };
        webhook::verify(rules.scheme, &rules.secrets, &given, clock::now(), rules.tolerance)
            .map(drop)
            .map_err(Problem::bad_signature)
    }

    /// The name of the write, within its scope.
    pub(crate) fn name(&self, body: &[u8]) -> Result<Named, Problem> {
        let tenant = self.fence.tenant.as_deref().and_then(|it| self.value(it));
        let principal = self.value(&self.fence.principal);
        let route = self.route.name.as_bytes();
        let scope = Scope { tenant, principal, route: Some(route), ..Scope::default() };
        let (name, family) = match &self.fence.naming {
            Naming::Sender(source) => {
                let body_sha256 =
                    if source.needs_body() { digest_of(body) } else { Default::default() };
                let values = |name: &str| self.values(name);
                let given = Given { headers: &values, body, body_sha256 };
                (source.name(&given).map_err(Problem::bad_key)?, None)
            }
            Naming::Event(fields) => {
                let (name, family) = self.event(fields, &scope)?;
                (name, Some((family, fields.other_index)))
            }
        };
        Ok(Named {
            key: FenceKey::new(&scope, &name),
            family,
            is_authenticated: !scope.is_anonymous() || self.fence.signature.is_some(),
            principal: self.charged(principal),
        })
    }

    fn event(
        &self,
        fields: &EventFields,
        scope: &Scope<'_>,
    ) -> Result<(Unscoped, FamilyKey), Problem> {
        let field = |name: &str| self.value(name).ok_or_else(|| Problem::no_field(name));
        let (source, revision) = (field(&fields.source_id)?, field(&fields.revision)?);
        let partition = field(&fields.partition)?;
        // All regions compute one key, so a region's own report does not count.
        let of_contract = self.policy.contract.key(INDEX_HASH).and_then(|it| it.expect.as_ref());
        let of_contract = of_contract.and_then(|it| match &it.accepts {
            Accepts::Exactly(Value::Text(hash))
            | Accepts::Either { new: Value::Text(hash), .. } => Some(hash.as_bytes()),
            Accepts::Exactly(_) | Accepts::Either { .. } | Accepts::Agreed => None,
        });
        let index = self.value(headers::INDEX_HASH.as_str()).or(of_contract);
        let index = index.ok_or_else(|| Problem::no_field(headers::INDEX_HASH.as_str()))?;
        let name = Unscoped::of_event(fields.encoding, [source, revision, index, partition])
            .map_err(Problem::empty_field)?;
        Ok((name, FamilyKey::new(scope, source, revision, partition)))
    }

    /// Whose allowance of new keys it is charged to.
    fn charged(&self, principal: Option<&[u8]>) -> Principal {
        Principal(match principal {
            Some(principal) => ask::stable_hash(principal),
            None => ask::of_client(self.client),
        })
    }

    fn value(&self, name: &str) -> Option<&'r [u8]> {
        self.request.headers.get(name).map(HeaderValue::as_bytes)
    }

    fn values(&self, name: &str) -> Vec<&'r [u8]> {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { return Vec::new() };
        self.request.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
    }
}
