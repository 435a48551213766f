//! `tidegate drain --wait`, `drains` and `streams`, as an operator meets them.

use serde_json::{Value, json};
use tidegate_harness::{Request, wait_until, websocket};

use super::{echo, operate, policy};
use crate::setting::{SOON, Setting, tidegate};

#[test]
fn waiting_for_a_drain_shows_progress_and_ends_with_it() {
    let setting = &Setting::of(&["near", "far"], &policy(""));
    let mut socket = websocket(&setting.url("/ws"), &[]).unwrap();
    echo(&mut socket, "first");
    let said = std::thread::scope(|threads| {
        let waiting = threads.spawn(|| operate(setting, &["drain", "near", "--wait=60s"]));
        wait_until(SOON, "it is drained", || !setting.drains("near").is_empty());
        wait_until(SOON, "time passes", || {
            300 < setting.drain("near")["took_ms"].as_u64().unwrap()
        });
        assert!(!waiting.is_finished());
        socket.close(None).unwrap();
        while socket.read().is_ok() {}
        waiting.join().unwrap()
    });
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.starts_with("near: drained, after "), "{said:?}");
    assert!(said.out.contains(" 1 completed"), "{said:?}");
    assert!(said.err.contains("near: 1 open"), "{said:?}");
    let again = operate(setting, &["drain", "near", "--wait", "-o", "json"]);
    let told: Value = serde_json::from_str(&again.out).expect("JSON");
    assert_eq!((again.code, &told["ok"], &told["end"]), (Some(0), &json!(true), &json!("drained")));
    assert_eq!((&told["drain"]["open_at_start"], &told["verb"]), (&json!(1), &json!("drain")));
}

#[test]
fn a_drain_that_is_not_over_in_time_or_ends_badly_has_a_code_of_its_own() {
    let setting = &Setting::of(&["near", "far"], &policy(""));
    let mut events = Request::get(&setting.url("/sse?events=1&hold=1")).stream().unwrap();
    events.read_event().unwrap().unwrap();
    let said = operate(setting, &["drain", "near", "--wait=400ms"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.out.contains("near: not drained in time, 1 open"), "{said:?}");
    let said = std::thread::scope(|threads| {
        let waiting = threads.spawn(|| operate(setting, &["drain", "near", "--wait"]));
        setting.regions[0].stop();
        waiting.join().unwrap()
    });
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.out.contains("1 upstream_died"), "{said:?}");
}

#[test]
fn a_drain_that_is_taken_back_ends_the_wait() {
    let setting = &Setting::of(&["near", "far"], &policy(""));
    let mut socket = websocket(&setting.url("/ws"), &[]).unwrap();
    echo(&mut socket, "first");
    let said = std::thread::scope(|threads| {
        let waiting = threads.spawn(|| operate(setting, &["drain", "near", "--wait"]));
        wait_until(SOON, "it is drained", || !setting.drains("near").is_empty());
        assert_eq!(operate(setting, &["undrain", "near"]).code, Some(0));
        waiting.join().unwrap()
    });
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.out.contains("put back before it was empty"), "{said:?}");
}

#[test]
fn what_is_open_and_what_is_drained_can_be_read() {
    let setting = &Setting::of(&["near", "far"], &policy(""));
    let said = operate(setting, &["drains"]);
    assert_eq!((said.code, said.out.trim()), (Some(0), "nothing is being drained"), "{said:?}");
    let mut socket = websocket(&setting.url("/ws"), &[]).unwrap();
    echo(&mut socket, "first");
    assert_eq!(operate(setting, &["drain", "near"]).code, Some(0));
    let said = operate(setting, &["drains"]);
    assert_eq!(said.out.trim(), "near: draining (operator), 1 open", "{said:?}");
    let said = operate(setting, &["streams", "--region", "near", "--kind", "websocket"]);
    assert!(said.out.contains("websocket") && said.out.contains("near"), "{said:?}");
    assert!(said.out.contains("1 listed, 1 match, 1 open in all"), "{said:?}");
    let said = operate(setting, &["streams", "--region", "far", "-o", "json"]);
    let told: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!((&told["streams"], &told["open"]), (&json!([]), &json!(1)), "{told}");
    let said = operate(setting, &["streams", "--kind", "odd"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("`odd` is no kind"), "{said:?}");
    assert_eq!(tidegate(&["drain", "near", "not-an-address"]).code, Some(2));
    assert_eq!(tidegate(&["drain", "near", "--wait=soon"]).code, Some(2));
    let said = operate(setting, &["drain", "near", "127.0.0.1:1"]);
    assert!(said.err.contains("region `near` has no endpoint `127.0.0.1:1`"), "{said:?}");
    let path = format!("/v1/regions/near/endpoints/{}/drain", setting.regions[0].address());
    let reply = Request::post(&setting.balancer.admin_url(&path), "").send().expect("an answer");
    assert_eq!((reply.status, reply.json()["code"].as_str()), (403, Some("read_only")));
}
