//! One write, its owner, and the region that takes over. Its first attempt goes to the owner, a
//! retry to the next one; between a look at the lease and the write a process may stand still.

use stateright::{Checker as _, Model, Property};

const ONCE: &str = "the write is executed at most once";
const NOT_LATE: &str = "no write under an old epoch follows one of the next owner";
const OF_USE: &str = "the next owner executes";

/// What is remembered of the key, in one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Memory {
    Nothing,
    InFlight,
    Done,
    Doubt,
}

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Idle,
    Claimed,
    /// The lease was looked at.
    Checked,
    Sent,
    Executed,
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "what has happened and what has not")]
struct World {
    of_owner: Memory,
    of_next: Memory,
    lease_runs: bool,
    is_promoted: bool,
    first: Stage,
    retry: Stage,
    effects: u8,
    next_has_written: bool,
    was_late: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Claim,
    Check,
    Send,
    Arrive,
    Answer,
    /// What the owner remembers reaches the other region.
    Copy,
    LeaseEnds,
    Promote,
    Retry,
    SendRetry,
    AnswerRetry,
    /// Another write, of the next owner.
    Other,
}

/// Which guards there are.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each guard is there or is not")]
struct Guards {
    /// The owner looks at its lease, and nobody is promoted before it has ended.
    lease: bool,
    /// The endpoint refuses older epochs.
    epoch: bool,
    /// Claims are made in both regions before anything is sent.
    dual: bool,
    /// Nobody is promoted before everything is copied.
    tail: bool,
    /// A retry that was first sent before the promotion is in doubt where nothing is known of it.
    first_sent: bool,
}

impl Model for Guards {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            of_owner: Memory::Nothing,
            of_next: Memory::Nothing,
            lease_runs: true,
            is_promoted: false,
            first: Stage::Idle,
            retry: Stage::Idle,
            effects: 0,
            next_has_written: false,
            was_late: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend(match world.first {
            Stage::Idle => Some(Action::Claim),
            Stage::Claimed => Some(Action::Check),
            Stage::Checked => Some(Action::Send),
            Stage::Sent => Some(Action::Arrive),
            Stage::Executed => Some(Action::Answer),
            Stage::Ended => None,
        });
        actions.extend(match world.retry {
            Stage::Idle if world.is_promoted => Some(Action::Retry),
            Stage::Claimed => Some(Action::SendRetry),
            Stage::Executed => Some(Action::AnswerRetry),
            Stage::Idle | Stage::Checked | Stage::Sent | Stage::Ended => None,
        });
        let is_behind = world.of_owner != Memory::Nothing && world.of_next == Memory::Nothing;
        let lease_is_in_the_way = self.lease && world.lease_runs;
        let tail_is_in_the_way = self.tail && is_behind;
        let mut may = |action, is_possible| actions.extend(Some(action).filter(|_| is_possible));
        may(Action::Copy, is_behind);
        may(Action::LeaseEnds, world.lease_runs);
        let may_promote = !lease_is_in_the_way && !tail_is_in_the_way;
        may(Action::Promote, !world.is_promoted && may_promote);
        may(Action::Other, world.is_promoted && !world.next_has_written);
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Claim => self.claim(&mut world),
            Action::Check if self.lease && !world.lease_runs => world.first = Stage::Ended,
            Action::Check => world.first = Stage::Checked,
            Action::Send => world.first = Stage::Sent,
            Action::Arrive if self.epoch && world.is_promoted => world.first = Stage::Ended,
            Action::Arrive => {
                world.effects += 1;
                world.was_late |= world.next_has_written;
                world.first = Stage::Executed;
            }
            Action::Answer => {
                world.of_owner = Memory::Done;
                if self.dual {
                    world.of_next = Memory::Done;
                }
                world.first = Stage::Ended;
            }
            Action::Copy => world.of_next = world.of_owner,
            Action::LeaseEnds => world.lease_runs = false,
            Action::Promote => world.is_promoted = true,
            Action::Retry => self.retry(&mut world),
            Action::SendRetry => {
                world.effects += 1;
                world.retry = Stage::Executed;
            }
            Action::AnswerRetry => {
                world.of_next = Memory::Done;
                world.retry = Stage::Ended;
            }
            Action::Other => world.next_has_written = true,
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONCE, |_, world: &World| world.effects <= 1),
            Property::always(NOT_LATE, |_, world: &World| !world.was_late),
            Property::sometimes(OF_USE, |_, world: &World| world.retry == Stage::Executed),
        ]
    }
}

impl Guards {
    fn claim(self, world: &mut World) {
        if self.dual && world.of_next != Memory::Nothing {
            world.first = Stage::Ended;
            return;
        }
        world.of_owner = Memory::InFlight;
        if self.dual {
            world.of_next = Memory::InFlight;
        }
        world.first = Stage::Claimed;
    }

    fn retry(self, world: &mut World) {
        match world.of_next {
            Memory::Nothing if self.first_sent => {
                world.of_next = Memory::Doubt;
                world.retry = Stage::Ended;
            }
            Memory::Nothing => {
                world.of_next = Memory::InFlight;
                world.retry = Stage::Claimed;
            }
            Memory::InFlight | Memory::Done | Memory::Doubt => world.retry = Stage::Ended,
        }
    }
}

/// Which promises are broken: that nothing is executed twice, and that nothing is late.
fn check(name: &str, guards: Guards) -> (bool, bool) {
    let checker = guards.checker().spawn_bfs().join();
    println!("{:8} states: {name}", checker.unique_state_count());
    if !guards.first_sent {
        assert!(checker.discovery(OF_USE).is_some(), "{name}: the next owner never executes");
    }
    (checker.discovery(ONCE).is_some(), checker.discovery(NOT_LATE).is_some())
}

const NONE: Guards =
    Guards { lease: false, epoch: false, dual: false, tail: false, first_sent: false };
const LEASE_AND_EPOCH: Guards = Guards { lease: true, epoch: true, ..NONE };

#[test]
fn whole_sets_of_guards_leave_no_duplicate_and_no_late_write() {
    let tail = Guards { tail: true, ..LEASE_AND_EPOCH };
    assert_eq!(check("lease, epoch, tail", tail), (false, false));
    let dual = Guards { dual: true, ..LEASE_AND_EPOCH };
    assert_eq!(check("lease, epoch, dual claims", dual), (false, false));
    let first_sent = Guards { first_sent: true, ..LEASE_AND_EPOCH };
    assert_eq!(check("lease, epoch, first-sent rule", first_sent), (false, false));
}

#[test]
fn every_guard_that_is_left_out_is_missed() {
    assert_eq!(check("nothing but copies", NONE), (true, true));
    assert_eq!(check("a lease", Guards { lease: true, ..NONE }), (true, true));
    assert_eq!(
        check("lease, epoch", LEASE_AND_EPOCH),
        (true, false),
        "claimed, and not yet copied"
    );
    let no_epoch = Guards { lease: true, tail: true, ..NONE };
    assert_eq!(
        check("lease, tail", no_epoch),
        (false, true),
        "only the endpoint stops a late write"
    );
    assert_eq!(check("dual claims", Guards { dual: true, ..NONE }), (false, true));
}
