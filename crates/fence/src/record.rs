//! How a record is written down: version 1 of the format.
//!
//! ```text
//! 0  version 1    1  state 1     2  flags 1     3  attempt 1     4  owner 16
//! 20 fingerprint 16              36 epoch 8     44 created 8     52 what the state has
//! last 4: CRC-32C of everything before
//! ```
//!
//! Numbers are big-endian. The end of the lease and the end of the record stand beside it, in
//! whatever way the store can search by them. A record that cannot be read is in doubt, and never
//! absent: somebody wrote it because a write was claimed.

use tidegate_core::Moment;
use tidegate_core::fence::fingerprint::{FINGERPRINT_BYTES, Fingerprint};
use tidegate_core::fence::record::{Answer, Body, Doubt, Owner, Record, State};
use tidegate_core::id::Epoch;

mod crc;
#[cfg(test)]
pub(crate) mod tests;

/// The version that is written.
pub const VERSION: u8 = 1;
/// Bytes of a record that is in flight.
pub const IN_FLIGHT_BYTES: usize = 56;

const IN_FLIGHT: u8 = 1;
const COMPLETED: u8 = 2;
const IN_DOUBT: u8 = 3;

const DEGRADED: u8 = 1;
const RESURRECTED: u8 = 2;
const FINGERPRINTED: u8 = 4;

const WHOLE: u8 = 0;
const DIGEST: u8 = 1;
const STREAMED: u8 = 2;
const PARTIAL: u8 = 3;
const NOT_KEPT: u8 = 4;

/// The number that stands for a state in a record, and beside it where a store searches by it.
pub fn state_number(state: &State) -> u8 {
    match state {
        State::InFlight => IN_FLIGHT,
        State::Completed(_) => COMPLETED,
        State::InDoubt(_) => IN_DOUBT,
    }
}

/// A record as it is written down, without its two times that stand beside it.
pub fn encode(record: &Record) -> Vec<u8> {
    let mut out = content(record);
    let crc = crc::of(&out);
    out.extend(crc.to_be_bytes());
    out
}

/// A record without the sum that covers it, for a store that changes records itself.
pub(crate) fn content(record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(IN_FLIGHT_BYTES);
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let flags = flag(record.is_degraded, DEGRADED)
        | flag(record.is_resurrected, RESURRECTED)
        | flag(record.fingerprint.is_some(), FINGERPRINTED);
    out.extend([VERSION, state_number(&record.state), flags, record.attempt]);
    out.extend(record.owner.to_bytes());
    out.extend(record.fingerprint.map_or([0; FINGERPRINT_BYTES], |it| it.0));
    out.extend(record.epoch.0.to_be_bytes());
    out.extend(record.created.0.to_be_bytes());
    match &record.state {
        State::InFlight => {}
        State::Completed(answer) => encode_answer(answer, &mut out),
        State::InDoubt(doubt) => encode_doubt(*doubt, &mut out),
    }
    out
}

/// The record that some bytes are, with the two times that stood beside them. Bytes that are not a
/// record are a doubt of nobody's.
pub fn decode(bytes: &[u8], lease_until: Moment, expires: Moment) -> Record {
    read(bytes, lease_until, expires).unwrap_or_else(|| Record::unreadable(lease_until, expires))
}

fn read(bytes: &[u8], lease_until: Moment, expires: Moment) -> Option<Record> {
    read_content(summed(bytes)?, lease_until, expires)
}

/// What is before a sum that is right.
pub(crate) fn summed(bytes: &[u8]) -> Option<&[u8]> {
    let (content, crc) = bytes.split_last_chunk()?;
    (crc::of(content) == u32::from_be_bytes(*crc)).then_some(content)
}

/// The sum that covers some bytes.
pub(crate) fn sum(bytes: &[u8]) -> [u8; 4] {
    crc::of(bytes).to_be_bytes()
}

