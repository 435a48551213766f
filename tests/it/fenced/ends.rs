//! How fenced exchanges end when somebody leaves or dies, and what the next request is told.

use std::time::Duration;

use tidegate_harness::{Balancer, Connection, FakeRegion, Fault, free_address, wait_until};

use super::{METHODS, fenced, is_replay, order};
use crate::setting::{SOON, Setting, TIDEGATE};
use crate::traffic::is_problem;

#[test]
fn a_write_outlives_its_client() {
    let setting = Setting::of(&["near"], &fenced("{ preset: api, coalesce_wait: 10s }"));
    setting.regions[0].set_latency(Duration::from_millis(500));
    for (turn, method) in METHODS.into_iter().enumerate() {
        let key = format!("left-{turn}");
        let request = order(&setting, method, &key);
        assert!(request.clone().timeout(Duration::from_millis(150)).send().is_err());
        let reply = request.send().unwrap();
        assert_eq!((reply.status, reply.header("idempotent-replayed")), (200, Some("true")));
        assert_eq!(setting.effects(&key), (1, 1), "{key}");
    }
}

#[test]
fn a_write_whose_endpoint_dies_is_in_doubt_and_never_sent_again() {
    let setting = Setting::of(&["near", "far"], &fenced("api"));
    let deaths = [
        Fault::DieAfterExecuting,
        Fault::DieAfterExecutingReused,
        Fault::DieBeforeExecuting,
        Fault::DieBeforeExecutingReused,
    ];
    for (place, death) in deaths.into_iter().enumerate() {
        for method in METHODS {
            let key = format!("died-{place}-{method}");
            // The connection to the endpoint has been used before.
            assert_eq!(
                order(&setting, method, &format!("{key}-first")).send().unwrap().status,
                200
            );
            setting.regions[0].set_fault(death);
            let first = order(&setting, method, &key).send().unwrap();
            setting.regions[0].clear_fault();
            let (received, executed) = setting.effects(&key);
            if first.status == 200 {
                assert_eq!((received, executed), (1, 1), "{key}: a fresh connection was used");
                continue;
            }
            is_problem(&first, 502, "endpoint_broken");
            assert!(received <= 1 && executed <= 1, "{key}: {received} {executed}");
            for _ in 0..2 {
                let reply = order(&setting, method, &key).send().unwrap();
                is_problem(&reply, 409, "fence_outcome_unknown");
            }
            assert_eq!(setting.effects(&key), (received, executed), "{key}");
        }
    }
}

#[test]
fn a_write_that_certainly_was_not_sent_may_be_sent_again() {
    let setting = Setting::of(&["near", "far"], &fenced("api"));
    setting.regions[0].set_fault(Fault::Refuse);
    let reply = order(&setting, "POST", "moves").send().unwrap();
    assert_eq!((reply.status, reply.header("x-region")), (200, Some("far")));
    setting.regions[1].set_fault(Fault::Refuse);
    for _ in 0..2 {
        let reply = order(&setting, "POST", "nobody").send().unwrap();
        is_problem(&reply, 503, "region_unreachable");
    }
    setting.regions[1].clear_fault();
    assert_eq!(order(&setting, "POST", "nobody").send().unwrap().status, 200);
    assert_eq!(setting.effects("nobody"), (1, 1));
}

#[test]
fn an_endpoint_that_hangs_leaves_a_doubt() {
    let policy = fenced("api");
    let routes = policy.routes.replace("fence:", "timeouts: { first_byte: 300ms }, fence:");
    let setting = Setting::of(&["near"], &crate::setting::PolicyText { routes, ..policy });
    setting.regions[0].set_fault(Fault::HangRequests);
    let request = order(&setting, "POST", "hangs");
    is_problem(&request.send().unwrap(), 504, "endpoint_timeout");
    is_problem(&request.send().unwrap(), 409, "fence_outcome_unknown");
}

#[test]
fn half_an_answer_says_that_the_write_was_executed() {
    let setting = Setting::of(&["near"], &fenced("api"));
    setting.regions[0].set_fault(Fault::DieMidBody);
    let request = order(&setting, "POST", "half");
    assert!(request.send().is_err(), "the client sees that it broke off");
    setting.regions[0].clear_fault();
    wait_until(SOON, "it is settled", || {
        request.send().is_ok_and(|it| it.json()["code"] == "fence_already_executed")
    });
    assert_eq!(setting.effects("half"), (1, 1));
}

#[test]
fn a_restart_remembers_and_a_crash_leaves_doubts() {
    let region = FakeRegion::start("near");
    let door = free_address();
    let text = fenced("api").text(door, std::slice::from_ref(&region));
    let folder = tidegate_harness::TempDir::new();
    let store = folder.path().join("fence.db").display().to_string();
    let text = text.replace("./fence.db", &store);
    let start = |region| {
        let balancer = Balancer::start(TIDEGATE, &text);
        let setting = Setting { regions: vec![region], balancer, door };
        setting.until_verdict("near", "green");
        setting
    };
    let mut setting = start(region);
    let done = order(&setting, "POST", "done");
    let first = done.send().unwrap();
    setting.regions[0].set_latency(Duration::from_secs(30));
    let open = order(&setting, "POST", "open");
    let mut connection = Connection::open(&setting.url("/")).unwrap();
    let head = format!(
        "POST /orders HTTP/1.1\r\nHost: {door}\r\nIdempotency-Key: open\r\nX-Test-Id: open\r\n\
         Authorization: Bearer alice\r\nContent-Length: 3\r\n\r\nten"
    );
    connection.send_raw(head.as_bytes()).unwrap();
    wait_until(SOON, "it is sent", || setting.regions[0].received_count("open") == 1);
    setting.balancer.kill();
    setting.regions[0].set_latency(Duration::ZERO);
    let region = setting.regions.remove(0);
    drop(setting);
    let setting = start(region);
    is_replay(&done.send().unwrap(), &first);
    is_problem(&open.send().unwrap(), 409, "fence_outcome_unknown");
    assert_eq!((setting.effects("done").1, setting.effects("open").0), (1, 1));
}
