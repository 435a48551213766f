//! From the head of a request to its [`Ask`]: which headers mean what.

use std::net::IpAddr;

use http::HeaderName;
use pingora::http::RequestHeader;
use tidegate_core::ask::{Ask, Belonging, Demand, Intent, Pin, Session};
use tidegate_core::id::RegionSet;
use tidegate_core::policy::{HashKey, Policy, Route};

use crate::headers;

/// What about a request does not stand in its head.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'r> {
    /// The address of the client.
    pub client: Option<IpAddr>,
    /// Where its client was, as a verified token says.
    pub session: Option<Session<'r>>,
    /// Regions that have as many requests open as they may take.
    pub full: RegionSet,
    /// Regions that were already tried.
    pub tried: RegionSet,
    /// Its partition, where that decides who may answer it.
    pub belongs: Option<Belonging>,
}

/// The host that a request is for, without its port; empty when it names none.
pub fn host(request: &RequestHeader) -> &str {
    let authority = match request.uri.authority() {
        Some(authority) => authority.as_str(),
        None => text(request, &http::header::HOST).unwrap_or_default(),
    };
    // A colon inside brackets belongs to an IPv6 address.
    let last = authority.bytes().rposition(|it| it == b':' || it == b']');
    let port = last.filter(|it| authority.as_bytes().get(*it) == Some(&b':'));
    port.and_then(|it| authority.get(..it)).unwrap_or(authority)
}

/// The first route that takes the request, and its place in the policy.
pub fn route<'p>(policy: &'p Policy, request: &RequestHeader) -> Option<(usize, &'p Route)> {
    policy.route(host(request), request.uri.path(), request.method.as_str())
}

/// Reads what a request on a route asks for.
///
/// A pin that comes from somebody who may not pin is no pin.
pub fn read<'r>(
    policy: &'r Policy,
    (place, route): (usize, &Route),
    request: &'r RequestHeader,
    circumstances: Circumstances<'r>,
) -> Ask<'r> {
    let Circumstances { client, session, full, tried, belongs } = circumstances;
    let demand = demand(policy, request);
    let may_pin = policy.pins_from.is_empty() || client.is_some_and(|it| policy.may_pin(it));
    let pin = text(request, &headers::REGION_PIN).filter(|_| may_pin).map(Pin::parse);
    let client_hash = if policy.releases.split.is_empty() {
        0
    } else {
        hash(&policy.releases.by, request, client)
    };
    let intent = route.intent.unwrap_or_else(|| Intent::of_method(request.method.as_str()));
    Ask { route: place, intent, pin, session, demand, client_hash, full, tried, belongs }
}

/// Reads the versions that a request demands of whoever answers it.
pub fn demand<'r>(policy: &'r Policy, request: &'r RequestHeader) -> Demand<'r> {
    Demand {
        schema_rev: text(request, &headers::SCHEMA_REV),
        index_hash: text(request, &headers::INDEX_HASH),
        model_tag: text(request, &headers::MODEL_TAG),
        release: text(request, &headers::RELEASE).map(|it| policy.releases.resolve(it)),
    }
}

/// A stable hash of what a request is recognised by; the same in every process and on every node.
pub fn hash(by: &HashKey, request: &RequestHeader, client: Option<IpAddr>) -> u64 {
    match by {
        HashKey::Path => stable_hash(request.uri.path().as_bytes()),
        HashKey::Header(name) => match request.headers.get(&**name) {
            Some(value) => stable_hash(value.as_bytes()),
            None => of_client(client),
        },
        HashKey::ClientAddress => of_client(client),
    }
}

/// The same of a client by its address; 0 when that is not known.
pub fn of_client(client: Option<IpAddr>) -> u64 {
    match client {
        Some(IpAddr::V4(address)) => stable_hash(&address.octets()),
        Some(IpAddr::V6(address)) => stable_hash(&address.octets()),
        None => 0,
    }
}

/// FNV-1a, and a finishing mix so that low bits depend on all of the input.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    mixed ^ (mixed >> 33)
}

fn text<'r>(request: &'r RequestHeader, name: &HeaderName) -> Option<&'r str> {
    request.headers.get(name).and_then(|it| it.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_loses_its_port_and_keeps_its_brackets() {
        let of = |value: &str| {
            let mut request = RequestHeader::build("GET", b"/", None).unwrap();
            request.insert_header("host", value).unwrap();
            host(&request).to_owned()
        };
        assert_eq!(of("api.example.com:8080"), "api.example.com");
        assert_eq!(of("api.example.com"), "api.example.com");
        assert_eq!(of("[::1]:8080"), "[::1]");
        assert_eq!(of("[::1]"), "[::1]");
    }

    #[test]
    fn equal_clients_hash_equally_and_neighbours_far_apart() {
        let of = |address: &str| of_client(Some(address.parse().unwrap()));
        assert_eq!(of("10.0.0.1"), of("10.0.0.1"));
        let low_bits: std::collections::BTreeSet<_> =
            (0..100).map(|it| of(&format!("10.0.0.{it}")) % 1000).collect();
        assert!(low_bits.len() > 90, "{}", low_bits.len());
    }
}
