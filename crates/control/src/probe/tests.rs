//! Probes against real servers, good ones and bad ones.

use super::*;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tidegate_core::contract::{Found, INDEX_HASH};
use tidegate_core::id::EndpointId;
use tidegate_core::policy::Protocol;
use tidegate_harness::{FakeRegion, Fault, free_address};
use tokio::runtime::{Builder, Runtime};

use crate::trial;

static HINTS: LazyLock<String> = LazyLock::new(|| "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100));

/// An asker with the runtime that its connections live on.
struct Rig {
    asker: Asker,
    policy: Policy,
    runtime: Runtime,
}

impl Rig {
    fn new(address: SocketAddr) -> Self {
        let target = Target { endpoint: EndpointId(1), address, region: "eu".into() };
        let asker = Asker::new(Arc::new(Connector::new(None)), target);
        let policy = trial::policy(vec![trial::region("eu", &[address])]);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self { asker, policy, runtime: runtime.expect("a runtime") }
    }

    fn ask(&self) -> Result<Report, ProbeFailure> {
        self.runtime.block_on(self.asker.ask(&self.policy)).1
    }
}

/// A server that answers each connection through `answer`, which is told how many requests came
/// before on that connection; `None` closes it.
fn serve(answer: fn(usize) -> Option<&'static str>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counter.fetch_add(1, Ordering::SeqCst);
            thread::spawn(move || converse(stream, answer));
        }
    });
    (address, connections)
}

fn converse(mut stream: TcpStream, answer: fn(usize) -> Option<&'static str>) {
    for before in 0.. {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.extend_from_slice(&byte),
                Ok(_) | Err(_) => return,
            }
        }
        let Some(text) = answer(before) else { return };
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn a_report_arrives_over_either_protocol_and_the_connection_is_kept() {
    for protocol in [Protocol::Http1, Protocol::H2c] {
        let region = FakeRegion::start("eu");
        let mut rig = Rig::new(region.address());
        rig.policy.regions[0].protocol = protocol;
        // Often, because an HTTP/2 stream that ends late fails only now and then.
        for _ in 0..100 {
            let report = rig.ask().expect("a report");
            assert_eq!(report.found(INDEX_HASH), &Found::Value(trial::INDEX.into()));
            assert_eq!(report.release_id.as_deref(), Some("r-2025-08-01"));
        }
        assert_eq!(region.probes(), 100);
        // Pingora's pool now and then loses a connection that is asked for as it comes back.
        assert!(region.connections() < 20, "{protocol:?}: {}", region.connections());
    }
}

#[test]
fn a_probe_says_who_it_is_and_where_it_wants_to_go() {
    let region = FakeRegion::start("eu");
    let mut rig = Rig::new(region.address());
    rig.ask().expect("a report");
    let header = |name: &str| {
        let headers = region.last_probe().expect("a probe came");
        headers.get(name).map(|it| it.to_str().expect("text").to_owned())
    };
    assert_eq!(header("x-region-pin").as_deref(), Some("eu"));
    assert_eq!(header("host"), Some(region.address().to_string()));
    assert_eq!(header("user-agent").as_deref(), Some(USER_AGENT));
    rig.policy.probing.host = Some("contract.example".into());
    rig.ask().expect("a report");
    assert_eq!(header("host").as_deref(), Some("contract.example"));
}

#[test]
fn each_way_to_fail_is_told_apart() {
    let region = FakeRegion::start("eu");
    let rig = Rig::new(region.address());
    let check = |fault, failure| {
        region.set_fault(fault);
        assert_eq!(rig.ask(), Err(failure), "{fault:?}");
    };
    check(Fault::ContractStatus(503), ProbeFailure::Status(503));
    check(Fault::ContractStatus(204), ProbeFailure::Status(204));
    check(Fault::NotJson, ProbeFailure::NotJson);
    check(Fault::HugeContract, ProbeFailure::TooLarge);
    check(Fault::HangContract, ProbeFailure::Timeout);
    check(Fault::Hang, ProbeFailure::Timeout);
    check(Fault::Refuse, ProbeFailure::Connect);
    region.clear_fault();
    assert!(rig.ask().is_ok());
}

#[test]
fn what_is_no_http_or_breaks_off_is_broken() {
    let answers: [fn(usize) -> Option<&'static str>; 3] = [
        |_| None,
        |_| Some("SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        |before| {
            (before == 0).then_some("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        },
    ];
    for answer in answers {
        let (address, _connections) = serve(answer);
        assert_eq!(Rig::new(address).ask(), Err(ProbeFailure::Broken));
    }
}

#[test]
fn an_idle_connection_that_is_gone_is_no_failure() {
    let (address, connections) = serve(|before| {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{\"index_hash\":\"a1b2\"}";
        (before == 0).then_some(answer)
    });
    let rig = Rig::new(address);
    for asked in 1..=3 {
        assert!(rig.ask().is_ok(), "probe {asked}");
        assert_eq!(connections.load(Ordering::SeqCst), asked);
    }
}

#[test]
fn informational_answers_are_passed_over_up_to_a_limit() {
    let (address, _connections) = serve(|_| {
        Some(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{\"index_hash\":\"a1b2\"}",
        )
    });
    assert!(Rig::new(address).ask().is_ok());
    let (address, _connections) = serve(|_| Some(&HINTS));
    assert_eq!(Rig::new(address).ask(), Err(ProbeFailure::Broken));
}

#[test]
fn nobody_there_is_told_at_once() {
    let rig = Rig::new(free_address());
    let started = clock::instant();
    assert_eq!(rig.ask(), Err(ProbeFailure::Connect));
    assert!(clock::elapsed_since(started) < rig.policy.probing.timeout);
}
