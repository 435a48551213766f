//! A probe set: its questions, what one region answered to all of them, and whether that can be
//! judged at all.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest as _, Sha256};

use super::lambda::{Lambda, LambdaTally};
use super::millionths::Millionths;
use super::stress::{self, NoStress};
use crate::health::ProbeFailure;
use crate::id::Name;

#[cfg(test)]
mod tests;

/// Most questions of a set.
pub const QUESTIONS_MAX: usize = 500;
/// Most wordings of one question, the first included.
pub const WORDINGS_MAX: usize = 8;
/// Most seeds.
pub const SEEDS_MAX: usize = 4;
/// Most documents that are looked at for one question.
pub const DEPTH_MAX: usize = 100;
/// How far a ΔS that a region tells may be from the one that its own vectors have.
const CONTRADICTION: Millionths = Millionths::new(10_000);

/// The questions, in a fixed order, and how they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProbeSet {
    /// The questions.
    pub questions: Vec<Question>,
    /// The seeds with which each is asked; at least one.
    pub seeds: Vec<u64>,
    /// How many documents are retrieved for each.
    pub top_k: usize,
}

/// One question of a set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// Its name.
    pub id: Name,
    /// Its wordings: the question itself, and then its paraphrases. At least one.
    pub wordings: Vec<Name>,
    /// Documents of which one at least must be found; any will do if empty.
    pub gold: Vec<Name>,
    /// The ΔS that it ought to have, where the set itself is what regions are compared with.
    pub baseline: Option<Millionths>,
}

/// One run: a question in one wording with one seed, by their places in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Which question.
    pub question: usize,
    /// Which of its wordings.
    pub wording: usize,
    /// Which seed.
    pub seed: usize,
}

/// Where the ΔS of a run comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Measure {
    /// The region tells it. Vectors that come as well are checked against it.
    #[default]
    Told,
    /// It is computed from two vectors, whoever they come from.
    Vectors,
}

/// What a region answered to one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The ΔS that it tells.
    pub delta_s: Option<f64>,
    /// The vectors of the question and of what was retrieved.
    pub vectors: Option<(Vec<f64>, Vec<f64>)>,
    /// The documents, the best first.
    pub retrieved: Vec<Name>,
    /// Its λ, as it tells it.
    pub lambda: Option<Lambda>,
    /// Whether the seed made a difference to it.
    pub seed_applied: Option<bool>,
    /// The index that it asked.
    pub index_hash: Option<Name>,
}

/// What came of one run.
pub type Run = (Slot, Result<Answer, ProbeFailure>);

/// Everything that one region answered, whole and of one index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// Of which set.
    pub set: [u8; 32],
    /// The index that all answers are from.
    pub index_hash: Name,
    /// The runs, in the order of their slots.
    pub runs: Vec<Measured>,
    /// How many of them ignored their seed, or do not say that they did not.
    pub seeds_ignored: usize,
}

/// What one run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Which run.
    pub slot: Slot,
    /// Its ΔS.
    pub stress: Millionths,
    /// The documents, the best first, no more than wanted.
    pub retrieved: Vec<Name>,
    /// Its λ, told or derived.
    pub lambda: Lambda,
    /// Whether one of its gold documents was found; `None` for a question that names none.
    pub has_gold: Option<bool>,
}

/// Why the answers of a region cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The run: its question by name, its wording and its seed. `None` where it is about all.
    pub run: Option<(Name, usize, u64)>,
    /// What is wrong.
    pub why: Flaw,
}

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The set is too small to prove anything.
    #[error("the set has {0} questions, and {1} are wanted")]
    TooFewQuestions(usize, usize),
    /// A run was not made.
    #[error("it was not asked")]
    Unasked,
    /// A run has no answer.
    #[error("{0}")]
    Failed(ProbeFailure),
    /// There is no ΔS where one is wanted.
    #[error("the answer has no delta_s")]
    NoFigure,
    /// There are no vectors where they are wanted.
    #[error("the answer has no vectors")]
    NoVectors,
    /// The ΔS is none.
    #[error("{0}")]
    BadStress(#[from] NoStress),
    /// The ΔS that the region tells is not that of its vectors.
    #[error("it tells a delta_s of {0}, and its vectors have {1}")]
    Contradictory(Millionths, Millionths),
    /// Fewer documents came than were asked for.
    #[error("{0} documents were retrieved, and {1} are wanted")]
    Shallow(usize, usize),
    /// A document came twice.
    #[error("document `{0}` was retrieved twice")]
    Repeated(Name),
    /// The answer does not say from which index it is.
    #[error("the answer names no index_hash")]
    NoIndexHash,
    /// The index was changed while the set was being asked.
    #[error("the index changed from {0} to {1} during the run")]
    IndexChanged(Name, Name),
}

