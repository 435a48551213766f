//! What the command line of the load bench says.

use std::env;
use std::io;
use std::time::Duration;

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

/// How many streams, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamOptions {
    /// How many are open at once.
    pub(crate) streams: usize,
    /// How long those that say nothing say nothing.
    pub(crate) silence: Duration,
}

/// How many writes come twice and more often while everything breaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CampaignOptions {
    /// How many, for each store of the fence.
    pub(crate) writes: u32,
    /// Everything that is random comes from it.
    pub(crate) seed: u64,
}

/// What this process is to do.
#[derive(Debug)]
pub(crate) enum Task {
    /// Measure what requests cost.
    Requests(Options),
    /// See what streams notice, and what they cost.
    Streams(StreamOptions),
    /// Measure what fenced writes cost.
    Writes(Options),
    /// See that no write is executed twice.
    Campaign(CampaignOptions),
    /// Try all of it, as shortly as possible.
    Smoke(Options, StreamOptions),
    /// Be the bare Pingora proxy of another run, with these arguments.
    Bare(Vec<String>),
    /// Say what can be asked.
    Help,
}

/// The text for `--help` and for a wrong argument.
pub(crate) const USAGE: &str = "\
usage: cargo bench --bench load -- [--rounds N] [--seconds S] [--connections N] [--apart] [--smoke]
       cargo bench --bench load -- --writes [--rounds N] [--seconds S] [--connections N] [--apart]
       cargo bench --bench load -- --streams N [--silence S]
       cargo bench --bench load -- --campaign N [--seed S]

  --rounds N        turns per proxy, in alternation (5)
  --seconds S       length of one turn (4)
  --connections N   connections kept open by the load generator (32)
  --apart           origin and wrk on a core of their own: for throughput and latency, not for CPU
  --writes          no reads, but writes: without a fence, and with one in SQLite and in Redis
  --streams N       no requests, but so many streams open at once: what they notice of flips, drains,
                    reloads, upgrades and stops, and what they cost while they are idle
  --silence S       how long streams are silent, and about how long each event takes (65)
  --campaign N      no requests, but N writes for each store of the fence, each tried four to seven
                    times while balancer, endpoints and store break: what is executed twice
  --seed S          what is random in a campaign (1)
  --smoke           one turn of one second each, and a few streams: shows that the rig works,
                    measures nothing";

/// Longer than the minute after which a proxy that knows no better lets a silent connection go.
const SILENCE: Duration = Duration::from_secs(65);
/// Enough streams to see that the rig works: some of each kind.
const FEW: StreamOptions = StreamOptions { streams: 24, silence: Duration::from_secs(1) };

/// Reads the command line. Cargo itself adds `--bench`, which says nothing.
pub(crate) fn read() -> io::Result<Task> {
    let (mut streams, mut silence) = (None, SILENCE);
    let (mut smoke, mut writes) = (false, false);
    let (mut campaign, mut seed) = (None, 1);
    let mut options = Options { rounds: 5, seconds: 4, connections: 32, apart: false };
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--bench" => {}
            "--bare" => return Ok(Task::Bare(words.collect())),
            "--help" | "-h" => return Ok(Task::Help),
            "--apart" => options.apart = true,
            "--smoke" => smoke = true,
            "--writes" => writes = true,
            "--streams" => streams = Some(positive(&word, words.next())?),
            "--silence" => silence = Duration::from_secs(positive(&word, words.next())?),
            "--campaign" => campaign = Some(positive(&word, words.next())?),
            "--seed" => seed = positive(&word, words.next())?,
            "--rounds" => options.rounds = positive(&word, words.next())?,
            "--seconds" => options.seconds = positive(&word, words.next())?,
            "--connections" => options.connections = positive(&word, words.next())?,
            _ => return Err(io::Error::other(format!("unknown argument {word}\n{USAGE}"))),
        }
    }
    if smoke {
        return Ok(Task::Smoke(Options { rounds: 1, seconds: 1, ..options }, FEW));
    }
    Ok(match (campaign, streams) {
        (Some(writes), _) => Task::Campaign(CampaignOptions { writes, seed }),
        (None, Some(streams)) => Task::Streams(StreamOptions { streams, silence }),
        (None, None) if writes => Task::Writes(options),
        (None, None) => Task::Requests(options),
    })
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
