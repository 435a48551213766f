//! How far what one region answers is from what is expected: from another region, or from the set.

use std::collections::HashMap;

use super::lambda::NotConvergent;
use super::millionths::Millionths;
use super::probes::{Measured, Measurement, ProbeSet, jaccard};
use crate::id::Name;

#[cfg(test)]
mod tests;

/// How many differences become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Aggregate {
    /// The largest counts: with one index, one bad question is a bad shard.
    #[default]
    Max,
    /// The middle one within the limit, and 95 % within [`P95_MAX`]: for builds meant to differ.
    MedianP95,
    /// The mean counts.
    Mean,
}

/// What 95 % of the differences may be with [`Aggregate::MedianP95`].
pub const P95_MAX: Millionths = Millionths::new(100_000);

/// What the answers of a region must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Questions that a set has at the least.
    pub questions_min: usize,
    /// How large differences may be.
    pub drift_max: Millionths,
    /// How many become one.
    pub aggregate: Aggregate,
    /// What the middle ΔS may be, whatever the others have.
    pub median_max: Millionths,
    /// The ΔS that no run may reach.
    pub risk: Millionths,
    /// Which share of the runs must find gold.
    pub gold_min: Millionths,
    /// How much a list must have in common with the one that it is compared with.
    pub overlap_min: Millionths,
    /// Which share of the pairs in both lists must stand in the same order.
    pub order_min: Millionths,
    /// Whether seeds that a region ignores are put up with.
    pub seeds_may_be_ignored: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            questions_min: 10,
            drift_max: Millionths::new(30_000),
            aggregate: Aggregate::Max,
            median_max: Millionths::new(450_000),
            risk: Millionths::new(600_000),
            gold_min: Millionths::new(900_000),
            overlap_min: Millionths::new(600_000),
            order_min: Millionths::new(600_000),
            seeds_may_be_ignored: false,
        }
    }
}

/// The differences of all runs, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// The largest.
    pub max: Millionths,
    /// The middle one.
    pub median: Millionths,
    /// What 95 % do not exceed.
    pub p95: Millionths,
    /// The mean size.
    pub mean: Millionths,
    /// The mean with its sign, in millionths: above zero where the region is worse.
    pub signed_mean: i64,
}

/// With what a region is compared.
#[derive(Clone, Copy, Debug)]
pub enum Reference<'r> {
    /// What another region answered, or this one did when all was well.
    Region(&'r Measurement),
    /// The figures that stand in the set.
    Set,
}

/// Why the answers of a region are red.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The set is too small to prove anything.
    #[error("the set has {0} questions, and {1} are wanted")]
    TooFewQuestions(usize, usize),
    /// The reference is of another set, or of none.
    #[error("there is nothing of this probe set to compare with")]
    OtherSet,
    /// The differences are too large.
    #[error("delta_s drifts by {0} on question {1}, and {2} is allowed")]
    Drift(Millionths, Name, Millionths),
    /// The middle ΔS is too large.
    #[error("the median delta_s is {0}, and {1} is allowed")]
    Median(Millionths, Millionths),
    /// A question is at risk.
    #[error("delta_s is {0} on question {1}, and {2} is a risk")]
    Risk(Millionths, Name, Millionths),
    /// λ is not convergent with one of the seeds.
    #[error("lambda does not converge with seed {0}: {1}")]
    Lambda(u64, NotConvergent),
    /// Seeds made no difference, so two of them prove no more than one.
    #[error("{0} of the runs ignored their seed, so the verdict is of a single seed")]
    SeedsIgnored(usize),
    /// Too few runs found gold.
    #[error("{0} of the runs find a gold document, and {1} are wanted; question {2} does not")]
    Gold(Millionths, Millionths, Name),
    /// What was retrieved has too little in common.
    #[error("on question {1}, {0} of the documents are the same, and {2} are wanted")]
    Overlap(Millionths, Name, Millionths),
    /// What was retrieved stands in another order.
    #[error("on question {1}, {0} of the pairs stand in the same order, and {2} are wanted")]
    Order(Millionths, Name, Millionths),
}

impl Fault {
    /// What is red as a stable word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::TooFewQuestions(..) => "too_few_questions",
            Self::OtherSet => "no_reference",
            Self::Drift(..) => "drift",
            Self::Median(..) => "median",
            Self::Risk(..) => "risk",
            Self::Lambda(..) => "lambda",
            Self::SeedsIgnored(_) => "seeds_ignored",
            Self::Gold(..) => "gold",
            Self::Overlap(..) => "overlap",
            Self::Order(..) => "order",
        }
    }
}

/// The differences between what a region answered and the reference; `None` if the two have
/// nothing to do with each other.
pub fn drift(set: &ProbeSet, of: &Measurement, reference: Reference<'_>) -> Option<Drift> {
    let pairs = pairs(set, of, reference)?;
    let sizes: Vec<_> = pairs.iter().map(|(run, expected)| run.stress.apart(*expected)).collect();
    let count = i64::try_from(pairs.len()).ok().filter(|it| *it > 0)?;
    let signed: i64 = pairs.iter().map(|(run, expected)| run.stress.minus(*expected)).sum();
    let total: i64 = sizes.iter().map(|it| it.minus(Millionths::ZERO)).sum();
    // Rounded up, or a mean a little above its limit would pass.
    let mean = u32::try_from((total + count - 1) / count).unwrap_or(u32::MAX);
    Some(Drift {
        max: sizes.iter().max().copied()?,
        median: Millionths::median(sizes.clone())?,
        p95: Millionths::p95(sizes)?,
        mean: Millionths::new(mean),
        signed_mean: signed / count,
    })
}

