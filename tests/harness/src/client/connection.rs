//! One HTTP/1.1 connection, written by hand so that tests can also do what no library allows.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::events::{Event, Events};
use super::message::{Reply, Request};

/// Where the body of the reply that is being read ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// Nothing of it is left.
    Done,
    Length(usize),
    Chunked,
    UntilClose,
}

/// A connection for any number of requests, one after the other.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    framing: Framing,
    trailers: Vec<(String, String)>,
}

fn broken(what: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.into())
}

fn cut_off(what: &str) -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, format!("the connection ended {what}"))
}

impl Connection {
    /// Connects to `127.0.0.1:8080` or `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn open(address: &str) -> io::Result<Self> {
        let authority = address.strip_prefix("http://").unwrap_or(address);
        let authority = authority.split('/').next().unwrap_or_default();
        let stream = TcpStream::connect(authority)?;
        stream.set_nodelay(true)?;
        let stream = BufReader::new(stream);
        Ok(Self { stream, framing: Framing::Done, trailers: Vec::new() })
    }

    /// Our own address of this connection.
    ///
    /// # Errors
    /// The socket is dead.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().local_addr()
    }

    /// How long each read may take.
    ///
    /// # Errors
    /// The timeout is zero, or the socket is dead.
    pub fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(timeout))
    }

    /// Sends a request and reads the whole reply. The connection can then be used again.
    ///
    /// # Errors
    /// The connection ends early, or nothing comes for the request's timeout.
    pub fn send(&mut self, request: &Request) -> io::Result<Reply> {
        self.set_timeout(request.timeout)?;
        self.send_raw(&request.to_bytes())?;
        self.read_reply(&request.method)
    }

    /// Sends a request and reads the head of the reply; the body is read from the answer.
    ///
    /// # Errors
    /// As for [`Connection::send`].
    pub fn stream(mut self, request: &Request) -> io::Result<Streaming> {
        self.set_timeout(request.timeout)?;
        self.send_raw(&request.to_bytes())?;
        let head = self.read_head(&request.method)?;
        Ok(Streaming { head, connection: self, events: Events::default() })
    }

    /// Sends bytes as they are, for example a malformed request or a part of one.
    ///
    /// # Errors
    /// The connection is dead.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Says that nothing more will be sent, and keeps reading possible.
    ///
    /// # Errors
    /// The connection is dead.
    pub fn finish_sending(&mut self) -> io::Result<()> {
        self.stream.get_ref().shutdown(std::net::Shutdown::Write)
    }

    /// Reads a whole reply to a request of this method.
    ///
    /// # Errors
    /// The connection ends early, the reply is malformed, or nothing comes for the timeout.
    pub fn read_reply(&mut self, method: &str) -> io::Result<Reply> {
        let mut reply = self.read_head(method)?;
        while let Some(piece) = self.read_piece()? {
            reply.body.extend_from_slice(&piece);
        }
        reply.trailers = std::mem::take(&mut self.trailers);
        Ok(reply)
    }

    /// Reads everything up to the end of the connection.
    ///
    /// # Errors
    /// The connection was reset, or nothing comes for the timeout.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether the other side has closed or reset the idle connection.
    ///
    /// # Errors
    /// The socket does not let itself be asked.
    pub fn is_closed(&self) -> io::Result<bool> {
        let socket = self.stream.get_ref();
        socket.set_nonblocking(true)?;
        let peeked = socket.peek(&mut [0]);
        socket.set_nonblocking(false)?;
        Ok(match peeked {
            Ok(count) => count == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        })
    }

    /// Whether the last reply left the connection fit for another request.
    pub fn is_reusable(&self) -> bool {
        self.framing == Framing::Done
    }

    /// Reads the head of a reply, interim ones (100, 103) passed over.
    fn read_head(&mut self, method: &str) -> io::Result<Reply> {
        self.trailers.clear();
        loop {
            let line = self.read_line("before the status line")?;
            let mut words = line.splitn(3, ' ');
            let version = words.next().unwrap_or_default().to_owned();
            if !version.starts_with("HTTP/") {
                return Err(broken(format!("no status line: {line:?}")));
            }
            let status = words.next().unwrap_or_default();
            let status = status.parse().map_err(|_text| broken(format!("status in {line:?}")))?;
            let headers = self.read_fields()?;
            let reply = Reply { status, version, headers, ..Reply::default() };
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            self.framing = framing(&reply, method)?;
            return Ok(reply);
        }
    }

    fn read_line(&mut self, place: &str) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(cut_off(place));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        String::from_utf8(line).map_err(|error| broken(error.to_string()))
    }

    fn read_fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.read_line("inside the headers")?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| broken(format!("no header: {line:?}")))?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// The next piece of the body as it arrived, or nothing at its end.
    fn read_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.framing {
            Framing::Done => Ok(None),
            Framing::Length(left) => {
                let piece = self.read_available(left)?;
                if piece.is_empty() {
                    return Err(cut_off(&format!("{left} bytes before the end of the body")));
                }
                let left = left.saturating_sub(piece.len());
                self.framing = if left == 0 { Framing::Done } else { Framing::Length(left) };
                Ok(Some(piece))
            }
            Framing::UntilClose => {
                let piece = self.read_available(usize::MAX)?;
                Ok(if piece.is_empty() { None } else { Some(piece) })
            }
            Framing::Chunked => self.read_chunk(),
        }
    }

    fn read_available(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let arrived = self.stream.fill_buf()?;
        let count = arrived.len().min(most);
        let piece = arrived.get(..count).unwrap_or_default().to_vec();
        self.stream.consume(count);
        Ok(piece)
    }

    fn read_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.read_line("before a chunk")?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16)
            .map_err(|error| broken(format!("chunk size {line:?}: {error}")))?;
        if size == 0 {
            self.trailers = self.read_fields()?;
            self.framing = Framing::Done;
            return Ok(None);
        }
        let mut chunk = vec![0; size];
        self.stream.read_exact(&mut chunk)?;
        match self.read_line("after a chunk")?.as_str() {
            "" => Ok(Some(chunk)),
            other => Err(broken(format!("wanted the end of a chunk: {other:?}"))),
        }
    }
}

