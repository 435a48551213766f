//! Whole flips from seeds: random regions, policies and events, and what must hold all along.
//!
//! `SEED=n cargo test -p tidegate-core --test simulate` runs one seed again.
#![expect(clippy::expect_used, reason = "a broken test should panic")]

use rule::{HONEST, MUTANTS};
use simulation::{Census, Simulation};

mod check;
mod contract;
mod dice;
mod events;
mod heir;
mod mirror;
mod oracle;
mod rule;
#[path = "../sample/mod.rs"]
mod sample;
#[path = "../seeds/mod.rs"]
mod seeds;
mod simulation;
mod streams;
mod town;
mod windows;

const SEEDS: u64 = 1_000;

/// What must happen often, or the seeds do not test it: what regions turn, why they are held and
/// that they are not, who goes out and comes back, and how requests end.
const EVERYTHING: &str = "unknown green degraded mixed mismatched dark \
    recovering waiting_for_operator frozen ejected not_held out returned \
    pin session nearest spill last_resort contract_unmet release_unknown contract_unavailable \
    pin_unavailable residency_unavailable capacity_exhausted region_unreachable \
    no_region_available \
    drain_began drain_overdue drain_deadline drain_drained drain_returned drain_superseded \
    window_opened window_closed";

#[test]
fn flips_keep_what_must_hold() {
    let seeds = seeds::seeds(SEEDS);
    let mut census = Census::new();
    for seed in seeds.clone() {
        match Simulation::run(seed, &HONEST, &check::CHECKS) {
            Ok(seen) => seen.iter().for_each(|(word, it)| *census.entry(*word).or_default() += it),
            Err(broken) => panic!("{broken}"),
        }
    }
    if seeds == (0..SEEDS) {
        let words = EVERYTHING.split_whitespace();
        let rare = words.filter(|it| census.get(it).is_none_or(|it| *it < 100));
        let rare: Vec<_> = rare.collect();
        assert!(rare.is_empty(), "hardly ever happened: {rare:?} of {census:?}");
    }
}

#[test]
fn a_broken_rule_is_caught_and_its_seed_is_named() {
    for mutant in &MUTANTS {
        let caught = (0..SEEDS).find_map(|seed| {
            let broken = Simulation::run(seed, mutant, &check::CHECKS).err()?;
            Some((seed, broken))
        });
        let Some((seed, broken)) = caught else { panic!("nobody notices: {}", mutant.name) };
        assert!(broken.starts_with(&format!("SEED={seed} ")), "{broken}");
        let is_rightly_named = mutant.noticed_as.iter().any(|it| broken.contains(it));
        assert!(is_rightly_named, "{}: {broken}", mutant.name);
        let again = Simulation::run(seed, mutant, &check::CHECKS);
        assert_eq!(again, Err(broken), "the same seed breaks in the same way");
        let honest = Simulation::run(seed, &HONEST, &check::CHECKS);
        assert!(honest.is_ok(), "only the broken rule breaks: {honest:?}");
    }
}

/// What catches a broken rule is the checks: without them everything passes.
#[test]
fn without_checks_nothing_is_caught() {
    for mutant in &MUTANTS {
        assert!(Simulation::run(1, mutant, &[]).is_ok(), "{}", mutant.name);
    }
}
