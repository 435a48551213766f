//! Each rule by itself, and what holds in any order of them.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::fence::record::Body;

const LEASE: Duration = Duration::from_secs(75);
const KEPT: Duration = Duration::from_hours(25);
const DOUBTED: Duration = Duration::from_hours(168);
const NOW: Moment = Moment(1_700_000_000_000);

fn owner(serial: u64) -> Owner {
    Owner { incarnation: Incarnation(serial % 2 + 1), serial }
}

fn print(byte: u8) -> Option<Fingerprint> {
    (byte != 0).then_some(Fingerprint([byte; 16]))
}

fn terms(serial: u64) -> Terms {
    Terms {
        owner: owner(serial),
        fingerprint: print(1),
        epoch: Epoch(7),
        lease: LEASE,
        retention: Retention::unchecked(KEPT, DOUBTED),
        is_repeatable: false,
        is_degraded: false,
    }
}

fn answer(status: u16) -> Answer {
    Answer { status, headers: Vec::new(), body: Body::NotKept }
}

fn resolution(serial: u64, knows: Knows) -> Resolution {
    Resolution { owner: owner(serial), knows, quarantine: QUARANTINE, owner_is_dead: false }
}

fn after(duration: Duration) -> Moment {
    NOW.plus(duration)
}

/// What is remembered after a change.
fn changed(held: Option<Record>, change: Change) -> Option<Record> {
    match change {
        Change::Keep => held,
        Change::Put(record) => Some(record),
        Change::Remove => None,
    }
}

fn claimed(serial: u64) -> Record {
    changed(None, claim(None, &terms(serial), NOW).1).unwrap()
}

fn completed(serial: u64) -> Record {
    let held = Some(claimed(serial));
    changed(held.clone(), complete(held.as_ref(), &terms(serial), &answer(201), NOW).1).unwrap()
}

fn doubted(serial: u64) -> Record {
    let held = Some(claimed(serial));
    let change = doubt(held.as_ref(), &terms(serial), Doubt::NoAnswer, NOW).1;
    changed(held, change).unwrap()
}

#[test]
fn one_claim_wins_and_the_others_are_told_what_became_of_it() {
    let record = claimed(1);
    assert_eq!(record.lease_until, after(LEASE));
    assert_eq!(record.expires, after(LEASE + DOUBTED), "an open claim is a doubt at the latest");
    let told = |record: &Record, terms: &Terms, now| claim(Some(record), terms, now).0;
    assert_eq!(told(&record, &terms(1), NOW), Claimed::Won { attempt: 1 }, "sent twice");
    assert_eq!(told(&record, &terms(2), NOW), Claimed::Busy { left: LEASE });
    let late = after(LEASE);
    assert_eq!(told(&record, &terms(2), late), Claimed::InDoubt(record.clone()), "never absent");
    assert_eq!(told(&record, &terms(1), late), Claimed::Won { attempt: 1 }, "it is still its own");
    assert_eq!(told(&doubted(1), &terms(2), NOW), Claimed::InDoubt(doubted(1)));
    assert_eq!(told(&doubted(1), &terms(1), NOW), Claimed::InDoubt(doubted(1)));
    assert_eq!(told(&completed(1), &terms(2), NOW), Claimed::Done(completed(1)));
    let other = Terms { fingerprint: print(2), ..terms(2) };
    for record in [claimed(1), doubted(1), completed(1)] {
        assert_eq!(claim(Some(&record), &other, late), (Claimed::Clash, Change::Keep));
    }
    let flowing = Terms { fingerprint: None, ..terms(2) };
    assert_eq!(told(&completed(1), &flowing, NOW), Claimed::Done(completed(1)), "compared later");
}

#[test]
fn a_doubt_is_claimed_again_only_where_that_cannot_hurt() {
    let again = Terms { is_repeatable: true, ..terms(2) };
    let (told, change) = claim(Some(&doubted(1)), &again, NOW);
    assert_eq!(told, Claimed::Won { attempt: 2 });
    assert_eq!(changed(None, change), Some(again.record(2, NOW)));
    assert_eq!(claim(Some(&claimed(1)), &again, after(LEASE)).0, Claimed::Won { attempt: 2 });
    assert_eq!(claim(Some(&claimed(1)), &again, NOW).0, Claimed::Busy { left: LEASE });
    let unreadable = Record::unreadable(NOW, NOW);
    let (told, change) = claim(Some(&unreadable), &again, NOW);
    assert_eq!((told, change), (Claimed::InDoubt(unreadable), Change::Keep));
}

