//! Who is alive: each process holds a locked file beside the store for as long as it lives.
//!
//! The system lets go of the lock when the process ends, however it ends. So the second process of
//! an upgrade leaves the claims of the first one alone, and a restart after a crash finds nobody.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use tidegate_core::fence::record::Incarnation;

use super::OpenError;
use super::turns::Turns;

/// The files of all processes, and the lock of this one.
#[derive(Debug)]
pub(super) struct Lives {
    directory: PathBuf,
    own: Incarnation,
    /// Locked until it is dropped.
    _lock: File,
}

impl Lives {
    /// Shows that this process is alive.
    pub(super) fn enter(store: &Path, own: Incarnation) -> Result<Self, OpenError> {
        let mut directory = store.as_os_str().to_owned();
        directory.push(".lives");
        let directory = PathBuf::from(directory);
        let says = |source| OpenError::Lives { path: directory.clone(), source };
        let lock = lock(&directory, own).map_err(says)?;
        Ok(Self { directory, own, _lock: lock })
    }

    /// The turns of the processes that share the store.
    pub(super) fn turns(&self) -> Result<Turns, OpenError> {
        let says = |source| OpenError::Lives { path: self.directory.clone(), source };
        Turns::open(&self.directory).map_err(says)
    }

    /// Whether a process has ended. One without a file has: it makes the file before its first
    /// claim.
    pub(super) fn is_dead(&self, incarnation: Incarnation) -> bool {
        if incarnation == self.own {
            return false;
        }
        match File::open(self.directory.join(incarnation.to_string())) {
            Ok(file) => is_free(&file),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Removes the files of processes that have ended. To be called when none of their claims is
    /// in flight any more.
    pub(super) fn bury(&self) {
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let who = name.to_str().filter(|it| it.len() == 16);
            let who = who.and_then(|it| u64::from_str_radix(it, 16).ok()).map(Incarnation);
            if who.is_some_and(|it| self.is_dead(it)) {
                // If somebody else was faster, it is gone.
                fs::remove_file(entry.path()).ok();
            }
        }
    }
}

impl Drop for Lives {
    fn drop(&mut self) {
        // A file that stays is nobody's, and is removed by the next process.
        fs::remove_file(self.directory.join(self.own.to_string())).ok();
    }
}

/// Makes the file under another name first: nobody may see it before it is locked.
fn lock(directory: &Path, own: Incarnation) -> io::Result<File> {
    fs::create_dir_all(directory)?;
    let hidden = directory.join(format!(".{own}"));
    let file = File::create(&hidden)?;
    file.try_lock().map_err(io::Error::from)?;
    fs::rename(&hidden, directory.join(own.to_string()))?;
    Ok(file)
}

/// Whether nobody holds the lock. If that cannot be known, somebody does.
fn is_free(file: &File) -> bool {
    match file.try_lock_shared() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use tidegate_harness::TempDir;

    use super::*;

    #[test]
    fn a_process_is_alive_until_it_ends() {
        let directory = TempDir::new();
        let store = directory.path().join("fence.db");
        let enter = |number| Lives::enter(&store, Incarnation(number)).expect("a directory");
        let (first, second) = (enter(1), enter(2));
        assert!(!first.is_dead(Incarnation(2)) && !second.is_dead(Incarnation(1)));
        assert!(!first.is_dead(Incarnation(1)), "its own life is known");
        assert!(first.is_dead(Incarnation(3)), "who has no file made no claim since");
        first.bury();
        assert!(!first.is_dead(Incarnation(2)), "the living are not buried");
        drop(second);
        assert!(first.is_dead(Incarnation(2)));
        // A crash leaves the file behind, and nobody who holds it.
        let left = directory.path().join("fence.db.lives").join(Incarnation(4).to_string());
        fs::write(&left, "").expect("a file");
        assert!(first.is_dead(Incarnation(4)));
        first.bury();
        assert!(!left.exists());
    }
}
