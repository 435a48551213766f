//! Successors that would reach fewer regions than the process that serves.

use tidegate_harness::free_address;

use crate::setting::{PolicyText, Setting};

/// Changes the policy file, which nobody watches.
fn edit(setting: &Setting, from: &str, to: &str) {
    let path = setting.balancer.policy_path();
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in\n{text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn a_successor_that_reaches_fewer_regions_serves_only_when_told_to() {
    let setting = Setting::of(&["near", "far"], &PolicyText::default());
    let first = setting.balancer.pid();
    let far = setting.regions[1].address().to_string();
    edit(&setting, &far, &free_address().to_string());
    let said = setting.upgrade(&["--within", "2s"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("it waits for far, which the process before reaches"), "{said:?}");
    assert!(said.err.contains("the running process goes on"), "{said:?}");
    assert_eq!(setting.balancer.serving_pid(), first);
    assert_eq!(setting.verdict("far"), "green");
    let said = setting.upgrade(&["--force"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_ne!(setting.balancer.serving_pid(), first);
}

#[test]
fn a_successor_that_reaches_nobody_does_not_serve() {
    let setting = Setting::of(&["near"], &PolicyText::default());
    let first = setting.balancer.pid();
    let near = setting.regions[0].address().to_string();
    edit(&setting, &near, &free_address().to_string());
    // The same region by another name: none of those that the process before reaches is left.
    edit(&setting, "near:", "other:");
    let said = setting.upgrade(&["--within", "2s"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("it waits for any region"), "{said:?}");
    assert_eq!(setting.balancer.serving_pid(), first);
    assert_eq!(setting.get("/", &[]).status, 200);
}

#[test]
fn a_region_that_the_policy_lost_or_nobody_reaches_is_not_waited_for() {
    let setting = Setting::of(&["near", "middle", "far"], &PolicyText::default());
    setting.regions[1].set_key("index_hash", "other");
    setting.until_verdict("middle", "mismatched");
    let far = setting.regions[2].address().to_string();
    edit(&setting, &format!("  far: {{ distance: 160, endpoints: [\"{far}\"] }}\n"), "");
    setting.upgraded();
    assert_eq!(setting.state()["regions"].as_array().unwrap().len(), 2);
}
