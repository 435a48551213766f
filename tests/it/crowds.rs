//! Crowds of streams of all kinds, of which not one is cut or altered, whatever happens around them.
//!
//! Each test counts fewer streams than the load bench, which does the same with thousands.
#![expect(clippy::expect_used, reason = "a broken test should panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate_harness::{
    Balancer, Crowd, CrowdPlan, CrowdReport, FakeRegion, Fault, Kind, Load, LoadPlan, Outcome,
    Reuse, TempDir, free_address, wait_until,
};

use crate::setting::{PolicyText, SOON, Said, Setting, TIDEGATE, tidegate};

/// Streams of one crowd.
const STREAMS: usize = 72;
/// Reloads in a row.
const RELOADS: usize = 50;
/// Longer than a plain exchange may last here, and than most streams rest.
const WHILE: Duration = Duration::from_millis(1500);

/// Two regions, and a policy under which plain exchanges have a second and streams have time.
fn crowded(more: &str) -> Setting {
    Setting::of(
        &["near", "far"],
        &PolicyText {
            routes: "  - { name: flows, match: { path: /flow }, stream: true }\n\
                     \x20 - { name: uploads, match: { path: /upload }, stream: true }\n\
                     \x20 - { name: plain, match: { path: / } }"
                .to_owned(),
            listener: "timeouts: { head: 5s, keepalive: 1s }".to_owned(),
            // Refused connections would take an endpoint out for longer than these tests last.
            more: format!(
                "failback: {{ after: 1ms, hysteresis: 1ms }}\nejection: off\n\
                 timeouts: {{ total: 1s, body: 1s, first_byte: 60s, idle: 60s }}\n{more}"
            ),
            ..PolicyText::default()
        },
    )
}

impl Setting {
    /// A crowd that is open.
    fn crowd(&self) -> Crowd {
        let crowd = Crowd::open(self.door, &self.regions, CrowdPlan::of(STREAMS));
        crowd.until_open(&self.regions, SOON);
        crowd
    }

    /// Lets a crowd come to its end after it was open for a while.
    fn finish(&self, crowd: Crowd) -> CrowdReport {
        crowd.until_aged(WHILE);
        crowd.finish(&self.regions, SOON)
    }

    /// Short requests on fresh connections, one after the other.
    fn knock(&self) -> Load {
        Load::start(LoadPlan { reuse: Reuse::Fresh, workers: 2, ..LoadPlan::get(&self.url("/")) })
    }

    fn until_served_by(&self, region: &str) {
        wait_until(SOON, &format!("{region} serves"), || self.served_by() == region);
    }

    /// Where the streams of a crowd have gone: how many requests are open in a region.
    fn open_in(&self, region: &str) -> u64 {
        self.region(region).get("open").and_then(serde_json::Value::as_u64).unwrap_or_default()
    }
}

#[test]
fn a_flip_and_the_way_back_cut_no_stream() {
    let setting = crowded("");
    let [near, _far] = setting.regions.as_slice() else { return };
    let first = setting.crowd();
    assert!(setting.open_in("near") >= u64::try_from(STREAMS).unwrap());
    let knocks = setting.knock();
    // Nobody can reach it any more, and whoever is inside stays there.
    near.set_fault(Fault::HangContract);
    near.close_listener();
    setting.until_verdict("near", "dark");
    setting.until_served_by("far");
    let second = setting.crowd();
    assert!(setting.open_in("far") >= u64::try_from(STREAMS).unwrap());
    near.clear_fault();
    setting.until_serving("near");
    setting.until_served_by("near");
    near.set_fault(Fault::HangContract);
    near.close_listener();
    setting.until_verdict("near", "dark");
    near.clear_fault();
    setting.until_served_by("near");
    knocks.stop().assert_smooth();
    setting.finish(first).assert_whole(STREAMS);
    setting.finish(second).assert_whole(STREAMS);
}

#[test]
fn a_drain_of_their_region_cuts_no_stream() {
    let setting = crowded("");
    let crowd = setting.crowd();
    let knocks = setting.knock();
    setting.operate("near", "drain");
    setting.until_served_by("far");
    crowd.until_aged(WHILE);
    assert!(setting.open_in("near") >= u64::try_from(STREAMS).unwrap());
    setting.operate("near", "undrain");
    setting.until_served_by("near");
    setting.operate("near", "drain");
    setting.until_served_by("far");
    knocks.stop().assert_smooth();
    setting.finish(crowd).assert_whole(STREAMS);
    wait_until(SOON, "nothing is left of them", || setting.open_in("near") == 0);
}

