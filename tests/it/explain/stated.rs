//! Worlds that somebody wrote by hand, and policies without any.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidegate_harness::TempDir;

use super::{Asked, promised};
use crate::setting::tidegate;

fn quickstart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/quickstart.yaml")
}

/// What a request comes to in a world that states these regions.
fn in_world(regions: &Value, asked: &Asked) -> Value {
    let directory = TempDir::new();
    let state = directory.write("state.json", &json!({ "regions": regions }).to_string());
    asked.told_offline(&quickstart(), Some(&state))
}

/// The cause for which a region is passed over.
fn cause(explained: &Value, region: &str) -> String {
    let passed = explained["passed"].as_array().cloned().unwrap_or_default();
    let of_region = passed.iter().find(|it| it["region"] == region);
    of_region.and_then(|it| it["cause"].as_str()).unwrap_or("-").to_owned()
}

fn search(headers: &[(&'static str, &'static str)]) -> Asked {
    Asked::get("/v1/search", headers)
}

#[test]
fn without_a_world_everything_is_green() {
    let explain = |asked: &Asked| asked.told_offline(&quickstart(), None);
    let plain = explain(&search(&[]));
    assert_eq!(promised(&plain), "us-east-1 nearest");
    assert_eq!(plain["route"], "search");
    assert_eq!(plain["endpoints"], json!(["127.0.0.1:7101"]));
    assert_eq!(cause(&plain, "eu-west-1"), "farther");
    assert_eq!(promised(&explain(&search(&[("X-Region-Pin", "eu-west-1")]))), "eu-west-1 pin");
    assert_eq!(promised(&explain(&search(&[("X-Index-Hash", "a1b2c3")]))), "us-east-1 nearest");
    assert_eq!(promised(&explain(&search(&[("X-Index-Hash", "b")]))), "409 contract_unmet");
    let write = explain(&Asked { method: "post", ..Asked::get("/v1/orders", &[]) });
    assert_eq!((&write["intent"], &write["route"]), (&json!("write"), &json!("everything-else")));
    let chat = explain(&Asked { method: "POST", ..Asked::get("/v1/chat/7", &[]) });
    assert_eq!((&chat["intent"], &chat["route"]), (&json!("read"), &json!("chat")));
}

#[test]
fn each_verdict_can_be_stated() {
    for verdict in ["unknown", "dark", "mismatched", "mixed", "degraded"] {
        let world = json!([{ "name": "us-east-1", "verdict": verdict }]);
        let explained = in_world(&world, &search(&[]));
        assert_eq!(promised(&explained), "eu-west-1 nearest", "{verdict}");
        assert_eq!(cause(&explained, "us-east-1"), verdict);
    }
    let world = json!([{ "name": "us-east-1", "verdict": "green" }]);
    assert_eq!(promised(&in_world(&world, &search(&[]))), "us-east-1 nearest");
}

#[test]
fn each_reason_to_hold_back_can_be_stated() {
    for held in ["recovering", "waiting_for_operator", "frozen", "ejected"] {
        let world = json!([{ "name": "us-east-1", "held": held }]);
        let explained = in_world(&world, &search(&[]));
        assert_eq!(promised(&explained), "eu-west-1 nearest", "{held}");
        assert_eq!(cause(&explained, "us-east-1"), held);
        let others = ["eu-west-1", "ap-southeast-1"];
        let mut world = vec![json!({ "name": "us-east-1", "held": held })];
        world.extend(others.map(|it| json!({ "name": it, "verdict": "dark" })));
        let explained = in_world(&json!(world), &search(&[]));
        assert_eq!(promised(&explained), "us-east-1 last_resort", "{held}");
    }
}

