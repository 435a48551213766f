//! What the tests of traffic share: a policy that holds still, a request's line, and problems.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a broken test should panic")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::Value;
use tidegate_harness::{Reply, wait_until};

use crate::setting::{PolicyText, SOON, Setting};

/// A policy with further sections, in a world that holds still while requests fail: probes are so
/// rare, and ejection is off, that nothing but the request itself learns of a fault.
pub(crate) fn still(more: &str) -> PolicyText {
    PolicyText {
        probe: "interval: 30s, timeout: 2s, stale_after: 5m, rise: 1".to_owned(),
        more: format!("failback: {{ after: 1ms, hysteresis: 1ms }}\nejection: off\n{more}"),
        ..PolicyText::default()
    }
}

/// The byte at a place of what a region answers below `/bytes`.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    (0..=250).cycle().take(count).collect()
}

impl Setting {
    /// The access line of the request with this `X-Request-Id`, as soon as it is written.
    pub(crate) fn line_of(&self, id: &str) -> Value {
        let mut found = None;
        wait_until(SOON, &format!("the access line of {id}"), || {
            found = self.balancer.access_lines().into_iter().find(|it| it["id"] == id);
            found.is_some()
        });
        found.expect("it was waited for")
    }

    /// Tells the balancer over its admin socket to do something with a region.
    pub(crate) fn operate(&self, region: &str, verb: &str) {
        let mut stream = UnixStream::connect(self.socket()).expect("the admin socket");
        let path = format!("/v1/regions/{region}/{verb}");
        let head = format!("POST {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("it listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }

    /// How often requests left an endpoint for this cause.
    pub(crate) fn retries(&self, cause: &str) -> f64 {
        let text = self.balancer.ask_admin("/metrics").expect("an answer").text();
        let cause = format!("cause=\"{cause}\"");
        let lines = text.lines().filter(|it| it.starts_with("tidegate_retries_total{"));
        let lines = lines.filter(|it| it.contains(&cause));
        lines.filter_map(|it| it.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// How often all regions together received, and carried out, requests with this id.
    pub(crate) fn effects(&self, id: &str) -> (u64, u64) {
        let received = self.regions.iter().map(|it| it.received_count(id)).sum();
        (received, self.regions.iter().map(|it| it.effect_count(id)).sum())
    }
}

/// An answer of our own is complete: a status, a stable code, and what a client may do about it.
#[track_caller]
pub(crate) fn is_problem(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.status, status, "{reply:?} {}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{reply:?}");
    let told = reply.header("proxy-status").unwrap_or_default();
    assert!(told.starts_with("tidegate; error="), "{reply:?}");
    assert!(told.ends_with(&format!("; details=\"{code}\"")), "{reply:?}");
    assert!(reply.header("x-request-id").is_some(), "{reply:?}");
    assert_eq!(reply.header("x-region"), None, "no region has answered: {reply:?}");
    assert_eq!(reply.header("retry-after").is_some(), status == 503, "{reply:?}");
    let body = reply.json();
    assert_eq!((&body["status"], &body["code"]), (&status.into(), &code.into()), "{body}");
    assert!(body["type"].is_string() && body["title"].is_string(), "{body}");
}
