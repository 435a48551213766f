//! The embedded store: one SQLite file on this machine, durable, and shared by the two processes
//! that live during an upgrade.
//!
//! One thread writes. It takes whatever waits for it, up to [`writer::BATCH_MAX`] operations, and
//! commits all of it at once: a commit waits for the disk, and many wait for it together. Nothing
//! on the path of a request touches the file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_core::Moment;
use tidegate_core::fence::family::{self, FamilyKey, Kin};
use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::proof::NonDelivery;
use tidegate_core::fence::record::{Answer, Doubt, Incarnation, Owner, Record};
use tidegate_core::fence::retention::Retention;
use tidegate_core::fence::rules::{
    self, Change, Claimed, Reasserted, Resolution, Resolved, Settled, Terms,
};
use tokio::sync::{mpsc, oneshot};

use crate::store::{Audit, AuditLine, Failure, Filter, Gauges, Maintained};

mod lives;
mod owning;
mod rows;
mod schema;
mod turns;
mod writer;

use lives::Lives;
use rows::Rows;
use writer::{Asked, Job};

/// Most operations that wait for the writer. Beyond, claims are refused, and outcomes wait.
const WAITING_MAX: usize = 8192;
/// Part of the room that is kept for outcomes: with less than this left, no key is new.
const ROOM_KEPT_PERCENT: u64 = 5;
/// Most records that one round of maintenance forgets, so that nobody waits for long.
const FORGOTTEN_AT_ONCE: u32 = 512;

