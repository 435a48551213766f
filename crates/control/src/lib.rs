//! Runs the board: the one loop that changes the world, the prober, the counters, the clock.
//!
//! Nobody else owns a [`tidegate_core::board::Board`]. The proxy holds a [`Handle`]: it reads the
//! [`World`] and counts traffic, and can change nothing.

pub mod clock;
pub mod controller;
pub mod endpoints_file;
pub mod gates;
pub mod handle;
pub mod ledger;
pub mod metrics;
pub mod ownership;
pub mod permits;
pub mod report;
pub mod rotation;
pub mod sessions;
pub mod traffic;
pub mod world;

mod assembly;
mod exchange;
mod probe;
mod prober;
mod tasks;

#[cfg(test)]
mod trial;

pub use controller::Controller;
pub use gates::Gates;
pub use handle::Handle;
pub use ledger::Ledger;
pub use world::World;
