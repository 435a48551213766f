//! How streams end: their client leaves, their endpoint dies, or the balancer is told to stop.
#![expect(clippy::disallowed_methods, reason = "a test of deadlines looks at the clock")]

use std::time::{Duration, Instant};

use tidegate_harness::{Connection, H2, Request, wait_until, websocket};

use super::{echo, numbers, streaming, towards};
use crate::setting::{SOON, Setting};

fn events(setting: &Setting, id: &str, query: &str) -> Request {
    Request::get(&setting.url(&format!("/sse?{query}"))).header("X-Request-Id", id)
}

#[test]
fn a_client_that_leaves_is_noticed_by_the_endpoint() {
    for protocol in ["http1", "h2c"] {
        let setting = Setting::of(&["near"], &towards(protocol, "{ idle: 60s }"));
        let near = &setting.regions[0];
        // The connection of the probes is one of them.
        let before = near.open_connections();
        let mut one = events(&setting, "one", "events=1&hold=1").stream().unwrap();
        one.read_event().unwrap().unwrap();
        let client = H2::open(&setting.url("/")).unwrap();
        let mut two = client.stream(&events(&setting, "two", "events=1&hold=1")).unwrap();
        two.read_event().unwrap().unwrap();
        assert_eq!(setting.open_in_near(), 2);
        drop((one, two));
        wait_until(SOON, "both streams are closed", || setting.open_in_near() == 0);
        for id in ["one", "two"] {
            let line = setting.line_of(id);
            assert_eq!(
                (&line["end"], &line["status"]),
                (&"client_gone".into(), &200.into()),
                "{line}"
            );
        }
        if protocol == "http1" {
            wait_until(SOON, "so are their connections", || near.open_connections() <= before);
        }
        assert!((setting.metric("tidegate_client_aborts_total") - 2.0).abs() < 0.5);
        // Only the streams are over, not the connection that they shared.
        assert_eq!(client.send(&Request::get(&setting.url("/"))).unwrap().status, 200);
    }
}

#[test]
fn a_web_socket_whose_client_vanishes_is_closed_at_the_endpoint() {
    let setting = Setting::of(&["near"], &streaming("{ idle: 60s }"));
    let near = &setting.regions[0];
    let before = near.open_connections();
    let mut socket = websocket(&setting.url("/ws"), &[("X-Request-Id", "gone")]).unwrap();
    echo(&mut socket, "here");
    drop(socket);
    wait_until(SOON, "its endpoint is free again", || {
        setting.open_in_near() == 0 && near.open_connections() <= before
    });
    assert_eq!(setting.line_of("gone")["kind"], "websocket");
}

#[test]
fn a_stream_whose_endpoint_dies_does_not_look_complete() {
    for protocol in ["http1", "h2c"] {
        let setting = Setting::of(&["near", "far"], &towards(protocol, "{ idle: 60s }"));
        let mut one = events(&setting, "one", "events=1&hold=1").stream().unwrap();
        one.read_event().unwrap().unwrap();
        let client = H2::open(&setting.url("/")).unwrap();
        let mut two = client.stream(&events(&setting, "two", "events=1&hold=1")).unwrap();
        two.read_event().unwrap().unwrap();
        let mut socket = websocket(&setting.url("/ws"), &[]).unwrap();
        echo(&mut socket, "here");
        setting.regions[0].stop();
        one.read_event().unwrap_err();
        two.read_event().unwrap_err();
        socket.read().unwrap_err();
        for id in ["one", "two"] {
            let line = setting.line_of(id);
            let told = (&line["end"], &line["attempts"]);
            assert_eq!(told, (&"endpoint_broken".into(), &1.into()), "{line}");
        }
        assert_eq!(setting.served_by(), "far");
    }
}

#[test]
fn the_balancer_waits_for_its_streams_before_it_stops() {
    let setting = Setting::of(&["near"], &streaming("{ idle: 60s }"));
    let mut idle = Connection::open(&setting.url("/")).unwrap();
    idle.send(&Request::get(&setting.url("/"))).unwrap();
    let mut one = events(&setting, "one", "events=20&gap_ms=100").stream().unwrap();
    one.read_event().unwrap().unwrap();
    let client = H2::open(&setting.url("/")).unwrap();
    let mut two = client.stream(&events(&setting, "two", "events=20&gap_ms=100")).unwrap();
    two.read_event().unwrap().unwrap();
    let mut socket = websocket(&setting.url("/ws"), &[]).unwrap();
    echo(&mut socket, "before");

    setting.balancer.signal("TERM");
    wait_until(SOON, "it is not ready any more", || {
        setting.balancer.ask_admin("/readyz").is_ok_and(|it| it.status == 503)
    });
    echo(&mut socket, "while it stops");
    let rest: Vec<u64> = (1..20).collect();
    assert_eq!(numbers(|| one.read_event()).unwrap(), rest);
    assert_eq!(numbers(|| two.read_event()).unwrap(), rest);
    echo(&mut socket, "the last one");
    assert_eq!(setting.balancer.exit_status(), None);
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    let ended = Instant::now();
    let status = setting.balancer.await_exit(SOON);
    assert!(status.success(), "{status}");
    assert!(ended.elapsed() < Duration::from_secs(10), "it leaves as soon as it may");
}
