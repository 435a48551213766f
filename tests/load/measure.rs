//! One turn: load on one server, and what it cost.

use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use tidegate_harness::Request;

use crate::accounting;
use crate::rig::{Scratch, Server, pinned};
use crate::targets::{INDEX_HASH, REGION, TOKEN};

/// What one server did in one turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// Processor time per completed request, in microseconds, from the server's own books.
    pub(crate) cpu_us: f64,
    /// Completed requests per second.
    pub(crate) per_second: f64,
    /// Half of the requests were answered within this many milliseconds.
    pub(crate) p50_ms: f64,
    /// All but one in a hundred were answered within this many milliseconds.
    pub(crate) p99_ms: f64,
    /// The share of its core that the server used. Well below 1, the load was the limit.
    pub(crate) busy: f64,
    /// The share of requests that left a line in the access log. A log that loses lines is cheap.
    pub(crate) logged: f64,
}

/// What the script in `wrk.lua` prints.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Said {
    requests: f64,
    micros: f64,
    p50: f64,
    p99: f64,
    failed: f64,
}

/// The load generator: wrk on the load's core, with the headers of a tidegate client.
#[derive(Debug)]
pub(crate) struct Generator {
    wrk: PathBuf,
    script: PathBuf,
    core: u32,
    connections: u32,
    ticks_per_second: u32,
    /// The session token that every client brings.
    token: String,
}

impl Generator {
    /// Prepares the generator; nothing runs yet.
    pub(crate) fn new(
        wrk: PathBuf,
        scratch: &Scratch,
        core: u32,
        connections: u32,
    ) -> io::Result<Self> {
        let script = scratch.write("done.lua", include_str!("wrk.lua"))?;
        let ticks_per_second = crate::machine::ticks_per_second()?;
        let token = String::new();
        Ok(Self { wrk, script, core, connections, ticks_per_second, token })
    }

    /// The generator for writes, each of which has a key of its own.
    pub(crate) fn that_writes(mut self, scratch: &Scratch) -> io::Result<Self> {
        let script = [include_str!("writes.lua"), include_str!("wrk.lua")].concat();
        self.script = scratch.write("writes.lua", &script)?;
        Ok(self)
    }

    /// Fetches the token with which clients come from now on.
    pub(crate) fn begin_session(&mut self, tidegate: &Server) -> io::Result<()> {
        let reply = Request::get(&format!("http://{}/", tidegate.address())).send()?;
        let token = reply.header(TOKEN).map(str::to_owned);
        self.token = token.ok_or_else(|| io::Error::other("tidegate issued no token"))?;
        Ok(())
    }

    /// Loads `server` for some seconds. A single failed request fails the turn.
    pub(crate) fn run(&self, server: &Server, seconds: u32, scratch: &Scratch) -> io::Result<Turn> {
        let before = accounting::cpu(server.process(), self.ticks_per_second)?;
        let said = self.load(server, seconds)?;
        let used = accounting::cpu(server.process(), self.ticks_per_second)?.saturating_sub(before);
        if said.failed > 0.0 || said.requests < 1.0 {
            let text = format!("{} of {} requests failed", said.failed, said.requests);
            return Err(io::Error::other(text));
        }
        let lines = scratch.take_lines(server.name())?;
        Ok(Turn::of(&said, used, lines))
    }

    fn load(&self, server: &Server, seconds: u32) -> io::Result<Said> {
        let output = self.command(server, seconds).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().rev().find(|line| line.starts_with('{'));
        let Some(line) = last else {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(format!("wrk printed no result\n{text}{errors}")));
        };
        serde_json::from_str(line).map_err(io::Error::other)
    }

    fn command(&self, server: &Server, seconds: u32) -> Command {
        let mut command = pinned(self.core, &self.wrk);
        command
            .args(["--threads", "1", "--connections", &self.connections.to_string()])
            .args(["--duration", &format!("{seconds}s")])
            .args(["--header", &format!("X-Region-Pin: {REGION}")])
            .args(["--header", &format!("X-Index-Hash: {INDEX_HASH}")])
            .args(["--header", &format!("{TOKEN}: {}", self.token)])
            .arg("--script")
            .arg(&self.script)
            .arg(format!("http://{}/", server.address()));
        command
    }
}

impl Turn {
    fn of(said: &Said, used: Duration, lines: u32) -> Self {
        let used_us = used.as_secs_f64() * 1e6;
        Self {
            cpu_us: used_us / said.requests,
            per_second: said.requests * 1e6 / said.micros,
            p50_ms: said.p50 / 1e3,
            p99_ms: said.p99 / 1e3,
            busy: used_us / said.micros,
            logged: f64::from(lines) / said.requests,
        }
    }
}
