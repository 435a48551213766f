//! What a policy says about the fence: its meaning, its defaults, and how changes of it are told.
#![expect(clippy::expect_used, clippy::panic, reason = "a broken test should panic")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::fence::key::Encoding;
use tidegate_core::fence::meaning::{Depth, Preset};
use tidegate_core::fence::source::Source;
use tidegate_core::fence::webhook::{Scheme, Secret, TOLERANCE};
use tidegate_core::policy::Policy;
use tidegate_core::policy::fencing::{
    Durability, Enforce, EventFields, FenceRules, FenceStore, KeyQuota, Naming, OtherIndex,
    RedisNode, RedisPassword, RedisRules, RedisTls, RedisTopology, RedisWait, RouteFence,
    SignatureRules, StoreDown,
};
use tidegate_policy::{Facts, diff};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

fn load(name: &str, text: &str) -> Policy {
    tidegate_policy::load(name, text, &|_| None)
        .unwrap_or_else(|report| panic!("{}", report.render(false)))
}

fn every_key() -> Policy {
    let text = std::fs::read_to_string("tests/every-key.yaml").expect("the policy is there");
    load("tests/every-key.yaml", &text)
}

/// The smallest policy with this store, and with routes that are fenced like this.
fn small(store: &str, fences: &[&str]) -> Policy {
    let route = |(nth, fence): (usize, &&str)| {
        format!("  - {{ name: r{nth}, match: {{ path: /{nth} }}, fence: {fence} }}\n")
    };
    let routes: String = fences.iter().enumerate().map(route).collect();
    let text = format!(
        "version: 1\n\
         listeners: [{{ bind: \"127.0.0.1:8080\" }}]\n\
         regions: {{ here: {{ distance: 0, endpoints: [\"127.0.0.1:7101\"] }} }}\n\
         contract: {{ probe: {{ path: /contract }} }}\n\
         fence: {{ store: {store} }}\n\
         routes:\n{routes}"
    );
    load("a/p.yaml", &text)
}

fn rules(policy: &Policy) -> &FenceRules {
    policy.fence.as_ref().expect("the policy has a fence")
}

fn of_route<'p>(policy: &'p Policy, name: &str) -> &'p RouteFence {
    let route = policy.routes.iter().find(|it| &*it.name == name).expect("the route is there");
    route.fence.as_ref().expect("the route is fenced")
}

const EMBEDDED: &str = "{ embedded: { path: fence.db } }";

#[test]
fn the_store_and_its_times_mean_what_they_say() {
    let policy = every_key();
    let node = |host: &str, port| RedisNode { host: host.into(), port };
    let redis = RedisRules {
        topology: RedisTopology::Sentinel { master: "orders".into() },
        nodes: vec![node("sentinel-1", 26379), node("2001:db8::2", 26380)],
        user: Some("tidegate".into()),
        password: Some(RedisPassword(Arc::from("hunter2"))),
        tls: Some(RedisTls {
            ca: Some("tests/ca.pem".into()),
            client: Some(("/etc/tidegate/fence.pem".into(), "/etc/tidegate/fence.key".into())),
        }),
        wait: Some(RedisWait { replicas: 2, timeout: Duration::from_millis(40) }),
        durability: Durability::Managed,
        prefix: "orders".into(),
    };
    let fence = rules(&policy);
    assert_eq!(fence.store, FenceStore::Redis(redis));
    assert_eq!(fence.local.as_deref(), Some(Path::new("tests/local.db")));
    assert_eq!(fence.failover_window, 16 * 60 * SECOND);
    assert_eq!(fence.retention.completed(), 30 * HOUR);
    assert_eq!(fence.retention.in_doubt(), 8 * 24 * HOUR);
    assert_eq!(fence.quarantine, 6 * 60 * SECOND);
    assert_eq!(fence.quota, Some(KeyQuota { per_second: 100, burst: 1000 }));
}

