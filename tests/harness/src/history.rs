//! Judges what happened to writes: what clients were told beside what endpoints really did.
//!
//! Nothing here sends or waits. Every time is counted from the beginning of the history.

pub(crate) mod bound;
pub(crate) mod counts;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use self::counts::Counts;

/// SHA-256 of something.
pub type Digest = [u8; 32];

/// What an answer is told apart by.
pub fn digest_of_answer(status: u16, body: &[u8]) -> Digest {
    let mut digest = Sha256::new();
    digest.update(status.to_be_bytes());
    digest.update(body);
    digest.finalize().into()
}

/// Which write is meant: a key means nothing outside its scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteName {
    /// Who writes, and where: tenant, principal, route.
    pub scope: String,
    /// The key that the client chose.
    pub key: String,
}

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// An answer that claims to be the endpoint's.
    Answer {
        /// Its status.
        status: u16,
        /// It says of itself that it was given before.
        replayed: bool,
        /// Of its status and body, by [`digest_of_answer`].
        digest: Digest,
    },
    /// The write was executed, but its answer cannot be shown.
    Executed,
    /// The key was used for another payload.
    Mismatch,
    /// The write is under way.
    InFlight,
    /// Nobody knows whether the write was executed.
    InDoubt,
    /// The write was not sent anywhere.
    Refused,
    /// Something went wrong on the way, and no word about the write.
    Failed,
    /// Nothing: the connection ended, or no answer came in time.
    Nothing,
}

/// One try of a client to have a write carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// No other attempt has it. Endpoints are sent it too.
    pub id: u64,
    /// The write.
    pub name: WriteName,
    /// Of what the client wants to be written.
    pub payload: Digest,
    /// When the client began to send.
    pub start: Duration,
    /// When the client was told, or gave up.
    pub end: Duration,
    /// What the client was told.
    pub told: Told,
}

/// A line of an endpoint's book, written before the endpoint answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// The write.
    pub name: WriteName,
    /// The attempt that got through.
    pub attempt: u64,
    /// When it was carried out.
    pub at: Duration,
    /// The method of the request.
    pub method: String,
    /// The epoch that was stamped on the request.
    pub epoch: Option<u64>,
    /// Of the status and body that the endpoint was about to answer. No two lines share it.
    pub answer: Digest,
}

/// Something that was broken on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// When it began.
    pub from: Duration,
    /// When its effects were over.
    pub to: Duration,
    /// The attempt that it was done to, or all that ran.
    pub of: Option<u64>,
    /// In words.
    pub what: String,
}

/// All that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// What clients tried.
    pub attempts: Vec<Attempt>,
    /// What endpoints did.
    pub executions: Vec<Execution>,
    /// What was broken on purpose.
    pub troubles: Vec<Trouble>,
}

/// What must hold for every write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A write is executed at most once.
    AtMostOnce,
    /// A write that was reported as done was executed.
    DoneIsDone,
    /// A write that was refused was not executed by that attempt.
    RefusedIsNotDone,
    /// A replay is, byte for byte, what the endpoint answered.
    ReplayIsTheAnswer,
    /// Nobody sees an answer that belongs to another scope.
    ScopesAreApart,
    /// Another payload under a used key is told so, and nothing else is.
    MismatchIsMismatch,
    /// Doubt has a reason.
    DoubtHasAReason,
    /// What was reported as done stays done.
    DoneStaysDone,
    /// The epochs of what is executed never go back.
    EpochsGrow,
    /// Everything that was executed was asked for.
    NothingFromNowhere,
}

/// A rule that does not hold, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The rule.
    pub rule: Rule,
    /// The write.
    pub name: WriteName,
    /// What was seen.
    pub seen: String,
}

/// What a history comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Every rule that does not hold, in the order of the writes.
    pub breaches: Vec<Breach>,
    /// How often what happened.
    pub counts: Counts,
}

/// All that happened to one write, in the order of time.
struct Story<'h> {
    name: &'h WriteName,
    attempts: Vec<&'h Attempt>,
    lines: Vec<&'h Execution>,
}

impl History {
    /// Looks at every write.
    pub fn judge(&self) -> Judgement {
        let stories = self.stories();
        let mut breaches: Vec<_> =
            stories.iter().flat_map(|story| rules::broken_by(self, story)).collect();
        breaches.extend(rules::epochs(self));
        Judgement { counts: Counts::of(self, &stories), breaches }
    }

    fn stories(&self) -> Vec<Story<'_>> {
        let mut attempts: BTreeMap<&WriteName, Vec<&Attempt>> = BTreeMap::new();
        for attempt in &self.attempts {
            attempts.entry(&attempt.name).or_default().push(attempt);
        }
        let mut lines: BTreeMap<&WriteName, Vec<&Execution>> = BTreeMap::new();
        for line in &self.executions {
            lines.entry(&line.name).or_default().push(line);
        }
        let names: BTreeSet<_> = attempts.keys().chain(lines.keys()).copied().collect();
        let story = |name| {
            let mut attempts = attempts.remove(name).unwrap_or_default();
            let mut lines = lines.remove(name).unwrap_or_default();
            attempts.sort_by_key(|it| (it.start, it.id));
            lines.sort_by_key(|it| it.at);
            Story { name, attempts, lines }
        };
        names.into_iter().map(story).collect()
    }

    /// Whether something was broken between two times, for everybody or for one of these attempts.
    fn had_trouble(&self, from: Duration, to: Duration, of: &[&Attempt]) -> bool {
        self.troubles.iter().any(|it| match it.of {
            Some(id) => of.iter().any(|attempt| attempt.id == id),
            None => it.from <= to && from <= it.to,
        })
    }
}

impl Judgement {
    /// How often a rule does not hold.
    pub fn broken(&self, rule: Rule) -> usize {
        self.breaches.iter().filter(|it| it.rule == rule).count()
    }

    /// The names of the columns of [`Judgement::row`].
    pub const HEAD: &str = "                 in front of the endpoints | writes | duplicates | \
                            executed | at most (95 %) | in doubt of 10 000 | other breaches";

    /// A line of a table.
    pub fn row(&self, name: &str) -> String {
        let counts = &self.counts;
        let other = self.breaches.len() - self.broken(Rule::AtMostOnce);
        format!(
            "{name:>42} | {:>6} | {:>10} | {:>8} | {:>12.3} % | {:>18.0} | {other:>14}",
            counts.writes,
            counts.presented,
            counts.executed,
            counts.duplicates_at_most() * 100.0,
            counts.in_doubt_per_10_000(),
        )
    }

    /// Panics with the first breaches if there are any.
    #[track_caller]
    pub fn assert_flawless(&self) {
        let shown: Vec<_> = self.breaches.iter().take(20).map(ToString::to_string).collect();
        let count = self.breaches.len();
        assert!(shown.is_empty(), "{count} breaches:\n{}\n{}", shown.join("\n"), self.counts);
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, name, seen } = self;
        write!(f, "{rule:?}: {} of {}: {seen}", name.key, name.scope)
    }
}

impl Told {
    /// An answer of the endpoint that reports success.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Answer { status, .. } if *status < 400)
    }

    /// Whoever was told this may rely on the write.
    pub fn is_done(&self) -> bool {
        self.is_success() || *self == Self::Executed
    }
}
