//! The same while the network of the store is parted: on one side the master, on the other side those
//! who replace it, and a balancer on each.

use tidegate_harness::{CampaignPlan, Judgement, PartedScene, Rule, say_skipped};

use super::{WRITES, assert_fenced, say};
use crate::setting::TIDEGATE;

/// As with Sentinels: it takes ten seconds to take back a master that was replaced.
const SECONDS: u64 = 27;

/// The stage, where this machine allows one.
fn stage(is_waited: bool) -> Option<PartedScene> {
    match PartedScene::start(TIDEGATE, is_waited) {
        Ok(scene) => Some(scene),
        Err(why) => {
            say_skipped("a store whose network is parted", &why);
            None
        }
    }
}

#[test]
fn nothing_is_executed_twice_while_a_balancer_is_alone_with_a_replaced_master() {
    let Some(scene) = stage(true) else { return };
    let played = scene.played(&CampaignPlan::new(6, WRITES, SECONDS));
    assert_fenced(&format!("{}, parted", scene.topology.name()), &played);
}

#[test]
fn without_waiting_for_copies_a_parted_network_executes_duplicates() {
    let Some(scene) = stage(false) else { return };
    let judgement = scene.played(&CampaignPlan::new(7, 300, 8)).judgement;
    say(&format!("{}\n{}", Judgement::HEAD, judgement.row(scene.topology.name())));
    assert!(0 < judgement.broken(Rule::AtMostOnce), "{}", judgement.counts);
}
