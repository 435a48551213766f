//! Drains: what is open is told, counted and left alone until it ends by itself.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a broken test should panic"
)]

use std::io;
use std::net::TcpStream;

use serde_json::{Value, json};
use tidegate_harness::tungstenite::{Message, WebSocket};
use tidegate_harness::{
    Connection, H2, H2Stream, H2Upload, Request, Streaming, grpc_frame, grpc_messages, wait_until,
    websocket,
};

use crate::setting::{PolicyText, SOON, Said, Setting, tidegate};
use crate::traffic::pattern;

mod causes;
mod command;
mod deadline;

/// A policy with a route for streams and further sections.
fn policy(more: &str) -> PolicyText {
    let usual = PolicyText::default();
    PolicyText {
        routes: "  - { name: streams, match: { path: /sse }, stream: true }\n\
                 \x20 - { name: plain, match: { path: / } }"
            .to_owned(),
        more: format!("{}\n{more}", usual.more),
        ..usual
    }
}

/// A command at the admin socket.
fn operate(setting: &Setting, arguments: &[&str]) -> Said {
    let socket = setting.socket();
    tidegate(&[arguments, &["--admin", &socket]].concat())
}

impl Setting {
    /// Every drain of a region, or of one of its endpoints.
    fn drains(&self, region: &str) -> Vec<Value> {
        let all = self.balancer.ask_admin("/v1/drains").expect("an answer").json();
        let drains = all["drains"].as_array().expect("drains").iter();
        drains.filter(|it| it["region"] == region).cloned().collect()
    }

    /// The one drain of a region.
    fn drain(&self, region: &str) -> Value {
        let mut drains = self.drains(region);
        assert_eq!(drains.len(), 1, "{drains:?}");
        drains.remove(0)
    }

    /// Waits until the drain of a region has ended; answers what is told of it.
    fn until_empty(&self, region: &str) -> Value {
        wait_until(SOON, "it is drained", || {
            self.drains(region).iter().any(|it| it["state"] == "drained")
        });
        self.drain(region)
    }

    /// The value of a metric that counts whole things.
    fn count_of(&self, series: &str) -> u64 {
        self.metric(series).to_string().parse().expect("a whole number")
    }

    /// What is open, as the query asks for it.
    fn streams(&self, query: &str) -> Vec<Value> {
        let path = format!("/v1/streams?{query}");
        let told = self.balancer.ask_admin(&path).expect("an answer").json();
        told["streams"].as_array().expect("streams").clone()
    }
}

/// One exchange of each kind, all of them in the middle.
struct Streams {
    events: Streaming,
    over_h2: H2Stream,
    socket: WebSocket<TcpStream>,
    call: (H2Upload, H2Stream),
    upload: Connection,
    /// The connections on which some of them are.
    _clients: Vec<H2>,
}

/// What the upload of [`Streams`] sends, and how much of it is there from the beginning.
const UPLOAD: (usize, usize) = (60_000, 20_000);

impl Streams {
    fn open(setting: &Setting) -> Self {
        let sse = Request::get(&setting.url("/sse?events=1&hold=1"));
        let mut events = sse.stream().unwrap();
        assert_eq!(events.read_event().unwrap().unwrap().json()["n"], 0);
        let client = H2::open(&setting.url("/")).unwrap();
        let mut over_h2 = client.stream(&sse).unwrap();
        assert_eq!(over_h2.read_event().unwrap().unwrap().json()["n"], 0);
        let mut socket = websocket(&setting.url("/ws"), &[]).unwrap();
        echo(&mut socket, "first");
        let url = setting.url("/tidegate.test.Echo/Bidi");
        let call = Request::new("POST", &url).header("content-type", "application/grpc");
        let caller = H2::open(&setting.url("/")).unwrap();
        let mut asking = caller.upload(&call.header("te", "trailers")).unwrap();
        let answering = asking.answer().unwrap();
        let mut call = (asking, answering);
        say(&mut call, "first");
        let mut upload = Connection::open(&setting.url("/")).unwrap();
        let head =
            format!("POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", UPLOAD.0);
        upload.send_raw(head.as_bytes()).unwrap();
        let arrived = |kind: &str| -> u64 {
            let open = setting.streams(&format!("kind={kind}"));
            open.iter().filter_map(|it| it["bytes_in"].as_u64()).sum()
        };
        let (first, second) = (pattern(UPLOAD.1), 10_000);
        upload.send_raw(&first[..second]).unwrap();
        wait_until(SOON, "it has begun", || arrived("plain") + arrived("upload") == 10_000);
        // From its second piece on it is known to be an upload.
        upload.send_raw(&first[second..]).unwrap();
        wait_until(SOON, "it goes on", || arrived("upload") == 20_000);
        Self { events, over_h2, socket, call, upload, _clients: vec![client, caller] }
    }