/// The record that [`content`] has made bytes of.
pub(crate) fn read_content(content: &[u8], lease_until: Moment, expires: Moment) -> Option<Record> {
    let mut reader = Reader { rest: content };
    let [version, state, flags, attempt] = reader.array()?;
    if version != VERSION || DEGRADED | RESURRECTED | FINGERPRINTED < flags {
        return None;
    }
    let owner = Owner::from_bytes(reader.array()?);
    let fingerprint = reader.array()?;
    let is_fingerprinted = flags & FINGERPRINTED != 0;
    if !is_fingerprinted && fingerprint != [0; FINGERPRINT_BYTES] {
        return None;
    }
    let record = Record {
        owner,
        fingerprint: is_fingerprinted.then_some(Fingerprint(fingerprint)),
        epoch: Epoch(reader.u64()?),
        attempt,
        created: Moment(reader.u64()?),
        lease_until,
        expires,
        is_degraded: flags & DEGRADED != 0,
        is_resurrected: flags & RESURRECTED != 0,
        state: match state {
            IN_FLIGHT => State::InFlight,
            COMPLETED => State::Completed(read_answer(&mut reader)?),
            IN_DOUBT => State::InDoubt(read_doubt(&mut reader)?),
            _ => return None,
        },
    };
    reader.rest.is_empty().then_some(record)
}

fn encode_doubt(doubt: Doubt, out: &mut Vec<u8>) {
    let (number, status) = match doubt {
        Doubt::LeaseOver => (0, 0),
        Doubt::OwnerDied => (1, 0),
        Doubt::NoAnswer => (2, 0),
        Doubt::GatewayAnswered(status) => (3, status),
        Doubt::Dropped => (4, 0),
        Doubt::StoreForgot => (5, 0),
        Doubt::Unreadable => (6, 0),
    };
    out.push(number);
    out.extend(status.to_be_bytes());
}

fn read_doubt(reader: &mut Reader<'_>) -> Option<Doubt> {
    let [number] = reader.array()?;
    Some(match (number, reader.u16()?) {
        (0, 0) => Doubt::LeaseOver,
        (1, 0) => Doubt::OwnerDied,
        (2, 0) => Doubt::NoAnswer,
        (3, status) => Doubt::GatewayAnswered(status),
        (4, 0) => Doubt::Dropped,
        (5, 0) => Doubt::StoreForgot,
        (6, 0) => Doubt::Unreadable,
        _ => return None,
    })
}

fn encode_answer(answer: &Answer, out: &mut Vec<u8>) {
    out.extend(answer.status.to_be_bytes());
    // Who keeps an answer has limits far below these; what does not fit is left out whole.
    let fits = |(name, value): &&(Box<str>, Box<[u8]>)| {
        u8::try_from(name.len()).is_ok() && u16::try_from(value.len()).is_ok()
    };
    let headers = || answer.headers.iter().filter(fits).take(usize::from(u8::MAX));
    out.push(u8::try_from(headers().count()).unwrap_or(u8::MAX));
    for (name, value) in headers() {
        out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.extend(name.as_bytes());
        out.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend(&**value);
    }
    match &answer.body {
        Body::Whole(body) => {
            out.push(WHOLE);
            out.extend(&**body);
        }
        Body::Digest { length, sha256 } => {
            out.push(DIGEST);
            out.extend(length.to_be_bytes());
            out.extend(sha256);
        }
        Body::Streamed => out.push(STREAMED),
        Body::Partial => out.push(PARTIAL),
        Body::NotKept => out.push(NOT_KEPT),
    }
}

fn read_answer(reader: &mut Reader<'_>) -> Option<Answer> {
    let status = reader.u16()?;
    let [count] = reader.array()?;
    let mut headers = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let [length] = reader.array()?;
        let name = std::str::from_utf8(reader.take(usize::from(length))?).ok()?;
        let length = reader.u16()?;
        let value = reader.take(usize::from(length))?;
        headers.push((name.into(), value.into()));
    }
    let [kind] = reader.array()?;
    let body = match kind {
        // Whatever is left.
        WHOLE => Body::Whole(std::mem::take(&mut reader.rest).into()),
        DIGEST => Body::Digest { length: reader.u64()?, sha256: reader.array()? },
        STREAMED => Body::Streamed,
        PARTIAL => Body::Partial,
        NOT_KEPT => Body::NotKept,
        _ => return None,
    };
    Some(Answer { status, headers, body })
}

/// Takes bytes from the front, as long as there are any.
struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}
