//! How fast a token arrives: these tests look at the clock, and get the machine for themselves.
#![expect(clippy::indexing_slicing, reason = "a broken test should panic")]

use std::time::Duration;

use tidegate_harness::{H2, Request};

use super::towards;
use crate::setting::Setting;

/// The promise: within this time from the endpoint's flush to the client's read.
const FIRST_TOKEN_MAX: Duration = Duration::from_millis(50);

/// Fresh streams of which the median counts, so that a busy moment of the machine does not.
const STREAMS: usize = 15;

#[track_caller]
fn arrived_in_time(mut delays_ns: Vec<u64>) {
    delays_ns.sort_unstable();
    let delays: Vec<_> = delays_ns.into_iter().map(Duration::from_nanos).collect();
    let median = delays[delays.len() / 2];
    assert!(median < FIRST_TOKEN_MAX, "{median:?} in the middle of {delays:?}");
}

#[test]
fn the_first_token_arrives_at_once_while_the_endpoint_is_silent_afterwards() {
    // On a route for streams and on a plain one: nothing is ever buffered.
    for (protocol, stream) in [("http1", true), ("h2c", true), ("http1", false), ("h2c", false)] {
        let mut policy = towards(protocol, "{ idle: 60s }");
        policy.routes = format!("  - {{ name: all, stream: {stream} }}");
        let setting = Setting::of(&["near"], &policy);
        let request = Request::get(&setting.url("/sse?events=1&hold=1"));
        let (mut open, mut delays) = (Vec::new(), Vec::new());
        for _ in 0..STREAMS {
            let mut stream = request.stream().unwrap();
            delays.push(stream.read_event().unwrap().unwrap().delay_ns().unwrap());
            open.push(stream);
        }
        arrived_in_time(delays);

        let client = H2::open(&setting.url("/")).unwrap();
        let (mut open, mut delays) = (Vec::new(), Vec::new());
        for _ in 0..STREAMS {
            let mut stream = client.stream(&request).unwrap();
            delays.push(stream.read_event().unwrap().unwrap().delay_ns().unwrap());
            open.push(stream);
        }
        arrived_in_time(delays);
    }
}

#[test]
fn every_token_arrives_when_it_is_sent() {
    let setting = Setting::of(&["near"], &towards("http1", "{ idle: 60s }"));
    let mut stream = Request::get(&setting.url("/sse?events=20&gap_ms=30")).stream().unwrap();
    let mut delays = Vec::new();
    while let Some(event) = stream.read_event().unwrap() {
        delays.push(event.delay_ns().unwrap());
    }
    assert_eq!(delays.len(), 20);
    arrived_in_time(delays);
}
