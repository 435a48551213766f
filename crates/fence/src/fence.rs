//! The fence: whoever wants to deliver a write asks here first.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tidegate_core::Moment;
use tidegate_core::fence::family::{FamilyKey, Kin};
use tidegate_core::fence::fingerprint::Fingerprint;
use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::proof::NonDelivery;
use tidegate_core::fence::record::{Answer, Doubt, Incarnation, Owner, Record, State};
use tidegate_core::fence::retention::Retention;
use tidegate_core::fence::rules::{self, Claimed, Resolution, Resolved, Settled, Terms};
use tidegate_core::id::Epoch;
use tidegate_core::ownership::{Asked, Seen, Swapped, Table};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use crate::latency::Operation;
use crate::leftovers::{Leftover, Sweeper, What};
use crate::quota::{Charge, Quotas};
use crate::redis::{FoundError, Founded, How, RedisTally};
use crate::store::{Audit, AuditLine, Failure, Filter, Finding, Gauges, Store};
use crate::tally::Tally;
use crate::ticket::Ticket;
use crate::waiting::{Ended, Waiting};

pub use handover::HandedOver;

mod handover;

/// How often the store is maintained.
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);
/// How long the last outcomes may take when the process ends.
const FINISH_WITHIN: Duration = Duration::from_secs(2);
/// How often a duplicate asks the store, at first and at most: the first request may have come to
/// another process.
const ASK_EVERY_MIN: Duration = Duration::from_millis(25);
const ASK_EVERY_MAX: Duration = Duration::from_millis(400);

/// Bounds of one fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest time that any operation takes.
    pub call: Duration,
    /// Longest time that a claim takes.
    pub claim: Duration,
    /// How soon after its claim was sent a write must begin.
    pub start_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let call = Duration::from_millis(250);
        Self { call, claim: call, start_window: rules::START_WINDOW }
    }
}

/// What a write asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What the request is; `None` while its body is flowing.
    pub fingerprint: Option<Fingerprint>,
    /// The epoch in which it would be delivered.
    pub epoch: Epoch,
    /// The longest time from the claim to the answer, and [`rules::LEASE_MARGIN`].
    pub lease: Duration,
    /// How long it is remembered.
    pub retention: Retention,
    /// The endpoint knows the key itself, so a write in doubt is delivered again.
    pub is_repeatable: bool,
    /// The shared store is away, and this one stands in for it.
    pub is_degraded: bool,
    /// The allowance of new keys that it is charged to; none has a bound if `None`.
    pub charge: Option<Charge>,
    /// How long a duplicate waits for the answer to the first request.
    pub coalesce_wait: Duration,
}

/// What became of a claim.
#[derive(Debug)]
pub enum Claim {
    /// The write is to be delivered by whoever holds the ticket.
    Won(Ticket),
    /// It is not: somebody is at it, was at it, or may have been. `reply::to` makes an answer of
    /// it. Never [`Claimed::Won`].
    Lost {
        /// What is remembered.
        claimed: Claimed,
        /// How long it was waited for.
        waited: Duration,
    },
}

/// Why a write may not be delivered. All of them are 503 with `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The store does not take it.
    #[error(transparent)]
    Store(#[from] Failure),
    /// The principal has used up its allowance of new keys.
    #[error("too many new keys of one principal")]
    Quota,
}

/// The memory of writes. Clones are the same fence.
#[derive(Clone, Debug)]
pub struct Fence(Arc<Shared>);

/// Keeps a fence in order. Without it, nothing that was left behind is ever done.
#[derive(Debug)]
pub struct Keeper {
    fence: Fence,
    sweeper: Sweeper,
}

#[derive(Debug)]
pub(crate) struct Shared {
    store: Store,
    pub(crate) limits: Limits,
    pub(crate) tally: Tally,
    clock: fn() -> Moment,
    incarnation: Incarnation,
    serial: AtomicU64,
    is_window_open: AtomicBool,
    leftovers: mpsc::Sender<Leftover>,
    waiting: Waiting,
    quotas: Quotas,
}

impl Fence {
    /// A fence over a store, and what keeps it in order. Claims are made in the name of the
    /// incarnation, which no other process may have.
    pub fn new(
        store: Store,
        incarnation: Incarnation,
        limits: Limits,
        clock: fn() -> Moment,
    ) -> (Self, Keeper) {
        let (leftovers, sweeper) = Sweeper::new();
        let fence = Self(Arc::new(Shared {
            store,
            limits,
            tally: Tally::default(),
            clock,
            incarnation,
            serial: AtomicU64::new(1),
            is_window_open: AtomicBool::new(false),
            leftovers,
            waiting: Waiting::default(),
            quotas: Quotas::default(),
        }));
        (fence.clone(), Keeper { fence, sweeper })
    }

