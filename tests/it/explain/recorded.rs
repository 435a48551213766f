//! A recorded world decides as the running one did.

use tidegate_harness::{TempDir, wait_until};

use super::{Asked, record, zoo};
use crate::setting::{PolicyText, SOON, Setting};

fn requests() -> Vec<Asked> {
    let pin = |pin| Asked::get("/rest", &[("X-Region-Pin", pin), ("X-User", "ben")]);
    let demand = |name, value| Asked::get("/rest", &[(name, value)]);
    vec![
        Asked::get("/rest", &[]),
        Asked::get("/rest", &[("X-User", "anna")]),
        Asked::get("/any", &[]),
        Asked::get("/eu", &[]),
        Asked::get("/gone", &[]),
        Asked::get("/none", &[]),
        Asked { method: "DELETE", ..Asked::get("/rest", &[]) },
        pin("middle"),
        pin("lost; strict"),
        pin("out"),
        demand("X-Index-Hash", "a1b2c3"),
        demand("X-Index-Hash", "blue"),
        demand("X-Index-Hash", "red"),
        demand("X-Model-Tag", "m2"),
        demand("X-Model-Tag", "m3"),
        demand("X-Schema-Rev", "sc-12"),
        demand("X-Release", "canary"),
        demand("X-Release", "r9"),
        Asked::get("/gone", &[("X-Index-Hash", "a1b2c3")]),
        Asked::get("/gone", &[("X-Schema-Rev", "sc-13")]),
    ]
}

#[test]
fn a_recorded_world_explains_exactly_what_the_running_one_does() {
    let setting = zoo();
    let directory = TempDir::new();
    let policy = setting.balancer.policy_path();
    let generation = || setting.state()["generation"].clone();
    for asked in requests() {
        // The world may turn between the two questions; then they are put again.
        let mut pair = None;
        wait_until(SOON, "a world that stands still", || {
            let before = generation();
            let state = record(&setting, &directory);
            let live = asked.told(&["--admin", &setting.admin()]);
            let recorded = asked.told_offline(policy, Some(&state));
            pair = (before == generation()).then_some((live, recorded));
            pair.is_some()
        });
        let (live, recorded) = pair.expect("it was waited for");
        assert_eq!(live, recorded, "{asked:?}\nlive {live:#}\nrecorded {recorded:#}");
    }
}

#[test]
fn measured_distances_and_disputes_are_recorded_too() {
    let policy = PolicyText {
        routes: "  - { name: all, strategy: measured }".to_owned(),
        expect: "    index_hash: { agree: true }".to_owned(),
        ..PolicyText::default()
    };
    let regions = ["slow", "fast", "one", "two"].map(tidegate_harness::FakeRegion::start);
    regions[0].set_contract_latency(std::time::Duration::from_millis(100));
    regions[3].set_key("index_hash", "blue");
    let [slow, fast, one, two] = regions.each_ref().map(tidegate_harness::FakeRegion::address);
    let listed = format!(
        "  slow: {{ distance: 0, endpoints: [ \"{slow}\" ] }}\n\
         \x20 fast: {{ distance: 900, endpoints: [ \"{fast}\" ] }}\n\
         \x20 split: {{ distance: 1, endpoints: [ \"{one}\", \"{two}\" ] }}"
    );
    let setting = Setting::listed(regions.into(), &listed, &policy);
    setting.until_verdict("slow", "green");
    setting.until_verdict("fast", "green");
    setting.until_verdict("split", "mixed");
    let directory = TempDir::new();
    let state = record(&setting, &directory);
    for headers in [&[][..], &[("X-Index-Hash", "blue")], &[("X-Region-Pin", "split")]] {
        let asked = Asked::get("/", headers);
        let recorded = asked.told_offline(setting.balancer.policy_path(), Some(&state));
        let live = asked.told(&["--admin", &setting.admin()]);
        assert_eq!(super::promised(&live), super::promised(&recorded));
        assert_eq!(live["passed"], recorded["passed"], "{headers:?}");
    }
    assert_eq!(setting.served_by(), "fast");
}
