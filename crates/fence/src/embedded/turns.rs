//! Turns: two processes that both write for a while let each other go first.
//!
//! SQLite's own way to wait is to try again after a sleep, and whoever has just committed is back
//! before the other one wakes up: with two busy processes one of them waits for half a second and
//! more. So a writer queues here first. Whoever holds the queue is next, and keeps it until its
//! turn has come; the one that has just written finds the queue taken, and so comes after.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// The two locks of a store.
#[derive(Debug)]
pub(super) struct Turns {
    queue: File,
    turn: File,
}

/// The turn of this process, until it is dropped.
pub(super) struct Turn<'t>(&'t File);

impl Turns {
    /// Opens the locks in the directory of a store.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let open = |name| File::options().create(true).append(true).open(directory.join(name));
        Ok(Self { queue: open("queue")?, turn: open("turn")? })
    }

    /// Waits for the turn of this process, however long the other one takes. Without a turn,
    /// SQLite's own lock is still there.
    pub(super) fn wait(&self) -> io::Result<Turn<'_>> {
        self.queue.lock()?;
        let turn = self.turn.lock().map(|()| Turn(&self.turn));
        self.queue.unlock()?;
        turn
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // It is also let go of when the process ends.
        self.0.unlock().ok();
    }
}
