//! The answer to the first request, shown again to a duplicate, as HTTP or as gRPC.

use bytes::Bytes;
use http::header::{AGE, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::protocols::http::HttpTask;
use pingora_proxy::Session;
use tidegate_core::fence::record::Answer;

use crate::headers::{REGION, RELEASE, REQUEST_ID};

/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The headers of an answer that may be shown again. Nothing that identifies, allows or frames.
static KEPT: [HeaderName; 13] = [
    http::header::CONTENT_TYPE,
    http::header::CONTENT_ENCODING,
    http::header::CONTENT_LANGUAGE,
    http::header::CONTENT_LOCATION,
    http::header::CACHE_CONTROL,
    http::header::ETAG,
    http::header::LAST_MODIFIED,
    http::header::LINK,
    http::header::LOCATION,
    http::header::VARY,
    HeaderName::from_static("grpc-encoding"),
    REGION,
    RELEASE,
];
/// How a gRPC call ended.
pub(crate) const CODE: HeaderName = HeaderName::from_static("grpc-status");
/// What it says about that.
pub(crate) const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// What is kept of the end of a call.
static END: [HeaderName; 3] = [CODE, MESSAGE, HeaderName::from_static("grpc-status-details-bin")];
/// Most headers that are kept of one answer.
const KEPT_MAX: usize = 32;

/// Headers of an answer, in their order.
pub(crate) type Kept = Vec<(Box<str>, Box<[u8]>)>;

/// What is kept of the headers of an answer.
pub(crate) fn kept(response: &ResponseHeader) -> Kept {
    let all = KEPT.iter().flat_map(|name| {
        let values = response.headers.get_all(name).iter();
        values.map(|value| (name.as_str().into(), value.as_bytes().into()))
    });
    all.take(KEPT_MAX).collect()
}

/// How a call ended, if that is said here.
pub(crate) fn code(end: &HeaderMap) -> Option<u16> {
    end.get(CODE)?.to_str().ok()?.parse().ok()
}

/// Keeps what the end of a call says beside the headers of its answer.
pub(crate) fn keep_end(headers: &mut Kept, end: &HeaderMap) {
    let said = END.iter().filter_map(|name| Some((name, end.get(name)?)));
    headers.extend(said.map(|(name, value)| (name.as_str().into(), value.as_bytes().into())));
}

/// Whether an answer says how a call ended.
pub(crate) fn is_of_call(answer: &Answer) -> bool {
    answer.headers.iter().any(|(name, _)| **name == *CODE.as_str())
}

/// Shows the answer to a call again that is so old.
///
/// # Errors
/// The client is gone.
pub(crate) async fn send_to_call(
    session: &mut Session,
    (answer, body): (&Answer, &[u8]),
    age: std::time::Duration,
    id: Option<&HeaderValue>,
) -> Result<()> {
    let mut header = ResponseHeader::build(200, Some(answer.headers.len() + 4))?;
    let mut end = HeaderMap::new();
    for (name, value) in &answer.headers {
        let value = HeaderValue::from_bytes(value);
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), value) else {
            continue;
        };
        if END.contains(&name) && !body.is_empty() {
            end.insert(name, value);
        } else {
            header.append_header(name, value)?;
        }
    }
    header.insert_header(REPLAYED, "true")?;
    header.insert_header(AGE, age.as_secs().to_string())?;
    if let Some(id) = id {
        header.insert_header(REQUEST_ID, id.clone())?;
    }
    let head = HttpTask::Header(Box::new(header), body.is_empty());
    let tasks = if body.is_empty() {
        vec![head]
    } else {
        let body = HttpTask::Body(Some(Bytes::copy_from_slice(body)), false);
        vec![head, body, HttpTask::Trailer(Some(Box::new(end)))]
    };
    session.write_response_tasks(tasks).await.map(drop)
}

/// Shows an answer again that is so old.
///
/// # Errors
/// The client is gone.
pub(crate) async fn send(
    session: &mut Session,
    (answer, body): (&Answer, Option<&[u8]>),
    age: std::time::Duration,
    id: Option<&HeaderValue>,
) -> Result<()> {
    // An operator may know no more than that it was executed.
    let status = if answer.status == 0 { 200 } else { answer.status };
    let mut header = ResponseHeader::build(status, Some(answer.headers.len() + 4))?;
    for (name, value) in &answer.headers {
        let is_shown = body.is_some() || !name.starts_with("content-");
        if is_shown && let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            header.append_header(name, value.as_ref())?;
        }
    }
    header.insert_header(REPLAYED, "true")?;
    header.insert_header(AGE, age.as_secs().to_string())?;
    if let Some(id) = id {
        header.insert_header(REQUEST_ID, id.clone())?;
    }
    let body = body.unwrap_or_default();
    if !matches!(status, 204 | 205 | 304) {
        header.insert_header(CONTENT_LENGTH, body.len().to_string())?;
    }
    session.write_response_header(Box::new(header), body.is_empty()).await?;
    let body = (!body.is_empty()).then(|| Bytes::copy_from_slice(body));
    session.write_response_body(body, true).await
}
