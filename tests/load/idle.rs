//! What a stream costs while nothing happens on it: memory per idle WebSocket, proxy by proxy.

use std::io;
use std::slice;
use std::time::Duration;

use tidegate_harness::{Crowd, CrowdPlan, FakeRegion, Kind};

use crate::accounting;
use crate::options::StreamOptions;
use crate::report::{self, Memory};
use crate::rig::{Scratch, Server};
use crate::targets::{REGION, Starter};

/// How long opening all of them may take.
const OPEN_WITHIN: Duration = Duration::from_mins(2);
/// How long they are idle before we look: what was needed for the beginning is let go then.
const SETTLED: Duration = Duration::from_secs(3);

/// Opens so many web sockets through one proxy after the other, and prints what each of them took.
pub(crate) fn measure(
    starter: &Starter<'_>,
    scratch: &Scratch,
    options: StreamOptions,
) -> io::Result<()> {
    let settled = options.silence.min(SETTLED);
    let region = FakeRegion::start(REGION);
    let (servers, missing) = starter.tunnels(region.address())?;
    for program in missing {
        report::say(&format!("left out: {program} is not installed"));
    }
    let mut rows = Vec::new();
    for server in &servers {
        rows.push(one(server, &region, options.streams, settled)?);
        scratch.take_lines(server.name())?;
    }
    report::memory(&rows);
    Ok(())
}

fn one(
    server: &Server,
    region: &FakeRegion,
    streams: usize,
    settled: Duration,
) -> io::Result<Memory> {
    let regions = slice::from_ref(region);
    let sockets = |streams| {
        let only = Some(Kind::WebSocket);
        let plan = CrowdPlan { only, silent: true, ..CrowdPlan::of(streams) };
        let crowd = Crowd::open(server.address(), regions, plan);
        crowd.until_open(regions, OPEN_WITHIN);
        crowd.until_aged(settled);
        crowd
    };
    // The first few bring in what all later ones share.
    let warm = sockets(streams.div_ceil(20)).finish(regions, OPEN_WITHIN);
    let before_kib = accounting::resident_kib(server.process())?;
    let crowd = sockets(streams);
    let open_kib = accounting::resident_kib(server.process())?;
    let ended = crowd.finish(regions, OPEN_WITHIN);
    if !ended.broken().is_empty() || !warm.broken().is_empty() {
        return Err(io::Error::other(format!("{}: {ended}", server.name())));
    }
    let after_kib = accounting::resident_kib(server.process())?;
    Ok(Memory { name: server.name(), streams, before_kib, open_kib, after_kib })
}
