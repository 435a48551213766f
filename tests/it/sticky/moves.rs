//! Regions that come and go under a session, and the time that it lasts.

use tidegate_harness::{Fault, wait_until};

use super::{HEADER, sticky, token_of};
use crate::setting::{SOON, Setting, in_short};

#[test]
fn a_drained_region_loses_its_sessions_and_others_keep_theirs() {
    let setting = Setting::three(&sticky("session", "on_drain: move"));
    let [near, far] = ["near", "far"].map(|it| setting.session_in(it));
    setting.until_drained("far", true);
    let moved = setting.get("/", &[(HEADER, &far)]);
    assert_eq!(in_short(&moved), "near nearest; session=moved");
    let new = token_of(&moved).expect("a token");
    assert!(new.contains(".near."), "{new}");
    assert_eq!(setting.back(&near), "near session");
    setting.until_drained("far", false);
    assert_eq!(setting.back(&new), "near session", "who has moved does not move again");
    assert_eq!(setting.back(&far), "far session", "the old token is still good");
    assert!((setting.sessions("moved"), setting.sessions("honoured")) == (1.0, 3.0));
}

#[test]
fn a_drained_region_keeps_its_sessions_where_the_policy_says_so() {
    let setting = Setting::three(&sticky("session", "on_drain: stay"));
    let near = setting.session_in("near");
    setting.until_drained("near", true);
    assert_eq!(setting.back(&near), "near session");
    assert_eq!(setting.comes_to("/", &[]), "middle nearest");
    assert_eq!(
        setting.comes_to("/", &[("X-Region-Pin", "near")]),
        "middle nearest; pin=unavailable"
    );
    setting.regions[0].set_key("index_hash", "other");
    setting.until_verdict("near", "mismatched");
    assert_eq!(setting.back(&near), "middle nearest; session=moved");
}

#[test]
fn a_session_survives_the_loss_of_its_region_elsewhere() {
    let setting = Setting::three(&sticky("session", ""));
    let near = setting.session_in("near");
    setting.regions[0].set_fault(Fault::Refuse);
    setting.until_verdict("near", "dark");
    let moved = setting.get("/", &[(HEADER, &near)]);
    assert_eq!(in_short(&moved), "middle nearest; session=moved");
    let middle = token_of(&moved).expect("a token");
    setting.regions[0].clear_fault();
    setting.until_serving("near");
    assert_eq!(setting.comes_to("/", &[]), "near nearest");
    assert_eq!(setting.back(&middle), "middle session", "although a nearer one is back");
    assert_eq!(setting.back(&near), "near session");
}

#[test]
fn a_request_that_must_leave_its_region_says_so_and_takes_its_session_along() {
    let policy = sticky("session", "");
    let still = crate::traffic::still("");
    let policy = crate::setting::PolicyText {
        probe: still.probe,
        more: format!("{}\nejection: off", policy.more),
        ..policy
    };
    let setting = Setting::three(&policy);
    let far = setting.session_in("far");
    setting.regions[2].stop();
    let moved = setting.get("/", &[(HEADER, &far), ("X-Request-Id", "left")]);
    assert_eq!(in_short(&moved), "near nearest; session=moved");
    assert!(token_of(&moved).expect("a token").contains(".near."));
    assert_eq!(setting.line_of("left")["session"], "moved");
}

#[test]
fn a_session_slides_without_a_cookie_on_each_answer() {
    let setting = Setting::three(&sticky("session", "ttl: 6s"));
    let far = setting.session_in("far");
    let again = || setting.get("/", &[(HEADER, &far)]);
    assert_eq!(token_of(&again()), None);
    let mut renewed = None;
    wait_until(SOON, "the token is due", || {
        let reply = again();
        assert_eq!(in_short(&reply), "far session", "it is replaced while it is still good");
        renewed = token_of(&reply);
        renewed.is_some()
    });
    let renewed = renewed.unwrap();
    assert_eq!(token_of(&setting.get("/", &[(HEADER, &renewed)])), None);
    wait_until(SOON, "the old token ends", || setting.back(&far) == "near nearest");
    assert!(setting.sessions("expired") > 0.0);
    assert_eq!(setting.back(&renewed), "far session", "it was given three seconds more at least");
}
