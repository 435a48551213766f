//! Who puts policies in force, and how: read, prepare, install, commit, keep, tell.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_control::handle::Busy;
use tidegate_control::metrics::ReloadResult;
use tidegate_control::{Handle, clock};
use tidegate_core::Moment;
use tidegate_core::board::Event;
use tidegate_core::policy::Policy;
use tidegate_policy::{Change, Reading, Seen, diff, digest};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::kept::Kept;
use super::origin::Origin;
use super::status::{Failure, Source, Status};
use super::{Done, ORDERS_WAITING_MAX, Options, Order, Refused, Reloads, Request, Trigger, tell};
use crate::doors::Inherited;
use crate::ending::Ending;
use crate::notify;
use crate::run::{Traffic, wishes};

/// Time from one failed attempt to roll back to the next.
const ROLL_BACK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// How often, and how many times, a board that is busy is told of a policy.
const BOARD_ASKED_EVERY: Duration = Duration::from_millis(50);
const BOARD_ASKED_MAX: u32 = 100;

/// Everything that is needed to put a policy in force.
pub(crate) struct Reloader {
    handle: Handle,
    doors: Traffic,
    ending: Ending,
    path: Option<PathBuf>,
    kept: Option<Kept>,
    /// What was found when the file was read last.
    pub(super) seen: Seen,
    in_force: InForce,
    generation: u64,
    pending: Option<Pending>,
    failure: Option<Failure>,
    status: watch::Sender<Arc<Status>>,
    pub(super) orders: mpsc::Receiver<Request>,
}

/// A policy that is in force, or was.
#[derive(Clone, Debug)]
struct InForce {
    policy: Arc<Policy>,
    text: String,
    source: Source,
    loaded: Moment,
}

/// A policy in force that waits for its confirmation.
#[derive(Debug)]
struct Pending {
    before: InForce,
    until: Moment,
}

impl Reloader {
    /// A reloader for a process that begins with this policy, and what operators have of it.
    pub(crate) fn new(
        (policy, origin): (Arc<Policy>, Origin),
        (handle, doors, ending): (Handle, Traffic, Ending),
    ) -> (Self, Reloads) {
        let Origin { path, text, source, seen, kept, failure } = origin;
        let loaded = clock::now();
        let failure = failure.map(|report| Failure {
            at: loaded,
            result: ReloadResult::BadPolicy,
            report: report.to_string(),
        });
        let in_force = InForce { policy, text, source, loaded };
        let (sender, orders) = mpsc::channel(ORDERS_WAITING_MAX);
        let first = Status {
            generation: 1,
            digest: digest(in_force.text.as_bytes()),
            path: path.clone(),
            source,
            loaded,
            confirm_until: None,
            failure: failure.clone(),
        };
        handle.metrics().policy_in_force(&first.facts());
        let (status, receiver) = watch::channel(Arc::new(first));
        let (generation, pending) = (1, None);
        let reloader = Self {
            handle,
            doors,
            ending,
            path,
            kept,
            seen,
            in_force,
            generation,
            pending,
            failure,
            status,
            orders,
        };
        (reloader, Reloads { orders: sender, status: receiver })
    }

    /// Says what the process began with, and keeps it if it is good.
    pub(super) async fn begin(&self) {
        if let Some(failure) = &self.failure {
            let report = failure.report.replace('\n', "; ");
            tracing::error!(report, "the policy does not load, the last good one is in force");
            self.handle.metrics().reloaded(failure.result);
        } else {
            self.keep().await;
        }
    }