#[test]
fn a_route_is_fenced_by_its_own_rules() {
    let policy = every_key();
    let secret = |text| Secret::parse(Scheme::StandardWebhooks, text).expect("a secret");
    let orders = RouteFence {
        preset: Preset::Api,
        naming: Naming::Sender(Source::StandardWebhooks),
        required: true,
        signature: Some(SignatureRules {
            scheme: Scheme::StandardWebhooks,
            secrets: vec![secret("whsec_c2VjcmV0"), secret("b2xkZXI=")],
            tolerance: 240 * SECOND,
        }),
        tenant: Some("x-tenant".into()),
        principal: "x-client".into(),
        fingerprint: vec!["content-type".into(), "x-schema-rev".into()],
        coalesce_wait: 2 * SECOND,
        answer_bytes_max: 8 * 1024,
        shown: Depth::Status,
        is_503_refusal: true,
        is_repeatable: true,
        enforce: Enforce::Window,
        store_down: StoreDown::Pass,
    };
    assert_eq!(of_route(&policy, "orders"), &orders);
    let hooks = of_route(&policy, "hooks");
    assert_eq!(hooks.naming, Naming::Sender(Source::GitHub));
    assert_eq!((hooks.required, hooks.store_down), (false, StoreDown::NodeLocal));
    let fields = EventFields {
        source_id: "x-source".into(),
        revision: "x-rev".into(),
        partition: "x-part".into(),
        encoding: Encoding::Concat,
        other_index: OtherIndex::Drop,
    };
    assert_eq!(of_route(&policy, "events").naming, Naming::Event(fields));
}

#[test]
fn a_file_is_all_that_a_fence_needs() {
    let policy = small(EMBEDDED, &["api"]);
    let fence = rules(&policy);
    assert_eq!(fence.store, FenceStore::Embedded { path: "a/fence.db".into() });
    assert_eq!((fence.local.as_ref(), fence.quota), (None, None));
    assert_eq!(fence.failover_window, 15 * 60 * SECOND);
    assert_eq!(fence.retention.completed(), 24 * HOUR + fence.failover_window);
    assert_eq!(fence.retention.in_doubt(), 7 * 24 * HOUR);
    assert_eq!(fence.quarantine, 5 * 60 * SECOND);
}

#[test]
fn claims_are_waited_for_where_there_are_replicas() {
    let wait = |store: &str| match small(store, &["api"]).fence.map(|it| it.store) {
        Some(FenceStore::Redis(redis)) => redis.wait,
        other => panic!("{other:?}"),
    };
    let usual = Some(RedisWait { replicas: 1, timeout: Duration::from_millis(50) });
    assert_eq!(wait("{ redis: { nodes: [\"h:6379\"] } }"), None);
    assert_eq!(wait("{ redis: { topology: cluster, nodes: [\"h:6379\"] } }"), usual);
    assert_eq!(wait("{ redis: { topology: sentinel, master: m, nodes: [\"h:6379\"] } }"), usual);
    assert_eq!(wait("{ redis: { nodes: [\"h:6379\"], wait: { replicas: 1 } } }"), usual);
    let none = "{ redis: { topology: cluster, nodes: [\"h:6379\"], wait: { replicas: 0 } } }";
    assert_eq!(wait(none), None);
}

#[test]
fn a_connection_is_encrypted_in_one_word() {
    let tls = |store: &str| match small(store, &["api"]).fence.map(|it| it.store) {
        Some(FenceStore::Redis(redis)) => redis.tls,
        other => panic!("{other:?}"),
    };
    let system = Some(RedisTls { ca: None, client: None });
    assert_eq!(tls("{ redis: { nodes: [\"h:6379\"], tls: true } }"), system);
    assert_eq!(tls("{ redis: { nodes: [\"h:6379\"], tls: false } }"), None);
    assert_eq!(tls("{ redis: { nodes: [\"h:6379\"] } }"), None);
}

