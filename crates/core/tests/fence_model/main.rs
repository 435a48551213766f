//! The fence as a model: every order of events is tried, and no write is executed twice.
//!
//! Three requests carry the same key. Around them processes are paused and die, endpoints refuse,
//! execute and fall silent, the store fails over to a copy, loses everything or cannot be reached,
//! and an operator resolves doubts. The rules are the real ones of `tidegate_core::fence`.
//!
//! A checker that finds nothing proves nothing, so each rule is also broken, one at a time, and
//! the checker has to notice.
#![expect(clippy::indexing_slicing, reason = "a broken model should panic")]
#![expect(clippy::print_stdout, reason = "how much was tried is part of the result")]

use stateright::{Checker as _, Model as _, Path};

use model::{AT_MOST_ONCE, Action, Fence, NEVER};
use variants::{BROKEN, SOUND};

mod model;
mod store;
mod variants;
mod world;

/// What was found of one fence.
struct Findings {
    /// The promises that it breaks, and the possibilities that it does not have.
    broken: Vec<&'static str>,
    /// One way to execute the write twice.
    twice: Option<Vec<Action>>,
}

fn check(name: &str, fence: &Fence) -> Findings {
    let checker = fence.clone().checker().threads(2).spawn_bfs().join();
    println!("{:8} states: {name}", checker.unique_state_count());
    let is_broken = |name: &&'static str| {
        // What must never happen was found, or what must be possible was not.
        checker.discovery(name).is_some() == NEVER.contains(name)
    };
    let names = fence.properties().into_iter().map(|it| it.name);
    let twice = checker.discovery(AT_MOST_ONCE).map(Path::into_actions);
    Findings { broken: names.filter(is_broken).collect(), twice }
}

#[test]
fn the_fence_delivers_at_most_once() {
    for (name, fence) in SOUND {
        let Findings { broken, twice } = check(name, fence);
        assert_eq!(twice, None, "{name}: executed twice");
        // Not everything can happen everywhere: without an operator nothing is resolved.
        assert!(!broken.iter().any(|it| NEVER.contains(it)), "{name}: {broken:?}");
    }
}

#[test]
fn a_fence_is_of_use() {
    let (name, fence) = SOUND.first().expect("there is one");
    assert_eq!(check(name, fence).broken, [""; 0], "everything that should be possible is");
}

#[test]
fn every_broken_rule_is_caught() {
    for (name, fence) in BROKEN {
        assert!(check(name, fence).twice.is_some(), "nobody notices: {name}");
    }
}