/// Where the file is, and what it may become.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file. Its directory must exist, on a local disk.
    pub path: PathBuf,
    /// Bytes that it may take; no key is new beyond, and none is forgotten early.
    pub bytes_max: u64,
    /// How long a record in doubt is kept whose process has ended.
    pub retention: Retention,
    /// What time it is.
    pub clock: fn() -> Moment,
    /// Who this process is.
    pub incarnation: Incarnation,
}

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite says so.
    #[error("open {}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The file is another program's.
    #[error("{} is no fence of tidegate's", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file is of a later version of tidegate.
    #[error("{} is written in version {found}, and {known} is the last one known", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The version of SQLite is one that may damage a file that two processes write to.
    #[error("SQLite {found} is wanted to be at least 3.51.3")]
    OldSqlite {
        /// What it is.
        found: &'static str,
    },
    /// The file that shows that this process is alive cannot be made.
    #[error("show in {} that this process is alive", path.display())]
    Lives {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The writer's thread cannot be started.
    #[error("start the writer of the fence")]
    Thread(#[source] std::io::Error),
}

/// The store. Dropping it ends the writer once it has done what waits for it.
#[derive(Debug)]
pub struct Embedded {
    jobs: mpsc::Sender<Box<dyn Job>>,
    retention: Retention,
    lives: Arc<Lives>,
    is_full: Arc<AtomicBool>,
}

impl Embedded {
    /// Opens the file, or makes it. Claims of processes that have ended are in doubt afterwards;
    /// those of one that lives are not.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        let lives = Lives::enter(&settings.path, settings.incarnation)?;
        let turns = lives.turns()?;
        let connection = schema::open(settings, &lives, &turns)?;
        let (jobs, arriving) = mpsc::channel(WAITING_MAX);
        let embedded = Self {
            jobs,
            retention: settings.retention,
            lives: Arc::new(lives),
            is_full: Arc::new(AtomicBool::new(false)),
        };
        writer::start(connection, arriving, turns, settings.clock).map_err(OpenError::Thread)?;
        Ok(embedded)
    }

    pub(crate) async fn claim(&self, key: FenceKey, terms: &Terms) -> Result<Claimed, Failure> {
        let (terms, is_full) = (terms.clone(), Arc::clone(&self.is_full));
        let work = move |rows: &mut Rows<'_>| {
            if is_full.load(Ordering::Relaxed) && rows.get(key)?.is_none() {
                return Ok(Err(Failure::Full));
            }
            rows.claim(key, &terms).map(Ok)
        };
        let (job, told) = Asked::while_wanted(work);
        self.jobs.try_send(job).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Failure::Crowded,
            mpsc::error::TrySendError::Closed(_) => Failure::Unreachable,
        })?;
        told.await.map_err(unreachable)?
    }

    pub(crate) async fn renew(&self, key: FenceKey, terms: &Terms) -> Result<bool, Failure> {
        let terms = terms.clone();
        self.change(key, move |held, now| rules::renew(held, &terms, now)).await
    }

    pub(crate) async fn complete(
        &self,
        key: FenceKey,
        terms: &Terms,
        answer: &Answer,
    ) -> Result<Settled, Failure> {
        let (terms, answer) = (terms.clone(), answer.clone());
        self.change(key, move |held, now| rules::complete(held, &terms, &answer, now)).await
    }

    pub(crate) async fn doubt(
        &self,
        key: FenceKey,
        terms: &Terms,
        doubt: Doubt,
    ) -> Result<Settled, Failure> {
        let terms = terms.clone();
        self.change(key, move |held, now| rules::doubt(held, &terms, doubt, now)).await
    }

    pub(crate) async fn release(
        &self,
        key: FenceKey,
        owner: Owner,
        proof: NonDelivery,
    ) -> Result<bool, Failure> {
        self.change(key, move |held, _| rules::release(held, owner, proof)).await
    }

    pub(crate) async fn reassert(
        &self,
        key: FenceKey,
        record: &Record,
    ) -> Result<Reasserted, Failure> {
        let record = record.clone();
        self.change(key, move |held, _| rules::reassert(held, &record)).await
    }

    /// Answers that are written down.
    pub(crate) async fn completed(&self, limit: u32) -> Result<Vec<(FenceKey, Record)>, Failure> {
        self.ask(move |rows| rows.completed(limit)).await
    }

    /// Forgets the record of an owner, which is kept elsewhere now.
    pub(crate) async fn forget_of(&self, key: FenceKey, owner: Owner) -> Result<(), Failure> {
        let rule = move |held: Option<&Record>, _| match held {
            Some(held) if held.owner == owner => ((), Change::Remove),
            Some(_) | None => ((), Change::Keep),
        };
        self.change(key, rule).await
    }

    pub(crate) async fn look(&self, key: FenceKey) -> Result<Option<Record>, Failure> {
        self.ask(move |rows| rows.get(key)).await
    }

    pub(crate) async fn resolve(
        &self,
        key: FenceKey,
        resolution: Resolution,
        retention: Retention,
        audit: Audit,
    ) -> Result<Resolved, Failure> {
        let lives = Arc::clone(&self.lives);
        self.ask(move |rows| {
            // The store knows who is dead, and nobody has to be believed.
            let owner_is_dead = lives.is_dead(resolution.owner.incarnation);
            let resolution = Resolution { owner_is_dead, ..resolution };
            let resolved =
                rows.change(key, |held, now| rules::resolve(held, &resolution, &retention, now))?;
            if resolved == Resolved::Stored {
                rows.write_audit(key, &resolution, &audit)?;
            }
            Ok(resolved)
        })
        .await
    }

    pub(crate) async fn audit(&self, limit: u32) -> Result<Vec<AuditLine>, Failure> {
        self.ask(move |rows| rows.read_audit(limit)).await
    }

    pub(crate) async fn family(
        &self,
        family: FamilyKey,
        key: FenceKey,
        retention: Retention,
    ) -> Result<Kin, Failure> {
        self.ask(move |rows| {
            // As long as the longest record of its first event may be kept.
            let expires = rows.now().plus(retention.in_doubt());
            let (kin, changed) = family::meet(rows.get_family(family)?, key, expires);
            if let Some(changed) = changed {
                rows.put_family(family, &changed)?;
            }
            Ok(kin)
        })
        .await
    }

    pub(crate) async fn list(
        &self,
        filter: Filter,
        limit: u32,
    ) -> Result<Vec<(FenceKey, Record)>, Failure> {
        self.ask(move |rows| rows.list(filter, limit)).await
    }

    pub(crate) async fn gauges(&self) -> Result<Gauges, Failure> {
        self.ask(|rows| rows.gauges()).await
    }

    pub(crate) async fn maintain(&self, is_window_open: bool) -> Result<Maintained, Failure> {
        let (lives, is_full) = (Arc::clone(&self.lives), Arc::clone(&self.is_full));
        let retention = self.retention;
        self.ask(move |rows| {
            let doubted = rows.doubt_the_dead(&lives, &retention)?;
            rows.set_window_open(is_window_open);
            let (forgotten, unsafely) =
                if is_window_open { (0, 0) } else { rows.forget(FORGOTTEN_AT_ONCE)? };
            let room = rows.room()?;
            let is_short = room.bytes_max * (100 - ROOM_KEPT_PERCENT) / 100 <= room.bytes;
            is_full.store(room.bytes_max != 0 && is_short, Ordering::Relaxed);
            let has_more = forgotten == u64::from(FORGOTTEN_AT_ONCE);
            Ok(Maintained { forgotten, unsafely, doubted, has_more })
        })
        .await
    }

    /// Runs one rule on one record.
    async fn change<T: Send + 'static>(
        &self,
        key: FenceKey,
        rule: impl FnOnce(Option<&Record>, Moment) -> (T, Change) + Send + 'static,
    ) -> Result<T, Failure> {
        self.ask(move |rows| rows.change(key, rule)).await
    }

    /// Waits for room in the queue: an outcome is worth waiting for.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Rows<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let (job, told) = Asked::always(work);
        self.jobs.send(job).await.map_err(unreachable)?;
        told.await.map_err(unreachable)
    }
}

/// The writer has ended, or its commit has failed: nobody knows what is on the disk.
fn unreachable<E>(_lost: E) -> Failure {
    Failure::Unreachable
}

/// Kept apart from the queue, so that a type with a name stands in signatures.
type Told<T> = oneshot::Receiver<T>;
