//! What can happen next, and what must hold whatever does.

use std::time::Duration;

use stateright::{Model, Property};
use tidegate_core::fence::record::{Answer, Doubt, Record, State};
use tidegate_core::fence::retention::Retention;
use tidegate_core::fence::rules::{self, Claimed, Knows, Resolution, Resolved};

use crate::store::Side;
use crate::world::{End, Faults, REQUESTS, Stage, World, terms};

/// Time passes in steps of a lease; a quarantine is as long.
pub(crate) const LEASE: Duration = Duration::from_millis(1);
const QUARANTINE: Duration = LEASE;
/// Nothing is forgotten here.
pub(crate) const RETENTION: Retention = Retention::LONGEST;

/// The promise.
pub(crate) const AT_MOST_ONCE: &str = "the write is executed at most once";
const ANSWERED: &str = "a write that was answered was executed";
/// What must never be otherwise; all the rest must be possible.
pub(crate) const NEVER: [&str; 2] = [AT_MOST_ONCE, ANSWERED];

/// The rules of one fence, and what happens around it.
#[derive(Clone, Debug)]
pub(crate) struct Fence {
    pub(crate) guard: Guard,
    /// What is wrong with it.
    pub(crate) flaw: Option<Flaw>,
    /// How often what may go wrong around it.
    pub(crate) faults: Faults,
}

/// How the loss of a store is survived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// No claim is delivered before the copy has it, and a store without its marker takes none.
    Copies,
    /// After a failover nothing is claimed until all processes wrote again what they remember.
    Reasserts,
    /// Claims are made in two stores, always in the same order.
    TwoStores,
}

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A claim whose lease is over is taken for absent.
    RerunsAfterLease,
    /// Whatever goes wrong, the claim is given back.
    ReleasesOnError,
    /// Whoever releases a key frees it, whosever it is.
    ForgetsOwners,
    /// A claim is delivered before the copy has it.
    DeliversBeforeCopy,
    /// A store that has lost everything takes claims.
    MissesNoMarker,
    /// Who does not reach the store delivers all the same.
    PassesWithoutStore,
    /// One of two stores may be left out when it cannot be reached.
    SkipsOneStore,
    /// "Not executed" is believed as soon as the lease is over.
    KeepsNoQuarantine,
    /// A process begins however long ago it claimed.
    KeepsNoStartWindow,
}

impl Fence {
    pub(crate) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Whether the copy has a claim before the claim is delivered.
    pub(crate) fn waits_for_copies(&self) -> bool {
        self.guard == Guard::Copies && !self.has(Flaw::DeliversBeforeCopy)
    }

    /// Whether a store that has lost everything takes no claims.
    pub(crate) fn has_marker(&self) -> bool {
        self.guard == Guard::Copies && !self.has(Flaw::MissesNoMarker)
    }
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A request claims the key in the first store.
    Claim(usize),
    /// It claims it in the second.
    ClaimOther(usize),
    /// It claims it in one of two only.
    ClaimOne(usize, Which),
    /// It goes on without a claim.
    Bypass(usize),
    /// Its process looks at the clock.
    Begin(usize),
    /// Its bytes leave.
    Send(usize),
    /// The endpoint cannot be reached.
    Refuse(usize),
    /// The release is sent again by the client library.
    ReleaseAgain(usize),
    /// The endpoint executes it.
    Execute(usize),
    /// The bytes get lost.
    Lose(usize),
    /// No answer comes.
    Fail(usize),
    /// The answer comes.
    Answer(usize),
    /// The process dies.
    Crash(usize),
    /// The copy gets what the store has.
    Copy,
    /// The copy takes over.
    FailOver,
    /// The store loses everything.
    Wipe,
    /// The processes write again what they remember.
    Reassert,
    /// The operator looks at the endpoint, and tells what was seen there.
    Resolve,
    /// Time passes.
    Tick,
}

/// One of two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    First,
    Second,
}

impl Model for Fence {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.faults)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for of in 0..REQUESTS {
            self.actions_of(world, of, actions);
        }
        let left = world.left;
        let mut may = |action, is_possible| actions.extend(Some(action).filter(|_| is_possible));
        may(Action::Copy, !self.waits_for_copies() && world.first.record != world.first.copy);
        may(Action::FailOver, 0 < left.failovers);
        may(Action::Wipe, 0 < left.wipes);
        may(Action::Reassert, self.guard == Guard::Reasserts && world.first.is_closed);
        may(Action::Resolve, 0 < left.resolutions && world.first.record.is_some());
        may(Action::Tick, 0 < left.ticks && lets_time_pass(world));
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        self.happens(&mut world, action);
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(AT_MOST_ONCE, |_, world: &World| world.effects <= 1),
            Property::always(ANSWERED, |_, world: &World| {
                world.effects > 0 || !has_ended(world, End::Answered)
            }),
            Property::sometimes("a duplicate is shown the first answer", |_, world: &World| {
                has_ended(world, End::Replayed)
            }),
            Property::sometimes("a retry after a refusal is executed", |_, world: &World| {
                world.requests.iter().any(|it| it.may_release_again)
                    && has_ended(world, End::Answered)
            }),
            Property::sometimes("a doubt is told", |_, world: &World| {
                has_ended(world, End::InDoubt)
            }),
            Property::sometimes("a key that was freed is used", |_, world: &World| {
                world.was_freed && has_ended(world, End::Answered)
            }),
        ]
    }
}

