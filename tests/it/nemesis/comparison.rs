//! Our fence beside what is found in the wild, under the same writes and the same kills.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use tidegate_harness::{
    CampaignPlan, FakeRegion, Judgement, Naive, NaiveFence, Nemesis, Redis, RedisPlan, Rule, Scene,
    Topology,
};

use super::say;
use crate::setting::TIDEGATE;

const WRITES: u32 = 800;
const SECONDS: u64 = 10;
const SEED: u64 = 20_261_123;

/// Sends the campaign to `door`, in front of these regions.
fn judged(
    regions: &[&FakeRegion],
    door: SocketAddr,
    nemesis: impl FnOnce(&Nemesis) + Send,
) -> Judgement {
    let campaign = CampaignPlan::new(SEED, WRITES, SECONDS).run(door, nemesis);
    campaign.history(regions).judge()
}

/// Kills whatever stands in front of the endpoint, and stops its store, again and again.
fn breaks(nemesis: &Nemesis, store: Option<&Redis>, kill: impl Fn()) {
    while nemesis.rests(300..900) {
        match (nemesis.number(0..3), store) {
            (0, Some(store)) => nemesis.causes("store stopped", || {
                store.pause();
                thread::sleep(Duration::from_millis(nemesis.number(100..900)));
                store.resume();
            }),
            _ => nemesis.causes("killed", &kill),
        }
    }
}

fn in_the_wild(kind: Naive) -> Judgement {
    let redis = Redis::start(&RedisPlan::durable());
    let region = FakeRegion::start("near");
    let fence = NaiveFence::start(kind, redis.address(), region.address());
    judged(&[&region], fence.address(), |it| breaks(it, Some(&redis), || fence.restart()))
}

fn ours() -> Judgement {
    let scene = Scene::start(TIDEGATE, Topology::Embedded);
    let regions: Vec<_> = scene.regions.iter().collect();
    judged(&regions, scene.door, |it| breaks(it, None, || scene.balancer.restart()))
}

#[test]
fn only_what_is_found_in_the_wild_executes_duplicates() {
    let second = Duration::from_secs(1);
    let rows = thread::scope(|scope| {
        let nothing = scope.spawn(|| {
            let region = FakeRegion::start("near");
            judged(&[&region], region.address(), |_nemesis| ())
        });
        let set_nx = scope.spawn(|| in_the_wild(Naive::SetNx { expiry: 60 * second }));
        let run_again = scope.spawn(|| in_the_wild(Naive::RunAgain { lease: 2 * second }));
        let ours = scope.spawn(ours);
        [
            ("nothing", nothing),
            ("SET NX EX, released on errors", set_nx),
            ("run again after the lease", run_again),
            ("tidegate, embedded", ours),
        ]
        .map(|(name, row)| (name, row.join().expect("the row comes to its end")))
    });
    say(&format!("seed {SEED}\n{}", Judgement::HEAD));
    for (name, judgement) in &rows {
        say(&judgement.row(name));
    }
    let [wild @ .., (_ours, ours)] = rows;
    for (name, judgement) in wild {
        assert!(judgement.broken(Rule::AtMostOnce) > 0, "{name}: the checker finds duplicates");
    }
    ours.assert_flawless();
}
