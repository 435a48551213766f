//! How often what happened in a history.

use std::collections::BTreeMap;
use std::fmt;

use super::bound::share_at_most;
use super::{History, Story, Told};

/// How often what happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Writes, each with one or more attempts.
    pub writes: u32,
    /// Attempts of clients.
    pub attempts: u32,
    /// Attempts that came after another one of the same write.
    pub presented: u32,
    /// Executions beyond the first of each write.
    pub executed: u32,
    /// Writes of which a client was told that nobody knows whether they were executed.
    pub in_doubt: u32,
    /// Writes of which some client was told that they are done.
    pub done: u32,
    /// Attempts by what they were told.
    pub told: BTreeMap<&'static str, u32>,
}

impl Counts {
    pub(super) fn of(history: &History, stories: &[Story<'_>]) -> Self {
        let mut counts = Self { writes: number(stories.len()), ..Self::default() };
        counts.attempts = number(history.attempts.len());
        for attempt in &history.attempts {
            *counts.told.entry(word(attempt.told)).or_default() += 1;
        }
        for story in stories {
            counts.presented += number(story.attempts.len().saturating_sub(1));
            counts.executed += number(story.lines.len().saturating_sub(1));
            let told = |test: &dyn Fn(&Told) -> bool| {
                u32::from(story.attempts.iter().any(|it| test(&it.told)))
            };
            counts.in_doubt += told(&|it| *it == Told::InDoubt);
            counts.done += told(&Told::is_done);
        }
        counts
    }

    /// The largest share of duplicates that may be executed, at 95 %.
    pub fn duplicates_at_most(&self) -> f64 {
        share_at_most(self.executed, self.presented)
    }

    /// Of 10 000 writes, so many were in doubt.
    pub fn in_doubt_per_10_000(&self) -> f64 {
        if self.writes == 0 {
            return 0.0;
        }
        f64::from(self.in_doubt) * 10_000.0 / f64::from(self.writes)
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn word(told: Told) -> &'static str {
    match told {
        Told::Answer { replayed: true, .. } => "replayed",
        Told::Answer { .. } => "answered",
        Told::Executed => "executed",
        Told::Mismatch => "mismatch",
        Told::InFlight => "in_flight",
        Told::InDoubt => "in_doubt",
        Told::Refused => "refused",
        Told::Failed => "failed",
        Told::Nothing => "nothing",
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} writes, {} duplicates presented, {} executed (at most {:.3} % at 95 %), \
             {:.0} in doubt per 10 000; told: {:?}",
            self.writes,
            self.presented,
            self.executed,
            self.duplicates_at_most() * 100.0,
            self.in_doubt_per_10_000(),
            self.told,
        )
    }
}
