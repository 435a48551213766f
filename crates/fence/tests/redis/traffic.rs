//! A Redis that is well, and has much to do.

use std::sync::Arc;
use std::time::Duration;

use tidegate_harness::{Redis, RedisPlan};
use tokio::task::JoinSet;

use crate::rig::{Rig, key, now, run, standalone};

/// Long enough for the store to be looked at three times.
const LASTING: Duration = Duration::from_millis(3500);
const WRITERS: usize = 64;

#[test]
fn writes_that_go_on_while_the_store_is_looked_at_are_no_sign_that_it_went_back() {
    run(async {
        let server = Redis::start(&RedisPlan::durable());
        let rig = Arc::new(Rig::founded(&standalone(&server)).await);
        let begin = now();
        let mut writers = JoinSet::new();
        for _ in 0..WRITERS {
            let rig = Arc::clone(&rig);
            writers.spawn(async move {
                while begin.elapsed() < LASTING {
                    rig.write(key()).await;
                }
            });
        }
        while let Some(ended) = writers.join_next().await {
            ended.expect("every write is claimed");
        }
        let tally = rig.fence.of_redis().expect("it is one");
        assert_eq!(tally.rollbacks.get(), 0);
    });
}
