//! One connection of a client: what is happening on it, and when it has to end.
//!
//! The request path only counts: a request begins, a request ends, bytes came. Whoever keeps the
//! listener looks at all of its connections now and then, and so no request needs a timer or a
//! clock of its own.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::task::AtomicWaker;
use http::HeaderValue;
use pingora::protocols::Digest;
use tidegate_control::clock;
use tidegate_core::Moment;

pub use metrics::ConnectionMetrics;
pub use stream::ClientStream;

use crate::session::LastToken;

mod frames;
mod metrics;
mod stream;

/// One request in [`Connection::requests`].
const OPEN: u64 = 1;
/// One turn in [`Connection::requests`]: whatever happens, the number is another one.
const TURN: u64 = 1 << 32;

/// Nobody waits for the beginning of an answer, in [`Connection::answer_by`].
const NOT_AWAITED: u64 = 0;
/// The answer did not begin in time, and the request is to hear of it.
const LATE: u64 = u64::MAX;
/// The request heard that.
const LATE_TOLD: u64 = u64::MAX - 1;

/// What all connections of one listener have in common.
#[derive(Debug, Default)]
pub struct Door {
    closing: AtomicBool,
}

impl Door {
    /// Lets connections go: from now on each ends after the request that it carries.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Whether its connections are to end.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}

/// What happens on a connection at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Nothing: no request is there, nor the beginning of one.
    Idle,
    /// The head of a request has begun and not ended.
    Head,
    /// It carries requests.
    Requests,
}

/// One connection of a client.
#[derive(Debug)]
pub struct Connection {
    door: Arc<Door>,
    /// The address of the client, as endpoints are told.
    peer: Option<HeaderValue>,
    /// Open requests in the lower half, turns in the upper half.
    requests: AtomicU64,
    /// Whether bytes came that belong to no request yet.
    head: AtomicBool,
    late: AtomicBool,
    cut: AtomicBool,
    waker: AtomicWaker,
    /// When the answer to the only request must have begun, in milliseconds of the clock, or one of
    /// the words above. All in one number, so that a late word never reaches an answer that runs.
    answer_by: AtomicU64,
    /// Whether this process is its own client here.
    is_own: bool,
    last_token: LastToken,
}

impl Connection {
    /// A connection that came in through a door, from an address if it has one.
    pub fn new(door: Arc<Door>, peer: Option<IpAddr>) -> Self {
        Self {
            door,
            // An address is always a value.
            peer: peer.and_then(|it| HeaderValue::try_from(it.to_string()).ok()),
            is_own: false,
            requests: AtomicU64::new(0),
            head: AtomicBool::new(false),
            late: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            answer_by: AtomicU64::new(NOT_AWAITED),
            last_token: LastToken::default(),
        }
    }

    /// A connection of this process to itself: every request on it is answered by the proxy, asks
    /// no endpoint, and is neither logged nor counted.
    pub fn own(door: Arc<Door>) -> Self {
        Self { is_own: true, ..Self::new(door, None) }
    }

    /// Whether this process is its own client here.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// The address of the client, if it has one.
    pub fn peer(&self) -> Option<&HeaderValue> {
        self.peer.as_ref()
    }

    /// The session token that came over it last.
    pub fn last_token(&self) -> &LastToken {
        &self.last_token
    }

    /// The connection behind a session, as its digest has it.
    pub fn of(digest: Option<&Digest>) -> Option<&Arc<Self>> {
        digest?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
    }

    /// A request begins, and lasts as long as what is returned.
    pub fn begin(self: &Arc<Self>) -> OnConnection {
        self.requests.fetch_add(OPEN + TURN, Ordering::Relaxed);
        self.head.store(false, Ordering::Relaxed);
        OnConnection(Arc::clone(self))
    }

    /// What happens now, and a number that is another one whenever something happened since.
    pub fn doing(&self) -> (Doing, u64) {
        let requests = self.requests.load(Ordering::Relaxed);
        let head = self.head.load(Ordering::Relaxed);
        let doing = match (requests % TURN, head) {
            (0, false) => Doing::Idle,
            (0, true) => Doing::Head,
            (_, _) => Doing::Requests,
        };
        (doing, requests / TURN)
    }

    /// Whether it is to end after the requests that it carries.
    pub fn is_closing(&self) -> bool {
        self.door.is_closing()
    }