#[test]
fn presets_decide_whatever_is_not_said() {
    let webhook = "{ preset: webhook, sender: stripe, secrets: [whsec_1] }";
    let policy = small(EMBEDDED, &["api", webhook, "ingest", "{ preset: api }"]);
    let api = of_route(&policy, "r0");
    assert_eq!((api.preset, api.required, api.shown), (Preset::Api, false, Depth::Answer));
    assert_eq!(api.naming, Naming::Sender(Source::IdempotencyKey));
    assert_eq!((api.coalesce_wait, api.answer_bytes_max), (SECOND, 16 * 1024));
    assert_eq!((&*api.principal, api.tenant.as_deref()), ("authorization", None));
    assert_eq!(api.fingerprint, ["content-type".into()]);
    assert_eq!((api.enforce, api.store_down), (Enforce::Always, StoreDown::Refuse));
    assert!(!api.is_repeatable && !api.is_503_refusal && api.signature.is_none());
    assert_eq!(api, of_route(&policy, "r3"));
    let hook = of_route(&policy, "r1");
    assert_eq!((hook.preset, hook.required, hook.shown), (Preset::Webhook, true, Depth::Status));
    assert_eq!((hook.coalesce_wait, hook.fingerprint.len()), (5 * SECOND, 0));
    let signature = hook.signature.as_ref().expect("signatures are looked at");
    assert_eq!((signature.scheme, signature.tolerance), (Scheme::Stripe, TOLERANCE));
    let ingest = of_route(&policy, "r2");
    assert_eq!((ingest.preset, ingest.required), (Preset::Ingest, true));
    let Naming::Event(fields) = &ingest.naming else { panic!("events have fields") };
    assert_eq!((&*fields.source_id, &*fields.revision), ("x-source-id", "x-event-revision"));
    assert_eq!((&*fields.partition, fields.encoding), ("x-partition", Encoding::Netstring));
    assert_eq!(fields.other_index, OtherIndex::Count);
}

