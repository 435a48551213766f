//! What the board makes of single events.
