//! One simulated life: a queue of what is to come, a board that is told, and checks all along.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tidegate_core::Moment;
use tidegate_core::ask::Ask;
use tidegate_core::board::{Board, Effect, Event};
use tidegate_core::contract::Report;
use tidegate_core::drain::Turn;
use tidegate_core::health::ProbeFailure;
use tidegate_core::id::{EndpointId, RegionId};
use tidegate_core::policy::{Failback, Policy};
use tidegate_core::route::Refusal;
use tidegate_core::snapshot::Snapshot;
use tidegate_core::window;

use crate::check::{Check, Decision, Quiet};
use crate::dice::{self, once_in};
use crate::heir::{self, Heir};
use crate::mirror::Mirror;
use crate::oracle::Oracle;
use crate::rule::Rule;
use crate::streams::Streams;
use crate::town::Town;
use crate::windows::Windows;

/// The step of the clock, as the controller has it.
const TICK: Duration = Duration::from_millis(250);

/// How often each thing happened, by the word for it.
pub(crate) type Census = BTreeMap<&'static str, u32>;

/// What is to come.
enum Pending {
    Tick,
    /// Somebody is probed, if it is still somebody's endpoint.
    Probe(EndpointId, SocketAddr),
    /// A probe that was read by the keys of one contract ends.
    Answer(u32, EndpointId, Duration, Result<Report, ProbeFailure>),
    Happening,
}

pub(crate) struct Simulation<'r> {
    pub(crate) rng: Rng,
    pub(crate) now: Moment,
    pub(crate) policy: Arc<Policy>,
    pub(crate) town: Town,
    pub(crate) snapshot: Snapshot,
    pub(crate) targets: BTreeMap<EndpointId, SocketAddr>,
    rule: &'r Rule,
    checks: &'r [Check],
    board: Board,
    /// A second board that is told the same, and is replaced now and then by one that goes on
    /// from its memory: it must believe the same.
    twin: Heir,
    /// Decides when that is. A die of its own, so that it changes nothing else.
    heirs: Rng,
    oracle: Oracle,
    mirror: Mirror,
    streams: Streams,
    windows: Windows,
    pending: BTreeMap<(Moment, u64), Pending>,
    planned: u64,
    contracts: u32,
    belief_max: Duration,
    is_calm: bool,
    quiet: Quiet,
    census: Census,
}

impl<'r> Simulation<'r> {
    /// Lives through one seed. What is broken is said with the seed that shows it.
    pub(crate) fn run(seed: u64, rule: &'r Rule, checks: &'r [Check]) -> Result<Census, String> {
        let mut simulation = Self::new(seed, rule, checks);
        match simulation.live(seed.is_multiple_of(8)) {
            Ok(()) => Ok(simulation.census),
            Err(why) => Err(format!("SEED={seed} at {}: {why}", simulation.now)),
        }
    }

    fn new(seed: u64, rule: &'r Rule, checks: &'r [Check]) -> Self {
        let mut rng = Rng::with_seed(seed);
        let now = Moment(1_000_000);
        let policy = Arc::new(dice::policy(&mut rng, now));
        let (mut board, effects) = Board::new(now, Arc::clone(&policy));
        let twin = Heir::new(now, &policy, &effects);
        let snapshot = board.snapshot();
        let mut simulation = Self {
            town: Town::new(&mut rng),
            rng,
            now,
            policy,
            snapshot,
            targets: BTreeMap::new(),
            rule,
            checks,
            board,
            twin,
            heirs: Rng::with_seed(!seed),
            oracle: Oracle::default(),
            mirror: Mirror::default(),
            streams: Streams::new(seed),
            windows: Windows::default(),
            pending: BTreeMap::new(),
            planned: 0,
            contracts: 0,
            belief_max: Duration::ZERO,
            is_calm: false,
            quiet: Quiet::No,
            census: Census::new(),
        };
        simulation.plan(TICK, Pending::Tick);
        simulation.plan(TICK, Pending::Happening);
        simulation.probe_targets(&effects);
        // Nothing has been sent to anybody yet, so nothing of this can be wrong.
        drop(simulation.streams.hear(&effects, &simulation.policy.drain));
        simulation.note_policy();
        simulation
    }

