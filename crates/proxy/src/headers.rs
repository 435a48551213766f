//! Header names and what we put on requests and answers as they pass.

use std::net::IpAddr;

use http::header::{HeaderName, HeaderValue, VIA};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{OrErr, Result};

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

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// What only we may say to an endpoint; a client that says it is not heard.
const OURS: [HeaderName; 10] = [
    REGION,
    REGION_REASON,
    HeaderName::from_static("x-fence-key"),
    HeaderName::from_static("x-fence-epoch"),
    HeaderName::from_static("x-fence-owner"),
    FORWARDED,
    FORWARDED_FOR,
    FORWARDED_HOST,
    FORWARDED_PROTO,
    FORWARDED_PORT,
];

/// Longest request id that is taken over from a client, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

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
pub struct Client {
    /// The peer of the connection.
    pub peer: Option<IpAddr>,
    /// Whether the peer is believed when it says for whom it asks.
    pub trusted: bool,
}

/// Puts on a request what its endpoint must know.
///
/// # Errors
/// When a value cannot stand in a header, which none of ours can cause.
pub fn stamp_request(
    request: &mut RequestHeader,
    client: Client,
    region: &HeaderValue,
    id: &HeaderValue,
) -> Result<()> {
    if !client.trusted {
        for name in &OURS {
            // Most requests carry none of these, and looking is cheaper than removing.
            if request.headers.contains_key(name) {
                request.remove_header(name);
            }
        }
    }
    forward(request, client)?;
    request.insert_header(REGION, region.clone())?;
    request.insert_header(REQUEST_ID, id.clone())?;
    let via = if request.version == http::Version::HTTP_2 { VIA_20 } else { VIA_11 };
    request.append_header(VIA, via)?;
    Ok(())
}

fn forward(request: &mut RequestHeader, client: Client) -> Result<()> {
    if let Some(peer) = client.peer {
        let chain = request.headers.get(&FORWARDED_FOR).and_then(|it| it.to_str().ok());
        let chain = match chain {
            Some(before) => format!("{before}, {peer}"),
            None => peer.to_string(),
        };
        let chain = HeaderValue::try_from(chain);
        let chain = chain.or_err(pingora::ErrorType::InvalidHTTPHeader, "write X-Forwarded-For")?;
        request.insert_header(FORWARDED_FOR, chain)?;
    }
    if !request.headers.contains_key(&FORWARDED_PROTO) {
        request.insert_header(FORWARDED_PROTO, HTTP)?;
    }
    if !request.headers.contains_key(&FORWARDED_HOST)
        && let Some(host) = request.headers.get(http::header::HOST).cloned()
    {
        request.insert_header(FORWARDED_HOST, host)?;
    }
    Ok(())
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
}

/// Puts on an answer where it came from; what the endpoint said under these names is replaced.
///
/// # Errors
/// When a value cannot stand in a header, which none of ours can cause.
pub fn stamp_response(response: &mut ResponseHeader, served: Served<'_>) -> Result<()> {
    response.insert_header(REGION, served.region.clone())?;
    response.insert_header(REGION_REASON, HeaderValue::from_static(served.reason))?;
    response.insert_header(REQUEST_ID, served.id.clone())?;
    match served.release {
        Some(release) => response.insert_header(RELEASE, release.clone())?,
        None => drop(response.remove_header(&RELEASE)),
    }
    Ok(())
}
