//! The retry budget: retries in proportion to traffic, so that a dead region cannot double the load
//! of its neighbour.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tidegate_core::Moment;
use tidegate_core::policy::RetryRules;

/// What one retry costs, in hundredths.
const RETRY: i64 = 100;
/// Longest time for which unused budget is kept.
const KEPT_SECONDS: u64 = 10;
/// Most retries that traffic can save up.
const SAVED_MAX: i64 = 1000 * RETRY;

/// The budget of all routes.
#[derive(Debug, Default)]
pub struct Budget {
    hundredths: AtomicI64,
    filled_second: AtomicU64,
}

impl Budget {
    /// A request came in, and pays its share.
    pub fn deposit(&self, rules: &RetryRules) {
        self.hundredths.fetch_add(rules.budget_percent.into(), Ordering::Relaxed);
    }

    /// Takes what one retry costs; answers whether there was enough.
    pub fn withdraw(&self, now: Moment, rules: &RetryRules) -> bool {
        let second = now.0 / 1000;
        let passed = second.saturating_sub(self.filled_second.swap(second, Ordering::Relaxed));
        let seconds = i64::try_from(passed.min(KEPT_SECONDS)).unwrap_or_default();
        let granted = seconds * i64::from(rules.budget_min_per_second) * RETRY;
        let spend = |saved: i64| {
            let saved = saved.saturating_add(granted).clamp(0, SAVED_MAX);
            Some(if saved < RETRY { saved } else { saved - RETRY })
        };
        let before = self.hundredths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
        let before = before.unwrap_or_default();
        before.saturating_add(granted).clamp(0, SAVED_MAX) >= RETRY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn rules(percent: u8, min: u32) -> RetryRules {
        RetryRules {
            attempts_max: 3,
            budget_percent: percent,
            budget_min_per_second: min,
            deadline: Duration::from_secs(10),
        }
    }

    #[test]
    fn retries_follow_traffic() {
        let budget = Budget::default();
        let rules = rules(20, 0);
        assert!(!budget.withdraw(Moment(0), &rules));
        (0..50).for_each(|_| budget.deposit(&rules));
        let allowed = (0..50).filter(|_| budget.withdraw(Moment(0), &rules)).count();
        assert_eq!(allowed, 10);
    }

    #[test]
    fn a_few_a_second_are_always_allowed() {
        let budget = Budget::default();
        let rules = rules(0, 5);
        let in_second = |second: u64| {
            (0..100).filter(|_| budget.withdraw(Moment(second * 1000), &rules)).count()
        };
        assert_eq!(in_second(1), 5);
        assert_eq!(in_second(2), 5);
        assert_eq!(in_second(3600), 50);
    }
}