    /// All of them still carry what is said.
    fn are_alive(&mut self) {
        echo(&mut self.socket, "still there");
        say(&mut self.call, "still there");
    }

    /// Each ends as it should: three are completed, and two clients close their streams.
    fn end(mut self) {
        self.socket.close(None).unwrap();
        while self.socket.read().is_ok() {}
        self.call.0.finish();
        assert_eq!(self.call.1.read_piece().unwrap(), None);
        assert_eq!(self.call.1.head.trailer("grpc-status"), Some("0"));
        let whole = pattern(UPLOAD.0);
        self.upload.send_raw(&whole[UPLOAD.1..]).unwrap();
        self.upload.set_timeout(SOON).unwrap();
        let told = self.upload.read_reply("POST").unwrap().json();
        assert_eq!(told["body_bytes"], UPLOAD.0, "{told}");
        drop((self.events, self.over_h2));
    }
}

fn echo(socket: &mut WebSocket<TcpStream>, text: &str) {
    socket.send(Message::text(text)).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text(text));
}

fn say((asking, answering): &mut (H2Upload, H2Stream), text: &str) {
    asking.send(&grpc_frame(text.as_bytes())).unwrap();
    let got = answering.read_piece().unwrap().unwrap();
    assert_eq!(grpc_messages(&got), [text.as_bytes()]);
}

/// The numbers of the events that are left.
fn rest(events: &mut Streaming) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    while let Some(event) = events.read_event()? {
        numbers.push(event.json()["n"].as_u64().unwrap());
    }
    Ok(numbers)
}

/// How many were open at the start, have joined and are open, and how the others have ended.
fn counts(drain: &Value) -> [u64; 7] {
    let outcome = |word: &str| drain["outcomes"][word].as_u64().unwrap();
    let [start, joined, open] =
        ["open_at_start", "joined", "open"].map(|it| drain[it].as_u64().unwrap());
    let [completed, closed, died, forced] =
        ["completed", "client_closed", "upstream_died", "forced"].map(outcome);
    [start, joined, open, completed, closed, died, forced]
}

