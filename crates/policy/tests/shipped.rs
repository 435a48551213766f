//! The policies that ship with tidegate load, and their JSON Schema is fresh.
#![expect(clippy::panic, reason = "a broken test should panic")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate_core::contract::{Accepts, INDEX_HASH, SECRETS_REV};
use tidegate_core::policy::{EndpointSource, Failback, Policy};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies")
}

fn load(name: &str) -> Policy {
    tidegate_policy::load_file(folder().join(name))
        .unwrap_or_else(|report| panic!("{}", report.render(false)))
}

#[test]
fn every_shipped_policy_loads_and_names_the_schema() {
    let mut count = 0;
    for entry in std::fs::read_dir(folder()).expect("the folder of policies is there") {
        let path = entry.expect("the folder can be read").path();
        if path.extension().is_none_or(|it| it != "yaml") {
            continue;
        }
        count += 1;
        let name = path.file_name().and_then(|it| it.to_str()).expect("a name in UTF-8");
        load(name);
        let text = std::fs::read_to_string(&path).expect("the policy can be read");
        let first = text.lines().next();
        assert_eq!(first, Some("# yaml-language-server: $schema=./policy.schema.json"), "{name}");
    }
    assert!(count > 0);
}

#[test]
fn the_quickstart_means_what_it_says() {
    let policy = load("quickstart.yaml");
    let names: Vec<&str> = policy.regions.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["us-east-1", "eu-west-1", "ap-southeast-1"]);
    let EndpointSource::Listed(first) = &policy.regions[0].endpoints else { panic!("a list") };
    assert_eq!(first[0].address.to_string(), "127.0.0.1:7101");
    assert_eq!(policy.probing.stale_after, Duration::from_secs(5));
    assert_eq!(policy.failback.mode, Failback::After(Duration::from_secs(2)));
    let expected = |key| policy.contract.key(key).and_then(|it| it.expect.as_ref());
    let index_hash = expected(INDEX_HASH).map(|it| it.accepts.clone());
    assert_eq!(index_hash, Some(Accepts::Exactly("a1b2c3".into())));
    assert!(expected(SECRETS_REV).is_none());
    let route = |path| policy.route("any", path, "POST").map(|(_, route)| &*route.name);
    assert_eq!(route("/v1/chat/7"), Some("chat"));
    assert_eq!(route("/v1/chats"), Some("everything-else"));
    assert_eq!(policy.routes[0].timeouts.total, None);
    assert_eq!(policy.routes[1].timeouts.total, Some(Duration::from_mins(1)));
}

#[test]
fn the_schema_beside_the_policies_is_fresh() {
    let path = folder().join("policy.schema.json");
    let fresh = tidegate_policy::schema();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &fresh).expect("the schema can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == fresh, "policies/policy.schema.json is stale: run the tests with UPDATE=1");
}