    fn live(&mut self, is_long: bool) -> Result<(), String> {
        self.look()?;
        self.list_all()?;
        let end = self.now.plus(dice::millis(&mut self.rng, 4_000, 9_000));
        self.pass_until(end)?;
        self.pending.retain(|_, it| !matches!(it, Pending::Happening));
        self.is_calm = true;
        self.calm_down()?;
        self.settle(self.time_to_settle(), Quiet::Settled)?;
        if is_long {
            self.settle(self.policy.probing.interval * 60, Quiet::Measured)?;
        }
        Ok(())
    }

    /// Lets quiet time pass, and looks where everything goes then.
    fn settle(&mut self, time: Duration, quiet: Quiet) -> Result<(), String> {
        let end = self.now.plus(time);
        self.pass_until(end)?;
        let drains = self.board.drains();
        if let Some(flip) = drains.iter().find(|it| !it.drain.is_drained()) {
            return Err(format!("nothing is open, and {flip:?}"));
        }
        self.quiet = quiet;
        for route in 0..self.policy.routes.len() {
            let ask = Ask { client_hash: self.rng.u64(..), ..dice::plain(route) };
            self.decide(&ask)?;
        }
        self.quiet = Quiet::No;
        Ok(())
    }

    fn pass_until(&mut self, end: Moment) -> Result<(), String> {
        while let Some(entry) = self.pending.first_entry().filter(|it| it.key().0 <= end) {
            let ((at, _), pending) = entry.remove_entry();
            self.town.mark(self.now, &self.policy);
            self.now = self.now.max(at);
            self.town.mark(self.now, &self.policy);
            match pending {
                Pending::Tick => self.tick()?,
                Pending::Probe(id, address) => self.probe(id, address),
                Pending::Answer(contract, endpoint, took, outcome) => {
                    // Who probes starts over when a new policy reads other keys.
                    if contract == self.contracts {
                        self.tell(&Event::Probed { endpoint, took, outcome })?;
                    }
                }
                Pending::Happening => {
                    let pause = dice::millis(&mut self.rng, 50, 500);
                    self.plan(pause, Pending::Happening);
                    self.happen()?;
                }
            }
        }
        Ok(())
    }

    fn plan(&mut self, after: Duration, pending: Pending) {
        self.planned += 1;
        self.pending.insert((self.now.plus(after), self.planned), pending);
    }

    fn tick(&mut self) -> Result<(), String> {
        self.plan(TICK, Pending::Tick);
        self.streams.pass(self.is_calm);
        self.tell_count()?;
        self.tell(&Event::Tick)?;
        if once_in(&mut self.heirs, 8) {
            self.twin.pass_on(self.now, &self.policy)?;
        }
        let ask = dice::ask(&mut self.rng, self.policy.routes.len());
        self.decide(&ask)?;
        self.decide(&dice::plain(0))
    }

    fn probe(&mut self, id: EndpointId, address: SocketAddr) {
        if self.targets.get(&id) != Some(&address) {
            return;
        }
        let interval = self.policy.probing.interval;
        let pause = interval * self.rng.u32(90..=110) / 100;
        self.plan(pause, Pending::Probe(id, address));
        let house = self.town.look(address);
        if self.now < house.unprobed_until {
            return;
        }
        let outcome = house.answer(&mut self.rng, &self.policy.contract);
        // Some answers take so long that the next one overtakes them.
        let is_late = !self.is_calm && once_in(&mut self.rng, 12);
        let late = if is_late { interval * 2 } else { Duration::ZERO };
        let took = house.took + late * self.rng.u32(0..=100) / 100;
        self.plan(took, Pending::Answer(self.contracts, id, took, outcome));
    }

