//! Keys: how they differ, where they are read, what a difference means, and rotations.

use std::process::Command;

use serde_json::json;
use tidegate_harness::{FakeRegion, Fault, wait_until};

use super::{endpoint, expecting, mismatches};
use crate::setting::{PolicyText, SOON, Setting, in_short};

#[test]
fn missing_wrong_type_and_different_are_told_apart() {
    let prepare = |region: &FakeRegion| {
        region.set_key("shards", 4);
        region.set_key("hot", true);
    };
    let policy =
        expecting("    schema_rev: sc-12\n    index_hash: a1b2c3\n    shards: 4\n    hot: true");
    let setting = starting(prepare, &policy);
    let near = &setting.regions[0];
    near.remove_key("schema_rev");
    near.set_key("index_hash", "A1B2C3");
    near.set_key("shards", "4");
    near.set_key("hot", json!(["true"]));
    let expected =
        ["schema_rev missing", "index_hash different", "shards wrong_type", "hot wrong_type"];
    wait_until(SOON, "all differences", || mismatches(&setting, "near") == expected);
    let at = near.address();
    for of_key in expected {
        let (key, kind) = of_key.split_once(' ').expect("two words");
        let labels = format!("region=\"near\",endpoint=\"{at}\",key=\"{key}\",kind=\"{kind}\"");
        let gauge = setting.metric(&format!("tidegate_contract_mismatch{{{labels}}}"));
        assert_eq!(gauge.to_string(), "1", "{key}");
        let labels = format!("region=\"near\",key=\"{key}\"");
        let counter = setting.metric(&format!("tidegate_contract_mismatches_total{{{labels}}}"));
        assert!(1.0 <= counter, "{key}: {counter}");
    }
    let told = endpoint(&setting, "near")["mismatches"].to_string();
    for part in [
        "schema_rev is missing, expected sc-12",
        "index_hash is A1B2C3, expected a1b2c3",
        "shards is the string 4, expected 4",
        "hot is of type array, expected true",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    setting.until_verdict("near", "mismatched");
    near.set_key("schema_rev", "sc-12");
    near.set_key("index_hash", "a1b2c3");
    near.set_key("shards", 4);
    near.set_key("hot", true);
    setting.until_serving("near");
    assert_eq!(mismatches(&setting, "near"), [""; 0]);
    let text = setting.balancer.ask_admin("/metrics").expect("an answer").text();
    assert!(!text.contains("tidegate_contract_mismatch{"), "what is mended has no series");
}

/// One region whose contract also has what these tests expect of it.
fn starting(prepare: impl Fn(&FakeRegion), policy: &PolicyText) -> Setting {
    let regions = ["near", "middle"].map(FakeRegion::start);
    regions.iter().for_each(&prepare);
    let setting = Setting::in_front_of(regions.into(), policy);
    setting.until_green();
    setting
}

#[test]
fn a_key_can_be_read_from_a_header_or_from_anywhere_in_the_body() {
    let blobs = FakeRegion::start("near").blob_summary();
    let policy = PolicyText {
        contract: "  sources:\n    \
                   index: { header: X-Index-Hash }\n    \
                   manifest: { pointer: /blob_manifest/digest }\n    \
                   second: { pointer: /a~1b/1 }\n    \
                   waiting: { pointer: /queue/depth }"
            .to_owned(),
        ..expecting(&format!(
            "    index: a1b2c3\n    manifest: {}\n    second: y\n    waiting: 0",
            blobs["digest"]
        ))
    };
    let setting = starting(|it| it.set_key("a/b", json!(["x", "y"])), &policy);
    let near = &setting.regions[0];
    near.set_key("index_hash", "other");
    wait_until(SOON, "the header", || mismatches(&setting, "near") == ["index different"]);
    near.remove_key("index_hash");
    wait_until(SOON, "no header", || mismatches(&setting, "near") == ["index missing"]);
    near.set_key("index_hash", "a1b2c3");
    near.set_key("a/b", json!(["x"]));
    near.set_key("queue", json!({ "depth": 3, "oldest_age_ms": 10, "watermark": 0 }));
    let expected = ["second missing", "waiting different"];
    wait_until(SOON, "the pointers", || mismatches(&setting, "near") == expected);
    assert_eq!(setting.served_by(), "middle");
}

#[test]
fn a_contract_of_headers_alone_needs_no_json() {
    let policy = PolicyText {
        contract: "  sources: { index_hash: { header: X-Index-Hash } }".to_owned(),
        ..expecting("    index_hash: a1b2c3")
    };
    let setting = Setting::of(&["near", "middle"], &policy);
    setting.regions[0].set_fault(Fault::NotJson);
    // The page of that fault has no header either, so it differs and is not dark.
    setting.until_verdict("near", "mismatched");
    assert_eq!(mismatches(&setting, "near"), ["index_hash missing"]);
}

#[test]
fn a_difference_that_degrades_makes_a_region_the_last_choice() {
    let setting = Setting::three(&expecting("    analyzer: { degrade: icu-v3 }"));
    setting.regions[0].set_key("analyzer", "icu-v2");
    setting.until_verdict("near", "degraded");
    assert_eq!(in_short(&setting.get("/", &[])), "middle nearest");
    assert_eq!(in_short(&setting.get("/", &[("X-Region-Pin", "near")])), "near pin");
    setting.regions[1].set_fault(Fault::Refuse);
    setting.regions[2].set_fault(Fault::Refuse);
    setting.until_verdict("middle", "dark");
    setting.until_verdict("far", "dark");
    assert_eq!(in_short(&setting.get("/", &[])), "near nearest");
}

#[test]
fn a_difference_that_is_observed_is_told_and_nothing_else() {
    let setting = Setting::three(&expecting("    analyzer: { observe: icu-v3 }"));
    setting.regions[0].set_key("analyzer", "icu-v2");
    wait_until(SOON, "it is told", || mismatches(&setting, "near") == ["analyzer different"]);
    assert_eq!(setting.verdict("near"), "green");
    assert_eq!(in_short(&setting.get("/", &[])), "near nearest");
    let series = "tidegate_contract_mismatches_total{region=\"near\",key=\"analyzer\"}";
    assert!(1.0 <= setting.metric(series));
}

#[test]
fn shadow_mode_tells_every_difference_and_acts_on_none() {
    let policy = PolicyText {
        contract: "  shadow: true".to_owned(),
        ..expecting("    index_hash: a1b2c3\n    schema_rev: { agree: true }")
    };
    let setting = Setting::three(&policy);
    setting.regions[0].set_key("index_hash", "other");
    setting.regions[0].remove_key("schema_rev");
    let expected = ["schema_rev missing", "index_hash different"];
    wait_until(SOON, "they are told", || mismatches(&setting, "near") == expected);
    assert_eq!(setting.verdict("near"), "green");
    assert_eq!(in_short(&setting.get("/", &[])), "near nearest");
    setting.regions[0].set_fault(Fault::ContractStatus(500));
    setting.until_verdict("near", "dark");
}

/// This time and a few seconds, as a policy has it.
fn seconds_from_now(seconds: u32) -> String {
    let output = Command::new("date")
        .args(["-u", "-d", &format!("{seconds} seconds"), "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .expect("`date` runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn the_old_value_of_a_rotation_is_right_until_its_end() {
    let until = seconds_from_now(5);
    let policy = expecting(&format!(
        "    secrets_rev: {{ accept: [k_2025_08a, k_2025_08b], until: {until} }}"
    ));
    let regions = ["near", "middle"].map(FakeRegion::start);
    regions[1].set_key("secrets_rev", "k_2025_08b");
    let setting = Setting::in_front_of(regions.into(), &policy);
    setting.until_green();
    assert_eq!(setting.served_by(), "near");
    setting.until_verdict("near", "mismatched");
    let told = endpoint(&setting, "near")["mismatches"].to_string();
    assert!(told.contains("k_2025_08b"), "{told}");
    assert_eq!(setting.served_by(), "middle");
    assert_eq!(setting.verdict("middle"), "green");
    setting.regions[0].set_key("secrets_rev", "k_2025_08b");
    setting.until_serving("near");
}

#[test]
fn what_is_reported_is_never_compared() {
    let setting = Setting::three(&PolicyText::default());
    let near = &setting.regions[0];
    near.set_key("release_id", "r-next");
    near.set_key("revision", 8);
    near.set_key("build_ts", "2099-01-01T00:00:00Z");
    near.set_key("queue", json!({ "depth": 12, "oldest_age_ms": 1500, "watermark": 7 }));
    wait_until(SOON, "the release", || endpoint(&setting, "near")["release_id"] == "r-next");
    assert_eq!(endpoint(&setting, "near")["revision"], "8");
    assert_eq!(setting.verdict("near"), "green");
    assert_eq!(in_short(&setting.get("/", &[])), "near nearest");
    let gauge = |name: &str| setting.metric(&format!("{name}{{region=\"near\"}}")).to_string();
    assert_eq!(gauge("tidegate_queue_depth"), "12");
    assert_eq!(gauge("tidegate_queue_oldest_age_seconds"), "1.5");
    let labels = "region=\"near\",release_id=\"r-next\",revision=\"8\",code=\"2xx\"";
    assert_eq!(setting.metric(&format!("tidegate_requests_total{{{labels}}}")).to_string(), "1");
}