#[test]
fn a_region_is_drained_without_a_stream_being_cut() {
    let setting = Setting::of(&["near", "far"], &policy(""));
    let mut streams = Streams::open(&setting);
    let kinds: Vec<_> =
        setting.streams("region=near").iter().map(|it| it["kind"].clone()).collect();
    assert_eq!(kinds, ["stream", "stream", "websocket", "grpc", "upload"], "oldest first");
    let [call] = &*setting.streams("kind=grpc") else { panic!("there is one call") };
    assert_eq!(call["endpoint"], setting.regions[0].address().to_string());
    assert_eq!((&call["route"], &call["region"]), (&json!("plain"), &json!("near")));
    assert_eq!((&call["bytes_in"], &call["bytes_out"]), (&json!(10), &json!(10)), "{call}");

    assert_eq!(operate(&setting, &["drain", "near"]).code, Some(0));
    let drain = setting.drain("near");
    assert_eq!((&drain["state"], &drain["cause"]), (&json!("draining"), &json!("operator")));
    assert_eq!(counts(&drain), [5, 0, 5, 0, 0, 0, 0], "{drain}");
    assert_eq!(setting.region("near")["drain"]["open"], 5);
    for _ in 0..20 {
        assert_eq!(setting.served_by(), "far");
    }
    streams.are_alive();
    assert_eq!(setting.count_of(r#"tidegate_open{region="near",kind="stream"}"#), 2);
    let running = r#"tidegate_drains_running{region="near",cause="operator"}"#;
    assert_eq!(setting.count_of(running), 1);

    streams.end();
    let drain = setting.until_empty("near");
    assert_eq!(counts(&drain), [5, 0, 0, 3, 2, 0, 0], "{drain}");
    assert_eq!((&drain["clean"], &drain["overdue"]), (&json!(true), &json!(false)));
    wait_until(SOON, "it is told", || setting.balancer.logs().contains(" drained "));
    assert_eq!(setting.count_of(running), 0);
    for (outcome, count) in [("completed", 3), ("client_closed", 2), ("forced", 0)] {
        let labels = format!(r#"region="near",cause="operator",outcome="{outcome}""#);
        assert_eq!(setting.count_of(&format!("tidegate_drain_outcomes_total{{{labels}}}")), count);
    }
    assert_eq!(operate(&setting, &["undrain", "near"]).code, Some(0));
    assert_eq!(setting.served_by(), "near");
    assert_eq!(setting.drains("near"), Vec::<Value>::new());
}

#[test]
fn an_endpoint_is_drained_and_its_neighbour_takes_over() {
    let endpoints = ["one", "two"].map(tidegate_harness::FakeRegion::start);
    let [one, two] = endpoints.each_ref().map(|it| it.address().to_string());
    let listed = format!("  near: {{ distance: 0, endpoints: [\"{one}\", \"{two}\"] }}");
    let setting = Setting::listed(endpoints.into(), &listed, &policy(""));
    setting.until_green();
    assert_eq!(operate(&setting, &["drain", "near", &two]).code, Some(0));
    let mut events = Request::get(&setting.url("/sse?events=40&gap_ms=50")).stream().unwrap();
    assert_eq!(events.head.header("x-served-by"), Some("one"));
    for (verb, endpoint) in [("undrain", &two), ("drain", &one)] {
        let said = operate(&setting, &[verb, "near", endpoint]);
        assert_eq!(said.out.trim(), format!("near {endpoint}: {verb} done"), "{said:?}");
    }
    for _ in 0..20 {
        assert_eq!(setting.get("/", &[]).header("x-served-by"), Some("two"));
    }
    let drain = setting.drain("near");
    assert_eq!((&drain["endpoint"], &drain["open"]), (&json!(one), &json!(1)), "{drain}");
    let told = setting.region("near")["endpoints"][0].clone();
    assert_eq!((&told["drained"], &told["open"]), (&json!(true), &json!(1)), "{told}");
    assert_eq!((&told["drain"]["cause"], &told["verdict"]), (&json!("operator"), &json!("green")));
    assert_eq!(rest(&mut events).unwrap(), (0..40).collect::<Vec<u64>>());
    assert_eq!(counts(&setting.until_empty("near")), [1, 0, 0, 1, 0, 0, 0]);
    // A region without an endpoint left is out, and says so.
    assert_eq!(operate(&setting, &["drain", "near", &two]).code, Some(0));
    assert_eq!(setting.comes_to("/", &[]), "503 no_region_available");
    let said = tidegate(&["explain", "get", "/", "--admin", &setting.admin()]);
    assert!(said.out.contains("near: drained"), "{said:?}");
    assert_eq!(operate(&setting, &["undrain", "near", &one]).code, Some(0));
    assert_eq!(setting.get("/", &[]).header("x-served-by"), Some("one"));
}

#[test]
fn a_drain_that_takes_long_is_overdue_once_and_cuts_nothing() {
    let setting = Setting::of(&["near", "far"], &policy("drain: { overdue_after: 300ms }"));
    let mut socket = websocket(&setting.url("/ws"), &[]).unwrap();
    echo(&mut socket, "first");
    assert_eq!(operate(&setting, &["drain", "near"]).code, Some(0));
    let overdue = r#"tidegate_drains_overdue_total{region="near",cause="operator"}"#;
    wait_until(SOON, "it is overdue", || setting.metric(overdue) > 0.0);
    assert_eq!(setting.drain("near")["overdue"], true);
    let took = || setting.drain("near")["took_ms"].as_u64().unwrap();
    wait_until(SOON, "much more time has passed", || 2_000 < took());
    echo(&mut socket, "and still there");
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    assert_eq!(counts(&setting.until_empty("near")), [1, 0, 0, 1, 0, 0, 0]);
    assert_eq!(setting.count_of(overdue), 1);
    assert_eq!(setting.balancer.logs().matches("drain overdue").count(), 1);
}

#[test]
fn a_stream_whose_endpoint_dies_makes_its_drain_unclean() {
    let setting = Setting::of(&["near", "far"], &policy(""));
    let mut events = Request::get(&setting.url("/sse?events=1&hold=1")).stream().unwrap();
    events.read_event().unwrap().unwrap();
    assert_eq!(operate(&setting, &["drain", "near"]).code, Some(0));
    setting.regions[0].stop();
    events.read_event().unwrap_err();
    let drain = setting.until_empty("near");
    assert_eq!(counts(&drain), [1, 0, 0, 0, 0, 1, 0], "{drain}");
    assert_eq!(drain["clean"], false);
}
