//! Server-sent events that reach the wire the moment they happen.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue};
use hyper::Response;
use serde_json::json;

use super::body::{Body, Feed, Gone};
use super::query::Query;
use crate::runtime::runtime;

/// What a client asked of `/sse`.
#[derive(Clone, Copy, Debug)]
struct Plan {
    first: u64,
    events: u64,
    gap: Duration,
    hold: bool,
}

/// Nanoseconds of the wall clock; the harness compares them between processes of one machine.
pub(crate) fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Answers `/sse?events=N&gap_ms=M&hold=1`. `Last-Event-ID` continues after that event.
pub(crate) fn answer(region: &str, headers: &HeaderMap, query: &Query) -> Response<Body> {
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let plan = Plan {
        first: seen.and_then(|id| id.parse::<u64>().ok()).map_or(0, |id| id.saturating_add(1)),
        events: query.number("events").unwrap_or(3),
        gap: Duration::from_millis(query.number("gap_ms").unwrap_or(0)),
        hold: query.number("hold").unwrap_or(0) != 0,
    };
    let (feed, body) = Feed::new();
    let region = region.to_owned();
    runtime().spawn(async move {
        // A reader that has gone is an ordinary end of a stream.
        send(&feed, &region, plan).await.ok();
    });
    event_stream(body)
}

async fn send(feed: &Feed, region: &str, plan: Plan) -> Result<(), Gone> {
    for n in plan.first..plan.events {
        if plan.first < n && !plan.gap.is_zero() {
            tokio::select! {
                () = feed.gone() => return Err(Gone),
                () = tokio::time::sleep(plan.gap) => {}
            }
        }
        let data = json!({ "n": n, "region": region, "sent_unix_ns": unix_ns() });
        feed.data(format!("id: {n}\nevent: tick\ndata: {data}\n\n")).await?;
    }
    if plan.hold {
        feed.gone().await;
    }
    Ok(())
}

/// A response with the head of an event stream.
pub(crate) fn event_stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
