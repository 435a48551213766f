//! Putting another policy in force while all is running: whole or not at all.
//!
//! One task owns what is needed for it, so attempts follow each other however many ask at once. The
//! file, a signal and operators all come to the same function of [`reloader::Reloader`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tidegate_control::metrics::ReloadResult;
use tidegate_policy::{Change, Report};
use tokio::sync::{mpsc, oneshot, watch};

use crate::say::Trouble;

pub(crate) use origin::{Origin, find};
pub(crate) use reloader::Reloader;
pub(crate) use service::{ReloadService, heed_hangup};
pub(crate) use status::Status;

mod kept;
mod origin;
mod reloader;
mod service;
mod status;
mod tell;

/// Most orders that wait for their turn.
const ORDERS_WAITING_MAX: usize = 64;

/// What an operator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Put in force what the file says now.
    Reload(Options),
    /// Keep the policy that waits for a confirmation.
    Confirm,
    /// Put the policy before it in force again.
    RollBack,
}

/// How a reload is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Roll back unless a confirmation comes within this time.
    pub(crate) confirm_within: Option<Duration>,
    /// Only if this is the generation of the policy in force.
    pub(crate) if_generation: Option<u64>,
}

/// Who wants it, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trigger {
    /// SIGHUP.
    Signal,
    /// The file changed.
    Watch,
    /// The admin socket.
    Operator,
    /// No confirmation came in time.
    Deadline,
}

impl Trigger {
    fn word(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Watch => "watch",
            Self::Operator => "operator",
            Self::Deadline => "deadline",
        }
    }
}

/// What came of an order.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    /// What happened.
    pub(crate) result: ReloadResult,
    /// What is different now.
    pub(crate) changes: Vec<Change>,
    /// The policy in force.
    pub(crate) status: Arc<Status>,
}

/// Why an order changed nothing.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The file cannot be read, or is no policy.
    Policy(Box<Report>),
    /// These changes cannot be made by a running process.
    Fixed(Vec<Change>),
    /// It divides into other partitions in a way that other balancers could not tell apart.
    Division(&'static str),
    /// A listener cannot be opened.
    Listener(Trouble),
    /// Another policy waits for its confirmation, so long yet.
    Pending(Duration),
    /// The policy in force has this generation and not the one that was named.
    Stale {
        /// What the caller meant.
        asked: u64,
        /// What is.
        present: u64,
    },
    /// No policy waits for a confirmation.
    NothingPending,
    /// The policy was not read from a file.
    NoFile,
    /// The process has more to do than it can take in, or is ending.
    Busy,
}

impl Refused {
    /// How it is counted; what is no attempt to put a policy in force is not.
    pub(crate) fn result(&self) -> Option<ReloadResult> {
        Some(match self {
            Self::Policy(_) | Self::Division(_) => ReloadResult::BadPolicy,
            Self::Fixed(_) => ReloadResult::NeedsUpgrade,
            Self::Listener(_) => ReloadResult::BadListener,
            Self::Pending(_) => ReloadResult::Pending,
            Self::Stale { .. } => ReloadResult::Stale,
            Self::Busy => ReloadResult::Busy,
            Self::NothingPending | Self::NoFile => return None,
        })
    }

    /// A stable word for programs.
    pub(crate) fn code(&self) -> &'static str {
        let otherwise = match self {
            Self::NothingPending => "nothing_pending",
            Self::NoFile
            | Self::Policy(_)
            | Self::Division(_)
            | Self::Fixed(_)
            | Self::Listener(_)
            | Self::Pending(_)
            | Self::Stale { .. }
            | Self::Busy => "no_policy_file",
        };
        self.result().map_or(otherwise, ReloadResult::word)
    }

    /// Whether a policy was read that is not in force.
    fn has_read(&self) -> bool {
        match self {
            Self::Policy(_)
            | Self::Division(_)
            | Self::Fixed(_)
            | Self::Listener(_)
            | Self::Busy => true,
            Self::Pending(_) | Self::Stale { .. } | Self::NothingPending | Self::NoFile => false,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(report) => write!(f, "{report}"),
            Self::Fixed(changes) => {
                let changes: Vec<_> = changes.iter().map(ToString::to_string).collect();
                let changes = changes.join("; ");
                write!(f, "{changes}: a running process cannot change this; upgrade or restart it")
            }
            Self::Division(why) => f.write_str(why),
            Self::Listener(trouble) => write!(f, "{trouble}"),
            Self::Pending(left) => {
                let seconds = left.as_secs();
                write!(
                    f,
                    "another policy waits {seconds} s yet for its confirmation; confirm it or roll it back first"
                )
            }
            Self::Stale { asked, present } => {
                write!(f, "the policy in force has the generation {present}, not {asked}")
            }
            Self::NothingPending => f.write_str("no policy waits for a confirmation"),
            Self::NoFile => f.write_str("the policy was not read from a file"),
            Self::Busy => f.write_str("the process is busy or ending; nothing was changed"),
        }
    }
}

/// An order on its way.
#[derive(Debug)]
struct Request {
    order: Order,
    answer: oneshot::Sender<Result<Done, Refused>>,
}

/// What operators have: orders, and a look at the policy in force.
#[derive(Clone, Debug)]
pub(crate) struct Reloads {
    orders: mpsc::Sender<Request>,
    status: watch::Receiver<Arc<Status>>,
}

impl Reloads {
    /// Gives an order, and waits until it is carried out or refused.
    ///
    /// # Cancel safety
    ///
    /// Who stops waiting does not take the order back.
    pub(crate) async fn ask(&self, order: Order) -> Result<Done, Refused> {
        let (answer, done) = oneshot::channel();
        self.orders.try_send(Request { order, answer }).map_err(|_full| Refused::Busy)?;
        done.await.unwrap_or(Err(Refused::Busy))
    }

    /// The policy in force.
    pub(crate) fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.borrow())
    }
}