    /// The head of a request took too long: the client is told, and the connection ends.
    pub fn give_up(&self) {
        self.late.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Ends the connection at once, whatever it carries.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Whether it has to end at once; if not, the task is woken when it has to.
    pub fn is_cut(&self, waker: &std::task::Waker) -> bool {
        self.waker.register(waker);
        self.cut.load(Ordering::Relaxed)
    }

    /// The answer to the request must begin by then. Only for connections that carry one request at
    /// a time: nobody could say which of several is late.
    pub fn awaits_answer(&self, by: Moment) {
        self.answer_by.store(by.0, Ordering::Relaxed);
    }

    /// The answer has begun, or nobody waits for it any more; answers whether it came too late.
    pub fn has_answer(&self) -> bool {
        self.answer_by.load(Ordering::Relaxed) != NOT_AWAITED
            && self.answer_by.swap(NOT_AWAITED, Ordering::Relaxed) == LATE_TOLD
    }

    /// Lets the request hear that its answer is late, if it is.
    pub fn look_for_answer(&self) {
        let by = self.answer_by.load(Ordering::Relaxed);
        let awaited = NOT_AWAITED < by && by < LATE_TOLD;
        if awaited && by <= clock::now().0 && self.turns(by, LATE) {
            self.waker.wake();
        }
    }

    /// Whether the request is to hear now that its answer is late.
    fn hears_late(&self) -> bool {
        self.answer_by.load(Ordering::Relaxed) == LATE && self.turns(LATE, LATE_TOLD)
    }

    /// Whether nothing else has happened to the answer meanwhile.
    fn turns(&self, from: u64, to: u64) -> bool {
        let (done, else_) = (Ordering::Relaxed, Ordering::Relaxed);
        self.answer_by.compare_exchange(from, to, done, else_).is_ok()
    }

    /// Bytes came that belong to no request that is there.
    fn heads(&self, head: bool) {
        if head != self.head.load(Ordering::Relaxed) {
            self.head.store(head, Ordering::Relaxed);
            self.requests.fetch_add(TURN, Ordering::Relaxed);
        }
    }

    fn has_requests(&self) -> bool {
        !self.requests.load(Ordering::Relaxed).is_multiple_of(TURN)
    }
}

/// A request on a connection. Dropping it ends the request, whatever ended it.
#[derive(Debug)]
pub struct OnConnection(Arc<Connection>);

impl OnConnection {
    /// The connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.0
    }
}

impl Drop for OnConnection {
    fn drop(&mut self) {
        self.0.has_answer();
        let before = self.0.requests.fetch_add(TURN - OPEN, Ordering::Relaxed);
        debug_assert!(!before.is_multiple_of(TURN), "a request ended twice");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_late_only_until_it_begins() {
        let connection = Arc::new(Connection::new(Arc::default(), None));
        let (past, future) = (Moment(1), clock::now().plus(std::time::Duration::from_hours(1)));
        connection.look_for_answer();
        connection.awaits_answer(future);
        connection.look_for_answer();
        assert!(!connection.hears_late() && !connection.has_answer(), "it has an hour");
        connection.awaits_answer(past);
        assert!(!connection.hears_late(), "nobody has looked");
        connection.look_for_answer();
        assert!(connection.hears_late() && !connection.hears_late(), "once");
        assert!(connection.has_answer() && !connection.has_answer(), "and told once");
        connection.awaits_answer(past);
        connection.look_for_answer();
        assert!(!connection.has_answer(), "it began before the request heard of it");
        assert!(!connection.hears_late());
        let request = connection.begin();
        connection.awaits_answer(past);
        drop(request);
        connection.look_for_answer();
        assert!(!connection.hears_late(), "the next request has nothing to do with it");
    }

    #[test]
    fn a_connection_knows_what_it_does() {
        let connection = Arc::new(Connection::new(Arc::default(), None));
        let mut turns = vec![connection.doing()];
        connection.heads(true);
        turns.push(connection.doing());
        connection.heads(true);
        assert_eq!(connection.doing(), turns[1], "a head may come in many pieces");
        let first = connection.begin();
        turns.push(connection.doing());
        let second = connection.begin();
        drop(first);
        turns.push(connection.doing());
        drop(second);
        turns.push(connection.doing());
        let doing: Vec<_> = turns.iter().map(|(it, _)| *it).collect();
        assert_eq!(
            doing,
            [Doing::Idle, Doing::Head, Doing::Requests, Doing::Requests, Doing::Idle]
        );
        assert!(turns.windows(2).all(|it| it[0].1 != it[1].1), "{turns:?}");
    }
}
