//! The command line of `tidegate ownership`.

use clap::{Args as ClapArgs, Subcommand};

use super::{Admin, Operator};

/// What to do with ownership.
#[derive(Debug, Subcommand)]
pub(crate) enum Ownership {
    /// Print which region owns which partition, and whether this balancer may write there.
    Status(Admin),
    /// Give partitions to another region.
    ///
    /// Nobody looks whether that region is fit for it: it is for those who know that it is. Writes of
    /// what moves are refused with 503 until every balancer has heard of it; one that is cut off from
    /// the store is waited for until its lease is over.
    Move(Move),
}

/// A change of owners.
#[derive(Debug, ClapArgs)]
pub(crate) struct Move {
    /// The partitions; all that `--from` owns without any.
    #[arg(value_name = "PARTITION", required_unless_present = "from")]
    pub(crate) partitions: Vec<String>,
    /// Who owns them now. With partitions, nothing is moved that somebody else owns.
    #[arg(long, value_name = "REGION")]
    pub(crate) from: Option<String>,
    /// Who shall own them.
    #[arg(long, value_name = "REGION")]
    pub(crate) to: String,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// Who says so; the user who runs this without it.
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<String>,
    #[command(flatten)]
    pub(crate) operator: Operator,
}
