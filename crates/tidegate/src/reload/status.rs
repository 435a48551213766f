//! The policy in force, as operators see it.

use std::path::PathBuf;

use serde_json::{Value as Json, json};
use tidegate_control::metrics::{PolicyFacts, ReloadResult};
use tidegate_core::Moment;
use tidegate_proxy::access::Rfc3339;

/// Digits of a digest that are shown; enough to tell texts apart, short enough to be read.
const DIGEST_DIGITS: usize = 16;

/// Where the policy in force comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Its file.
    File,
    /// The last good text: at the start its file did not load.
    LastGood,
    /// It was in force before one that was rolled back.
    RolledBack,
    /// This program.
    BuiltIn,
}

impl Source {
    fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::LastGood => "last_good",
            Self::RolledBack => "rolled_back",
            Self::BuiltIn => "built_in",
        }
    }
}

/// An attempt that changed nothing.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) at: Moment,
    pub(super) result: ReloadResult,
    pub(super) report: String,
}

/// The policy in force, and what became of the last attempt to put another one in force.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(super) generation: u64,
    pub(super) digest: String,
    pub(super) path: Option<PathBuf>,
    pub(super) source: Source,
    pub(super) loaded: Moment,
    pub(super) confirm_until: Option<Moment>,
    pub(super) failure: Option<Failure>,
}

impl Status {
    /// Whether the policy is rolled back unless it is confirmed.
    pub(crate) fn is_pending(&self) -> bool {
        self.confirm_until.is_some()
    }

    /// How many policies were in force in this process, the present one included.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The beginning of the digest of its text.
    pub(super) fn short_digest(&self) -> &str {
        self.digest.get(..DIGEST_DIGITS).unwrap_or(&self.digest)
    }

    /// The same for metrics.
    pub(super) fn facts(&self) -> PolicyFacts<'_> {
        PolicyFacts {
            generation: self.generation,
            digest: self.short_digest(),
            loaded: self.loaded,
            is_last_read: self.failure.is_none() && self.source != Source::RolledBack,
            confirm_until: self.confirm_until,
        }
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Json {
        let date = |it: Moment| Rfc3339(it).to_string();
        let failure = self.failure.as_ref().map(
            |it| json!({ "at": date(it.at), "result": it.result.word(), "report": it.report }),
        );
        json!({
            "generation": self.generation,
            "digest": self.short_digest(),
            "path": self.path,
            "source": self.source.word(),
            "loaded": date(self.loaded),
            "confirm_until": self.confirm_until.map(date),
            "failure": failure,
        })
    }
}
