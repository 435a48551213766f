//! The setting of most tests: regions, a policy in front of them, and the real balancer.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a broken test should panic")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tidegate_harness::{Balancer, FakeRegion, Reply, Request, free_address, wait_until};

/// The program under test.
pub(crate) const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");

/// Longest time that a test waits for something that must come.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The name of the admin socket, in the directory of the balancer.
const SOCKET: &str = "admin.sock";

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
    /// Members of `contract.probe` besides its path.
    pub(crate) probe: String,
    /// Further lines of `contract:`, each with two blanks before it.
    pub(crate) contract: String,
    /// Members of the listener besides its address.
    pub(crate) listener: String,
}

impl Default for PolicyText {
    fn default() -> Self {
        Self {
            routes: "  - { name: all, match: { path: / } }".to_owned(),
            expect: "    index_hash: a1b2c3\n    schema_rev: sc-12".to_owned(),
            more: "failback: { after: 1ms, hysteresis: 1ms }".to_owned(),
            region: String::new(),
            probe: "interval: 200ms, timeout: 500ms, stale_after: 3s".to_owned(),
            contract: String::new(),
            listener: String::new(),
        }
    }
}

impl PolicyText {
    /// The policy in front of these regions, nearest first.
    pub(crate) fn text(&self, door: SocketAddr, regions: &[FakeRegion]) -> String {
        let region = &self.region;
        let comma = if region.is_empty() { "" } else { ", " };
        let listed = regions.iter().enumerate().map(|(place, it)| {
            let (name, address, distance) = (it.name(), it.address(), place * 80);
            format!(
                "  {name}: {{ distance: {distance}, endpoints: [\"{address}\"]{comma}{region} }}"
            )
        });
        self.text_of(door, &listed.collect::<Vec<_>>().join("\n"))
    }

    /// The policy with these lines of `regions:`. The admin socket lies beside the policy.
    pub(crate) fn text_of(&self, door: SocketAddr, regions: &str) -> String {
        let Self { routes, expect, more, probe, contract, listener, .. } = self;
        let admin = free_address();
        format!(
            "version: 1\nlisteners: [ {{ bind: \"{door}\", {listener} }} ]\n\
             admin: {{ http: \"{admin}\", socket: {SOCKET} }}\n\
             regions:\n{regions}\n\
             contract:\n  probe: {{ path: /contract, {probe} }}\n{contract}\n\
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
        let regions = names.iter().map(|name| FakeRegion::start(name)).collect();
        let setting = Self::in_front_of(regions, policy);
        for name in names {
            setting.until_verdict(name, "green");
        }
        setting
    }

    /// A balancer in front of these regions, nearest first; it waits only until it is ready.
    pub(crate) fn in_front_of(regions: Vec<FakeRegion>, policy: &PolicyText) -> Self {
        let door = free_address();
        let balancer = Balancer::start(TIDEGATE, &policy.text(door, &regions));
        Self { regions, balancer, door }
    }

    /// The same as [`Setting::of`], with the program at another path.
    pub(crate) fn by(exe: &str, names: &[&str], policy: &PolicyText) -> Self {
        let regions: Vec<_> = names.iter().map(|name| FakeRegion::start(name)).collect();
        let door = free_address();
        let balancer = Balancer::start(exe, &policy.text(door, &regions));
        let setting = Self { regions, balancer, door };
        for name in names {
            setting.until_verdict(name, "green");
        }
        setting
    }

    /// A balancer in front of regions that `listed`, the lines of `regions:`, puts together.
    ///
    /// It is ready, so one region is green; each test waits for what else it needs.
    pub(crate) fn listed(regions: Vec<FakeRegion>, listed: &str, policy: &PolicyText) -> Self {
        let door = free_address();
        let balancer = Balancer::start(TIDEGATE, &policy.text_of(door, listed));
        Self { regions, balancer, door }
    }

    /// Where the admin socket is, as the command line takes it.
    pub(crate) fn socket(&self) -> String {
        self.balancer.directory().join(SOCKET).display().to_string()
    }

    /// The admin address, as the command line takes it.
    pub(crate) fn admin(&self) -> String {
        self.balancer.admin_url("").replace("http://", "")
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

    /// What a GET comes to, in short: `far pin` for region and reason, or `409 contract_unmet`.
    pub(crate) fn comes_to(&self, path: &str, headers: &[(&str, &str)]) -> String {
        in_short(&self.get(path, headers))
    }

    /// Waits until a region is green and takes its traffic back.
    pub(crate) fn until_serving(&self, region: &str) -> Duration {
        let what = format!("{region} serves");
        wait_until(SOON, &what, || {
            let region = self.region(region);
            region["verdict"] == "green" && region["held"].is_null()
        })
    }

    /// Waits until every region and every endpoint is green.
    pub(crate) fn until_green(&self) {
        wait_until(SOON, "everything is green", || {
            let is_green = |it: &serde_json::Value| it["verdict"] == "green";
            let all = |list: &serde_json::Value, test: &dyn Fn(&serde_json::Value) -> bool| {
                list.as_array().is_some_and(|list| list.iter().all(test))
            };
            all(&self.state()["regions"], &|it| is_green(it) && all(&it["endpoints"], &is_green))
        });
    }

    /// A region as the balancer tells it.
    pub(crate) fn region(&self, name: &str) -> serde_json::Value {
        let mut state = self.state();
        let regions = state["regions"].as_array_mut().expect("regions");
        let place = regions.iter().position(|it| it["name"] == name).expect("the region");
        regions.swap_remove(place)
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

/// An answer in short: `far pin` for region and reason, or `409 contract_unmet`.
pub(crate) fn in_short(reply: &Reply) -> String {
    if let (Some(region), Some(reason)) =
        (reply.header("x-region"), reply.header("x-region-reason"))
    {
        return format!("{region} {reason}");
    }
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    format!("{} {}", reply.status, body["code"].as_str().unwrap_or("-"))
}

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the program to its end, at the top of the repository.
pub(crate) fn tidegate(arguments: &[&str]) -> Said {
    let output = Command::new(TIDEGATE)
        .args(arguments)
        .current_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")))
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}
