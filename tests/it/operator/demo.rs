//! The demonstration: what it prints is what one can do.

use serde_json::Value;
use tidegate_harness::{Reply, Request, free_ports, get};

use super::{Beside, Command, Duration, Instant, SOON, Stdio, TcpListener, wait_until};
use crate::setting::in_short;

/// A running demonstration.
struct Demo {
    process: Beside,
    first_port: u16,
}

impl Demo {
    /// Starts it, and waits until all of its regions are green.
    fn start() -> Self {
        let first_port = free_ports(5);
        let process = Beside::start(&["demo", "--ports", &first_port.to_string()]);
        let demo = Self { process, first_port };
        wait_until(SOON, "three green regions", || {
            let state = Request::get(&demo.url(1, "/v1/state")).send().map(|it| it.text());
            state.is_ok_and(|it| 6 <= it.matches("\"verdict\":\"green\"").count())
        });
        demo
    }

    /// A URL at one of its five ports: traffic, admin, and the regions from near to far.
    fn url(&self, nth: u16, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.first_port + nth)
    }

    fn search(&self) -> Reply {
        get(&self.url(0, "/v1/search"))
    }

    fn welcome(&self) -> String {
        self.process.read("out")
    }

    /// The commands that it prints, in their order.
    fn commands(&self) -> Vec<String> {
        let welcome = self.welcome();
        let lines = welcome.lines().filter_map(|it| it.strip_prefix("   "));
        let is_command = |it: &&str| it.starts_with("curl ") || it.contains(" explain ");
        lines.filter(is_command).map(str::to_owned).collect()
    }

    /// The processes of its regions, as it prints them.
    fn region_pids(&self) -> Vec<u32> {
        let welcome = self.welcome();
        let pids = welcome.split("(pid ").skip(1).filter_map(|it| it.split(')').next());
        pids.map(|it| it.parse().expect("a pid")).collect()
    }

    fn until_regions_are_gone(&self) {
        wait_until(SOON, "the regions are gone", || {
            (2..5).all(|nth| TcpListener::bind(("127.0.0.1", self.first_port + nth)).is_ok())
        });
    }
}

/// Runs a command as somebody would who copied it.
fn sh(command: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", command])
        .env("NO_PROXY", "*")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .expect("a shell runs");
    let (out, err) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "{command}: {err}");
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn the_five_printed_things_do_what_they_say() {
    let mut demo = Demo::start();
    let commands = demo.commands();
    let [pin, demand, break_and_ask, mend, explain, stream] = commands.as_slice() else {
        panic!("six commands: {commands:?}");
    };
    let said = sh(pin);
    assert!(said.contains("HTTP/1.1 200 OK") && said.contains("x-region: eu-west-1"), "{said}");
    assert!(said.contains("x-region-reason: pin"), "{said}");
    let said = sh(demand);
    assert!(said.starts_with("HTTP/1.1 409"), "{said}");
    let body: Value = serde_json::from_str(said.lines().last().unwrap_or_default()).expect("JSON");
    assert_eq!(body["differences"].as_array().map(Vec::len), Some(3), "{said}");
    assert_eq!(in_short(&demo.search()), "us-east-1 nearest");
    // What is printed waits for four seconds; we look whether that is enough.
    let (break_it, ask) = break_and_ask.split_once("; sleep 4; ").expect("three commands");
    let broken = Instant::now();
    assert!(sh(break_it).contains("\"broken\""));
    wait_until(SOON, "it moves", || sh(ask).contains("x-region: eu-west-1"));
    assert!(broken.elapsed() < Duration::from_secs(4), "{:?}", broken.elapsed());
    assert_eq!(get(&demo.url(2, "/v1/search")).status, 200, "it goes on answering");
    let said = sh(explain);
    assert!(said.contains("goes to eu-west-1 (pin)"), "{said}");
    assert!(said.contains("us-east-1: mismatched"), "{said}");
    assert!(said.contains("index_hash is broken, expected a1b2c3"), "{said}");
    sh(mend);
    let said = sh(stream);
    assert_eq!(said.matches("data: ").count(), 9, "{said}");
    wait_until(SOON, "it moves back", || in_short(&demo.search()) == "us-east-1 nearest");
    demo.process.signal("TERM");
    assert_eq!(demo.process.await_exit().code(), Some(0), "{}", demo.process.read("err"));
    demo.until_regions_are_gone();
}

#[test]
fn its_stream_arrives_word_by_word() {
    let demo = Demo::start();
    let request = Request::post(&demo.url(0, "/v1/chat"), "{}");
    let mut stream = request.stream().expect("a stream");
    let mut arrived = Vec::new();
    while let Some(event) = stream.read_event().expect("the stream goes on") {
        arrived.push(event.arrived);
    }
    let [first, .., last] = arrived.as_slice() else { panic!("events: {arrived:?}") };
    assert!(Duration::from_secs(1) < *last - *first, "it came in one piece");
}

#[test]
fn killing_a_region_by_its_pid_fails_no_request() {
    let demo = Demo::start();
    let pids = demo.region_pids();
    assert_eq!(pids.len(), 3);
    assert_eq!(in_short(&demo.search()), "us-east-1 nearest");
    super::signal("KILL", pids[0]);
    let gone = Instant::now();
    let mut statuses = Vec::new();
    wait_until(SOON, "it is seen", || {
        statuses.push(demo.search().status);
        get(&demo.url(1, "/v1/state")).text().contains("\"verdict\":\"dark\"")
    });
    println!("{} requests until the verdict, {:?}", statuses.len(), gone.elapsed());
    assert!(statuses.iter().all(|it| *it == 200), "{statuses:?}");
    assert_eq!(in_short(&demo.search()), "eu-west-1 nearest");
}

#[test]
fn no_region_outlives_a_demonstration_that_is_killed() {
    let demo = Demo::start();
    demo.process.signal("KILL");
    demo.until_regions_are_gone();
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_left_behind() {
    let first_port = free_ports(5);
    for nth in [0, 1, 4] {
        let address = format!("127.0.0.1:{}", first_port + nth);
        let taken = TcpListener::bind(&address).expect("it is ours");
        let mut process = Beside::start(&["demo", "--ports", &first_port.to_string()]);
        assert_eq!(process.await_exit().code(), Some(1));
        let said = process.read("err");
        assert!(said.contains(&address) && said.contains("in use"), "{said}");
        drop(taken);
        let demo = Demo { process, first_port };
        demo.until_regions_are_gone();
    }
    let mut process = Beside::start(&["demo", "--ports", "65535"]);
    assert_eq!(process.await_exit().code(), Some(1));
    assert!(process.read("err").contains("65535"), "{}", process.read("err"));
}
