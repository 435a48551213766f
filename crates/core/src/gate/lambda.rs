//! λ: whether the answers to a question hold still over seeds and paraphrases. A heuristic.

use std::fmt;

use super::millionths::Millionths;

/// How one run ended, in the words of its region or as we derive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lambda {
    /// The same was found and concluded as elsewhere.
    Convergent,
    /// It moves away.
    Divergent,
    /// Some hit and others miss.
    Recursive,
    /// Nothing agrees.
    Chaotic,
    /// The region says nothing that we understand, and nothing can be derived.
    Unknown,
}

impl Lambda {
    /// What the words and signs that regions use stand for; anything else is unknown, which is
    /// not convergent.
    pub fn from_word(word: &str) -> Self {
        match word {
            "convergent" | "→" | "->" => Self::Convergent,
            "divergent" | "←" | "<-" => Self::Divergent,
            "recursive" | "<>" | "split" | "transitional" => Self::Recursive,
            "chaotic" | "×" | "x" | "collapse" => Self::Chaotic,
            _ => Self::Unknown,
        }
    }

    /// What two seeds of one question say about each other: how much their lists of what was
    /// retrieved have in common, and how far their ΔS are apart.
    pub fn derived(in_common: Millionths, apart: Millionths) -> Self {
        if in_common == Millionths::ZERO {
            Self::Chaotic
        } else if COMMON_MIN <= in_common && apart < APART_MAX {
            Self::Convergent
        } else {
            Self::Recursive
        }
    }

    /// The state as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Convergent => "convergent",
            Self::Divergent => "divergent",
            Self::Recursive => "recursive",
            Self::Chaotic => "chaotic",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Lambda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How much two seeds have in common at the least where they agree.
const COMMON_MIN: Millionths = Millionths::new(800_000);
/// How far their ΔS are apart at the most, this not included.
const APART_MAX: Millionths = Millionths::new(20_000);
/// How many runs are convergent at the least.
const CONVERGENT_MIN: Millionths = Millionths::new(800_000);
/// How many are recursive at the most.
const RECURSIVE_MAX: Millionths = Millionths::new(100_000);

/// The states of all runs with one seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LambdaTally {
    /// All of them.
    pub runs: usize,
    /// Those that are convergent.
    pub convergent: usize,
    /// Those that are recursive.
    pub recursive: usize,
    /// Those that are chaotic.
    pub chaotic: usize,
}

/// Why the runs with one seed are not convergent as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotConvergent {
    /// There is none.
    #[error("there is no run")]
    Empty,
    /// One at least is chaotic.
    #[error("{0} of the runs are chaotic")]
    Chaotic(usize),
    /// Too few are convergent.
    #[error("only {0} of the runs are convergent")]
    TooFew(Millionths),
    /// Too many are recursive.
    #[error("{0} of the runs are recursive")]
    Recursive(Millionths),
}

impl LambdaTally {
    /// Counts one run.
    pub fn add(&mut self, state: Lambda) {
        self.runs += 1;
        match state {
            Lambda::Convergent => self.convergent += 1,
            Lambda::Recursive => self.recursive += 1,
            Lambda::Chaotic => self.chaotic += 1,
            Lambda::Divergent | Lambda::Unknown => {}
        }
    }

    /// Which share of the runs is convergent; nothing of nothing.
    pub fn convergent_share(self) -> Millionths {
        if self.runs == 0 {
            Millionths::ZERO
        } else {
            Millionths::share(self.convergent, self.runs)
        }
    }

    /// Whether at least 80 % are convergent, at most 10 % recursive, and none is chaotic.
    ///
    /// # Errors
    /// They are not.
    pub fn judge(self) -> Result<(), NotConvergent> {
        let recursive = Millionths::share(self.recursive, self.runs);
        if self.runs == 0 {
            Err(NotConvergent::Empty)
        } else if self.chaotic > 0 {
            Err(NotConvergent::Chaotic(self.chaotic))
        } else if self.convergent_share() < CONVERGENT_MIN {
            Err(NotConvergent::TooFew(self.convergent_share()))
        } else if RECURSIVE_MAX < recursive {
            Err(NotConvergent::Recursive(recursive))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_and_signs_of_the_pages_are_read() {
        let read = |words: &[&str], state: Lambda| {
            for it in words {
                assert_eq!(Lambda::from_word(it), state, "{it}");
            }
        };
        read(&["→", "->", "convergent"], Lambda::Convergent);
        read(&["←", "<-", "divergent"], Lambda::Divergent);
        read(&["<>", "recursive", "split", "transitional"], Lambda::Recursive);
        read(&["×", "x", "chaotic", "collapse"], Lambda::Chaotic);
        read(&["", "Convergent", "ok", "1"], Lambda::Unknown);
        for state in [Lambda::Convergent, Lambda::Divergent, Lambda::Recursive, Lambda::Chaotic] {
            assert_eq!(Lambda::from_word(state.word()), state);
        }
    }

    #[test]
    fn a_state_is_derived_from_two_seeds() {
        let derived = |common, apart| Lambda::derived(Millionths::new(common), apart);
        let near = Millionths::new(19_999);
        assert_eq!(derived(800_000, near), Lambda::Convergent);
        assert_eq!(derived(799_999, near), Lambda::Recursive);
        assert_eq!(derived(1_000_000, Millionths::new(20_000)), Lambda::Recursive);
        assert_eq!(derived(0, near), Lambda::Chaotic);
    }

    #[test]
    fn the_borders_of_the_verdict() {
        let judge = |runs, convergent, recursive, chaotic| {
            LambdaTally { runs, convergent, recursive, chaotic }.judge()
        };
        assert_eq!(judge(10, 8, 1, 0), Ok(()), "80 % and 10 % will do");
        assert_eq!(judge(10, 8, 2, 0), Err(NotConvergent::Recursive(Millionths::new(200_000))));
        assert_eq!(judge(10, 7, 0, 0), Err(NotConvergent::TooFew(Millionths::new(700_000))));
        assert_eq!(judge(100, 99, 0, 1), Err(NotConvergent::Chaotic(1)));
        assert_eq!(judge(0, 0, 0, 0), Err(NotConvergent::Empty));
    }
}
