//! Socket activation: the service manager listens, and tidegate answers.
#![expect(clippy::unwrap_used, reason = "a broken test should panic")]

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tidegate_harness::{
    Balancer, Connection, FakeRegion, Load, LoadPlan, Request, Reuse, TempDir, free_address,
    wait_until,
};

use crate::setting::{PolicyText, SOON, Setting, TIDEGATE};
use crate::traffic::still;

/// Starts the program as systemd does, with what was standard input as the third descriptor.
const ACTIVATED: &str = "#!/bin/sh
exec 3<&0 0</dev/null
export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=door
exec \"$TIDEGATE\" \"$@\"
";

/// A manager that listens, also while no balancer runs.
struct Manager {
    listener: TcpListener,
    directory: TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = TempDir::new();
        let script = directory.write("start", ACTIVATED);
        std::fs::set_permissions(script, PermissionsExt::from_mode(0o755)).unwrap();
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap(), directory }
    }

    fn door(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    fn starts(&self, policy: &str) -> Balancer {
        let socket = self.listener.try_clone().unwrap().into();
        let program = self.directory.path().join("start").display().to_string();
        Balancer::start_on(socket, &program, policy, &[("TIDEGATE", TIDEGATE)])
    }
}

#[test]
fn a_restart_refuses_nobody_and_answers_everybody() {
    let manager = Manager::new();
    let regions = vec![FakeRegion::start("near")];
    let policy = PolicyText::default().text(manager.door(), &regions);
    let url = format!("http://{}/", manager.door());
    let mut balancer = manager.starts(&policy);
    let pause = Duration::from_millis(1);
    let load = Load::start(LoadPlan { reuse: Reuse::Fresh, pause, ..LoadPlan::get(&url) });
    for _ in 0..3 {
        balancer.signal("TERM");
        assert_eq!(balancer.await_exit(SOON).code(), Some(0));
        let mut waits = Connection::open(&url).unwrap();
        waits.send_raw(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        balancer = manager.starts(&policy);
        waits.set_timeout(SOON).unwrap();
        assert_eq!(waits.read_reply("GET").unwrap().status, 200);
    }
    let report = load.stop();
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert_eq!(report.by_status().keys().collect::<Vec<_>>(), [&200]);
    assert!(balancer.stderr().contains("the service manager has opened a listener"));
}

/// Takes the listener of the manager out of the policy and back, while a client waits there.
fn goes_and_comes_back(setting: &Setting, other: SocketAddr) {
    let bind = |address| format!("bind: \"{address}\"");
    setting.edit(&format!("{},  }}, {{ {}", bind(setting.door), bind(other)), &bind(other));
    assert_eq!(setting.reload(&["--confirm-within", "1h"]).code, Some(0));
    let url = format!("http://{other}/");
    assert_eq!(Request::get(&url).send().unwrap().status, 200);
    let mut waits = Connection::open(&setting.url("/")).unwrap();
    waits.send_raw(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert_eq!(setting.settle("rollback").code, Some(0), "{}", setting.balancer.logs());
    waits.set_timeout(SOON).unwrap();
    assert_eq!(waits.read_reply("GET").unwrap().status, 200);
}

#[test]
fn a_listener_of_the_manager_survives_reloads_and_upgrades() {
    let manager = Manager::new();
    let regions = vec![FakeRegion::start("near")];
    let other = free_address();
    let listener = format!(" }}, {{ bind: \"{other}\"");
    let policy = PolicyText { listener, ..still("") };
    let door = manager.door();
    let balancer = manager.starts(&policy.text(door, &regions));
    let setting = Setting { regions, balancer, door };
    let text = std::fs::read_to_string(setting.balancer.policy_path()).unwrap();
    goes_and_comes_back(&setting, other);
    let url = setting.url("/");
    let load = Load::start(LoadPlan { reuse: Reuse::Fresh, ..LoadPlan::get(&url) });
    for _ in 0..2 {
        std::fs::write(setting.balancer.policy_path(), &text).unwrap();
        let before = setting.balancer.serving_pid();
        setting.upgraded();
        setting.until_gone(before);
    }
    let report = load.stop();
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert_eq!(report.by_status().keys().collect::<Vec<_>>(), [&200]);
    goes_and_comes_back(&setting, other);
}

/// Opens, in this order, something that is no listener, the admin socket, and a listener that no
/// policy names.
const SEVERAL: &str = "#!/usr/bin/env python3
import fcntl, os, socket, sys
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
admin = socket.socket(socket.AF_UNIX)
admin.bind('admin.sock')
admin.listen()
spare = socket.create_server(('127.0.0.1', 0))
high = [fcntl.fcntl(it.fileno(), fcntl.F_DUPFD, 50) for it in (udp, admin, spare)]
for place, it in enumerate(high):
    os.dup2(it, 3 + place)
    os.close(it)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='3', LISTEN_FDNAMES='udp:admin:spare')
os.execv(os.environ['TIDEGATE'], [os.environ['TIDEGATE'], *sys.argv[1:]])
";

#[test]
fn what_is_of_no_use_is_told_and_an_admin_socket_of_the_manager_stays() {
    let directory = TempDir::new();
    let script = directory.write("start", SEVERAL);
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let regions = vec![FakeRegion::start("near")];
    let door = free_address();
    let policy = PolicyText::default().text(door, &regions);
    let script = script.display().to_string();
    let balancer = Balancer::start_with(&script, &policy, &[("TIDEGATE", TIDEGATE)]);
    let setting = Setting { regions, balancer, door };
    let log = setting.balancer.stderr();
    assert!(log.contains("what the service manager has opened is no listener"), "{log}");
    let unused = log.lines().find(|it| it.contains("where the policy has no listener"));
    assert!(unused.unwrap().contains("address=127.0.0.1:"), "{log}");
    assert_eq!(setting.get("/", &[]).status, 200);
    assert_eq!(setting.reload(&[]).code, Some(0), "the admin socket answers");
    setting.balancer.signal("TERM");
    wait_until(SOON, "it ends", || setting.balancer.exit_status().is_some());
    assert!(setting.balancer.directory().join("admin.sock").exists(), "it is the manager's");
}