    /// Time goes on while nothing else does, as when a machine is suspended.
    pub(crate) fn suspend(&mut self, duration: Duration) -> Result<(), String> {
        self.now = self.now.plus(duration);
        self.tell(&Event::Tick)
    }

    /// Tells both boards what happened, and looks at what they make of it.
    pub(crate) fn tell(&mut self, event: &Event) -> Result<(), String> {
        let effects = self.board.apply(self.now, event.clone());
        let again = self.twin.apply(self.now, event, &effects);
        let lasting = heir::lasting(&effects);
        if lasting != again {
            return Err(format!("equal boards, {event:?}, and {lasting:?} is not {again:?}"));
        }
        if let Event::Installed(policy) = event {
            self.contracts += u32::from(policy.contract != self.policy.contract);
            self.policy = Arc::clone(policy);
            self.note_policy();
        }
        count(&mut self.census, effects.iter().filter_map(word_of));
        self.oracle.hear(self.now, event, &self.policy);
        self.probe_targets(&effects);
        self.mirror.follow(&effects)?;
        if self.board.has_changed() {
            self.look()?;
        } else if !lasting.is_empty() {
            return Err(format!("{lasting:?} and no change"));
        } else if once_in(&mut self.rng, 16) {
            let unseen = self.twin.snapshot();
            same(&unseen, &self.snapshot).map_err(|why| format!("{why} after {event:?}"))?;
        }
        self.oracle.hear_effects(self.now, &effects, &self.snapshot)?;
        self.windows.see(self.now, event, &self.snapshot, &self.board.drains());
        self.streams.hear(&effects, &self.policy.drain)?;
        if let Event::Counted(_) = event {
            self.streams.compare(&self.board)?;
        } else if self.board.is_awaiting_count() {
            self.tell_count()?;
        }
        let ask = dice::ask(&mut self.rng, self.policy.routes.len());
        self.decide(&ask)
    }

    /// The ledger is counted.
    fn tell_count(&mut self) -> Result<(), String> {
        let counted = self.streams.counted();
        self.tell(&Event::Counted(counted))
    }

    /// Takes a new snapshot and compares it with everything that is known.
    fn look(&mut self) -> Result<(), String> {
        let next = self.board.snapshot();
        if next.generation <= self.snapshot.generation {
            return Err(format!("{} follows {}", next.generation, self.snapshot.generation));
        }
        same(&self.twin.snapshot(), &next)?;
        self.snapshot = next;
        self.mirror.compare(&self.snapshot)?;
        self.oracle.compare(self.now, &self.snapshot)
    }

    fn decide(&mut self, ask: &Ask<'_>) -> Result<(), String> {
        let Some(route) = self.policy.routes.get(ask.route) else { return Ok(()) };
        let decision = Decision {
            now: self.now,
            ask,
            route,
            outcome: self.rule.route(&self.snapshot, ask),
            explanation: &self.rule.explain(&self.snapshot, ask),
            snapshot: &self.snapshot,
            oracle: &self.oracle,
            town: &self.town,
            window: self.rule.window(&self.snapshot),
            windows: &self.windows,
            belief_max: self.belief_max,
            quiet: self.quiet,
        };
        let word = decision.outcome.map_or_else(Refusal::code, |it| it.reason.word());
        count(&mut self.census, [word]);
        let broken = self.checks.iter().try_for_each(|check| check(&decision));
        broken.map_err(|why| format!("{why}\nto {ask:?}"))?;
        if let Ok(choice) = decision.outcome
            && !self.is_calm
        {
            self.send_to(choice.region);
        }
        Ok(())
    }

