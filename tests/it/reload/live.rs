//! What a process reads at its start follows the policy all the same.

use crate::setting::{PolicyText, SOON, Setting};
use tidegate_harness::{Request, wait_until};

#[test]
fn routes_that_are_renamed_count_under_their_own_names() {
    let setting = Setting::of(&["near"], &PolicyText::default());
    let counted = |route: &str| {
        setting.metric(&format!("tidegate_route_requests_total{{route=\"{route}\"}}")).to_string()
    };
    (0..3).for_each(|_| drop(setting.get("/", &[])));
    assert_eq!(counted("all"), "3");
    setting.edit("{ name: all,", "{ name: some, match: { path: /some } }\n  - { name: rest,");
    assert_eq!(setting.reload(&[]).code, Some(0));
    (0..2).for_each(|_| drop(setting.get("/some", &[])));
    drop(setting.get("/", &[]));
    assert_eq!((counted("some").as_str(), counted("rest").as_str()), ("2", "1"));
    let scrape = setting.balancer.ask_admin("/metrics").expect("an answer").text();
    assert!(!scrape.contains("route=\"all\""), "what is gone has no series");
    setting.edit("distance: 0", "distance: 1");
    assert_eq!(setting.reload(&[]).code, Some(0));
    drop(setting.get("/some", &[]));
    assert_eq!(counted("some"), "3", "who stays goes on counting");
}

#[test]
fn the_access_log_can_be_turned_off_and_on() {
    let setting = Setting::of(&["near"], &PolicyText::default());
    let get = |id: &str| drop(setting.get("/", &[("X-Request-Id", id)]));
    let until_logged = |id: &str| {
        wait_until(SOON, id, || setting.balancer.access_lines().iter().any(|it| it["id"] == id));
    };
    get("first");
    until_logged("first");
    setting.edit("version: 1", "version: 1\naccess_log: false");
    assert_eq!(setting.reload(&[]).code, Some(0));
    get("second");
    setting.edit("access_log: false", "access_log: true");
    assert_eq!(setting.reload(&[]).code, Some(0));
    get("third");
    until_logged("third");
    let lines = setting.balancer.access_lines();
    assert!(lines.iter().all(|it| it["id"] != "second"), "{lines:?}");
}

#[test]
fn regions_that_are_gone_have_no_series_once_their_requests_have_ended() {
    let setting = Setting::of(&["near", "far"], &PolicyText::default());
    let far = [("X-Region-Pin", "far")];
    let url = setting.url("/sse?events=20&gap_ms=50");
    let request = Request::get(&url).header("X-Region-Pin", "far");
    let mut stream = request.stream().expect("a stream");
    assert_eq!(setting.comes_to("/", &far), "far pin");
    let text = setting.policy();
    let without: Vec<&str> = text.lines().filter(|it| !it.starts_with("  far:")).collect();
    setting.write(&without.join("\n"));
    assert_eq!(setting.reload(&[]).code, Some(0));
    assert_eq!(setting.comes_to("/", &far), "near nearest; pin=unknown");
    let mut events = 0;
    while stream.read_event().expect("it goes on").is_some() {
        events += 1;
    }
    assert_eq!(events, 20, "the stream ends in the world in which it began");
    // Each reload builds a world, and with it what nobody needs is let go.
    let mut turns = 0;
    wait_until(SOON, "its series end", || {
        turns += 1;
        setting.write(&without.join("\n").replace("distance: 0", &format!("distance: {turns}")));
        assert_eq!(setting.reload(&[]).code, Some(0));
        let scrape = setting.balancer.ask_admin("/metrics").expect("an answer").text();
        // How its drain went stays told.
        let mut lines = scrape.lines().filter(|it| !it.starts_with("tidegate_drain"));
        !lines.any(|it| it.contains("region=\"far\""))
    });
    setting.write(&text);
    assert_eq!(setting.reload(&[]).code, Some(0));
    setting.until_verdict("far", "green");
    assert_eq!(setting.comes_to("/", &far), "far pin");
}