impl Flaw {
    /// What is wrong as a stable word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::TooFewQuestions(..) => "too_few_questions",
            Self::Unasked => "unasked",
            Self::Failed(_) => "probe_failed",
            Self::NoFigure => "no_figure",
            Self::NoVectors => "no_vectors",
            Self::BadStress(NoStress::NotFinite) => "not_finite",
            Self::BadStress(NoStress::OutOfRange) => "out_of_range",
            Self::BadStress(NoStress::Empty) => "empty_vector",
            Self::BadStress(NoStress::Sizes(..) | NoStress::TooLong(_)) => "vector_size",
            Self::BadStress(NoStress::Zero) => "zero_vector",
            Self::Contradictory(..) => "contradictory",
            Self::Shallow(..) => "too_shallow",
            Self::Repeated(_) => "repeated_document",
            Self::NoIndexHash => "no_index_hash",
            Self::IndexChanged(..) => "index_changed",
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((question, wording, seed)) = &self.run {
            write!(f, "question {question}, wording {wording}, seed {seed}: ")?;
        }
        self.why.fmt(f)
    }
}

impl ProbeSet {
    /// Every run, in the order of the set.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        let questions = self.questions.iter().enumerate();
        questions.flat_map(move |(question, it)| {
            let wordings = 0..it.wordings.len();
            wordings.flat_map(move |wording| {
                (0..self.seeds.len()).map(move |seed| Slot { question, wording, seed })
            })
        })
    }

    /// What tells this set from any other: figures of two sets are not compared.
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let mut add = |text: &str| {
            digest.update(text.len().to_string());
            digest.update(":");
            digest.update(text);
        };
        add(&self.top_k.to_string());
        self.seeds.iter().for_each(|it| add(&it.to_string()));
        for question in &self.questions {
            add(&question.id);
            add(&question.wordings.len().to_string());
            question.wordings.iter().for_each(|it| add(it));
        }
        digest.finalize().into()
    }

    /// Whether every question has a baseline of its own.
    pub fn has_baseline(&self) -> bool {
        self.questions.iter().all(|it| it.baseline.is_some())
    }

    /// Puts together what a region answered.
    ///
    /// # Errors
    /// A run is missing or has failed, an answer cannot be read, or they are not all of one index.
    pub fn measure(&self, measure: Measure, runs: &[Run]) -> Result<Measurement, Unusable> {
        let answers: BTreeMap<_, _> = runs.iter().map(|(slot, answer)| (*slot, answer)).collect();
        let mut index: Option<Name> = None;
        let mut measured = Vec::new();
        let mut seeds_ignored = 0;
        for slot in self.slots() {
            let wrong = |why| Unusable { run: self.named(slot), why };
            let answer = answers.get(&slot).ok_or_else(|| wrong(Flaw::Unasked))?;
            let answer = answer.as_ref().map_err(|failure| wrong(Flaw::Failed(*failure)))?;
            let own = answer.index_hash.as_ref().ok_or_else(|| wrong(Flaw::NoIndexHash))?;
            let first = index.get_or_insert_with(|| Name::clone(own));
            if first != own {
                return Err(wrong(Flaw::IndexChanged(Name::clone(first), Name::clone(own))));
            }
            seeds_ignored += usize::from(answer.seed_applied != Some(true));
            measured.push(self.read(slot, measure, answer).map_err(wrong)?);
        }
        let too_few = || Unusable { run: None, why: Flaw::TooFewQuestions(0, 1) };
        let index_hash = index.ok_or_else(too_few)?;
        derive(&mut measured, &answers);
        Ok(Measurement { set: self.digest(), index_hash, runs: measured, seeds_ignored })
    }

    fn named(&self, slot: Slot) -> Option<(Name, usize, u64)> {
        let question = self.questions.get(slot.question)?;
        Some((Name::clone(&question.id), slot.wording, *self.seeds.get(slot.seed)?))
    }

    fn read(&self, slot: Slot, measure: Measure, answer: &Answer) -> Result<Measured, Flaw> {
        let between = |(a, b): &(Vec<f64>, Vec<f64>)| stress::between(a, b);
        let computed = answer.vectors.as_ref().map(between).transpose()?;
        let told = answer.delta_s.map(stress::told).transpose()?;
        let stress = match (measure, told, computed) {
            (_, Some(told), Some(computed)) if CONTRADICTION < told.apart(computed) => {
                return Err(Flaw::Contradictory(told, computed));
            }
            (Measure::Told, told, _) => told.ok_or(Flaw::NoFigure)?,
            (Measure::Vectors, _, computed) => computed.ok_or(Flaw::NoVectors)?,
        };
        if answer.retrieved.len() < self.top_k {
            return Err(Flaw::Shallow(answer.retrieved.len(), self.top_k));
        }
        let retrieved: Vec<_> = answer.retrieved.iter().take(self.top_k).cloned().collect();
        let mut sorted: Vec<_> = retrieved.iter().collect();
        sorted.sort_unstable();
        if let Some([twice, _]) = sorted.array_windows().find(|[a, b]| a == b) {
            return Err(Flaw::Repeated(Name::clone(twice)));
        }
        let gold = self.questions.get(slot.question).map(|it| &*it.gold).unwrap_or_default();
        let has_gold = (!gold.is_empty()).then(|| gold.iter().any(|it| retrieved.contains(it)));
        // Runs whose region tells nothing are looked at together, once all are there.
        let lambda = answer.lambda.unwrap_or(Lambda::Unknown);
        Ok(Measured { slot, stress, retrieved, lambda, has_gold })
    }
}

