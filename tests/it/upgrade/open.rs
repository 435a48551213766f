//! What is open while processes take over: it ends whole, in the process in which it began.

use tidegate_harness::{
    H2, H2Stream, Load, Request, grpc_frame, grpc_messages, signal, wait_until, websocket,
};

use super::fresh;
use crate::setting::{PolicyText, SOON, Setting};
use crate::streams::{echo, numbers};
use crate::traffic::{pattern, still};

/// A policy for streams in a world that holds still.
fn streaming() -> PolicyText {
    PolicyText {
        routes: "  - { name: streams, match: { path: /sse }, stream: true }\n\
                 \x20 - { name: all, match: { path: / } }"
            .to_owned(),
        ..still("timeouts: { total: 60s }")
    }
}

#[test]
fn streams_of_every_kind_end_whole_in_the_old_process() {
    let setting = Setting::of(&["near", "far"], &streaming());
    let first = setting.balancer.pid();
    let mut events = Request::get(&setting.url("/sse?events=30&gap_ms=50")).stream().unwrap();
    let client = H2::open(&setting.url("/")).unwrap();
    let mut over_h2 =
        client.stream(&Request::get(&setting.url("/sse?events=30&gap_ms=50"))).unwrap();
    let mut socket = websocket(&setting.url("/ws"), &[]).unwrap();
    echo(&mut socket, "before");
    let call = Request::post(&setting.url("/tidegate.test.Echo/Bidi"), "");
    let call = call.header("te", "trailers").header("content-type", "application/grpc");
    let mut call = H2::open(&setting.url("/")).unwrap().upload(&call).unwrap();
    call.send(&grpc_frame(b"before")).unwrap();
    let mut talk = call.answer().unwrap();
    assert_eq!(said(&mut talk), [b"before".to_vec()]);
    let large = Request::get(&setting.url("/bytes/16000000"));
    let mut large = large.stream().unwrap();
    let began = large.read_piece().unwrap().unwrap();
    assert_eq!(events.read_event().unwrap().unwrap().json()["n"], 0);
    assert_eq!(over_h2.read_event().unwrap().unwrap().json()["n"], 0);

    let second = setting.upgraded();
    assert_eq!(setting.draining(), [u64::from(first)]);
    echo(&mut socket, "after");
    call.send(&grpc_frame(b"after")).unwrap();
    assert_eq!(said(&mut talk), [b"after".to_vec()]);
    assert!(setting.balancer.exit_status().is_none(), "the old process drains");

    let rest: Vec<u64> = (1..30).collect();
    assert_eq!(numbers(|| events.read_event()).unwrap(), rest);
    assert_eq!(numbers(|| over_h2.read_event()).unwrap(), rest);
    assert!([began, large.read_rest().unwrap()].concat() == pattern(16_000_000));
    call.finish();
    assert!(talk.read_piece().unwrap().is_none());
    echo(&mut socket, "last");
    assert!(setting.balancer.exit_status().is_none(), "the old process drains");
    drop((events, socket, over_h2, client, large, call, talk));
    assert_eq!(setting.balancer.await_exit(SOON).code(), Some(0));
    assert!(setting.draining().is_empty());
    assert!(signal(second, "TERM"));
    setting.until_gone(second);
}

/// The messages in the next piece of a call's answer.
fn said(talk: &mut H2Stream) -> Vec<Vec<u8>> {
    grpc_messages(&talk.read_piece().unwrap().unwrap())
}

#[test]
fn ten_upgrades_in_a_row_lose_nothing() {
    let setting = Setting::of(&["near"], &streaming());
    let load = Load::start(fresh(&setting));
    let mut sockets = Vec::new();
    for nth in 0..10 {
        let mut socket = websocket(&setting.url("/ws"), &[]).unwrap();
        echo(&mut socket, &format!("in process {nth}"));
        sockets.push(socket);
        setting.upgraded();
        assert_eq!(setting.draining().len(), nth + 1, "the last one knows all before it");
    }
    for (nth, socket) in sockets.iter_mut().enumerate() {
        echo(socket, &format!("still in process {nth}"));
    }
    let report = load.stop();
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert_eq!(report.by_status().keys().collect::<Vec<_>>(), [&200]);
    let last = setting.balancer.serving_pid();
    drop(sockets);
    wait_until(SOON, "only the last one is left", || {
        setting.draining().is_empty() && setting.balancer.processes() == [last]
    });
}

#[test]
fn a_service_that_stops_waits_for_the_processes_before_it() {
    let policy = PolicyText {
        more: format!("{}\nstop: {{ within: 60s }}", streaming().more),
        ..streaming()
    };
    let setting = Setting::of(&["near"], &policy);
    let mut oldest = websocket(&setting.url("/ws"), &[]).unwrap();
    echo(&mut oldest, "first");
    let second = setting.upgraded();
    let third = setting.upgraded();
    setting.until_gone(second);
    assert!(signal(third, "TERM"));
    wait_until(SOON, "it stops", || setting.balancer.stderr().contains("stopping open="));
    echo(&mut oldest, "still there");
    assert_eq!(setting.balancer.processes().len(), 2, "{}", setting.balancer.logs());
    oldest.close(None).unwrap();
    drop(oldest);
    assert_eq!(setting.balancer.await_exit(SOON).code(), Some(0));
    setting.until_gone(third);
}

#[test]
fn told_twice_a_service_ends_with_every_process_before_it() {
    let setting = Setting::of(&["near"], &streaming());
    let mut oldest = websocket(&setting.url("/ws"), &[]).unwrap();
    echo(&mut oldest, "first");
    let second = setting.upgraded();
    assert!(signal(second, "TERM"));
    // The process before it has been waiting since the upgrade, so that says nothing.
    wait_until(SOON, "it stops", || setting.balancer.stderr().contains("stopping open="));
    assert!(signal(second, "TERM"));
    assert_eq!(setting.balancer.await_exit(SOON).code(), Some(3));
    setting.until_gone(second);
}
