//! What is wrong with a policy, gathered while it is read: by path first, by line later.

use std::cell::{Cell, RefCell};
use std::fmt;

use crate::place::{Aim, Place, Step};

/// One thing that is wrong, at a path of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) path: Option<Vec<Step>>,
    pub(crate) aim: Aim,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// The required field that is missing, if that is what is wrong.
    pub(crate) missing: Option<&'static str>,
    /// Whether its cause is among the gathered flaws already.
    pub(crate) told: bool,
    /// Whether the message names the last step of the path itself.
    pub(crate) names_itself: bool,
}

impl Flaw {
    /// A flaw that does not know its place yet.
    pub(crate) fn somewhere(message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            path: None,
            aim: Aim::Value,
            message,
            help: None,
            missing: None,
            told: false,
            names_itself: false,
        }
    }

    /// A flaw of the value at a place.
    pub(crate) fn value(place: &Place<'_>, message: impl Into<String>) -> Self {
        Self { path: Some(place.steps()), ..Self::somewhere(message) }
    }

    /// A flaw of the key at a place, or of what the key names as a whole.
    pub(crate) fn key(place: &Place<'_>, message: impl Into<String>) -> Self {
        Self { aim: Aim::Key, ..Self::value(place, message) }
    }

    /// A flaw of a key that is told as a flaw of the mapping it stands in.
    pub(crate) fn field(place: &Place<'_>, message: impl Into<String>) -> Self {
        Self { names_itself: true, ..Self::key(place, message) }
    }

    /// The path as the message shows it.
    pub(crate) fn shown(&self) -> &[Step] {
        match self.path.as_deref() {
            Some([shown @ .., _]) if self.names_itself => shown,
            path => path.unwrap_or_default(),
        }
    }

    /// The same flaw with advice.
    #[must_use]
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The same flaw with advice, if there is any.
    #[must_use]
    pub(crate) fn maybe_help(self, help: Option<String>) -> Self {
        Self { help, ..self }
    }

    /// The same flaw at this place, unless it has one.
    #[must_use]
    pub(crate) fn or_at(self, place: &Place<'_>) -> Self {
        Self { path: self.path.or_else(|| Some(place.steps())), ..self }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Flaw {}

/// Every flaw found so far.
#[derive(Debug, Default)]
pub(crate) struct Flaws {
    list: RefCell<Vec<Flaw>>,
    gave_up: Cell<bool>,
}

impl Flaws {
    /// Adds a flaw.
    pub(crate) fn push(&self, flaw: Flaw) {
        if !flaw.told {
            self.list.borrow_mut().push(flaw);
        }
    }

    /// Adds a flaw which leaves a value without meaning.
    pub(crate) fn give_up(&self, flaw: Flaw) {
        self.gave_up.set(true);
        self.push(flaw);
    }

    /// Whether some value is without meaning, so that looking at meanings makes no sense.
    pub(crate) fn gave_up(&self) -> bool {
        self.gave_up.get()
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.borrow().is_empty()
    }

    /// How many there are so far.
    pub(crate) fn count(&self) -> usize {
        self.list.borrow().len()
    }

    /// All of them, in the order in which they were found.
    pub(crate) fn into_list(self) -> Vec<Flaw> {
        self.list.into_inner()
    }
}
