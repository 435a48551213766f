//! Who can have the policy loaded: a signal, the admin socket, and the file itself.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Mutex;

use serde_json::json;
use tidegate_harness::{FakeRegion, Request, TempDir, free_address, wait_until};

use super::watched;
use crate::operator::Beside;
use crate::setting::{PolicyText, SOON, Setting, tidegate};

/// Swaps the distances of `near` and `far`.
fn turn_around(setting: &Setting) {
    let text = setting.policy().replace("distance: 0", "distance: here");
    setting.write(
        &text.replace("distance: 80", "distance: 0").replace("distance: here", "distance: 80"),
    );
}

#[test]
fn a_signal_loads_the_policy_and_the_log_says_what_changed() {
    let setting = Setting::of(&["near", "far"], &PolicyText::default());
    assert_eq!((setting.served_by().as_str(), setting.generation()), ("near", 1));
    turn_around(&setting);
    setting.balancer.signal("HUP");
    setting.until_generation(2);
    assert_eq!(setting.served_by(), "far");
    assert_eq!(setting.reloads("applied").to_string(), "1");
    let loaded = setting.logged("policy loaded");
    assert!(loaded.len() == 1 && loaded[0].contains("trigger=\"signal\""), "{loaded:?}");
    let changed = setting.logged("policy changed");
    assert_eq!(changed.len(), 2, "{changed:?}");
    assert!(changed[0].contains("region near: distance 0 → 80"), "{changed:?}");
}

#[test]
fn the_command_line_loads_the_policy_and_says_what_changed() {
    let setting = Setting::of(&["near", "far"], &PolicyText::default());
    turn_around(&setting);
    let said = setting.reload(&[]);
    let wanted = "applied: generation 2 is in force\n  region near: distance 0 → 80\n  region far: distance 80 → 0\n";
    assert_eq!((said.code, said.out.as_str()), (Some(0), wanted), "{said:?}");
    assert_eq!(setting.served_by(), "far", "the answer comes when it is done");
    let said = setting.reload(&["--output", "json"]);
    let told: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!((&told["result"], &told["changes"]), (&json!("unchanged"), &json!([])));
    assert_eq!(setting.generation(), 2, "nothing changed, so it is the same policy");
    assert_eq!((setting.reloads("applied") + setting.reloads("unchanged")).to_string(), "2");
}

#[test]
fn who_may_only_look_may_not_load() {
    let setting = Setting::of(&["near"], &PolicyText::default());
    for path in ["/v1/reload", "/v1/policy/confirm", "/v1/policy/rollback"] {
        let reply = Request::post(&setting.balancer.admin_url(path), "").send().expect("an answer");
        assert_eq!((reply.status, &reply.json()["code"]), (403, &json!("read_only")), "{path}");
    }
    assert_eq!(setting.all_reloads().to_string(), "0");
}

#[test]
fn a_caller_who_means_another_policy_is_told_so() {
    let setting = Setting::of(&["near", "far"], &PolicyText::default());
    let post =
        |if_match: &str| setting.post("/v1/reload", &format!("If-Match: {if_match}\r\n"), "");
    turn_around(&setting);
    let (status, problem) = post("\"2\"");
    assert_eq!((status, &problem["code"]), (412, &json!("stale")), "{problem}");
    assert_eq!((setting.generation(), setting.served_by().as_str()), (1, "near"));
    assert_eq!(post("\"1\"").0, 200);
    assert_eq!(post("1").0, 412);
    assert_eq!(post("*").0, 200);
    assert_eq!(post("two").0, 400);
    assert_eq!(setting.reloads("stale").to_string(), "2");
}