#[test]
fn a_region_that_does_not_match_any_more_keeps_its_streams() {
    let setting = crowded("");
    let [near, _far] = setting.regions.as_slice() else { return };
    let crowd = setting.crowd();
    let knocks = setting.knock();
    near.set_key("index_hash", "other");
    setting.until_verdict("near", "mismatched");
    setting.until_served_by("far");
    crowd.until_aged(WHILE);
    near.restore_contract();
    setting.until_served_by("near");
    near.remove_key("schema_rev");
    setting.until_served_by("far");
    knocks.stop().assert_smooth();
    setting.finish(crowd).assert_whole(STREAMS);
}

/// The policy of the nth reload. In none of them would the streams that are open come to be, or
/// last: their routes are gone, or leave no time, or their region is elsewhere or gone.
fn nth_policy(nth: usize, text: &str) -> String {
    let renamed = text.replace("name: plain", &format!("name: plain{nth}"));
    let changed = match nth % 5 {
        0 => renamed.replace("first_byte: 60s, idle: 60s", "first_byte: 200ms, idle: 200ms"),
        1 => renamed.replace("path: /flow }, stream: true", "path: /other }"),
        2 => {
            let stays = |it: &&str| !it.starts_with("  near:");
            renamed.lines().filter(stays).collect::<Vec<_>>().join("\n")
        }
        3 => renamed
            .replace("keepalive: 1s", "keepalive: 300ms")
            .replace("distance: 0", "distance: 99"),
        _ => renamed.replace("  near: {", "  near: { protocol: h2c,"),
    };
    assert_ne!(changed, renamed, "{text}");
    changed
}

#[test]
fn fifty_reloads_in_a_row_cut_no_stream() {
    let setting = crowded("");
    let text = fs::read_to_string(setting.balancer.policy_path()).expect("it is there");
    let first = setting.crowd();
    let knocks = setting.knock();
    let mut others = Vec::new();
    for nth in 0..RELOADS {
        let policy = nth_policy(nth, &text);
        fs::write(setting.balancer.policy_path(), policy).expect("it can be written");
        let said = tidegate(&["reload", "--admin", &setting.socket()]);
        assert_eq!(said.code, Some(0), "reload {nth}: {said:?}");
        if nth.is_multiple_of(10) {
            // Under the original one, streams that come to be between two reloads last, too.
            fs::write(setting.balancer.policy_path(), &text).expect("it can be written");
            assert_eq!(tidegate(&["reload", "--admin", &setting.socket()]).code, Some(0));
            let few = Crowd::open(setting.door, &setting.regions, CrowdPlan::of(8));
            few.until_open(&setting.regions, SOON);
            others.push(few);
        }
    }
    knocks.stop().assert_smooth();
    setting.finish(first).assert_whole(STREAMS);
    for few in others {
        setting.finish(few).assert_whole(8);
    }
}

impl Setting {
    /// Asks for an upgrade to this program, or to the one that runs.
    fn succeed(&self, program: Option<&Path>) -> Said {
        let socket = self.socket();
        let binary = program.map(|it| it.display().to_string());
        let mut arguments = vec!["upgrade", "--within", "10s", "--admin", &socket];
        arguments.extend(binary.iter().flat_map(|it| ["--binary", it]));
        tidegate(&arguments)
    }
}

#[test]
fn an_upgrade_cuts_no_stream() {
    let setting = crowded("");
    let first = setting.crowd();
    let knocks = setting.knock();
    let said = setting.succeed(None);
    assert_eq!(said.code, Some(0), "{said:?}");
    let second = setting.crowd();
    knocks.stop().assert_smooth();
    first.until_aged(WHILE);
    assert_eq!(setting.balancer.exit_status(), None, "it carries its streams to their ends");
    setting.finish(first).assert_whole(STREAMS);
    assert_eq!(setting.balancer.await_exit(SOON).code(), Some(0));
    setting.finish(second).assert_whole(STREAMS);
}

#[test]
fn ten_upgrades_in_a_row_cut_no_stream() {
    let setting = crowded("");
    let mut crowds = vec![(setting.crowd(), STREAMS)];
    let knocks = setting.knock();
    for nth in 1..=10 {
        let said = setting.succeed(None);
        assert_eq!(said.code, Some(0), "upgrade {nth}: {said:?}");
        let few = Crowd::open(setting.door, &setting.regions, CrowdPlan::of(8));
        few.until_open(&setting.regions, SOON);
        crowds.push((few, 8));
    }
    knocks.stop().assert_smooth();
    assert_eq!(setting.balancer.processes().len(), 11, "each of them has streams");
    for (crowd, streams) in crowds {
        setting.finish(crowd).assert_whole(streams);
    }
    assert_eq!(setting.balancer.await_exit(SOON).code(), Some(0));
    wait_until(SOON, "only the last one is left", || setting.balancer.processes().len() == 1);
}

