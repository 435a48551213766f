//! Figures between 0 and 1 in millionths, so that a limit is met exactly or not at all.

use std::fmt;

/// A share, a similarity or a distance, in millionths; never above [`Millionths::ONE`].
///
/// In doubles 0.44 − 0.41 is 0.030000000000000027, which would be above a limit of 0.03. Figures
/// are rounded when they are read, and from then on there is nothing but whole numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millionths(u32);

/// How many there are in a whole.
const WHOLE: u32 = 1_000_000;

impl Millionths {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The whole.
    pub const ONE: Self = Self(WHOLE);

    /// So many millionths; the whole when there are more.
    pub const fn new(millionths: u32) -> Self {
        Self(if millionths < WHOLE { millionths } else { WHOLE })
    }

    /// The figure, rounded to the nearest millionth and held between 0 and 1; `None` when it is
    /// not a number or has no end.
    pub fn of(figure: f64) -> Option<Self> {
        if !figure.is_finite() {
            return None;
        }
        let scaled = (figure.clamp(0.0, 1.0) * f64::from(WHOLE)).round();
        #[expect(
            clippy::as_conversions,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole and between 0 and a million, and no other way leads out of floats"
        )]
        let millionths = scaled as u32;
        Some(Self::new(millionths))
    }

    /// What share `part` is of `all`, rounded down; the whole of nothing is everything.
    pub fn share(part: usize, all: usize) -> Self {
        let share = part.saturating_mul(1_000_000).checked_div(all);
        share.map_or(Self::ONE, |it| Self::new(u32::try_from(it).unwrap_or(WHOLE)))
    }

    /// How far two figures are apart.
    #[must_use]
    pub fn apart(self, other: Self) -> Self {
        Self(self.0.abs_diff(other.0))
    }

    /// This figure less another one, which may be below zero.
    pub fn minus(self, other: Self) -> i64 {
        i64::from(self.0) - i64::from(other.0)
    }

    /// The figure as a number, for metrics and answers.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }

    /// The middle of some figures, the mean of the two middle ones if they are even in number and
    /// rounded up then; `None` without any.
    pub fn median(mut figures: Vec<Self>) -> Option<Self> {
        figures.sort_unstable();
        let above = figures.get(figures.len() / 2)?;
        let below = figures.get(figures.len().saturating_sub(1) / 2)?;
        Some(Self((above.0 + below.0).div_ceil(2)))
    }

    /// The smallest figure that 95 % of all figures do not exceed; `None` without any.
    pub fn p95(mut figures: Vec<Self>) -> Option<Self> {
        figures.sort_unstable();
        let rank = figures.len().saturating_mul(95).div_ceil(100);
        figures.get(rank.saturating_sub(1)).copied()
    }
}

impl fmt::Display for Millionths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:06}", self.0 % WHOLE);
        let digits = digits.trim_end_matches('0');
        let separator = if digits.is_empty() { "" } else { "." };
        write!(f, "{}{separator}{digits}", self.0 / WHOLE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(figure: f64) -> Millionths {
        Millionths::of(figure).expect("a finite figure")
    }

    #[test]
    fn a_difference_at_the_limit_is_exactly_the_limit() {
        let (live, expected) = (std::hint::black_box(0.44_f64), 0.41);
        assert!(live - expected > 0.03, "which is why doubles are not compared");
        assert_eq!(of(0.44).apart(of(0.41)), of(0.03));
        assert!(of(0.03) < of(0.440_001).apart(of(0.41)));
        assert_eq!(of(0.41).minus(of(0.44)), -30_000);
    }

    #[test]
    fn what_is_no_number_is_no_figure() {
        for figure in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Millionths::of(figure), None);
        }
        assert_eq!((of(-0.5), of(1.5)), (Millionths::ZERO, Millionths::ONE));
        assert_eq!(of(-0.0), Millionths::ZERO);
    }

    #[test]
    fn middles() {
        let figures = |list: &[u32]| list.iter().map(|it| Millionths::new(*it)).collect();
        assert_eq!(Millionths::median(figures(&[])), None);
        assert_eq!(Millionths::median(figures(&[7])), Some(Millionths::new(7)));
        assert_eq!(Millionths::median(figures(&[9, 1, 5])), Some(Millionths::new(5)));
        assert_eq!(Millionths::median(figures(&[1, 2])), Some(Millionths::new(2)));
        let twenty: Vec<u32> = (1..=20).collect();
        assert_eq!(Millionths::p95(figures(&twenty)), Some(Millionths::new(19)));
        assert_eq!(Millionths::p95(figures(&[3])), Some(Millionths::new(3)));
        assert_eq!(Millionths::p95(figures(&[])), None);
    }

    #[test]
    fn figures_are_written_as_people_write_them() {
        let written = [of(0.03), of(0.0), of(1.0), of(0.123_456)].map(|it| it.to_string());
        assert_eq!(written, ["0.03", "0", "1", "0.123456"]);
    }

    #[test]
    fn shares() {
        assert_eq!(Millionths::share(8, 10), of(0.8));
        assert_eq!(Millionths::share(0, 0), Millionths::ONE);
        assert_eq!(Millionths::share(2, 3), Millionths::new(666_666));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn distances_are_symmetric_and_bounded(a in -1.0..2.0_f64, b in -1.0..2.0_f64) {
            prop_assert_eq!(of(a).apart(of(b)), of(b).apart(of(a)));
            prop_assert!(of(a).apart(of(b)) <= Millionths::ONE);
            prop_assert!((of(a).as_f64() - a.clamp(0.0, 1.0)).abs() <= 0.000_000_51);
        }

        #[test]
        fn the_middle_lies_between_the_ends(list in prop::collection::vec(0..=1_000_000_u32, 1..40)) {
            let figures: Vec<_> = list.iter().map(|it| Millionths::new(*it)).collect();
            let (low, high) = (figures.iter().min().copied(), figures.iter().max().copied());
            let median = Millionths::median(figures.clone());
            prop_assert!(low <= median && median <= high);
            prop_assert!(median <= Millionths::p95(figures));
        }
    }
}
