//! Header names and what we put on requests and answers as they pass.
//!
//! Pingora keeps the letter case of every name beside its header map, and pays for it at each
//! insertion. Names mean the same in any case, so we let it go, as other balancers do: a header is
//! taken apart, changed as a plain map, and put together again.

use http::header::{HeaderMap, HeaderName, HeaderValue, VIA};
use http::uri::Authority;
use http::{Request, Response, Version, request, response};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use tidegate_control::sessions::Sessions;

use crate::delivery::Stamps;
use crate::session::{self, Keeping};
use tidegate_core::id::Epoch;

/// A wish for a region.
pub const REGION_PIN: HeaderName = HeaderName::from_static("x-region-pin");
/// In: a demanded release. Out: the release that answered.
pub const RELEASE: HeaderName = HeaderName::from_static("x-release");
/// A demanded index.
pub const INDEX_HASH: HeaderName = HeaderName::from_static("x-index-hash");
/// A demanded schema revision.
pub const SCHEMA_REV: HeaderName = HeaderName::from_static("x-schema-rev");
/// A demanded model.
pub const MODEL_TAG: HeaderName = HeaderName::from_static("x-model-tag");
/// Out, both ways: the region.
pub const REGION: HeaderName = HeaderName::from_static("x-region");
/// Out, to the client: why this region.
pub const REGION_REASON: HeaderName = HeaderName::from_static("x-region-reason");
/// The request's name in every log: the client's, or ours.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What the proxy did (RFC 9209).
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Out, both ways: that the fence is `degraded` or `bypassed` at the moment.
pub(crate) const FENCE: HeaderName = HeaderName::from_static("x-fence");
const FENCE_KEY: HeaderName = HeaderName::from_static("x-fence-key");
const FENCE_EPOCH: HeaderName = HeaderName::from_static("x-fence-epoch");
const FENCE_OWNER: HeaderName = HeaderName::from_static("x-fence-owner");
const FENCE_ATTEMPT: HeaderName = HeaderName::from_static("x-fence-attempt");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What only we may say to an endpoint; a client that says it is not heard.
const OURS: [&str; 12] = [
    "x-region",
    "x-region-reason",
    "x-fence",
    "x-fence-key",
    "x-fence-epoch",
    "x-fence-owner",
    "x-fence-attempt",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
];

/// Longest request id that is taken over from a client, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Headers that we add to a request.
const ADDED_MAX: usize = 7;

const VIA_11: HeaderValue = HeaderValue::from_static("1.1 tidegate");
const VIA_20: HeaderValue = HeaderValue::from_static("2.0 tidegate");
const HTTP: HeaderValue = HeaderValue::from_static("http");

/// The client's request id, if it sent one that may stand in a log.
pub fn request_id(request: &RequestHeader) -> Option<&HeaderValue> {
    let id = request.headers.get(&REQUEST_ID)?;
    let is_fit = |bytes: &[u8]| {
        !bytes.is_empty()
            && bytes.len() <= REQUEST_ID_BYTES_MAX
            && bytes.iter().all(u8::is_ascii_graphic)
    };
    is_fit(id.as_bytes()).then_some(id)
}

/// Who is asking, as an endpoint is told.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The peer of the connection.
    pub peer: Option<&'a HeaderValue>,
    /// Whether the peer is believed when it says for whom it asks.
    pub trusted: bool,
    /// The protocol in which it asks, where that is not the one of the request.
    pub version: Option<Version>,
}

/// What an endpoint is told of a request, and what it must not see of it.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// The request's name.
    pub id: &'a HeaderValue,
    /// The region that it goes to.
    pub region: &'a HeaderValue,
    /// Where its token stands, on a sticky route.
    pub sessions: Option<&'a Sessions>,
}

/// Whether the client came over TLS, as somebody says whom we believe: what others say of it was
/// replaced by [`receive`].
pub fn came_over_tls(request: &RequestHeader) -> bool {
    let proto = request.headers.get(&FORWARDED_PROTO);
    proto.is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"https"))
}

