//! The partition of a request: where it stands, and what follows from it for whoever routes it.

use http::HeaderName;
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType};
use tidegate_control::{World, clock};
use tidegate_core::ask::{Belonging, Intent};
use tidegate_core::id::{Epoch, PartitionId};
use tidegate_core::partition::{NoPartition, bearer, path_segment, pointer};
use tidegate_core::policy::owning::{Mode, PartitionSource};
use tidegate_core::policy::{Policy, Route};
use tidegate_core::route::Refusal;

use crate::answer::Problem;

/// Whether the partition of a request decides who may answer it: of every write on a route that has
/// one, and of reads where partitions own those as well.
pub fn is_owned(policy: &Policy, route: &Route, intent: Intent) -> bool {
    let Some(rules) = policy.ownership.as_ref().filter(|_| route.owned.is_some()) else {
        return false;
    };
    intent == Intent::Write || rules.mode == Mode::GeoPartitioned
}

/// The partition of a request; `None` if it belongs to nobody.
///
/// `body` is looked at where the policy says that the partition stands there.
///
/// # Errors
/// Why it has none, though it should.
pub fn partition(
    policy: &Policy,
    route: &Route,
    request: &RequestHeader,
    body: &[u8],
) -> Result<Option<PartitionId>, NoPartition> {
    let intent = route.intent.unwrap_or_else(|| Intent::of_method(request.method.as_str()));
    let (Some(rules), Some(owned)) = (&policy.ownership, &route.owned) else { return Ok(None) };
    if !is_owned(policy, route, intent) {
        return Ok(None);
    }
    let found = match &owned.source {
        PartitionSource::Only => return Ok(rules.rest.first().copied()),
        PartitionSource::Header(name) => rules.place(single(request, name)?),
        PartitionSource::PathSegment(place) => {
            rules.place(path_segment(request.uri.path(), *place)?)
        }
        PartitionSource::Body { pointer: at, bytes_max } => {
            if *bytes_max < body.len() {
                return Err(NoPartition::TooLong);
            }
            rules.place(&pointer::read(body, at)?)
        }
        PartitionSource::Token(token) => {
            let value = bearer(single(request, &token.header)?);
            rules.place(&token.read(value, clock::now())?)
        }
    };
    found.map(Some)
}

/// The one value of a header. Of several, nobody knows which one an endpoint takes.
fn single<'r>(request: &'r RequestHeader, name: &str) -> Result<&'r str, NoPartition> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_odd| NoPartition::Missing)?;
    let mut values = request.headers.get_all(name).iter();
    let value = values.next().ok_or(NoPartition::Missing)?;
    if values.next().is_some() {
        return Err(NoPartition::Unreadable);
    }
    value.to_str().map(str::trim).map_err(|_not| NoPartition::Unreadable)
}

/// What a request that belongs to a partition is routed by at this moment.
pub(crate) fn belonging(world: &World, partition: Option<PartitionId>) -> Option<Belonging> {
    let is_leased = || world.permits.is_leased(clock::now());
    partition.map(|partition| Belonging { partition, is_leased: is_leased() })
}

/// Whether a write may leave now: it may have waited, and its owner may be another one by now.
///
/// # Errors
/// It may not, and nothing of it was sent.
pub(crate) fn permit(world: &World, partition: PartitionId, epoch: Epoch) -> pingora::Result<()> {
    if world.permits.allows(partition, epoch, clock::now()) {
        return Ok(());
    }
    Err(Error::new(ErrorType::CustomCode(Refusal::OwnerUnsure.code(), 503)))
}

impl Problem {
    /// The request does not say to which partition it belongs.
    pub fn no_partition(why: NoPartition) -> Self {
        let status = match why {
            NoPartition::Missing | NoPartition::Unreadable => 400,
            NoPartition::BadToken => 401,
            NoPartition::TooLong => 413,
            NoPartition::Unknown => 404,
        };
        Self::new(status, why.word(), "http_request_error", why.to_string())
    }
}
