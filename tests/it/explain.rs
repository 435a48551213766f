//! `tidegate explain`: what it says is what happens, live, from a recording, and in a stated world.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a broken test should panic")]

use std::path::Path;

use serde_json::{Value, json};
use tidegate_harness::{FakeRegion, Fault, Reply, Request, TempDir};

use crate::setting::{PolicyText, Setting, in_short, tidegate};

mod live;
mod recorded;
mod stated;

/// A world with one of everything, in which nothing moves any more.
///
/// `near` is in the middle of a rollout, `middle` has another index, `silent` never answered,
/// `lost` answered once, `out` is drained, and `poor` is degraded.
fn zoo() -> Setting {
    let names = ["near", "near", "middle", "silent", "lost", "out", "poor"];
    let regions: Vec<_> = names.iter().map(|name| FakeRegion::start(name)).collect();
    regions[0].set_key("release_id", "r1");
    regions[1].set_key("release_id", "r2");
    regions[1].set_key("model_tag", "m2");
    regions[2].set_key("index_hash", "blue");
    regions[2].set_key("model_tag", json!(["m", 1]));
    regions[3].set_fault(Fault::Refuse);
    regions[6].set_key("analyzer", "icu-v2");
    regions[6].set_key("index_hash", "a1b2c3");
    let listed = |name: &str, distance: usize| {
        let endpoints = regions.iter().filter(|it| it.name() == name);
        let endpoints: Vec<_> = endpoints.map(|it| format!("\"{}\"", it.address())).collect();
        let endpoints = endpoints.join(", ");
        format!("  {name}: {{ distance: {distance}, endpoints: [ {endpoints} ] }}")
    };
    let listed: Vec<_> =
        names[1..].iter().enumerate().map(|(at, it)| listed(it, at * 10)).collect();
    let setting = Setting::listed(regions, &listed.join("\n"), &policy());
    setting.until_verdict("lost", "green");
    setting.regions[4].set_fault(Fault::Refuse);
    setting.until_verdict("out", "green");
    let said = tidegate(&["drain", "out", "--admin", &setting.socket()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let verdicts = [
        ("near", "green"),
        ("middle", "mismatched"),
        ("silent", "dark"),
        ("lost", "dark"),
        ("poor", "degraded"),
    ];
    for (region, verdict) in verdicts {
        setting.until_verdict(region, verdict);
    }
    setting
}

fn policy() -> PolicyText {
    PolicyText {
        routes: "  - { name: must, match: { path: /must }, pin: require }\n\
                 \x20 - { name: never, match: { path: /never }, pin: ignore }\n\
                 \x20 - { name: any, match: { path: /any }, require: answer }\n\
                 \x20 - { name: eu, match: { path: /eu }, residency: eu }\n\
                 \x20 - { name: gone, match: { path: /gone }, residency: gone }\n\
                 \x20 - { name: reads, match: { path: /reads, methods: [GET] } }\n\
                 \x20 - { name: host, match: { hosts: [ api.example.com ] } }\n\
                 \x20 - { name: rest, match: { path: /rest } }"
            .to_owned(),
        expect: "    schema_rev: sc-12\n    index_hash: a1b2c3\n    analyzer: { degrade: icu-v3 }"
            .to_owned(),
        more: "failback: { after: 1ms, hysteresis: 1ms }\n\
               residency: { eu: [ middle, poor, lost ], gone: [ silent, lost ] }\n\
               releases: { aliases: { canary: r2 }, split: { r1: 1, r2: 1 }, \
               by: { header: X-User } }"
            .to_owned(),
        ..PolicyText::default()
    }
}

/// A request to explain and to send.
#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
}

impl Asked {
    fn get(path: &'static str, headers: &[(&'static str, &'static str)]) -> Self {
        Self { method: "GET", path, headers: headers.to_vec() }
    }

    fn send(&self, setting: &Setting) -> Reply {
        let mut request = Request::new(self.method, &setting.url(self.path));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.send().expect("an answer")
    }

    /// What the running balancer says about it.
    fn explained(&self, setting: &Setting) -> Value {
        let Self { method, path, headers } = self;
        let question = json!({ "method": method, "path": path, "headers": headers });
        let url = setting.balancer.admin_url("/v1/explain");
        let reply = Request::post(&url, question.to_string()).send().expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }

    /// The command line that explains it.
    fn arguments(&self) -> Vec<String> {
        let mut arguments =
            vec!["explain".to_owned(), self.method.to_owned(), self.path.to_owned()];
        for (name, value) in &self.headers {
            arguments.push("-H".to_owned());
            arguments.push(format!("{name}: {value}"));
        }
        arguments
    }

    /// What the command line says about it, as JSON.
    fn told(&self, more: &[&str]) -> Value {
        let arguments = self.arguments();
        let arguments = arguments.iter().map(String::as_str).chain(["--output", "json"]);
        let arguments: Vec<_> = arguments.chain(more.iter().copied()).collect();
        let said = tidegate(&arguments);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{arguments:?}: {said:?}");
        serde_json::from_str(&said.out).expect("JSON")
    }

    /// The same with a policy and a recorded or stated world, and no balancer.
    fn told_offline(&self, policy: &Path, state: Option<&Path>) -> Value {
        let policy = policy.display().to_string();
        let state = state.map(|it| it.display().to_string());
        let mut more = vec!["--policy", policy.as_str()];
        if let Some(state) = &state {
            more.extend(["--state", state]);
        }
        self.told(&more)
    }
}

/// An explanation as short as [`in_short`] makes an answer.
fn promised(explained: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    if explained["outcome"] == "refused" {
        return format!("{} {}", explained["status"], word(&explained["code"]));
    }
    let outcome = explained["pin"]["outcome"].as_str().filter(|it| *it != "honoured");
    let pin = outcome.map_or_else(String::new, |it| format!("; pin={it}"));
    format!("{} {}{pin}", word(&explained["region"]), word(&explained["reason"]))
}

/// Compares what is explained with what happens. `None` when the world turned in between.
fn agrees(setting: &Setting, asked: &Asked) -> Option<String> {
    let explained = asked.explained(setting);
    let reply = asked.send(setting);
    if explained != asked.explained(setting) {
        return None;
    }
    let happened = in_short(&reply);
    assert_eq!(happened, promised(&explained), "{asked:?}\n{explained:#}");
    if explained["outcome"] == "refused" {
        let problem = reply.json();
        assert_eq!(problem["differences"], explained["differences"], "{asked:?}");
        assert_eq!(problem["title"], explained["title"], "{asked:?}");
        assert_eq!(explained["status"], reply.status, "{asked:?}");
    } else {
        // The endpoint says which connection it got, and we know who listens where.
        let served =
            setting.regions.iter().filter(|it| reply.header("x-region") == Some(it.name()));
        let allowed = explained["endpoints"].as_array().cloned().unwrap_or_default();
        let may = |it: &&FakeRegion| allowed.contains(&json!(it.address().to_string()));
        let releases: Vec<_> =
            served.filter(may).map(|it| it.contract()["release_id"].clone()).collect();
        let release = json!(reply.header("x-release"));
        assert!(releases.contains(&release), "{asked:?} got {release}\n{explained:#}");
    }
    Some(happened)
}

/// The world of a running balancer, in a file.
fn record(setting: &Setting, directory: &TempDir) -> std::path::PathBuf {
    let said = tidegate(&["state", "--admin", &setting.admin()]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    directory.write("state.json", &said.out)
}