/// Puts on a request what its endpoint must know, and takes off what its client may not say.
///
/// # Errors
/// When the request's target cannot be put back, which none that arrived can cause.
pub fn receive(request: &mut RequestHeader, client: Client<'_>, whose: Whose<'_>) -> Result<()> {
    edit_request(request, |parts| {
        let headers = &mut parts.headers;
        if !client.trusted && headers.keys().any(|it| OURS.contains(&it.as_str())) {
            for name in OURS {
                headers.remove(name);
            }
        }
        headers.reserve(ADDED_MAX);
        let is_said =
            |headers: &HeaderMap, name: &HeaderName| client.trusted && headers.contains_key(name);
        if let Some(peer) = client.peer {
            let before = headers.get(&FORWARDED_FOR).filter(|_| client.trusted);
            headers.insert(FORWARDED_FOR, behind(before, peer));
            if !is_said(headers, &FORWARDED_PROTO) {
                headers.insert(FORWARDED_PROTO, HTTP);
            }
        }
        if !is_said(headers, &FORWARDED_HOST)
            && let Some(host) = host(headers, parts.uri.authority())
        {
            headers.insert(FORWARDED_HOST, host);
        }
        if let Some(sessions) = whose.sessions {
            session::take_off(headers, sessions);
        }
        headers.insert(REQUEST_ID, whose.id.clone());
        headers.insert(REGION, whose.region.clone());
        headers.append(
            VIA,
            if client.version.unwrap_or(parts.version) == Version::HTTP_2 {
                VIA_20
            } else {
                VIA_11
            },
        );
    })
}

/// Whether nothing on a request is about the connection on which it came, so that nothing has to
/// be taken off before it goes on: these are all the names that Pingora would look for.
pub(crate) fn is_end_to_end(request: &RequestHeader) -> bool {
    let is_hop_by_hop = |name: &str| {
        matches!(
            name,
            "connection"
                | "http2-settings"
                | "keep-alive"
                | "proxy-authenticate"
                | "proxy-authorization"
                | "proxy-connection"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
        )
    };
    !request.headers.keys().any(|it| is_hop_by_hop(it.as_str()))
}

/// Tells an endpoint that it is asked for another region than the first one.
///
/// # Errors
/// As for [`receive`].
pub fn send(request: &mut RequestHeader, region: &HeaderValue) -> Result<()> {
    edit_request(request, |parts| drop(parts.headers.insert(REGION, region.clone())))
}

/// Tells an endpoint under which change of ownership it is asked to write. What a client says of that is
/// never believed.
///
/// # Errors
/// As for [`receive`].
pub(crate) fn stamp_epoch(request: &mut RequestHeader, epoch: Epoch) -> Result<()> {
    let value = HeaderValue::from_maybe_shared(bytes::Bytes::from(epoch.0.to_string()));
    let value = value.unwrap_or(HeaderValue::from_static("0"));
    edit_request(request, |parts| drop(parts.headers.insert(FENCE_EPOCH, value)))
}

/// Tells an endpoint under which claim it is asked to write.
///
/// # Errors
/// As for [`receive`].
pub(crate) fn stamp(request: &mut RequestHeader, stamps: &Stamps) -> Result<()> {
    let Stamps { key, owner, epoch, attempt, word } = stamps;
    edit_request(request, |parts| {
        let stamps = [
            (FENCE_KEY, key),
            (FENCE_OWNER, owner),
            (FENCE_EPOCH, epoch),
            (FENCE_ATTEMPT, attempt),
        ];
        for (name, value) in stamps {
            parts.headers.insert(name, value.clone());
        }
        if let Some(word) = word {
            parts.headers.insert(FENCE, word.clone());
        }
    })
}

/// The peer, behind the clients for whom it and others say that they ask.
fn behind(before: Option<&HeaderValue>, peer: &HeaderValue) -> HeaderValue {
    let Some(before) = before.filter(|it| it.to_str().is_ok()) else { return peer.clone() };
    let chain = [before.as_bytes(), b", ", peer.as_bytes()].concat();
    // What is put together from values is one.
    HeaderValue::from_maybe_shared(bytes::Bytes::from(chain)).unwrap_or_else(|_| peer.clone())
}

/// The host that the client asked for: HTTP/2 has it in the target.
fn host(headers: &HeaderMap, authority: Option<&Authority>) -> Option<HeaderValue> {
    match authority {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => headers.get(http::header::HOST).cloned(),
    }
}

fn edit_request(request: &mut RequestHeader, edit: impl FnOnce(&mut request::Parts)) -> Result<()> {
    let target = request.uri.path_and_query().map(|it| it.as_str().as_bytes());
    // A target of another form, `http://host/path`, does not survive being taken apart.
    let odd_target = (target != Some(request.raw_path())).then(|| request.raw_path().to_owned());
    let nothing = RequestHeader::from(Request::new(()).into_parts().0);
    let mut parts = request::Parts::from(std::mem::replace(request, nothing));
    edit(&mut parts);
    *request = RequestHeader::from(parts);
    match odd_target {
        Some(target) => request.set_raw_path(&target),
        None => Ok(()),
    }
}

/// What a client is told about the region that answered.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    /// The region.
    pub region: &'a HeaderValue,
    /// Why this region.
    pub reason: &'static str,
    /// The release that the endpoint reports.
    pub release: Option<&'a HeaderValue>,
    /// The request's name.
    pub id: &'a HeaderValue,
    /// What is done about the session, on a sticky route.
    pub keeping: Option<Keeping<'a>>,
}

