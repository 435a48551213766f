//! A second board that is told the same, and whose work another one takes over now and then.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_core::Moment;
use tidegate_core::board::memory::Memory;
use tidegate_core::board::{Board, Effect, Event, Target};
use tidegate_core::ejection::Tally;
use tidegate_core::id::{EndpointId, Name};
use tidegate_core::policy::Policy;
use tidegate_core::snapshot::Snapshot;

/// A board in a process of its own: its endpoints have other numbers than those of the first
/// board, and its counters began later.
#[derive(Debug)]
pub(crate) struct Heir {
    board: Board,
    /// The numbers of the first board, and this one's.
    ids: HashMap<EndpointId, EndpointId>,
    /// What was counted at each endpoint, in all and before this board began.
    counted: HashMap<EndpointId, (Tally, Tally)>,
    /// Whether it empties itself: whoever takes over from it does not.
    is_leaving: bool,
}

impl Heir {
    /// A board on which a policy takes force, as it does on the first one with these effects.
    pub(crate) fn new(now: Moment, policy: &Arc<Policy>, effects: &[Effect]) -> Self {
        let (board, own) = Board::new(now, Arc::clone(policy));
        let mut heir =
            Self { board, ids: HashMap::new(), counted: HashMap::new(), is_leaving: false };
        heir.learn(effects, &own);
        heir
    }

    /// Takes in what happened, and answers what the first board would.
    pub(crate) fn apply(&mut self, now: Moment, event: &Event, first: &[Effect]) -> Vec<Effect> {
        let heard = self.heard(event);
        let own = lasting(&self.board.apply(now, heard));
        self.learn(&lasting(first), &own);
        self.told(own)
    }

    /// A snapshot with the numbers of the first board.
    pub(crate) fn snapshot(&mut self) -> Snapshot {
        let mut snapshot = self.board.snapshot();
        let firsts = self.firsts();
        for endpoint in snapshot.regions.iter_mut().flat_map(|it| &mut it.endpoints) {
            endpoint.id = firsts.get(&endpoint.id).copied().unwrap_or(EndpointId(0));
        }
        snapshot
    }

    /// Another board goes on from what this one remembers. Nothing may change by that.
    pub(crate) fn pass_on(&mut self, now: Moment, policy: &Arc<Policy>) -> Result<(), String> {
        let memory = self.board.memory();
        let before = self.snapshot();
        let places = places(&before);
        let (board, effects) = Board::remembering(now, Arc::clone(policy), memory.clone());
        self.board = board;
        let [Effect::Probe(targets)] = &*lasting(&effects) else {
            return Err(format!("a board that goes on has nothing to tell but {effects:?}"));
        };
        let ids = targets.iter().map(|it| (places.get(&place(it)).copied(), it.endpoint));
        self.ids = ids.filter_map(|(first, own)| Some((first?, own))).collect();
        self.counted.values_mut().for_each(|(all, before)| *before = *all);
        let mut after = without_drains(self.board.memory());
        if std::mem::take(&mut self.is_leaving) {
            // What the operator empties was emptied because of the end, and is no more.
            after.window.open.clone_from(&memory.window.open);
        }
        let before_it = without_drains(memory);
        if before_it != after {
            return Err(format!("{after:#?} became of {before_it:#?}"));
        }
        super::simulation::same(&self.snapshot(), &before)
    }

    /// What happened, in this board's numbers.
    fn heard(&mut self, event: &Event) -> Event {
        let mut event = event.clone();
        if let Event::Leaving(cause) = event {
            self.is_leaving = cause.is_some();
        }
        if let Event::Counted(_) = event {
            return Event::Counted(Vec::new());
        }
        if let Event::Observed { endpoint, tally } = &mut event {
            let (all, before) = self.counted.entry(*endpoint).or_default();
            *all = *tally;
            *tally = since(*tally, *before);
        }
        if let Event::Observed { endpoint, .. } | Event::Probed { endpoint, .. } = &mut event {
            *endpoint = self.ids.get(endpoint).copied().unwrap_or(EndpointId(0));
        }
        event
    }

    /// Learns which of its numbers stand for which of the first board's.
    fn learn(&mut self, first: &[Effect], own: &[Effect]) {
        for (first, own) in first.iter().zip(own) {
            if let (Effect::Probe(first), Effect::Probe(own)) = (first, own) {
                let pairs = first.iter().zip(own);
                self.ids = pairs.map(|(first, own)| (first.endpoint, own.endpoint)).collect();
            }
        }
    }

    /// Effects with the numbers of the first board.
    fn told(&self, mut effects: Vec<Effect>) -> Vec<Effect> {
        let firsts = self.firsts();
        for effect in &mut effects {
            let Effect::Probe(targets) = effect else { continue };
            for target in targets {
                target.endpoint = firsts.get(&target.endpoint).copied().unwrap_or(EndpointId(0));
            }
        }
        effects
    }

    fn firsts(&self) -> HashMap<EndpointId, EndpointId> {
        self.ids.iter().map(|(first, own)| (*own, *first)).collect()
    }
}

/// A memory without its drains: one that has nothing open here comes to its end.
fn without_drains(mut memory: Memory) -> Memory {
    for region in &mut memory.regions {
        region.drain = None;
        region.endpoints.iter_mut().for_each(|it| it.drain = None);
    }
    memory
}

/// Effects without those of drains, and of the window that follows them: a board that goes on knows nothing of what is open elsewhere.
pub(crate) fn lasting(effects: &[Effect]) -> Vec<Effect> {
    let is_of_drain = |it: &&Effect| {
        matches!(it, Effect::DrainTurned { .. } | Effect::Close(_) | Effect::WindowTurned(_))
    };
    effects.iter().filter(|it| !is_of_drain(it)).cloned().collect()
}

fn place(target: &Target) -> (Name, SocketAddr) {
    (Name::clone(&target.region), target.address)
}

fn places(snapshot: &Snapshot) -> HashMap<(Name, SocketAddr), EndpointId> {
    let regions = snapshot.regions.iter();
    let of = |(name, list): (Name, Vec<(SocketAddr, EndpointId)>)| {
        list.into_iter().map(move |(address, id)| ((Name::clone(&name), address), id))
    };
    let lists = regions.map(|region| {
        let list = region.endpoints.iter().map(|it| (it.address, it.id)).collect();
        (Name::clone(&region.name), list)
    });
    lists.flat_map(of).collect()
}

/// What was counted beyond an earlier tally.
fn since(all: Tally, before: Tally) -> Tally {
    Tally {
        answered: all.answered - before.answered,
        failed: all.failed - before.failed,
        connected: all.connected - before.connected,
        unconnected: all.unconnected - before.unconnected,
        first_byte_us: all.first_byte_us - before.first_byte_us,
    }
}
