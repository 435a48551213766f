//! What became of the streams of a crowd.

use std::fmt;
use std::time::Duration;

use super::stream::{Kind, Protocol};

/// Names of streams that a report prints at the most.
const NAMED_MAX: usize = 20;

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every byte arrived as it was sent, and the end was the one that was asked for.
    Whole,
    /// It never began, and why.
    Refused(String),
    /// It ended early, or not at all, and how.
    Cut(String),
    /// It brought other bytes than were sent, and where.
    Altered(String),
}

/// One stream that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its number.
    pub nth: usize,
    /// What it was.
    pub kind: Kind,
    /// What its client spoke.
    pub protocol: Protocol,
    /// How long it lasted.
    pub age: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// All streams of a crowd that have ended.
#[derive(Clone, Debug, Default)]
pub struct CrowdReport {
    /// In the order in which they ended.
    pub streams: Vec<Ended>,
}

impl CrowdReport {
    /// The streams that were not whole.
    pub fn broken(&self) -> Vec<&Ended> {
        self.streams.iter().filter(|it| it.outcome != Outcome::Whole).collect()
    }

    /// How many streams never began, were cut, and were altered.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count =
            |test: fn(&Outcome) -> bool| self.streams.iter().filter(|it| test(&it.outcome)).count();
        (
            count(|it| matches!(it, Outcome::Refused(_))),
            count(|it| matches!(it, Outcome::Cut(_))),
            count(|it| matches!(it, Outcome::Altered(_))),
        )
    }

    /// Panics with the names of all streams that were not whole, if there are any, or if there
    /// were not so many.
    #[track_caller]
    pub fn assert_whole(&self, streams: usize) {
        assert!(self.broken().is_empty() && self.streams.len() == streams, "{self}");
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nth, kind, protocol, age, outcome } = self;
        write!(f, "stream {nth}, {kind:?} over {protocol:?}, {} ms: ", age.as_millis())?;
        match outcome {
            Outcome::Whole => f.write_str("whole"),
            Outcome::Refused(why) => write!(f, "refused: {why}"),
            Outcome::Cut(why) => write!(f, "cut: {why}"),
            Outcome::Altered(why) => write!(f, "altered: {why}"),
        }
    }
}

/// How many, and the first of those that were not whole.
impl fmt::Display for CrowdReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (refused, cut, altered) = self.counts();
        let all = self.streams.len();
        write!(f, "{all} streams ended: {refused} refused, {cut} cut, {altered} altered")?;
        let broken = self.broken();
        for ended in broken.iter().take(NAMED_MAX) {
            write!(f, "\n  {ended}")?;
        }
        match broken.len().saturating_sub(NAMED_MAX) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}
