//! The watchdog of the service manager: fed while the data plane answers, and only then.

use std::fs::File;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use tidegate_harness::{Connection, H2, Request, free_address, signal, wait_until, websocket};

use crate::manager::Manager;
use crate::setting::{PolicyText, SOON, Setting};
use crate::streams::echo;
use crate::traffic::still;

/// How long the manager waits for a word in these tests.
const PATIENCE: Duration = Duration::from_millis(600);
/// What the manager says about that, as systemd does.
const WATCHED: &str = "export WATCHDOG_USEC=600000 WATCHDOG_PID=$$";

/// A program that the manager watches.
fn watched(manager: &Manager, policy: &PolicyText) -> Setting {
    manager.starts(policy, &format!("{WATCHED}\nexec \"$TIDEGATE\" \"$@\""))
}

impl Setting {
    /// How often the process has asked itself, with this result.
    fn pulses(&self, result: &str) -> f64 {
        self.metric(&format!("tidegate_pulses_total{{result=\"{result}\"}}"))
    }
}

#[test]
fn it_is_fed_through_every_listener_and_nobody_else_notices() {
    let manager = Manager::new();
    let (four, six) = (free_address().port(), free_address().port());
    let listener = format!("}}, {{ bind: \"0.0.0.0:{four}\" }}, {{ bind: \"[::1]:{six}\"");
    let setting = watched(&manager, &PolicyText { listener, ..still("") });
    for _ in 0..5 {
        assert_eq!(manager.hears("WATCHDOG="), "WATCHDOG=1");
    }
    assert!(5.0 <= setting.pulses("answered"));
    assert!(setting.pulses("missed") < 1.0, "{}", setting.balancer.logs());
    assert!(setting.metric("tidegate_connections_taken_total") < 1.0);
    assert!(setting.metric("tidegate_connections") < 1.0);
    assert!(setting.balancer.access_lines().is_empty());
    let state = setting.state();
    assert_eq!(state["regions"][0]["open"], 0);
    // A stranger gets what strangers get, whatever it asks for.
    assert_eq!(setting.get("/", &[]).status, 200);
}

#[test]
fn a_data_plane_that_hangs_starves_it_and_one_that_goes_on_feeds_it() {
    let manager = Manager::new();
    // Who writes to a log that nobody reads hangs. Only HTTP/2 writes this much.
    let script =
        format!("{WATCHED}\nmkfifo words\nexec \"$TIDEGATE\" --log info,h2=trace \"$@\" 2<>words");
    let policy = still("threads: 1");
    let setting = manager.starts(&policy, &script);
    manager.hears("WATCHDOG=1");
    let hangs = || {
        let get = Request::get(&setting.url("/")).timeout(Duration::from_secs(1));
        H2::open(&setting.url("/")).and_then(|client| client.send(&get)).is_err()
    };
    wait_until(SOON, "the data plane hangs", hangs);
    manager.hears_nothing_for(3 * PATIENCE);
    assert_eq!(setting.balancer.ask_admin("/livez").unwrap().status, 200, "only that hangs");
    let words = setting.balancer.directory().join("words");
    let reader =
        thread::spawn(move || std::io::copy(&mut File::open(words).unwrap(), &mut std::io::sink()));
    manager.hears("WATCHDOG=1");
    assert!(1.0 <= setting.pulses("missed"));
    assert_eq!(setting.get("/", &[]).status, 200);
    setting.balancer.kill();
    reader.join().unwrap().unwrap();
}

#[test]
fn a_process_that_is_full_is_not_stuck() {
    let manager = Manager::new();
    let script = format!("{WATCHED}\nulimit -n 64\nexec \"$TIDEGATE\" \"$@\"");
    let setting = manager.starts(&still(""), &script);
    let mut clients = Vec::new();
    wait_until(SOON, "it is full", || {
        clients.push(TcpStream::connect(setting.door).unwrap());
        setting.balancer.stderr().contains("a connection cannot be taken")
    });
    manager.forgets();
    for _ in 0..5 {
        manager.hears("WATCHDOG=1");
    }
    drop(clients);
    wait_until(SOON, "there is room", || setting.balancer.ask_admin("/livez").is_ok());
    assert!(setting.pulses("missed") < 1.0, "{}", setting.balancer.logs());
}

#[test]
fn it_is_fed_as_long_as_a_process_that_stops_carries_a_stream_and_holds_up_no_end() {
    let manager = Manager::new();
    let setting = watched(&manager, &still("timeouts: { total: none, idle: 60s }"));
    let mut socket = websocket(&setting.url("/ws"), &[]).unwrap();
    echo(&mut socket, "before");
    setting.balancer.signal("TERM");
    wait_until(SOON, "nobody comes in any more", || Connection::open(&setting.url("/")).is_err());
    manager.forgets();
    for _ in 0..5 {
        manager.hears("WATCHDOG=1");
    }
    echo(&mut socket, "after");
    drop(socket);
    assert_eq!(setting.balancer.await_exit(SOON).code(), Some(0));
    assert!(!setting.balancer.logs().contains("no pulse"), "{}", setting.balancer.logs());
}

#[test]
fn only_the_process_that_serves_feeds_it() {
    let manager = Manager::new();
    let setting = watched(&manager, &still("timeouts: { total: none, idle: 60s }"));
    let mut socket = websocket(&setting.url("/ws"), &[]).unwrap();
    echo(&mut socket, "open");
    assert!(signal(setting.balancer.pid(), "USR2"));
    let main: u32 = manager.hears("MAINPID=").replace("MAINPID=", "").parse().unwrap();
    wait_until(SOON, "it serves", || setting.balancer.serving_pid() == main);
    manager.hears("READY=1");
    manager.hears("WATCHDOG=1");
    assert!(signal(main, "STOP"));
    manager.hears_nothing_for(3 * PATIENCE);
    echo(&mut socket, "still in the process before");
    assert!(signal(main, "CONT"));
    manager.hears("WATCHDOG=1");
    assert!(!setting.balancer.logs().contains("no pulse"), "{}", setting.balancer.logs());
}
