//! ΔS: how far a question and what was retrieved for it are apart, as told or as computed.

use super::millionths::Millionths;

/// Longest vector that is compared.
pub const DIMENSIONS_MAX: usize = 8192;

/// How far the largest figure of a formula without bounds, `1 − cos`, can be off by rounding.
const SLACK: f64 = 0.000_001;

/// Why there is no ΔS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoStress {
    /// The figure, or a part of a vector, is not a number.
    #[error("a figure is not a finite number")]
    NotFinite,
    /// The figure is no `1 − cos`, which is between 0 and 2.
    #[error("the figure lies outside of 0 to 2")]
    OutOfRange,
    /// A vector has no parts.
    #[error("a vector is empty")]
    Empty,
    /// The two vectors are of different models, or one is cut off.
    #[error("the vectors have {0} and {1} dimensions")]
    Sizes(usize, usize),
    /// A vector is longer than [`DIMENSIONS_MAX`].
    #[error("a vector has {0} dimensions, more than any that is compared")]
    TooLong(usize),
    /// A vector points nowhere, so it has no angle to the other one.
    #[error("a vector is all zeros")]
    Zero,
}

/// The ΔS that a region tells. What lies above 1 counts as 1.
///
/// # Errors
/// It is not a number, or none that `1 − cos` can be.
pub fn told(figure: f64) -> Result<Millionths, NoStress> {
    let known = Millionths::of(figure).ok_or(NoStress::NotFinite)?;
    if (-SLACK..=2.0 + SLACK).contains(&figure) { Ok(known) } else { Err(NoStress::OutOfRange) }
}

/// The ΔS of two vectors: `1 − cos`, held between 0 and 1. They need not be normalised.
///
/// # Errors
/// A vector is empty, too long, all zeros or not all numbers, or the two differ in size.
pub fn between(question: &[f64], retrieved: &[f64]) -> Result<Millionths, NoStress> {
    if question.is_empty() || retrieved.is_empty() {
        return Err(NoStress::Empty);
    }
    if question.len() != retrieved.len() {
        return Err(NoStress::Sizes(question.len(), retrieved.len()));
    }
    if DIMENSIONS_MAX < question.len() {
        return Err(NoStress::TooLong(question.len()));
    }
    let (question_scale, retrieved_scale) = (largest(question)?, largest(retrieved)?);
    let (mut product, mut of_question, mut of_retrieved) = (0.0, 0.0, 0.0);
    for (a, b) in question.iter().zip(retrieved) {
        // Scaled, or the squares of very large and very small parts would not be numbers.
        let (a, b) = (a / question_scale, b / retrieved_scale);
        product += a * b;
        of_question += a * a;
        of_retrieved += b * b;
    }
    let cosine = product / (of_question.sqrt() * of_retrieved.sqrt());
    Millionths::of(1.0 - cosine).ok_or(NoStress::NotFinite)
}

/// The largest part of a vector, whatever its sign.
fn largest(vector: &[f64]) -> Result<f64, NoStress> {
    if vector.iter().any(|it| !it.is_finite()) {
        return Err(NoStress::NotFinite);
    }
    let largest = vector.iter().fold(0.0_f64, |largest, it| largest.max(it.abs()));
    if largest > 0.0 { Ok(largest) } else { Err(NoStress::Zero) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn figures_that_a_region_tells() {
        assert_eq!(told(0.41), Ok(Millionths::new(410_000)));
        assert_eq!(told(1.4), Ok(Millionths::ONE));
        assert_eq!(told(-0.000_000_1), Ok(Millionths::ZERO));
        assert_eq!(told(f64::NAN), Err(NoStress::NotFinite));
        assert_eq!(told(f64::INFINITY), Err(NoStress::NotFinite));
        assert_eq!(told(-0.2), Err(NoStress::OutOfRange));
        assert_eq!(told(41.0), Err(NoStress::OutOfRange));
    }

    #[test]
    fn vectors_that_cannot_be_compared_say_why() {
        assert_eq!(between(&[], &[]), Err(NoStress::Empty));
        assert_eq!(between(&[1.0], &[]), Err(NoStress::Empty));
        assert_eq!(between(&[1.0, 0.0], &[1.0]), Err(NoStress::Sizes(2, 1)));
        assert_eq!(between(&[0.0, 0.0], &[1.0, 0.0]), Err(NoStress::Zero));
        assert_eq!(between(&[1.0, f64::NAN], &[1.0, 0.0]), Err(NoStress::NotFinite));
        assert_eq!(between(&[1.0, 0.0], &[f64::INFINITY, 0.0]), Err(NoStress::NotFinite));
        let long = vec![1.0; DIMENSIONS_MAX + 1];
        assert_eq!(between(&long, &long), Err(NoStress::TooLong(DIMENSIONS_MAX + 1)));
    }

    #[test]
    fn angles() {
        assert_eq!(between(&[1.0, 0.0], &[3.0, 0.0]), Ok(Millionths::ZERO));
        assert_eq!(between(&[1.0, 0.0], &[0.0, 2.0]), Ok(Millionths::ONE));
        assert_eq!(between(&[1.0, 0.0], &[-1.0, 0.0]), Ok(Millionths::ONE), "2, held at 1");
        assert_eq!(between(&[3.0, 4.0], &[3.0, 0.0]), Ok(Millionths::new(400_000)));
        assert_eq!(between(&[1e300, 0.0], &[1e-300, 0.0]), Ok(Millionths::ZERO));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn neither_order_nor_length_changes_an_angle(
            pairs in prop::collection::vec((-1.0..1.0_f64, -1.0..1.0_f64), 1..32),
            length in 0.001..1000.0_f64,
        ) {
            let (a, b): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let longer: Vec<_> = a.iter().map(|it| it * length).collect();
            let known = between(&a, &b);
            prop_assert_eq!(known, between(&b, &a));
            if let (Ok(known), Ok(scaled)) = (known, between(&longer, &b)) {
                prop_assert!(known.apart(scaled) <= Millionths::new(1));
            }
            if let Ok(own) = between(&a, &a) {
                prop_assert!(own <= Millionths::new(1));
            }
        }

        #[test]
        fn whatever_a_region_sends_is_a_figure_or_an_error(
            a in prop::collection::vec(any::<f64>(), 0..8),
            b in prop::collection::vec(any::<f64>(), 0..8),
        ) {
            between(&a, &b).ok();
            for figure in a {
                told(figure).ok();
            }
        }
    }
}
