//! What is written into a Redis: the names of its keys, and a record with its two times inside.
//!
//! ```text
//! PREFIX:{BUCKET}:r:KEY   a record       PREFIX:{BUCKET}:m  marker: generation, birth, sequence
//! PREFIX:{BUCKET}:f:KEY   a family       PREFIX:{BUCKET}:o  in flight, by the end of the lease
//! PREFIX:{BUCKET}:a       what was resolved                 :d  in doubt, by the end of the record
//! ```
//!
//! The bucket is three hexadecimal digits in braces, so that a cluster keeps together what a script
//! changes together. A record is the first 52 bytes of version 1, the ends of lease and record, and
//! then what the state has; behind an answer stands its sum. There is none over the head, because
//! scripts change it; Redis has sums over its files.

use std::time::Duration;

use tidegate_core::Moment;
use tidegate_core::fence::key::{BUCKETS, FenceKey};
use tidegate_core::fence::record::{Answer, Doubt, Record, State};
use tidegate_core::fence::rules::Terms;

use crate::record;

/// Bytes of the head that is the same in version 1 of a record.
const HEAD: usize = 52;
/// Bytes before the moment of its creation, which a script adds.
const TEMPLATE: usize = 44;
/// Where the part of a state begins.
const TAIL: usize = 68;
/// The end of time: the largest number that a script can count with.
const NEVER: u64 = (1 << 53) - 1;
/// Slots of a cluster.
const SLOTS: u16 = 16_384;

/// Names of keys.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: Box<str>,
}

/// What is kept under a name of its own in every bucket.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kept {
    Marker,
    InFlight,
    InDoubt,
    Audit,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    pub(super) fn of(&self, bucket: u16, kept: Kept) -> Vec<u8> {
        let letter = match kept {
            Kept::Marker => 'm',
            Kept::InFlight => 'o',
            Kept::InDoubt => 'd',
            Kept::Audit => 'a',
        };
        format!("{}:{{{bucket:03x}}}:{letter}", self.prefix).into_bytes()
    }

    pub(super) fn record(&self, key: FenceKey) -> Vec<u8> {
        self.with_key('r', key)
    }

    pub(super) fn family(&self, key: FenceKey) -> Vec<u8> {
        self.with_key('f', key)
    }

    /// The sign that a window is open, and that somebody looks after the store, for all balancers; and
    /// who owns what.
    pub(super) fn shared(&self, what: &str) -> Vec<u8> {
        format!("{}:{{000}}:{what}", self.prefix).into_bytes()
    }

    /// What every key of ours looks like.
    pub(super) fn pattern(&self) -> Vec<u8> {
        let escape = |letter: char| {
            let is_special = matches!(letter, '*' | '?' | '[' | ']' | '\\');
            [is_special.then_some('\\'), Some(letter)].into_iter().flatten()
        };
        let mut pattern: String = self.prefix.chars().flat_map(escape).collect();
        pattern.push_str(":{*");
        pattern.into_bytes()
    }

    fn with_key(&self, letter: char, key: FenceKey) -> Vec<u8> {
        let mut name = format!("{}:{{{:03x}}}:{letter}:", self.prefix, key.bucket()).into_bytes();
        name.extend(key.0);
        name
    }
}

/// In which slot of a cluster a bucket is.
pub(super) fn slot(bucket: u16) -> u16 {
    let mut sum: u16 = 0;
    for byte in format!("{bucket:03x}").bytes() {
        sum ^= u16::from(byte) << 8;
        for _ in 0..8 {
            let is_high = sum & 0x8000 != 0;
            sum = (sum << 1) ^ if is_high { 0x1021 } else { 0 };
        }
    }
    sum % SLOTS
}

/// All buckets.
pub(super) fn buckets() -> std::ops::Range<u16> {
    0..BUCKETS
}

/// Milliseconds as scripts count them.
pub(super) fn span(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER).min(NEVER)
}

fn stored(moment: Moment) -> [u8; 8] {
    moment.0.min(NEVER).to_be_bytes()
}

/// A moment that a script speaks of.
pub(super) fn moment(number: u64) -> Moment {
    Moment(if NEVER <= number { u64::MAX } else { number })
}

/// The first bytes of a record in this state, as long as nobody knows when it was claimed.
pub(super) fn template(terms: &Terms, state: State, is_resurrected: bool) -> Vec<u8> {
    let record = Record { is_resurrected, ..terms.ended(state, Moment(0)) };
    let mut head = record::content(&record);
    head.truncate(TEMPLATE);
    head
}