/// Puts on an answer where it came from; what the endpoint said under these names is replaced.
///
/// # Errors
/// When the answer's reason phrase cannot be put back, which none that arrived can cause.
pub fn answer(response: &mut ResponseHeader, served: Served<'_>) -> Result<()> {
    let usual = response.get_reason_phrase() == response.status.canonical_reason();
    let odd_reason = response.get_reason_phrase().filter(|_| !usual).map(str::to_owned);
    let nothing = ResponseHeader::from(Response::new(()).into_parts().0);
    let mut parts = response::Parts::from(std::mem::replace(response, nothing));
    let headers = &mut parts.headers;
    headers.reserve(4);
    headers.insert(REGION, served.region.clone());
    headers.insert(REGION_REASON, HeaderValue::from_static(served.reason));
    headers.insert(REQUEST_ID, served.id.clone());
    match served.release {
        Some(release) => drop(headers.insert(RELEASE, release.clone())),
        None => drop(headers.remove(&RELEASE)),
    }
    if let Some(keeping) = served.keeping {
        session::put_on(headers, keeping);
    }
    *response = ResponseHeader::from(parts);
    match odd_reason {
        Some(reason) => response.set_reason_phrase(Some(&reason)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static PEER: HeaderValue = HeaderValue::from_static("127.0.0.1");
    const CLIENT: Client<'_> = Client { peer: Some(&PEER), trusted: false, version: None };
    static ID: HeaderValue = HeaderValue::from_static("id");
    static REGION_NAME: HeaderValue = HeaderValue::from_static("us");
    static WHOSE: Whose<'_> = Whose { id: &ID, region: &REGION_NAME, sessions: None };

    fn request(target: &[u8], headers: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", target, None).unwrap();
        for (name, value) in headers {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    #[test]
    fn a_client_does_not_speak_in_our_name() {
        let mut request = request(b"/", &[("X-Forwarded-For", "6.6.6.6"), ("X-Fence-Epoch", "9")]);
        receive(&mut request, CLIENT, WHOSE).unwrap();
        assert_eq!(request.headers["x-forwarded-for"], "127.0.0.1");
        assert!(!request.headers.contains_key("x-fence-epoch"));
        assert_eq!(request.headers["via"], "1.1 tidegate");
    }

    #[test]
    fn a_trusted_peer_is_put_behind_the_client_that_it_names() {
        let mut request =
            request(b"/", &[("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "https")]);
        receive(&mut request, Client { trusted: true, ..CLIENT }, WHOSE).unwrap();
        assert_eq!(request.headers["x-forwarded-for"], "6.6.6.6, 127.0.0.1");
        assert_eq!(request.headers["x-forwarded-proto"], "https");
    }

    #[test]
    fn whatever_is_about_a_connection_is_noticed() {
        assert!(is_end_to_end(&request(b"/", &[("Host", "a"), ("Accept", "*/*"), ("X-Te", "b")])));
        for name in ["Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Keep-Alive"] {
            assert!(!is_end_to_end(&request(b"/", &[("Host", "a"), (name, "b")])), "{name}");
        }
        for name in ["Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection"] {
            assert!(!is_end_to_end(&request(b"/", &[(name, "b")])), "{name}");
        }
        assert!(!is_end_to_end(&request(b"/", &[("HTTP2-Settings", "b")])));
    }

    #[test]
    fn targets_of_every_form_survive() {
        for target in ["/", "/a?b=c", "/a%20b", "http://host/path?q", "*"] {
            let mut request = request(target.as_bytes(), &[]);
            receive(&mut request, CLIENT, WHOSE).unwrap();
            send(&mut request, &HeaderValue::from_static("eu")).unwrap();
            assert_eq!(request.raw_path(), target.as_bytes());
            assert_eq!(request.headers["x-region"], "eu");
        }
        let mut request = request(b"/odd\xe9", &[]);
        receive(&mut request, CLIENT, WHOSE).unwrap();
        assert_eq!(request.raw_path(), b"/odd\xe9");
    }

    #[test]
    fn an_answer_keeps_its_reason_phrase_and_loses_what_it_said_in_our_name() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        response.set_reason_phrase(Some("Splendid")).unwrap();
        response.insert_header("x-region", "elsewhere").unwrap();
        response.insert_header("x-release", "r0").unwrap();
        let region = HeaderValue::from_static("eu");
        let served =
            Served { region: &region, reason: "nearest", release: None, id: &ID, keeping: None };
        answer(&mut response, served).unwrap();
        assert_eq!(response.get_reason_phrase(), Some("Splendid"));
        assert_eq!(response.headers["x-region"], "eu");
        assert!(!response.headers.contains_key("x-release"));
    }
}