fn has_ended(world: &World, end: End) -> bool {
    world.requests.iter().any(|it| it.stage == Stage::Ended(end))
}

impl Fence {
    fn actions_of(&self, world: &World, of: usize, actions: &mut Vec<Action>) {
        let left = world.left;
        let mut may = |action, is_possible| actions.extend(Some(action).filter(|_| is_possible));
        let stage = world.stage(of);
        match stage {
            Stage::Idle => {
                // They are all alike, so they come in their order.
                let is_next = of == 0 || world.stage(of - 1) != Stage::Idle;
                let bypass = is_next && 0 < left.bypasses;
                may(Action::Claim(of), is_next);
                may(Action::Bypass(of), bypass && self.has(Flaw::PassesWithoutStore));
                may(Action::ClaimOne(of, Which::First), bypass && self.has(Flaw::SkipsOneStore));
                may(Action::ClaimOne(of, Which::Second), bypass && self.has(Flaw::SkipsOneStore));
            }
            Stage::HalfClaimed => may(Action::ClaimOther(of), true),
            Stage::Claimed => {
                may(Action::Begin(of), true);
                may(Action::Refuse(of), true);
            }
            Stage::Begun => {
                may(Action::Send(of), true);
                may(Action::Refuse(of), true);
            }
            Stage::Sent | Stage::SentByTheDead => {
                may(Action::Execute(of), true);
                may(Action::Lose(of), true);
            }
            Stage::Executed => {
                may(Action::Answer(of), true);
                may(Action::Fail(of), true);
            }
            Stage::Lost => may(Action::Fail(of), true),
            Stage::Dead | Stage::Ended(_) => {}
        }
        let lives =
            !matches!(stage, Stage::Idle | Stage::Dead | Stage::SentByTheDead | Stage::Ended(_));
        may(Action::Crash(of), lives && 0 < left.crashes);
        may(Action::ReleaseAgain(of), world.requests[of].may_release_again);
    }

    fn happens(&self, world: &mut World, action: Action) {
        match action {
            Action::Claim(of) => self.claim(world, of),
            Action::ClaimOther(of) => self.claim_other(world, of),
            Action::ClaimOne(of, which) => self.claim_one(world, of, which),
            Action::Bypass(of) => {
                world.left.bypasses -= 1;
                world.requests[of].claimed = world.now;
                world.move_to(of, Stage::Sent);
            }
            Action::Begin(of) => self.begin(world, of),
            Action::Send(of) => world.move_to(of, Stage::Sent),
            Action::Refuse(of) => self.refuse(world, of),
            Action::ReleaseAgain(of) => {
                world.requests[of].may_release_again = false;
                self.release(world, of);
            }
            Action::Execute(of) => {
                world.execute();
                let is_dead = world.stage(of) == Stage::SentByTheDead;
                world.move_to(of, if is_dead { Stage::Dead } else { Stage::Executed });
            }
            Action::Lose(of) => {
                let is_dead = world.stage(of) == Stage::SentByTheDead;
                world.move_to(of, if is_dead { Stage::Dead } else { Stage::Lost });
            }
            Action::Fail(of) => self.fail(world, of),
            Action::Answer(of) => self.answer(world, of),
            Action::Crash(of) => {
                world.left.crashes -= 1;
                let is_sent = world.stage(of) == Stage::Sent;
                world.move_to(of, if is_sent { Stage::SentByTheDead } else { Stage::Dead });
            }
            Action::Copy => world.first.copy.clone_from(&world.first.record),
            Action::FailOver => {
                world.left.failovers -= 1;
                world.first.fail_over(self);
            }
            Action::Wipe => {
                world.left.wipes -= 1;
                world.first.wipe(self);
            }
            Action::Reassert => reassert(world),
            Action::Resolve => self.resolve(world),
            Action::Tick => {
                world.left.ticks -= 1;
                world.now = world.now.plus(LEASE);
            }
        }
    }

    fn claim(&self, world: &mut World, of: usize) {
        world.requests[of].claimed = world.now;
        let claimed = world.first.claim(self, of, world.now);
        let won = if self.guard == Guard::TwoStores { Stage::HalfClaimed } else { Stage::Claimed };
        world.move_to(of, after_claim(claimed.as_ref(), won));
        if world.stage(of) == won {
            self.remember(world, of, State::InFlight);
        }
    }

    fn claim_other(&self, world: &mut World, of: usize) {
        let claimed = world.second.claim(self, of, world.now);
        let stage = after_claim(claimed.as_ref(), Stage::Claimed);
        if stage != Stage::Claimed {
            world.first.release(self, of);
        }
        world.move_to(of, stage);
    }

