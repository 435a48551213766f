//! Real clients in other languages: the scripts of `tests/clients`.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::temp::TempDir;
use crate::wait::wait_until;

const SCRIPT_DEADLINE: Duration = Duration::from_mins(1);

/// Runs a Python script of `tests/clients` and answers what it printed.
///
/// Panics with what it wrote to stderr when it fails, or runs for more than a minute.
#[track_caller]
pub fn python(script: &str, arguments: &[&str]) -> String {
    let interpreter = here("../../target/test-venv/bin/python");
    assert!(
        interpreter.exists(),
        "run tests/run.sh once: it makes the Python environment ({} is missing)",
        interpreter.display()
    );
    run(&interpreter, script, arguments)
}

/// Runs a Node script of `tests/clients` and answers what it printed.
///
/// Panics with what it wrote to stderr when it fails, or runs for more than a minute.
#[track_caller]
pub fn node(script: &str, arguments: &[&str]) -> String {
    run(&PathBuf::from("node"), script, arguments)
}

/// The last line of a script's output, which is one JSON value.
#[track_caller]
pub fn json_line(output: &str) -> Value {
    let last = output.trim_end().lines().next_back().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("wanted JSON: {error}: {last}"))
}

fn here(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[track_caller]
fn run(interpreter: &PathBuf, script: &str, arguments: &[&str]) -> String {
    // Files, not pipes: nobody has to read while the script runs, so it can never block on us.
    let kept = TempDir::new();
    let file = |name| std::fs::File::create(kept.path().join(name)).expect("make a file");
    let mut child = Command::new(interpreter)
        .arg(here("../clients").join(script))
        .args(arguments)
        .env("NO_PROXY", "*")
        .stdin(Stdio::null())
        .stdout(file("out"))
        .stderr(file("err"))
        .spawn()
        .unwrap_or_else(|error| panic!("start {}: {error}", interpreter.display()));
    let ended = ends_in_time(&mut child);
    let text = |name| std::fs::read_to_string(kept.path().join(name)).unwrap_or_default();
    assert!(ended, "{script} {arguments:?} failed:\n{}\n{}", text("out"), text("err"));
    text("out")
}

/// Whether the script ended well. A script that does not end is killed.
fn ends_in_time(child: &mut Child) -> bool {
    let began = std::time::Instant::now();
    let mut status = None;
    wait_until(SCRIPT_DEADLINE * 2, "a killed script ends", || {
        if SCRIPT_DEADLINE < began.elapsed() {
            // It may have ended in this very moment.
            child.kill().ok();
        }
        status = child.try_wait().expect("ask for our own child");
        status.is_some()
    });
    status.is_some_and(|it| it.success())
}
