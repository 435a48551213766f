//! What the board makes of single events.

mod policies;
mod scene;
mod traffic;
mod verdicts;
