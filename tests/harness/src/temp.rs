//! A directory that disappears with its owner.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A fresh directory below the system's temporary one. Dropping it removes it with its content.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// Makes the directory. Panics if that is not possible.
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let nth = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("tidegate-{}-{nth}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Self { path },
                // A killed process with the same id may have left its directories behind.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("make {}: {error}", path.display()),
            }
        }
    }

    /// Where the directory is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file into the directory and answers its path.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, content).expect("a file in our own directory can be written");
        path
    }
}

impl Default for TempDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What cannot be removed is litter, not a failed test.
        fs::remove_dir_all(&self.path).ok();
    }
}
