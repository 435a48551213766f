//! The traffic's door: Pingora's hooks, from the head of a request to the last byte of its answer.
//!
//! The proxy keeps no state of its own and cannot change the world: it reads one
//! [`tidegate_control::World`] per request and counts what happens.

pub mod access;
pub mod answer;
pub mod ask;
pub mod budget;
pub mod connection;
mod ctx;
mod delivery;
pub mod fencing;
pub mod headers;
mod hooks;
pub mod metrics;
pub mod owning;
mod peer;
mod relay;
pub mod session;

pub use ctx::Ctx;
pub use fencing::claiming::Fences;
pub use hooks::Proxy;
