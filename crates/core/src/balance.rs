//! Which endpoint of the chosen region: the arithmetic, without the counters and without dice.

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

#[cfg(test)]
mod tests {
    use super::*;

    fn load(open: u64, peak_us: u64, share: u32) -> Load {
        Load { open, peak_us, share }
    }

    #[test]
    fn turns_follow_the_weights_and_are_spread() {
        assert_eq!(turns(&[500, 100, 100]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(turns(&[100, 100]), [0, 1]);
        assert_eq!(turns(&[0, 300]), [1]);
        assert!(turns(&[]).is_empty() && turns(&[0]).is_empty());
    }

    #[test]
    fn a_table_of_turns_never_grows_beyond_its_bound() {
        let shares: Vec<u32> = (1..=1024).map(|it| it * 7 + 25_000).collect();
        let table = turns(&shares);
        assert!(table.len() <= TURNS_MAX + shares.len());
        let all_have_turns = (0..1024_u16).all(|place| table.contains(&place));
        assert!(all_have_turns);
    }

    #[test]
    fn rounded_weights_keep_their_proportions_and_everybody_keeps_a_turn() {
        let table = turns(&[1, 8191]);
        assert_eq!(table.len(), TURNS_MAX);
        assert_eq!(table.iter().filter(|place| **place == 0).count(), 1);
        let table = turns(&[30_001, 10_000, 1, 0]);
        let count = |place| table.iter().filter(|it| **it == place).count();
        assert_eq!([count(0), count(1), count(2), count(3)], [3071, 1023, 1, 0]);
    }

    #[test]
    fn every_pair_is_drawn_about_as_often() {
        let mut counts = [[0_u32; 4]; 4];
        let mut random = 1_u64;
        for _ in 0..12_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (first, second) = two_of(4, random ^ (random >> 29)).unwrap();
            counts[first][second] += 1;
        }
        for (first, second) in (0..4).flat_map(|it| (0..4).map(move |other| (it, other))) {
            let count = counts[first][second];
            let is_even = if first == second { count == 0 } else { (800..1200).contains(&count) };
            assert!(is_even, "{counts:?}");
        }
    }

    #[test]
    fn two_draws_differ_whenever_they_can() {
        assert_eq!(two_of(0, 7), None);
        assert_eq!(two_of(1, 7), Some((0, 0)));
        for random in 0..10_000_u64 {
            let (first, second) = two_of(5, random.wrapping_mul(0x9E37_79B9_7F4A_7C15)).unwrap();
            assert!(first != second && first < 5 && second < 5);
        }
    }

    #[test]
    fn room_counts_per_share() {
        assert!(is_busier(load(3, 0, 100), load(2, 0, 100)));
        assert!(!is_busier(load(3, 0, 200), load(2, 0, 100)));
        assert!(!is_busier(load(0, 0, 100), load(0, 0, 300)));
        assert!(!is_busier(load(1, 0, 100), load(2, 0, 200)));
        assert!(is_busier(load(1, 0, 100), load(1, 0, 300)));
        assert!(is_busier(load(u64::MAX, 0, 1), load(1, 0, 256)));
        assert!(is_slower(load(0, 9_000, 100), load(1, 1_000, 100)));
        assert!(!is_slower(load(0, 1_000, 100), load(1, 1_000, 100)));
        assert!(!is_slower(load(1, 1_000, 100), load(1, 1_000, 100)));
        assert!(is_slower(load(2, 1_000, 100), load(1, 1_400, 100)));
        // Nothing known is the least there is, and open requests still count.
        assert!(is_slower(load(0, 5, 100), load(0, 0, 100)));
        assert!(is_slower(load(1, 0, 100), load(0, 0, 100)));
    }

    #[test]
    fn the_bound_of_a_hash_follows_the_mean() {
        assert!(is_within_bound(load(0, 0, 100), 0, 300, 125));
        assert!(is_within_bound(load(3, 0, 100), 10, 300, 125));
        assert!(!is_within_bound(load(4, 0, 100), 10, 300, 125));
        // Four of twelve, with this one, at a bound of exactly the mean.
        assert!(is_within_bound(load(3, 0, 100), 11, 300, 100));
        assert!(!is_within_bound(load(3, 0, 100), 10, 300, 100));
        assert!(is_within_bound(load(0, 0, 1), 0, 1_000, 101));
        assert!(!is_within_bound(load(1, 0, 1), 1, 1_000, 101));
    }

    #[test]
    fn a_peak_rises_at_once_and_falls_with_time() {
        assert_eq!(peak(1_000, 5_000, 1, 10_000_000), 5_000);
        assert_eq!(peak(5_000, 1_000, 0, 10_000_000), 5_000);
        assert_eq!(peak(5_000, 1_000, 10_000_000, 10_000_000), 3_000);
    }
}
