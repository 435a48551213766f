//! A policy file as it was found: its text, what it means, and every file that it refers to.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tidegate_core::policy::Policy;

use crate::diff::hexadecimal;
use crate::expand::{self, Surroundings};
use crate::flaws::Flaw;
use crate::place::Span;
use crate::report::Report;
use crate::tree::FILE_BYTES_MAX;
use crate::{folder_of, load_in};

/// A policy file as it was found at one moment.
#[derive(Debug)]
pub struct Reading {
    /// The text, with every reference as it is written; empty when the file could not be read.
    pub text: String,
    /// What it means, or everything that is wrong with it.
    pub policy: Result<Policy, Box<Report>>,
    /// What was found where.
    pub seen: Seen,
}

/// Which files were read for a policy, and a digest of what was found in each.
///
/// Files are found by their paths each time, so a symbolic link that is turned to another file is
/// noticed, as is a folder that is swapped below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    policy: Option<(PathBuf, String)>,
    references: BTreeMap<PathBuf, String>,
}

impl Reading {
    /// Reads a policy from a file, with the environment of this process.
    pub fn of(path: &Path) -> Self {
        let name = path.display().to_string();
        match text_of(path, &name) {
            Ok(text) => Self::of_text(path, text),
            Err(policy) => {
                let seen = Seen { policy: Some(print(path)), references: BTreeMap::new() };
                Self { text: String::new(), policy: Err(policy), seen }
            }
        }
    }

    /// Reads a text as if it stood in a file, with the environment of this process.
    pub fn of_text(path: &Path, text: String) -> Self {
        let name = path.display().to_string();
        let surroundings = Surroundings::new(&variable, folder_of(&name));
        let policy = load_in(&name, &text, &surroundings);
        let mut seen = surroundings.into_seen();
        seen.policy = Some((path.to_owned(), digest(text.as_bytes())));
        Self { text, policy, seen }
    }
}

impl Seen {
    /// What is found at the same paths now.
    #[must_use]
    pub fn again(&self) -> Self {
        let reference = |path: &PathBuf| (path.clone(), print_of(&expand::content(path)));
        Self {
            policy: self.policy.as_ref().map(|(path, _)| print(path)),
            references: self.references.keys().map(reference).collect(),
        }
    }

    /// Notes what was found where a reference points.
    pub(crate) fn add(&mut self, path: &Path, content: &Result<String, String>) {
        self.references.insert(path.to_owned(), print_of(content));
    }
}

/// What is found at the path of a policy.
fn print(path: &Path) -> (PathBuf, String) {
    (path.to_owned(), bytes_of(path).map_or_else(|it| it.to_string(), |it| digest(&it)))
}

fn print_of(content: &Result<String, String>) -> String {
    content.as_ref().map_or_else(Clone::clone, |it| digest(it.as_bytes()))
}

/// A digest of bytes: 64 hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

#[expect(clippy::disallowed_methods, reason = "`${NAME}` in a policy is a part of configuration")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What stands in a file, and one byte more than a policy may have at the most.
fn bytes_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a file, within its limits.
fn text_of(path: &Path, name: &str) -> Result<String, Box<Report>> {
    let bytes = bytes_of(path).map_err(|error| {
        Box::new(Report::whole(name, format!("the policy cannot be read: {error}"), None))
    })?;
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("the policy has more than {FILE_BYTES_MAX} bytes");
        return Err(Box::new(Report::whole(name, message, None)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let start = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let flaw = Flaw::somewhere("the policy is not UTF-8 from here on");
        let span = Span { start, len: char::REPLACEMENT_CHARACTER.len_utf8() };
        Box::new(Report::at(name, &text, span, &flaw.help("save it as UTF-8")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_at_a_reference_or_behind_a_link_is_seen() {
        let folder = std::env::temp_dir().join(format!("tidegate-seen-{}", std::process::id()));
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        let link = |to: &str| {
            std::os::unix::fs::symlink(to, folder.join("new")).unwrap();
            std::fs::rename(folder.join("new"), folder.join("policy.yaml")).unwrap();
        };
        std::fs::create_dir_all(&folder).unwrap();
        write("a.yaml", "version: 1\nsite: \"file:site\"\n");
        write("b.yaml", "version: 1\nsite: \"file:site\"\n# another one\n");
        write("site", "here");
        link("a.yaml");
        let reading = Reading::of(&folder.join("policy.yaml"));
        assert!(reading.policy.is_err() && reading.seen.references.len() == 1);
        assert_eq!(reading.seen.again(), reading.seen);
        write("site", "there");
        assert_ne!(reading.seen.again(), reading.seen, "a reference");
        write("site", "here");
        assert_eq!(reading.seen.again(), reading.seen, "as it was");
        link("b.yaml");
        assert_ne!(reading.seen.again(), reading.seen, "a link that was turned");
        std::fs::remove_dir_all(&folder).unwrap();
        let gone = reading.seen.again();
        assert_eq!(gone.again(), gone, "what is not there is seen as well");
        assert!(Reading::of(&folder.join("policy.yaml")).seen.policy == gone.policy);
    }
}