    fn claim_one(&self, world: &mut World, of: usize, which: Which) {
        world.left.bypasses -= 1;
        world.requests[of].claimed = world.now;
        let side = match which {
            Which::First => &mut world.first,
            Which::Second => &mut world.second,
        };
        let claimed = side.claim(self, of, world.now);
        world.move_to(of, after_claim(claimed.as_ref(), Stage::Claimed));
    }

    /// The owner gives up when its claim is too old, because somebody may have freed the key.
    fn begin(&self, world: &mut World, of: usize) {
        let is_late = !self.has(Flaw::KeepsNoStartWindow) && world.requests[of].claimed < world.now;
        if is_late {
            self.release(world, of);
            world.move_to(of, Stage::Ended(End::Failed));
        } else {
            world.move_to(of, Stage::Begun);
        }
    }

    fn refuse(&self, world: &mut World, of: usize) {
        self.release(world, of);
        world.requests[of].may_release_again = true;
        world.move_to(of, Stage::Ended(End::Failed));
    }

    fn release(&self, world: &mut World, of: usize) {
        world.requests[of].remembered = None;
        self.sides(world).for_each(|side| side.release(self, of));
    }

    fn fail(&self, world: &mut World, of: usize) {
        let now = world.now;
        world.move_to(of, Stage::Ended(End::Failed));
        if self.has(Flaw::ReleasesOnError) {
            return self.release(world, of);
        }
        self.sides(world).for_each(|side| {
            let doubt = rules::doubt(side.record.as_ref(), &terms(of), Doubt::NoAnswer, now);
            side.change(doubt.1);
        });
        self.remember(world, of, State::InDoubt(Doubt::NoAnswer));
    }

    fn answer(&self, world: &mut World, of: usize) {
        let (now, answer) = (world.now, Answer::known_executed());
        world.move_to(of, Stage::Ended(End::Answered));
        self.sides(world).for_each(|side| {
            let settled = rules::complete(side.record.as_ref(), &terms(of), &answer, now);
            side.change(settled.1);
        });
        self.remember(world, of, State::Completed(answer));
    }

    fn sides<'w>(&self, world: &'w mut World) -> impl Iterator<Item = &'w mut Side> {
        let is_both = self.guard == Guard::TwoStores;
        [&mut world.first, &mut world.second].into_iter().take(if is_both { 2 } else { 1 })
    }

    /// What a process has written, for writing it again, whatever became of it in the store.
    fn remember(&self, world: &mut World, of: usize, state: State) {
        if self.guard == Guard::Reasserts {
            let record = terms(of).record(1, world.requests[of].claimed);
            world.requests[of].remembered = Some(Record { state, ..record });
        }
    }

    fn resolve(&self, world: &mut World) {
        let Some(record) = &world.first.record else { return };
        let executed = 0 < world.effects;
        let quarantine =
            if self.has(Flaw::KeepsNoQuarantine) { Duration::ZERO } else { QUARANTINE };
        let resolution = Resolution {
            owner: record.owner,
            // An honest operator: it was executed as far as anybody can see.
            knows: if executed { Knows::Executed } else { Knows::NotExecuted },
            quarantine,
            owner_is_dead: false,
        };
        let (resolved, change) = rules::resolve(Some(record), &resolution, &RETENTION, world.now);
        if resolved == Resolved::Stored {
            world.left.resolutions -= 1;
            world.was_freed |= !executed;
            world.first.change(change);
        }
    }
}

/// Nothing is on its way for longer than a lease and a quarantine: that is what a quarantine
/// has to be chosen for. A process that has not begun may be paused for ever.
fn lets_time_pass(world: &World) -> bool {
    let next = world.now.plus(LEASE);
    world.requests.iter().all(|request| {
        let is_under_way =
            matches!(request.stage, Stage::Begun | Stage::Sent | Stage::SentByTheDead);
        !is_under_way || next < request.claimed.plus(LEASE).plus(QUARANTINE)
    })
}

/// Every process that lives writes again what it remembers; then claims are taken again.
fn reassert(world: &mut World) {
    for request in &world.requests {
        let is_dead = matches!(request.stage, Stage::Dead | Stage::SentByTheDead);
        if let Some(remembered) = request.remembered.as_ref().filter(|_| !is_dead) {
            let change = rules::reassert(world.first.record.as_ref(), remembered).1;
            world.first.change(change);
        }
    }
    world.first.is_closed = false;
}

fn after_claim(claimed: Option<&Claimed>, won: Stage) -> Stage {
    Stage::Ended(match claimed {
        Some(Claimed::Won { .. }) => return won,
        Some(Claimed::Busy { .. }) => End::Busy,
        Some(Claimed::Done(record)) => {
            assert!(matches!(record.state, State::Completed(_)));
            End::Replayed
        }
        Some(Claimed::InDoubt(_)) => End::InDoubt,
        Some(Claimed::Clash) | None => End::Failed,
    })
}
