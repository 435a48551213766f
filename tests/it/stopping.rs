//! How the process ends: when it is told to, as soon as it may, and never over a request.
#![expect(clippy::disallowed_methods, reason = "a test of deadlines looks at the clock")]

use std::time::{Duration, Instant};

use tidegate_harness::tungstenite::Message;
use tidegate_harness::{Connection, H2, Request, wait_until, websocket};

use crate::setting::{SOON, Setting};
use crate::traffic::still;

/// One region, and a balancer that stops like this.
fn stopping(stop: &str) -> Setting {
    let more = format!("timeouts: {{ total: none, idle: 60s }}\nstop: {{ {stop} }}");
    Setting::of(&["near"], &still(&more))
}

impl Setting {
    fn is_ready(&self) -> bool {
        self.balancer.ask_admin("/readyz").is_ok_and(|it| it.status == 200)
    }

    /// Tells the balancer to stop, and waits until it has heard.
    fn stop(&self) {
        self.balancer.signal("TERM");
        wait_until(SOON, "it is not ready any more", || !self.is_ready());
    }

    fn events(&self, query: &str) -> Request {
        Request::get(&self.url(&format!("/sse?{query}")))
    }
}

mod alone {
    use super::*;

    #[test]
    fn an_idle_balancer_ends_at_once() {
        let setting = stopping("");
        let told = Instant::now();
        setting.balancer.signal("TERM");
        assert_eq!(setting.balancer.await_exit(SOON).code(), Some(0));
        assert!(told.elapsed() < Duration::from_secs(1), "{:?}", told.elapsed());
    }

    #[test]
    fn idle_connections_hold_up_the_end_for_a_moment_only() {
        let setting = stopping("lame_duck: 500ms");
        let mut kept = Connection::open(&setting.url("/")).unwrap();
        kept.send(&Request::get(&setting.url("/"))).unwrap();
        let _unused = Connection::open(&setting.url("/")).unwrap();
        let h2 = H2::open(&setting.url("/")).unwrap();
        h2.send(&Request::get(&setting.url("/"))).unwrap();
        let told = Instant::now();
        setting.balancer.signal("TERM");
        assert_eq!(setting.balancer.await_exit(SOON).code(), Some(0));
        assert!(told.elapsed() < Duration::from_millis(2500), "{:?}", told.elapsed());
    }

    #[test]
    fn it_ends_with_the_last_stream() {
        for over_h2 in [false, true] {
            let setting = stopping("");
            let request = setting.events("events=20&gap_ms=100");
            let ended = if over_h2 {
                let client = H2::open(&setting.url("/")).unwrap();
                let mut stream = client.stream(&request).unwrap();
                stream.read_event().unwrap().unwrap();
                setting.stop();
                assert_eq!(std::iter::from_fn(|| stream.read_event().unwrap()).count(), 19);
                Instant::now()
            } else {
                let mut stream = request.stream().unwrap();
                stream.read_event().unwrap().unwrap();
                setting.stop();
                assert_eq!(std::iter::from_fn(|| stream.read_event().unwrap()).count(), 19);
                Instant::now()
            };
            assert_eq!(setting.balancer.await_exit(SOON).code(), Some(0));
            assert!(ended.elapsed() < Duration::from_secs(1), "{:?}", ended.elapsed());
        }
    }

    #[test]
    fn told_again_it_ends_at_once_and_says_that_it_was_not_clean() {
        let setting = stopping("lame_duck: 60s");
        let mut stream = setting.events("events=1&hold=1").stream().unwrap();
        stream.read_event().unwrap().unwrap();
        let mut socket = websocket(&setting.url("/ws"), &[]).unwrap();
        socket.send(Message::text("here")).unwrap();
        setting.stop();
        assert_eq!(setting.balancer.exit_status(), None);
        let told = Instant::now();
        setting.balancer.signal("TERM");
        assert_eq!(setting.balancer.await_exit(SOON).code(), Some(3));
        assert!(told.elapsed() < Duration::from_secs(1), "{:?}", told.elapsed());
        stream.read_event().unwrap_err();
    }
}

#[test]
fn a_lame_duck_still_answers_and_sends_its_clients_away() {
    let setting = stopping("lame_duck: 3s");
    let mut kept = Connection::open(&setting.url("/")).unwrap();
    let get = Request::get(&setting.url("/"));
    assert_ne!(kept.send(&get).unwrap().header("connection"), Some("close"));
    let mut busy = Connection::open(&setting.url("/")).unwrap();
    let h2 = H2::open(&setting.url("/")).unwrap();
    h2.send(&get).unwrap();
    setting.regions[0].set_latency(Duration::from_secs(1));
    busy.send_raw(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    wait_until(SOON, "the slow request is there", || setting.region("near")["open"] == 1);
    setting.regions[0].set_latency(Duration::ZERO);
    setting.stop();
    for connection in [&mut kept, &mut Connection::open(&setting.url("/")).unwrap()] {
        let reply = connection.send(&get).unwrap();
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    }
    busy.set_timeout(SOON).unwrap();
    let reply = busy.read_reply("GET").unwrap();
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    wait_until(SOON, "GOAWAY ends the connection of HTTP/2", || h2.is_closed());
    assert_eq!(setting.balancer.exit_status(), None, "the lame duck is not over");
    assert_eq!(setting.balancer.await_exit(SOON).code(), Some(0));
    Connection::open(&setting.url("/")).unwrap_err();
}

#[test]
fn what_is_open_when_the_time_is_over_is_cut_and_told() {
    let setting = stopping("within: 500ms");
    let mut stream = setting.events("events=1&hold=1").stream().unwrap();
    stream.read_event().unwrap().unwrap();
    setting.stop();
    assert_eq!(setting.balancer.await_exit(SOON).code(), Some(3));
    stream.read_event().unwrap_err();
    assert!(setting.balancer.stderr().contains("the time to stop is over"));
}

#[test]
fn open_requests_keep_it_alive_and_new_ones_are_refused() {
    let setting = stopping("");
    let mut stream = setting.events("events=1&hold=1").stream().unwrap();
    stream.read_event().unwrap().unwrap();
    let mut socket = websocket(&setting.url("/ws"), &[]).unwrap();
    socket.send(Message::text("before")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("before"));
    setting.stop();
    wait_until(SOON, "nobody comes in any more", || Connection::open(&setting.url("/")).is_err());
    socket.send(Message::text("after")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("after"));
    drop(stream);
    assert_eq!(setting.balancer.exit_status(), None);
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    assert_eq!(setting.balancer.await_exit(SOON).code(), Some(0));
}
