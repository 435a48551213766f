//! The only place that reads a clock.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tidegate_core::Moment;

/// The wall clock at the start, and the monotonic clock that counts on from there.
static START: LazyLock<(u64, Instant)> = LazyLock::new(read_clocks);

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
fn read_clocks() -> (u64, Instant) {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (u64::try_from(wall.as_millis()).unwrap_or(u64::MAX), Instant::now())
}

/// When this process first looked at the clock, which is when it started.
pub fn start() -> Moment {
    Moment(START.0)
}

/// This moment, for decisions.
pub fn now() -> Moment {
    let (wall, started) = *START;
    Moment(wall).plus(elapsed_since(started))
}

/// The last moment that somebody read for everybody; 0 when nobody has.
static COARSE_MS: AtomicU64 = AtomicU64::new(0);

/// A moment of not long ago, for those who cannot afford to read the clock for each piece of a
/// stream: as old as the last [`refresh`], which the controller makes at every tick.
pub fn coarse() -> Moment {
    match COARSE_MS.load(Ordering::Relaxed) {
        0 => refresh(),
        read_ms => Moment(read_ms),
    }
}

/// Reads the clock for [`coarse`].
pub fn refresh() -> Moment {
    let read = now();
    COARSE_MS.store(read.0, Ordering::Relaxed);
    read
}

/// The moment of an [`instant`], without reading the clock again.
pub fn moment_of(instant: Instant) -> Moment {
    let (wall, started) = *START;
    Moment(wall).plus(instant.saturating_duration_since(started))
}

/// This moment, for measuring a duration with [`elapsed_since`].
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
pub fn instant() -> Instant {
    Instant::now()
}

/// The time that has passed since an earlier [`instant`].
pub fn elapsed_since(earlier: Instant) -> Duration {
    instant().saturating_duration_since(earlier)
}
