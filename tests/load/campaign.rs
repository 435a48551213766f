//! Longer campaigns than the tests have time for: writes that come again while everything breaks.

use std::io;
use std::time::Duration;

use tidegate_harness::{CampaignPlan, Judgement, PartedScene, Played, Scene, Topology};

use crate::options::CampaignOptions;
use crate::report::say;

/// As many in a second as in the tests, so that a kill finds as many under way.
const WRITES_PER_SECOND: u32 = 36;

const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");

/// What came of the campaigns so far.
struct Table {
    lines: Vec<String>,
    breaches: Vec<String>,
}

impl Table {
    fn add(&mut self, name: &str, is_fenced: bool, Played { judgement, notes }: &Played) {
        say(&format!("{name}: {notes}"));
        self.lines.push(judgement.row(name));
        if is_fenced {
            self.breaches.extend(judgement.breaches.iter().map(ToString::to_string));
        }
    }
}

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
    let plan = CampaignPlan { lasting, ..CampaignPlan::new(seed, writes, 0) };
    let mut table = Table { lines: vec![Judgement::HEAD.to_owned()], breaches: Vec::new() };
    // It has to be the first, because this thread lives in its network from then on.
    match PartedScene::start(TIDEGATE, true) {
        Ok(scene) => {
            let name = format!("{}, parted", scene.topology.name());
            table.add(&name, true, &scene.played(&plan));
        }
        Err(why) => say(&format!("left out: a store whose network is parted: {why}")),
    }
    for start in starts {
        let scene = Scene::start(TIDEGATE, start());
        let is_fenced = scene.topology.store().is_some();
        table.add(scene.topology.name(), is_fenced, &scene.played(&plan));
    }
    let Table { lines, breaches } = table;
    say(&lines.join("\n"));
    if breaches.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(format!("{} breaches:\n{}", breaches.len(), breaches.join("\n"))))
}
