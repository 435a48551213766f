//! What a policy means: every key of the format, and every default.
#![expect(clippy::expect_used, clippy::panic, reason = "a broken test should panic")]

use std::path::PathBuf;
use std::time::Duration;

use tidegate_core::Moment;
use tidegate_core::ask::Intent;
use tidegate_core::contract::{Accepts, Expectation, Source, Value, Weight};
use tidegate_core::id::{RegionId, RegionSet};
use tidegate_core::policy::{
    Balance, EndpointSource, Failback, HashKey, OnDrain, PathMatch, PinRule, Policy, Protocol,
    Require, Stickiness, StickyRules, Strategy,
};

const SMALLEST: &str = r#"
version: 1
listeners: [{ bind: "127.0.0.1:8080" }]
regions: { here: { distance: 0, endpoints: ["127.0.0.1:7101"] } }
contract: { probe: { path: /contract } }
routes: [{ name: all }]
"#;

fn no_env(_: &str) -> Option<String> {
    None
}

fn load(name: &str, text: &str) -> Policy {
    tidegate_policy::load(name, text, &no_env)
        .unwrap_or_else(|report| panic!("{}", report.render(false)))
}

fn every_key() -> Policy {
    let text = std::fs::read_to_string("tests/every-key.yaml").expect("the policy is there");
    load("tests/every-key.yaml", &text)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn defaults_are_filled_in() {
    let policy = load("p.yaml", SMALLEST);
    assert_eq!((policy.site, policy.threads, policy.access_log), (None, 1, true));
    assert_eq!((policy.admin.socket, policy.admin.http), (None, None));
    assert_eq!(policy.watch, None);
    assert!(policy.pins_from.is_empty() && policy.trusted_peers.is_empty());
    let region = &policy.regions[0];
    assert_eq!((region.capacity, region.green_share_percent), (None, 1));
    assert_eq!((&region.balance, region.protocol), (&Balance::LeastRequests, Protocol::Http1));
    assert_eq!(region.slow_start, Duration::ZERO);
    let probing = &policy.probing;
    assert_eq!((probing.interval, probing.timeout), (seconds(2), seconds(1)));
    assert_eq!((probing.stale_after, probing.body_bytes_max), (seconds(10), 64 * 1024));
    assert_eq!((probing.rise, probing.fall, probing.host.as_deref()), (2, 2, None));
    assert!(!probing.shadow && !probing.mixed_allowed);
    assert!(policy.contract.keys.iter().all(|it| it.expect.is_none()));
    assert_eq!(policy.failback.mode, Failback::After(seconds(30)));
    assert_eq!((policy.failback.flips, policy.failback.freeze), (4, seconds(1800)));
    assert!(policy.ejection.enabled && policy.ejection.budget_percent == 50);
    assert_eq!((policy.measuring.band_percent, policy.retries.attempts_max), (20, 3));
    assert_eq!(policy.sticky, StickyRules::default());
    assert_eq!(policy.routes[0].sticky, Stickiness::Off);
    assert!(policy.fence.is_none() && policy.routes[0].fence.is_none());
    assert_eq!((policy.drain.overdue_after, policy.drain.hard_deadline), (seconds(90), None));
    let route = &policy.routes[0];
    assert_eq!((route.intent, route.stream, route.residency), (None, false, RegionSet::ALL));
    assert_eq!(route.matcher.path, PathMatch::Prefix("/".into()));
    assert_eq!((route.timeouts.connect, route.timeouts.first_byte), (seconds(2), seconds(120)));
    assert_eq!((route.timeouts.idle, route.timeouts.total), (seconds(300), Some(seconds(60))));
}

#[test]
fn sections_of_a_policy_mean_what_they_say() {
    let policy = every_key();
    assert_eq!((policy.site.as_deref(), policy.threads), (Some("us-east-1"), 2));
    assert_eq!(policy.listeners[1].bind.to_string(), "[2001:db8::1]:8081");
    assert_eq!(policy.admin.socket, Some(PathBuf::from("/run/tidegate/admin.sock")));
    let allowed = ["127.9.9.9", "192.0.2.7"].map(|it| it.parse().expect("an address"));
    assert!(allowed.into_iter().all(|it| policy.may_pin(it)));
    assert!(!policy.may_pin("192.0.2.8".parse().expect("an address")));
    assert_eq!(policy.trusted_peers[0].to_string(), "10.0.0.0/8");
    assert_eq!(policy.releases.split, [("r1".into(), 95), ("r2".into(), 5)]);
    assert_eq!((policy.releases.resolve("canary"), &policy.releases.by), ("r2", &HashKey::Path));
    assert_eq!(policy.failback.mode, Failback::Manual);
    assert_eq!((policy.failback.hysteresis, policy.failback.flips), (seconds(40), 5));
    assert_eq!((policy.failback.within, policy.failback.freeze), (seconds(660), seconds(1860)));
    let ejection = &policy.ejection;
    assert_eq!((ejection.connect_failures, ejection.window), (6, seconds(11)));
    assert_eq!((ejection.volume_min, ejection.budget_percent), (21, 51));
    assert_eq!((ejection.base, ejection.max), (seconds(11), seconds(360)));
    let measuring = &policy.measuring;
    assert_eq!((measuring.band_percent, measuring.hold), (21, seconds(31)));
    assert_eq!(measuring.stale_after, seconds(61));
    let drain = &policy.drain;
    assert_eq!((drain.overdue_after, drain.hard_deadline), (seconds(91), Some(seconds(600))));
    let retries = &policy.retries;
    assert_eq!((retries.attempts_max, retries.budget_percent), (4, 21));
    assert_eq!((retries.budget_min_per_second, retries.deadline), (11, seconds(11)));
}

#[test]
fn sessions_are_kept_by_rules_and_keys() {
    let policy = every_key();
    let sticky = &policy.sticky;
    assert_eq!((sticky.ttl, sticky.on_drain), (seconds(960), OnDrain::Stay));
    assert_eq!((&*sticky.cookie, &*sticky.header), ("session", "x-session"));
    let keys: Vec<_> = sticky.keys.iter().map(|it| (&*it.id, it.secret.len())).collect();
    assert_eq!(keys, [("k2", 34), ("k1", 35)]);
    let shown = format!("{policy:?}");
    assert!(shown.contains("k2") && !shown.contains("secret of 32"), "{shown}");
    let of_routes: Vec<_> = policy.routes.iter().take(3).map(|it| it.sticky).collect();
    assert_eq!(of_routes, [Stickiness::Session, Stickiness::Stream, Stickiness::Off]);
}

#[test]
fn regions_take_what_they_do_not_say_from_the_top() {
    let policy = every_key();
    let [us, eu] = policy.regions.as_slice() else { panic!("two regions") };
    let EndpointSource::Listed(listed) = &us.endpoints else { panic!("a list") };
    assert_eq!((listed[0].weight, listed[1].weight, us.capacity), (1, 2, Some(2000)));
    let by = HashKey::Header("x-user".into());
    assert_eq!(us.balance, Balance::Hash { by, bound_percent: 150 });
    assert_eq!((us.slow_start, us.protocol, us.distance), (seconds(30), Protocol::Http1, 0));
    let file = EndpointSource::File { path: "tests/eu.endpoints".into(), every: seconds(7) };
    assert_eq!(eu.endpoints, file);
    assert_eq!((eu.protocol, &eu.balance), (Protocol::H2c, &Balance::PeakEwma));
    assert_eq!((eu.slow_start, eu.green_share_percent), (seconds(10), 50));
}

#[test]
fn keys_of_a_contract_have_a_source_and_a_weight() {
    let policy = every_key();
    let key = |name: &str| {
        let key = policy.contract.keys.iter().find(|it| &*it.name == name);
        key.unwrap_or_else(|| panic!("{name} is a key"))
    };
    let expects = |name, accepts, weight| {
        assert_eq!(key(name).expect, Some(Expectation { accepts, weight }), "{name}");
    };
    let exactly = |value: &str| Accepts::Exactly(value.into());
    expects("schema_rev", exactly("sc-12"), Weight::Veto);
    expects("index_hash", exactly("a1b2c3"), Weight::Degrade);
    let until = Moment(1_819_756_800_000);
    let rotation = Accepts::Either { new: "k_new".into(), old: "k_old".into(), until };
    expects("secrets_rev", rotation, Weight::Veto);
    expects("analyzer", exactly("icu-v3"), Weight::Observe);
    expects("shard_map", Accepts::Agreed, Weight::Veto);
    expects("shards", Accepts::Exactly(Value::Integer(12)), Weight::Veto);
    expects("sorted", Accepts::Exactly(Value::Flag(true)), Weight::Degrade);
    expects("built_by", exactly("ci-7"), Weight::Veto);
    assert_eq!(key("model_tag").expect, None);
    assert_eq!(key("schema_rev").source, Source::Header("x-schema-rev".into()));
    assert_eq!(key("index_hash").source, Source::Pointer("/versions/index".into()));
    assert_eq!(key("shards").source, Source::Pointer("/shards".into()));
    let probing = &policy.probing;
    assert_eq!(
        (&*probing.path, probing.host.as_deref()),
        ("/contract?full=1", Some("svc.internal:8000"))
    );
    assert_eq!((probing.interval, probing.timeout), (seconds(3), Duration::from_millis(1500)));
    assert_eq!((probing.rise, probing.fall, probing.stale_after), (3, 4, seconds(60)));
    assert!(probing.shadow && probing.mixed_allowed && probing.body_bytes_max == 1 << 20);
}

#[test]
fn routes_take_what_they_do_not_say_from_the_top() {
    let policy = every_key();
    let [search, chat, .., rest] = policy.routes.as_slice() else { panic!("many routes") };
    assert_eq!((search.intent, search.require), (Some(Intent::Read), Require::Answer));
    assert_eq!((search.pin, search.strategy), (PinRule::Require, Strategy::Measured));
    assert!(search.residency.contains(RegionId(1)) && search.residency.count() == 1);
    assert_eq!(search.residency_name.as_deref(), Some("eu"));
    assert!(search.matcher.takes("api.EXAMPLE.com", "/v1/search/x", "POST"));
    assert_eq!((search.timeouts.first_byte, search.timeouts.total), (seconds(10), None));
    assert_eq!((search.timeouts.connect, search.timeouts.idle), (seconds(3), seconds(301)));
    assert_eq!(chat.matcher.path, PathMatch::Exact("/v1/chat".into()));
    assert_eq!((chat.stream, chat.timeouts.total, chat.pin), (true, None, PinRule::Ignore));
    assert_eq!((rest.timeouts.total, rest.intent), (Some(seconds(61)), None));
}

#[test]
fn a_watch_has_a_time_or_is_off() {
    assert_eq!(every_key().watch, Some(seconds(3)));
    let watch = |it: &str| load("p.yaml", &format!("{SMALLEST}watch: {it}\n")).watch;
    assert_eq!((watch("off"), watch("100ms")), (None, Some(Duration::from_millis(100))));
}

#[test]
fn ejection_can_be_turned_off_in_one_word() {
    let policy = load("p.yaml", &format!("{SMALLEST}ejection: off\n"));
    assert!(!policy.ejection.enabled);
}

#[test]
fn a_short_interval_alone_needs_no_other_key() {
    let text = SMALLEST.replace("path: /contract", "path: /contract, interval: 50ms");
    let probing = load("p.yaml", &text).probing;
    assert_eq!(probing.stale_after, Duration::from_millis(1050));
}

#[test]
fn variables_come_from_the_caller() {
    let text = SMALLEST.replace("127.0.0.1:8080", "127.0.0.1:${PORT}");
    let env = |name: &str| (name == "PORT").then(|| "9000".to_owned());
    let policy = tidegate_policy::load("p.yaml", &text, &env).expect("the variable is set");
    assert_eq!(policy.listeners[0].bind.port(), 9000);
    assert!(tidegate_policy::load("p.yaml", &text, &no_env).is_err());
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_policy() {
    load("p.yaml", &format!("\u{feff}{SMALLEST}"));
}

#[test]
fn a_file_that_is_not_there_or_too_large_is_a_report() {
    let report = tidegate_policy::load_file("no/such/policy.yaml").expect_err("there is no file");
    assert_eq!((report.problems()[0].line, report.problems()[0].column), (0, 0));
    assert!(report.to_string().starts_with("no/such/policy.yaml: the policy cannot be read: "));
    assert!(report.render(true).contains("no/such/policy.yaml"));
    let large = format!("{SMALLEST}#{}", "x".repeat(1 << 20));
    assert!(tidegate_policy::load("p.yaml", &large, &no_env).is_err());
}

#[test]
fn a_report_is_one_line_for_each_problem() {
    let text = SMALLEST.replace("distance: 0", "distance: 0, weigth: 1, capacity: 0");
    let report = tidegate_policy::load("p.yaml", &text, &no_env).expect_err("two mistakes");
    let lines = [
        "p.yaml:4:33: regions.here: unknown field `weigth` (known here: `distance`, `capacity`, \
         `endpoints`, `protocol`, `balance`, `slow_start`, `green_share`)",
        "p.yaml:4:54: regions.here.capacity: 0 is out of bounds (write a number from 1 to \
         4294967295)",
    ];
    assert_eq!(report.to_string(), lines.join("\n"));
    assert_eq!(report.file(), "p.yaml");
}

#[test]
fn problems_beyond_the_limit_are_counted() {
    let routes: Vec<String> = (0..40).map(|it| format!("{{ name: r{it}, x: 1 }}")).collect();
    let text = SMALLEST.replace("{ name: all }", &routes.join(", "));
    let report = tidegate_policy::load("p.yaml", &text, &no_env).expect_err("many mistakes");
    assert_eq!(report.problems().len(), tidegate_policy::PROBLEMS_MAX);
    assert!(report.to_string().ends_with("\np.yaml: and 47 more"), "{report}");
}

#[test]
fn a_list_of_endpoints_is_read_line_by_line() {
    let text = "# eu\n10.0.0.1:8000\n\n  10.0.0.2:8000 3 # the large one\r\n[::1]:8000\n";
    let endpoints = tidegate_policy::endpoints(text).expect("three endpoints");
    let weights: Vec<u16> = endpoints.iter().map(|it| it.weight).collect();
    assert_eq!(weights, [1, 3, 1]);
    let wrong = "10.0.0.1:8000\nhost:80\n10.0.0.1:8000\n10.0.0.3:80 0\n10.0.0.3:80 1 2\n";
    let report = tidegate_policy::endpoints(wrong).expect_err("four mistakes");
    let lines: Vec<usize> = report.problems().iter().map(|it| it.line).collect();
    assert_eq!(lines, [2, 3, 4, 5]);
    assert!(tidegate_policy::endpoints("# none\n").is_err());
}
