//! What matches which route, and who may do what.

use super::*;

fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix(path.into())
}

#[test]
fn a_prefix_ends_at_a_segment() {
    assert!(prefix("/v1").takes("/v1") && prefix("/v1").takes("/v1/x"));
    assert!(!prefix("/v1").takes("/v10") && !prefix("/v1").takes("/"));
    assert!(prefix("/").takes("/") && prefix("/").takes("/x"));
    assert!(prefix("/v1/").takes("/v1/x") && !prefix("/v1/").takes("/v1"));
    assert!(PathMatch::Exact("/v1".into()).takes("/v1"));
    assert!(!PathMatch::Exact("/v1".into()).takes("/v1/"));
}

fn matcher(path: &str, hosts: &[&str], methods: &[&str]) -> Matcher {
    Matcher {
        path: prefix(path),
        hosts: hosts.iter().map(|it| (*it).into()).collect(),
        methods: methods.iter().map(|it| (*it).into()).collect(),
    }
}

#[test]
fn a_matcher_takes_what_fits_in_every_respect() {
    let takes = |hosts: &[&str], methods: &[&str]| {
        matcher("/v1", hosts, methods).takes("api.example", "/v1/x", "PUT")
    };
    assert!(takes(&[], &[]));
    assert!(takes(&["b.example", "API.example"], &["GET", "PUT"]));
    assert!(!takes(&["b.example"], &[]) && !takes(&["b.example"], &["PUT"]));
    assert!(!takes(&[], &["GET"]) && !takes(&["api.example"], &["put"]));
    assert!(!matcher("/v2", &[], &[]).takes("api.example", "/v1/x", "PUT"));
}

#[test]
fn the_first_route_that_takes_a_request_counts() {
    let mut policy = crate::sample::policy(&[("us", 0)]);
    let all = policy.routes[0].clone();
    let some = Route { matcher: matcher("/v1", &[], &[]), ..all.clone() };
    policy.routes = vec![some.clone(), all, some];
    let place = |path| policy.route("a", path, "GET").map(|(place, _)| place);
    assert_eq!((place("/v1"), place("/v2")), (Some(0), Some(1)));
    policy.routes.truncate(1);
    assert!(policy.route("a", "/v2", "GET").is_none());
}

#[test]
fn everybody_may_pin_unless_somebody_is_named_and_nobody_is_trusted_unless_named() {
    let mut policy = crate::sample::policy(&[("us", 0)]);
    let (near, far) = ("10.1.2.3".parse().unwrap(), "192.0.2.1".parse().unwrap());
    assert!(policy.may_pin(near) && policy.may_pin(far));
    assert!(!policy.trusts(near) && !policy.trusts(far));
    policy.pins_from = vec!["10.0.0.0/8".parse().unwrap()];
    policy.trusted_peers.clone_from(&policy.pins_from);
    assert!(policy.may_pin(near) && !policy.may_pin(far));
    assert!(policy.trusts(near) && !policy.trusts(far));
}

#[test]
fn an_alias_stands_for_its_release() {
    let aliases = vec![("canary".into(), "r2".into()), ("stable".into(), "r1".into())];
    let releases = Releases { aliases, ..Releases::default() };
    assert_eq!(["canary", "stable", "r2"].map(|it| releases.resolve(it)), ["r2", "r1", "r2"]);
}

#[test]
fn a_wider_matcher_covers_a_narrower_one() {
    let exact = |path: &str| PathMatch::Exact(path.into());
    assert!(exact("/v1").covers(&exact("/v1")) && !exact("/v1").covers(&exact("/v2")));
    assert!(prefix("/v1").covers(&exact("/v1/x")) && !exact("/v1").covers(&prefix("/v1")));
    assert!(prefix("/v1").covers(&prefix("/v1/")) && !prefix("/v1/").covers(&prefix("/v1")));
    assert!(matcher("/", &[], &[]).covers(&matcher("/v1", &["a"], &["GET"])));
    assert!(!matcher("/v1", &[], &[]).covers(&matcher("/", &[], &[])));
    assert!(!matcher("/", &["a"], &[]).covers(&matcher("/", &[], &[])));
    assert!(matcher("/", &[], &["GET", "PUT"]).covers(&matcher("/", &[], &["PUT"])));
}

#[test]
fn a_split_gives_each_release_its_share() {
    let releases =
        Releases { split: vec![("r1".into(), 95), ("r2".into(), 5)], ..Releases::default() };
    let share = (0..1000).filter(|it| releases.assigned(*it) == Some(1));
    assert_eq!(share.count(), 50);
    assert_eq!(Releases::default().assigned(7), None);
}
