//! The balancer's keeper, tried on a small program that behaves like a balancer from outside.

#![expect(clippy::unwrap_used, reason = "a broken test should panic")]

use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::time::Duration;

use tidegate_harness::{Balancer, FakeRegion, TempDir, free_address, get, wait_until};

const DEADLINE: Duration = Duration::from_secs(10);

/// A script that takes `run --policy FILE`, says a few lines and then runs `command`.
fn program(directory: &TempDir, command: &str) -> String {
    let script = format!(
        "#!/bin/sh\nset -e\ntest \"$1 $2\" = 'run --policy'\ntest -r \"$3\"\n\
         echo '{{\"target\":\"access\",\"status\":200}}'\necho '{{\"target\":\"other\"}}'\n\
         echo 'no json'\necho complaint >&2\n{command}\n"
    );
    let path = directory.write("balancer", &script);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path.to_string_lossy().into_owned()
}

#[test]
fn a_balancer_starts_is_heard_and_ends() {
    let directory = TempDir::new();
    let admin = free_address();
    let region = env!("CARGO_BIN_EXE_fake-region");
    let exe = program(&directory, &format!("exec {region} --name tide --bind {admin}"));
    let policy = format!("version: 1\nadmin: {{ http: \"{admin}\" }}\n");
    let balancer = Balancer::start(&exe, &policy);
    assert_eq!(balancer.ask_admin("/readyz").unwrap().status, 200);
    assert_eq!(get(&balancer.admin_url("/livez")).json()["region"], "tide");
    assert_eq!(std::fs::read_to_string(balancer.policy_path()).unwrap(), policy);
    assert_eq!(balancer.access_lines().len(), 1);
    assert_eq!(balancer.access_lines()[0]["status"], 200);
    assert!(balancer.stderr().contains("complaint"));
    assert!(balancer.exit_status().is_none());
    let before = balancer.pid();
    balancer.restart();
    assert_ne!(balancer.pid(), before);
    assert_eq!(balancer.access_lines().len(), 2, "what was said before is kept");
    balancer.signal("TERM");
    assert!(!balancer.await_exit(DEADLINE).success());

    let again = Balancer::start_unready(&exe, &policy);
    let pid = again.pid().to_string();
    drop(again);
    let mut found = Command::new("sh");
    found.args(["-c", "kill -0 \"$1\"", "sh", &pid]);
    assert!(!found.stderr(Stdio::null()).status().unwrap().success(), "it outlived its owner");
}

#[test]
fn a_balancer_that_cannot_start_fails_the_test_with_its_words() {
    let directory = TempDir::new();
    let policy = format!("admin: {{ http: \"{}\" }}\n", free_address());
    let exe = program(&directory, "echo 'bind: Address already in use' >&2; exit 3");
    let started = catch_unwind(AssertUnwindSafe(|| Balancer::start(&exe, &policy)));
    let said = *started.unwrap_err().downcast::<String>().unwrap();
    assert!(said.contains("complaint") && said.contains("AN ADDRESS IS IN USE"), "{said}");
}

#[test]
fn the_fake_region_program_says_where_it_listens_and_what_it_reports() {
    let directory = TempDir::new();
    let out = directory.path().join("out");
    let mut child = Command::new(env!("CARGO_BIN_EXE_fake-region"))
        .args(["--name", "eu", "--contract", "release_id=r9", "--contract", "ready=false"])
        .stdout(std::fs::File::create(&out).unwrap())
        .spawn()
        .unwrap();
    let line = || std::fs::read_to_string(&out).unwrap();
    wait_until(DEADLINE, "a line", || line().ends_with('\n'));
    let contract = get(&format!("http://{}/contract", line().trim().rsplit(' ').next().unwrap()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line().starts_with("eu 127.0.0.1:"));
    assert_eq!(contract.json()["release_id"], "r9");
    assert_eq!(contract.json()["ready"], false);
}

#[test]
fn temporary_directories_are_apart_and_disappear() {
    let (one, two) = (TempDir::new(), TempDir::new());
    assert_ne!(one.path(), two.path());
    let kept = one.write("a", "b");
    drop(one);
    assert!(!kept.exists() && two.path().exists());
}

#[test]
fn a_region_on_a_taken_port_says_so() {
    let region = FakeRegion::start("us");
    let error = FakeRegion::try_start_at("eu", region.address()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}
