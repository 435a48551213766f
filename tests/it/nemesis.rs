//! Everything breaks while writes come twice and more often: nothing is executed twice.
//!
//! Each test sends a campaign from a seed, breaks what it names, and lets the history be judged by
//! what the endpoints have written down. The figures are printed. `cargo bench --bench load --
//! --campaign N` does the same for longer.

mod comparison;
mod parted;
mod redis;

use std::io::Write as _;

use tidegate_harness::{CampaignPlan, Judgement, Played, Rule, Scene, Topology};

use crate::setting::TIDEGATE;

/// As many as the claim of 99.9 % needs are presented: each write comes four times or more.
const WRITES: u32 = 900;
/// Of a hundred writes, so many get their answer in spite of everything.
const DONE_PERCENT_MIN: u32 = 60;
/// What the issue asks of each topology.
const PRESENTED_MIN: u32 = 3000;

/// Figures are for whoever runs the tests.
fn say(text: &str) {
    // Nobody may be there to read them.
    writeln!(std::io::stdout(), "{text}").ok();
}

/// Says what came of a campaign, with its line of the table, and holds us to our claims.
#[track_caller]
fn assert_fenced(name: &str, Played { judgement, notes }: &Played) {
    say(&format!("{notes}\n{}\n{}", Judgement::HEAD, judgement.row(name)));
    judgement.assert_flawless();
    assert!(PRESENTED_MIN <= judgement.counts.presented, "{}", judgement.counts);
    assert_eq!(judgement.counts.executed, 0);
    // A fence that refuses everything would keep all of the above.
    let done = judgement.counts.done;
    assert!(DONE_PERCENT_MIN * WRITES <= done * 100, "{done} of {WRITES} writes are done");
}

/// Plays a campaign of so many seconds on this store.
#[track_caller]
fn play(seed: u64, seconds: u64, topology: Topology) {
    let scene = Scene::start(TIDEGATE, topology);
    let played = scene.played(&CampaignPlan::new(seed, WRITES, seconds));
    assert_fenced(scene.topology.name(), &played);
}

#[test]
fn without_a_fence_the_checker_finds_duplicates() {
    let scene = Scene::start(TIDEGATE, Topology::None);
    let judgement = scene.played_with(&CampaignPlan::new(1, 200, 4), |_nemesis| ()).judgement;
    say(&format!("{}\n{}", Judgement::HEAD, judgement.row(scene.topology.name())));
    assert!(200 <= judgement.broken(Rule::AtMostOnce), "{}", judgement.counts);
}

#[test]
fn nothing_is_executed_twice_while_balancer_and_endpoints_break() {
    play(2, 25, Topology::Embedded);
}
