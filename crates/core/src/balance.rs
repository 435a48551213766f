//! Which endpoint of the chosen region: the arithmetic, without the counters and without dice.

#[cfg(test)]
mod tests;

/// Longest table of turns; a region whose weights need a longer one gets rounded weights.
pub const TURNS_MAX: usize = 4096;

/// What an endpoint carries at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Open requests.
    pub open: u64,
    /// Recent peak of its first-byte time, in microseconds; zero when nothing is known.
    pub peak_us: u64,
    /// Its share, as in [`crate::snapshot::Endpoint::share`].
    pub share: u32,
}

/// The order in which endpoints take turns: each as often as its share says, and evenly spread.
///
/// A share of zero gets no turn. The table is as short as the greatest common divisor allows.
pub fn turns(shares: &[u32]) -> Vec<u16> {
    let divisor = shares.iter().copied().fold(0, greatest_common_divisor).max(1);
    let exact: u64 = shares.iter().map(|share| u64::from(share / divisor)).sum();
    let longest = u64::try_from(TURNS_MAX).unwrap_or(u64::MAX);
    let reduced = |share: u32| -> i64 {
        let share = u64::from(share / divisor);
        let fitted =
            if exact <= longest { share } else { (share * longest / exact).max(share.min(1)) };
        i64::try_from(fitted).unwrap_or(i64::MAX)
    };
    let weights: Vec<i64> = shares.iter().map(|share| reduced(*share)).collect();
    let total: i64 = weights.iter().sum();
    let mut credit = vec![0_i64; weights.len()];
    (0..total).filter_map(|_| turn(&weights, &mut credit, total)).collect()
}

/// One round of smooth weighted round robin: everybody earns, the richest pays for the round.
fn turn(weights: &[i64], credit: &mut [i64], total: i64) -> Option<u16> {
    credit.iter_mut().zip(weights).for_each(|(credit, weight)| *credit += weight);
    let earning = credit.iter_mut().enumerate().zip(weights).filter(|(_, weight)| 0 < **weight);
    // The first of equals: `max_by_key` would take the last.
    let ((place, richest), _) = earning.rev().max_by_key(|((_, credit), _)| **credit)?;
    *richest -= total;
    u16::try_from(place).ok()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Two different places among `count`, drawn with one random number; equal when there is only one.
///
/// `None` when there is nothing to draw from.
pub fn two_of(count: usize, random: u64) -> Option<(usize, usize)> {
    let count = u64::try_from(count).ok()?;
    let first = random.checked_rem(count)?;
    let step = (random >> 32).checked_rem(count - 1).map_or(0, |it| it + 1);
    let second = (first + step) % count;
    Some((usize::try_from(first).ok()?, usize::try_from(second).ok()?))
}

/// Whether the first of two drawn endpoints carries more for its share than the second.
///
/// Equals are not busier: the draw, which goes by share, has decided between them.
pub fn is_busier(first: Load, second: Load) -> bool {
    let per_share = |load: Load, other: Load| load.open.saturating_mul(other.share.into());
    per_share(first, second) > per_share(second, first)
}

/// Whether the first of two drawn endpoints promises a longer wait: open requests times recent
/// peak.
pub fn is_slower(first: Load, second: Load) -> bool {
    let wait = |load: Load| (u128::from(load.open) + 1) * u128::from(load.peak_us.max(1));
    wait(first) > wait(second)
}

/// Whether an endpoint may take one more under consistent hashing with a bound.
///
/// The bound is its share of all open requests, this one included, times `bound_percent`; everybody
/// may always have one.
pub fn is_within_bound(load: Load, open_total: u64, share_total: u64, bound_percent: u16) -> bool {
    let allowed = u128::from(open_total + 1) * u128::from(load.share) * u128::from(bound_percent);
    let asked = u128::from(load.open + 1) * u128::from(share_total) * 100;
    load.open == 0 || asked <= allowed
}

/// The new recent peak after one sample: up at once, down by how much time has passed.
pub fn peak(previous_us: u64, sample_us: u64, passed_us: u64, decay_us: u64) -> u64 {
    if previous_us <= sample_us {
        return sample_us;
    }
    let parts = u128::from(passed_us) + u128::from(decay_us.max(1));
    let fall = u128::from(previous_us - sample_us) * u128::from(passed_us) / parts;
    previous_us.saturating_sub(u64::try_from(fall).unwrap_or(u64::MAX))
}