#[test]
fn only_a_living_lease_is_renewed() {
    let renewed = |record: &Record, serial, now| renew(Some(record), &terms(serial), now);
    let half = after(LEASE / 2);
    let (held, change) = renewed(&claimed(1), 1, half);
    assert!(held);
    let record = changed(None, change).unwrap();
    assert_eq!(record.lease_until, half.plus(LEASE));
    assert_eq!(record.expires, half.plus(LEASE + DOUBTED));
    for (record, serial, now) in [
        (claimed(1), 2, NOW),
        (claimed(1), 1, after(LEASE)),
        (doubted(1), 1, NOW),
        (completed(1), 1, NOW),
    ] {
        assert_eq!(renewed(&record, serial, now), (false, Change::Keep));
    }
    assert_eq!(renew(None, &terms(1), NOW), (false, Change::Keep));
}

#[test]
fn an_answer_is_taken_as_late_as_it_may_come_but_from_its_owner_only() {
    let told = |held: Option<&Record>, serial| complete(held, &terms(serial), &answer(201), NOW);
    for record in [claimed(1), doubted(1)] {
        let (settled, change) = told(Some(&record), 1);
        assert_eq!(settled, Settled::Stored);
        let stored = changed(None, change).unwrap();
        assert_eq!((stored.state, stored.expires), (State::Completed(answer(201)), after(KEPT)));
    }
    assert_eq!(told(Some(&completed(1)), 1), (Settled::Already, Change::Keep));
    for record in [claimed(1), doubted(1), completed(1)] {
        assert_eq!(told(Some(&record), 2), (Settled::Escaped(owner(1)), Change::Keep));
    }
    let unreadable = Record::unreadable(NOW, NOW);
    assert_eq!(told(Some(&unreadable), 1), (Settled::Escaped(Owner::NOBODY), Change::Keep));
    let (settled, change) = told(None, 1);
    assert_eq!(settled, Settled::Resurrected);
    assert!(changed(None, change).unwrap().is_resurrected);
}

#[test]
fn a_fingerprint_that_was_not_known_is_written_with_the_outcome() {
    let flowing = Terms { fingerprint: None, ..terms(1) };
    let held = changed(None, claim(None, &flowing, NOW).1);
    for change in [
        complete(held.as_ref(), &terms(1), &answer(200), NOW).1,
        doubt(held.as_ref(), &terms(1), Doubt::NoAnswer, NOW).1,
    ] {
        assert_eq!(changed(None, change).unwrap().fingerprint, print(1));
    }
    let change = complete(Some(&claimed(1)), &flowing, &answer(200), NOW).1;
    assert_eq!(changed(None, change).unwrap().fingerprint, print(1), "it is never lost");
}

#[test]
fn a_doubt_is_written_even_when_the_claim_is_lost() {
    let told = |held: Option<&Record>| doubt(held, &terms(1), Doubt::Dropped, NOW);
    assert_eq!(told(Some(&claimed(1))).0, Settled::Stored);
    assert_eq!(told(Some(&doubted(1))), (Settled::Already, Change::Keep));
    assert_eq!(told(Some(&completed(1))), (Settled::Already, Change::Keep));
    assert_eq!(told(Some(&claimed(2))), (Settled::Escaped(owner(2)), Change::Keep));
    let record = changed(None, told(None).1).unwrap();
    assert!(record.is_resurrected);
    assert_eq!(record.state, State::InDoubt(Doubt::Dropped));
}

#[test]
fn a_claim_is_given_back_by_its_owner_only() {
    let told = |held: Option<&Record>| release(held, owner(1), NonDelivery::ConnectFailed);
    assert_eq!(told(Some(&claimed(1))), (true, Change::Remove));
    for record in [claimed(2), doubted(1), completed(1)] {
        assert_eq!(told(Some(&record)), (false, Change::Keep));
    }
    assert_eq!(told(None), (false, Change::Keep));
}

#[test]
fn the_claims_of_a_process_that_ended_are_in_doubt_at_once() {
    let retention = terms(1).retention;
    let died = |record: &Record, of| owner_died(record, owner(of).incarnation, &retention, NOW);
    let record = changed(None, died(&claimed(1), 1)).unwrap();
    assert_eq!(record.state, State::InDoubt(Doubt::OwnerDied));
    assert!(claimed(1).expires <= record.expires);
    assert_eq!(died(&claimed(1), 2), Change::Keep);
    assert_eq!(died(&completed(1), 1), Change::Keep);
    assert_eq!(died(&doubted(1), 1), Change::Keep);
}

