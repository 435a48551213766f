//! Longer campaigns than the tests have time for: writes that come again while everything breaks.

use std::io;
use std::time::Duration;

use tidegate_harness::{CampaignPlan, Judgement, Scene, Topology};

use crate::options::CampaignOptions;
use crate::report::say;

/// As many in a second as in the tests, so that a kill finds as many under way.
const WRITES_PER_SECOND: u32 = 36;

/// Plays a campaign on each store, and says what came of it.
pub(crate) fn measure(options: CampaignOptions) -> io::Result<()> {
    let CampaignOptions { writes, seed } = options;
    let lasting = Duration::from_secs(u64::from(writes / WRITES_PER_SECOND + 1));
    let starts: [fn() -> Topology; 5] = [
        || Topology::None,
        || Topology::Embedded,
        Topology::standalone,
        Topology::sentinels,
        Topology::cluster,
    ];
    let mut lines = vec![Judgement::HEAD.to_owned()];
    let mut breaches = Vec::new();
    for start in starts {
        let scene = Scene::start(env!("CARGO_BIN_EXE_tidegate"), start());
        let plan = CampaignPlan { lasting, ..CampaignPlan::new(seed, writes, 0) };
        let played = scene.played(&plan);
        say(&format!("{}: {}", scene.topology.name(), played.notes));
        lines.push(played.judgement.row(scene.topology.name()));
        if scene.topology.store().is_some() {
            breaches.extend(played.judgement.breaches.iter().map(ToString::to_string));
        }
    }
    say(&lines.join("\n"));
    if breaches.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(format!("{} breaches:\n{}", breaches.len(), breaches.join("\n"))))
}
