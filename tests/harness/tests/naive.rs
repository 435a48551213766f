//! The middlewares of the wild under the workload and the checker that also judge our fence.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_harness::{
    CampaignPlan, FakeRegion, Judgement, Naive, NaiveFence, Nemesis, Redis, RedisPlan, Rule,
};

const WRITES: u32 = 800;
const SECONDS: u64 = 10;
const SEED: u64 = 20_261_123;

/// Sends a campaign to `door`, in front of `region`.
fn judged(
    region: &FakeRegion,
    door: SocketAddr,
    nemesis: impl FnOnce(&Nemesis) + Send,
) -> Judgement {
    let campaign = CampaignPlan::new(SEED, WRITES, SECONDS).run(door, nemesis);
    campaign.history(&[region]).judge()
}

/// A middleware that is killed, with a store that is stopped for a while, again and again.
fn judged_behind(kind: Naive) -> Judgement {
    let redis = Redis::start(&RedisPlan::durable());
    let region = FakeRegion::start("near");
    let fence = NaiveFence::start(kind, redis.address(), region.address());
    judged(&region, fence.address(), |nemesis| {
        while nemesis.rests(300..900) {
            if nemesis.number(0..3) == 0 {
                nemesis.causes("the store stops for a while", || {
                    redis.pause();
                    std::thread::sleep(Duration::from_millis(nemesis.number(100..900)));
                    redis.resume();
                });
            } else {
                nemesis.causes("the middleware is killed", || fence.restart());
            }
        }
    })
}

#[test]
fn the_checker_finds_the_duplicates_of_middlewares_in_the_wild() {
    let second = Duration::from_secs(1);
    let (none, set_nx, run_again) = std::thread::scope(|scope| {
        let none = scope.spawn(|| {
            let region = FakeRegion::start("near");
            judged(&region, region.address(), |_nemesis| ())
        });
        let set_nx = scope.spawn(|| judged_behind(Naive::SetNx { expiry: 60 * second }));
        let run_again = scope.spawn(|| judged_behind(Naive::RunAgain { lease: 2 * second }));
        (none.join().unwrap(), set_nx.join().unwrap(), run_again.join().unwrap())
    });
    let rows = [
        ("nothing", &none),
        ("SET NX EX, released on errors", &set_nx),
        ("run again after the lease", &run_again),
    ];
    // Who runs the tests is to see what our fence is compared with.
    let mut out = std::io::stderr();
    writeln!(out, "seed {SEED}\n{}", Judgement::HEAD).unwrap();
    for (name, judgement) in rows {
        writeln!(out, "{}", judgement.row(name)).unwrap();
    }
    for (name, judgement) in rows {
        assert!(judgement.broken(Rule::AtMostOnce) > 0, "{name}: the checker finds duplicates");
    }
}
