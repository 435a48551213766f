//! Two balancers, one store, an operator who moves a partition, and answers that are late or lost.

use std::time::Duration;

use stateright::{Checker as _, Model, Path, Property};
use tidegate_core::Moment;
use tidegate_core::id::{Epoch, Name};
use tidegate_core::ownership::{
    Asked, Layout, Move, Next, Seen, Steward, Table, held_for, reliable_until,
};

const LEASE: Duration = Duration::from_secs(10);
/// So that a lease ends between two of them, and the store's count of it after.
const TICK: Duration = Duration::from_secs(5);
const PARTITION: &str = "p";

const ONE_OWNER: &str = "no two balancers write to two owners";
const ONE_EPOCH: &str = "no two owners are written to under one epoch";

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// Whoever is promoted opens at once.
    OpensAtOnce,
    /// A lease is counted from the answer, not from before the question.
    CountsFromTheAnswer,
    /// The store forgets a balancer before its lease is over.
    ForgetsEarly,
    /// The store counts a balancer as one that acts on what it was told just now.
    BelievesTheAnswerArrived,
    /// A change is not counted.
    KeepsTheEpoch,
}

#[derive(Clone, Debug)]
struct Fleet(Option<Flaw>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    now: Moment,
    table: Option<Table>,
    /// What each balancer acts on and until when, as the store knows it.
    held: [Option<(Epoch, Moment)>; 2],
    balancers: [Steward; 2],
    /// Answers that are on their way.
    answers: [Option<(Asked, Seen)>; 2],
    ticks: u8,
    moves: u8,
    /// Who was written to under which epoch.
    written: Vec<(Epoch, Name)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Renew(usize),
    Hear(usize),
    Lose(usize),
    Move,
    Tick,
    /// The balancer writes, if it may.
    Write(usize),
}

impl Model for Fleet {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let layout = Layout { version: 1, digest: 1, homes: vec![(PARTITION.into(), "eu".into())] };
        let steward = Steward::new(layout, LEASE);
        vec![World {
            now: Moment(0),
            table: None,
            held: [None; 2],
            balancers: [steward.clone(), steward],
            answers: [None, None],
            ticks: 3,
            moves: 1,
            written: Vec::new(),
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for of in 0..2 {
            if world.answers[of].is_some() {
                actions.extend([Action::Hear(of), Action::Lose(of)]);
            } else {
                actions.push(Action::Renew(of));
            }
            actions.push(Action::Write(of));
        }
        actions.extend((0 < world.moves && world.table.is_some()).then_some(Action::Move));
        actions.extend((0 < world.ticks).then_some(Action::Tick));
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Renew(of) => self.renew(&mut world, of),
            Action::Hear(of) => self.hear(&mut world, of),
            Action::Lose(of) => world.answers[of] = None,
            Action::Move => self.move_on(&mut world),
            Action::Tick => {
                world.ticks -= 1;
                world.now = world.now.plus(TICK);
            }
            Action::Write(of) => {
                let (region, epoch) = world.balancers[of].may_write(PARTITION, world.now)?;
                if !world.written.contains(&(epoch, Name::clone(&region))) {
                    world.written.push((epoch, region));
                    world.written.sort();
                }
            }
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_OWNER, |_, world: &World| {
                let may = |of: usize| world.balancers[of].may_write(PARTITION, world.now);
                may(0).zip(may(1)).is_none_or(|(one, other)| one == other)
            }),
            Property::always(ONE_EPOCH, |_, world: &World| {
                world.written.windows(2).all(|it| it[0].0 != it[1].0)
            }),
            Property::sometimes("two owners follow each other", |_, world: &World| {
                1 < world.written.len()
            }),
            Property::sometimes("both balancers write to the second", |_, world: &World| {
                let may = |of: usize| world.balancers[of].may_write(PARTITION, world.now);
                let is_second = |it: Option<(Name, Epoch)>| it.is_some_and(|it| &*it.0 == "us");
                is_second(may(0)) && is_second(may(1))
            }),
            Property::sometimes("one is not waited for for ever", |_, world: &World| {
                let is_over =
                    |of: usize| world.balancers[of].until() < world.now && world.held[of].is_some();
                is_over(0) && world.balancers[1].may_write(PARTITION, world.now).is_some()
            }),
        ]
    }
}