fn told(old: &Policy, new: &Policy) -> String {
    diff(old, new).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What a change of the policy is told as.
#[track_caller]
fn check(change: impl FnOnce(&mut Policy), expected: &str) {
    let old = every_key();
    let mut new = old.clone();
    change(&mut new);
    assert_ne!(old, new, "this test changes something");
    assert_eq!(told(&old, &new), expected);
    let back = told(&new, &old);
    assert!(!back.is_empty() && !back.contains("hunter") && !back.contains("c2Vj"), "{back}");
}

#[track_caller]
fn check_rules(change: impl FnOnce(&mut FenceRules), expected: &str) {
    check(|it| change(it.fence.as_mut().expect("the policy has a fence")), expected);
}

#[track_caller]
fn check_redis(change: impl FnOnce(&mut RedisRules), expected: &str) {
    let change = |it: &mut FenceRules| match &mut it.store {
        FenceStore::Redis(redis) => change(redis),
        FenceStore::Embedded { .. } => panic!("the store is a Redis"),
    };
    check_rules(change, &format!("fence store: {expected}"));
}

#[track_caller]
fn check_route(name: &str, change: impl FnOnce(&mut RouteFence), expected: &str) {
    let change = |it: &mut Policy| {
        let route = it.routes.iter_mut().find(|it| &*it.name == name).expect("the route is there");
        change(route.fence.as_mut().expect("the route is fenced"));
    };
    let lines = expected.lines().map(|it| format!("fence of route {name}: {it}"));
    check(change, &lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn changes_of_the_rules_are_told() {
    check_rules(|it| it.failover_window = SECOND, "fence: failover_window 16m → 1s");
    let other = tidegate_core::fence::retention::Retention::unchecked(SECOND, 2 * SECOND);
    check_rules(
        |it| it.retention = other,
        "fence: retention 30h → 1s\nfence: in_doubt_retention 8d → 2s",
    );
    check_rules(|it| it.quarantine = SECOND, "fence: quarantine 6m → 1s");
    check_rules(|it| it.quota = None, "fence: quota 100 a second, 1000 at once → none");
    check_rules(|it| it.local = None, "fence store: local tests/local.db → none");
    check(|it| it.fence = None, "fence: removed\nfence store: removed");
}

#[test]
fn changes_of_the_store_are_told_without_its_password() {
    let cluster = "topology sentinel of orders → cluster";
    check_redis(|it| it.topology = RedisTopology::Cluster, cluster);
    check_redis(
        |it| it.nodes.truncate(1),
        "nodes sentinel-1:26379, [2001:db8::2]:26380 → sentinel-1:26379",
    );
    check_redis(|it| it.user = None, "user tidegate → none");
    check_redis(|it| it.password = None, "password removed");
    check_redis(|it| it.password = Some(RedisPassword(Arc::from("x"))), "password changed");
    check_redis(
        |it| it.tls = Some(RedisTls { ca: None, client: None }),
        "tls believing tests/ca.pem, as /etc/tidegate/fence.pem with the key \
         /etc/tidegate/fence.key → believing the system",
    );
    check_redis(|it| it.wait = None, "wait 2 within 40ms → none");
    check_redis(|it| it.durability = Durability::Aof, "durability managed → aof");
    check_redis(|it| it.prefix = "p".into(), "prefix orders → p");
    let other = FenceStore::Embedded { path: "p".into() };
    let text = {
        let (old, mut new) = (every_key(), every_key());
        new.fence.as_mut().expect("the policy has a fence").store = other;
        told(&old, &new)
    };
    assert!(text.contains("fence store: kind redis → embedded"), "{text}");
    let travels = serde_json::to_string(&Facts::of(&every_key())).expect("facts are JSON");
    assert!(!travels.contains("hunter") && !travels.contains("c2Vj"), "{travels}");
}

#[test]
fn changes_of_routes_are_told_without_their_secrets() {
    let orders = |change: fn(&mut RouteFence), told: &str| check_route("orders", change, told);
    orders(|it| it.preset = Preset::Webhook, "preset api → webhook");
    orders(|it| it.required = false, "required on → off");
    orders(|it| it.tenant = None, "tenant x-tenant → none");
    orders(|it| it.principal = "p".into(), "principal x-client → p");
    orders(
        |it| it.fingerprint.truncate(1),
        "fingerprint content-type, x-schema-rev → content-type",
    );
    orders(|it| it.coalesce_wait = SECOND, "coalesce_wait 2s → 1s");
    orders(|it| it.answer_bytes_max = 9, "keep 8192B → 9B");
    orders(|it| it.shown = Depth::Answer, "replay status_only → full");
    orders(|it| it.is_503_refusal = false, "refuses_with_503 on → off");
    orders(|it| it.is_repeatable = false, "repeatable on → off");
    orders(|it| it.enforce = Enforce::Always, "enforce window → always");
    orders(|it| it.store_down = StoreDown::Refuse, "on_store_down pass → refuse");
    orders(|it| it.naming = Naming::Sender(Source::Stripe), "sender standard_webhooks → stripe");
    let signature = |it: &mut RouteFence, change: fn(&mut SignatureRules)| {
        change(it.signature.as_mut().expect("signatures are looked at"));
    };
    check_route("orders", |it| signature(it, |it| it.tolerance = SECOND), "tolerance 4m → 1s");
    check_route(
        "orders",
        |it| signature(it, |it| it.scheme = Scheme::Stripe),
        "signature standard_webhooks → stripe",
    );
    check_route("orders", |it| signature(it, |it| it.secrets.truncate(1)), "secret 2 removed");
    check_route(
        "orders",
        |it| signature(it, |it| it.secrets.reverse()),
        "secret 1 changed\nsecret 2 changed",
    );
    orders(
        |it| it.signature = None,
        "tolerance removed\nsecret 1 removed\nsecret 2 removed\n\
         signature standard_webhooks → none",
    );
    check(
        |it| it.routes.iter_mut().for_each(|it| it.fence = None),
        "fence of route orders: removed\nfence of route hooks: removed\n\
         fence of route events: removed",
    );
}

#[test]
fn changes_of_events_are_told() {
    let events = |change: fn(&mut EventFields), told: &str| {
        let change = |it: &mut RouteFence| match &mut it.naming {
            Naming::Event(fields) => change(fields),
            Naming::Sender(_) => panic!("events have fields"),
        };
        check_route("events", change, told);
    };
    events(|it| it.source_id = "a".into(), "event.source_id x-source → a");
    events(|it| it.revision = "a".into(), "event.revision x-rev → a");
    events(|it| it.partition = "a".into(), "event.partition x-part → a");
    events(|it| it.encoding = Encoding::Netstring, "event.encoding concat → netstring");
    events(|it| it.other_index = OtherIndex::Count, "event.other_index drop → count");
}
