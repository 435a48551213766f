//! `/metrics` is in the format of `OpenMetrics`, and has what the documentation names.

use std::collections::BTreeMap;

use tidegate_harness::Fault;

use super::{PolicyText, Setting};

/// What one family says about itself, and its samples.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    unit: String,
    samples: Vec<(String, f64)>,
}

/// Endings of the names of samples, by the type of their family.
fn endings(kind: &str) -> &'static [&'static str] {
    match kind {
        "counter" => &["_total"],
        "histogram" => &["_bucket", "_sum", "_count"],
        "info" => &["_info"],
        "gauge" => &[""],
        _ => panic!("an unexpected type: {kind}"),
    }
}

/// Reads the format strictly: whatever does not belong is a failure.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let body = text.strip_suffix("# EOF\n").expect("it ends with its mark");
    let mut families = BTreeMap::<String, Family>::new();
    let mut current = String::new();
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (word, name) = (words.next().unwrap_or("-"), words.next().unwrap_or("-"));
            let rest = words.next().unwrap_or_default().to_owned();
            if name != current {
                assert!(!families.contains_key(name), "{name} comes twice");
                name.clone_into(&mut current);
            }
            let family = families.entry(current.clone()).or_default();
            assert!(family.samples.is_empty(), "{line} comes after the samples");
            match word {
                "HELP" => family.help = rest,
                "TYPE" => family.kind = rest,
                "UNIT" => family.unit = rest,
                _ => panic!("an unexpected line: {line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let value: f64 = value.parse().expect("a number");
        let name = series.split('{').next().unwrap_or_default();
        let family = families.get_mut(&current).expect("a family before its samples");
        let ending = name.strip_prefix(&current);
        assert!(
            ending.is_some_and(|it| endings(&family.kind).contains(&it)),
            "{line} in {current}"
        );
        assert!(series == name || series.ends_with('}'), "{line}");
        assert!(family.samples.iter().all(|(it, _)| it != series), "{series} comes twice");
        family.samples.push((series.to_owned(), value));
    }
    families
}

/// A setting in which everything that is counted has happened.
fn busy() -> Setting {
    let setting = Setting::three(&PolicyText {
        routes: "  - { name: all, match: { path: / } }".to_owned(),
        ..PolicyText::default()
    });
    setting.regions[2].set_key("index_hash", "other");
    setting.until_verdict("far", "mismatched");
    assert_eq!(setting.comes_to("/", &[]), "near nearest");
    assert_eq!(setting.comes_to("/", &[("X-Region-Pin", "middle")]), "middle pin");
    assert_eq!(setting.comes_to("/", &[("X-Index-Hash", "none")]), "409 contract_unmet");
    let died = setting.get("/", &[("X-Fault", "die-before-executing")]);
    assert!(502 <= died.status, "{died:?}");
    setting.regions[0].set_fault(Fault::Refuse);
    setting.until_verdict("near", "dark");
    setting
}

fn scrape(setting: &Setting) -> BTreeMap<String, Family> {
    let reply = setting.balancer.ask_admin("/metrics").expect("an answer");
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(reply.header("content-type"), Some(kind));
    parse(&reply.text())
}

#[test]
fn metrics_are_open_metrics_and_every_family_says_what_it_is() {
    let families = scrape(&busy());
    for (name, family) in &families {
        assert!(name.starts_with("tidegate_"), "{name}");
        assert!(10 < family.help.len(), "{name} says nothing: {family:?}");
        assert!(!family.kind.is_empty(), "{name} has no type");
        if !family.unit.is_empty() {
            assert!(name.ends_with(&format!("_{}", family.unit)), "{name} in {}", family.unit);
        }
        let negative = family.samples.iter().find(|(_, value)| *value < 0.0);
        assert!(negative.is_none(), "{negative:?}");
    }
}

#[test]
fn the_metrics_that_dashboards_need_are_there_by_region_release_and_revision() {
    let families = scrape(&busy());
    let has = |name: &str, kind: &str, labels: &[&str]| {
        let family = families.get(name).unwrap_or_else(|| panic!("there is no {name}"));
        assert_eq!(family.kind, kind, "{name}");
        let counts = |(series, value): &&(String, f64)| {
            0.0 < *value && labels.iter().all(|it| series.contains(it))
        };
        assert!(family.samples.iter().any(|it| counts(&it)), "{name} {labels:?}: {family:?}");
    };
    let near = ["region=\"near\"", "release_id=\"r-2025-08-01\"", "revision=\"rev-1\""];
    has("tidegate_requests", "counter", &[&near[..], &["code=\"2xx\""]].concat());
    has("tidegate_request_duration_seconds", "histogram", &near);
    has("tidegate_first_byte_seconds", "histogram", &near);
    has("tidegate_retries", "counter", &[]);
    has("tidegate_region_verdict", "gauge", &["region=\"near\"", "verdict=\"dark\""]);
    has("tidegate_endpoint_verdict", "gauge", &["region=\"far\"", "verdict=\"mismatched\""]);
    has("tidegate_contract_mismatches", "counter", &["region=\"far\"", "key=\"index_hash\""]);
    has("tidegate_contract_mismatch", "gauge", &["region=\"far\"", "kind=\"different\""]);
    has("tidegate_probes", "counter", &["region=\"near\"", "outcome=\"connect\""]);
    has("tidegate_pins", "counter", &["outcome=\"honoured\""]);
    has("tidegate_own_answers", "counter", &["code=\"contract_unmet\""]);
    has("tidegate_build", "info", &["version="]);
    has("tidegate_generation", "gauge", &[]);
    has("tidegate_policy_last_load_ok", "gauge", &[]);
}

#[test]
fn histograms_add_up_and_reach_as_far_as_a_language_model_takes() {
    let families = scrape(&busy());
    let family = families.get("tidegate_request_duration_seconds").expect("durations");
    let near = |it: &&(String, f64)| it.0.contains("region=\"near\"") && it.0.contains("rev-1");
    let of = |ending: &str| -> Vec<&(String, f64)> {
        let prefix = format!("tidegate_request_duration_seconds_{ending}");
        family.samples.iter().filter(near).filter(|it| it.0.starts_with(&prefix)).collect()
    };
    let buckets = of("bucket");
    assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "they are cumulative: {buckets:?}");
    let last = buckets.last().expect("buckets");
    assert!(last.0.contains("le=\"+Inf\""), "{last:?}");
    assert_eq!(of("count").first().map(|it| it.1), Some(last.1));
    let bounds = buckets.iter().filter_map(|(series, _)| {
        series.split("le=\"").nth(1)?.split('"').next()?.parse::<f64>().ok()
    });
    let bounds: Vec<f64> = bounds.filter(|it| it.is_finite()).collect();
    assert!(bounds.first().is_some_and(|it| *it <= 0.001), "{bounds:?}");
    assert!(bounds.last().is_some_and(|it| 300.0 <= *it), "{bounds:?}");
}
