//! Where the policy of a process comes from: its file, or the last good text of that file.

use std::path::{Path, PathBuf};

use tidegate_core::policy::Policy;
use tidegate_policy::{Reading, Report, Seen};

use super::kept::Kept;
use super::status::Source;
use crate::say::Trouble;

/// Where the policy of a process comes from.
#[derive(Debug)]
pub(crate) struct Origin {
    /// The file; `None` for a policy that is built in.
    pub(super) path: Option<PathBuf>,
    /// The text of the policy, with its references as they are written.
    pub(super) text: String,
    pub(super) source: Source,
    /// What was found when the file was read.
    pub(super) seen: Seen,
    /// Where the last good text is kept, if anywhere.
    pub(super) kept: Option<Kept>,
    /// What is wrong with the file, if it is not the policy.
    pub(super) failure: Option<Box<Report>>,
}

impl Origin {
    /// A policy that is built in, and cannot be read again.
    pub(crate) fn built_in(text: &str) -> Self {
        Self {
            path: None,
            text: text.to_owned(),
            source: Source::BuiltIn,
            seen: Seen::default(),
            kept: None,
            failure: None,
        }
    }
}

impl Origin {
    /// The same, if the policy is the one in the file.
    ///
    /// # Errors
    /// What is wrong with the file, if an older policy stands for it.
    pub(crate) fn require_file(mut self) -> Result<Self, Box<Report>> {
        self.failure.take().map_or(Ok(self), Err)
    }
}

/// Reads a policy file; if it does not load, takes the last good text of it.
///
/// # Errors
/// The report on the file, if nothing good is kept either.
pub(crate) fn find(path: &Path, state: Option<&Path>) -> Result<(Policy, Origin), Trouble> {
    let kept = state.map(|it| Kept::new(it, path));
    if let Some(kept) = &kept {
        tracing::info!(path = %kept.path().display(), "the last good policy is kept");
    } else {
        tracing::info!("without a state directory no last good policy is kept");
    }
    let Reading { text, policy, seen } = Reading::of(path);
    let path = path.to_owned();
    match policy {
        Ok(policy) => {
            let (path, source) = (Some(path), Source::File);
            Ok((policy, Origin { path, text, source, seen, kept, failure: None }))
        }
        Err(report) => {
            let Some((policy, text)) = kept.as_ref().and_then(|it| last_good(it, &path)) else {
                return Err(report.into());
            };
            let (path, source, failure) = (Some(path), Source::LastGood, Some(report));
            Ok((policy, Origin { path, text, source, seen, kept, failure }))
        }
    }
}

/// The last good policy of a file, if there is one and it is still good.
fn last_good(kept: &Kept, path: &Path) -> Option<(Policy, String)> {
    let text = match kept.read() {
        Ok(text) => text?,
        Err(error) => {
            tracing::error!(path = %kept.path().display(), %error, "last good policy not read");
            return None;
        }
    };
    let reading = Reading::of_text(path, text);
    match reading.policy {
        Ok(policy) => Some((policy, reading.text)),
        Err(report) => {
            let report = report.to_string().replace('\n', "; ");
            tracing::error!(path = %kept.path().display(), report, "last good policy not good");
            None
        }
    }
}