#[test]
fn drained_and_full_regions_can_be_stated() {
    let world = json!([{ "name": "us-east-1", "drained": true }]);
    let explained = in_world(&world, &search(&[]));
    assert_eq!(promised(&explained), "eu-west-1 nearest");
    assert_eq!(cause(&explained, "us-east-1"), "drained");
    let world = json!([{ "name": "us-east-1", "full": true }]);
    let explained = in_world(&world, &search(&[]));
    assert_eq!(promised(&explained), "eu-west-1 spill");
    assert_eq!(cause(&explained, "us-east-1"), "full");
    let all = ["us-east-1", "eu-west-1", "ap-southeast-1"];
    let world = all.map(|it| json!({ "name": it, "full": true }));
    assert_eq!(promised(&in_world(&json!(world), &search(&[]))), "503 capacity_exhausted");
    let world = all.map(|it| json!({ "name": it, "verdict": "dark" }));
    let explained = in_world(&json!(world), &search(&[]));
    assert_eq!(promised(&explained), "503 no_region_available");
    // Only the verdict is stated, so what they ran when they were last seen is as the policy wants.
    let demanded = in_world(&json!(world), &search(&[("X-Index-Hash", "a1b2c3")]));
    assert_eq!(promised(&demanded), "503 contract_unavailable");
}

#[test]
fn what_an_endpoint_reports_can_be_stated() {
    let report = |index: Value| json!({ "schema_rev": "sc-12", "model_tag": "gpt-4o-2025-07-15", "index_hash": index });
    let of_endpoint = |endpoint: Value| json!([{ "name": "us-east-1", "endpoints": [endpoint] }]);
    let address = "127.0.0.1:7101";
    let world = of_endpoint(json!({ "address": address, "report": report(json!("blue")) }));
    let explained = in_world(&world, &search(&[]));
    assert_eq!(promised(&explained), "eu-west-1 nearest");
    assert_eq!(cause(&explained, "us-east-1"), "mismatched");
    let detail = "127.0.0.1:7101: index_hash is blue, expected a1b2c3";
    assert_eq!(explained["passed"][0]["detail"], json!([detail]));
    let demanded = in_world(&world, &search(&[("X-Index-Hash", "blue")]));
    assert_eq!(promised(&demanded), "us-east-1 nearest");
    let world = of_endpoint(json!({ "address": address, "release_id": "r9" }));
    assert_eq!(promised(&in_world(&world, &search(&[("X-Release", "r9")]))), "us-east-1 nearest");
    let world = of_endpoint(json!({ "address": address, "report": report(json!(["a1b2c3"])) }));
    assert_eq!(cause(&in_world(&world, &search(&[])), "us-east-1"), "mismatched");
}

/// What is said about a state that cannot be used.
fn complaint(state: &str) -> String {
    let directory = TempDir::new();
    let state = directory.write("state.json", state);
    let (policy, state) = (quickstart().display().to_string(), state.display().to_string());
    let said = tidegate(&["explain", "GET", "/", "--policy", &policy, "--state", &state]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.err.contains(&state), "it names the file: {said:?}");
    said.err
}

#[test]
fn a_world_that_makes_no_sense_is_refused_with_the_reason() {
    let region = |members: &str| format!("{{\"regions\":[{{\"name\":\"us-east-1\",{members}}}]}}");
    let cases = [
        (String::new(), "EOF while parsing"),
        ("{\"regions\":[}".to_owned(), "line 1 column"),
        ("{\"region\":[]}".to_owned(), "unknown field `region`"),
        ("{\"regions\":[{\"name\":\"mars\"}]}".to_owned(), "the policy has no region `mars`"),
        (region("\"verdict\":\"red\""), "`red` is no verdict: unknown, green"),
        (region("\"held\":\"maybe\""), "`maybe` holds no region: recovering"),
        (region("\"endpoints\":[{\"address\":\"here\"}]"), "invalid socket address"),
        (region("\"drained\":\"yes\""), "invalid type: string"),
        (region("\"verdicts\":\"red\""), "unknown field `verdicts`"),
    ];
    for (state, expected) in cases {
        let said = complaint(&state);
        assert!(said.contains(expected), "{state}: {said}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let policy = quickstart().display().to_string();
    let said = tidegate(&["explain", "GET", "/", "--policy", &policy, "--state", "/nowhere.json"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("/nowhere.json"), "{said:?}");
    let said = tidegate(&["explain", "GET", "/", "--policy", "/nowhere.yaml"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("/nowhere.yaml"), "{said:?}");
    let said = tidegate(&["explain", "GET", "/", "--state", "/nowhere.json"]);
    assert_eq!(said.code, Some(2), "a world without a policy means nothing: {said:?}");
    let said = tidegate(&["explain", "GET", "/", "--admin", "127.0.0.1:1"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("127.0.0.1:1"), "{said:?}");
}
