//! A policy that has to be confirmed, and what happens when it is not.

use serde_json::json;
use tidegate_harness::wait_until;

use super::watched;
use crate::setting::{PolicyText, SOON, Setting};

/// Exchanges the names of the two regions' distances, so that `far` serves.
fn prefer_far(setting: &Setting) {
    setting.edit("distance: 0", "distance: 800");
}

#[test]
fn what_nobody_confirms_is_rolled_back() {
    let setting = Setting::of(&["near", "far"], &watched());
    prefer_far(&setting);
    // The file is watched, so the change may have come already; then it is turned back and forth.
    setting.until_generation(2);
    setting.edit("watch: 100ms", "watch: off");
    setting.until_generation(3);
    setting.edit("distance: 800", "distance: 0");
    let said = setting.reload(&["--confirm-within", "1s"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("unless `tidegate confirm` comes before"), "{said:?}");
    assert_eq!(setting.served_by(), "near");
    wait_until(SOON, "it is rolled back", || setting.in_force()["source"] == "rolled_back");
    assert_eq!(setting.served_by(), "far");
    assert_eq!(
        (setting.generation(), setting.reloads("rolled_back").to_string().as_str()),
        (5, "1")
    );
    let told = setting.logged("policy rolled back");
    assert!(told.len() == 1 && told[0].contains("trigger=\"deadline\""), "{told:?}");
    assert_eq!(
        setting.metric("tidegate_policy_last_load_ok").to_string(),
        "0",
        "the file says something else than what is in force"
    );
    let state = setting.state();
    assert_eq!(state["policy"]["confirm_until"], json!(null), "{state}");
}

#[test]
fn a_watched_file_does_not_bring_back_what_was_rolled_back() {
    let setting = Setting::of(&["near", "far"], &PolicyText::default());
    let text = setting.policy().replace("distance: 0", "distance: 800");
    setting.write(&text.replace("failback:", "watch: 100ms\nfailback:"));
    assert_eq!(setting.reload(&["--confirm-within", "10m"]).code, Some(0));
    assert_eq!(setting.served_by(), "far");
    assert_eq!(setting.settle("rollback").code, Some(0));
    assert_eq!(setting.served_by(), "near");
    // The policy that is in force again is not watched; one that is takes the file as it is.
    let text = setting.policy().replace("distance: 800", "distance: 9");
    setting.write(&text);
    assert_eq!(setting.reload(&["--confirm-within", "10m"]).code, Some(0));
    setting.write(&text.replace("distance: 9", "distance: 8"));
    assert_eq!(setting.settle("confirm").code, Some(0));
    wait_until(SOON, "what came meanwhile is loaded now", || {
        setting.logged("region near: distance 9 → 8").len() == 1
    });
}

#[test]
fn what_is_confirmed_stays() {
    let setting = Setting::of(&["near", "far"], &PolicyText::default());
    prefer_far(&setting);
    assert_eq!(setting.reload(&["--confirm-within", "1h"]).code, Some(0));
    let until = setting.metric("tidegate_policy_confirm_until_timestamp_seconds");
    let loaded = setting.metric("tidegate_policy_loaded_timestamp_seconds");
    assert!((3500.0..3700.0).contains(&(until - loaded)), "{until} {loaded}");
    assert!(setting.state()["policy"]["confirm_until"].is_string());
    let said = setting.settle("confirm");
    assert_eq!((said.code, said.out.as_str()), (Some(0), "confirmed: generation 2 is in force\n"));
    assert_eq!(setting.metric("tidegate_policy_confirm_until_timestamp_seconds").to_string(), "0");
    assert_eq!(setting.served_by(), "far");
    for verb in ["confirm", "rollback"] {
        let said = setting.settle(verb);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains("no policy waits for a confirmation"), "{said:?}");
    }
    assert_eq!(setting.reloads("confirmed").to_string(), "1");
}

#[test]
fn nothing_else_is_loaded_before_it_is_settled() {
    let setting = Setting::of(&["near", "far"], &PolicyText::default());
    prefer_far(&setting);
    assert_eq!(setting.reload(&["--confirm-within", "1h"]).code, Some(0));
    setting.edit("distance: 800", "distance: 801");
    let said = setting.reload(&[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("confirm it or roll it back first"), "{said:?}");
    setting.balancer.signal("HUP");
    wait_until(SOON, "the signal is refused too", || setting.reloads("confirmation_pending") > 1.0);
    assert_eq!(setting.generation(), 2);
    let said = setting.settle("rollback");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out.contains("rolled back: generation 3 is in force\n  region near: distance 800 → 0"),
        "{said:?}"
    );
    assert_eq!(setting.served_by(), "near");
    assert_eq!(setting.reload(&[]).code, Some(0));
    assert_eq!(setting.served_by(), "far");
}
