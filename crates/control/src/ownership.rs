//! Keeps what this balancer knows of ownership: renews its lease in the store, learns of changes, and
//! makes those that the operator wants.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tidegate_core::board::{Event, Ownership};
use tidegate_core::id::Epoch;
use tidegate_core::ownership::{
    Layout, Move, MoveError, Next, Owned, Seen, Steward, Swapped, Table,
};
use tidegate_core::policy::Policy;
use tidegate_fence::Fence;
use tidegate_fence::store::Failure;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::clock;
use crate::handle::{Handle, Message};
use crate::metrics::ownership::OwnershipMetrics;

/// Renewals in the time of a lease, so that one that fails leaves many that need not.
const RENEWALS: u32 = 10;
/// Time to the next renewal after one that failed, and while others are waited for.
const IN_TROUBLE: Duration = Duration::from_millis(200);
/// The same when there is more to say at once.
const AT_ONCE: Duration = Duration::from_millis(2);
/// How often is looked whether another policy has taken force.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Most wishes of operators that wait.
const WISHES_MAX: usize = 16;
/// How often a change is tried again that somebody else was faster with.
const SWAPS_MAX: u32 = 8;

/// A change that an operator wants, and who waits for it.
type Wish = (Move, oneshot::Sender<Result<Table, NotMoved>>);

/// Why an owner was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMoved {
    /// There is nothing to change.
    #[error(transparent)]
    Wrong(#[from] MoveError),
    /// The store has not changed it, or is not known to have.
    #[error("the store does not change it: {0}")]
    Store(#[from] Failure),
    /// Others change it all the time, or nobody keeps ownership here.
    #[error("it cannot be changed now")]
    Busy,
}

/// What is known of ownership, for people.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// The table; `None` before the store has told of one.
    pub table: Option<Table>,
    /// The partitions as this balancer knows them.
    pub owned: Vec<Owned>,
    /// How many balancers act on any change, as the store has told last.
    pub balancers: u32,
    /// Why the last renewal failed, if it did.
    pub failure: Option<Failure>,
}

/// Where operators ask for ownership.
#[derive(Clone, Debug)]
pub struct Owners {
    wishes: mpsc::Sender<Wish>,
    picture: watch::Receiver<Arc<Picture>>,
}

impl Owners {
    /// What is known.
    pub fn picture(&self) -> Arc<Picture> {
        Arc::clone(&self.picture.borrow())
    }

    /// Changes who owns something. It is written to again once every balancer has heard of it.
    ///
    /// # Errors
    /// Why nothing is changed, or why that is not known.
    pub async fn change(&self, wish: Move) -> Result<Table, NotMoved> {
        let (told, answer) = oneshot::channel();
        self.wishes.try_send((wish, told)).map_err(|_full| NotMoved::Busy)?;
        answer.await.unwrap_or(Err(NotMoved::Busy))
    }
}

/// Keeps ownership, as a background service of the server. It runs until its runtime is dropped:
/// while requests are being finished, their writes are still owned.
#[derive(Debug)]
pub struct OwnershipKeeper(Mutex<Option<Keeping>>);

#[derive(Debug)]
struct Keeping {
    handle: Handle,
    fence: Fence,
    wishes: mpsc::Receiver<Wish>,
    picture: watch::Sender<Arc<Picture>>,
    metrics: OwnershipMetrics,
    /// What the board was told last.
    told: Ownership,
    was_well: bool,
}

impl OwnershipKeeper {
    /// Who keeps ownership in the store of a fence, and where to ask for it.
    pub fn new(handle: Handle, fence: Fence) -> (Self, Owners) {
        let (sender, wishes) = mpsc::channel(WISHES_MAX);
        let (painter, picture) = watch::channel(Arc::default());
        let metrics = handle.metrics().ownership();
        let keeping = Keeping {
            handle,
            fence,
            wishes,
            picture: painter,
            metrics,
            told: Ownership::default(),
            was_well: true,
        };
        (Self(Mutex::new(Some(keeping))), Owners { wishes: sender, picture })
    }
}

#[async_trait]
impl BackgroundService for OwnershipKeeper {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let keeping = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeping) = keeping {
            Box::pin(keeping.run()).await;
        }
    }
}