#[test]
fn options_that_mean_nothing_are_refused() {
    let setting = Setting::of(&["near"], &PolicyText::default());
    for body in [
        "{",
        "[]",
        r#"{"confirm": 1}"#,
        r#"{"confirm_within": "5"}"#,
        r#"{"confirm_within": "0s"}"#,
    ] {
        let (status, problem) = setting.post("/v1/reload", "", body);
        assert_eq!((status, &problem["code"]), (400, &json!("bad_options")), "{body}: {problem}");
    }
    let said = setting.reload(&["--confirm-within", "5"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert_eq!(setting.all_reloads().to_string(), "0");
}

#[test]
fn a_watched_file_is_loaded_when_it_changes_and_not_before() {
    let setting = Setting::of(&["near", "far"], &watched());
    turn_around(&setting);
    setting.until_generation(2);
    assert_eq!(setting.served_by(), "far");
    let whole = setting.policy();
    let half = whole.split_at(whole.len() * 2 / 3).0;
    fs::write(setting.balancer.policy_path(), half).expect("it can be written");
    wait_until(SOON, "half a file is refused", || setting.reloads("bad_policy") > 0.0);
    // A second in which the file is looked at ten times.
    let mut stream =
        Request::get(&setting.url("/sse?events=5&gap_ms=200")).stream().expect("it comes");
    while stream.read_event().expect("it goes on").is_some() {}
    assert_eq!(setting.reloads("bad_policy").to_string(), "1", "it is told once");
    assert_eq!(setting.logged("policy not loaded").len(), 1);
    assert_eq!(setting.metric("tidegate_policy_last_load_ok").to_string(), "0");
    setting.write(&whole.replace("distance: 80", "distance: 70"));
    setting.until_generation(3);
    assert_eq!(setting.metric("tidegate_policy_last_load_ok").to_string(), "1");
    setting.edit("watch: 100ms", "watch: off");
    setting.until_generation(4);
    assert_eq!(setting.all_reloads().to_string(), "4");
}

#[test]
fn a_process_that_ends_loads_nothing_any_more() {
    let setting = Setting::of(&["near"], &watched());
    let request = Request::get(&setting.url("/sse?events=10&gap_ms=100"));
    let mut stream = request.stream().expect("it comes");
    assert!(stream.read_event().expect("it begins").is_some());
    setting.balancer.signal("TERM");
    wait_until(SOON, "it ends", || !setting.logged("stopping").is_empty());
    setting.edit("distance: 0", "distance: 5");
    setting.balancer.signal("HUP");
    // A second in which the file is looked at ten times.
    while stream.read_event().expect("it goes on").is_some() {}
    setting.balancer.await_exit(SOON);
    let refused = setting.logged("policy not loaded");
    assert!(refused.len() == 1 && refused[0].contains("trigger=\"signal\""), "{refused:?}");
}

#[test]
fn a_file_that_a_policy_refers_to_is_watched_too() {
    let setting = Setting::of(&["near"], &watched());
    let key = setting.balancer.directory().join("key");
    fs::write(&key, "a1b2c3\n").expect("it can be written");
    setting.edit("index_hash: a1b2c3", "index_hash: \"file:key\"");
    wait_until(SOON, "the same in other words", || setting.reloads("unchanged") > 0.0);
    fs::write(&key, "other\n").expect("it can be written");
    setting.until_generation(2);
    setting.until_verdict("near", "mismatched");
    let changed = setting.logged("contract: index_hash expects other instead of a1b2c3");
    assert_eq!(changed.len(), 1, "{changed:?}");
}

/// Lays a file out as Kubernetes does a `ConfigMap`: behind a link to a folder that is swapped.
fn publish(directory: &Path, version: &str, text: &str) {
    let folder = directory.join(version);
    fs::create_dir(&folder).expect("make a folder");
    fs::write(folder.join("policy.yaml"), text).expect("it can be written");
    symlink(version, directory.join("..new")).expect("make a link");
    fs::rename(directory.join("..new"), directory.join("..data")).expect("swap the link");
}

#[test]
fn a_policy_behind_links_that_are_swapped_is_loaded() {
    let region = FakeRegion::start("near");
    let directory = TempDir::new();
    let door = free_address();
    let text = watched().text(door, std::slice::from_ref(&region));
    let admin = text.split("http: \"").nth(1).and_then(|it| it.split('"').next());
    let admin = admin.expect("the policy has an admin address").to_owned();
    publish(directory.path(), "..one", &text.replace("socket: admin.sock", ""));
    let path = directory.path().join("policy.yaml");
    symlink("..data/policy.yaml", &path).expect("make a link");
    let path = path.display().to_string();
    let _balancer = Beside::start(&["run", "--policy", &path]);
    let ready = || tidegate(&["healthcheck", "--admin", &admin]).code == Some(0);
    wait_until(SOON, "it is ready", ready);
    publish(
        directory.path(),
        "..two",
        &text.replace("socket: admin.sock", "").replace("distance: 0", "distance: 7"),
    );
    let url = format!("http://{admin}/v1/policy");
    wait_until(SOON, "it is loaded", || {
        Request::get(&url).send().expect("an answer").json()["generation"] == 2
    });
}

#[test]
fn many_at_once_take_turns() {
    let setting = Setting::of(&["near", "far"], &PolicyText::default());
    let at_once = 8;
    let writing = Mutex::new(());
    std::thread::scope(|scope| {
        let reload = || {
            let turn = writing.lock().expect("nobody panics with it");
            turn_around(&setting);
            drop(turn);
            setting.reload(&[])
        };
        // The file is turned around by whoever comes, so what each of them finds is anybody's guess.
        let all: Vec<_> = (0..at_once).map(|_| scope.spawn(reload)).collect();
        for one in all {
            let said = one.join().expect("it ends");
            assert_eq!(said.code, Some(0), "{said:?}");
        }
    });
    let applied = setting.reloads("applied");
    assert_eq!((applied + 1.0).to_string(), setting.generation().to_string());
    assert_eq!(setting.all_reloads().to_string(), at_once.to_string());
    let said = setting.reload(&[]);
    assert!(said.out.starts_with("unchanged") || said.out.starts_with("applied"), "{said:?}");
    let first = if setting.policy().contains("near: { distance: 0") { "near" } else { "far" };
    assert_eq!(setting.served_by(), first);
}

#[test]
fn what_a_file_would_change_is_told_without_a_change() {
    let setting = Setting::of(&["near"], &PolicyText::default());
    let (admin, path) = (setting.admin(), setting.balancer.policy_path().display().to_string());
    let check = |arguments: &[&str]| {
        tidegate(
            &[&["check", &path, "--against", "running", "--admin", &admin], arguments].concat(),
        )
    };
    let said = check(&[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out.contains("nothing differs from the running policy (generation 1)"),
        "{said:?}"
    );
    setting.edit("version: 1", "version: 1\nthreads: 2");
    setting.edit("name: all,", "name: everything,");
    let said = check(&[]);
    for line in [
        "  process: threads 1 → 2 (needs an upgrade or a restart)\n",
        "  route all: removed\n",
        "  route everything: added\n",
    ] {
        assert!(said.out.contains(line), "{line}: {said:?}");
    }
    let told: serde_json::Value = serde_json::from_str(&check(&["-o", "json"]).out).expect("JSON");
    assert_eq!(told["against_running"]["needs_upgrade"], json!(["process: threads 1 → 2"]));
    assert_eq!((setting.generation(), setting.all_reloads().to_string().as_str()), (1, "0"));
}