    /// A request goes to somebody in the region who may have it.
    fn send_to(&mut self, region: RegionId) {
        let endpoints = self.snapshot.region(region).map(|it| it.endpoints.iter());
        let mut takers = endpoints.into_iter().flatten().filter(|it| !it.drained);
        if let Some(taker) = takers.find(|it| it.verdict.is_answering()) {
            self.streams.open(taker.id);
        }
    }

    fn probe_targets(&mut self, effects: &[Effect]) {
        for effect in effects {
            let Effect::Probe(targets) = effect else { continue };
            let before = std::mem::take(&mut self.targets);
            self.targets = targets.iter().map(|it| (it.endpoint, it.address)).collect();
            let new = targets.iter().filter(|it| !before.contains_key(&it.endpoint));
            for target in new.map(|it| (it.endpoint, it.address)).collect::<Vec<_>>() {
                let pause = dice::millis(&mut self.rng, 0, 50);
                self.plan(pause, Pending::Probe(target.0, target.1));
            }
        }
    }

    /// A match is believed in until enough probes have said otherwise, or none has come for too
    /// long; each may be late, and the next tick draws the conclusion.
    fn note_policy(&mut self) {
        let probing = &self.policy.probing;
        let slowest = probing.interval * 2 + Duration::from_millis(60);
        let fallen = probing.interval * (probing.fall + 1) * 11 / 10;
        let belief = probing.stale_after + fallen + slowest * 2 + TICK;
        self.belief_max = self.belief_max.max(belief);
    }

    /// After so long without trouble, nothing is left of it.
    fn time_to_settle(&self) -> Duration {
        let Policy { probing, failback, ejection, regions, .. } = &*self.policy;
        let after = match failback.mode {
            Failback::Manual => Duration::ZERO,
            Failback::After(after) => after,
        };
        let window = self.policy.fence.as_ref().map(|it| it.failover_window).unwrap_or_default();
        let slow_start = regions.iter().map(|it| it.slow_start).max().unwrap_or_default();
        let answers = probing.interval * (probing.rise + 3) * 11 / 10 + Duration::from_millis(60);
        let proven = answers + probing.interval * 2 + TICK * 2;
        let back = after.max(failback.hysteresis).max(failback.freeze + after);
        proven + back.max(ejection.max + answers).max(slow_start) + window + TICK * 2
    }
}

fn count(census: &mut Census, words: impl IntoIterator<Item = &'static str>) {
    for word in words {
        *census.entry(word).or_default() += 1;
    }
}

fn word_of(effect: &Effect) -> Option<&'static str> {
    match effect {
        Effect::RegionTurned { to, .. } => Some(to.word()),
        Effect::RegionHeld { held, .. } => Some(held.map_or("not_held", |it| it.word())),
        Effect::Ejected { .. } => Some("out"),
        Effect::Returned { .. } => Some("returned"),
        Effect::DrainTurned { turn, .. } => Some(word_of_turn(*turn)),
        Effect::WindowTurned(window::Turn::Opened(_)) => Some("window_opened"),
        Effect::WindowTurned(window::Turn::Closed { .. }) => Some("window_closed"),
        Effect::EndpointTurned { .. } | Effect::Close(_) | Effect::Probe(_) => None,
    }
}

/// Words that no other effect has.
fn word_of_turn(turn: Turn) -> &'static str {
    match turn {
        Turn::Began => "drain_began",
        Turn::Overdue => "drain_overdue",
        Turn::Deadline => "drain_deadline",
        Turn::Drained => "drain_drained",
        Turn::Returned => "drain_returned",
        Turn::Superseded => "drain_superseded",
    }
}

/// Whether two snapshots show the same, whatever their numbers.
pub(crate) fn same(one: &Snapshot, other: &Snapshot) -> Result<(), String> {
    let shown =
        |it: &Snapshot| (it.routable, it.answering, it.nearest.clone(), it.measured.clone());
    if one.regions == other.regions && shown(one) == shown(other) && one.policy == other.policy {
        return Ok(());
    }
    Err(format!("{one:#?} is not {other:#?}"))
}
