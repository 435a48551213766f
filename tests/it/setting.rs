//! The setting of most tests: regions, a policy in front of them, and the real balancer.

use std::net::SocketAddr;
use std::time::Duration;

use tidegate_harness::{Balancer, FakeRegion, Reply, Request, free_address, wait_until};

/// The program under test.
pub(crate) const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");

/// Longest time that a test waits for something that must come.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Regions and a balancer that is ready; all of it ends with the setting.
pub(crate) struct Setting {
    pub(crate) regions: Vec<FakeRegion>,
    pub(crate) balancer: Balancer,
    /// Where traffic comes in.
    pub(crate) door: SocketAddr,
}

/// A policy with the sections that most tests change; everything else is as in the quick start.
pub(crate) struct PolicyText {
    /// Lines of `routes:`.
    pub(crate) routes: String,
    /// Lines of `contract.expect`.
    pub(crate) expect: String,
    /// Further top-level sections.
    pub(crate) more: String,
    /// Members of each region besides its distance and endpoints.
    pub(crate) region: String,
}

impl Default for PolicyText {
    fn default() -> Self {
        Self {
            routes: "  - { name: all, match: { path: / } }".to_owned(),
            expect: "    index_hash: a1b2c3\n    schema_rev: sc-12".to_owned(),
            more: "failback: { after: 1ms, hysteresis: 1ms }".to_owned(),
            region: String::new(),
        }
    }
}

impl PolicyText {
    /// The policy in front of these regions, nearest first.
    pub(crate) fn text(&self, door: SocketAddr, regions: &[FakeRegion]) -> String {
        let Self { routes, expect, more, region } = self;
        let comma = if region.is_empty() { "" } else { ", " };
        let listed = regions.iter().enumerate().map(|(place, it)| {
            let (name, address, distance) = (it.name(), it.address(), place * 80);
            format!("  {name}: {{ distance: {distance}, endpoints: [\"{address}\"]{comma}{region} }}")
        });
        let listed = listed.collect::<Vec<_>>().join("\n");
        let admin = free_address();
        format!(
            "version: 1\nlisteners: [ {{ bind: \"{door}\" }} ]\nadmin: {{ http: \"{admin}\" }}\n\
             regions:\n{listed}\n\
             contract:\n  probe: {{ path: /contract, interval: 200ms, timeout: 150ms, stale_after: 2s }}\n\
             \x20 expect:\n{expect}\n{more}\nroutes:\n{routes}\n"
        )
    }
}

impl Setting {
    /// Three regions, `near`, `middle` and `far`, and a balancer in front of them.
    pub(crate) fn three(policy: &PolicyText) -> Self {
        Self::of(&["near", "middle", "far"], policy)
    }

    /// Regions with these names, nearest first, all of them green.
    pub(crate) fn of(names: &[&str], policy: &PolicyText) -> Self {
        let regions: Vec<_> = names.iter().map(|name| FakeRegion::start(name)).collect();
        let door = free_address();
        let text = policy.text(door, &regions);
        let balancer = Balancer::start(TIDEGATE, &text);
        let setting = Self { regions, balancer, door };
        for name in names {
            setting.until_verdict(name, "green");
        }
        setting
    }

    /// A URL at the balancer.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.door)
    }

    /// A GET through the balancer, with headers.
    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        let mut request = Request::get(&self.url(path));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send().expect("an answer")
    }

    /// The region that answers a plain GET.
    pub(crate) fn served_by(&self) -> String {
        self.get("/", &[]).header("x-region").unwrap_or("-").to_owned()
    }

    /// The world as the balancer tells it.
    pub(crate) fn state(&self) -> serde_json::Value {
        self.balancer.ask_admin("/v1/state").expect("an answer").json()
    }

    /// What the balancer thinks of a region.
    pub(crate) fn verdict(&self, region: &str) -> String {
        let state = self.state();
        let regions = state["regions"].as_array().expect("regions");
        let found = regions.iter().find(|it| it["name"] == region).expect("the region");
        found["verdict"].as_str().expect("a verdict").to_owned()
    }

    /// Waits until the balancer thinks so of a region; answers how long it took.
    pub(crate) fn until_verdict(&self, region: &str, verdict: &str) -> Duration {
        let what = format!("{region} is {verdict}");
        wait_until(SOON, &what, || self.verdict(region) == verdict)
    }

    /// The value of a metric with exactly these labels, or 0.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.balancer.ask_admin("/metrics").expect("an answer").text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }
}
