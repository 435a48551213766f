//! The thought of tidegate: what regions are, what a request asks, and who answers.
//!
//! Everything here is pure. There is no clock, no socket, no file and no random number: time is
//! the argument [`Moment`], randomness is an argument too, and everything that happened arrives as
//! an [`board::Event`]. That is what lets whole failovers be simulated from a seed, and what makes
//! `explain` the same code as routing.
//!
//! The modules, in the order in which a newcomer reads them:
//!
//! 1. [`moment`], [`id`]: time and names.
//! 2. [`contract`]: what a region reports, what the policy demands, and where they differ.
//! 3. [`policy`]: the validated model of a policy file.
//! 4. [`ask`], [`snapshot`], [`route`]: one request, one picture of the world, one decision.
//! 5. [`explain`]: the same decision with every reason kept.
//! 6. [`sticky`]: the signed token that keeps a client where it was.
//! 7. [`balance`]: which endpoint of the chosen region.
//! 8. [`health`], [`ejection`], [`hold`], [`distance`]: how observations become verdicts.
//! 9. [`drain`]: how a region or an endpoint is emptied.
//! 10. [`fence`]: what is remembered of a write, so that it is delivered at most once.
//! 11. [`window`]: the time after a flip in which writes may come again.
//! 12. [`gate`]: whether a region may take traffic, and on what grounds.
//! 13. [`partition`], [`ownership`]: which region takes which writes, and what a balancer may do with
//!     what it knows of that.
//! 14. [`board`]: the mutable world; events in, effects and snapshots out.

pub mod ask;
pub mod balance;
pub mod board;
pub mod contract;
pub mod distance;
pub mod drain;
pub mod ejection;
pub mod explain;
pub mod fence;
pub mod gate;
pub mod health;
pub mod hold;
pub mod id;
pub mod moment;
pub mod ownership;
pub mod partition;
pub mod policy;
pub mod route;
pub mod snapshot;
pub mod sticky;
pub mod window;

pub use moment::Moment;

// Tests in here and tests beside here start from the same policy.
#[cfg(test)]
extern crate self as tidegate_core;
#[cfg(test)]
#[path = "../tests/sample/mod.rs"]
mod sample;
