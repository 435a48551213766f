//! How many new keys one principal may make, so that nobody fills the store for all.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tidegate_core::Moment;

/// Most principals that are told apart; those beyond share one allowance.
const PRINCIPALS_MAX: usize = 65_536;

/// An allowance of new keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// New keys that are allowed in a second, on average.
    pub per_second: u32,
    /// New keys that are allowed at once.
    pub burst: u32,
}

/// Whose allowance a claim is charged to: a digest of the principal, or of the client's address
/// where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Principal(pub u64);

/// An allowance, and whose it is. It comes with every write, because another policy may give another
/// one while what is left of it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// How large the allowance is.
    pub quota: Quota,
    /// Whose it is.
    pub whose: Principal,
}

/// What is left of each allowance.
#[derive(Debug, Default)]
pub(crate) struct Quotas(Mutex<HashMap<Option<Principal>, Bucket>>);

/// Thousandths of keys: what a millisecond fills in is seldom a whole one.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    thousandths: u64,
    filled: Moment,
}

impl Quotas {
    /// Charges a new key. `false` when the allowance is used up.
    pub(crate) fn charge(&self, charge: Charge, now: Moment) -> bool {
        self.with(charge, now, |bucket| {
            let left = bucket.thousandths.checked_sub(1000);
            bucket.thousandths = left.unwrap_or(bucket.thousandths);
            left.is_some()
        })
    }

    /// Gives a charge back: the key was not new.
    pub(crate) fn refund(&self, charge: Charge, now: Moment) {
        self.with(charge, now, |bucket| {
            bucket.thousandths = full(charge.quota).min(bucket.thousandths.saturating_add(1000));
        });
    }

    fn with<T>(
        &self,
        Charge { quota, whose }: Charge,
        now: Moment,
        change: impl FnOnce(&mut Bucket) -> T,
    ) -> T {
        // Held for a few instructions, and never while anything is waited for.
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut whose = Some(whose);
        if PRINCIPALS_MAX <= buckets.len() && !buckets.contains_key(&whose) {
            buckets.retain(|_, bucket| filled(*bucket, quota, now) < full(quota));
            whose = whose.filter(|_| buckets.len() < PRINCIPALS_MAX);
        }
        let fresh = Bucket { thousandths: full(quota), filled: now };
        let bucket = buckets.entry(whose).or_insert(fresh);
        bucket.thousandths = filled(*bucket, quota, now);
        bucket.filled = bucket.filled.max(now);
        change(bucket)
    }
}

fn full(quota: Quota) -> u64 {
    u64::from(quota.burst) * 1000
}

fn filled(bucket: Bucket, quota: Quota, now: Moment) -> u64 {
    let passed: Duration = now.since(bucket.filled);
    let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
    let more = millis.saturating_mul(quota.per_second.into());
    full(quota).min(bucket.thousandths.saturating_add(more))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_used_up_and_fills_again() {
        let quota = Quota { per_second: 2, burst: 3 };
        let quotas = Quotas::default();
        let of = |whose| Charge { quota, whose: Principal(whose) };
        let charge = |whose, at| quotas.charge(of(whose), Moment(at));
        assert_eq!([1, 1, 1, 1].map(|whose| charge(whose, 0)), [true, true, true, false]);
        assert!(charge(2, 0), "another one has its own");
        assert!(!charge(1, 499) && charge(1, 500) && !charge(1, 501));
        quotas.refund(of(1), Moment(501));
        assert!(charge(1, 501));
        assert_eq!(
            [0; 4].map(|_| charge(1, 100_000)),
            [true, true, true, false],
            "no more than full"
        );
    }

    #[test]
    fn a_flood_of_principals_takes_no_more_room() {
        let quota = Quota { per_second: 1, burst: 1 };
        let quotas = Quotas::default();
        let of = |whose| Charge { quota, whose: Principal(whose) };
        let charge = |whose, at| quotas.charge(of(whose), Moment(at));
        for whose in 0..u64::try_from(PRINCIPALS_MAX).unwrap() {
            assert!(charge(whose, 0));
        }
        assert!(charge(u64::MAX, 0) && !charge(u64::MAX - 1, 0), "those beyond share one");
        assert!(charge(u64::MAX - 2, 2000), "whoever has all of theirs is forgotten");
        assert!(quotas.0.lock().unwrap().len() < 3);
    }

    #[test]
    fn another_allowance_holds_from_the_next_key_on() {
        let quotas = Quotas::default();
        let charge = |burst, at| {
            let quota = Quota { per_second: 1, burst };
            quotas.charge(Charge { quota, whose: Principal(1) }, Moment(at))
        };
        assert!(charge(10, 0));
        assert_eq!([2; 3].map(|burst| charge(burst, 0)), [true, true, false], "a smaller one");
        assert_eq!([10; 2].map(|burst| charge(burst, 1000)), [true, false], "it fills no faster");
        assert!(charge(10, 5000));
    }
}
