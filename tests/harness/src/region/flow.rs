//! Answers that go on until they are told to end, and of which both sides know every byte.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use tokio::sync::watch;

use super::body::{Body, Feed, Gone};
use super::query::Query;
use super::sse::event_stream;
use crate::runtime::runtime;

/// The byte at which the last piece of a download begins. No other piece holds it.
const LAST: u8 = 255;
/// Bytes of a download count up to here, a prime, so that a shift by any block shows.
const BYTE_MAX: u64 = 251;

/// What a flow consists of, piece by piece: the same for who sends it and for who checks it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script {
    /// Another seed is another flow.
    pub(crate) seed: u64,
    /// Whether pieces are server-sent events.
    pub(crate) events: bool,
    /// How long a piece is at the most, roughly.
    pub(crate) piece_max: u64,
}

impl Script {
    /// Piece number `n`.
    pub(crate) fn piece(self, n: u64) -> Vec<u8> {
        let length = (self.seed.wrapping_mul(31).wrapping_add(n * 7919)) % self.piece_max.max(1);
        if self.events {
            let letters = (0..length).map(|it| (b'a'..=b'z').nth(letter(n + it)).unwrap_or(b'-'));
            let fill = String::from_utf8(letters.collect()).unwrap_or_default();
            let seed = self.seed;
            return format!("id: {n}\nevent: tick\ndata: {seed} {n} {fill}\n\n").into_bytes();
        }
        let byte = |it| u8::try_from((self.seed.wrapping_add(n * 13) + it) % BYTE_MAX);
        (0..=length).map(|it| byte(it).unwrap_or(0)).collect()
    }

    /// What comes after `n` pieces, at the end.
    pub(crate) fn last(self, n: u64) -> Vec<u8> {
        let told = format!("{n} pieces of {}", self.seed);
        if self.events {
            return format!("event: end\ndata: {told}\n\n").into_bytes();
        }
        [&[LAST], told.as_bytes()].concat()
    }
}

fn letter(n: u64) -> usize {
    usize::try_from(n % 26).unwrap_or(0)
}

/// Which crowds have ended.
type Ends = watch::Receiver<BTreeSet<u64>>;

/// Answers `/flow?seed=S&gap_ms=G&max=P&events=1&crowd=C` with a piece every G ms, or with one and
/// then silence when G is 0, until the crowd ends; then the last piece follows.
pub(crate) fn answer(query: &Query, ends: Ends) -> Response<Body> {
    let script = Script {
        seed: query.number("seed").unwrap_or(0),
        events: query.number("events").unwrap_or(0) != 0,
        piece_max: query.number("max").unwrap_or(1000),
    };
    let gap = Duration::from_millis(query.number("gap_ms").unwrap_or(0));
    let crowd = query.number("crowd").unwrap_or(0);
    let (feed, body) = Feed::new();
    runtime().spawn(async move {
        // A reader that has gone is an ordinary end of a stream.
        let end = ended(ends, crowd);
        send(&feed, script, gap, end).await.ok();
    });
    if script.events {
        return event_stream(body);
    }
    let mut response = Response::new(body);
    let octets = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, octets);
    response
}

async fn ended(mut ends: Ends, crowd: u64) {
    // A region that is dropped ends its connections, and flows with them.
    ends.wait_for(|it| it.contains(&crowd)).await.ok();
}

async fn send(
    feed: &Feed,
    script: Script,
    gap: Duration,
    end: impl Future<Output = ()>,
) -> Result<(), Gone> {
    let mut end = pin!(end);
    let mut n = 0;
    loop {
        feed.data(script.piece(n)).await?;
        n += 1;
        tokio::select! {
            () = feed.gone() => return Err(Gone),
            () = &mut end => break,
            () = tokio::time::sleep(gap), if !gap.is_zero() => {}
        }
    }
    feed.data(script.last(n)).await
}

/// Compares what arrives with what was sent.
#[derive(Debug)]
pub(crate) struct Checker {
    script: Script,
    n: u64,
    rest: Vec<u8>,
    seen: u64,
    is_last: bool,
}

impl Checker {
    /// Nothing has arrived.
    pub(crate) fn new(script: Script) -> Self {
        Self { script, n: 0, rest: Vec::new(), seen: 0, is_last: false }
    }

    /// Takes bytes in; tells what is wrong with them.
    pub(crate) fn arrived(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while let Some(first) = bytes.first() {
            if self.rest.is_empty() {
                self.begin(*first)?;
            }
            let count = bytes.len().min(self.rest.len());
            let (now, later) = bytes.split_at(count);
            let wanted: Vec<u8> = self.rest.drain(..count).collect();
            if let Some(place) = now.iter().zip(&wanted).position(|(a, b)| a != b) {
                let at = self.seen + u64::try_from(place).unwrap_or(0);
                return Err(format!("byte {at} is another one than was sent (piece {})", self.n));
            }
            self.seen += u64::try_from(count).unwrap_or(0);
            bytes = later;
        }
        Ok(())
    }

    /// The next piece begins with this byte.
    fn begin(&mut self, first: u8) -> Result<(), String> {
        if self.is_last {
            return Err(format!("bytes come after the end, at byte {}", self.seen));
        }
        let last = self.script.last(self.n);
        self.is_last = last.first() == Some(&first);
        self.rest = if self.is_last { last } else { self.script.piece(self.n) };
        self.n += 1;
        Ok(())
    }

    /// Whether something has arrived.
    pub(crate) fn has_begun(&self) -> bool {
        0 < self.seen
    }

    /// Whether all of it has arrived; otherwise, what has.
    pub(crate) fn is_whole(&self) -> Result<(), String> {
        if self.is_last && self.rest.is_empty() {
            return Ok(());
        }
        Err(format!("it ended after {} bytes, in piece {}", self.seen, self.n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(script: Script, pieces: u64) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..pieces).flat_map(|n| script.piece(n)).collect();
        bytes.extend(script.last(pieces));
        bytes
    }

    #[test]
    fn a_flow_is_whole_however_it_is_cut_into_pieces() {
        for events in [false, true] {
            let script = Script { seed: 77, events, piece_max: 300 };
            for size in [1, 7, 1000] {
                let mut checker = Checker::new(script);
                assert!(checker.is_whole().is_err());
                for piece in whole(script, 9).chunks(size) {
                    checker.arrived(piece).unwrap();
                }
                checker.is_whole().unwrap();
                assert!(checker.arrived(b"x").is_err(), "nothing follows");
            }
        }
    }

    #[test]
    fn one_byte_that_differs_is_missing_or_comes_twice_is_seen() {
        for events in [false, true] {
            let script = Script { seed: 3, events, piece_max: 40 };
            let right = whole(script, 5);
            for place in 0..right.len() {
                let mut other = right.clone();
                other[place] ^= 1;
                let mut less = right.clone();
                less.remove(place);
                let mut more = right.clone();
                more.insert(place, right[place]);
                for wrong in [other, less, more] {
                    let mut checker = Checker::new(script);
                    let told = checker.arrived(&wrong).and_then(|()| checker.is_whole());
                    assert!(told.is_err() || wrong == right, "{place} {events}");
                }
            }
        }
    }
}
