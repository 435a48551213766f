//! The beginning of a write's body, which is read before the write is claimed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora::{Error, ErrorType, Result};
use tidegate_control::clock;
use tidegate_core::fence::fingerprint::{Fingerprint, Fingerprinter};

/// Bytes of a body that are read before its write is claimed. What a longer body is, is known only
/// once it has flowed past.
pub(crate) const CLAIMED_WITHIN_BYTES: usize = 64 * 1024;
/// Largest body that is read as a whole, where the write is named by it or signed together with it.
pub(crate) const WHOLE_BYTES_MAX: usize = 1024 * 1024;

/// What was read of a body before its write is claimed.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) pieces: VecDeque<Bytes>,
    pub(crate) is_whole: bool,
    bytes: usize,
    fingerprinter: Fingerprinter,
    /// How long the whole body may take, and since when.
    deadline: Option<(Instant, Duration)>,
}

impl Start {
    pub(crate) fn new(fingerprinter: Fingerprinter, deadline: Option<(Instant, Duration)>) -> Self {
        Self { pieces: VecDeque::new(), is_whole: false, bytes: 0, fingerprinter, deadline }
    }

    /// Another piece was read.
    pub(crate) fn push(&mut self, piece: Bytes) {
        self.saw(Some(&piece));
        self.pieces.push_back(piece);
    }

    /// Another piece flows past.
    pub(crate) fn saw(&mut self, piece: Option<&Bytes>) {
        if let Some(piece) = piece {
            self.bytes += piece.len();
            self.fingerprinter.update(piece);
        }
    }

    /// Whether no more is wanted.
    pub(crate) fn is_enough(&self, bytes_max: usize) -> bool {
        self.is_whole || bytes_max < self.bytes
    }

    /// All of it in one piece.
    pub(crate) fn joined(&mut self) -> Bytes {
        if 1 < self.pieces.len() {
            let joined: Vec<u8> = self.pieces.drain(..).flatten().collect();
            self.pieces.push_back(joined.into());
        }
        self.pieces.front().cloned().unwrap_or_default()
    }

    /// What the request is, if that is known by now.
    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        self.is_whole.then(|| self.fingerprinter.clone().finish())
    }

    /// Whether all of it was read and passed on.
    pub(crate) fn is_over(&self) -> bool {
        self.is_whole && self.pieces.is_empty()
    }

    /// # Errors
    /// The body takes too long.
    pub(crate) fn heed_deadline(&self) -> Result<()> {
        let is_late = |(began, within)| within < clock::elapsed_since(began);
        if self.is_whole || !self.deadline.is_some_and(is_late) {
            return Ok(());
        }
        let error = Error::explain(ErrorType::ReadTimedout, "deadline of the request's body");
        Err(error.into_down())
    }
}