impl Fleet {
    fn has(&self, flaw: Flaw) -> bool {
        self.0 == Some(flaw)
    }

    /// What a store does with a renewal.
    fn renew(&self, world: &mut World, of: usize) {
        let asked = world.balancers[of].ask(world.now);
        let epoch = world.table.as_ref().map(|it| it.epoch).unwrap_or_default();
        let hold = if self.has(Flaw::ForgetsEarly) { LEASE / 4 } else { held_for(asked.lease) };
        let is_current = asked.epoch == epoch || self.has(Flaw::BelievesTheAnswerArrived);
        if is_current && epoch != Epoch(0) {
            world.held[of] = Some((epoch, world.now.plus(hold)));
        }
        let alive = world.held.iter().flatten().filter(|(_, until)| world.now < *until);
        let oldest = alive.map(|(epoch, _)| *epoch).min().unwrap_or(epoch);
        let oldest = if self.has(Flaw::OpensAtOnce) { epoch } else { oldest };
        let table = world.table.clone().filter(|_| asked.epoch != epoch);
        world.answers[of] = Some((asked, Seen { epoch, table, oldest, balancers: 0 }));
    }

    fn hear(&self, world: &mut World, of: usize) {
        let Some((mut asked, seen)) = world.answers[of].take() else { return };
        if self.has(Flaw::CountsFromTheAnswer) {
            asked.at = world.now;
        }
        // Something is to be decided only before the first table: here nothing is ever lost.
        if let Next::Swap(Epoch(0), table) = world.balancers[of].heard(asked, world.now, seen)
            && world.table.is_none()
        {
            world.table = Some(table);
        }
    }

    fn move_on(&self, world: &mut World) {
        let Some(table) = &world.table else { return };
        let to = if &*table.holdings[0].region == "eu" { "us" } else { "eu" };
        let (partitions, from) = (vec![PARTITION.into()], None);
        let wish = Move { partitions, from, to: to.into(), by: "-".into(), reason: "-".into() };
        let mut moved = table.moved(&wish, Moment(0)).expect("it is another one");
        if self.has(Flaw::KeepsTheEpoch) {
            moved.epoch = table.epoch;
            moved.holdings[0].epoch = table.epoch;
        }
        world.moves -= 1;
        world.table = Some(moved);
    }
}

fn check(flaw: Option<Flaw>) -> (Vec<&'static str>, Option<Vec<Action>>) {
    let checker = Fleet(flaw).checker().threads(2).spawn_bfs().join();
    println!("{:8} states: {flaw:?}", checker.unique_state_count());
    let never = [ONE_OWNER, ONE_EPOCH];
    let names = Fleet(flaw).properties().into_iter().map(|it| it.name);
    // What must never happen was found, or what must be possible was not.
    let is_broken = |it: &&'static str| checker.discovery(it).is_some() == never.contains(it);
    let broken = names.filter(is_broken).collect();
    (broken, never.iter().find_map(|it| checker.discovery(it)).map(Path::into_actions))
}

#[test]
fn no_two_balancers_write_to_two_owners() {
    let (broken, how) = check(None);
    assert!(broken.is_empty(), "{broken:?}: {how:?}");
}

#[test]
fn every_broken_rule_of_leases_is_caught() {
    for flaw in [
        Flaw::OpensAtOnce,
        Flaw::CountsFromTheAnswer,
        Flaw::ForgetsEarly,
        Flaw::BelievesTheAnswerArrived,
        Flaw::KeepsTheEpoch,
    ] {
        let (_, how) = check(Some(flaw));
        assert!(how.is_some(), "nobody notices: {flaw:?}");
    }
    assert!(reliable_until(Moment(0), LEASE) < Moment(0).plus(LEASE));
}
