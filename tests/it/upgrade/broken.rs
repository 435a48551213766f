//! Successors that do not serve: the process that serves goes on, and says why.

use tidegate_harness::{Load, signal, wait_until};

use super::{Program, fresh, is_zombie};
use crate::setting::{PolicyText, SOON, Setting};

/// Tries an upgrade in which the successor is this script, and looks that nothing has changed.
fn fails(program: &Program, setting: &Setting, script: &str, why: &str) {
    let load = Load::start(fresh(setting));
    let (before, failed) = (setting.balancer.serving_pid(), failed_upgrades(setting));
    program.becomes(script);
    let said = setting.upgrade(&["--within", "1s"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains(why), "{why:?} in {said:?}");
    assert!(said.err.contains("the running process goes on"), "{said:?}");
    assert_eq!(setting.balancer.serving_pid(), before);
    assert_eq!(setting.balancer.ask_admin("/readyz").unwrap().status, 200);
    assert!((failed_upgrades(setting) - failed - 1.0).abs() < 0.5);
    let log = setting.balancer.stderr();
    assert!(log.contains("not upgraded, this process goes on"), "{log}");
    wait_until(SOON, "nothing is left of the successor", || {
        setting.balancer.processes() == [before]
    });
    let report = load.stop();
    assert!(report.failures.is_empty(), "{:?}", report.failures);
}

fn failed_upgrades(setting: &Setting) -> f64 {
    setting.metric("tidegate_upgrades_total{result=\"failed\"}")
}

#[test]
fn a_successor_that_does_not_serve_leaves_everything_as_it_was() {
    let program = Program::new();
    let setting = Setting::by(&program.exe(), &["near"], &PolicyText::default());
    fails(&program, &setting, "exit 7", "the successor ended: exit status: 7");
    fails(&program, &setting, "exec sleep 60", "it did not answer in time");
    fails(&program, &setting, "printf 'some garbage' >&0; exec sleep 60", "it sent a frame of");
    fails(&program, &setting, "printf '\\0\\0\\0\\4what' >&0; exec sleep 60", "no message");
    let ready = "printf '\\0\\0\\0\\7\"ready\"' >&0; exec sleep 60";
    fails(&program, &setting, ready, "something out of turn");
    let stranger = r#"{"hello":{"protocol":99,"version":"9"}}"#;
    let stranger = format!("printf '\\0\\0\\0\\47%s' '{stranger}' >&0; exec sleep 60");
    fails(&program, &setting, &stranger, "the successor speaks protocol 99");
    let hello = r#"{"hello":{"protocol":1,"version":"9"}}"#;
    let silent = format!("printf '\\0\\0\\0\\46%s' '{hello}' >&0; exec sleep 60");
    fails(&program, &setting, &silent, "it did not answer in time");
    let quitter = format!("printf '\\0\\0\\0\\46%s' '{hello}' >&0; exit 0");
    fails(&program, &setting, &quitter, "the successor ended: exit status: 0");
    std::fs::remove_file(program.path()).unwrap();
    let said = setting.upgrade(&[]);
    assert!(said.err.contains("cannot be started: No such file"), "{said:?}");
    program.is_itself_again();
    setting.upgraded();
}

#[test]
fn a_successor_whose_policy_does_not_load_says_why_and_leaves_everything_as_it_was() {
    let setting = Setting::of(&["near"], &PolicyText::default());
    let path = setting.balancer.policy_path().to_owned();
    let policy = std::fs::read_to_string(&path).unwrap();
    let before = setting.balancer.serving_pid();
    std::fs::write(&path, policy.replace("routes:", "roads:")).unwrap();
    let said = setting.upgrade(&[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("unknown field `roads`"), "{said:?}");
    assert_eq!(setting.balancer.serving_pid(), before);
    assert_eq!(setting.served_by(), "near");
    std::fs::write(&path, policy).unwrap();
    setting.upgraded();
    assert_eq!(setting.served_by(), "near");
}

#[test]
fn a_successor_that_cannot_listen_says_where_and_leaves_everything_as_it_was() {
    let setting = Setting::of(&["near"], &PolicyText::default());
    let path = setting.balancer.policy_path().to_owned();
    let policy = std::fs::read_to_string(&path).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let two = format!("listeners: [ {{ bind: \"{address}\" }}, {{");
    std::fs::write(&path, policy.replace("listeners: [ {", &two)).unwrap();
    let said = setting.upgrade(&[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains(&format!("failed to listen: {address}")), "{said:?}");
    assert_eq!(setting.served_by(), "near");
    drop(taken);
    setting.upgraded();
    let other = tidegate_harness::get(&format!("http://{address}/"));
    assert_eq!(other.header("x-region"), Some("near"), "a new listener is bound afresh");
}

#[test]
fn one_upgrade_at_a_time_and_a_stop_ends_it() {
    let program = Program::new();
    let setting = Setting::by(&program.exe(), &["near"], &PolicyText::default());
    let first = setting.balancer.pid();
    program.becomes("exec sleep 60");
    setting.balancer.signal("USR2");
    wait_until(SOON, "a successor", || setting.balancer.processes().len() == 2);
    let said = setting.upgrade(&[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("an upgrade is under way"), "{said:?}");
    let drain = setting.balancer.directory().join("admin.sock").display().to_string();
    let said = crate::setting::tidegate(&["drain", "near", "--admin", &drain]);
    assert!(said.err.contains("an upgrade is under way"), "{said:?}");
    assert!(signal(first, "TERM"));
    assert_eq!(setting.balancer.await_exit(SOON).code(), Some(0));
    wait_until(SOON, "its successor ends with it", || {
        setting.balancer.processes().into_iter().all(is_zombie)
    });
}

#[test]
fn who_may_only_look_may_not_upgrade() {
    let setting = Setting::of(&["near"], &PolicyText::default());
    let before = setting.balancer.serving_pid();
    let said = crate::setting::tidegate(&["upgrade", "--admin", &setting.admin()]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("403 this address may only look"), "{said:?}");
    let said = setting.upgrade(&["--within", "soon"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert_eq!(setting.balancer.serving_pid(), before);
}

#[test]
fn a_policy_that_waits_for_its_confirmation_has_no_successor() {
    let setting = Setting::of(&["near"], &PolicyText::default());
    let path = setting.balancer.policy_path().to_owned();
    let policy = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, policy.replace("name: all", "name: everything")).unwrap();
    let socket = setting.socket();
    let said = crate::setting::tidegate(&["reload", "--confirm-within", "60s", "--admin", &socket]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = setting.upgrade(&[]);
    assert!(said.err.contains("a policy waits for its confirmation"), "{said:?}");
    let said = crate::setting::tidegate(&["confirm", "--admin", &socket]);
    assert_eq!(said.code, Some(0), "{said:?}");
    setting.upgraded();
}