    /// A new incarnation, drawn from the randomness of the system.
    pub fn incarnation() -> Incarnation {
        // The standard library asks the system for the keys of a hash, and has no other way in.
        Incarnation(RandomState::new().hash_one("incarnation").max(1))
    }

    /// Claims a key for a write that is to be delivered. Waits for the answer to the first request
    /// if there is one under way, and for no longer than asked for.
    ///
    /// # Errors
    /// Nobody knows whether the write may be delivered, so it must not be.
    ///
    /// # Cancel safety
    /// A claim that nobody is told of is given back.
    pub async fn claim(&self, key: FenceKey, ask: &Ask) -> Result<Claim, Refusal> {
        let began = Instant::now();
        let until = began + ask.coalesce_wait;
        let mut claim = self.claim_once(key, ask).await?;
        let mut every = ASK_EVERY_MIN;
        while let Claim::Lost { claimed: Claimed::Busy { .. }, .. } = &claim
            && Instant::now() < until
        {
            let mut waiter = self.0.waiting.join(key);
            // The answer may have come before we began to listen.
            claim = self.claim_once(key, ask).await?;
            if !matches!(claim, Claim::Lost { claimed: Claimed::Busy { .. }, .. }) {
                break;
            }
            if every == ASK_EVERY_MIN {
                self.0.tally.waited.add_one();
            }
            let patience = until.min(Instant::now() + every);
            every = ASK_EVERY_MAX.min(every * 2);
            if let Ok(Ended::With(record)) = timeout_at(patience, waiter.ended()).await {
                let (claimed, _) = rules::claim(Some(&record), &self.terms(ask), self.now());
                // A write in doubt that may be repeated is claimed in the store.
                if !matches!(claimed, Claimed::Won { .. }) {
                    claim = Claim::Lost { claimed, waited: Duration::ZERO };
                }
            }
        }
        if let Claim::Lost { waited, claimed } = &mut claim {
            *waited = began.elapsed();
            self.0.count(claimed);
        }
        Ok(claim)
    }

    async fn claim_once(&self, key: FenceKey, ask: &Ask) -> Result<Claim, Refusal> {
        let is_charged = ask.charge.is_none_or(|it| self.0.quotas.charge(it, self.now()));
        if !is_charged {
            // Whoever has used up its allowance may still ask for what it has written.
            return self.look_at(key, ask).await;
        }
        let terms = Arc::new(self.terms(ask));
        let sent = Instant::now();
        let mut pending = Pending { shared: &self.0, key, terms: Some(Arc::clone(&terms)) };
        let claimed = timeout(self.0.limits.claim, self.0.store.claim(key, &terms)).await;
        let claimed = claimed.unwrap_or(Err(Failure::Unreachable));
        self.0.tally.latencies.of(Operation::Claim).took(sent.elapsed(), claimed.is_err());
        if !matches!(&claimed, Err(failure) if failure.is_unsure()) {
            pending.terms = None;
        }
        drop(pending);
        match claimed {
            Ok(Claimed::Won { attempt }) => {
                self.0.tally.won.add_one();
                let shared = Arc::clone(&self.0);
                Ok(Claim::Won(Ticket::new(shared, key, terms, attempt, sent)))
            }
            Ok(claimed) => {
                if let Some(charge) = ask.charge {
                    self.0.quotas.refund(charge, self.now());
                }
                Ok(Claim::Lost { claimed, waited: Duration::ZERO })
            }
            Err(failure) => {
                self.0.tally.refused.add_one();
                Err(failure.into())
            }
        }
    }

    /// What a claim would be told, without making one.
    async fn look_at(&self, key: FenceKey, ask: &Ask) -> Result<Claim, Refusal> {
        let held = self.show(key).await?;
        let claimed = rules::claim(held.as_ref(), &self.terms(ask), self.now()).0;
        if matches!(claimed, Claimed::Won { .. }) {
            self.0.tally.refused.add_one();
            return Err(Refusal::Quota);
        }
        Ok(Claim::Lost { claimed, waited: Duration::ZERO })
    }

