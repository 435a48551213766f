//! The verbs of gates: whether traffic may be moved, and why not.

use clap::{Args as ClapArgs, Subcommand};

use super::Admin;

/// Look at the gates.
#[derive(Debug, Subcommand)]
pub(crate) enum Gate {
    /// Print every condition of both gates, and whether they are open.
    ///
    /// Exits with 0 if the planned gate is open, and with 1 if it is shut.
    Status(Asked),
    /// Say why a gate is shut: every condition that is not green, with its reason.
    Explain {
        /// Only this condition, such as `probes`; every one that is not green without it.
        condition: Option<String>,
        #[command(flatten)]
        asked: Asked,
    },
}

/// What would be moved, and which balancer is asked.
#[derive(Debug, ClapArgs)]
pub(crate) struct Asked {
    /// The region that traffic would leave; all regions are compared without it.
    #[arg(long, value_name = "REGION")]
    pub(crate) from: Option<String>,
    /// The region that it would go to.
    #[arg(long, value_name = "REGION")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) admin: Admin,
}
