//! The last good policy, for a start at which the file does not load.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tidegate_harness::{FakeRegion, Request, TempDir, free_address, wait_until};

use crate::operator::Beside;
use crate::setting::{PolicyText, SOON, TIDEGATE, tidegate};

/// A folder with a policy in it, and one for state.
struct Home {
    region: FakeRegion,
    directory: TempDir,
    policy: String,
    admin: String,
}

impl Home {
    fn new(more: &str) -> Self {
        let region = FakeRegion::start("near");
        let directory = TempDir::new();
        let policy = PolicyText {
            more: format!("{}\n{more}", PolicyText::default().more),
            expect: "    index_hash: \"file:key\"".to_owned(),
            ..PolicyText::default()
        };
        let text = policy.text(free_address(), std::slice::from_ref(&region));
        let admin = text.split("http: \"").nth(1).and_then(|it| it.split('"').next());
        let admin = admin.expect("an admin address").to_owned();
        directory.write("key", "a1b2c3");
        let text = text.replace("socket: admin.sock", "");
        let policy = directory.write("policy.yaml", &text).display().to_string();
        Self { region, directory, policy, admin }
    }

    fn start(&self, arguments: &[&str]) -> Beside {
        Beside::start(&[&["run", "--policy", &self.policy], arguments].concat())
    }

    fn state(&self) -> String {
        self.directory.path().join("state").display().to_string()
    }

    fn until_ready(&self) {
        let ready = || tidegate(&["healthcheck", "--admin", &self.admin]).code == Some(0);
        wait_until(SOON, "it is ready", ready);
    }

    fn ask(&self, path: &str) -> String {
        Request::get(&format!("http://{}{path}", self.admin)).send().expect("an answer").text()
    }

    fn in_force(&self) -> Value {
        serde_json::from_str(&self.ask("/v1/policy")).expect("JSON")
    }

    fn kept(&self) -> Vec<(String, u32)> {
        let Ok(entries) = fs::read_dir(self.state()) else { return Vec::new() };
        let read = |path: &Path| {
            let text = fs::read_to_string(path).expect("it can be read");
            (text, path.metadata().expect("it is there").permissions().mode() & 0o777)
        };
        entries.map(|it| read(&it.expect("an entry").path())).collect()
    }
}

fn end(mut balancer: Beside) {
    balancer.signal("TERM");
    balancer.await_exit();
}

#[test]
fn a_start_with_a_bad_file_takes_the_last_good_policy_and_mends_itself() {
    let home = Home::new("watch: 100ms");
    let state = home.state();
    let balancer = home.start(&["--state", &state]);
    home.until_ready();
    wait_until(SOON, "it is kept", || home.kept().len() == 1);
    let good = fs::read_to_string(&home.policy).expect("it can be read");
    assert_eq!(home.kept(), [(good.clone(), 0o600)]);
    assert!(!home.kept()[0].0.contains("a1b2c3"), "what a reference names is not copied");
    end(balancer);

    fs::write(&home.policy, "version: 1\nlisteners: [").expect("it can be written");
    let balancer = home.start(&["--state", &state]);
    home.until_ready();
    let in_force = home.in_force();
    assert_eq!(in_force["source"], "last_good", "{in_force}");
    assert!(in_force["failure"]["report"].as_str().is_some_and(|it| it.contains("policy.yaml")));
    assert!(home.ask("/metrics").contains("\ntidegate_policy_last_load_ok 0\n"));
    let log = balancer.read("err");
    assert!(log.contains("the policy does not load, the last good one is in force"), "{log}");
    fs::write(&home.policy, good.replace("distance: 0", "distance: 5")).expect("it can be written");
    wait_until(SOON, "the watch finds the good file", || home.in_force()["source"] == "file");
    assert!(home.ask("/metrics").contains("\ntidegate_policy_last_load_ok 1\n"));
    wait_until(SOON, "it is kept now", || home.kept()[0].0.contains("distance: 5"));
    end(balancer);
    assert_eq!(home.region.name(), "near");
}

#[test]
fn a_bad_file_without_a_good_one_is_the_end() {
    let home = Home::new("");
    fs::write(&home.policy, "version: 1\nlisteners: [").expect("it can be written");
    for arguments in [&[][..], &["--state", &home.state()]] {
        let mut balancer = home.start(arguments);
        assert_eq!(balancer.await_exit().code(), Some(1));
        let log = balancer.read("err");
        assert!(log.contains("policy.yaml"), "{log}");
    }
    let log = home.start(&[]);
    wait_until(SOON, "it says so", || log.read("err").contains("without a state directory"));
}

#[test]
fn a_policy_that_waits_for_its_confirmation_is_not_kept() {
    let home = Home::new("");
    let text = fs::read_to_string(&home.policy).expect("it can be read");
    let socket = home.directory.path().join("admin.sock").display().to_string();
    let text = text.replace("admin: { http", &format!("admin: {{ socket: {socket}, http"));
    fs::write(&home.policy, &text).expect("it can be written");
    let balancer = home.start(&["--state", &home.state()]);
    home.until_ready();
    wait_until(SOON, "it is kept", || home.kept().len() == 1);
    fs::write(&home.policy, text.replace("distance: 0", "distance: 5")).expect("it can be written");
    let run = |arguments: &[&str]| {
        let said = tidegate(&[arguments, &["--admin", &socket]].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
    };
    run(&["reload", "--confirm-within", "1h"]);
    assert_eq!(home.kept()[0].0, text);
    run(&["confirm"]);
    assert!(home.kept()[0].0.contains("distance: 5"));
    end(balancer);
}

#[test]
fn the_folder_that_the_service_manager_names_is_taken() {
    let home = Home::new("");
    fs::write(&home.policy, "version: 1\nlisteners: [").expect("it can be written");
    let run = |folders: &str| {
        let mut command = Command::new(TIDEGATE);
        command.args(["run", "--policy", &home.policy]).env("STATE_DIRECTORY", folders);
        let output = command.output().expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = run("/nowhere/first:/nowhere/second");
    assert!(said.contains("the last good policy is kept path=/nowhere/first/last-good-"), "{said}");
    assert!(run("").contains("without a state directory"));
}
