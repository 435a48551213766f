//! Gates: whether a region may take traffic, and on what grounds.
//!
//! Everything is judged from evidence that somebody else has brought, at a moment that the caller
//! names. What is missing, stale, red or contradictory keeps a gate shut, and is named.
//!
//! 1. [`millionths`], [`stress`], [`lambda`]: the figures of one answer to a probe.
//! 2. [`probes`], [`drift`]: a whole probe set, and how it compares with that of another region.
//! 3. [`manifest`], [`queue`]: what a region stores, and what it has still to do.
//! 4. [`rules`]: what the policy demands.
//! 5. [`evidence`], [`facts`], [`book`]: all of that with its age and source.
//! 6. [`verdict`]: the two gates, planned and emergency.

pub mod book;
pub mod drift;
pub mod evidence;
pub mod facts;
pub mod lambda;
pub mod manifest;
pub mod millionths;
pub mod probes;
pub mod queue;
pub mod rules;
pub mod stress;
pub mod verdict;

mod blobs;
mod quality;