    /// Carries out an order; tells and counts what comes of it, once.
    pub(super) async fn carry_out(
        &mut self,
        trigger: Trigger,
        order: &Order,
    ) -> Result<Done, Refused> {
        let began = clock::instant();
        let outcome = match order {
            Order::Reload(options) => {
                notify::reloading();
                let outcome = self.reload(options).await;
                // Also after a refusal: the process serves as it did.
                notify::reloaded(if outcome.is_ok() {
                    "serving"
                } else {
                    "serving, the last policy was refused"
                });
                outcome
            }
            Order::Confirm => self.confirm().await,
            Order::RollBack => self.roll_back(trigger).await,
        };
        let metrics = self.handle.metrics();
        match outcome {
            Ok((result, changes)) => {
                self.failure = None;
                metrics.reloaded(result);
                let done = Done { result, changes, status: self.publish() };
                if result == ReloadResult::RolledBack {
                    tell::rolled_back(trigger, &done);
                } else {
                    tell::applied(trigger, &done, clock::elapsed_since(began));
                }
                Ok(done)
            }
            Err(refused) => {
                tell::refused(trigger, &refused);
                if let Some(result) = refused.result() {
                    metrics.reloaded(result);
                    if refused.has_read() {
                        let report = refused.to_string();
                        self.failure = Some(Failure { at: clock::now(), result, report });
                    }
                }
                self.publish();
                Err(refused)
            }
        }
    }

    /// Puts in force what the file says now: whole, or not at all.
    async fn reload(&mut self, options: &Options) -> Result<(ReloadResult, Vec<Change>), Refused> {
        self.may_reload(options)?;
        let path = self.path.clone().ok_or(Refused::NoFile)?;
        let reading = spawn_blocking(move || Reading::of(&path)).await;
        let Reading { text, policy, seen } = reading.map_err(|_panicked| Refused::Busy)?;
        self.seen = seen;
        let policy = policy.map_err(Refused::Policy)?;
        let changes = diff(&self.in_force.policy, &policy);
        let fixed = changes.iter().filter(|it| it.needs_upgrade()).cloned().collect::<Vec<_>>();
        if !fixed.is_empty() {
            return Err(Refused::Fixed(fixed));
        }
        may_divide(&self.in_force.policy, &policy, options).map_err(Refused::Division)?;
        if changes.is_empty() {
            // Its text may be another one, with other comments.
            (self.in_force.text, self.in_force.source) = (text, Source::File);
            self.keep().await;
            return Ok((ReloadResult::Unchanged, changes));
        }
        let policy = Arc::new(policy);
        self.install(&policy).await?;
        let new = InForce { policy, text, source: Source::File, loaded: clock::now() };
        let before = std::mem::replace(&mut self.in_force, new);
        self.generation = self.generation.saturating_add(1);
        match options.confirm_within {
            // Until it is confirmed, the one before stays the last good one.
            Some(within) => {
                let until = clock::now().plus(within);
                self.pending = Some(Pending { before, until });
            }
            None => self.keep().await,
        }
        Ok((ReloadResult::Applied, changes))
    }

