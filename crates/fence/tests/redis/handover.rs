//! What one node claimed alone goes to the store that all share.

use tidegate_core::fence::record::{Doubt, State};
use tidegate_fence::fence::HandedOver;
use tidegate_fence::store::Failure;
use tidegate_fence::{Ask, Claim};
use tidegate_harness::{Redis, RedisPlan, TempDir};

use crate::rig::{Rig, answer, ask, key, run, standalone};

#[test]
fn what_a_node_claimed_alone_is_known_to_all_once_the_store_is_back() {
    run(async {
        let (server, directory) = (Redis::start(&RedisPlan::durable()), TempDir::new());
        let shared = Rig::founded(&standalone(&server)).await;
        let local = Rig::embedded(&directory.path().join("local.db"));
        let [done, doubtful, flying] = [key(), key(), key()];
        let alone = Ask { is_degraded: true, ..ask() };
        let win = async |key| match local.fence.claim(key, &alone).await {
            Ok(Claim::Won(ticket)) => ticket.begin().expect("in time"),
            lost => panic!("not won: {lost:?}"),
        };
        win(done).await.complete(answer()).await;
        win(doubtful).await.doubt(Doubt::NoAnswer).await;
        let under_way = win(flying).await;

        server.kill();
        let lost = local.fence.hand_over(&shared.fence).await;
        assert!(matches!(lost, Err(Failure::Down | Failure::Unreachable)), "{lost:?}");
        assert!(local.fence.show(done).await.expect("it answers").is_some(), "nothing is lost");
        server.restart();
        shared.until_told("won").await;
        let handed = local.fence.hand_over(&shared.fence).await.expect("both answer");
        assert_eq!((handed.records, handed.escapes, handed.has_more), (2, 0, false));
        assert_eq!(shared.told(done).await, "done");
        assert_eq!(shared.told(doubtful).await, "in doubt");
        assert_eq!(shared.told(flying).await, "won", "nobody knows of it before it has ended");
        assert_eq!(local.told(flying).await, "busy");
        let record = shared.fence.show(done).await.expect("it answers").expect("it is there");
        assert_eq!((record.is_degraded, record.state), (true, State::Completed(answer())));
        assert_eq!(local.fence.show(done).await, Ok(None), "it is kept once");

        under_way.complete(answer()).await;
        assert_eq!(local.fence.hand_over(&shared.fence).await.expect("both answer").records, 1);
        assert_eq!(shared.told(flying).await, "done");
        assert_eq!(local.fence.hand_over(&shared.fence).await, Ok(HandedOver::default()));
    });
}

#[test]
fn two_nodes_that_executed_one_write_alone_are_found_out() {
    run(async {
        let (server, directory) = (Redis::start(&RedisPlan::durable()), TempDir::new());
        let shared = Rig::founded(&standalone(&server)).await;
        let key = key();
        for (node, escapes) in [("a.db", 0), ("b.db", 1)] {
            let local = Rig::embedded(&directory.path().join(node));
            local.write(key).await;
            let handed = local.fence.hand_over(&shared.fence).await.expect("both answer");
            assert_eq!((handed.records, handed.escapes), (1, escapes));
            assert_eq!(local.fence.show(key).await, Ok(None));
        }
        assert_eq!(shared.fence.tally().escapes.get(), 1);
        assert_eq!(shared.told(key).await, "done");
    });
}
