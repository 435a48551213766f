//! Any order of operations, on a store and on the rules alone: both say the same.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tidegate_core::Moment;
use tidegate_core::fence::fingerprint::Fingerprint;
use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::proof::NonDelivery;
use tidegate_core::fence::record::{Doubt, Incarnation, Owner, Record};
use tidegate_core::fence::retention::Retention;
use tidegate_core::fence::rules::{
    self, Change, Claimed, Knows, Resolution, Resolved, Settled, Terms,
};
use tidegate_core::id::Epoch;
use tidegate_fence::store::{Audit, Store};

use crate::place::{Place, answer, key};

const SEQUENCES: usize = 40;
const PROOF: NonDelivery = NonDelivery::NoEndpoint;
/// Times are either over at once or never, so no clock can make a difference.
const NEVER: Duration = Duration::from_secs(1_000_000);

#[derive(Clone, Debug)]
enum Step {
    Claim,
    Renew,
    Complete,
    Doubt,
    Release,
    Resolve { executed: bool },
}

/// One step of one of four owners at one of two keys.
#[derive(Clone, Debug)]
struct Move {
    step: Step,
    key: usize,
    incarnation: Incarnation,
    serial: u64,
    print: u8,
    has_lease: bool,
    is_kept: bool,
    is_repeatable: bool,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let step = prop_oneof![
        4 => Just(Step::Claim),
        1 => Just(Step::Renew),
        2 => Just(Step::Complete),
        1 => Just(Step::Doubt),
        2 => Just(Step::Release),
        2 => any::<bool>().prop_map(|executed| Step::Resolve { executed }),
    ];
    let flags = (prop::bool::weighted(0.7), prop::bool::weighted(0.9), prop::bool::weighted(0.1));
    let one = (step, 0..2_usize, 1..5_u64, 0..3_u8, flags).prop_map(
        |(step, key, serial, print, (has_lease, is_kept, is_repeatable))| Move {
            step,
            key,
            incarnation: Incarnation(0),
            serial,
            print,
            has_lease,
            is_kept,
            is_repeatable,
        },
    );
    prop::collection::vec(one, 1..60)
}

impl Move {
    fn terms(&self) -> Terms {
        let time = |is_long: bool| if is_long { NEVER } else { Duration::ZERO };
        Terms {
            owner: Owner { incarnation: self.incarnation, serial: self.serial },
            fingerprint: (self.print != 0).then_some(Fingerprint([self.print; 16])),
            epoch: Epoch(self.serial),
            lease: time(self.has_lease),
            retention: Retention::unchecked(time(self.is_kept), NEVER),
            is_repeatable: self.is_repeatable,
            is_degraded: false,
        }
    }

    fn resolution(&self, executed: bool) -> Resolution {
        Resolution {
            owner: self.terms().owner,
            knows: if executed { Knows::Executed } else { Knows::NotExecuted },
            quarantine: if self.has_lease { NEVER } else { Duration::ZERO },
            owner_is_dead: false,
        }
    }
}

/// The rules alone, over a map.
#[derive(Default)]
struct Reference(HashMap<FenceKey, Record>);

impl Reference {
    fn run<T>(
        &mut self,
        key: FenceKey,
        rule: impl FnOnce(Option<&Record>, Moment) -> (T, Change),
    ) -> T {
        let now = crate::place::clock();
        let held = self.0.get(&key).filter(|it| !it.is_over(now));
        let (told, change) = rule(held, now);
        match change {
            Change::Keep => {}
            Change::Put(record) => drop(self.0.insert(key, record)),
            Change::Remove => drop(self.0.remove(&key)),
        }
        told
    }
}

/// What an operation is told, without times: two clocks may differ.
#[derive(Debug, PartialEq)]
enum Told {
    Claimed(Claimed),
    Flag(bool),
    Settled(Settled),
    Resolved(Resolved),
}

