//! Probe sets, asked of regions that spoil their answers in every way.

use serde_json::{Value, json};
use tidegate_harness::{FakeRegion, Fault, wait_until};

use super::{gated, gates, questions, shut_by, until_shut_by};
use crate::setting::{SOON, Setting};

/// Changes an answer; what was asked comes first.
type Spoil = fn(&Value, &mut Value);

/// The section of a probe set; `near` is what the others are compared with.
fn probes(more: &str) -> String {
    format!(
        "probes: {{ path: /probe, every: 300ms, timeout: 1s, age: 20s, reference: near, {more} \
         questions: {} }}",
        questions()
    )
}

#[test]
fn each_way_to_spoil_answers_is_named() {
    let setting = Setting::of(&["near", "far"], &gated(&[&probes("")]));
    until_shut_by(&setting, &[]);
    let far = &setting.regions[1];
    let cases: [(&str, Spoil); 12] = [
        ("drift", |_, it| it["delta_s"] = json!(0.440_001)),
        ("not_finite", |_, it| it["delta_s"] = json!("NaN")),
        ("out_of_range", |_, it| it["delta_s"] = json!(7)),
        ("no_figure", |_, it| it["delta_s"] = Value::Null),
        ("too_shallow", |_, it| it["retrieved_ids"] = json!([])),
        ("seeds_ignored", |_, it| it["seed_applied"] = json!(false)),
        ("no_index_hash", |_, it| it["index_hash"] = Value::Null),
        ("lambda", |_, it| it["lambda_state"] = json!("<>")),
        ("empty_vector", |_, it| (it["q_vec"], it["ctx_vec"]) = (json!([]), json!([1.0]))),
        ("vector_size", |_, it| (it["q_vec"], it["ctx_vec"]) = (json!([1, 2]), json!([1]))),
        ("probe_failed", |_, it| *it = json!([])),
        ("index_changed", |asked, it| {
            it["index_hash"] = json!(format!("i{}", asked["seed"]));
        }),
    ];
    for (word, spoil) in cases {
        far.spoil_probes(spoil);
        until_shut_by(&setting, &[&format!("probes far red {word}")]);
    }
    far.spoil_probes(|_, it| it["delta_s"] = json!(0.44));
    until_shut_by(&setting, &[]);
    far.spoil_probes(|_, it| it["index_hash"] = json!("elsewhere"));
    until_shut_by(&setting, &["probes far contradictory index_moved"]);
    far.answer_probes_well();
    until_shut_by(&setting, &[]);
    assert!(0.0 < setting.metric("tidegate_gate_open{gate=\"planned\",requests=\"writes\"}"));
    let figures = gates(&setting, "")["probes"]["far"].clone();
    assert_eq!(figures["delta_s"]["median"], 0.41, "{figures}");
    assert_eq!(figures["lambda"][1]["convergent"], 10, "{figures}");
    let median = setting.metric("tidegate_probe_delta_s{region=\"far\",statistic=\"median\"}");
    assert!((median - 0.41).abs() < 1e-9, "{median}");
}

#[test]
fn a_seedless_region_may_pass_by_policy() {
    let policy = gated(&[&probes("limits: { ignored_seeds: accept },")]);
    let setting = Setting::of(&["near", "far"], &policy);
    for region in &setting.regions {
        region.spoil_probes(|_, it| it["seed_applied"] = json!(false));
    }
    until_shut_by(&setting, &[]);
}

#[test]
fn vectors_are_made_by_somebody_else_where_regions_have_none() {
    let embedder = FakeRegion::start("embedder");
    let section = probes(&format!(
        "delta_s: {{ embeddings: {{ address: \"{}\", model: small }} }},",
        embedder.address()
    ));
    let setting = Setting::of(&["near", "far"], &gated(&[&section]));
    for region in &setting.regions {
        region.spoil_probes(|_, it| it["delta_s"] = Value::Null);
    }
    until_shut_by(&setting, &[]);
    let figures = gates(&setting, "")["probes"]["far"].clone();
    assert_eq!(figures["delta_s"]["max"], 0.4, "{figures}");
    setting.regions[1].spoil_probes(|_, it| {
        it["delta_s"] = Value::Null;
        it["context"] = Value::Null;
    });
    until_shut_by(&setting, &["probes far red no_vectors"]);
}

#[test]
fn a_region_that_dies_grows_stale_and_the_survivor_keeps_its_verdict() {
    let policy = gated(&[&probes("").replace("age: 20s", "age: 2s")]);
    let setting = Setting::of(&["near", "far"], &policy);
    until_shut_by(&setting, &[]);
    setting.regions[0].set_fault(Fault::Refuse);
    setting.until_verdict("near", "dark");
    // A round that was under way when it died has failed, and no other one was begun.
    wait_until(SOON, "what it answered is of no use any more", || {
        let shut = shut_by(&setting, "planned", "");
        let of_no_use = ["probes near stale stale", "probes near red probe_failed"];
        shut.len() == 3 && shut.iter().any(|it| of_no_use.contains(&&**it))
    });
    let shut = shut_by(&setting, "planned", "");
    assert_eq!(shut[..2], ["contract near red dark", "index_hash near red unreported"]);
    let gates = gates(&setting, "?from=near&to=far");
    assert_eq!(gates["emergency"]["reads"], true, "{gates}");
}
