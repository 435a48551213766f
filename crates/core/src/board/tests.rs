//! What the board makes of single events.

mod drains;
mod heirs;
mod policies;
mod scene;
mod traffic;
mod verdicts;
mod windows;