#[test]
fn not_executed_is_believed_only_when_nothing_can_be_on_its_way() {
    let told = |record: &Record, resolution: &Resolution, now| {
        resolve(Some(record), resolution, &terms(1).retention, now)
    };
    let no = resolution(1, Knows::NotExecuted);
    let until = after(LEASE + QUARANTINE);
    for record in [doubted(1), claimed(1)] {
        let early = Moment(until.0 - 1);
        assert_eq!(told(&record, &no, early), (Resolved::TooEarly { until }, Change::Keep));
        assert_eq!(told(&record, &no, until), (Resolved::Stored, Change::Remove));
        let dead = Resolution { owner_is_dead: true, ..no };
        assert_eq!(told(&record, &dead, after(LEASE)), (Resolved::Stored, Change::Remove));
    }
    let dead = Resolution { owner_is_dead: true, ..no };
    let until = after(LEASE);
    assert_eq!(told(&doubted(1), &dead, NOW), (Resolved::TooEarly { until }, Change::Keep));
    let (resolved, change) = told(&doubted(1), &resolution(1, Knows::Executed), NOW);
    assert_eq!(resolved, Resolved::Stored);
    let known = changed(None, change).unwrap();
    assert_eq!(known.state, State::Completed(Answer::known_executed()));
    let not_in_doubt = (Resolved::NotInDoubt, Change::Keep);
    for knows in [Knows::Executed, Knows::NotExecuted] {
        assert_eq!(told(&doubted(2), &resolution(1, knows), until), not_in_doubt, "another claim");
        assert_eq!(told(&completed(1), &resolution(1, knows), until), not_in_doubt);
        assert_eq!(told(&claimed(1), &resolution(1, knows), NOW), not_in_doubt);
        let none = resolve(None, &resolution(1, knows), &terms(1).retention, until);
        assert_eq!(none, not_in_doubt);
    }
}

#[test]
fn what_is_asserted_again_never_goes_back() {
    let put = |held: Option<&Record>, record: &Record| {
        let (told, change) = reassert(held, record);
        assert_eq!(told == Reasserted::Written, change != Change::Keep);
        changed(None, change)
    };
    let mut lost = claimed(1);
    lost.is_resurrected = true;
    assert_eq!(put(None, &claimed(1)), Some(lost));
    for (held, record) in [
        (claimed(1), completed(1)),
        (claimed(1), doubted(1)),
        (doubted(1), completed(1)),
        (claimed(2), doubted(1)),
        (claimed(2), completed(1)),
        (doubted(2), completed(1)),
    ] {
        let put = put(Some(&held), &record).map(|it| (it.owner, it.state));
        assert_eq!(put, Some((owner(1), record.state)), "{held:?}");
    }
    for (held, record) in [
        (completed(1), doubted(1)),
        (completed(1), claimed(1)),
        (doubted(1), claimed(1)),
        (claimed(1), claimed(1)),
        (doubted(2), doubted(1)),
        (doubted(2), claimed(1)),
        (completed(2), doubted(1)),
        (completed(2), completed(1)),
    ] {
        assert_eq!(put(Some(&held), &record), None);
    }
    assert_eq!(reassert(Some(&completed(2)), &completed(1)).0, Reasserted::Escaped(owner(2)));
}

/// Found by the model: a store that went back has the claim of an owner that has given it back
/// since, and whose release may be sent again.
#[test]
fn the_claim_of_another_time_cannot_free_the_key() {
    let change = reassert(Some(&claimed(2)), &claimed(1)).1;
    let record = changed(None, change).unwrap();
    assert_eq!((record.owner, &record.state), (owner(1), &State::InDoubt(Doubt::StoreForgot)));
    for by in [1, 2] {
        assert_eq!(release(Some(&record), owner(by), NonDelivery::NoEndpoint).1, Change::Keep);
    }
    assert_eq!(complete(Some(&record), &terms(1), &answer(200), NOW).0, Settled::Stored);
}

/// Anything that can happen to a key.
#[derive(Clone, Debug)]
enum Step {
    Claim(u64, u8),
    Renew(u64),
    Complete(u64),
    Doubt(u64),
    Release(u64),
    Resolve(u64, bool, bool),
    Died(u64),
    Reassert(u64),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let owner = || 0..4_u64;
    prop_oneof![
        4 => (owner(), 0..3_u8).prop_map(|(owner, print)| Step::Claim(owner, print)),
        1 => owner().prop_map(Step::Renew),
        2 => owner().prop_map(Step::Complete),
        1 => owner().prop_map(Step::Doubt),
        1 => owner().prop_map(Step::Release),
        2 => (owner(), any::<bool>(), any::<bool>())
            .prop_map(|(owner, executed, dead)| Step::Resolve(owner, executed, dead)),
        1 => owner().prop_map(Step::Died),
        1 => owner().prop_map(Step::Reassert),
        3 => (0..400_u64).prop_map(Step::Pass),
    ]
}

