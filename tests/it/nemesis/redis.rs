//! The same on real servers: what a Redis forgets, refuses or says too late executes nothing twice.

use tidegate_harness::Topology;

use super::play;

/// Seconds of each campaign, which shares its cores with other tests.
const SECONDS: u64 = 22;
/// A master that was replaced is taken back as a replica about ten seconds later.
const SECONDS_FOR_SENTINELS: u64 = 27;

#[test]
fn nothing_is_executed_twice_while_a_redis_is_killed_and_stopped() {
    play(3, SECONDS, Topology::standalone());
}

#[test]
fn nothing_is_executed_twice_while_sentinels_replace_their_master() {
    play(4, SECONDS_FOR_SENTINELS, Topology::sentinels());
}

#[test]
fn nothing_is_executed_twice_while_a_cluster_loses_masters() {
    play(5, SECONDS, Topology::cluster());
}
