//! The store in Redis or Valkey: several balancers remember together, on one server, on a master
//! that Sentinels name, or on a cluster.
//!
//! Each change of a record is one script, so nobody sees half of it, and time is the server's. A claim
//! is delivered once as many replicas have it as the policy wants. A store that may have forgotten
//! something says so by its markers: a bucket without one is cold, and one that has gone back is
//! written again from memory before it takes claims.
//!
//! One thread holds all connections. Whoever asks waits for no longer than [`Settings::call`], and not
//! at all while a server is known to be away.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_core::Moment;
use tidegate_core::policy::fencing::RedisRules;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

use crate::store::{Failure, Finding};
use crate::tally::Count;

mod answer;
mod calls;
mod checks;
mod command;
mod connection;
mod founding;
mod keeping;
mod lane;
mod layout;
mod map;
mod memory;
mod monitor;
mod operations;
mod owning;
mod recovery;
mod scripts;
pub mod stream;
mod tls;
mod topology;
#[cfg(test)]
mod untrusted;

pub use founding::{FoundError, Founded, How};
pub use tls::TlsError;

use connection::Dial;
use layout::Names;
use map::{Common, Map};
use memory::Memory;

/// Where the store is, and what is demanded of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the policy says of it.
    pub rules: RedisRules,
    /// Longest time that an operation waits for an answer.
    pub call: Duration,
    /// How long records stay after their end. A failover window that is open for longer may forget.
    pub grace: Duration,
    /// What time it is.
    pub clock: fn() -> Moment,
}

/// Why there can be no such store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is nobody to ask.
    #[error("at least one server is wanted")]
    NoNodes,
    /// Braces decide in which slot of a cluster a key is.
    #[error("a prefix without braces is wanted, and not empty: {0:?}")]
    Prefix(Arc<str>),
    /// Connections cannot be encrypted.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The thread that holds the connections cannot be started.
    #[error("start the thread of the fence")]
    Thread(#[source] std::io::Error),
}

/// What the store has been through.
#[derive(Debug, Default)]
pub struct RedisTally {
    /// Claims that too few replicas had in time.
    pub uncopied: Count,
    /// How often a server was found to have gone back to an older time.
    pub rollbacks: Count,
    /// Records that were written again because a server had lost them.
    pub reasserted: Count,
    /// Writes whose answer two owners have, as was found when records were written again.
    pub escapes: Count,
}

/// The store. Dropping it closes its connections.
#[derive(Debug)]
pub struct Redis {
    shared: Arc<Shared>,
    /// Dropped, it ends the thread.
    _running: oneshot::Sender<()>,
}

/// What the thread and whoever asks have in common.
#[derive(Debug)]
struct Shared {
    rules: RedisRules,
    names: Names,
    call: Duration,
    grace: Duration,
    clock: fn() -> Moment,
    map: watch::Sender<Arc<Map>>,
    /// Of which the markers are; `None` until they are known.
    generation: watch::Sender<Option<u64>>,
    /// When the store began to remember.
    born: AtomicU64,
    /// The last sequence of each bucket that was seen.
    sequences: Box<[AtomicU64]>,
    memory: Memory,
    is_window_open: AtomicBool,
    findings: Mutex<Vec<Finding>>,
    /// Wakes the monitor.
    poke: Arc<Notify>,
    tally: RedisTally,
    /// Which of the balancers this is, when they take turns.
    id: u64,
}

impl Redis {
    /// Begins to connect. A store that is away is no error: it may come back.
    ///
    /// # Errors
    /// Why no connection can ever be made.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        let Settings { rules, call, grace, clock } = settings;
        if rules.nodes.is_empty() {
            return Err(OpenError::NoNodes);
        }
        if rules.prefix.is_empty() || rules.prefix.contains(['{', '}']) {
            return Err(OpenError::Prefix(Arc::clone(&rules.prefix)));
        }
        let tls = rules.tls.as_ref().map(tls::connector).transpose()?;
        let dial = Dial { user: rules.user.clone(), password: rules.password.clone(), tls };
        let poke = Arc::new(Notify::new());
        let shared = Arc::new(Shared {
            rules: rules.clone(),
            names: Names::new(&rules.prefix),
            call: *call,
            grace: *grace,
            clock: *clock,
            map: watch::Sender::new(Arc::default()),
            generation: watch::Sender::new(None),
            born: AtomicU64::new(0),
            sequences: layout::buckets().map(|_| AtomicU64::new(0)).collect(),
            memory: Memory::default(),
            is_window_open: AtomicBool::new(false),
            findings: Mutex::default(),
            poke: Arc::clone(&poke),
            tally: RedisTally::default(),
            id: founding::draw(),
        });
        let common = Common { dial, wait: rules.wait, silence: *call, poke };
        let (running, over) = oneshot::channel();
        monitor::start(Arc::clone(&shared), common, over).map_err(OpenError::Thread)?;
        Ok(Self { shared, _running: running })
    }

    /// What was found when it was last looked at.
    pub fn findings(&self) -> Vec<Finding> {
        lock(&self.shared.findings).clone()
    }

    /// What the store has been through.
    pub fn tally(&self) -> &RedisTally {
        &self.shared.tally
    }
}

impl Shared {
    /// The generation of the markers, once it is known.
    async fn generation(&self) -> Result<u64, Failure> {
        if let Some(generation) = *self.generation.borrow() {
            return Ok(generation);
        }
        let mut known = self.generation.subscribe();
        let waiting = async {
            loop {
                if let Some(generation) = *known.borrow_and_update() {
                    return Ok(generation);
                }
                if let Some(failure) = self.why_unknown() {
                    return Err(failure);
                }
                // The map has no news for those who wait, so it is looked at now and then.
                timeout(LOOK_EVERY, known.changed()).await.ok();
            }
        };
        // Nothing was sent.
        timeout(self.call, waiting).await.unwrap_or(Err(Failure::Down))
    }

    /// Why the generation will not be known soon.
    fn why_unknown(&self) -> Option<Failure> {
        let map = self.map.borrow();
        let refusing = map.nodes.iter().find_map(|node| match *node.gate.borrow() {
            lane::Gate::Refusing(failure) => Some(failure),
            lane::Gate::Shut | lane::Gate::Open(_) => None,
        });
        refusing.or_else(|| map.nodes.iter().find_map(|node| node.rest.is_up().err()))
    }

    fn seen(&self, bucket: u16) -> u64 {
        let seen = self.sequences.get(usize::from(bucket));
        seen.map_or(0, |seen| seen.load(Ordering::Relaxed))
    }

    fn note(&self, bucket: u16, sequence: u64) {
        if let Some(seen) = self.sequences.get(usize::from(bucket)) {
            seen.fetch_max(sequence, Ordering::Relaxed);
        }
    }

    /// Takes a sequence for the right one, even if it is an older one.
    fn believe(&self, bucket: u16, sequence: u64) {
        if let Some(seen) = self.sequences.get(usize::from(bucket)) {
            seen.store(sequence, Ordering::Relaxed);
        }
    }

    /// Keeps what was found. Whether all is well.
    fn find(&self, findings: Vec<Finding>) -> bool {
        let is_well = findings.iter().all(|it| it.is_ok);
        *lock(&self.findings) = findings;
        is_well
    }
}

/// How often is looked whether the generation is known, when nobody tells.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Held for a few instructions, and never while anything is waited for.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
