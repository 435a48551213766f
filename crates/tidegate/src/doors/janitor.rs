//! Ends connections that waited too long. One look at all of them now and then is cheaper than a
//! timer for each, and no request notices it.

use std::time::{Duration, Instant};

use tidegate_control::clock;
use tidegate_proxy::connection::{Connection, Doing};
use tokio::time::{MissedTickBehavior, interval};

/// Time from one look to the next; a limit may be passed by as much.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Time for which a connection that is to end may stay idle: a request that is on its way to us
/// when we let go is still answered.
const PARTING: Duration = Duration::from_secs(1);

/// Looks, again and again, for ever.
pub(super) async fn every_so_often(look: impl Fn()) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        looks.tick().await;
        look();
    }
}

/// How long a connection may do what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) head: Duration,
    pub(super) keepalive: Duration,
}

/// What a connection was seen doing, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    doing: (Doing, u64),
    since: Instant,
    /// Since when it was to end.
    closing: Option<Instant>,
    ended: bool,
}

/// Why a connection was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was idle for too long.
    Idle,
    /// The head of a request took too long.
    Late,
    /// It was to end, and nothing happened on it.
    Parted,
}

impl Seen {
    pub(super) fn now(connection: &Connection) -> Self {
        Self { doing: connection.doing(), since: clock::instant(), closing: None, ended: false }
    }

    /// Looks again, and ends the connection when it did the same for too long.
    pub(super) fn again(&mut self, connection: &Connection, limits: Limits) -> Option<Ended> {
        connection.look_for_answer();
        let doing = connection.doing();
        if doing != self.doing {
            (self.doing, self.since) = (doing, clock::instant());
        }
        if connection.is_closing() && self.closing.is_none() {
            self.closing = Some(clock::instant());
        }
        let waited = clock::elapsed_since(self.since);
        let parted = self.closing.is_some_and(|it| PARTING <= clock::elapsed_since(it));
        let ended = match doing.0 {
            _ if self.ended => None,
            Doing::Idle if limits.keepalive <= waited => Some(Ended::Idle),
            Doing::Idle if parted && PARTING <= waited => Some(Ended::Parted),
            Doing::Head if limits.head <= waited => Some(Ended::Late),
            Doing::Idle | Doing::Head | Doing::Requests => None,
        };
        match ended {
            Some(Ended::Idle | Ended::Parted) => connection.cut(),
            Some(Ended::Late) => connection.give_up(),
            None => {}
        }
        self.ended |= ended.is_some();
        ended
    }
}
