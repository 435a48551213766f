//! The thread that writes: it takes what waits for it, and commits all of it at once.

use std::thread;

use rusqlite::{Connection, TransactionBehavior};
use tidegate_core::Moment;
use tokio::sync::{mpsc, oneshot};

use super::Told;
use super::rows::Rows;
use super::turns::Turns;

/// Most operations that share a commit.
pub(super) const BATCH_MAX: usize = 128;

/// One operation.
pub(super) trait Job: Send {
    /// Does it, inside the transaction.
    fn run(&mut self, rows: &mut Rows<'_>) -> rusqlite::Result<()>;

    /// Tells whoever asked, after the commit.
    fn tell(self: Box<Self>);
}

/// Work, and who waits for what comes of it. Without a commit nobody is told anything, and whoever
/// waits finds out by that.
pub(super) struct Asked<T, W> {
    work: Option<W>,
    outcome: Option<T>,
    told: oneshot::Sender<T>,
    is_for_the_asker_only: bool,
}

impl<T, W> Asked<T, W>
where
    T: Send + 'static,
    W: FnOnce(&mut Rows<'_>) -> rusqlite::Result<T> + Send + 'static,
{
    /// It is done whether or not anybody still waits for it.
    pub(super) fn always(work: W) -> (Box<dyn Job>, Told<T>) {
        Self::ask(work, false)
    }

    /// It is not even begun when nobody waits for it any more.
    pub(super) fn while_wanted(work: W) -> (Box<dyn Job>, Told<T>) {
        Self::ask(work, true)
    }

    fn ask(work: W, is_for_the_asker_only: bool) -> (Box<dyn Job>, Told<T>) {
        let (told, waiting) = oneshot::channel();
        let asked = Self { work: Some(work), outcome: None, told, is_for_the_asker_only };
        (Box::new(asked), waiting)
    }
}

impl<T, W> Job for Asked<T, W>
where
    T: Send,
    W: FnOnce(&mut Rows<'_>) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, rows: &mut Rows<'_>) -> rusqlite::Result<()> {
        let is_wanted = !self.is_for_the_asker_only || !self.told.is_closed();
        if let Some(work) = self.work.take_if(|_| is_wanted) {
            self.outcome = Some(work(rows)?);
        }
        Ok(())
    }

    fn tell(self: Box<Self>) {
        if let Some(outcome) = self.outcome {
            // Whoever has gone away since left a release behind.
            self.told.send(outcome).ok();
        }
    }
}

/// Starts the thread. It ends when nobody can ask it any more.
pub(super) fn start(
    connection: Connection,
    arriving: mpsc::Receiver<Box<dyn Job>>,
    turns: Turns,
    clock: fn() -> Moment,
) -> std::io::Result<()> {
    let work = move || write(connection, arriving, &turns, clock);
    thread::Builder::new().name("fence".to_owned()).spawn(work).map(drop)
}

fn write(
    mut connection: Connection,
    mut arriving: mpsc::Receiver<Box<dyn Job>>,
    turns: &Turns,
    clock: fn() -> Moment,
) {
    let mut batch: Vec<Box<dyn Job>> = Vec::with_capacity(BATCH_MAX);
    let mut is_window_open = false;
    while 0 < arriving.blocking_recv_many(&mut batch, BATCH_MAX) {
        let turn = turns.wait();
        let committed = commit(&mut connection, &mut batch, clock, &mut is_window_open);
        drop(turn);
        match committed {
            Ok(()) => batch.drain(..).for_each(Job::tell),
            Err(error) => {
                tracing::warn!(%error, operations = batch.len(), "a commit of the fence has failed");
                // Nobody is told, and everybody finds out by that.
                batch.clear();
            }
        }
    }
}

fn commit(
    connection: &mut Connection,
    batch: &mut [Box<dyn Job>],
    clock: fn() -> Moment,
    is_window_open: &mut bool,
) -> rusqlite::Result<()> {
    // What is read here is written here: nobody may write in between.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Nobody else writes from here on, so times follow each other as commits do.
    let mut rows = Rows::new(&transaction, clock(), *is_window_open);
    for job in batch {
        job.run(&mut rows)?;
    }
    let is_open = rows.is_window_open();
    transaction.commit()?;
    *is_window_open = is_open;
    Ok(())
}
