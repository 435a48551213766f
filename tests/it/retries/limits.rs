//! Where retries end: attempts, the shared budget, deadlines, and what cannot be sent again.
#![expect(clippy::disallowed_methods, reason = "a test of deadlines looks at the clock")]

use std::time::{Duration, Instant};

use tidegate_harness::{Fault, H2, Request};

use super::order;
use crate::setting::Setting;
use crate::traffic::{is_problem, pattern, still};

#[test]
fn a_request_is_tried_as_often_as_the_policy_says_and_no_more() {
    let setting = Setting::three(&still("retries: { attempts: 2 }"));
    setting.regions.iter().for_each(|it| it.set_fault(Fault::DieBeforeExecuting));
    is_problem(&order(&setting, "GET", "broken").send().unwrap(), 502, "endpoint_broken");
    assert_eq!(setting.effects("broken"), (2, 0));
    assert_eq!(setting.line_of("broken")["attempts"], 2);
    setting.regions.iter().for_each(|it| it.set_fault(Fault::Refuse));
    for method in ["GET", "POST"] {
        let id = format!("refused-{method}");
        is_problem(&order(&setting, method, &id).send().unwrap(), 503, "region_unreachable");
        assert_eq!(setting.line_of(&id)["attempts"], 2);
    }
}

#[test]
fn one_attempt_is_no_retry() {
    let setting = Setting::of(&["near", "far"], &still("retries: { attempts: 1 }"));
    setting.regions[0].set_fault(Fault::DieBeforeExecuting);
    is_problem(&order(&setting, "GET", "broken").send().unwrap(), 502, "endpoint_broken");
    setting.regions[0].set_fault(Fault::Refuse);
    is_problem(&order(&setting, "GET", "refused").send().unwrap(), 503, "region_unreachable");
    assert_eq!(setting.effects("broken"), (1, 0));
    assert_eq!(setting.effects("refused"), (0, 0));
}

#[test]
fn the_shared_budget_bounds_what_is_sent_twice_and_counts_what_it_denies() {
    let retries = "retries: { budget: 0%, budget_min: 1 }";
    let setting = Setting::of(&["near", "far"], &still(retries));
    setting.regions[0].set_fault(Fault::DieBeforeExecuting);
    let began = Instant::now();
    let (mut again, mut denied) = (0_u32, 0_u32);
    for turn in 0..40 {
        let reply = order(&setting, "GET", &format!("turn-{turn}")).send().unwrap();
        if reply.status == 200 {
            again += 1;
        } else {
            is_problem(&reply, 502, "endpoint_broken");
            denied += 1;
        }
    }
    // What ten idle seconds saved, one for each second that began since, and no more.
    let most = 12 + u32::try_from(began.elapsed().as_secs()).unwrap();
    assert!((1..=most).contains(&again), "{again} retries, {denied} denied");
    let counted = setting.metric("tidegate_retries_denied_total");
    assert!((counted - f64::from(denied)).abs() < 0.5, "{counted} of {denied}");
    let counted = setting.retries("broken");
    assert!((counted - f64::from(again)).abs() < 0.5, "{counted} of {again}");

    setting.regions[0].set_fault(Fault::Refuse);
    for turn in 0..20 {
        let reply = order(&setting, "POST", &format!("refused-{turn}")).send().unwrap();
        assert_eq!((reply.status, reply.header("x-region")), (200, Some("far")), "{turn}");
    }
}

#[test]
fn a_budget_of_nothing_allows_nothing() {
    let retries = "retries: { budget: 0%, budget_min: 0 }";
    let setting = Setting::of(&["near", "far"], &still(retries));
    setting.regions[0].set_fault(Fault::DieBeforeExecuting);
    for turn in 0..3 {
        let reply = order(&setting, "GET", &format!("turn-{turn}")).send().unwrap();
        is_problem(&reply, 502, "endpoint_broken");
    }
    assert_eq!(setting.regions[1].requests(), 0);
}

#[test]
fn an_old_request_is_not_tried_again() {
    let more = "timeouts: { first_byte: 600ms }\nretries: { deadline: 300ms, attempts: 5 }";
    let setting = Setting::of(&["near", "far"], &still(more));
    setting.regions[0].set_fault(Fault::HangRequests);
    is_problem(&order(&setting, "GET", "old").send().unwrap(), 504, "endpoint_timeout");
    assert_eq!(setting.effects("old"), (1, 0));
    assert_eq!(setting.line_of("old")["attempts"], 1);
}

#[test]
fn a_plain_answer_that_drips_is_cut_at_the_total_deadline() {
    for protocol in ["protocol: http1", "protocol: h2c"] {
        let mut policy = still("timeouts: { total: 2s }");
        protocol.clone_into(&mut policy.region);
        let setting = Setting::of(&["near", "far"], &policy);
        setting.regions[0].set_fault(Fault::Drip(Duration::from_millis(50)));
        let request = Request::get(&setting.url("/bytes/10000")).header("X-Request-Id", "drip");
        let began = Instant::now();
        let mut stream = request.stream().unwrap();
        assert_eq!((stream.head.status, stream.head.header("x-region")), (200, Some("near")));
        let mut got = Vec::new();
        let ended = loop {
            match stream.read_piece() {
                Ok(Some(piece)) => got.extend_from_slice(&piece),
                ended => break ended,
            }
        };
        let took = began.elapsed();
        assert!(ended.is_err(), "a cut answer must not look whole: {} bytes", got.len());
        assert!(pattern(10_000).starts_with(&got) && got.len() > 3, "{} bytes", got.len());
        assert!(Duration::from_millis(1990) <= took && took < Duration::from_secs(20), "{took:?}");
        let line = setting.line_of("drip");
        assert_eq!((&line["end"], &line["attempts"]), (&"timed_out".into(), &1.into()), "{line}");
    }
}

#[test]
fn a_body_that_is_no_longer_kept_is_not_sent_again() {
    let setting = Setting::of(&["near", "far"], &still(""));
    setting.regions[0].set_fault(Fault::DieAfterExecuting);
    for (length, status) in [(10_000, 200), (300_000, 502)] {
        let id = format!("read-{length}");
        let request = order(&setting, "GET", &id).body(pattern(length)).send().unwrap();
        assert_eq!(request.status, status, "{id}");
        if status == 200 {
            assert_eq!(request.json()["body_bytes"], length);
        }
    }
}

#[test]
fn an_endpoint_that_stops_reading_is_not_waited_for_without_end() {
    for protocol in ["protocol: http1", "protocol: h2c"] {
        let mut policy = still("timeouts: { first_byte: 700ms }");
        protocol.clone_into(&mut policy.region);
        let setting = Setting::of(&["near", "far"], &policy);
        setting.regions[0].set_fault(Fault::HangRequests);
        // More than all buffers on the way can take. Over HTTP/2 the answer can be read although
        // the body is not taken.
        let request = order(&setting, "POST", "stuck").body(pattern(32 << 20));
        let reply = H2::open(&setting.url("/")).unwrap().send(&request).unwrap();
        is_problem(&reply, 504, "endpoint_timeout");
        assert_eq!(setting.effects("stuck"), (1, 0));
        let line = setting.line_of("stuck");
        assert_eq!((&line["end"], &line["attempts"]), (&"timed_out".into(), &1.into()), "{line}");
    }
}