    /// Meets the family of an event; see [`tidegate_core::fence::family`].
    ///
    /// # Errors
    /// The family is not known, so the write must not be delivered where that matters.
    pub async fn family(
        &self,
        family: FamilyKey,
        key: FenceKey,
        retention: Retention,
    ) -> Result<Kin, Failure> {
        self.0.within(Operation::Family, self.0.store.family(family, key, retention)).await
    }

    /// What is remembered of a key.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn show(&self, key: FenceKey) -> Result<Option<Record>, Failure> {
        self.0.within(Operation::Look, self.0.store.look(key)).await
    }

    /// Tells the store on which change of ownership this process acts, and hears what the last one is.
    ///
    /// # Errors
    /// Why that is not known. The process may not act for longer than it could before.
    ///
    /// # Cancel safety
    /// The store may believe for a while that this process acts on the change that was named.
    pub async fn hold(&self, asked: Asked) -> Result<Seen, Failure> {
        let holding = self.0.store.hold(self.0.incarnation, asked);
        self.0.within(Operation::Ownership, holding).await
    }

    /// Changes ownership, if the last change is still the one that is expected.
    ///
    /// # Errors
    /// Why it is not changed, or not known to be.
    pub async fn swap(&self, expected: Epoch, table: &Table) -> Result<Swapped, Failure> {
        self.0.within(Operation::Ownership, self.0.store.swap(expected, table)).await
    }

    /// Open records.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn list(
        &self,
        filter: Filter,
        limit: u32,
    ) -> Result<Vec<(FenceKey, Record)>, Failure> {
        self.0.within(Operation::Look, self.0.store.list(filter, limit)).await
    }

    /// Ends a doubt.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn resolve(
        &self,
        key: FenceKey,
        resolution: Resolution,
        retention: Retention,
        audit: Audit,
    ) -> Result<Resolved, Failure> {
        let store = &self.0.store;
        let resolving = store.resolve(key, resolution, retention, audit);
        self.0.within(Operation::Look, resolving).await
    }

    /// What was resolved, the newest first.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn audit(&self, limit: u32) -> Result<Vec<AuditLine>, Failure> {
        self.0.within(Operation::Look, self.0.store.audit(limit)).await
    }

    /// How the store is.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn gauges(&self) -> Result<Gauges, Failure> {
        self.0.within(Operation::Look, self.0.store.gauges()).await
    }

    /// What was found when the store was last looked at; nothing where nothing has to be looked at.
    pub fn findings(&self) -> Vec<Finding> {
        self.0.store.findings()
    }

    /// What a Redis has been through, if the store is one.
    pub fn of_redis(&self) -> Option<&RedisTally> {
        match &self.0.store {
            Store::Embedded(_) => None,
            Store::Redis(redis) => Some(redis.tally()),
        }
    }

    /// Lets a store that somebody has to begin remember from now on. A file needs nobody.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn found(&self, how: How) -> Result<Founded, FoundError> {
        match &self.0.store {
            Store::Embedded(_) => Ok(Founded::Before),
            Store::Redis(redis) => redis.found(how).await,
        }
    }

    /// Whether a failover window is open.
    pub fn is_window_open(&self) -> bool {
        self.0.is_window_open.load(Ordering::Relaxed)
    }

    /// While a failover window is open, nothing is forgotten.
    pub fn set_window_open(&self, is_open: bool) {
        self.0.is_window_open.store(is_open, Ordering::Relaxed);
    }

    /// What the fence has done so far.
    pub fn tally(&self) -> &Tally {
        &self.0.tally
    }

    fn now(&self) -> Moment {
        (self.0.clock)()
    }

    fn terms(&self, ask: &Ask) -> Terms {
        let serial = self.0.serial.fetch_add(1, Ordering::Relaxed);
        Terms {
            owner: Owner { incarnation: self.0.incarnation, serial },
            fingerprint: ask.fingerprint,
            epoch: ask.epoch,
            lease: ask.lease,
            retention: ask.retention,
            is_repeatable: ask.is_repeatable,
            is_degraded: ask.is_degraded,
        }
    }
}

/// A claim that is on its way to the store. Dropped before its fate is known, it is given back.
struct Pending<'s> {
    shared: &'s Shared,
    key: FenceKey,
    terms: Option<Arc<Terms>>,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(terms) = self.terms.take() {
            self.shared.tally.unsure.add_one();
            let what = What::Release { proof: NonDelivery::NeverBegun, is_unsure: true };
            self.shared.leave(self.key, &terms, what);
        }
    }
}

impl Keeper {
    #[cfg(test)]
    pub(crate) fn parts(&mut self) -> (&mut Sweeper, &Shared) {
        (&mut self.sweeper, &self.fence.0)
    }

