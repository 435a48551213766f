//! The protocol of Redis, version 2: commands go out, and values come back in the same order.

use std::sync::Arc;

use super::scripts::Script;

/// Longest string that is taken from a server; no answer that is kept comes near.
const BULK_MAX: usize = 16 * 1024 * 1024;
/// Most values in one list.
const LIST_MAX: usize = 65_536;
/// How deep lists lie within lists at most: `CLUSTER SLOTS` has four.
const DEPTH_MAX: usize = 8;
/// Longest line.
const LINE_MAX: usize = 64 * 1024;

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Nil,
    Number(i64),
    Text(Vec<u8>),
    Error(String),
    List(Vec<Value>),
}

impl Value {
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => u64::try_from(*number).ok(),
            Self::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            Self::Nil | Self::Error(_) | Self::List(_) => None,
        }
    }

    pub(super) fn text(&self) -> Option<&[u8]> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn list(&self) -> Option<&[Self]> {
        if let Self::List(list) = self { Some(list) } else { None }
    }

    /// The first word of an error: what kind it is. Nothing else of it is shown to anybody, because
    /// errors may repeat what was sent.
    pub(super) fn error(&self) -> Option<&str> {
        let Self::Error(text) = self else { return None };
        text.split([' ', '\r']).next()
    }
}

/// What comes is not this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server does not speak the protocol of Redis")]
pub(super) struct Garbled;

/// The first value in some bytes and its length; `None` if it is not whole yet.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(Value, usize)>, Garbled> {
    let mut reader = Reader { bytes, at: 0 };
    let value = reader.value(0)?;
    Ok(value.map(|value| (value, reader.at)))
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn value(&mut self, depth: usize) -> Result<Option<Value>, Garbled> {
        let Some(line) = self.line()? else { return Ok(None) };
        let (kind, rest) = line.split_first().ok_or(Garbled)?;
        let lossy = || String::from_utf8_lossy(rest).into_owned();
        Ok(Some(match kind {
            b'+' => Value::Text(rest.to_vec()),
            b'-' => Value::Error(lossy()),
            b':' => Value::Number(number(rest)?),
            b'$' => match usize::try_from(number(rest)?) {
                Err(_negative) => Value::Nil,
                Ok(length) if BULK_MAX < length => return Err(Garbled),
                Ok(length) => match self.bulk(length)? {
                    Some(text) => Value::Text(text.to_vec()),
                    None => return Ok(None),
                },
            },
            b'*' => match usize::try_from(number(rest)?) {
                Err(_negative) => Value::Nil,
                Ok(length) if LIST_MAX < length || DEPTH_MAX <= depth => return Err(Garbled),
                Ok(length) => {
                    let mut list = Vec::new();
                    for _ in 0..length {
                        let Some(value) = self.value(depth + 1)? else { return Ok(None) };
                        list.push(value);
                    }
                    Value::List(list)
                }
            },
            _ => return Err(Garbled),
        }))
    }

    fn line(&mut self) -> Result<Option<&'b [u8]>, Garbled> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(length) = rest.windows(2).position(|pair| pair == b"\r\n") else {
            return if LINE_MAX < rest.len() { Err(Garbled) } else { Ok(None) };
        };
        self.at += length + 2;
        Ok(rest.get(..length))
    }

    fn bulk(&mut self, length: usize) -> Result<Option<&'b [u8]>, Garbled> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some((text, end)) = rest.split_at_checked(length) else { return Ok(None) };
        match end.get(..2) {
            None => Ok(None),
            Some(b"\r\n") => {
                self.at += length + 2;
                Ok(Some(text))
            }
            Some(_) => Err(Garbled),
        }
    }
}

fn number(digits: &[u8]) -> Result<i64, Garbled> {
    std::str::from_utf8(digits).ok().and_then(|it| it.parse().ok()).ok_or(Garbled)
}

/// A command, ready to be sent. Clones share its bytes.
#[derive(Clone, Debug)]
pub(super) struct Command {
    script: Option<&'static Script>,
    count: usize,
    /// What comes behind the name of a script, or all of it.
    arguments: Arc<Vec<u8>>,
}

/// Puts a command together.
#[derive(Debug)]
pub(super) struct Builder {
    script: Option<&'static Script>,
    count: usize,
    arguments: Vec<u8>,
}

impl Builder {
    /// A command with this name.
    pub(super) fn new(name: &str) -> Self {
        Self { script: None, count: 0, arguments: Vec::with_capacity(128) }.text(name)
    }

    /// A call of a script that touches these keys.
    pub(super) fn script(script: &'static Script, keys: &[Vec<u8>]) -> Self {
        let builder = Self { script: Some(script), count: 0, arguments: Vec::with_capacity(512) };
        let counted = builder.number(u64::try_from(keys.len()).unwrap_or(u64::MAX));
        keys.iter().fold(counted, |builder, key| builder.bytes(key))
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        write_bulk(&mut self.arguments, bytes);
        self.count += 1;
        self
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    pub(super) fn number(self, number: u64) -> Self {
        self.text(&number.to_string())
    }

    pub(super) fn flag(self, is_set: bool) -> Self {
        self.text(if is_set { "1" } else { "0" })
    }

    pub(super) fn end(self) -> Command {
        let Self { script, count, arguments } = self;
        Command { script, count, arguments: Arc::new(arguments) }
    }
}

impl Command {
    /// Writes it as it goes over the wire; a script by its text if the server does not know it.
    pub(super) fn write(&self, out: &mut Vec<u8>, by_text: bool) {
        let named = if self.script.is_some() { 2 } else { 0 };
        out.extend(format!("*{}\r\n", self.count + named).bytes());
        if let Some(script) = self.script {
            let (verb, name) =
                if by_text { ("EVAL", &script.text) } else { ("EVALSHA", &script.digest) };
            write_bulk(out, verb.as_bytes());
            write_bulk(out, name.as_bytes());
        }
        out.extend(&*self.arguments);
    }
}

fn write_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(format!("${}\r\n", bytes.len()).bytes());
    out.extend(bytes);
    out.extend(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_whole_or_not_at_all() {
        let bytes = b"*5\r\n+OK\r\n:-7\r\n$4\r\na\r\nb\r\n$-1\r\n*1\r\n-NOSCRIPT no\r\nrest";
        let whole = bytes.len() - 4;
        let list = Value::List(vec![
            Value::Text(b"OK".to_vec()),
            Value::Number(-7),
            Value::Text(b"a\r\nb".to_vec()),
            Value::Nil,
            Value::List(vec![Value::Error("NOSCRIPT no".to_owned())]),
        ]);
        for length in 0..whole {
            assert_eq!(read(&bytes[..length]), Ok(None), "{length}");
        }
        assert_eq!(read(bytes), Ok(Some((list, whole))));
    }

    #[test]
    fn what_is_no_value_is_garbled() {
        let deep = "*1\r\n".repeat(DEPTH_MAX + 1);
        for bytes in
            ["HTTP/1.1 400\r\n", "\r\n", ":x\r\n", "$99999999999\r\n", "$1\r\nab\r\n", &deep]
        {
            assert_eq!(read(bytes.as_bytes()), Err(Garbled), "{bytes}");
        }
        assert_eq!(read(&vec![b'+'; LINE_MAX + 1]), Err(Garbled));
    }

    #[test]
    fn a_command_is_counted_and_binary() {
        let mut out = Vec::new();
        Builder::new("SET").bytes(b"\r\n").number(7).end().write(&mut out, false);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$2\r\n\r\n\r\n$1\r\n7\r\n");
    }
}
