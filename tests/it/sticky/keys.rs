//! Keys: one process alone, several with the same keys, and a rotation between them.

use tidegate_harness::{Balancer, Request, free_address, wait_until};

use super::{HEADER, sticky, token_of};
use crate::setting::{SOON, Setting, TIDEGATE, in_short, tidegate};

const A: &str = "{ id: a, secret: \"aaaaaaaa secret of some length aaaaaaaa\" }";
const B: &str = "{ id: b, secret: \"bbbbbbbb secret of some length bbbbbbbb\" }";

/// Further balancers in front of the regions of a setting.
struct Beside {
    url: String,
    balancer: Balancer,
}

impl Beside {
    fn start(setting: &Setting, rules: &str) -> Self {
        let door = free_address();
        let policy = sticky("session", rules).text(door, &setting.regions);
        let balancer = Balancer::start(TIDEGATE, &policy);
        let beside = Self { url: format!("http://{door}/"), balancer };
        wait_until(SOON, "everything is green", || {
            let state = beside.balancer.ask_admin("/v1/state").unwrap().json();
            let regions = state["regions"].as_array().cloned().unwrap_or_default();
            regions.iter().all(|it| it["verdict"] == "green")
        });
        beside
    }

    fn comes_to(&self, token: &str) -> String {
        in_short(&Request::get(&self.url).header(HEADER, token).send().unwrap())
    }

    fn session_in(&self, region: &str) -> String {
        let request = Request::get(&self.url).header("X-Region-Pin", region);
        token_of(&request.send().unwrap()).expect("a token")
    }
}

#[test]
fn keys_are_rotated_between_processes_without_losing_a_session() {
    let setting = Setting::of(&["near", "far"], &sticky("session", &format!("keys: [ {A} ]")));
    let by_a = setting.session_in("far");
    assert!(by_a.starts_with("v1.a.far."), "{by_a}");
    // First everybody learns to verify with the new key, then it signs, then the old one goes.
    let learning = Beside::start(&setting, &format!("keys: [ {A}, {B} ]"));
    let signing = Beside::start(&setting, &format!("keys: [ {B}, {A} ]"));
    let new = Beside::start(&setting, &format!("keys: [ {B} ]"));
    assert_eq!(learning.comes_to(&by_a), "far session");
    assert_eq!(signing.comes_to(&by_a), "far session");
    assert!(learning.session_in("far").starts_with("v1.a."));
    let by_b = signing.session_in("far");
    assert!(by_b.starts_with("v1.b."), "{by_b}");
    assert_eq!(learning.comes_to(&by_b), "far session");
    assert_eq!(new.comes_to(&by_b), "far session");
    assert_eq!(new.comes_to(&by_a), "near nearest");
    assert_eq!(setting.back(&by_b), "near nearest");
    assert!((setting.sessions("unknown_key"), setting.sessions("forged")) == (1.0, 0.0));
    // What a key of another process with the same name has signed is a forgery.
    let foreign = Beside::start(&setting, &format!("keys: [ {} ]", B.replace("id: b", "id: a")));
    assert_eq!(setting.back(&foreign.session_in("far")), "near nearest");
    assert!((setting.sessions("unknown_key"), setting.sessions("forged")) == (1.0, 1.0));
}

#[test]
fn without_keys_each_process_knows_only_its_own_sessions() {
    let setting = Setting::of(&["near", "far"], &sticky("session", ""));
    let other = Beside::start(&setting, "");
    let (ours, theirs) = (setting.session_in("far"), other.session_in("far"));
    assert_eq!((&*setting.back(&ours), &*other.comes_to(&theirs)), ("far session", "far session"));
    assert_eq!(
        (&*setting.back(&theirs), &*other.comes_to(&ours)),
        ("near nearest", "near nearest")
    );
    assert!((setting.sessions("unknown_key"), setting.sessions("forged")) == (1.0, 0.0));
}

#[test]
fn a_session_in_a_region_that_has_left_the_policy_is_orphaned() {
    let rules = format!("keys: [ {A} ]");
    let mut setting = Setting::of(&["near", "far"], &sticky("session", &rules));
    let far = setting.session_in("far");
    setting.regions.truncate(1);
    let shrunk = Beside::start(&setting, &rules);
    assert_eq!(shrunk.comes_to(&far), "near nearest; session=orphaned");
    let metrics = shrunk.balancer.ask_admin("/metrics").unwrap().text();
    assert!(metrics.contains("tidegate_sessions_total{outcome=\"orphaned\"} 1\n"), "{metrics}");
}

#[test]
fn explain_knows_the_keys_of_a_policy_and_no_others() {
    let setting = Setting::of(&["near", "far"], &sticky("session", &format!("keys: [ {A} ]")));
    let header = format!("{HEADER}: {}", setting.session_in("far"));
    let explain = |policy: &str| {
        let said = tidegate(&["explain", "GET", "/", "--policy", policy, "-H", &header]);
        assert_eq!(said.code, Some(0), "{said:?}");
        said.out
    };
    let told = explain(&setting.balancer.policy_path().display().to_string());
    assert!(told.contains("goes to far (session)") && told.contains("far is honoured"), "{told}");
    let other = Beside::start(&setting, "");
    let told = explain(&other.balancer.policy_path().display().to_string());
    assert!(told.contains("goes to near") && told.contains("is unknown_key"), "{told}");
}

#[test]
fn no_secret_is_told_to_anybody() {
    let setting = Setting::of(&["near"], &sticky("session", &format!("keys: [ {A}, {B} ]")));
    let token = setting.session_in("near");
    assert_eq!(setting.back(&token), "near session");
    let told = ["/v1/state", "/metrics", "/version", "/livez"]
        .map(|path| setting.balancer.ask_admin(path).unwrap().text())
        .join("\n");
    let logs = setting.balancer.logs();
    for told in [told, logs] {
        assert!(!told.contains("secret of some length"), "{told}");
        assert!(!told.contains(&token), "tokens are not told either: {told}");
    }
}
