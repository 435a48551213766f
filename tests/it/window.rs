//! The failover window, as an operator meets it.

use serde_json::{Value, json};
use tidegate_harness::Request;

use crate::setting::{PolicyText, Said, Setting, tidegate};

fn operate(setting: &Setting, arguments: &[&str]) -> Said {
    let socket = setting.socket();
    tidegate(&[arguments, &["--admin", &socket]].concat())
}

#[test]
fn without_a_fence_there_is_no_window_to_open_but_one_may_look() {
    let setting = Setting::of(&["near"], &PolicyText::default());
    let said = operate(&setting, &["window", "status"]);
    let nothing = "the policy has no fence, so there is no failover window";
    assert_eq!((said.code, said.out.trim()), (Some(0), nothing), "{said:?}");
    let said = operate(&setting, &["window", "status", "-o", "json"]);
    let told: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(told, json!({ "fence": false, "open": false }));
    assert_eq!(setting.state()["window"], told);
    let said = operate(&setting, &["window", "open", "--reason", "a move"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("the policy has no fence"), "{said:?}");
}

#[test]
fn the_window_is_not_opened_without_a_reason_or_by_who_may_only_look() {
    let setting = Setting::of(&["near"], &PolicyText::default());
    assert_eq!(tidegate(&["window", "open"]).code, Some(2));
    assert_eq!(tidegate(&["window", "close"]).code, Some(2));
    for reason in ["", " ", "two\nlines", &"long".repeat(100)] {
        let said = operate(&setting, &["window", "open", "--reason", reason]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains("reason"), "{said:?}");
    }
    let url = setting.balancer.admin_url("/v1/window/open");
    let reply = Request::post(&url, r#"{"reason":"a move"}"#).send().expect("an answer");
    assert_eq!((reply.status, reply.json()["code"].as_str()), (403, Some("read_only")));
}
