//! What an operator can do to a region, and from where.

use tidegate_harness::{Fault, Load, LoadPlan, Request, wait_until};

use crate::setting::{PolicyText, SOON, Said, Setting, tidegate};

/// A verb about a region, at the socket.
fn operate(setting: &Setting, verb: &str, region: &str) -> Said {
    tidegate(&[verb, region, "--admin", &setting.socket()])
}

#[test]
fn a_drained_region_gets_no_new_request_and_keeps_its_streams() {
    let setting = Setting::three(&PolicyText::default());
    let request = Request::get(&setting.url("/sse?events=3&gap_ms=300"));
    let mut stream = request.stream().expect("a stream");
    assert_eq!(stream.head.header("x-region"), Some("near"));
    let load = Load::start(LoadPlan::get(&setting.url("/")));
    let said = operate(&setting, "drain", "near");
    assert_eq!((said.code, said.out.trim()), (Some(0), "near: drain done"), "{said:?}");
    // The answer comes when it is done, so the next request knows.
    assert_eq!(setting.comes_to("/", &[]), "middle nearest");
    assert_eq!(
        setting.comes_to("/", &[("X-Region-Pin", "near")]),
        "middle nearest; pin=unavailable"
    );
    assert_eq!(setting.comes_to("/", &[("X-Region-Pin", "near; strict")]), "503 pin_unavailable");
    assert_eq!(setting.comes_to("/", &[("X-Index-Hash", "a1b2c3")]), "middle nearest");
    assert_eq!(setting.region("near")["drained"], true);
    assert_eq!(setting.verdict("near"), "green", "its verdict has nothing to do with it");
    let mut events = 0;
    while stream.read_event().expect("the stream goes on").is_some() {
        events += 1;
    }
    assert_eq!(events, 3);
    let said = operate(&setting, "undrain", "near");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(setting.comes_to("/", &[]), "near nearest", "a drain is no loss");
    let report = load.stop();
    assert_eq!(report.by_status().into_keys().collect::<Vec<_>>(), [200], "{:?}", report.failures);
}

#[test]
fn the_last_region_can_be_drained_too_and_that_is_said() {
    let setting = Setting::of(&["near"], &PolicyText::default());
    assert_eq!(operate(&setting, "drain", "near").code, Some(0));
    assert_eq!(setting.comes_to("/", &[]), "503 no_region_available");
    let said = tidegate(&["explain", "get", "/", "--admin", &setting.admin()]);
    assert!(said.out.contains("near: drained"), "{said:?}");
}

#[test]
fn manual_failback_waits_for_the_operator() {
    let policy = PolicyText {
        more: "failback: { manual: true, hysteresis: 1ms }".to_owned(),
        ..PolicyText::default()
    };
    let setting = Setting::three(&policy);
    assert_eq!(setting.comes_to("/", &[]), "near nearest", "the first green is no failback");
    setting.regions[0].set_fault(Fault::Refuse);
    setting.until_verdict("near", "dark");
    setting.regions[0].clear_fault();
    setting.until_verdict("near", "green");
    assert_eq!(setting.region("near")["held"], "waiting_for_operator");
    assert_eq!(setting.comes_to("/", &[]), "middle nearest");
    let said = operate(&setting, "failback", "near");
    assert_eq!((said.code, said.out.trim()), (Some(0), "near: failback done"), "{said:?}");
    assert_eq!(setting.comes_to("/", &[]), "near nearest");
    assert!(setting.region("near")["held"].is_null());
}

#[test]
fn an_operator_who_errs_is_told_and_changes_nothing() {
    let setting = Setting::of(&["near", "middle"], &PolicyText::default());
    let said = operate(&setting, "drain", "nowhere");
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("the policy has no region `nowhere`"), "{said:?}");
    let said = tidegate(&["drain", "near", "--admin", "/nowhere/admin.sock"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("/nowhere/admin.sock"), "{said:?}");
    assert_eq!(tidegate(&["drain", "--admin", &setting.socket()]).code, Some(2));
    let said = tidegate(&["drain", "near", "--output", "json", "--admin", &setting.socket()]);
    let json: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(json, serde_json::json!({ "ok": true, "region": "near", "verb": "drain" }));
}

#[test]
fn the_tcp_address_may_only_look() {
    let setting = Setting::of(&["near", "middle"], &PolicyText::default());
    for verb in ["drain", "undrain", "failback"] {
        let url = setting.balancer.admin_url(&format!("/v1/regions/near/{verb}"));
        let reply = Request::post(&url, "").send().expect("an answer");
        assert_eq!(reply.status, 403, "{verb}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        assert_eq!(reply.json()["code"], "read_only");
    }
    let said = tidegate(&["drain", "near", "--admin", &setting.admin()]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("403") && said.err.contains("admin socket"), "{said:?}");
    assert_eq!(setting.region("near")["drained"], false);
    let reply = Request::get(&setting.balancer.admin_url("/nothing")).send().expect("an answer");
    assert_eq!((reply.status, reply.json()["code"].as_str()), (404, Some("no_such_page")));
}

#[test]
fn only_its_owner_may_use_the_socket_and_a_restart_takes_it_over() {
    use std::os::unix::fs::PermissionsExt as _;
    let setting = Setting::of(&["near"], &PolicyText::default());
    let metadata = std::fs::metadata(setting.socket()).expect("the socket");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    // Killed, so nobody tidies up.
    setting.balancer.kill();
    let policy = setting.balancer.policy_path().display().to_string();
    let mut child = std::process::Command::new(crate::setting::TIDEGATE)
        .args(["run", "--policy", &policy])
        .current_dir(setting.balancer.directory())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    wait_until(SOON, "the socket answers", || {
        tidegate(&["drain", "near", "--admin", &setting.socket()]).code == Some(0)
    });
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}
