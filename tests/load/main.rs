//! `cargo bench --bench load`: what a request costs in tidegate, beside others.
//!
//! The others are a bare Pingora proxy, nginx and `HAProxy`, which do the same work on the same
//! cores in the same minutes. With `--streams N` it is what so many streams notice of all that
//! happens to a balancer, and what they cost while they are idle; with `--writes`, what a fenced
//! write costs; with `--campaign N`, how many of so many writes are executed twice while everything
//! breaks.

mod accounting;
mod bare;
mod campaign;
mod idle;
mod machine;
mod measure;
mod options;
mod report;
mod rig;
mod streams;
mod targets;
mod writes;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::machine::Cores;
use crate::measure::{Generator, Turn};
use crate::options::{Options, StreamOptions, Task, USAGE};
use crate::report::{Row, say};
use crate::rig::{Scratch, Server};
use crate::targets::Starter;

/// Connections for which servers have room when requests are measured, both sides together.
const CONNECTIONS_MAX: usize = 8192;
/// Connections besides those of streams: probes, and whoever looks whether a server answers.
const BESIDES: usize = 400;

fn main() -> ExitCode {
    let done = options::read().and_then(|task| match task {
        Task::Help => {
            say(USAGE);
            Ok(())
        }
        Task::Bare(arguments) => bare::serve(&arguments),
        Task::Requests(options) => measure_requests(options),
        Task::Streams(options) => measure_streams(options),
        Task::Writes(options) => writes::measure(options),
        Task::Campaign(options) => campaign::measure(options),
        Task::Smoke(requests, streams) => measure_requests(requests)
            .and_then(|()| writes::measure(requests))
            .and_then(|()| measure_streams(streams)),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the reason of a failure, where nobody's table is spoilt")]
fn complain(error: &io::Error) {
    eprintln!("the load bench failed: {error}");
}

fn measure_requests(options: Options) -> io::Result<()> {
    let cores = Cores::take(options.apart)?;
    let nginx = required("nginx", "the origin")?;
    let wrk = required("wrk", "the load generator")?;
    for program in ["setpriv", "taskset", "getconf", "kill"] {
        required(program, "part of the rig")?;
    }
    // Declared first, so that it is dropped last: the servers write into it.
    let scratch = Scratch::make()?;
    preface(options, cores, "GET, 1 KiB body");
    let starter = Starter { scratch: &scratch, cores, connections_max: CONNECTIONS_MAX };
    let origin = starter.origin(&nginx)?;
    let (proxies, missing) = starter.proxies(origin.address())?;
    for program in missing {
        say(&format!("left out: {program} is not installed"));
    }
    let servers: Vec<Server> = std::iter::once(origin).chain(proxies).collect();
    let mut generator = Generator::new(wrk, &scratch, cores.load, options.connections)?;
    if let Some(tidegate) = servers.iter().find(|it| it.name() == "tidegate") {
        generator.begin_session(tidegate)?;
    }
    let turns = take_turns(&servers, &generator, &scratch, options)?;
    let rows = rows(&servers, turns)?;
    report::absolute(&rows);
    compare(&rows);
    Ok(())
}

fn measure_streams(options: StreamOptions) -> io::Result<()> {
    let cores = Cores::take(false)?;
    for program in ["setpriv", "taskset", "kill"] {
        required(program, "part of the rig")?;
    }
    say(&format!("machine: {}", machine::processor()));
    say(&format!(
        "streams: {} at once, silent for {} s",
        options.streams,
        options.silence.as_secs()
    ));
    for program in ["nginx", "haproxy"].iter().filter_map(|name| machine::find(name)) {
        say(&format!("tool:    {}", machine::version(&program)));
    }
    say_if_debug();
    let scratch = Scratch::make()?;
    let connections_max = options.streams * 2 + BESIDES;
    idle::measure(&Starter { scratch: &scratch, cores, connections_max }, &scratch, options)?;
    streams::measure(options)
}

fn say_if_debug() {
    if cfg!(debug_assertions) {
        say("note:    this is a debug build, so its figures mean nothing");
    }
}

fn required(program: &str, role: &str) -> io::Result<PathBuf> {
    machine::find(program)
        .ok_or_else(|| io::Error::other(format!("{program} is not installed, and it is {role}")))
}

fn preface(options: Options, cores: Cores, work: &str) {
    say(&format!("machine: {}", machine::processor()));
    say(&format!("cores:   the proxy on {}, origin and wrk on {}", cores.proxy, cores.load));
    say(&format!(
        "work:    {work}, keep-alive, {} connections; turns of {} s in alternation, rounds: {}",
        options.connections, options.seconds, options.rounds
    ));
    for program in ["nginx", "haproxy", "wrk"].iter().filter_map(|name| machine::find(name)) {
        say(&format!("tool:    {}", machine::version(&program)));
    }
    say_if_debug();
}

/// Gives every server its turn in every round. Each round begins with another server, so that
/// nobody is always the one after the pause.
fn take_turns(
    servers: &[Server],
    generator: &Generator,
    scratch: &Scratch,
    options: Options,
) -> io::Result<Vec<Vec<Turn>>> {
    let turn = |server: &Server, seconds| {
        let failed = |error| io::Error::other(format!("{}: {error}", server.name()));
        generator.run(server, seconds, scratch).map_err(failed)
    };
    for server in servers {
        turn(server, 1)?;
    }
    let mut turns: Vec<Vec<Turn>> = servers.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        let order = (0..servers.len()).map(|place| (place + round) % servers.len());
        for index in order {
            if let (Some(server), Some(row)) = (servers.get(index), turns.get_mut(index)) {
                let turn = turn(server, options.seconds)?;
                progress(round + 1, options.rounds, server.name(), &turn);
                row.push(turn);
            }
        }
    }
    Ok(turns)
}

#[expect(clippy::print_stderr, reason = "a run takes minutes, and its reader wants to see it move")]
fn progress(round: usize, rounds: usize, name: &str, turn: &Turn) {
    let (cpu, rate) = (turn.cpu_us, turn.per_second);
    eprintln!("round {round} of {rounds}: {name:<16}{cpu:>8.2} us/req{rate:>9.0} req/s");
}

fn rows(servers: &[Server], turns: Vec<Vec<Turn>>) -> io::Result<Vec<Row>> {
    let row = |(server, turns): (&Server, _)| {
        let peak_kib = accounting::peak_kib(server.process())?;
        Ok(Row { name: server.name(), turns, peak_kib })
    };
    servers.iter().zip(turns).map(row).collect()
}

/// tidegate beside everybody, then like beside like: without logs, and how far Pingora itself goes.
fn compare(rows: &[Row]) {
    let pairs: [(&str, &[&str]); 3] = [
        ("tidegate", &["bare", "nginx", "haproxy", "nginx-no-log", "haproxy-no-log"]),
        ("tidegate-no-log", &["bare", "nginx-no-log", "haproxy-no-log"]),
        ("bare", &["nginx-no-log", "haproxy-no-log"]),
    ];
    let find = |name: &str| rows.iter().find(|row| row.name == name);
    for (ours, others) in pairs {
        let others: Vec<&Row> = others.iter().filter_map(|name| find(name)).collect();
        if let Some(ours) = find(ours) {
            report::ratios(ours, &others);
        }
    }
}
