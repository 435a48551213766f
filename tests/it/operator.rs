//! What an operator meets: the command line, its exit codes, logs, metrics, and the demonstration.
#![expect(clippy::disallowed_methods, reason = "how long it takes to end is part of the promise")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a broken test should panic"
)]

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_harness::{Balancer, FakeRegion, TempDir, free_address, wait_until};

use crate::setting::{PolicyText, SOON, Setting, TIDEGATE, tidegate};

mod demo;
mod logs;
mod metrics;
mod policies;

/// A program that runs beside the test, with its output in files. It is killed when dropped.
pub(crate) struct Beside {
    directory: TempDir,
    child: Child,
}

impl Beside {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let directory = TempDir::new();
        let file = |name| File::create(directory.path().join(name)).expect("make a file");
        let child = Command::new(TIDEGATE)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn()
            .expect("it starts");
        Self { directory, child }
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(name, self.child.id());
    }

    pub(crate) fn await_exit(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until(SOON, "it ends", || {
            status = self.child.try_wait().expect("ask for our own child");
            status.is_some()
        });
        status.expect("it was waited for")
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn signal(name: &str, pid: u32) {
    let mut kill = Command::new("sh");
    let sent = kill.args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &pid.to_string()]).status();
    assert!(sent.expect("a shell runs").success(), "send {name} to {pid}");
}

/// A policy in front of nobody, in a file.
fn policy_file(directory: &TempDir, listener: &str, more: &str) -> String {
    let endpoint = free_address();
    let text = format!(
        "version: 1\nlisteners: [ {{ bind: \"{listener}\" }} ]\n{more}\n\
         regions:\n  near: {{ distance: 0, endpoints: [ \"{endpoint}\" ] }}\n\
         contract: {{ probe: {{ path: /contract }} }}\nroutes: [ {{ name: all }} ]\n"
    );
    directory.write("policy.yaml", &text).display().to_string()
}

#[test]
fn an_unknown_flag_and_a_missing_verb_are_errors_of_usage() {
    for arguments in [&["--frob"][..], &[], &["frob"], &["check"], &["version", "--output", "xml"]]
    {
        let said = tidegate(arguments);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{arguments:?}: {said:?}");
        assert!(said.err.contains("--help"), "{arguments:?}: {said:?}");
    }
    let said = tidegate(&["--help"]);
    assert_eq!(said.code, Some(0));
    for verb in ["run", "check", "explain", "state", "schema", "demo", "drain", "healthcheck"] {
        assert!(said.out.contains(&format!("\n  {verb} ")), "{verb}: {}", said.out);
    }
    assert!(!said.out.contains("demo-region"), "what is no verb for people is not listed");
}

#[test]
fn the_version_is_told() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(tidegate(&["version"]).out, format!("tidegate {version}\n"));
    assert_eq!(tidegate(&["--version"]).out, format!("tidegate {version}\n"));
    let json: Value =
        serde_json::from_str(&tidegate(&["version", "-o", "json"]).out).expect("JSON");
    assert_eq!(json, json!({ "version": version }));
    let setting = Setting::of(&["near"], &PolicyText::default());
    let told = setting.balancer.ask_admin("/version").expect("an answer").json();
    let pid = setting.balancer.pid();
    assert_eq!((&told["version"], &told["pid"]), (&json!(version), &json!(pid)));
    assert!(told["since_ms"].is_u64() && told["draining"] == json!([]), "{told}");
}