    /// Keeps the fence in order until `stop` is done, and then does what is left.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let shared = Arc::clone(&self.fence.0);
        let work = async {
            let mut due = Instant::now();
            loop {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(due) => {
                        let has_more = shared.maintain().await;
                        due = Instant::now() + if has_more { Duration::ZERO } else { MAINTAIN_EVERY };
                    }
                    () = self.sweeper.sweep(&shared) => {}
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = stop => {}
        }
        self.sweeper.finish(&shared, FINISH_WITHIN).await;
    }
}

impl Shared {
    /// Leaves something to the keeper.
    pub(crate) fn leave(&self, key: FenceKey, terms: &Arc<Terms>, what: What) {
        let leftover = Leftover::new(key, Arc::clone(terms), what);
        if self.leftovers.try_send(leftover).is_err() {
            self.tally.lost.add_one();
        }
    }

    pub(crate) async fn renew(&self, key: FenceKey, terms: &Terms) -> Result<bool, Failure> {
        self.within(Operation::Renew, self.store.renew(key, terms)).await
    }

    pub(crate) async fn complete(
        &self,
        key: FenceKey,
        terms: &Terms,
        answer: &Answer,
    ) -> Result<Settled, Failure> {
        let completing = self.store.complete(key, terms, answer);
        let settled = self.within(Operation::Complete, completing).await?;
        self.tally.completed.add_one();
        self.settled(key, settled, terms, || State::Completed(answer.clone()));
        Ok(settled)
    }

    pub(crate) async fn doubt(
        &self,
        key: FenceKey,
        terms: &Terms,
        doubt: Doubt,
    ) -> Result<Settled, Failure> {
        let doubting = self.store.doubt(key, terms, doubt);
        let settled = self.within(Operation::Doubt, doubting).await?;
        self.tally.doubted.add_one();
        self.settled(key, settled, terms, || State::InDoubt(doubt));
        Ok(settled)
    }

    pub(crate) async fn release(
        &self,
        key: FenceKey,
        terms: &Terms,
        proof: NonDelivery,
    ) -> Result<bool, Failure> {
        let releasing = self.store.release(key, terms.owner, proof);
        let released = self.within(Operation::Release, releasing).await?;
        if released {
            self.tally.released.add_one();
            self.waiting.tell(key, || Ended::Freed);
        }
        Ok(released)
    }

    fn settled(
        &self,
        key: FenceKey,
        settled: Settled,
        terms: &Terms,
        state: impl FnOnce() -> State,
    ) {
        match settled {
            Settled::Stored | Settled::Already => {}
            Settled::Resurrected => {
                self.tally.resurrected.add_one();
                tracing::warn!(%key, owner = %terms.owner, "the store had lost a claim");
            }
            Settled::Escaped(other) => {
                self.tally.escapes.add_one();
                tracing::error!(%key, owner = %terms.owner, %other, "two owners of one write");
                return;
            }
        }
        let now = (self.clock)();
        self.waiting.tell(key, || Ended::With(Arc::new(terms.ended(state(), now))));
    }

    fn count(&self, claimed: &Claimed) {
        match claimed {
            Claimed::Won { .. } => {}
            Claimed::Busy { .. } => self.tally.busy.add_one(),
            Claimed::Done(_) => self.tally.done.add_one(),
            Claimed::Clash => self.tally.clashes.add_one(),
            Claimed::InDoubt(_) => self.tally.in_doubt.add_one(),
        }
    }

    /// Whether there is more to do at once.
    async fn maintain(&self) -> bool {
        let is_window_open = self.is_window_open.load(Ordering::Relaxed);
        let maintaining = self.store.maintain(is_window_open);
        let maintained = self.within(Operation::Maintain, maintaining).await;
        let Ok(maintained) = maintained else { return false };
        if 0 < maintained.unsafely {
            self.tally.unsafe_expiries.add(maintained.unsafely);
            tracing::warn!(records = maintained.unsafely, "records in doubt are forgotten");
        }
        if 0 < maintained.doubted {
            tracing::warn!(records = maintained.doubted, "claims of an ended process are in doubt");
        }
        maintained.has_more
    }

    /// No operation takes longer than its limit.
    async fn within<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        let told = timeout(self.limits.call, call).await.unwrap_or(Err(Failure::Unreachable));
        self.tally.latencies.of(operation).took(began.elapsed(), told.is_err());
        told
    }
}
