//! What a count of rare events supports: exact one-sided bounds at 95 %.

const MISSED: f64 = 0.05;

/// The largest share of events that `seen` of `tried` does not rule out at 95 %.
///
/// Clopper and Pearson's bound: the share at which so few would be seen once in twenty times. It
/// is 1 when everything failed, and when nothing was tried.
pub fn share_at_most(seen: u32, tried: u32) -> f64 {
    if tried <= seen {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    // Each step halves what is left; after so many nothing is.
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if likelihood_of_at_most(seen, tried, middle) < MISSED {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// How likely at most `seen` of `tried` are when each happens with this share.
fn likelihood_of_at_most(seen: u32, tried: u32, share: f64) -> f64 {
    let (ln_yes, ln_no) = (share.ln(), (-share).ln_1p());
    let mut ln_ways = 0.0;
    let mut sum = 0.0;
    for count in 0..=seen {
        let (yes, no) = (f64::from(count), f64::from(tried - count));
        sum += (ln_ways + yes * ln_yes + no * ln_no).exp();
        ln_ways += (no / (yes + 1.0)).ln();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seen: u32, tried: u32, expected: f64) {
        let bound = share_at_most(seen, tried);
        assert!((bound - expected).abs() < 1e-6, "{seen} of {tried}: {bound}");
    }

    #[test]
    fn bounds_are_those_of_the_tables() {
        // 1 - 0.05^(1/n)
        check(0, 1, 0.95);
        check(0, 10, 0.258_866);
        // From published tables of exact binomial bounds.
        check(1, 10, 0.394_163);
        check(3, 20, 0.343_664);
        check(5, 5, 1.0);
        check(0, 0, 1.0);
    }

    #[test]
    fn as_many_tries_as_the_design_asks_for_support_its_claim() {
        assert!(0.001 < share_at_most(0, 2994) && share_at_most(0, 2995) <= 0.001);
        assert!(0.000_1 < share_at_most(0, 29_955) && share_at_most(0, 29_956) <= 0.000_1);
    }
}
