//! Ownership as two models: every order of events is tried.
//!
//! [`crossing`] is one write whose owner changes between its first attempt and its second; it shows
//! which guards together leave no duplicate and no late write. [`leases`] is the real
//! [`tidegate_core::ownership::Steward`] in several balancers on one store, with answers that are
//! late or lost; it shows that no two of them ever write to two owners of one partition.
//!
//! A checker that finds nothing proves nothing, so each guard is also left out, one at a time, and
//! the checker has to notice.
#![expect(clippy::indexing_slicing, reason = "a broken model should panic")]
#![expect(clippy::print_stdout, reason = "how much was tried is part of the result")]
#![expect(clippy::expect_used, reason = "a broken model should panic")]

mod crossing;
mod leases;
