//! The few requests that the command line sends to the admin address of a running balancer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value as Json;

use crate::say::Trouble;

/// Longest time that one read or write may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// An answer of the admin address.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: String,
}

impl Reply {
    /// The body as JSON, or what the balancer had against the request.
    pub(crate) fn json(&self) -> Result<Json, Trouble> {
        let json = serde_json::from_str::<Json>(&self.body);
        let json = json.map_err(|error| Trouble::doing("read the balancer's answer")(&error))?;
        if self.status < 300 {
            return Ok(json);
        }
        let title = json.get("title").and_then(Json::as_str).unwrap_or("no reason given");
        Err(Trouble::Doing("ask the balancer", format!("{} {title}", self.status)))
    }
}

impl Reply {
    /// The body as JSON, or the balancer's refusal with all that it says about it.
    pub(crate) fn allowed(&self) -> Result<Json, Trouble> {
        match serde_json::from_str::<Json>(&self.body) {
            Ok(problem)
                if 300 <= self.status && problem.get("code").is_some_and(Json::is_string) =>
            {
                Err(Trouble::Refused(Box::new(problem)))
            }
            Ok(_) | Err(_) => self.json(),
        }
    }
}

/// Sends one request to `HOST:PORT` or to the path of a socket.
pub(crate) fn send(admin: &str, method: &str, path: &str, body: &str) -> Result<Reply, Trouble> {
    exchange(admin, method, path, body)
        .map_err(|error| Trouble::Doing("ask the balancer", format!("{admin}: {error}")))
}

/// Sends one request, and hears its answer line by line as it comes; answers the last line, or
/// the whole of an answer that does not consist of lines.
///
/// `within` is the longest time between two lines.
pub(crate) fn listen(
    (admin, path, body): (&str, &str, &str),
    within: Duration,
    mut hear: impl FnMut(&str),
) -> Result<Reply, Trouble> {
    let mut heard = || -> std::io::Result<Reply> {
        let mut reader = BufReader::new(open(admin, within)?);
        reader.get_mut().write_all(head("POST", path, body).as_bytes())?;
        let mut lines = reader.take(ANSWER_BYTES_MAX).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let status = first.split(' ').nth(1).and_then(|it| it.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other("the answer is not HTTP"))?;
        let mut last = String::new();
        for line in lines.skip_while(|line| line.as_ref().is_ok_and(|it| !it.is_empty())).skip(1) {
            last = line?;
            hear(&last);
        }
        Ok(Reply { status, body: last })
    };
    heard().map_err(|error| Trouble::Doing("ask the balancer", format!("{admin}: {error}")))
}

fn exchange(admin: &str, method: &str, path: &str, body: &str) -> std::io::Result<Reply> {
    let answer = talk(open(admin, TIMEOUT)?, &head(method, path, body))?;
    parse(&answer).ok_or_else(|| std::io::Error::other("the answer is not HTTP"))
}

/// A request.
fn head(method: &str, path: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// A connection to `HOST:PORT` or to the path of a socket.
fn open(admin: &str, timeout: Duration) -> std::io::Result<Box<dyn ReadWrite>> {
    // An address has a port; a socket in the folder at hand has neither a slash nor a colon.
    if admin.contains('/') || !admin.contains(':') {
        let stream = UnixStream::connect(admin)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Box::new(stream))
    } else {
        let stream = TcpStream::connect(admin)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Box::new(stream))
    }
}

fn talk(mut stream: impl Read + Write, request: &str) -> std::io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}

fn parse(answer: &str) -> Option<Reply> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Reply { status, body: body.to_owned() })
}
