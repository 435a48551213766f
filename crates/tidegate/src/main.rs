//! The operator's door.
fn main() {}