#[test]
fn a_health_check_follows_readiness() {
    let region = FakeRegion::start("near");
    region.set_fault(tidegate_harness::Fault::HangContract);
    let policy = PolicyText {
        probe: "interval: 200ms, timeout: 60s, stale_after: 80s".to_owned(),
        ..PolicyText::default()
    };
    let door = free_address();
    let regions = vec![region];
    let balancer = Balancer::start_unready(TIDEGATE, &policy.text(door, &regions));
    let setting = Setting { regions, balancer, door };
    let (admin, socket) = (setting.admin(), setting.socket());
    let check = |address: &str| tidegate(&["healthcheck", "--admin", address]);
    let said = check(&admin);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("no region has been judged yet"), "{said:?}");
    setting.regions[0].clear_fault();
    setting.regions[0].close_connections();
    setting.until_verdict("near", "green");
    assert_eq!(check(&admin).code, Some(0));
    assert_eq!(check(&socket).code, Some(0));
    // A socket in the folder at hand needs no slash.
    let beside = Command::new(TIDEGATE)
        .args(["healthcheck", "--admin", "admin.sock"])
        .current_dir(setting.balancer.directory())
        .output();
    assert!(beside.expect("it runs").status.success());
    setting.balancer.kill();
    let said = check(&admin);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains(&admin), "{said:?}");
}

#[test]
fn a_bad_policy_is_not_run() {
    let directory = TempDir::new();
    let policy = directory.write("policy.yaml", "version: 1\nlistners: []\n").display().to_string();
    let said = tidegate(&["run", "--policy", &policy]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.err.contains("unknown field `listners`"), "{said:?}");
    assert!(said.err.contains("did you mean `listeners`?"), "{said:?}");
    assert!(said.err.contains(&format!("{policy}:2:1")), "{said:?}");
    let said = tidegate(&["run", "--policy", "/nowhere/policy.yaml"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("/nowhere/policy.yaml"), "{said:?}");
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().map(|address| (address, taken)).expect("its address");
    let (address, _listener) = (taken.0.to_string(), taken.1);
    let directory = TempDir::new();
    let fails = |policy: &str| {
        let said = tidegate(&["run", "--policy", policy]);
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
        assert!(said.err.contains("in use"), "{said:?}");
        said.err
    };
    assert!(fails(&policy_file(&directory, &address, "")).contains(&address));
    let free = free_address().to_string();
    let admin = format!("admin: {{ http: \"{address}\" }}");
    assert!(fails(&policy_file(&directory, &free, &admin)).contains(&address));
}

/// Pingora panics in a task of its own when it cannot listen; the process lived on without its
/// socket, and with a stack trace for the operator.
#[test]
fn a_socket_that_cannot_be_made_is_named() {
    let directory = TempDir::new();
    let fails = |socket: &Path, why: &str| {
        let shown = socket.display().to_string();
        let free = free_address().to_string();
        let policy = policy_file(&directory, &free, &format!("admin: {{ socket: {shown} }}"));
        let said = tidegate(&["run", "--policy", &policy]);
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
        assert!(said.err.contains(&shown) && said.err.contains(why), "{said:?}");
        assert!(!said.err.contains("panicked"), "{said:?}");
    };
    fails(&directory.path().join("nowhere/admin.sock"), "No such file");
    let file = directory.write("precious", "kept");
    fails(&file, "not a socket");
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "kept");
    let setting = Setting::of(&["near"], &PolicyText::default());
    fails(Path::new(&setting.socket()), "in use");
    let said = tidegate(&["drain", "near", "--admin", &setting.socket()]);
    assert_eq!(said.code, Some(0), "the running balancer keeps its socket: {said:?}");
}

#[test]
fn an_idle_balancer_ends_at_once_when_it_is_told_to() {
    for signal in ["TERM", "INT"] {
        let setting = Setting::of(&["near"], &PolicyText::default());
        assert_eq!(setting.comes_to("/", &[]), "near nearest");
        let told = Instant::now();
        setting.balancer.signal(signal);
        let status = setting.balancer.await_exit(SOON);
        let took = told.elapsed();
        assert_eq!(status.code(), Some(0), "{signal}: {}", setting.balancer.logs());
        assert!(took <= Duration::from_secs(2), "{signal}: {took:?}");
        assert!(!setting.balancer.logs().contains("panicked"), "{}", setting.balancer.logs());
    }
}

#[test]
fn the_schema_that_is_printed_is_the_one_that_ships() {
    let said = tidegate(&["schema"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/policy.schema.json");
    let shipped = std::fs::read_to_string(path).expect("the schema ships");
    assert_eq!(said.out.trim_end(), shipped.trim_end());
}
