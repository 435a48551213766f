//! The loop: events in, one new world out, then the effects.

use std::process;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use tidegate_core::board::memory::Memory;
use tidegate_core::board::{Board, Effect, Event};
use tidegate_core::contract::Report;
use tidegate_core::health::ProbeFailure;
use tidegate_core::id::EndpointId;
use tidegate_core::policy::{EndpointSource, Policy};
use tokio::sync::{oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::tell;
use crate::assembly::Assembly;
use crate::endpoints_file::{Lists, ParseEndpoints};
use crate::handle::{Handle, Inbox, Message};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::prober::Probers;
use crate::{World, clock};

/// Time from one look at traffic and clock to the next.
const TICK: Duration = Duration::from_millis(250);

/// Most events that go into one world; the rest waits for the next one.
const EVENTS_PER_WORLD_MAX: usize = 1024;

/// Everything that the loop owns.
pub(super) struct Keeper {
    board: Board,
    assembly: Assembly,
    world: Arc<ArcSwap<World>>,
    metrics: Arc<Metrics>,
    ledger: Arc<Ledger>,
    /// Whether the ledger shows the drains as they are.
    is_shown: bool,
    /// Whether somebody wants to know what is open because the process leaves.
    is_leaving: bool,
    policy: watch::Sender<Arc<Policy>>,
    window: watch::Sender<bool>,
    inbox: Inbox,
    probers: Probers,
    lists: Lists,
    effects: Vec<Effect>,
    waiting: Vec<oneshot::Sender<Arc<World>>>,
    /// Former worlds that requests still live in. They are let go here, because to let go of a
    /// large one takes a while, in which a thread of the traffic would serve nobody.
    left: Vec<Arc<World>>,
}

impl Keeper {
    pub(super) fn new(
        board: Board,
        assembly: Assembly,
        handle: Handle,
        inbox: Inbox,
        parse_endpoints: ParseEndpoints,
    ) -> Self {
        let policy = Arc::clone(&handle.world.load().snapshot.policy);
        let (sender, receiver) = watch::channel(policy);
        Self {
            board,
            assembly,
            world: Arc::clone(&handle.world),
            metrics: Arc::clone(handle.metrics()),
            ledger: Arc::clone(handle.ledger()),
            is_shown: false,
            is_leaving: false,
            policy: sender,
            window: inbox.window.clone(),
            inbox,
            lists: Lists::new(handle.clone(), parse_endpoints),
            probers: Probers::new(handle, receiver),
            effects: Vec::new(),
            waiting: Vec::new(),
            left: Vec::new(),
        }
    }

    /// Takes note of what must be done once the loop runs.
    pub(super) fn owes(&mut self, effects: Vec<Effect>) {
        self.effects.extend(effects);
    }

    /// Runs for ever. A panic in here ends the process: a board that has stopped turning looks
    /// alive and is the worst failure there is.
    pub(super) async fn run(mut self) {
        let _guard = AbortOnPanic;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        self.lists.read(&self.policy.borrow());
        self.carry_out();
        loop {
            tokio::select! {
                Some(message) = self.inbox.events.recv() => self.take_in_all(message),
                Some(asker) = self.inbox.memories.recv() => self.remember(asker),
                _ = ticks.tick() => self.tick(),
                () = self.probers.restarted() => {}
                () = self.lists.restarted() => {}
            }
            self.publish();
            self.count_out();
            self.carry_out();
            self.answer();
        }
    }

    fn take_in_all(&mut self, first: Message) {
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(Message { event, done, under }) = next {
            if under.is_none_or(|it| Arc::ptr_eq(&it, &self.policy.borrow())) {
                self.take_in(event);
            }
            self.waiting.extend(done);
            taken += 1;
            next =
                if taken < EVENTS_PER_WORLD_MAX { self.inbox.events.try_recv().ok() } else { None };
        }
    }

    fn take_in(&mut self, event: Event) {
        match &event {
            Event::Installed(policy) => {
                self.policy.send_replace(Arc::clone(policy));
                self.lists.read(policy);
            }
            Event::Probed { endpoint, outcome, .. } => self.count_probe(*endpoint, outcome),
            Event::Leaving(_) => self.is_leaving = true,
            // Read before a policy that lists the region's endpoints itself: out of date.
            Event::Listed { region, .. } if !self.reads_file_of(region) => return,
            Event::Listed { .. }
            | Event::Observed { .. }
            | Event::Drained { .. }
            | Event::Counted(_)
            | Event::Released(_)
            | Event::WindowAsked { .. }
            | Event::Owned(_)
            | Event::Tick => {}
        }
        self.effects.extend(self.board.apply(clock::now(), event));
    }

    fn reads_file_of(&self, region: &str) -> bool {
        let policy = self.policy.borrow();
        let region = policy.regions.iter().find(|it| &*it.name == region);
        region.is_some_and(|it| matches!(it.endpoints, EndpointSource::File { .. }))
    }

    fn tick(&mut self) {
        clock::refresh();
        self.left.retain(|it| 1 < Arc::strong_count(it));
        self.count();
        for (endpoint, tally) in self.assembly.observed() {
            self.take_in(Event::Observed { endpoint, tally });
        }
        self.take_in(Event::Tick);
    }

    /// Tells the board what the ledger says.
    fn count(&mut self) {
        let counted = self.assembly.counted();
        self.take_in(Event::Counted(counted));
        self.is_shown = false;
    }

    /// Counts what is open where a drain was decided, now that the world shows it: whatever came
    /// before is open, and nothing new comes after.
    fn count_out(&mut self) {
        if self.board.is_awaiting_count() || std::mem::take(&mut self.is_leaving) {
            self.count();
        }
        let has_turned = |it: &Effect| matches!(it, Effect::DrainTurned { .. });
        if !self.is_shown || self.effects.iter().any(has_turned) {
            self.ledger.show(self.board.drains());
            self.is_shown = true;
        }
    }

    /// Tells all that is known, traffic up to now included.
    fn remember(&mut self, asker: oneshot::Sender<Memory>) {
        self.tick();
        // Who asked may have given up.
        drop(asker.send(self.board.memory()));
    }

    /// Swaps the world, once, if anything that it shows has changed.
    fn publish(&mut self) {
        if self.board.has_changed() {
            let snapshot = self.board.snapshot();
            let before = self.world.load_full();
            let is_same = Arc::ptr_eq(&snapshot.policy, &before.snapshot.policy)
                && snapshot.regions == before.snapshot.regions
                && snapshot.owners == before.snapshot.owners
                && snapshot.window == before.snapshot.window;
            if !is_same {
                let is_open = snapshot.window.is_open();
                self.window.send_if_modified(|it| std::mem::replace(it, is_open) != is_open);
                let next = self.assembly.world(snapshot, Some(&before));
                self.left.push(self.world.swap(Arc::new(next)));
                self.is_shown = false;
            }
        }
    }

    /// Tells those who wait that the world contains what they said.
    fn answer(&mut self) {
        for waiting in self.waiting.drain(..) {
            // Who asked may have gone; what was asked is done all the same.
            drop(waiting.send(self.world.load_full()));
        }
    }

    /// Tells and does what follows, now that the world shows it.
    fn carry_out(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            tell::log(&effect);
            tell::count(&effect, &self.metrics);
            match effect {
                Effect::Probe(targets) => self.probers.probe(targets),
                Effect::Close(endpoints) => self.assembly.close(&endpoints),
                Effect::DrainTurned { .. }
                | Effect::EndpointTurned { .. }
                | Effect::RegionTurned { .. }
                | Effect::RegionHeld { .. }
                | Effect::Ejected { .. }
                | Effect::Returned { .. }
                | Effect::WindowTurned(_) => {}
            }
        }
    }

    fn count_probe(&self, endpoint: EndpointId, outcome: &Result<Report, ProbeFailure>) {
        let Some(target) = self.probers.target(endpoint) else { return };
        let report = match outcome {
            Ok(report) if report.ready == Some(false) => Err(ProbeFailure::NotReady),
            Ok(_) => Ok(()),
            Err(failure) => Err(*failure),
        };
        self.metrics.probed(&target.region, report);
        if let Ok(report) = outcome {
            let contract = &self.policy.borrow().contract;
            for mismatch in contract.differences(report, clock::now()) {
                self.metrics.mismatched(&target.region, &mismatch);
            }
        }
    }
}

/// Ends the process when the loop panics, whoever would have caught it.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!("the controller panicked, the process ends");
            process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    const PANICS: &str = "TIDEGATE_TEST_LOOP_PANICS";
    const SIGABRT: i32 = 6;

    /// Runs itself in a process of its own, because the right outcome is that process's end.
    #[test]
    fn a_panic_in_the_loop_ends_the_process() {
        if env::var_os(PANICS).is_some() {
            let looping = async {
                let _guard = AbortOnPanic;
                tokio::task::yield_now().await;
                panic!("the board is wrong");
            };
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let runtime = runtime.expect("a runtime");
            let caught = runtime.block_on(runtime.spawn(looping));
            assert!(caught.is_err(), "tokio catches panics, so nobody would have noticed");
            return;
        }
        let me = env::current_exe().expect("this test's own file");
        let name = "controller::keeper::tests::a_panic_in_the_loop_ends_the_process";
        let mut child = Command::new(me);
        child.args([name, "--exact"]).env(PANICS, "1");
        let status = child.stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert_eq!(status.expect("it runs").signal(), Some(SIGABRT));
    }
}
