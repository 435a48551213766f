//! Whatever changes from one policy to another is told, in words, and no secret is.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a broken test should panic"
)]

use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::{any, prop, proptest};
use proptest::test_runner::Config;
use tidegate_core::ask::Intent;
use tidegate_core::contract::{Accepts, Source, Value, Weight};
use tidegate_core::id::{RegionId, RegionSet};
use tidegate_core::policy::{
    Balance, EndpointAddress, EndpointSource, Failback, HashKey, Listener, OnDrain, PathMatch,
    PinRule, Policy, Protocol, Require, Stickiness, StickyKey, Strategy,
};
use tidegate_policy::{Facts, diff};

fn load(text: &str) -> Option<Policy> {
    let env = |_: &str| None;
    tidegate_policy::load("tests/every-key.yaml", text, &env).ok()
}

fn text() -> String {
    std::fs::read_to_string("tests/every-key.yaml").expect("the policy is there")
}

/// The policy that has every key, and a key that signs tokens.
fn policy() -> Policy {
    let mut policy = load(&text()).expect("the policy is right");
    let key = |id: &str| StickyKey { id: id.into(), secret: b"first secret"[..].into() };
    policy.sticky.keys = vec![key("k1"), key("k2")];
    policy
}

fn told(old: &Policy, new: &Policy) -> String {
    diff(old, new).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn listed(policy: &mut Policy) -> &mut Vec<EndpointAddress> {
    match &mut policy.regions[0].endpoints {
        EndpointSource::Listed(listed) => listed,
        EndpointSource::File { .. } => panic!("the first region lists its endpoints"),
    }
}

/// What a change of the policy is told as.
#[track_caller]
fn check(change: impl FnOnce(&mut Policy), expected: &str) {
    let old = policy();
    let mut new = old.clone();
    change(&mut new);
    assert_ne!(old, new, "this test changes something");
    assert_eq!(told(&old, &new), expected);
    let back = told(&new, &old);
    assert!(!back.is_empty() && !back.contains("secret:"), "{back}");
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_process_and_its_doors() {
    check(|it| it.site = None, "site: name us-east-1 → none");
    check(|it| it.site = Some("none".into()), "site: name us-east-1 → \"none\"");
    check(|it| it.threads = 4, "process: threads 2 → 4");
    check(|it| it.access_log = true, "access_log: lines off → on");
    check(|it| it.watch = None, "watch: every 3s → off");
    check(|it| it.admin.http = None, "admin: http 127.0.0.1:9901 → none");
    check(|it| it.admin.socket = None, "admin: socket /run/tidegate/admin.sock → none");
    check(|it| it.pins_from.clear(), "pins_from: networks 127.0.0.0/8, 192.0.2.7/32 → anywhere");
    check(|it| it.trusted_peers.clear(), "trusted_peers: networks 10.0.0.0/8 → none");
    check(|it| it.listeners.truncate(1), "listener [2001:db8::1]:8081: removed");
    check(
        |it| it.listeners.push(Listener::at(address("0.0.0.0:8443"))),
        "listener 0.0.0.0:8443: added",
    );
    check(|it| it.listeners[0].head = SECOND, "listener 0.0.0.0:8080: head 10s → 1s");
    check(|it| it.listeners[0].keepalive = SECOND, "listener 0.0.0.0:8080: keepalive 75s → 1s");
    check(|it| it.listeners.swap(0, 1), "listener: in another order");
}

#[test]
fn regions_and_their_endpoints() {
    let eu = |what: &str| format!("region eu-west-1: {what}");
    check(|it| it.regions[1].distance = 100, &eu("distance 80 → 100"));
    check(|it| it.regions[1].capacity = Some(5), &eu("capacity none → 5"));
    check(|it| it.regions[1].protocol = Protocol::Http1, &eu("protocol h2c → http1"));
    check(|it| it.regions[1].slow_start = Duration::ZERO, &eu("slow_start 10s → 0s"));
    check(|it| it.regions[1].green_share_percent = 51, &eu("green_share 50% → 51%"));
    let balance = Balance::Hash { by: HashKey::Path, bound_percent: 120 };
    check(
        |it| it.regions[1].balance = balance,
        &eu("balance peak_ewma → hash by path, bound 120%"),
    );
    let file = EndpointSource::File { path: "eu".into(), every: Duration::from_millis(1500) };
    check(
        |it| it.regions[1].endpoints = file,
        &eu("endpoints file tests/eu.endpoints every 7s → file eu every 1500ms"),
    );
    let new = EndpointAddress { address: address("10.0.0.3:8000"), weight: 3 };
    let us = |what: &str| format!("region us-east-1: {what}");
    check(|it| listed(it).push(new), &us("endpoint 10.0.0.3:8000 added, weight 3"));
    check(|it| listed(it).truncate(1), &us("endpoint 10.0.0.2:8000 removed"));
    check(|it| listed(it)[1].weight = 9, &us("endpoint 10.0.0.2:8000 weight 2 → weight 9"));
    check(|it| listed(it).reverse(), &us("in another order"));
    check(
        |it| {
            let mut region = it.regions[1].clone();
            region.name = "ap".into();
            it.regions.push(region);
        },
        "region ap: added",
    );
    check(
        |it| it.regions.reverse(),
        "route search: may use eu-west-1 → us-east-1\nregion: in another order",
    );
}

#[test]
fn the_contract() {
    let expects = |place: usize, accepts: Accepts| {
        move |it: &mut Policy| {
            let expect = it.contract.keys[place].expect.as_mut();
            expect.expect("the policy says something").accepts = accepts;
        }
    };
    let exactly = |text: &str| Accepts::Exactly(text.into());
    check(expects(0, exactly("sc-13")), "contract: schema_rev expects sc-13 instead of sc-12");
    check(
        expects(0, Accepts::Agreed),
        "contract: schema_rev expects any value on which all agree instead of sc-12",
    );
    check(
        expects(0, exactly("any value on which all agree")),
        "contract: schema_rev expects \"any value on which all agree\" instead of sc-12",
    );
    let shards = |it: &Policy| it.contract.keys.iter().position(|it| &*it.name == "shards");
    let shards = shards(&policy()).expect("the policy has it");
    check(expects(shards, exactly("12")), "contract: shards expects \"12\" instead of 12");
    check(
        expects(shards, Accepts::Exactly(Value::Flag(true))),
        "contract: shards expects true instead of 12",
    );
    check(
        |it| it.contract.keys[0].expect = None,
        "contract: schema_rev expects nothing instead of sc-12\n\
         contract: schema_rev has the weight none instead of veto",
    );
    check(
        |it| it.contract.keys[0].expect.as_mut().expect("it is there").weight = Weight::Observe,
        "contract: schema_rev has the weight observe instead of veto",
    );
    check(
        |it| it.contract.keys[0].source = Source::Pointer("/x".into()),
        "contract: schema_rev is read from pointer /x instead of header x-schema-rev",
    );
    check(|it| drop(it.contract.keys.remove(shards)), "contract: shards removed");
}

#[test]
fn rules_for_everything() {
    check(|it| it.probing.path = "/c".into(), "probe: path /contract?full=1 → /c");
    check(|it| it.probing.host = None, "probe: host svc.internal:8000 → none");
    check(|it| it.probing.interval = SECOND, "probe: interval 3s → 1s");
    check(|it| it.probing.timeout = SECOND, "probe: timeout 1500ms → 1s");
    check(|it| it.probing.body_bytes_max = 5, "probe: max_size 1048576B → 5B");
    check(|it| it.probing.rise = 9, "probe: rise 3 → 9");
    check(|it| it.probing.fall = 9, "probe: fall 4 → 9");
    check(|it| it.probing.stale_after = SECOND, "probe: stale_after 1m → 1s");
    check(|it| it.probing.shadow = false, "probe: shadow on → off");
    check(|it| it.probing.mixed_allowed = false, "probe: mixed allow → refuse");
    check(|it| it.ejection.enabled = false, "ejection: enabled on → off");
    check(|it| it.ejection.connect_failures = 9, "ejection: connect_failures 6 → 9");
    check(|it| it.ejection.window = SECOND, "ejection: window 11s → 1s");
    check(|it| it.ejection.volume_min = 9, "ejection: volume_min 21 → 9");
    check(|it| it.ejection.budget_percent = 9, "ejection: budget 51% → 9%");
    check(|it| it.ejection.base = SECOND, "ejection: base 11s → 1s");
    check(|it| it.ejection.max = SECOND, "ejection: max 6m → 1s");
    check(|it| it.failback.mode = Failback::After(SECOND), "failback: mode manual → after 1s");
    check(|it| it.failback.hysteresis = SECOND, "failback: hysteresis 40s → 1s");
    check(|it| it.failback.flips = 9, "failback: flips 5 → 9");
    check(|it| it.failback.within = SECOND, "failback: within 11m → 1s");
    check(|it| it.failback.freeze = SECOND, "failback: freeze 31m → 1s");
    check(|it| it.measuring.band_percent = 9, "measured: band 21% → 9%");
    check(|it| it.measuring.hold = SECOND, "measured: hold 31s → 1s");
    check(|it| it.measuring.stale_after = SECOND, "measured: stale_after 61s → 1s");
    check(|it| it.retries.attempts_max = 9, "retries: attempts 4 → 9");
    check(|it| it.retries.budget_percent = 9, "retries: budget 21% → 9%");
    check(|it| it.retries.budget_min_per_second = 9, "retries: budget_min 11 → 9");
    check(|it| it.retries.deadline = SECOND, "retries: deadline 11s → 1s");
    check(|it| it.releases.by = HashKey::ClientAddress, "releases: by path → client address");
    check(|it| it.releases.aliases[0].1 = "r3".into(), "releases: alias canary of r2 → of r3");
    check(|it| it.releases.aliases.clear(), "releases: alias canary removed");
    check(|it| it.releases.split[0].1 = 9, "releases: split r1 weight 95 → weight 9");
    check(|it| it.releases.split.reverse(), "releases: in another order");
    check(|it| it.drain.overdue_after = SECOND, "drain: overdue_after 91s → 1s");
    check(|it| it.drain.hard_deadline = Some(SECOND), "drain: hard_deadline 10m → 1s");
    check(|it| it.stop.lame_duck = SECOND, "stop: lame_duck 0s → 1s");
    check(|it| it.stop.within = Some(SECOND), "stop: within none → 1s");
}

#[test]
fn stickiness_without_its_secrets() {
    check(|it| it.sticky.ttl = SECOND, "sticky: ttl 16m → 1s");
    check(|it| it.sticky.cookie = "c".into(), "sticky: cookie session → c");
    check(|it| it.sticky.header = "h".into(), "sticky: header x-session → h");
    check(|it| it.sticky.on_drain = OnDrain::Move, "sticky: on_drain stay → move");
    let secret = |it: &mut Policy| it.sticky.keys[0].secret = b"second secret"[..].into();
    check(secret, "sticky key k1: secret changed");
    check(|it| it.sticky.keys[1].id = "k3".into(), "sticky key k2: removed\nsticky key k3: added");
    check(|it| it.sticky.keys.swap(0, 1), "sticky key: in another order");
    check(
        |it| it.sticky.keys[1].id = "k1".into(),
        "sticky key k2: removed\nsticky key k1 #2: added",
    );
    let travels = serde_json::to_string(&Facts::of(&policy())).expect("facts are JSON");
    assert!(!travels.contains("first secret"), "{travels}");
}

#[test]
fn routes() {
    let search = |what: &str| format!("route search: {what}");
    check(
        |it| it.routes[0].matcher.path = PathMatch::Exact("/v1/search".into()),
        &search("takes path /v1/search → exact /v1/search"),
    );
    check(|it| it.routes[0].matcher.hosts.clear(), &search("hosts api.example.com → any host"));
    check(|it| it.routes[0].matcher.methods.truncate(1), &search("methods GET, POST → GET"));
    check(|it| it.routes[0].intent = Some(Intent::Write), &search("intent read → write"));
    check(|it| it.routes[0].stream = true, &search("stream off → on"));
    check(|it| it.routes[0].require = Require::Contract, &search("require answer → contract"));
    check(|it| it.routes[0].pin = PinRule::Soft, &search("pin require → soft"));
    let all: RegionSet = [RegionId(0), RegionId(1)].into_iter().collect();
    check(|it| it.routes[0].residency = all, &search("may use eu-west-1 → us-east-1, eu-west-1"));
    check(|it| it.routes[0].residency_name = None, &search("residency eu → none"));
    check(|it| it.routes[0].strategy = Strategy::Nearest, &search("strategy measured → nearest"));
    check(|it| it.routes[0].timeouts.connect = SECOND, &search("timeouts.connect 3s → 1s"));
    check(|it| it.routes[0].timeouts.first_byte = SECOND, &search("timeouts.first_byte 10s → 1s"));
    check(|it| it.routes[0].timeouts.idle = SECOND, &search("timeouts.idle 301s → 1s"));
    check(|it| it.routes[0].timeouts.total = Some(SECOND), &search("timeouts.total none → 1s"));
    check(|it| it.routes[0].sticky = Stickiness::Stream, &search("sticky session → stream"));
    check(|it| it.routes[5].name = "all".into(), "route rest: removed\nroute all: added");
    check(|it| it.routes.swap(0, 1), "route: in another order");
}

#[test]
fn what_a_running_process_cannot_change_is_known() {
    let (old, mut new) = (policy(), policy());
    (new.threads, new.admin.http, new.access_log) = (7, None, true);
    let fixed = diff(&old, &new).into_iter().filter(tidegate_policy::Change::needs_upgrade);
    let fixed: Vec<String> = fixed.map(|it| it.to_string()).collect();
    assert_eq!(fixed, ["process: threads 2 → 7", "admin: http 127.0.0.1:9901 → none"]);
}

#[test]
fn nothing_is_told_of_equal_policies() {
    assert_eq!(told(&policy(), &policy()), "");
}

#[test]
fn facts_that_travelled_tell_the_same() {
    let (old, mut new) = (policy(), policy());
    new.sticky.keys[0].secret = b"second secret"[..].into();
    new.routes.reverse();
    new.regions[0].distance = 7;
    let json = serde_json::to_string(&Facts::of(&new)).expect("facts are JSON");
    let travelled: Facts = serde_json::from_str(&json).expect("JSON is facts");
    assert_eq!(Facts::of(&old).changes_to(&travelled), diff(&old, &new));
}

#[test]
fn a_line_is_one_line() {
    let (old, mut new) = (policy(), policy());
    new.admin.socket = Some("/a\n\u{1b}[31mb".into());
    let told = told(&old, &new);
    assert!(told.ends_with("→ /a\\n\\u{1b}[31mb"), "{told}");
}

/// Another text in which one number, or one line, is another one.
fn other(text: &str, place: prop::sample::Index, new: u32) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let at = place.index(lines.len());
    let line = lines.get(at).copied().unwrap_or_default();
    let digits = |it: &char| it.is_ascii_digit();
    let changed = match line
        .char_indices()
        .filter(|(_, it)| digits(it))
        .nth(usize::try_from(new % 5).unwrap_or(0))
    {
        Some((digit, _)) => {
            let (before, after) = line.split_at(digit);
            format!("{before}{}{}", 1 + new % 9, after.get(1..).unwrap_or_default())
        }
        None => String::new(),
    };
    let rest = lines.iter().enumerate();
    rest.map(|(it, line)| if it == at { changed.as_str() } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}

proptest! {
    #![proptest_config(Config { cases: 1024, failure_persistence: None, ..Config::default() })]

    #[test]
    fn policies_that_differ_have_a_difference(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 1..4),
    ) {
        let mut changed = text();
        for (place, new) in changes {
            changed = other(&changed, place, new);
        }
        let old = load(&text()).expect("the policy is right");
        if let Some(new) = load(&changed) {
            assert_eq!(old == new, diff(&old, &new).is_empty(), "{changed}");
            assert_eq!(old == new, diff(&new, &old).is_empty(), "{changed}");
        }
    }
}
