//! Answers: each is measured here, and then read by the crate `redis`.
//!
//! The crate takes strings of any length, a hundred lists within each other, and whatever the third
//! version of the protocol has. Nobody was asked for that, so it is never shown more than one whole
//! answer of the second version that is within our limits.

use redis::{ServerError, Value};

/// Longest answer. The largest records and the slots of the largest cluster are far from it.
pub(super) const ANSWER_MAX: usize = 16 * 1024 * 1024;
/// Most values in one answer, with all lists in it: a cluster that is cut into single slots has so many.
const VALUES_MAX: usize = 262_144;
/// How deep lists lie within lists at most: `CLUSTER SLOTS` has four.
const DEPTH_MAX: usize = 8;
/// Longest line.
const LINE_MAX: usize = 64 * 1024;

/// What comes is not this protocol, or more of it than anybody has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server does not speak the protocol of Redis")]
pub(super) struct Garbled;

/// What has been seen of the answer that is arriving.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Up to where its values are whole.
    at: usize,
    values: usize,
    /// How many values every list still wants that is not whole, the outermost first.
    open: Vec<usize>,
}

impl Reader {
    /// The first answer in some bytes and its length; `None` if it is not whole yet. The bytes begin
    /// with the same ones until it is.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<(Value, usize)>, Garbled> {
        let Some(length) = self.measure(bytes)? else { return Ok(None) };
        *self = Self::default();
        let answer = bytes.get(..length).ok_or(Garbled)?;
        let value = if answer.starts_with(b"-") {
            // An error may repeat what was sent, which is no text. The crate takes nothing else.
            redis::parse_redis_value(String::from_utf8_lossy(answer).as_bytes())
        } else {
            redis::parse_redis_value(answer)
        };
        // What the crate says of it may repeat it.
        value.map(|value| Some((value, length))).map_err(|_garbled| Garbled)
    }

    /// How long the first answer is, once all of it is there.
    fn measure(&mut self, bytes: &[u8]) -> Result<Option<usize>, Garbled> {
        loop {
            let Some((end, inner)) = self.value(bytes)? else { return Ok(None) };
            let values = self.values + 1;
            if ANSWER_MAX < end || VALUES_MAX < values.saturating_add(inner) {
                return Err(Garbled);
            }
            if bytes.len() < end {
                return Ok(None);
            }
            (self.at, self.values) = (end, values);
            if 0 < inner {
                self.open.push(inner);
                if DEPTH_MAX < self.open.len() {
                    return Err(Garbled);
                }
                continue;
            }
            while let Some(missing) = self.open.last_mut() {
                *missing -= 1;
                if 0 < *missing {
                    break;
                }
                self.open.pop();
            }
            if self.open.is_empty() {
                return Ok(Some(end));
            }
        }
    }

    /// Where the next value ends, and how many values are in it; a list ends where its first one
    /// begins.
    fn value(&self, bytes: &[u8]) -> Result<Option<(usize, usize)>, Garbled> {
        let rest = bytes.get(self.at..).unwrap_or_default();
        let Some((kind, rest)) = rest.split_first() else { return Ok(None) };
        if !b"+-:$*".contains(kind) {
            return Err(Garbled);
        }
        let Some(length) = rest.windows(2).position(|pair| pair == b"\r\n") else {
            return if LINE_MAX < rest.len() { Err(Garbled) } else { Ok(None) };
        };
        let end = self.at + 1 + length + 2;
        if matches!(kind, b'+' | b'-') {
            return Ok(Some((end, 0)));
        }
        let number = rest.get(..length).and_then(number_of).ok_or(Garbled)?;
        // A negative length is that of nothing.
        let length = usize::try_from(number).ok();
        Ok(Some(match (kind, length) {
            (b'$', Some(length)) => (end.saturating_add(length).saturating_add(2), 0),
            (b'*', Some(length)) => (end, length),
            _ => (end, 0),
        }))
    }
}

fn number_of(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A number, also one that is written as a text. The conversions of the crate would make a large one
/// of a negative one.
pub(super) fn number(value: &Value) -> Option<u64> {
    if let Value::Int(number) = value {
        return u64::try_from(*number).ok();
    }
    std::str::from_utf8(text(value)?).ok()?.parse().ok()
}

pub(super) fn text(value: &Value) -> Option<&[u8]> {
    if let Value::BulkString(text) = value {
        return Some(text);
    }
    if let Value::SimpleString(text) = value {
        return Some(text.as_bytes());
    }
    matches!(value, Value::Okay).then_some(b"OK")
}

pub(super) fn list(value: &Value) -> Option<&[Value]> {
    if let Value::Array(list) = value { Some(list) } else { None }
}

/// Only the code of an error is ever shown to anybody, because the rest may repeat what was sent.
pub(super) fn error(value: &Value) -> Option<&ServerError> {
    if let Value::ServerError(error) = value { Some(error) } else { None }
}

/// What kind of error it is.
pub(super) fn code(value: &Value) -> Option<&str> {
    error(value).map(ServerError::code)
}

#[cfg(test)]
pub(super) mod tests;
