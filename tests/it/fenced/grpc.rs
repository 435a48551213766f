//! gRPC on a fenced route: a call is delivered once, and its duplicates are answered as gRPC.
#![expect(clippy::indexing_slicing, reason = "a broken test should panic")]

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::{free_address, json_line, python, wait_until};

use super::fenced;
use crate::setting::{SOON, Setting};

/// Makes calls, each a method, a key and a message, one after the other.
fn called(setting: &Setting, calls: &Value) -> Vec<Value> {
    let printed = python("grpcio_fenced.py", &[&setting.url(""), &calls.to_string()]);
    json_line(&printed).as_array().unwrap().clone()
}

/// Makes the same call twice, and compares the codes.
fn twice(setting: &Setting, call: &Value, codes: [&str; 2]) -> [Value; 2] {
    let seen = called(setting, &json!([call, call]));
    assert_eq!([&seen[0]["code"], &seen[1]["code"]], codes, "{call} {seen:?}");
    seen.try_into().unwrap()
}

#[test]
fn a_call_is_delivered_once_and_its_answer_is_shown_again() {
    let setting = Setting::of(&["near"], &fenced("api"));
    let [first, again] = twice(&setting, &json!(["Unary", "once", "ten"]), ["OK", "OK"]);
    assert_eq!((&first["answer"], &again["answer"]), (&json!("ten"), &json!("ten")));
    assert!(first["head"]["idempotent-replayed"].is_null(), "{first}");
    assert_eq!(again["head"]["idempotent-replayed"], "true");
    assert_eq!(again["head"]["x-region"], "near");
    assert_eq!(first["end"]["x-echo-trailer"], "present", "trailers get through");
    let other = &called(&setting, &json!([["Unary", "once", "eleven"]]))[0];
    assert_eq!(other["code"], "INVALID_ARGUMENT");
    assert_eq!(other["details"], "the key was used for another request");
    assert_eq!(setting.effects("once"), (1, 1));
    // Without a key there is nothing to fence.
    twice(&setting, &json!(["Unary", "", "free"]), ["OK", "OK"]);
}

#[test]
fn the_code_of_a_call_decides_what_is_remembered() {
    let setting = Setting::of(&["near"], &fenced("api"));
    let check = |message: &str, codes, executed| {
        let key = format!("code-{message}");
        let seen = twice(&setting, &json!(["Code", key, message]), codes);
        assert_eq!(setting.effects(&key).1, executed, "{key}");
        seen
    };
    let [first, again] = check("5", ["NOT_FOUND", "NOT_FOUND"], 1);
    assert_eq!(first["details"], again["details"], "its words are shown again");
    assert_eq!(again["details"], "the code that was asked for");
    check("13", ["INTERNAL", "INTERNAL"], 1);
    for (code, word) in [("10", "ABORTED"), ("7", "PERMISSION_DENIED"), ("8", "RESOURCE_EXHAUSTED")]
    {
        check(code, [word, word], 2);
    }
    for (code, word) in [("14", "UNAVAILABLE"), ("4", "DEADLINE_EXCEEDED"), ("1", "CANCELLED")] {
        let [_, again] = check(code, [word, "FAILED_PRECONDITION"], 1);
        let told = again["details"].as_str().unwrap();
        assert!(told.contains("may have been executed, and nobody knows"), "{told}");
    }
    // A call that fails in its head has no end besides.
    let at_once = json!(["FailAtOnce", "at-once", "x"]);
    let [first, again] = twice(&setting, &at_once, ["FAILED_PRECONDITION", "FAILED_PRECONDITION"]);
    assert_eq!([&first["details"], &again["details"]], ["refused at once", "refused at once"]);
    assert_eq!(setting.effects("at-once"), (1, 1));
}

#[test]
fn a_call_whose_answer_cannot_be_shown_was_executed() {
    let setting = Setting::of(&["near"], &fenced("{ preset: api, keep: 1KiB }"));
    let long = json!(["Unary", "long", "x".repeat(2000)]);
    twice(&setting, &long, ["OK", "ALREADY_EXISTS"]);
    assert_eq!(setting.effects("long"), (1, 1));
}

#[test]
fn a_duplicate_of_a_call_under_way_may_try_again() {
    let setting = Setting::of(&["near"], &fenced("{ preset: api, coalesce_wait: 0s }"));
    setting.regions[0].set_latency(Duration::from_secs(3));
    let call = json!([["Unary", "slow", "ten"]]);
    thread::scope(|scope| {
        let first = scope.spawn(|| called(&setting, &call));
        wait_until(SOON, "the endpoint has it", || setting.regions[0].received_count("slow") == 1);
        let again = &called(&setting, &call)[0];
        assert_eq!(
            (&again["code"], &again["end"]["retry-after"]),
            (&json!("UNAVAILABLE"), &json!("5"))
        );
        assert_eq!(first.join().unwrap()[0]["code"], "OK");
    });
    assert_eq!(called(&setting, &call)[0]["head"]["idempotent-replayed"], "true");
    assert_eq!(setting.effects("slow"), (1, 1));
}

#[test]
fn a_call_that_is_not_delivered_says_why() {
    let wants_key = Setting::of(&["near"], &fenced("{ preset: api, required: true }"));
    let seen = &called(&wants_key, &json!([["Unary", "", "ten"]]))[0];
    assert_eq!(seen["code"], "INVALID_ARGUMENT");
    let mut policy = fenced("api");
    let nobody = format!("{{ redis: {{ nodes: [\"{}\"] }} }}", free_address());
    policy.more = policy.more.replace("{ embedded: { path: ./fence.db } }", &nobody);
    let setting = Setting::of(&["near"], &policy);
    let seen = &called(&setting, &json!([["Unary", "no-store", "ten"]]))[0];
    assert_eq!((&seen["code"], &seen["end"]["retry-after"]), (&json!("UNAVAILABLE"), &json!("1")));
    assert!(seen["details"].as_str().unwrap().starts_with("the write was not delivered"), "{seen}");
    assert_eq!(setting.effects("no-store"), (0, 0));
}

#[test]
fn a_call_whose_endpoint_dies_is_in_doubt() {
    let setting = Setting::of(&["near"], &fenced("api"));
    setting.regions[0].set_fault(tidegate_harness::Fault::DieAfterExecuting);
    let died = &called(&setting, &json!([["Unary", "died", "ten"]]))[0];
    assert_eq!(died["code"], "UNAVAILABLE", "{died}");
    setting.regions[0].clear_fault();
    let again = &called(&setting, &json!([["Unary", "died", "ten"]]))[0];
    assert_eq!(again["code"], "FAILED_PRECONDITION", "{again}");
    assert_eq!(setting.effects("died"), (1, 1));
}
