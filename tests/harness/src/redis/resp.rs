//! A small client for Redis: enough to ask and to break things by hand.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisReply {
    /// Nothing: no such key, or a condition that did not hold.
    Nil,
    /// `OK` and other short words.
    Word(String),
    /// A number.
    Number(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Several answers.
    List(Vec<RedisReply>),
    /// The command was refused; the text begins with a code such as `READONLY`.
    Refused(String),
}

impl RedisReply {
    /// The answer as text: a list has a line for each of its answers.
    pub fn text(&self) -> String {
        match self {
            Self::Nil => String::new(),
            Self::Word(text) | Self::Refused(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::List(list) => list.iter().map(Self::text).collect::<Vec<_>>().join("\n"),
        }
    }

    /// The number, also where it came as text.
    pub fn number(&self) -> Option<i64> {
        self.text().parse().ok()
    }

    /// The answers of a list; everything else has none.
    pub fn list(&self) -> &[RedisReply] {
        if let Self::List(list) = self { list } else { &[] }
    }

    /// The answer, unless the command was refused.
    ///
    /// # Errors
    /// The server refused the command.
    pub fn ok(self) -> io::Result<Self> {
        if let Self::Refused(why) = self {
            return Err(io::Error::other(why));
        }
        Ok(self)
    }
}

/// A connection for any number of commands, one after the other.
#[derive(Debug)]
pub struct RedisConnection {
    stream: BufReader<TcpStream>,
}

impl RedisConnection {
    /// Connects. A read takes at most five seconds.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// How long each read may take.
    ///
    /// # Errors
    /// The timeout is zero, or the socket is dead.
    pub fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(timeout))
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// The connection ends, or no answer comes in time. The connection is of no use then.
    pub fn command<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<RedisReply> {
        self.send(words)?;
        self.read()
    }

    /// Sends a command and reads nothing.
    ///
    /// # Errors
    /// The connection is dead.
    pub fn send<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<()> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            let word = word.as_ref();
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&bytes)
    }

    /// Reads the next answer.
    ///
    /// # Errors
    /// The connection ends, or nothing comes in time.
    pub fn read(&mut self) -> io::Result<RedisReply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| broken(&line))?;
        let count = || rest.parse::<i64>().map_err(|_text| broken(&line));
        Ok(match kind {
            "+" => RedisReply::Word(rest.to_owned()),
            "-" => RedisReply::Refused(rest.to_owned()),
            ":" => RedisReply::Number(count()?),
            "$" | "*" if count()? < 0 => RedisReply::Nil,
            "$" => {
                let length = usize::try_from(count()?).map_err(io::Error::other)?;
                let mut bytes = vec![0; length + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(length);
                RedisReply::Bytes(bytes)
            }
            "*" => {
                RedisReply::List((0..count()?).map(|_nth| self.read()).collect::<Result<_, _>>()?)
            }
            _ => return Err(broken(&line)),
        })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if line.pop() != Some('\n') || line.pop() != Some('\r') {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server hung up"));
        }
        Ok(line)
    }
}

fn broken(line: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("no answer of Redis: {line:?}"))
}
