//! The fence of this process: the store that the policy names, and the thread that keeps it in
//! order until nothing is left to be written down.

use std::error::Error;
use std::io;
use std::iter;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidegate_control::clock;
use tidegate_core::fence::record::Incarnation;
use tidegate_core::policy::Policy;
use tidegate_core::policy::fencing::{FenceRules, FenceStore};
use tidegate_fence::embedded::{Embedded, Settings};
use tidegate_fence::fence::{HandedOver, Keeper};
use tidegate_fence::redis::{self, Redis};
use tidegate_fence::store::Store;
use tidegate_fence::{Fence, Limits};
use tidegate_proxy::Fences;
use tokio::runtime;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use crate::say::Trouble;

pub(crate) mod desk;
pub(crate) mod evidence;
mod text;
pub(crate) mod verbs;

/// Bytes that an embedded store may take on the disk. With less than a twentieth of it left, no key
/// is new.
const STORE_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;

/// How long a Redis keeps records after their end: a failover window may be open for so long.
const REDIS_GRACE: Duration = Duration::from_hours(24);

/// How often a file that stands in for a store hands over what it knows.
const HAND_OVER_EVERY: Duration = Duration::from_secs(1);

/// Keeps a fence in order for as long as it is held.
#[derive(Debug)]
pub(crate) struct Keeping {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Opens the fence that a policy names, which from then on knows when a failover window is open;
/// `None` when the policy names none.
pub(crate) fn open(
    policy: &Policy,
    window: &watch::Receiver<bool>,
) -> Result<Option<(Fences, Vec<Keeping>)>, Trouble> {
    let Some(rules) = &policy.fence else { return Ok(None) };
    let of_store = |store: &FenceStore, shared: Option<&Fence>| -> Result<_, Trouble> {
        let incarnation = Fence::incarnation();
        let store = open_store(store, rules, incarnation)?;
        let (fence, keeper) = Fence::new(store, incarnation, Limits::default(), clock::now);
        let keeping = Keeping::begin(fence.clone(), keeper, window.clone(), shared.cloned());
        Ok((fence, keeping.map_err(|error| Trouble::doing("keep the fence")(&error))?))
    };
    let (fence, keeping) = of_store(&rules.store, None)?;
    let local = rules.local.clone();
    let local = local.map(|path| of_store(&FenceStore::Embedded { path }, Some(&fence)));
    let (local, of_local) = local.transpose()?.unzip();
    Ok(Some((Fences { fence, local }, iter::once(keeping).chain(of_local).collect())))
}

fn open_store(
    store: &FenceStore,
    rules: &FenceRules,
    incarnation: Incarnation,
) -> Result<Store, Trouble> {
    match store {
        FenceStore::Embedded { path } => {
            let settings = Settings {
                path: path.clone(),
                bytes_max: STORE_BYTES_MAX,
                retention: rules.retention,
                clock: clock::now,
                incarnation,
            };
            let opened = Embedded::open(&settings);
            Ok(Store::Embedded(opened.map_err(|error| not_opened(&error))?))
        }
        FenceStore::Redis(redis) => {
            let settings = redis::Settings {
                rules: redis.clone(),
                call: Limits::default().call,
                grace: REDIS_GRACE,
                clock: clock::now,
            };
            Ok(Store::Redis(Redis::open(&settings).map_err(|error| not_opened(&error))?))
        }
    }
}

fn not_opened(error: &dyn Error) -> Trouble {
    let told = match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    Trouble::Doing("open the fence", told)
}

impl Keeping {
    /// The thread has a runtime of its own: what is left behind when the others have ended is what
    /// has to be written down.
    ///
    /// A file that stands in for a store hands over to it what it knows.
    fn begin(
        fence: Fence,
        keeper: Keeper,
        window: watch::Receiver<bool>,
        shared: Option<Fence>,
    ) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let handing_over = hand_over(fence.clone(), shared);
        let following = follow(fence, window);
        // Whoever holds the other end of `stopped` either says so or is gone.
        let until = async {
            tokio::select! {
                _ = stopped => {}
                () = following => {}
                () = handing_over => {}
            }
        };
        let work = move || runtime.block_on(keeper.run(until));
        let thread = thread::Builder::new().name("fence-keeper".to_owned()).spawn(work)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

/// Tells a fence when a failover window opens and closes, for ever.
async fn follow(fence: Fence, mut window: watch::Receiver<bool>) {
    loop {
        fence.set_window_open(*window.borrow_and_update());
        if window.changed().await.is_err() {
            // Whoever told is gone, and so is everything else soon.
            return std::future::pending().await;
        }
    }
}

/// Hands over, again and again, what was claimed on this node while the store was away.
async fn hand_over(local: Fence, shared: Option<Fence>) {
    let Some(shared) = shared else { return std::future::pending().await };
    loop {
        match local.hand_over(&shared).await {
            Ok(HandedOver { has_more: true, .. }) => continue,
            Ok(HandedOver { records: 0, .. }) => {}
            Ok(HandedOver { records, escapes, .. }) => {
                tracing::info!(records, escapes, "writes of this node are known to the store");
            }
            Err(failure) => tracing::debug!(%failure, "nothing is handed over now"),
        }
        sleep(HAND_OVER_EVERY).await;
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the keeper of the fence has panicked");
        }
    }
}