    fn may_reload(&self, options: &Options) -> Result<(), Refused> {
        if self.is_leaving() {
            return Err(Refused::Busy);
        }
        if let Some(Pending { until, .. }) = self.pending {
            return Err(Refused::Pending(until.since(clock::now())));
        }
        match options.if_generation {
            Some(asked) if asked != self.generation => {
                Err(Refused::Stale { asked, present: self.generation })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The policy that waits for its confirmation stays, and is the last good one from now on.
    async fn confirm(&mut self) -> Result<(ReloadResult, Vec<Change>), Refused> {
        self.pending.take().ok_or(Refused::NothingPending)?;
        self.keep().await;
        Ok((ReloadResult::Confirmed, Vec::new()))
    }

    /// Puts the policy before the one that waits for its confirmation in force again.
    async fn roll_back(
        &mut self,
        trigger: Trigger,
    ) -> Result<(ReloadResult, Vec<Change>), Refused> {
        let Some(Pending { before, .. }) = &self.pending else {
            return Err(Refused::NothingPending);
        };
        let before = InForce { source: Source::RolledBack, loaded: clock::now(), ..before.clone() };
        if let Err(refused) = self.install(&before.policy).await {
            // An address that it needs may be free again a little later.
            if let (Trigger::Deadline, Some(pending)) = (trigger, &mut self.pending) {
                pending.until = clock::now().plus(ROLL_BACK_AGAIN_AFTER);
            }
            return Err(refused);
        }
        let changes = diff(&self.in_force.policy, &before.policy);
        (self.in_force, self.pending) = (before, None);
        self.generation = self.generation.saturating_add(1);
        Ok((ReloadResult::RolledBack, changes))
    }

    /// Everything that may fail comes before anything that is seen from outside.
    async fn install(&self, policy: &Arc<Policy>) -> Result<(), Refused> {
        let (doors, wishes) = (self.doors.clone(), wishes(policy));
        let prepare = move || doors.prepare(wishes, &mut Inherited::default());
        let prepared = spawn_blocking(prepare).await.map_err(|_panicked| Refused::Busy)?;
        let prepared = prepared.map_err(Refused::Listener)?;
        self.tell_board(policy).await?;
        // A process that is ending has closed its doors, and they stay closed.
        if self.ending.cause().is_none() {
            self.doors.commit(prepared);
        }
        Ok(())
    }

    /// A board with much to do is asked again for a while: who watches a file will not ask again.
    async fn tell_board(&self, policy: &Arc<Policy>) -> Result<(), Refused> {
        for _ in 0..BOARD_ASKED_MAX {
            match self.handle.ask(Event::Installed(Arc::clone(policy))).await {
                Ok(_) => return Ok(()),
                Err(Busy::Full) => sleep(BOARD_ASKED_EVERY).await,
                Err(Busy::Ended) => break,
            }
        }
        Err(Refused::Busy)
    }

    /// Keeps the text of the policy in force for the next start.
    async fn keep(&self) {
        let Some(kept) = self.kept.clone() else { return };
        let (text, path) = (self.in_force.text.clone(), kept.path());
        let written = spawn_blocking(move || kept.write(&text)).await;
        let written = written.unwrap_or_else(|panicked| Err(std::io::Error::other(panicked)));
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "last good policy not kept");
        }
    }

    fn publish(&self) -> Arc<Status> {
        let status = Arc::new(Status {
            generation: self.generation,
            digest: digest(self.in_force.text.as_bytes()),
            path: self.path.clone(),
            source: self.in_force.source,
            loaded: self.in_force.loaded,
            confirm_until: self.pending.as_ref().map(|it| it.until),
            failure: self.failure.clone(),
        });
        self.handle.metrics().policy_in_force(&status.facts());
        self.status.send_replace(Arc::clone(&status));
        status
    }

    /// Whether the process ends, or is about to leave its place to another one.
    pub(super) fn is_leaving(&self) -> bool {
        self.ending.cause().is_some() || self.ending.is_handing_over()
    }

    /// When the policy in force is rolled back.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.pending.as_ref().map(|it| it.until)
    }

    /// How often the file is looked at; never while a policy waits for its confirmation.
    pub(super) fn watches_every(&self) -> Option<Duration> {
        let is_free = self.pending.is_none() && self.path.is_some();
        self.in_force.policy.watch.filter(|_| is_free)
    }
}

/// Another division into partitions has to be told from the one before by every balancer, and once it
/// is written nobody can go back to the one before.
fn may_divide(old: &Policy, new: &Policy, options: &Options) -> Result<(), &'static str> {
    let (Some(old), Some(new)) = (&old.ownership, &new.ownership) else { return Ok(()) };
    let is_another = old.digest() != new.digest();
    if is_another && new.version <= old.version {
        return Err(
            "the partitions are divided otherwise: raise `ownership.version`, here and on \
                    every other balancer",
        );
    }
    if new.version < old.version {
        return Err("`ownership.version` only grows: other balancers go by the greatest");
    }
    if new.version != old.version && options.confirm_within.is_some() {
        return Err("another `ownership.version` is written into the store, and cannot be rolled \
                    back: reload without `--confirm-within`");
    }
    Ok(())
}