/// RFC 9112, section 6.3.
fn framing(reply: &Reply, method: &str) -> io::Result<Framing> {
    let bodiless = matches!(reply.status, 101 | 204 | 304) || method == "HEAD";
    let coding = reply.header("transfer-encoding");
    Ok(if bodiless {
        Framing::Done
    } else if coding.is_some_and(|it| it.to_ascii_lowercase().ends_with("chunked")) {
        Framing::Chunked
    } else if let Some(length) = reply.header("content-length") {
        match length.parse().map_err(|_text| broken(format!("content-length {length:?}")))? {
            0 => Framing::Done,
            length => Framing::Length(length),
        }
    } else {
        Framing::UntilClose
    })
}

/// A reply whose body is read as it comes.
#[derive(Debug)]
pub struct Streaming {
    /// Status and headers; its body is empty.
    pub head: Reply,
    connection: Connection,
    events: Events,
}

impl Streaming {
    /// The next piece of the body as it arrived, or nothing at its end.
    ///
    /// # Errors
    /// The connection ends early, or nothing comes for the timeout.
    pub fn read_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.connection.read_piece()
    }

    /// The rest of the body.
    ///
    /// # Errors
    /// As for [`Streaming::read_piece`].
    pub fn read_rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        while let Some(piece) = self.read_piece()? {
            rest.extend_from_slice(&piece);
        }
        Ok(rest)
    }

    /// The next server-sent event, or nothing at the end of the stream. Comments are passed over.
    ///
    /// # Errors
    /// As for [`Streaming::read_piece`].
    pub fn read_event(&mut self) -> io::Result<Option<Event>> {
        loop {
            if let Some(event) = self.events.next() {
                return Ok(Some(event));
            }
            match self.connection.read_piece()? {
                Some(piece) => self.events.arrived(&piece),
                None => return Ok(None),
            }
        }
    }

    /// How long each read may take from now on.
    ///
    /// # Errors
    /// The timeout is zero, or the socket is dead.
    pub fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.connection.set_timeout(timeout)
    }

    /// The connection below, for example to speak another protocol after a 101.
    pub fn into_connection(self) -> Connection {
        self.connection
    }
}
