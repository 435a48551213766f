//! A Redis that is away costs writes and nothing else, and when it is back all is as before.

use tidegate_core::policy::fencing::RedisTopology;
use tidegate_fence::Claim;
use tidegate_fence::redis::How;
use tidegate_fence::store::Check;
use tidegate_harness::{Redis, RedisPlan, free_address};
use tokio::task::JoinSet;

use crate::rig::{AT_ONCE, EVENTUALLY, Rig, ask, found, key, now, rules, run, standalone};

/// Claims fresh keys until one is told this, each of them with an answer in time.
async fn until_refused(rig: &Rig, expected: &str) {
    let began = now();
    loop {
        let asked = now();
        let told = rig.told(key()).await;
        assert!(asked.elapsed() < AT_ONCE, "{told} after {:?}", asked.elapsed());
        assert!(["down", "unreachable"].contains(&told), "{told}");
        if told == expected {
            return;
        }
        assert!(began.elapsed() < EVENTUALLY, "{told}");
    }
}

#[test]
fn a_store_that_dies_refuses_in_time_and_comes_back_by_itself() {
    run(async {
        let server = Redis::start(&RedisPlan::durable());
        let rules = standalone(&server);
        found(&rules, How::First).await.expect("it can be founded");
        let (rig, before) = (Rig::new(&rules), key());
        rig.until_told("won").await;
        Rig::patient(&rules).write(before).await;
        for _ in 0..2 {
            server.kill();
            until_refused(&rig, "down").await;
            server.restart();
            rig.until_told("won").await;
            rig.until_told_of("done", || before).await;
        }
    });
}

#[test]
fn a_store_that_hangs_refuses_in_time_and_its_late_claims_are_given_back() {
    run(async {
        let server = Redis::start(&RedisPlan::durable());
        let rules = standalone(&server);
        found(&rules, How::First).await.expect("it can be founded");
        let rig = Rig::new(&rules);
        rig.until_told("won").await;
        server.pause();
        let late = key();
        let asked = now();
        assert!(["unreachable", "down"].contains(&rig.told(late).await));
        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
        until_refused(&rig, "down").await;
        server.resume();
        rig.until_told("won").await;
        rig.until_free(late).await;
        Rig::patient(&rules).write(late).await;
    });
}

#[test]
fn a_store_that_was_never_there_is_down_at_once() {
    run(async {
        let rig = Rig::new(&rules(RedisTopology::Standalone, &[free_address()]));
        until_refused(&rig, "down").await;
        rig.until_seen(Check::Reachable, "refused").await;
    });
}

/// The deadline is the machine's, and not the sum of many.
#[test]
fn no_operation_waits_for_a_store_that_hangs_longer_than_its_limit() {
    run(async {
        let server = Redis::start(&RedisPlan::durable());
        let rules = standalone(&server);
        found(&rules, How::First).await.expect("it can be founded");
        let rig = Rig::new(&rules);
        rig.until_told("won").await;
        let sending = rig.win_soon().await.begin().expect("in time");
        server.pause();
        let asked = now();
        sending.complete(crate::rig::answer()).await;
        rig.fence.show(key()).await.expect_err("it hangs");
        rig.fence.gauges().await.expect_err("it hangs");
        rig.fence.audit(10).await.expect_err("it hangs");
        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
        server.resume();
        rig.until_told("won").await;
    });
}

#[test]
fn scripts_that_a_server_has_forgotten_are_sent_again() {
    run(async {
        let server = Redis::start(&RedisPlan::durable());
        let rig = Rig::founded(&standalone(&server)).await;
        for _ in 0..20 {
            assert_eq!(server.command(&["SCRIPT", "FLUSH"]).text(), "OK");
            let (first, second) = tokio::join!(rig.told(key()), rig.told(key()));
            assert_eq!((first, second), ("won", "won"));
            assert_eq!(server.command(&["SCRIPT", "FLUSH"]).text(), "OK");
            rig.write(key()).await;
        }
    });
}

#[test]
fn nothing_that_a_client_sends_is_part_of_a_script() {
    run(async {
        let server = Redis::start(&RedisPlan::durable());
        let rig = Rig::founded(&standalone(&server)).await;
        let scripts = || server.info("number_of_cached_scripts").expect("a count");
        let write = async || {
            let key = key();
            rig.write(key).await;
            assert_eq!(rig.told(key).await, "done");
            drop(rig.win(crate::rig::key()).await.begin().expect("in time"));
            rig.fence.gauges().await.expect("it answers");
        };
        write().await;
        // The keeper has called its own by now, or does so soon.
        rig.until_found(Check::Marker, true).await;
        let most: u32 = 20;
        for _ in 0..50 {
            write().await;
        }
        assert!(scripts().parse::<u32>().expect("a number") <= most, "{}", scripts());
    });
}

#[test]
fn many_claims_at_once_are_all_answered() {
    run(async {
        let server = Redis::start(&RedisPlan::durable());
        let rig = Rig::founded(&standalone(&server)).await;
        let mut claims = JoinSet::new();
        for _ in 0..2000 {
            let fence = rig.fence.clone();
            claims.spawn(async move {
                let claim = fence.claim(key(), &ask()).await;
                matches!(claim, Ok(Claim::Won(_)))
            });
        }
        let won = claims.join_all().await.into_iter().filter(|it| *it).count();
        assert_eq!(won, 2000);
    });
}
