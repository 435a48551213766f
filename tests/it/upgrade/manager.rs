//! What a service manager hears, over a socket as systemd has it.

use tidegate_harness::{signal, wait_until, websocket};

use crate::manager::Manager;
use crate::setting::{PolicyText, SOON};
use crate::streams::echo;

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
