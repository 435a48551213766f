//! The last good policy: a copy of its text for the next start, if the file does not load then.
//!
//! The text is kept as it is written, with its references: no secret that they name is copied.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tidegate_policy::digest;

/// Where the last good text of one policy file lies.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    folder: PathBuf,
    name: String,
}

impl Kept {
    /// The place for a policy's path in a folder for state. Each path has a place of its own.
    pub(super) fn new(folder: &Path, policy: &Path) -> Self {
        // A link is not followed: the path is what the operator named, whatever it leads to now.
        let path = std::path::absolute(policy).unwrap_or_else(|_| policy.to_owned());
        let digest = digest(path.as_os_str().as_encoded_bytes());
        let short = digest.get(..16).unwrap_or_default();
        Self { folder: folder.to_owned(), name: format!("last-good-{short}.yaml") }
    }

    /// Where it lies.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// The text, if there is one.
    pub(super) fn read(&self) -> io::Result<Option<String>> {
        match fs::read_to_string(self.path()) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps a text in place of the one before: the old one or the new one, never a part.
    pub(super) fn write(&self, text: &str) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let new = self.folder.join(format!(".{}.{}", self.name, std::process::id()));
        let written = write_new(&new, text).and_then(|()| fs::rename(&new, self.path()));
        if written.is_err() {
            // What could not be finished is not left behind; the error that counts is told.
            drop(fs::remove_file(&new));
        }
        written?;
        File::open(&self.folder)?.sync_all()
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    // A process that was killed may have left one behind.
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_text_is_kept_whole_for_its_owner_only_and_for_one_path() {
        let folder = std::env::temp_dir().join(format!("tidegate-kept-{}", std::process::id()));
        let kept = Kept::new(&folder.join("state"), Path::new("/etc/a.yaml"));
        assert_eq!(kept.read().unwrap(), None);
        for text in ["first", "second"] {
            kept.write(text).unwrap();
            assert_eq!(kept.read().unwrap().as_deref(), Some(text));
        }
        let mode = fs::metadata(kept.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = Kept::new(&folder.join("state"), Path::new("/etc/b.yaml"));
        assert_eq!(other.read().unwrap(), None);
        let all = fs::read_dir(folder.join("state")).unwrap().count();
        assert_eq!(all, 1, "nothing is left behind");
        fs::remove_dir_all(&folder).unwrap();
        fs::write(&folder, "a file").unwrap();
        assert!(kept.write("third").is_err());
        fs::remove_file(&folder).unwrap();
    }
}
