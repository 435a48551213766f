//! The failover window: the time after a flip in which writes may come again that were sent before.
//!
//! A flip moves traffic from one region to another, and clients that saw it fail send their writes
//! once more. While the window is open nothing is forgotten of them, routes with `enforce: window`
//! hold duplicates back, and nothing stands in for a store that is away. What opens it lasts, like
//! a drain or the operator's word, or is a moment, like a loss; it closes when `failover_window` has
//! passed since the last of it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::id::Name;
use crate::moment::Moment;
use crate::policy::fencing::{Enforce, StoreDown};

#[cfg(test)]
mod tests;

/// Longest reason that an operator may give, in bytes.
pub const REASON_BYTES_MAX: usize = 256;

/// The window as everybody reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Window {
    /// It is shut, as it always is without a fence.
    #[default]
    Shut,
    /// It is open.
    Open(Opening),
}

/// An open window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Since when.
    pub since: Moment,
    /// What opened it.
    pub cause: Cause,
    /// What keeps it open now and has not ended.
    pub lasting: Arc<[Cause]>,
    /// What was the matter last.
    pub last: Cause,
    /// When it closes if nothing else happens; nobody knows while something lasts.
    pub until: Option<Moment>,
}

/// What opens the window, or keeps it open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The operator wants it, until the operator does not want it any more.
    Operator {
        /// Why.
        reason: Arc<str>,
    },
    /// The operator takes out a region or one of its endpoints, until nothing is open there.
    Drain {
        /// The region.
        region: Name,
        /// One of its endpoints, or all of it.
        endpoint: Option<SocketAddr>,
    },
    /// A region has lost its traffic, or part of it. A moment.
    Loss {
        /// The region.
        region: Name,
    },
    /// A region takes traffic back. A moment.
    Return {
        /// The region.
        region: Name,
    },
}

impl Cause {
    /// The cause as a stable word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Operator { .. } => "operator",
            Self::Drain { .. } => "drain",
            Self::Loss { .. } => "loss",
            Self::Return { .. } => "return",
        }
    }

    /// The region that it is about, if it is about one.
    pub fn region(&self) -> Option<&Name> {
        match self {
            Self::Operator { .. } => None,
            Self::Drain { region, .. } | Self::Loss { region } | Self::Return { region } => {
                Some(region)
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator { reason } => write!(f, "the operator: {reason}"),
            Self::Drain { region, endpoint: None } => write!(f, "{region} is being drained"),
            Self::Drain { region, endpoint: Some(endpoint) } => {
                write!(f, "{endpoint} of {region} is being drained")
            }
            Self::Loss { region } => write!(f, "{region} lost traffic"),
            Self::Return { region } => write!(f, "{region} took traffic back"),
        }
    }
}

impl Window {
    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    /// Whether a route holds duplicates back now. Otherwise it only remembers.
    pub fn enforces(&self, rule: Enforce) -> bool {
        match rule {
            Enforce::Always => true,
            Enforce::Window => self.is_open(),
        }
    }

    /// What becomes of a write now while the store is away: an open window lets nothing stand in.
    #[must_use]
    pub fn store_down(&self, rule: StoreDown) -> StoreDown {
        if self.is_open() { StoreDown::Refuse } else { rule }
    }
}

/// How much of its traffic a region takes. A change is a flip, in one direction or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// None.
    Out,
    /// What is left when everybody else is out.
    LastResort,
    /// What those do not take that differ on nothing.
    Behind,
    /// All that is nearest to it.
    Full,
}

impl Standing {
    /// Every standing there is.
    pub const ALL: [Self; 4] = [Self::Out, Self::LastResort, Self::Behind, Self::Full];

    /// The standing as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::LastResort => "last_resort",
            Self::Behind => "behind",
            Self::Full => "full",
        }
    }
}

/// What happened to the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It was opened.
    Opened(Cause),
    /// It was closed.
    Closed {
        /// What was the matter last.
        last: Cause,
        /// Since when it was open.
        since: Moment,
    },
}

/// Everything that the window follows from.
///
/// Plain data, so that a board's memory can hold it; the board itself keeps it to itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowState {
    /// How every region stood last that ever took traffic.
    pub standings: BTreeMap<Name, Standing>,
    /// Why the operator wants it open, if the operator does.
    pub asked: Option<Arc<str>>,
    /// The open window.
    pub open: Option<Open>,
}

