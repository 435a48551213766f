//! What a write costs that is delivered at most once, beside one that is only delivered.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tidegate_harness::{Redis, RedisPlan};

use crate::machine::{self, Cores};
use crate::measure::Generator;
use crate::options::Options;
use crate::report::{self, Row};
use crate::rig::{Scratch, Server};
use crate::targets::Starter;
use crate::{CONNECTIONS_MAX, accounting, preface, required, rows, take_turns};

/// The balancer without a fence, to which the others are compared.
const UNFENCED: &str = "unfenced";
/// The balancer whose fence is a file.
const EMBEDDED: &str = "sqlite";
/// The balancer whose fence is a Redis.
const REDIS: &str = "redis";

/// Sends writes, each with a key of its own, without a fence and with each store.
pub(crate) fn measure(options: Options) -> io::Result<()> {
    let cores = Cores::take(options.apart)?;
    let (nginx, wrk) = programs()?;
    // Declared first, so that it is dropped last: the servers write into it.
    let scratch = Scratch::make()?;
    preface(options, cores, "POST with a key of its own, 1 KiB answer");
    let starter = Starter { scratch: &scratch, cores, connections_max: CONNECTIONS_MAX };
    let origin = starter.origin(&nginx)?;
    let core = cores.load.to_string();
    let redis = Redis::start(&RedisPlan::durable().through(&["taskset", "-c", &core]));
    let stores = [
        (UNFENCED, None),
        (EMBEDDED, Some("{ embedded: { path: ./fence.db } }".to_owned())),
        (
            REDIS,
            Some(format!(
                "{{ redis: {{ topology: standalone, nodes: [\"{}\"] }} }}",
                redis.address()
            )),
        ),
    ];
    let start = |(name, store): (_, Option<String>)| {
        starter.writer(name, store.as_deref(), origin.address())
    };
    let servers = stores.into_iter().map(start).collect::<io::Result<Vec<Server>>>()?;
    found(&scratch)?;
    let generator = Generator::new(wrk, &scratch, cores.load, options.connections)?;
    let generator = generator.that_writes(&scratch)?;
    let ticks_per_second = machine::ticks_per_second()?;
    let turns = take_turns(&servers, &generator, &scratch, options)?;
    let keys = redis.command(&["DBSIZE"]).number().unwrap_or_default();
    let used = accounting::cpu(redis.pid(), ticks_per_second)?;
    let rows = rows(&servers, turns)?;
    report::absolute(&rows);
    compare(&rows);
    report::say(&format!(
        "\nredis-server itself: {keys} keys, {:.2} us of CPU for each",
        used.as_secs_f64() * 1e6 / f64::from(u32::try_from(keys).unwrap_or(u32::MAX))
    ));
    Ok(())
}

fn programs() -> io::Result<(PathBuf, PathBuf)> {
    for program in ["redis-server", "setpriv", "taskset", "getconf", "kill"] {
        required(program, "part of the rig")?;
    }
    Ok((required("nginx", "the origin")?, required("wrk", "the load generator")?))
}

/// Says that the Redis is a new one, as an operator would.
fn found(scratch: &Scratch) -> io::Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["fence", "init", "--admin"])
        .arg(scratch.file(&format!("{REDIS}.sock")))
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("the Redis was not begun: {said}")))
}

fn compare(rows: &[Row]) {
    let find = |name: &str| rows.iter().find(|row| row.name == name);
    if let Some(unfenced) = find(UNFENCED) {
        for name in [EMBEDDED, REDIS] {
            if let Some(fenced) = find(name) {
                report::ratios(fenced, &[unfenced]);
            }
        }
    }
}
