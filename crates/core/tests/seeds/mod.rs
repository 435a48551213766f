//! Which seeds a run tries: all of them, or the one that `SEED=n` names.

use std::ops::Range;

/// The first `count` seeds, or the one that the environment names.
#[expect(clippy::disallowed_methods, reason = "a person asks for one seed, no policy does")]
pub(crate) fn seeds(count: u64) -> Range<u64> {
    match std::env::var("SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..count,
    }
}
