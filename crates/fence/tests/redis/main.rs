//! What a fence does when its Redis is gone, forgets, is not fit, or is somewhere else.
#![expect(clippy::expect_used, clippy::panic, reason = "a broken test should panic")]

mod access;
mod cold;
mod copies;
mod garbled;
mod gone;
mod handover;
mod moving;
mod rig;
mod stream;
mod traffic;
mod unfit;
