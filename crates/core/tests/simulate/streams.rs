//! What is open at every endpoint, as it really is, and what drains must say of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use tidegate_core::Moment;
use tidegate_core::board::{Board, Effect, Target};
use tidegate_core::drain::{Cause, Flip, Outcome, Outcomes, Reading, Turn};
use tidegate_core::id::{EndpointId, Name};
use tidegate_core::policy::DrainRules;

use crate::dice::{once_in, pick};

/// What one endpoint has open and has had.
#[derive(Debug, Default)]
struct Book {
    reading: Reading,
    /// What the board was told last.
    told: Reading,
    /// How many of the open ones were told to close.
    closing: u64,
}

/// One drain: what is emptied, since when and why.
type Known = (Name, Option<SocketAddr>, Moment, &'static str);

/// What is open everywhere, whether its endpoint is in the policy or not.
#[derive(Debug)]
pub(crate) struct Streams {
    rng: Rng,
    books: BTreeMap<EndpointId, Book>,
    /// Who is in the policy now.
    present: BTreeMap<EndpointId, (Name, SocketAddr)>,
    /// Drains that have begun, and whether each was told to be overdue and to close.
    running: BTreeMap<Known, (bool, bool)>,
}

impl Streams {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed ^ 0x5747),
            books: BTreeMap::new(),
            present: BTreeMap::new(),
            running: BTreeMap::new(),
        }
    }

    /// A request was sent to this endpoint, and may be open for a while.
    pub(crate) fn open(&mut self, endpoint: EndpointId) {
        let book = self.books.entry(endpoint).or_default();
        book.reading.open += 1;
        if once_in(&mut self.rng, 3) {
            self.end_one(endpoint, Outcome::Completed);
        }
    }

    /// Some of what is open ends, in some way; whatever was told to close does.
    pub(crate) fn pass(&mut self, end_all: bool) {
        let ids: Vec<EndpointId> = self.books.keys().copied().collect();
        for id in ids {
            let (open, closing) =
                self.books.get(&id).map_or((0, 0), |it| (it.reading.open, it.closing));
            let ending = if end_all { open } else { self.rng.u64(0..=open.min(3)) };
            for _ in 0..closing.min(open) {
                self.end_one(id, Outcome::Forced);
            }
            for _ in 0..ending {
                let outcomes = [Outcome::Completed, Outcome::ClientClosed, Outcome::UpstreamDied];
                let outcome = pick(&mut self.rng, &outcomes);
                self.end_one(id, outcome);
            }
            self.books.entry(id).or_default().closing = 0;
        }
    }

    fn end_one(&mut self, id: EndpointId, outcome: Outcome) {
        let Reading { open, ended } = &mut self.books.entry(id).or_default().reading;
        if *open == 0 {
            return;
        }
        *open -= 1;
        let one = match outcome {
            Outcome::Completed => &mut ended.completed,
            Outcome::ClientClosed => &mut ended.client_closed,
            Outcome::UpstreamDied => &mut ended.upstream_died,
            Outcome::Forced => &mut ended.forced,
        };
        *one += 1;
    }

    /// What the ledger says: everybody where something has changed since the last time.
    pub(crate) fn counted(&mut self) -> Vec<(EndpointId, Reading)> {
        let changed = self.books.iter_mut().filter(|(_, it)| it.reading != it.told);
        changed
            .map(|(id, it)| {
                it.told = it.reading;
                (*id, it.reading)
            })
            .collect()
    }

    /// Hears what the board makes of it.
    pub(crate) fn hear(&mut self, effects: &[Effect], rules: &DrainRules) -> Result<(), String> {
        for effect in effects {
            match effect {
                Effect::Probe(targets) => self.meet(targets),
                Effect::Close(endpoints) => {
                    if rules.hard_deadline.is_none() {
                        return Err(format!("{endpoints:?} are closed without a deadline"));
                    }
                    for id in endpoints {
                        let book = self.books.entry(*id).or_default();
                        book.closing = book.reading.open;
                    }
                }
                Effect::DrainTurned { flip, turn } => self
                    .follow(flip, *turn, rules)
                    .map_err(|why| format!("{flip:?} {} and {why}", turn.word()))?,
                Effect::EndpointTurned { .. }
                | Effect::RegionTurned { .. }
                | Effect::RegionHeld { .. }
                | Effect::Ejected { .. }
                | Effect::Returned { .. }
                | Effect::WindowTurned(_) => {}
            }
        }
        Ok(())
    }

    fn meet(&mut self, targets: &[Target]) {
        let place = |it: &Target| (it.endpoint, (Name::clone(&it.region), it.address));
        self.present = targets.iter().map(place).collect();
    }

    fn follow(&mut self, flip: &Flip, turn: Turn, rules: &DrainRules) -> Result<(), String> {
        let drain = &flip.drain;
        let key = (Name::clone(&flip.region), flip.endpoint, drain.since, drain.cause.word());
        let known = self.running.get(&key).copied();
        match (turn, known) {
            (Turn::Began, None) => {
                self.running.insert(key, (false, false));
            }
            // Two removals of one place at one moment look alike from here.
            (Turn::Began, Some(_)) if drain.cause == Cause::Removed => {}
            (Turn::Overdue, Some((false, closed))) => {
                self.running.insert(key, (true, closed));
            }
            (Turn::Deadline, Some((overdue, false))) => {
                self.running.insert(key, (overdue, true));
            }
            (Turn::Drained | Turn::Returned | Turn::Superseded, Some(_)) => {
                self.running.remove(&key);
            }
            (Turn::Returned | Turn::Superseded, None) if drain.is_beginning() => {}
            (_, known) => return Err(format!("it was {known:?}")),
        }
        if turn == Turn::Drained && drain.open != 0 {
            return Err("something is open".to_owned());
        }
        if turn == Turn::Deadline && rules.hard_deadline.is_none() {
            return Err("there is no deadline".to_owned());
        }
        adds_up(flip)
    }

    /// Right after a count, every drain must know exactly what is open at whom it covers.
    pub(crate) fn compare(&self, board: &Board) -> Result<(), String> {
        let flips = board.drains();
        flips.iter().try_for_each(adds_up)?;
        let open_of = |is_meant: &dyn Fn(&EndpointId) -> bool| -> u64 {
            self.books.iter().filter(|(id, _)| is_meant(id)).map(|(_, it)| it.reading.open).sum()
        };
        for flip in flips.iter().filter(|it| it.drain.cause != Cause::Removed) {
            let is_meant = |id: &EndpointId| {
                self.present.get(id).is_some_and(|(region, address)| {
                    *region == flip.region && flip.endpoint.is_none_or(|it| it == *address)
                })
            };
            let open = open_of(&is_meant);
            if flip.drain.open != open {
                return Err(format!("{open} are open, and {flip:?}"));
            }
        }
        let removed = flips.iter().filter(|it| it.drain.cause == Cause::Removed);
        let told: u64 = removed.map(|it| it.drain.open).sum();
        let open = open_of(&|id| !self.present.contains_key(id));
        if told != open {
            return Err(format!("{open} are open at who is gone, and {flips:?}"));
        }
        Ok(())
    }
}

/// Nothing that a drain has seen is lost.
fn adds_up(flip: &Flip) -> Result<(), String> {
    let drain = &flip.drain;
    let Outcomes { forced, .. } = drain.outcomes;
    let came = drain.open_at_start + drain.joined;
    let went = drain.outcomes.total() + drain.open + drain.moved;
    if drain.is_beginning() || drain.is_drained() || came == went {
        // What another drain, which covers the same endpoint, has told to close counts as well.
        return if forced <= came { Ok(()) } else { Err(format!("{forced} closed: {flip:?}")) };
    }
    Err(format!("{came} came and {went} went or are there: {flip:?}"))
}

/// The rules of a policy for drains: short, and seldom with an end.
pub(crate) fn rules(rng: &mut Rng) -> DrainRules {
    let millis = |it| Duration::from_millis(it);
    DrainRules {
        overdue_after: millis(rng.u64(100..1500)),
        hard_deadline: once_in(rng, 3).then(|| millis(rng.u64(200..2000))),
    }
}