impl Told {
    fn untimed(self) -> Self {
        let Self::Claimed(claimed) = self else {
            let is_early = matches!(self, Self::Resolved(Resolved::TooEarly { .. }));
            let early = Self::Resolved(Resolved::TooEarly { until: Moment(0) });
            return if is_early { early } else { self };
        };
        Self::Claimed(match claimed {
            Claimed::Busy { .. } => Claimed::Busy { left: Duration::ZERO },
            Claimed::Done(record) => Claimed::Done(untimed(record)),
            Claimed::InDoubt(record) => Claimed::InDoubt(untimed(record)),
            Claimed::Won { .. } | Claimed::Clash => claimed,
        })
    }
}

fn untimed(record: Record) -> Record {
    let never = Moment(0);
    Record { created: never, lease_until: never, expires: never, ..record }
}

async fn ask(store: &Store, key: FenceKey, it: &Move) -> Told {
    let terms = it.terms();
    let told = match it.step {
        Step::Claim => store.claim(key, &terms).await.map(Told::Claimed),
        Step::Renew => store.renew(key, &terms).await.map(Told::Flag),
        Step::Complete => {
            store.complete(key, &terms, &answer(200, &[it.print])).await.map(Told::Settled)
        }
        Step::Doubt => store.doubt(key, &terms, Doubt::NoAnswer).await.map(Told::Settled),
        Step::Release => store.release(key, terms.owner, PROOF).await.map(Told::Flag),
        Step::Resolve { executed } => {
            let audit = Audit { who: String::new(), reason: String::new() };
            let resolution = it.resolution(executed);
            store.resolve(key, resolution, terms.retention, audit).await.map(Told::Resolved)
        }
    };
    told.expect("it answers")
}

fn expect(held: Option<&Record>, now: Moment, it: &Move) -> (Told, Change) {
    fn told<T>(told: fn(T) -> Told, (what, change): (T, Change)) -> (Told, Change) {
        (told(what), change)
    }
    let terms = it.terms();
    match it.step {
        Step::Claim => told(Told::Claimed, rules::claim(held, &terms, now)),
        Step::Renew => told(Told::Flag, rules::renew(held, &terms, now)),
        Step::Complete => {
            let answer = answer(200, &[it.print]);
            told(Told::Settled, rules::complete(held, &terms, &answer, now))
        }
        Step::Doubt => told(Told::Settled, rules::doubt(held, &terms, Doubt::NoAnswer, now)),
        Step::Release => told(Told::Flag, rules::release(held, terms.owner, PROOF)),
        Step::Resolve { executed } => {
            let resolution = it.resolution(executed);
            told(Told::Resolved, rules::resolve(held, &resolution, &terms.retention, now))
        }
    }
}

async fn check(store: &Store, reference: &mut Reference, key: FenceKey, it: &Move) {
    let expected = reference.run(key, |held, now| expect(held, now, it));
    assert_eq!(ask(store, key, it).await.untimed(), expected.untimed(), "{it:?}");
    let held = reference.run(key, |held, _| (held.cloned(), Change::Keep));
    let looked = store.look(key).await.expect("it answers");
    if let Some((found, held)) = looked.as_ref().zip(held.as_ref()) {
        for (found, held) in [(found.lease_until, held.lease_until), (found.expires, held.expires)]
        {
            let apart = found.since(held).max(held.since(found));
            assert!(apart < Duration::from_secs(30), "{it:?}: {apart:?}");
        }
    }
    assert_eq!(looked.map(untimed), held.map(untimed), "{it:?}");
}

pub(crate) async fn any_order_of_operations_ends_as_the_rules_say(place: &Place) {
    let (store, incarnation) = place.store().await;
    let mut runner = TestRunner::default();
    for _ in 0..SEQUENCES {
        let moves = moves().new_tree(&mut runner).expect("a value").current();
        let (keys, mut reference) = ([key(), key()], Reference::default());
        for it in moves {
            let it = Move { incarnation, ..it };
            check(&store, &mut reference, keys[it.key], &it).await;
        }
    }
}