#[test]
fn an_upgrade_whose_successor_crashes_cuts_no_stream() {
    let setting = crowded("");
    let crowd = setting.crowd();
    let knocks = setting.knock();
    // At once, or wherever on its way it needs one more open file than it may have.
    let limited = |files: u32| format!("ulimit -n {files}; exec {TIDEGATE} \"$@\"");
    let crashes = ["kill -SEGV $$".to_owned()].into_iter().chain([8, 10, 16, 24, 30].map(limited));
    let programs = TempDir::new();
    for (nth, crash) in crashes.enumerate() {
        let program = script(&programs, &format!("crashes{nth}"), &crash);
        let said = setting.succeed(Some(&program));
        assert_eq!(said.code, Some(1), "{crash}: {said:?}");
    }
    crowd.until_aged(WHILE);
    knocks.stop().assert_smooth();
    assert_eq!(setting.balancer.processes(), [setting.balancer.pid()]);
    let said = setting.succeed(None);
    assert_eq!(said.code, Some(0), "what has failed is no hindrance: {said:?}");
    setting.finish(crowd).assert_whole(STREAMS);
}

#[test]
fn a_successor_that_does_not_become_ready_answers_nobody() {
    let setting = crowded("");
    let crowd = setting.crowd();
    let text = fs::read_to_string(setting.balancer.policy_path()).expect("it is there");
    // Under this one nothing is known for long, so whoever met the successor would get a 503.
    let silent = FakeRegion::start("silent");
    silent.set_fault(Fault::Hang);
    let addresses = setting.regions.iter().map(|it| it.address().to_string());
    let policy = addresses.fold(text, |text, it| text.replace(&it, &silent.address().to_string()));
    let policy =
        policy.replace("timeout: 500ms, stale_after: 3s", "timeout: 20s, stale_after: 60s");
    fs::write(setting.balancer.policy_path(), policy).expect("it can be written");
    let knocks = setting.knock();
    let said = tidegate(&["upgrade", "--within", "2s", "--admin", &setting.socket()]);
    assert_eq!(said.code, Some(1), "{said:?}");
    knocks.stop().assert_smooth();
    setting.finish(crowd).assert_whole(STREAMS);
}

/// A program that is a script.
fn script(directory: &TempDir, name: &str, script: &str) -> PathBuf {
    let program = directory.write(name, &format!("#!/bin/sh\n{script}\n"));
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&program, mode).expect("it is ours");
    program
}

#[test]
fn a_balancer_that_is_told_to_stop_cuts_no_stream() {
    let setting = crowded("stop: { lame_duck: 300ms }");
    let crowd = setting.crowd();
    setting.balancer.signal("TERM");
    wait_until(SOON, "nobody comes in any more", || {
        tidegate_harness::Connection::open(&setting.url("/")).is_err()
    });
    crowd.until_aged(WHILE * 2);
    assert_eq!(setting.balancer.exit_status(), None);
    setting.finish(crowd).assert_whole(STREAMS);
    assert_eq!(setting.balancer.await_exit(SOON).code(), Some(0));
}

#[test]
fn a_crowd_sees_what_is_cut() {
    // Everything here would be worth nothing if this were not seen.
    let setting = crowded("stop: { within: 200ms }");
    let crowd = setting.crowd();
    setting.balancer.signal("TERM");
    assert_eq!(setting.balancer.await_exit(SOON).code(), Some(3));
    let report = crowd.finish(&setting.regions, SOON);
    assert_eq!(report.broken().len(), STREAMS, "{report}");
    let altered = |it: &Outcome| matches!(it, Outcome::Altered(_));
    let looks_complete = report.streams.iter().filter(|it| altered(&it.outcome)).count();
    assert_eq!(looks_complete, 0, "no answer that was cut looks as if it had ended: {report}");
}

#[test]
fn as_many_files_may_be_open_as_the_system_allows() {
    // Systems start services with a low soft limit, which is no limit for connections.
    let programs = TempDir::new();
    let program = format!("ulimit -S -n 128; exec {TIDEGATE} \"$@\"");
    let program = script(&programs, "tidegate", &program);
    let regions = vec![FakeRegion::start("near")];
    let policy = PolicyText::default();
    let door = free_address();
    let exe = program.display().to_string();
    let balancer = Balancer::start(&exe, &policy.text(door, &regions));
    let limits = fs::read_to_string(format!("/proc/{}/limits", balancer.pid())).unwrap();
    let files = limits.lines().find_map(|it| it.strip_prefix("Max open files")).unwrap();
    let mut files = files.split_whitespace();
    let (soft, hard) = (files.next().unwrap(), files.next().unwrap());
    assert_eq!(soft, hard, "{limits}");
    assert!(balancer.stderr().contains("limit of open files"), "{}", balancer.logs());
    let plan = CrowdPlan { only: Some(Kind::WebSocket), ..CrowdPlan::of(150) };
    let crowd = Crowd::open(door, &regions, plan);
    crowd.until_open(&regions, SOON);
    crowd.finish(&regions, SOON).assert_whole(150);
}