/// Everything that is red about what a region answered; nothing if it is as it should be.
pub fn judge(
    set: &ProbeSet,
    limits: &Limits,
    of: &Measurement,
    reference: Option<Reference<'_>>,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    if set.questions.len() < limits.questions_min {
        faults.push(Fault::TooFewQuestions(set.questions.len(), limits.questions_min));
    }
    let compared = reference.and_then(|it| Some((it, drift(set, of, it)?)));
    if let Some((reference, drift)) = compared {
        faults.extend(drifted(set, limits, of, (reference, drift)));
        if let Reference::Region(other) = reference {
            faults.extend(ranks(set, limits, of, other));
        }
    }
    faults.extend(absolute(set, limits, of));
    if compared.is_none() {
        // Last, because a reference that is red itself is why there is none.
        faults.push(Fault::OtherSet);
    }
    faults
}

/// Whether the differences are too large, with the run where they are largest.
fn drifted(
    set: &ProbeSet,
    limits: &Limits,
    of: &Measurement,
    (reference, drift): (Reference<'_>, Drift),
) -> Option<Fault> {
    let (is_within, told, allowed) = match limits.aggregate {
        Aggregate::Max => (drift.max <= limits.drift_max, drift.max, limits.drift_max),
        Aggregate::Mean => (drift.mean <= limits.drift_max, drift.mean, limits.drift_max),
        Aggregate::MedianP95 if limits.drift_max < drift.median => {
            (false, drift.median, limits.drift_max)
        }
        Aggregate::MedianP95 => (drift.p95 <= P95_MAX, drift.p95, P95_MAX),
    };
    if is_within {
        return None;
    }
    let pairs = pairs(set, of, reference)?;
    let worst = pairs.into_iter().max_by_key(|(run, expected)| run.stress.apart(*expected));
    Some(Fault::Drift(told, name(set, worst?.0), allowed))
}

/// What is red whatever anybody else answers.
fn absolute(set: &ProbeSet, limits: &Limits, of: &Measurement) -> Vec<Fault> {
    let mut faults = Vec::new();
    if limits.median_max < of.median() {
        faults.push(Fault::Median(of.median(), limits.median_max));
    }
    if let Some(worst) = of.worst().filter(|it| limits.risk <= it.stress) {
        faults.push(Fault::Risk(worst.stress, name(set, worst), limits.risk));
    }
    for (seed, tally) in set.seeds.iter().zip(of.lambdas()) {
        faults.extend(tally.judge().err().map(|why| Fault::Lambda(*seed, why)));
    }
    if of.seeds_ignored > 0 && !limits.seeds_may_be_ignored {
        faults.push(Fault::SeedsIgnored(of.seeds_ignored));
    }
    let missed = of.runs.iter().find(|it| it.has_gold == Some(false));
    if let Some(missed) = missed.filter(|_| of.gold_share() < limits.gold_min) {
        faults.push(Fault::Gold(of.gold_share(), limits.gold_min, name(set, missed)));
    }
    faults
}

/// Where what was retrieved differs most from what the other region retrieved.
fn ranks(
    set: &ProbeSet,
    limits: &Limits,
    of: &Measurement,
    other: &Measurement,
) -> impl Iterator<Item = Fault> {
    let pairs = || of.runs.iter().zip(&other.runs);
    let least = |figure: fn(&[Name], &[Name]) -> Millionths| {
        let figures = pairs().map(move |(a, b)| (figure(&a.retrieved, &b.retrieved), a));
        figures.min_by_key(|(figure, run)| (*figure, run.slot))
    };
    let overlap = least(jaccard).filter(|(figure, _)| *figure < limits.overlap_min);
    let overlap = overlap.map(|(it, run)| Fault::Overlap(it, name(set, run), limits.overlap_min));
    let order = least(same_order).filter(|(figure, _)| *figure < limits.order_min);
    let order = order.map(|(it, run)| Fault::Order(it, name(set, run), limits.order_min));
    overlap.into_iter().chain(order)
}

/// Which share of the pairs that are in both lists stand in the same order in both; everything
/// where there is no pair. Kendall's tau is twice this less one.
pub fn same_order(a: &[Name], b: &[Name]) -> Millionths {
    let place: HashMap<&Name, usize> = b.iter().enumerate().map(|(at, it)| (it, at)).collect();
    let places: Vec<usize> = a.iter().filter_map(|it| place.get(it).copied()).collect();
    let (mut same, mut all) = (0, 0);
    for (at, first) in places.iter().enumerate() {
        for second in places.iter().skip(at + 1) {
            all += 1;
            same += usize::from(first < second);
        }
    }
    Millionths::share(same, all)
}

/// Each run with the ΔS that is expected of it.
fn pairs<'m>(
    set: &ProbeSet,
    of: &'m Measurement,
    reference: Reference<'_>,
) -> Option<Vec<(&'m Measured, Millionths)>> {
    if of.set != set.digest() {
        return None;
    }
    match reference {
        Reference::Set => {
            let baseline = |run: &Measured| set.questions.get(run.slot.question)?.baseline;
            of.runs.iter().map(|run| Some((run, baseline(run)?))).collect()
        }
        Reference::Region(other) => {
            let is_same = other.set == of.set && other.runs.len() == of.runs.len();
            let pair =
                |(a, b): (&'m Measured, &Measured)| (a.slot == b.slot).then_some((a, b.stress));
            is_same.then(|| of.runs.iter().zip(&other.runs).map(pair).collect())?
        }
    }
}

fn name(set: &ProbeSet, run: &Measured) -> Name {
    set.questions.get(run.slot.question).map_or_else(|| "-".into(), |it| Name::clone(&it.id))
}
