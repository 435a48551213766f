//! Waiting for a condition with a deadline, in place of sleeping and hoping.

use std::time::{Duration, Instant};

const POLL_EVERY: Duration = Duration::from_millis(10);

/// Polls `holds` every 10 ms until it is true.
///
/// Panics with `what` when `deadline` has passed. Answers how long it took.
#[track_caller]
pub fn wait_until(deadline: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    loop {
        if holds() {
            return began.elapsed();
        }
        assert!(began.elapsed() < deadline, "waited {deadline:?} in vain: {what}");
        std::thread::sleep(POLL_EVERY);
    }
}