/// A whole record.
pub(super) fn encode(record: &Record) -> Vec<u8> {
    let mut value = record::content(record);
    value.truncate(HEAD);
    value.extend(stored(record.lease_until));
    value.extend(stored(record.expires));
    value.extend(tail(&record.state));
    value
}

/// What belongs to a state.
pub(super) fn tail(state: &State) -> Vec<u8> {
    let record = Record { state: state.clone(), ..Record::unreadable(Moment(0), Moment(0)) };
    let mut tail = record::content(&record).split_off(HEAD);
    if matches!(state, State::Completed(_)) {
        let sum = record::sum(&tail);
        tail.extend(sum);
    }
    tail
}

/// What belongs to an answer.
pub(super) fn answer(answer: &Answer) -> Vec<u8> {
    tail(&State::Completed(answer.clone()))
}

/// What belongs to a doubt.
pub(super) fn doubt(doubt: Doubt) -> Vec<u8> {
    tail(&State::InDoubt(doubt))
}

/// The record that some bytes are. Bytes that are not a record are a doubt of nobody's.
pub(super) fn decode(value: &[u8]) -> Record {
    let unreadable = || Record::unreadable(Moment(0), Moment(0));
    read(value).unwrap_or_else(unreadable)
}

fn read(value: &[u8]) -> Option<Record> {
    let (head, rest) = value.split_at_checked(HEAD)?;
    let (times, tail) = rest.split_at_checked(TAIL - HEAD)?;
    let (lease, expires) = times.split_first_chunk()?;
    let expires = expires.first_chunk()?;
    let [lease, expires] = [lease, expires].map(|it| moment(u64::from_be_bytes(*it)));
    let in_sum = |tail| record::read_content(&[head, tail].concat(), lease, expires);
    let is_completed = |record: &Record| matches!(record.state, State::Completed(_));
    match record::summed(tail).and_then(in_sum).filter(is_completed) {
        Some(completed) => Some(completed),
        None => in_sum(tail).filter(|it| !is_completed(it)),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::fence::fingerprint::Fingerprint;
    use tidegate_core::fence::record::{Body, Incarnation, Owner};
    use tidegate_core::id::Epoch;

    use super::*;

    fn record(state: State) -> Record {
        Record {
            owner: Owner { incarnation: Incarnation(7), serial: 9 },
            fingerprint: Some(Fingerprint([3; 16])),
            epoch: Epoch(u64::MAX),
            attempt: 2,
            created: Moment(60_000),
            lease_until: Moment(75_000),
            expires: Moment(u64::MAX),
            is_degraded: true,
            is_resurrected: false,
            state,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let answer = Answer {
            status: 201,
            headers: vec![("etag".into(), b"1"[..].into())],
            body: Body::Whole([0; 99].into()),
        };
        for state in [
            State::InFlight,
            State::InDoubt(Doubt::GatewayAnswered(504)),
            State::Completed(Answer::known_executed()),
            State::Completed(answer),
        ] {
            let record = record(state);
            assert_eq!(decode(&encode(&record)), record);
        }
    }

    #[test]
    fn what_is_no_record_is_in_doubt() {
        let answer = Answer { status: 200, headers: Vec::new(), body: Body::Whole([1; 40].into()) };
        let whole = encode(&record(State::Completed(answer)));
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]).state, State::InDoubt(Doubt::Unreadable));
        }
        for byte in TAIL..whole.len() {
            let mut broken = whole.clone();
            broken[byte] ^= 4;
            assert_eq!(decode(&broken).state, State::InDoubt(Doubt::Unreadable), "{byte}");
        }
    }

    #[test]
    fn names_keep_a_bucket_together() {
        let (names, key) = (Names::new("shop*"), FenceKey([0xff; 32]));
        assert_eq!(names.of(1023, Kept::Marker), b"shop*:{3ff}:m");
        assert!(names.record(key).starts_with(b"shop*:{3ff}:r:\xff\xff"));
        assert_eq!(names.pattern(), b"shop\\*:{*");
        // As `CLUSTER KEYSLOT` computes them.
        assert_eq!([slot(0x000), slot(0x3ff), slot(0x123)], [SLOT_000, SLOT_3FF, SLOT_123]);
    }

    const SLOT_000: u16 = 13_923;
    const SLOT_3FF: u16 = 12_569;
    const SLOT_123: u16 = 5970;
}