impl Keeping {
    async fn run(mut self) {
        let mut policy = self.policy();
        let mut steward: Option<Steward> = None;
        loop {
            steward = laid_out(steward, &policy);
            let Some(steward) = &mut steward else {
                self.publish(None, &policy).await;
                self.picture.send_replace(Arc::default());
                self.wait(LOOK_EVERY * 4, &policy, None).await;
                policy = self.policy();
                continue;
            };
            // Another policy may divide otherwise, and nothing of that may be permitted for a moment.
            self.publish(Some(steward), &policy).await;
            let pause = self.renew(steward, &policy).await;
            self.wait(pause, &policy, Some(steward)).await;
            policy = self.policy();
        }
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.handle.world().snapshot.policy)
    }

    /// Renews once. Answers how long to wait for the next time.
    async fn renew(&mut self, steward: &mut Steward, policy: &Arc<Policy>) -> Duration {
        let asked = steward.ask(clock::now());
        let seen = match self.fence.hold(asked).await {
            Ok(seen) => seen,
            Err(failure) => {
                self.failed(steward, failure);
                return IN_TROUBLE;
            }
        };
        let (epoch, balancers) = (seen.epoch, seen.balancers);
        let next = steward.heard(asked, clock::now(), seen);
        self.publish(Some(steward), policy).await;
        self.renewed(steward, (epoch, balancers));
        match next {
            Next::Rest if steward.is_settled() => asked.lease / RENEWALS,
            Next::Rest => IN_TROUBLE.min(asked.lease / RENEWALS),
            Next::Again => AT_ONCE,
            Next::Swap(expected, table) => {
                match self.fence.swap(expected, &table).await {
                    Ok(Swapped::Stored) => {
                        tracing::info!(epoch = %table.epoch, "ownership is written");
                    }
                    // Somebody else was faster, and is heard of next.
                    Ok(Swapped::Other(_)) => {}
                    Err(failure) => {
                        self.failed(steward, failure);
                        return IN_TROUBLE;
                    }
                }
                AT_ONCE
            }
        }
    }

    fn renewed(&mut self, steward: &Steward, (epoch, balancers): (Epoch, u32)) {
        self.metrics.renewed(true);
        self.metrics.show(epoch, balancers, &steward.owned());
        if !std::mem::replace(&mut self.was_well, true) {
            tracing::info!(%epoch, "the store tells of ownership again");
        }
        let (table, owned) = (steward.table().cloned(), steward.owned());
        self.picture.send_replace(Arc::new(Picture { table, owned, balancers, failure: None }));
    }

    fn failed(&mut self, steward: &Steward, failure: Failure) {
        self.metrics.renewed(false);
        if std::mem::replace(&mut self.was_well, false) {
            let left = steward.until().since(clock::now());
            tracing::warn!(%failure, ?left, "the lease of ownership is not renewed");
        }
        let before = Arc::clone(&self.picture.borrow());
        let picture = Picture { failure: Some(failure), ..Picture::clone(&before) };
        self.picture.send_replace(Arc::new(picture));
    }

    /// Lets requests know, and then the board, if anything has changed.
    async fn publish(&mut self, steward: Option<&Steward>, policy: &Policy) {
        let owned = steward.map(Steward::owned).unwrap_or_default();
        let until = steward.map(Steward::until).unwrap_or_default();
        // First: whoever asks after this writes nothing that has changed.
        self.handle.permits().grant(&owned, until);
        let layout = policy.ownership.as_ref().map_or((0, 0), |it| (it.version, it.digest()));
        let next = Ownership { layout, owned };
        if self.told == next {
            return;
        }
        for (before, after) in changed(&self.told, &next) {
            tracing::info!(
                partition = &*after.partition,
                region = &*after.region,
                epoch = %after.epoch,
                standing = after.standing.word(),
                before = before.map_or("-", |it| &*it.region),
                "ownership turned"
            );
        }
        self.told = next.clone();
        // A controller that has ended needs to know nothing.
        self.handle.deliver(Message::of(Event::Owned(next))).await.ok();
    }

    /// Waits for the next time, and not when another policy takes force or somebody wants a change.
    async fn wait(&mut self, pause: Duration, policy: &Arc<Policy>, steward: Option<&Steward>) {
        let until = Instant::now() + pause;
        loop {
            let look = until.min(Instant::now() + LOOK_EVERY);
            tokio::select! {
                Some((wish, told)) = self.wishes.recv() => {
                    let moved = match steward {
                        Some(steward) => self.change(steward, &wish).await,
                        None => Err(MoveError::Unknown.into()),
                    };
                    // Who asked may have gone.
                    told.send(moved).ok();
                    return;
                }
                () = sleep_until(look) => {}
            }
            let is_another = !Arc::ptr_eq(policy, &self.policy());
            if is_another || until <= Instant::now() {
                return;
            }
        }
    }

    /// Makes a change that an operator wants.
    async fn change(&self, steward: &Steward, wish: &Move) -> Result<Table, NotMoved> {
        let mut table = steward.table().cloned().ok_or(MoveError::Unknown)?;
        for _ in 0..SWAPS_MAX {
            let moved = table.moved(wish, clock::now())?;
            match self.fence.swap(table.epoch, &moved).await? {
                Swapped::Stored => {
                    let (by, reason, to) = (&*wish.by, &*wish.reason, &*wish.to);
                    tracing::warn!(by, reason, to, epoch = %moved.epoch, "ownership is moved");
                    self.metrics.changed();
                    return Ok(moved);
                }
                Swapped::Other(_) => {
                    sleep(AT_ONCE).await;
                    // Whoever acts on nothing is told of everything.
                    let asked = Steward::new(Layout::default(), Duration::ZERO).ask(clock::now());
                    let Seen { table: newer, .. } = self.fence.hold(asked).await?;
                    table = newer.ok_or(MoveError::Unknown)?;
                }
            }
        }
        Err(NotMoved::Busy)
    }
}

/// The steward under a policy; `None` if nobody owns anything there.
fn laid_out(steward: Option<Steward>, policy: &Policy) -> Option<Steward> {
    let layout = Layout::of(policy)?;
    let lease = policy.ownership.as_ref()?.lease;
    Some(match steward {
        Some(mut steward) => {
            steward.lay_out(layout, lease);
            steward
        }
        None => Steward::new(layout, lease),
    })
}

/// The partitions of which something else is known, with what was known before.
fn changed<'o>(
    before: &'o Ownership,
    after: &'o Ownership,
) -> impl Iterator<Item = (Option<&'o Owned>, &'o Owned)> {
    let known = |it: &Owned| before.owned.iter().find(|other| other.partition == it.partition);
    let news = after.owned.iter().map(move |it| (known(it), it));
    news.filter(|(before, after)| before.is_none_or(|it| it != *after))
}
