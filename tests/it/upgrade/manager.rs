//! What a service manager hears, over a socket as systemd has it.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tidegate_harness::{
    Balancer, FakeRegion, TempDir, free_address, signal, wait_until, websocket,
};

use crate::setting::{PolicyText, SOON, Setting, TIDEGATE};
use crate::streams::echo;

/// The socket of a service manager.
struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = TempDir::new();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { socket, directory }
    }

    /// Waits for a message with this line, and answers its first line after those that may come.
    #[track_caller]
    fn hears(&self, wanted: &str) -> String {
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut buffer);
            assert!(length.is_ok(), "{wanted}: {length:?} after {heard:?}");
            let length = length.unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if let Some(line) = text.lines().find(|it| it.starts_with(wanted)) {
                return line.to_owned();
            }
            heard.push(text);
        }
    }

    fn setting(&self, policy: &PolicyText) -> Setting {
        let regions = vec![FakeRegion::start("near")];
        let door = free_address();
        let socket = self.directory.path().join("notify").display().to_string();
        let env = [("NOTIFY_SOCKET", &*socket)];
        let balancer = Balancer::start_with(TIDEGATE, &policy.text(door, &regions), &env);
        Setting { regions, balancer, door }
    }
}

#[test]
fn the_manager_hears_who_serves_and_when_it_stops() {
    let manager = Manager::new();
    let setting = manager.setting(&PolicyText::default());
    manager.hears("READY=1");
    let first = setting.balancer.pid();
    let mut socket = websocket(&setting.url("/ws"), &[]).unwrap();
    echo(&mut socket, "open");
    assert!(signal(first, "USR2"));
    let main: u32 = manager.hears("MAINPID=").replace("MAINPID=", "").parse().unwrap();
    assert_ne!(main, first);
    wait_until(SOON, "it serves", || setting.balancer.serving_pid() == main);
    manager.hears("READY=1");
    assert!(signal(main, "TERM"));
    manager.hears("STOPPING=1");
    manager.hears("EXTEND_TIMEOUT_USEC=");
    drop(socket);
    setting.until_gone(main);
    setting.until_gone(first);
}

#[test]
fn the_manager_hears_when_a_reload_begins_and_ends() {
    let manager = Manager::new();
    let setting = manager.setting(&PolicyText::default());
    manager.hears("READY=1");
    setting.balancer.signal("HUP");
    manager.hears("RELOADING=1");
    manager.hears("READY=1");
    let path = setting.balancer.policy_path().to_owned();
    std::fs::write(path, "nonsense").unwrap();
    setting.balancer.signal("HUP");
    assert!(manager.hears("MONOTONIC_USEC=").len() > "MONOTONIC_USEC=".len());
    assert_eq!(manager.hears("STATUS="), "STATUS=serving, the last policy was refused");
}
