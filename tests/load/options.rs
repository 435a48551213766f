//! What the command line of the load bench says.

use std::env;
use std::io;

/// How long and how hard to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// How often each proxy gets its turn.
    pub(crate) rounds: usize,
    /// How long one turn lasts.
    pub(crate) seconds: u32,
    /// How many connections the load generator keeps open.
    pub(crate) connections: u32,
    /// Whether origin and load generator have a core of their own.
    pub(crate) apart: bool,
}

/// What this process is to do.
#[derive(Debug)]
pub(crate) enum Task {
    /// Measure everything and print the tables.
    Measure(Options),
    /// Be the bare Pingora proxy of another run, with these arguments.
    Bare(Vec<String>),
    /// Say what can be asked.
    Help,
}

/// The text for `--help` and for a wrong argument.
pub(crate) const USAGE: &str = "\
usage: cargo bench --bench load -- [--rounds N] [--seconds S] [--connections N] [--apart] [--smoke]

  --rounds N        turns per proxy, in alternation (5)
  --seconds S       length of one turn (4)
  --connections N   connections kept open by the load generator (32)
  --apart           origin and wrk on a core of their own: for throughput and latency, not for CPU
  --smoke           one turn of one second each: shows that the rig works, measures nothing";

/// Reads the command line. Cargo itself adds `--bench`, which says nothing.
pub(crate) fn read() -> io::Result<Task> {
    let mut options = Options { rounds: 5, seconds: 4, connections: 32, apart: false };
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--bench" => {}
            "--bare" => return Ok(Task::Bare(words.collect())),
            "--help" | "-h" => return Ok(Task::Help),
            "--apart" => options.apart = true,
            "--smoke" => (options.rounds, options.seconds) = (1, 1),
            "--rounds" => options.rounds = positive(&word, words.next())?,
            "--seconds" => options.seconds = positive(&word, words.next())?,
            "--connections" => options.connections = positive(&word, words.next())?,
            _ => return Err(io::Error::other(format!("unknown argument {word}\n{USAGE}"))),
        }
    }
    Ok(Task::Measure(options))
}

/// A number of at least one.
fn positive<T: std::str::FromStr + Default + PartialEq>(
    word: &str,
    value: Option<String>,
) -> io::Result<T> {
    value
        .and_then(|text| text.parse().ok())
        .filter(|number| *number != T::default())
        .ok_or_else(|| io::Error::other(format!("{word} wants a number of at least 1\n{USAGE}")))
}
