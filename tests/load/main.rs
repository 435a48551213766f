//! `cargo bench --bench load`: what a request costs in tidegate, beside a bare Pingora proxy, nginx
//! and `HAProxy` that do the same work on the same cores in the same minutes.

mod accounting;
mod bare;
mod machine;
mod measure;
mod options;
mod report;
mod rig;
mod targets;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::machine::Cores;
use crate::measure::{Generator, Turn};
use crate::options::{Options, Task, USAGE};
use crate::report::{Row, say};
use crate::rig::Scratch;
use crate::targets::{Starter, Target};

fn main() -> ExitCode {
    let done = options::read().and_then(|task| match task {
        Task::Help => {
            say(USAGE);
            Ok(())
        }
        Task::Bare(arguments) => bare::serve(&arguments),
        Task::Measure(options) => measure_all(options),
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

fn measure_all(options: Options) -> io::Result<()> {
    let cores = Cores::take()?;
    let nginx = required("nginx", "the origin")?;
    let wrk = required("wrk", "the load generator")?;
    for program in ["setpriv", "taskset", "getconf", "kill"] {
        required(program, "part of the rig")?;
    }
    // Declared first, so that it is dropped last: the servers write into it.
    let scratch = Scratch::make()?;
    preface(options, cores);
    let starter = Starter { scratch: &scratch, cores };
    let origin = starter.origin(&nginx)?;
    let (proxies, missing) = starter.proxies(origin.server.address())?;
    for program in missing {
        say(&format!("left out: {program} is not installed"));
    }
    let targets: Vec<Target> = std::iter::once(origin).chain(proxies).collect();
    let generator = Generator::new(wrk, &scratch, cores.load, options.connections)?;
    let turns = take_turns(&targets, &generator, &scratch, options)?;
    let rows = rows(&targets, turns)?;
    report::absolute(&rows);
    compare(&rows);
    Ok(())
}

fn required(program: &str, role: &str) -> io::Result<PathBuf> {
    machine::find(program)
        .ok_or_else(|| io::Error::other(format!("{program} is not installed, and it is {role}")))
}

fn preface(options: Options, cores: Cores) {
    say(&format!("machine: {}", machine::processor()));
    say(&format!("cores:   the proxy on {}, origin and wrk on {}", cores.proxy, cores.load));
    say(&format!(
        "work:    GET, 1 KiB body, keep-alive, {} connections; turns of {} s in alternation, rounds: {}",
        options.connections, options.seconds, options.rounds
    ));
    for program in ["nginx", "haproxy", "wrk"].iter().filter_map(|name| machine::find(name)) {
        say(&format!("tool:    {}", machine::version(&program)));
    }
    if cfg!(debug_assertions) {
        say("note:    this is a debug build, so its figures mean nothing");
    }
}

/// Gives every server its turn in every round. Each round begins with another server, so that
/// nobody is always the one after the pause.
fn take_turns(
    targets: &[Target],
    generator: &Generator,
    scratch: &Scratch,
    options: Options,
) -> io::Result<Vec<Vec<Turn>>> {
    let mut turns: Vec<Vec<Turn>> = targets.iter().map(|_| Vec::new()).collect();
    for target in targets {
        generator.run(&target.server, 1).map_err(|error| named(target, &error))?;
    }
    for round in 0..options.rounds {
        let order = (0..targets.len()).map(|place| (place + round) % targets.len());
        for index in order {
            let (Some(target), Some(row)) = (targets.get(index), turns.get_mut(index)) else {
                continue;
            };
            let turn = generator
                .run(&target.server, options.seconds)
                .map_err(|error| named(target, &error))?;
            progress(round + 1, options.rounds, target.name, &turn);
            row.push(turn);
            scratch.empty_logs()?;
        }
    }
    Ok(turns)
}

fn named(target: &Target, error: &io::Error) -> io::Error {
    io::Error::other(format!("{}: {error}", target.name))
}

#[expect(clippy::print_stderr, reason = "a run takes minutes, and its reader wants to see it move")]
fn progress(round: usize, rounds: usize, name: &str, turn: &Turn) {
    let (cpu, rate) = (turn.cpu_us, turn.per_second);
    eprintln!("round {round} of {rounds}: {name:<16}{cpu:>8.2} us/req{rate:>9.0} req/s");
}

fn rows(targets: &[Target], turns: Vec<Vec<Turn>>) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (target, turns) in targets.iter().zip(turns) {
        let peak_kib = accounting::peak_kib(target.server.process())?;
        rows.push(Row { name: target.name, turns, peak_kib });
    }
    Ok(rows)
}

/// tidegate beside everybody, and the bare proxy too: it shows how far tidegate could go.
fn compare(rows: &[Row]) {
    for name in ["tidegate", "bare"] {
        let Some(ours) = rows.iter().find(|row| row.name == name) else { continue };
        let others = ["bare", "nginx", "nginx-no-log", "haproxy", "haproxy-no-log"];
        let others: Vec<&Row> =
            rows.iter().filter(|row| row.name != name && others.contains(&row.name)).collect();
        report::ratios(ours, &others);
    }
}