/// What somebody outside sees of a key.
struct Witness {
    held: Option<Record>,
    now: Moment,
    /// Who won the key since it was free, in the order of winning.
    winners: Vec<u64>,
    /// What each owner would write again, as it remembers it.
    remembered: HashMap<u64, Record>,
}

impl Witness {
    fn take(&mut self, step: &Step) {
        let before = self.held.clone();
        let change = self.change(step);
        self.held = changed(before.clone(), change.clone());
        if let Some(before) = &before {
            self.check(before, step);
        }
        if self.held.is_none() {
            self.winners.clear();
            // A process remembers nothing that it gave back, and nothing for as long as a
            // quarantine.
            self.remembered.clear();
        }
        if let Change::Put(record) = change {
            self.remembered.insert(record.owner.serial, record);
        }
    }

    fn change(&mut self, step: &Step) -> Change {
        let (held, now) = (self.held.as_ref(), self.now);
        let retention = terms(0).retention;
        match *step {
            Step::Claim(by, byte) => {
                let fingerprint = print(byte);
                let (told, change) = claim(held, &Terms { fingerprint, ..terms(by) }, now);
                if matches!(told, Claimed::Won { .. }) {
                    self.winners.push(by);
                }
                change
            }
            Step::Renew(by) => renew(held, &terms(by), now).1,
            Step::Complete(by) => complete(held, &terms(by), &answer(200), now).1,
            Step::Doubt(by) => doubt(held, &terms(by), Doubt::NoAnswer, now).1,
            Step::Release(by) => release(held, owner(by), NonDelivery::NoEndpoint).1,
            Step::Resolve(by, executed, owner_is_dead) => {
                let knows = if executed { Knows::Executed } else { Knows::NotExecuted };
                let resolution = Resolution { owner_is_dead, ..resolution(by, knows) };
                resolve(held, &resolution, &retention, now).1
            }
            Step::Died(of) => held.map_or(Change::Keep, |record| {
                owner_died(record, owner(of).incarnation, &retention, now)
            }),
            Step::Reassert(by) => {
                self.remembered.get(&by).map_or(Change::Keep, |it| reassert(held, it).1)
            }
            Step::Pass(seconds) => {
                self.now = now.plus(Duration::from_secs(seconds));
                Change::Keep
            }
        }
    }

    fn check(&self, before: &Record, step: &Step) {
        let Some(after) = &self.held else {
            let by_owner = matches!(step, Step::Release(by) if owner(*by) == before.owner);
            let resolved =
                matches!(step, Step::Resolve(by, false, _) if owner(*by) == before.owner);
            assert!(by_owner || resolved, "{step:?} made {before:?} absent");
            assert!(!matches!(before.state, State::Completed(_)), "an answer was forgotten");
            assert!(by_owner || before.lease_until <= self.now, "resolved while it may be sent");
            return;
        };
        assert_eq!(after.owner, before.owner, "{step:?} took the key from its owner");
        if matches!(before.state, State::Completed(_)) {
            assert_eq!(after.state, before.state, "{step:?} changed an answer");
        }
        assert!(before.fingerprint.is_none() || after.fingerprint == before.fingerprint);
        let winners: HashSet<&u64> = self.winners.iter().collect();
        assert!(winners.len() <= 1, "{winners:?} won one key");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_key_belongs_to_one_owner_until_it_is_proven_free(steps in prop::collection::vec(step(), 1..60)) {
        let mut witness =
            Witness { held: None, now: NOW, winners: Vec::new(), remembered: HashMap::new() };
        for step in &steps {
            witness.take(step);
        }
    }

    #[test]
    fn a_rule_that_runs_twice_has_run_once(steps in prop::collection::vec(step(), 1..40), twice in 0..40_usize) {
        // A client library may send again what the store has already done.
        let mut held: Option<Record> = None;
        for (place, step) in steps.iter().enumerate() {
            let times = if place == twice { 2 } else { 1 };
            let mut seen: Option<Option<Record>> = None;
            for _ in 0..times {
                let mut witness = Witness {
                    held: held.clone(), now: NOW, winners: Vec::new(), remembered: HashMap::new(),
                };
                witness.take(step);
                if let Some(seen) = &seen {
                    prop_assert_eq!(seen, &witness.held, "{:?}", step);
                }
                seen = Some(witness.held.clone());
                held = witness.held;
            }
        }
    }

    #[test]
    fn owners_are_read_as_they_are_written(incarnation: u64, serial: u64) {
        let owner = Owner { incarnation: Incarnation(incarnation), serial };
        prop_assert_eq!(Owner::from_bytes(owner.to_bytes()), owner);
        prop_assert_eq!(owner.to_string().len(), 32);
    }
}
