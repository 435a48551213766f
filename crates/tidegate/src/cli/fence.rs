//! The command line of `tidegate fence`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use super::{Admin, Ask, Operator};

/// What to do with the memory of writes.
#[derive(Debug, Subcommand)]
pub(crate) enum Fence {
    /// Print how the fence of a running balancer is.
    Status(Admin),
    /// Say whether the fence may be relied on, check by check. Exits with 1 when it may not.
    Warm(Admin),
    /// Let a Redis remember from now on; a file needs nobody to do so.
    ///
    /// An empty Redis is refused until somebody says that it is new: it might be one that has
    /// lost everything. It is not begun while any record of ours is there.
    Init {
        /// Begin anew, whatever was there: what the store has forgotten may be delivered again.
        #[arg(long)]
        anew: bool,
        #[command(flatten)]
        operator: Operator,
    },
    /// Print the open records: writes in doubt, or in flight. The oldest come first.
    Ls(List),
    /// Print what is remembered of a key.
    Show {
        /// The key, as `X-Fence-Key` has it.
        key: String,
        #[command(flatten)]
        admin: Admin,
    },
    /// End a doubt, for whoever knows how the write ended.
    ///
    /// `--executed` is always taken, and keeps the key for good. `--not-executed` frees it, and is
    /// refused while something of the write may still be on its way. Either is written down in the
    /// store, with who says so and why.
    Resolve(Resolve),
    /// Print what was resolved, the newest first.
    Audit {
        /// At most so many.
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        limit: u32,
        #[command(flatten)]
        admin: Admin,
    },
    /// Say what the fence makes of a request: its key, its scope, and what is remembered of it.
    ///
    /// With `--policy` the key is made here, and nobody is asked what is remembered.
    Explain(Explain),
}

/// Which of the open records.
#[derive(Debug, ClapArgs)]
pub(crate) struct List {
    /// Writes in this state.
    #[arg(long, default_value = "in-doubt")]
    pub(crate) state: Open,
    /// Only what was claimed so long ago, such as `5m`.
    #[arg(long, value_name = "TIME", value_parser = tidegate_policy::duration)]
    pub(crate) older: Option<Duration>,
    /// At most so many.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) admin: Admin,
}

/// A state in which a record is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Open {
    /// Nobody knows whether the write was executed.
    #[value(alias = "in_doubt")]
    InDoubt,
    /// Somebody is at it.
    #[value(alias = "in_flight")]
    InFlight,
}

/// The end of a doubt.
#[derive(Debug, ClapArgs)]
pub(crate) struct Resolve {
    /// The key, as `X-Fence-Key` has it.
    pub(crate) key: String,
    /// The write was executed.
    #[arg(long, conflicts_with = "not_executed", required_unless_present = "not_executed")]
    pub(crate) executed: bool,
    /// The write was not executed, and may be sent again.
    #[arg(long)]
    pub(crate) not_executed: bool,
    /// How that is known.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// Who knows it; the user who runs this without it.
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<String>,
    #[command(flatten)]
    pub(crate) operator: Operator,
}

/// A write to explain.
#[derive(Debug, ClapArgs)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(crate) ask: Ask,
    /// The request's body.
    #[arg(long, value_name = "FILE")]
    pub(crate) body: Option<PathBuf>,
}
