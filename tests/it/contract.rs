//! What a region must report to be routable: keys, sources, weights, and answers that are none.
#![expect(clippy::disallowed_methods, reason = "the promise is about real time")]
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a broken test should panic")]

use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate_harness::{Fault, get, wait_until};

use crate::setting::{PolicyText, SOON, Setting};

mod answers;
mod rules;

fn expecting(expect: &str) -> PolicyText {
    PolicyText { expect: expect.to_owned(), ..PolicyText::default() }
}

/// The only endpoint of a region, as the balancer tells it.
fn endpoint(setting: &Setting, region: &str) -> Value {
    setting.region(region)["endpoints"][0].clone()
}

/// How the only endpoint of a region differs: `key kind`, in the order of the contract.
fn mismatches(setting: &Setting, region: &str) -> Vec<String> {
    let endpoint = endpoint(setting, region);
    let list = endpoint["mismatches"].as_array().cloned().unwrap_or_default();
    let word = |it: &Value, key: &str| it[key].as_str().unwrap_or("-").to_owned();
    list.iter().map(|it| format!("{} {}", word(it, "key"), word(it, "kind"))).collect()
}

/// Times that are promised; they get the machine for themselves.
mod alone {
    use super::*;

    /// Two probes 200 ms apart, each at most a tenth late, and a second.
    const PROMISED: Duration = Duration::from_millis(1400);

    #[test]
    fn a_region_whose_contract_breaks_while_it_answers_loses_its_traffic_and_gets_it_back() {
        let setting = Setting::three(&PolicyText::default());
        assert_eq!(setting.served_by(), "near");
        let broken = Instant::now();
        setting.regions[0].set_key("index_hash", "other");
        let lost = until_served_by(&setting, "middle", broken);
        assert_eq!(get(&setting.regions[0].url("/")).status, 200, "it still answers");
        let mended = Instant::now();
        setting.regions[0].restore_contract();
        let regained = until_served_by(&setting, "near", mended);
        println!("lost after {lost:?}, regained after {regained:?}");
        assert!(lost <= PROMISED, "{lost:?}");
        assert!(regained <= PROMISED, "{regained:?}");
        let turns = |from, to| {
            let labels = format!("region=\"near\",from=\"{from}\",to=\"{to}\"");
            setting.metric(&format!("tidegate_verdict_turns_total{{{labels}}}")).to_string()
        };
        assert_eq!([turns("green", "mismatched"), turns("mismatched", "green")], ["1", "1"]);
    }

    fn until_served_by(setting: &Setting, region: &str, since: Instant) -> Duration {
        wait_until(SOON, region, || setting.served_by() == region);
        since.elapsed()
    }

    #[test]
    fn a_region_that_falls_silent_loses_its_traffic_in_time() {
        let policy = PolicyText {
            probe: "interval: 200ms, timeout: 200ms, stale_after: 3s".to_owned(),
            ..PolicyText::default()
        };
        let setting = Setting::three(&policy);
        let silent = Instant::now();
        setting.regions[0].set_fault(Fault::HangContract);
        let lost = until_served_by(&setting, "middle", silent);
        assert!(lost <= PROMISED + Duration::from_millis(200), "{lost:?}");
    }

    #[test]
    fn probes_come_at_the_interval_and_not_in_step() {
        let setting = Setting::three(&PolicyText::default());
        let mut gaps = Vec::new();
        let (mut count, mut last) = (setting.regions[0].probes(), Instant::now());
        wait_until(SOON, "twelve probes", || {
            let (now, probes) = (Instant::now(), setting.regions[0].probes());
            if count < probes {
                gaps.push(now.duration_since(last));
                (count, last) = (probes, now);
            }
            12 < gaps.len()
        });
        // The first gap began somewhere; the look itself comes every 10 ms.
        gaps.remove(0);
        let mean = gaps.iter().sum::<Duration>() / 12;
        assert!(
            (Duration::from_millis(150)..Duration::from_millis(300)).contains(&mean),
            "{gaps:?}"
        );
        let spread = gaps.iter().max().expect("gaps").abs_diff(*gaps.iter().min().expect("gaps"));
        assert!(Duration::from_millis(8) < spread, "in step: {gaps:?}");
    }
}
