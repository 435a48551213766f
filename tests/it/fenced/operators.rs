//! What operators see of the fence, and what they may do: look at a doubt, and end it.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a broken test should panic")]

use serde_json::Value;
use tidegate_harness::{Fault, Redis, RedisPlan, wait_until};

use super::{fenced, order};
use crate::setting::{PolicyText, SOON, Setting, in_short, tidegate};
use crate::traffic::is_problem;

/// A verb of the fence, at the address that may change things.
fn fence(setting: &Setting, arguments: &[&str]) -> (Option<i32>, Value) {
    let socket = setting.socket();
    let said =
        tidegate(&[&["fence"], arguments, &["--admin", &socket, "--output", "json"]].concat());
    let text = if said.code == Some(0) || said.err.is_empty() { said.out } else { said.err };
    (said.code, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// The same for people.
fn told(setting: &Setting, arguments: &[&str]) -> String {
    let said = tidegate(&[&["fence"], arguments, &["--admin", &setting.socket()]].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
    said.out
}

/// A write whose endpoint has died; answers its key.
fn doubt(setting: &Setting, name: &str, death: Fault) -> String {
    setting.regions[0].set_fault(death);
    is_problem(&order(setting, "POST", name).send().unwrap(), 502, "endpoint_broken");
    setting.regions[0].clear_fault();
    let (_, listed) = fence(setting, &["ls"]);
    let keys = listed["keys"].as_array().expect("keys");
    assert_eq!(keys.len(), 1, "{listed}");
    assert_eq!((&keys[0]["state"], &keys[0]["doubt"]), (&"in_doubt".into(), &"no_answer".into()));
    keys[0]["key"].as_str().expect("a key").to_owned()
}

#[test]
fn a_doubt_is_listed_shown_and_ended_by_whoever_knows() {
    let setting = Setting::of(&["near"], &fenced("api"));
    let key = doubt(&setting, "known", Fault::DieAfterExecuting);
    assert!(told(&setting, &["ls"]).contains(&key));
    assert!(told(&setting, &["show", &key]).contains("in doubt: no answer"));
    assert!(!told(&setting, &["ls", "--older", "5m"]).contains(&key));
    let resolve = |how| ["resolve", &key, how, "--reason", "seen in the ledger"];

    // Something of it may still be on its way, so nobody can know that it was not executed.
    let (code, early) = fence(&setting, &resolve("--not-executed"));
    assert_eq!((code, early["code"].as_str()), (Some(1), Some("too_early")), "{early}");
    let until = early["until"].as_str().expect("a time");
    assert!(early["title"].as_str().expect("a title").contains(until), "{early}");
    is_problem(&order(&setting, "POST", "known").send().unwrap(), 409, "fence_outcome_unknown");

    let (code, done) = fence(&setting, &[&resolve("--executed")[..], &["--by", "eve"]].concat());
    assert_eq!((code, done["executed"].as_bool()), (Some(0), Some(true)), "{done}");
    is_problem(&order(&setting, "POST", "known").send().unwrap(), 409, "fence_already_executed");
    let (_, audit) = fence(&setting, &["audit"]);
    let line = &audit["audit"][0];
    assert_eq!((line["who"].as_str(), line["executed"].as_bool()), (Some("eve"), Some(true)));
    assert_eq!(
        (line["key"].as_str(), line["reason"].as_str()),
        (Some(&*key), Some("seen in the ledger"))
    );
    assert!(told(&setting, &["audit"]).contains("executed, says eve: seen in the ledger"));

    let (code, again) = fence(&setting, &resolve("--executed"));
    assert_eq!((code, again["code"].as_str()), (Some(1), Some("not_in_doubt")), "{again}");
    assert_eq!(setting.effects("known"), (1, 1));
}

#[test]
fn a_write_that_was_not_executed_may_be_sent_again_once_that_is_safe() {
    let mut policy = fenced("api");
    policy.more = policy.more.replace("failover_window", "quarantine: 100ms, failover_window");
    policy.routes = policy.routes.replace("fence:", "timeouts: { total: 500ms }, fence:");
    let setting = Setting::of(&["near"], &policy);
    let key = doubt(&setting, "freed", Fault::DieBeforeExecuting);
    // A lease is the deadline of the exchange and 15 s.
    wait_until(SOON, "the write can be said to be not executed", || {
        let (code, _) = fence(&setting, &["resolve", &key, "--not-executed", "--reason", "lost"]);
        code == Some(0)
    });
    let (code, said) = fence(&setting, &["show", &key]);
    assert_eq!((code, said["code"].as_str()), (Some(1), Some("no_such_key")), "{said}");
    assert_eq!(order(&setting, "POST", "freed").send().unwrap().status, 200);
    assert_eq!(setting.effects("freed"), (2, 1));
}

#[test]
fn the_port_for_looking_ends_no_doubt() {
    let setting = Setting::of(&["near"], &fenced("api"));
    let key = doubt(&setting, "watched", Fault::DieAfterExecuting);
    let said = tidegate(&[
        "fence",
        "resolve",
        &key,
        "--executed",
        "--reason",
        "x",
        "--admin",
        &setting.admin(),
    ]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("may only look"), "{said:?}");
    let said = tidegate(&["fence", "show", &key, "--admin", &setting.admin()]);
    assert!(said.out.contains("in doubt"), "{said:?}");
}

#[test]
fn a_resolution_says_why_and_one_thing() {
    let key = "0".repeat(64);
    for arguments in [
        &["resolve", &key, "--executed"][..],
        &["resolve", &key, "--reason", "x"],
        &["resolve", &key, "--executed", "--not-executed", "--reason", "x"],
        &["ls", "--state", "completed"],
    ] {
        assert_eq!(tidegate(&[&["fence"], arguments].concat()).code, Some(2), "{arguments:?}");
    }
    let setting = Setting::of(&["near"], &fenced("api"));
    let (code, said) = fence(&setting, &["show", &key]);
    assert_eq!(code, Some(1), "{said}");
    let (code, said) = fence(&setting, &["show", "../../v1/state"]);
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn a_request_is_explained_by_the_key_that_it_will_have() {
    let policy = fenced("{ preset: api, tenant: X-Tenant }");
    let setting = Setting::of(&["near"], &policy);
    let file = setting.balancer.directory().join("body");
    std::fs::write(&file, "ten").unwrap();
    let file = file.display().to_string();
    let asked = [
        "explain",
        "POST",
        "/orders",
        "-H",
        "Idempotency-Key: one",
        "-H",
        "X-Tenant: acme",
        "-H",
        "Authorization: Bearer alice",
        "--body",
        &file,
    ];
    let (_, before) = fence(&setting, &asked);
    assert_eq!(
        (before["outcome"].as_str(), before["record"]["state"].as_str()),
        (Some("fenced"), Some("absent"))
    );
    assert_eq!(before["scope"]["tenant"], "acme");
    let first = order(&setting, "POST", "one").header("X-Tenant", "acme").send().unwrap();
    assert_eq!(first.json()["headers"]["x-fence-key"][0], before["key"]);
    let (_, after) = fence(&setting, &asked);
    assert_eq!(after["key"], before["key"]);
    let record = &after["record"];
    assert_eq!(
        (record["state"].as_str(), record["answer"]["status"].as_u64()),
        (Some("completed"), Some(200))
    );
    assert_eq!(record["fingerprint"], before["fingerprint"]);
    assert!(!after.to_string().contains("alice"), "{after}");
    let text = told(&setting, &asked);
    assert!(text.contains("tenant acme") && text.contains("state      completed"), "{text}");

    let path = setting.balancer.policy_path().display().to_string();
    let here =
        tidegate(&[&["fence"], &asked[..], &["--policy", &path, "--output", "json"]].concat());
    let here: Value = serde_json::from_str(&here.out).unwrap();
    assert_eq!((&here["key"], here.get("record")), (&before["key"], None));

    for (arguments, outcome) in [
        (&["explain", "GET", "/orders"][..], "it only reads"),
        (&["explain", "POST", "/orders"], "it has no key"),
        (&["explain", "POST", "/orders", "-H", "Idempotency-Key: a b"], "400 fence_bad_key"),
    ] {
        let text = told(&setting, arguments);
        assert!(text.contains(outcome), "{text}");
    }
}

#[test]
fn a_young_store_is_up_and_not_warm() {
    let setting = Setting::of(&["near"], &fenced("api"));
    let (code, warm) = fence(&setting, &["warm"]);
    assert_eq!((code, warm["warm"].as_bool()), (Some(1), Some(false)), "{warm}");
    let check = |name: &str| {
        let checks = warm["checks"].as_array().expect("checks");
        checks.iter().find(|it| it["check"] == name).map(|it| it["ok"].as_bool())
    };
    assert_eq!((check("answers"), check("history")), (Some(Some(true)), Some(Some(false))));
    let (code, status) = fence(&setting, &["status"]);
    assert_eq!((code, status["up"].as_bool()), (Some(0), Some(true)), "{status}");
    assert_eq!(status["store"]["kind"], "embedded");
    assert!(told(&setting, &["status"]).contains("0 in flight, 0 in doubt"));
}

#[test]
fn a_balancer_without_a_fence_says_so() {
    let setting = Setting::of(&["near"], &PolicyText::default());
    let (code, said) = fence(&setting, &["status"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.to_string().contains("there is no fence"), "{said}");
}

fn is(value: f64, wanted: u32) -> bool {
    (value - f64::from(wanted)).abs() < 0.5
}

#[test]
fn what_the_fence_does_is_counted_by_route_and_region() {
    let setting = Setting::of(&["near"], &fenced("api"));
    let request = order(&setting, "POST", "counted");
    for status in [200, 200, 200] {
        assert_eq!(request.send().unwrap().status, status);
    }
    let other = request.clone().body("eleven");
    is_problem(&other.send().unwrap(), 422, "fence_key_reused");
    doubt(&setting, "doubted", Fault::DieAfterExecuting);
    let of_route = |outcome: &str| {
        let labels = format!("{{route=\"orders\",outcome=\"{outcome}\"}}");
        setting.metric(&format!("tidegate_fence_requests_total{labels}"))
    };
    assert!(is(of_route("delivered"), 2) && is(of_route("replayed"), 2));
    assert!(is(of_route("key_reused"), 1));
    let text = setting.balancer.ask_admin("/metrics").expect("an answer").text();
    let of_region = |outcome: &str| {
        let lines = text.lines().filter(|it| it.starts_with("tidegate_fence_outcomes_total{"));
        let outcome = format!("route=\"orders\",outcome=\"{outcome}\"}} 1");
        lines.filter(|it| it.contains("region=\"near\"") && it.ends_with(&outcome)).count()
    };
    assert_eq!([of_region("completed"), of_region("doubted")], [1, 1], "{text}");
    assert!(is(setting.metric("tidegate_fence_store_up"), 1));
    assert!(is(setting.metric("tidegate_fence_in_doubt"), 1));
    assert!(setting.metric("tidegate_fence_oldest_open_seconds") >= 0.0);
    let claims = "tidegate_fence_store_seconds_count{operation=\"claim\"}";
    assert!(5.0 <= setting.metric(claims), "{text}");
}

/// A store that is empty may be one that has lost everything, so somebody has to say that it is new.
#[test]
fn a_new_redis_is_begun_by_an_operator() {
    let redis = Redis::start(&RedisPlan::durable());
    let mut policy = fenced("api");
    policy.more = policy.more.replace(
        "{ embedded: { path: ./fence.db } }",
        &format!("{{ redis: {{ nodes: [\"{}\"] }} }}", redis.address()),
    );
    let setting = Setting::of(&["near"], &policy);
    let request = order(&setting, "POST", "first");
    wait_until(SOON, "the store says that it is cold", || {
        in_short(&request.send().unwrap()) == "503 fence_store_cold"
    });
    let (code, warm) = fence(&setting, &["warm"]);
    assert_eq!((code, warm["warm"].as_bool()), (Some(1), Some(false)), "{warm}");
    let said = tidegate(&["fence", "init", "--admin", &setting.admin()]);
    assert!(said.code == Some(1) && said.err.contains("may only look"), "{said:?}");
    assert!(told(&setting, &["init"]).contains("remembers from now on"));
    wait_until(SOON, "the write is delivered", || request.send().unwrap().status == 200);
    assert_eq!(request.send().unwrap().header("idempotent-replayed"), Some("true"));
    assert_eq!(setting.effects("first"), (1, 1));
    assert!(told(&setting, &["init"]).contains("begun before"));
    let (_, status) = fence(&setting, &["status"]);
    assert_eq!(
        (status["store"]["kind"].as_str(), status["up"].as_bool()),
        (Some("redis"), Some(true))
    );
    wait_until(SOON, "the marker is found", || {
        is(setting.metric("tidegate_fence_warm{check=\"marker\"}"), 1)
    });
}
