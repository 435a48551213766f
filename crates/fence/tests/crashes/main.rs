//! Processes that are killed at random moments, and processes that race: nothing that was
//! acknowledged is lost, and no key is won twice.
#![expect(clippy::expect_used, reason = "a broken test should panic")]

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_core::fence::record::{Doubt, Phase, Record, State};
use tidegate_harness::TempDir;

use child::{Child, Mode, Said, clock, key, open};

mod child;

/// How often a process is killed, and how many words of it are heard before that at most.
const KILLS: u32 = 12;
const WORDS_MAX: u64 = 3_000;
/// How many keys two processes race for.
const RACED: u64 = 3_000;

/// Not a test: what the other tests start as a process of its own.
#[test]
fn child() {
    child::play();
}

/// What must be remembered of a key, after all that was said of it by a process that is dead now.
fn check(nth: u64, said: Said, held: Option<&Record>) {
    let phase = held.map(|record| record.phase(clock()));
    let is_completed = phase == Some(Phase::Completed);
    let is_doubted = phase == Some(Phase::InDoubt(Doubt::NoAnswer));
    let is_left = phase == Some(Phase::InDoubt(Doubt::OwnerDied));
    let holds = match said {
        Said::Completed => is_completed,
        Said::Doubted => is_doubted,
        Said::Released => held.is_none(),
        // It may have ended right before its process could say so.
        Said::Claimed => match Mode::fate(nth) {
            Said::Claimed => is_left,
            Said::Completed => is_left || is_completed,
            Said::Doubted => is_left || is_doubted,
            Said::Released => is_left || held.is_none(),
        },
    };
    assert!(holds, "{nth} was {said:?}, and is {held:?}");
    if let Some(State::Completed(answer)) = held.map(|it| &it.state) {
        assert_eq!(u64::from(answer.status), 200 + nth % 100, "the answer of another write");
    }
}

#[test]
fn nothing_that_was_acknowledged_is_lost_to_a_kill() {
    let directory = TempDir::new();
    let mut acknowledged = BTreeMap::new();
    for kill in 0..KILLS {
        let mut child = Child::start(directory.path(), Mode::Settle, u64::from(kill) << 32);
        let words = fastrand::u64(1..WORDS_MAX);
        for (nth, said) in child.words(words) {
            acknowledged.insert(nth, said);
        }
        child.kill();
        // What was said between the last word that was heard and the kill counts as well.
        acknowledged.extend(child.words(u64::MAX));
        let store = open(directory.path());
        for (nth, said) in &acknowledged {
            check(*nth, *said, store.look(key(*nth)).as_ref());
        }
    }
    assert!(1_000 < acknowledged.len(), "only {} keys were tried", acknowledged.len());
    println!("{KILLS} kills, {} keys, none lost", acknowledged.len());
}

#[test]
fn two_processes_never_win_one_key() {
    let directory = TempDir::new();
    let mut won = BTreeMap::new();
    let children = [(); 2].map(|()| Child::start(directory.path(), Mode::Race(RACED), 0));
    // Both are heard at the same time: one whose words nobody takes would stand still, and be late.
    let heard = std::thread::scope(|scope| {
        let threads = children.map(|mut child| {
            scope.spawn(move || {
                let words: Vec<u64> = child.words(u64::MAX).map(|(nth, _)| nth).collect();
                child.await_end();
                words
            })
        });
        threads.map(|it| it.join().expect("nobody panics"))
    });
    for (process, words) in heard.into_iter().enumerate() {
        for nth in words {
            assert_eq!(won.insert(nth, process), None, "{nth} was won twice");
        }
    }
    assert_eq!(won.len(), usize::try_from(RACED).expect("few"), "a key was won by nobody");
    let second = won.values().filter(|process| **process == 1).count();
    println!("{} and {second} keys were won", won.len() - second);
}

#[test]
fn claims_of_another_process_are_left_alone_until_it_dies() {
    let directory = TempDir::new();
    let mut child = Child::start(directory.path(), Mode::Hold, 0);
    let held: Vec<u64> = child.words(50).map(|(nth, _)| nth).collect();
    let store = open(directory.path());
    store.maintain();
    for nth in &held {
        let phase = store.look(key(*nth)).expect("a record").phase(clock());
        assert!(matches!(phase, Phase::InFlight { .. }), "{nth}: {phase:?}");
    }
    child.kill();
    // The lease is long; it is the death that ends it.
    let is_doubted = |nth: &u64| {
        let phase = store.look(key(*nth)).expect("a record").phase(clock());
        phase == Phase::InDoubt(Doubt::OwnerDied)
    };
    tidegate_harness::wait_until(Duration::from_secs(20), "the claims are in doubt", || {
        store.maintain();
        held.iter().all(is_doubted)
    });
}
