//! The reference checks of `X-Fence-Epoch` in `deploy/examples`, each run as it is.
#![expect(clippy::expect_used, reason = "a broken test should panic")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tidegate_harness::{Request, TempDir};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples").join(name)
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs an endpoint, and sends it writes of owners that were and that are.
fn check(program: &mut Command) {
    let started = program.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut running = Running(started.expect("it can be started"));
    let mut line = String::new();
    let told = running.0.stdout.take().expect("it says something");
    BufReader::new(told).read_line(&mut line).expect("it says its port");
    let port: u16 = line.trim().parse().expect("a port");
    let write = |tenant: &str, epoch: Option<&str>| {
        let request = Request::post(&format!("http://127.0.0.1:{port}/"), "ten");
        let request = request.header("X-Tenant", tenant);
        let request = match epoch {
            Some(epoch) => request.header("X-Fence-Epoch", epoch),
            None => request,
        };
        request.send().expect("an answer").status
    };
    // As large as epochs are in practice.
    let (old, new) = ("1853882236502016", "1853882236502017");
    assert_eq!([write("a", Some(old)), write("a", Some(old))], [200, 200]);
    assert_eq!([write("a", Some(new)), write("a", Some(old))], [200, 409], "the epoch is over");
    assert_eq!(write("b", Some(old)), 200, "another tenant");
    assert_eq!([write("a", None), write("a", Some("x"))], [428, 428]);
    assert_eq!(write("a", Some(new)), 200);
}

#[test]
fn an_endpoint_in_python_refuses_old_epochs() {
    let directory = TempDir::new();
    let database = directory.path().join("orders.db");
    check(Command::new("python3").arg(example("fence_epoch.py")).arg(database));
}

#[test]
fn an_endpoint_in_node_refuses_old_epochs() {
    check(Command::new("node").arg(example("fence_epoch.mjs")));
}

#[test]
fn an_endpoint_in_rust_refuses_old_epochs() {
    let directory = TempDir::new();
    let program = directory.path().join("endpoint");
    let mut rustc = Command::new("rustc");
    let built =
        rustc.args(["--edition", "2021", "-o"]).arg(&program).arg(example("fence_epoch.rs"));
    assert!(built.status().expect("rustc runs").success());
    check(&mut Command::new(program));
}
