//! How long a key is remembered, counted from the last change of its record.

use std::time::Duration;

use super::record::State;
use crate::moment::Moment;

/// What is added to the failover window: a day in which late retries still meet their record.
pub const AFTER_WINDOW: Duration = Duration::from_hours(24);
/// How long a record in doubt is kept at least: somebody has to look at it.
pub const IN_DOUBT_MIN: Duration = Duration::from_hours(7 * 24);

/// A retention that would forget a write while its retries may still come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a retention of at least {} s is wanted: the failover window and 24 h", floor.as_secs())]
pub struct TooShort {
    /// The shortest one.
    pub floor: Duration,
}

/// How long records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Retention {
    /// After the answer.
    completed: Duration,
    /// While nobody knows the outcome.
    in_doubt: Duration,
}

impl Retention {
    /// Nothing is ever forgotten.
    pub const LONGEST: Self = Self { completed: Duration::MAX, in_doubt: Duration::MAX };

    /// The shortest retention that a failover window allows.
    pub fn floor(window: Duration) -> Duration {
        window.saturating_add(AFTER_WINDOW)
    }

    /// The retention of a route, with what its policy says and the floor where it says nothing.
    ///
    /// # Errors
    /// Either time is below its floor.
    pub fn new(
        window: Duration,
        completed: Option<Duration>,
        in_doubt: Option<Duration>,
    ) -> Result<Self, TooShort> {
        let floor = Self::floor(window);
        let completed = completed.unwrap_or(floor);
        if completed < floor {
            return Err(TooShort { floor });
        }
        let floor = completed.max(IN_DOUBT_MIN);
        let in_doubt = in_doubt.unwrap_or(floor);
        if in_doubt < floor {
            return Err(TooShort { floor });
        }
        Ok(Self { completed, in_doubt })
    }

    /// Any two times, for tests that cannot wait for a day.
    pub fn unchecked(completed: Duration, in_doubt: Duration) -> Self {
        Self { completed, in_doubt }
    }

    /// How long an answer is kept.
    pub fn completed(&self) -> Duration {
        self.completed
    }

    /// How long a doubt is kept, and an open claim after the end of its lease, which is one.
    pub fn in_doubt(&self) -> Duration {
        self.in_doubt
    }

    /// When a record is forgotten that came into this state now, with this lease.
    pub(super) fn end(&self, state: &State, now: Moment, lease_until: Moment) -> Moment {
        match state {
            State::Completed(_) => now.plus(self.completed),
            State::InFlight | State::InDoubt(_) => now.max(lease_until).plus(self.in_doubt),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn no_policy_forgets_earlier_than_the_window_and_a_day() {
        let new = |completed, in_doubt| Retention::new(HOUR, completed, in_doubt);
        let short = |floor| Err(TooShort { floor });
        assert_eq!(new(None, None), Ok(Retention::unchecked(25 * HOUR, 168 * HOUR)));
        assert_eq!(new(Some(24 * HOUR), None), short(25 * HOUR));
        assert_eq!(new(Some(200 * HOUR), None), Ok(Retention::unchecked(200 * HOUR, 200 * HOUR)));
        assert_eq!(new(None, Some(167 * HOUR)), short(168 * HOUR));
        assert_eq!(new(Some(200 * HOUR), Some(199 * HOUR)), short(200 * HOUR));
        assert_eq!(Retention::floor(Duration::MAX), Duration::MAX);
    }
}