/// An open window, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Since when.
    pub since: Moment,
    /// What opened it.
    pub cause: Cause,
    /// What was the matter last.
    pub last: Cause,
    /// When that was.
    pub at: Moment,
    /// Whether it had not ended then.
    pub is_lasting: bool,
}

/// What is the case at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// How every region of the policy stands.
    pub(crate) standings: Vec<(Name, Standing)>,
    /// What the operator empties.
    pub(crate) drains: Vec<Cause>,
    /// `failover_window`; without a fence there is no window.
    pub(crate) length: Option<Duration>,
}

impl WindowState {
    /// The operator wants it open for a reason, or, with `None`, no more.
    pub(crate) fn ask(&mut self, reason: Option<Arc<str>>) {
        self.asked = reason;
    }

    /// Takes in what is the case; answers what became of the window.
    pub(crate) fn settle(&mut self, now: Moment, scene: &Scene) -> Option<Turn> {
        // Followed without a fence too: the next policy may have one, and a drain may be going on.
        let flip = self.flip(&scene.standings);
        let Some(length) = scene.length else {
            self.asked = None;
            return self.shut();
        };
        let lasting = self.asked_for().or_else(|| scene.drains.last().cloned());
        let is_lasting = lasting.is_some();
        match (lasting.or(flip), &mut self.open) {
            (Some(cause), None) => {
                let (last, at) = (cause.clone(), now);
                self.open = Some(Open { since: now, cause: cause.clone(), last, at, is_lasting });
                return Some(Turn::Opened(cause));
            }
            (Some(cause), Some(open)) => {
                (open.last, open.at, open.is_lasting) = (cause, now, is_lasting);
            }
            // It ended between two looks, and nobody knows when: it counts as now.
            (None, Some(open)) if open.is_lasting => (open.at, open.is_lasting) = (now, false),
            (None, Some(open)) if open.at.plus(length) <= now => return self.shut(),
            (None, _) => {}
        }
        None
    }

    /// The window as everybody reads it.
    pub(crate) fn picture(&self, scene: &Scene) -> Window {
        let (Some(open), Some(length)) = (&self.open, scene.length) else { return Window::Shut };
        let lasting: Arc<[Cause]> =
            self.asked_for().into_iter().chain(scene.drains.iter().cloned()).collect();
        Window::Open(Opening {
            since: open.since,
            cause: open.cause.clone(),
            until: lasting.is_empty().then(|| open.at.plus(length)),
            lasting,
            last: open.last.clone(),
        })
    }

    fn asked_for(&self) -> Option<Cause> {
        self.asked.clone().map(|reason| Cause::Operator { reason })
    }

    fn shut(&mut self) -> Option<Turn> {
        let Open { since, last, .. } = self.open.take()?;
        Some(Turn::Closed { last, since })
    }

    /// The flip that the standings show, a loss rather than a return. A region that takes traffic
    /// for the first time makes none: it takes from nobody who could miss it, as when all begins.
    fn flip(&mut self, standings: &[(Name, Standing)]) -> Option<Cause> {
        let (mut loss, mut back) = (None, None);
        let mut known = 0;
        for (region, standing) in standings {
            let Some(before) = self.standings.get_mut(region) else { continue };
            known += 1;
            match std::mem::replace(before, *standing).cmp(standing) {
                Ordering::Less => back = Some(Name::clone(region)),
                Ordering::Greater => loss = Some(Name::clone(region)),
                Ordering::Equal => {}
            }
        }
        if known < self.standings.len() {
            self.standings.retain(|region, standing| {
                let stays = standings.iter().any(|(it, _)| it == region);
                if !stays && *standing != Standing::Out {
                    loss = Some(Name::clone(region));
                }
                stays
            });
        }
        if known < standings.len() {
            let new = standings.iter().filter(|(_, it)| *it != Standing::Out);
            new.for_each(|(region, it)| {
                self.standings.entry(Name::clone(region)).or_insert(*it);
            });
        }
        let loss = loss.map(|region| Cause::Loss { region });
        loss.or_else(|| back.map(|region| Cause::Return { region }))
    }
}
