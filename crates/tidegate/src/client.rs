//! The few requests that the command line sends to the admin address of a running balancer.

use std::io::{Read, Write};
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

fn exchange(admin: &str, method: &str, path: &str, body: &str) -> std::io::Result<Reply> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = if admin.contains('/') {
        let stream = UnixStream::connect(admin)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        talk(stream, &request)?
    } else {
        let stream = TcpStream::connect(admin)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        talk(stream, &request)?
    };
    parse(&answer).ok_or_else(|| std::io::Error::other("the answer is not HTTP"))
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
