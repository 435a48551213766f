//! What a policy says of ownership, as the balancer sees it.
#![expect(clippy::expect_used, clippy::panic, reason = "a broken test should panic")]
#![expect(clippy::indexing_slicing, reason = "a broken test should panic")]

use std::path::Path;
use std::time::Duration;

use tidegate_core::ownership::Layout;
use tidegate_core::partition::NoPartition;
use tidegate_core::policy::Policy;
use tidegate_core::policy::owning::{Mode, OwnershipRules, PartitionSource};

fn shipped(name: &str) -> Policy {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies").join(name);
    tidegate_policy::load_file(path).unwrap_or_else(|report| panic!("{}", report.render(false)))
}

fn load(ownership: &str, route: &str) -> Policy {
    let text = format!(
        "version: 1\nlisteners: [{{ bind: \"127.0.0.1:8080\" }}]\nregions:\n  \
         eu: {{ distance: 0, endpoints: [\"127.0.0.1:1\"] }}\n  \
         us: {{ distance: 1, endpoints: [\"127.0.0.1:2\"] }}\n\
         contract: {{ probe: {{ path: /contract }} }}\n\
         fence: {{ store: {{ embedded: {{ path: f.db }} }} }}\n\
         ownership: {{ {ownership} }}\nroutes: [{{ name: all, {route} }}]\n"
    );
    let read = tidegate_policy::load("test.yaml", &text, &|_| None);
    read.unwrap_or_else(|report| panic!("{}", report.render(false)))
}

fn rules(policy: &Policy) -> &OwnershipRules {
    policy.ownership.as_ref().expect("it has ownership")
}

/// The region where a value is at home.
fn home(policy: &Policy, value: &str) -> String {
    let id = rules(policy).place(value).expect("it has a partition");
    let home = rules(policy).partitions[id.index()].home;
    policy.regions[home.index()].name.to_string()
}

#[test]
fn the_pattern_active_active_divides_writes() {
    let policy = shipped("active-active.yaml");
    let rules = rules(&policy);
    assert_eq!((rules.mode, rules.version), (Mode::ActiveActive, 1));
    assert_eq!(rules.lease, Duration::from_secs(10));
    assert_eq!([home(&policy, "tenant-a"), home(&policy, "tenant-b")], ["eu-west-1", "us-east-1"]);
    let names: Vec<&str> = rules.partitions.iter().map(|it| &*it.name).collect();
    let rest = ["rest@us-east-1", "rest@eu-west-1", "rest@ap-southeast-1"];
    assert_eq!(names, [&["tenant-a", "tenant-b"][..], &rest].concat());
    let owned: Vec<_> = policy.routes.iter().map(|it| it.owned.is_some()).collect();
    assert_eq!(owned, [true, true, false, false], "what only reads is owned by nobody");
    let layout = Layout::of(&policy).expect("it has partitions");
    assert_eq!(layout.homes[4], ("rest@ap-southeast-1".into(), "ap-southeast-1".into()));
}

#[test]
fn the_pattern_active_passive_has_one_partition() {
    let policy = shipped("active-passive.yaml");
    assert_eq!(rules(&policy).mode, Mode::ActivePassive);
    assert_eq!(home(&policy, "whatever"), "us-east-1");
    let sources = policy.routes.iter().map(|it| it.owned.as_ref().map(|it| &it.source));
    let only = Some(&PartitionSource::Only);
    assert_eq!(sources.collect::<Vec<_>>(), [only, only, None, only]);
}

#[test]
fn the_pattern_geo_partitioned_knows_no_strangers() {
    let policy = shipped("geo-partitioned.yaml");
    assert_eq!(home(&policy, "acme-eu"), "eu-west-1");
    assert_eq!(rules(&policy).place("stranger"), Err(NoPartition::Unknown));
    let crossing = |place: usize| {
        let owned = policy.routes[place].owned.as_ref().expect("it is owned");
        owned.crossing.as_ref().and_then(|it| it.index_hash.clone())
    };
    assert_eq!([crossing(0), crossing(1), crossing(2)], [None, Some("shared-7".into()), None]);
}

const TOKENS: &str = "partition: { token: { claim: tenant, secrets: \
                      [\"0123456789abcdef0123456789abcdef\"] } }";

#[test]
fn a_partition_stands_where_the_route_says() {
    let mode = "mode: active_active, version: 7, lease: 5s, partitions: { map: { a: eu } }";
    let source = |route: &str| {
        let policy = load(mode, route);
        assert_eq!((rules(&policy).version, rules(&policy).lease), (7, Duration::from_secs(5)));
        policy.routes[0].owned.as_ref().expect("it is owned").source.clone()
    };
    let header = source("partition: { header: X-Tenant }");
    assert_eq!(header, PartitionSource::Header("x-tenant".into()));
    let segment = source("partition: { path_segment: 2 }");
    assert_eq!(segment, PartitionSource::PathSegment(2));
    let body = source(
        "fence: { preset: api, required: true }, \
         partition: { body: { pointer: /tenant/id, max_size: 2KiB } }",
    );
    let pointer = "/tenant/id".into();
    assert_eq!(body, PartitionSource::Body { pointer, bytes_max: 2048 });
    let PartitionSource::Token(token) = source(TOKENS) else { panic!("a token") };
    assert_eq!(
        (&*token.header, &*token.claim, token.secrets.len()),
        ("authorization", "tenant", 1)
    );
    assert!(!format!("{token:?}").contains("0123"), "a secret is not shown");
}

#[test]
fn what_changes_of_ownership_is_told() {
    let mode = "mode: active_active, partitions: { map: { a: eu }, rest: { hash: [us] } }";
    let old = load(mode, "partition: { header: X-Tenant }");
    let check = |ownership: &str, route: &str, told: &[&str]| {
        let changes = tidegate_policy::diff(&old, &load(ownership, route));
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(changes, told);
    };
    let header = "partition: { header: X-Tenant }";
    check(mode, header, &[]);
    check(&format!("{mode}, version: 2"), header, &["ownership: version 1 → 2"]);
    check(&format!("{mode}, lease: 20s"), header, &["ownership: lease 10s → 20s"]);
    let moved = "mode: active_active, partitions: { map: { a: us }, rest: { hash: [us] } }";
    check(moved, header, &["partition a: home eu → us"]);
    let read = "partition of route all: is read from header x-tenant → segment 1 of the path";
    check(mode, "partition: { path_segment: 1 }", &[read]);
    let source = "partition of route all: is read from header x-tenant → \
                  claim tenant of the token in authorization";
    check(mode, TOKENS, &[source, "partition of route all: secret 0 added"]);
}