impl Measurement {
    /// All ΔS, in the order of the runs.
    pub fn stresses(&self) -> Vec<Millionths> {
        self.runs.iter().map(|it| it.stress).collect()
    }

    /// The middle ΔS; there is at least one run.
    pub fn median(&self) -> Millionths {
        Millionths::median(self.stresses()).unwrap_or(Millionths::ONE)
    }

    /// The run with the largest ΔS.
    pub fn worst(&self) -> Option<&Measured> {
        self.runs.iter().max_by_key(|it| (it.stress, std::cmp::Reverse(it.slot)))
    }

    /// The states of λ with each seed, by the place of the seed.
    pub fn lambdas(&self) -> Vec<LambdaTally> {
        let seeds = self.runs.iter().map(|it| it.slot.seed + 1).max().unwrap_or_default();
        let mut tallies = vec![LambdaTally::default(); seeds];
        for run in &self.runs {
            if let Some(tally) = tallies.get_mut(run.slot.seed) {
                tally.add(run.lambda);
            }
        }
        tallies
    }

    /// Which share of the runs whose question names gold found some; everything where none does.
    pub fn gold_share(&self) -> Millionths {
        let (hits, all) = self
            .runs
            .iter()
            .filter_map(|it| it.has_gold)
            .fold((0, 0), |(hits, all), has_gold| (hits + usize::from(has_gold), all + 1));
        Millionths::share(hits, all)
    }
}

/// Derives λ where the region does not tell it: each seed is compared with the first one.
fn derive(runs: &mut [Measured], answers: &BTreeMap<Slot, &Result<Answer, ProbeFailure>>) {
    let is_told = |it: &Measured| {
        answers.get(&it.slot).is_some_and(|it| it.as_ref().is_ok_and(|it| it.lambda.is_some()))
    };
    for of_wording in runs
        .chunk_by_mut(|a, b| (a.slot.question, a.slot.wording) == (b.slot.question, b.slot.wording))
    {
        let Some((first, rest)) = of_wording.split_first_mut() else { continue };
        let mut worst = Lambda::Convergent;
        for other in &*rest {
            let common = jaccard(&first.retrieved, &other.retrieved);
            let state = Lambda::derived(common, first.stress.apart(other.stress));
            worst = match (worst, state) {
                (Lambda::Chaotic, _) | (_, Lambda::Chaotic) => Lambda::Chaotic,
                (Lambda::Convergent, state) => state,
                (worst, _) => worst,
            };
        }
        // One seed alone proves nothing.
        let derived = if rest.is_empty() { Lambda::Unknown } else { worst };
        for run in std::iter::once(first).chain(rest) {
            if !is_told(run) {
                run.lambda = derived;
            }
        }
    }
}

/// How much two lists without repetitions have in common: what is in both over what is in either.
pub fn jaccard(a: &[Name], b: &[Name]) -> Millionths {
    let both = a.iter().filter(|it| b.contains(it)).count();
    Millionths::share(both, a.len() + b.len() - both)
}
