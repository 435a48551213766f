//! The line between a process and its successor: frames of JSON, with sockets beside them.
//!
//! The line is a pair of sockets without a name. One end is the standard input of the successor,
//! so there is no path to guard, and nobody else can speak on it.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidegate_control::clock;

/// Most bytes of one frame; a memory of a hundred thousand endpoints fits in.
pub(super) const FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Most sockets beside one frame. The kernel takes 253.
pub(super) const SOCKETS_PER_FRAME_MAX: usize = 128;
/// Most sockets that wait to be taken: more than listeners of any policy.
const SOCKETS_WAITING_MAX: usize = 16 * 1024;
/// Bytes of a frame's length, which stands before it in network order.
const LENGTH_BYTES: usize = 4;
/// Shortest time that an operation gets: zero would mean for ever.
const TIME_MIN: Duration = Duration::from_millis(1);
/// Bytes that are read at once, so that a length alone takes no memory.
const CHUNK_BYTES: u64 = 64 * 1024;

/// Why the line is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The other side closed it, or is gone.
    #[error("it closed the line")]
    Closed,
    /// The time is over.
    #[error("it did not answer in time")]
    Late,
    /// A frame is larger than any that we would send.
    #[error("it sent a frame of {0} bytes, and {FRAME_BYTES_MAX} is the most")]
    TooLarge(usize),
    /// A frame holds something else than a message.
    #[error("it sent what is no message: {0}")]
    Garbage(#[from] serde_json::Error),
    /// Sockets came where none belong, or too many, or did not come.
    #[error("it sent another number of sockets than it said")]
    Sockets,
    /// The system refuses.
    #[error("the line failed: {0}")]
    Failed(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock};
        let kind = error.kind();
        if matches!(kind, WouldBlock | TimedOut) {
            Self::Late
        } else if matches!(kind, UnexpectedEof | BrokenPipe | ConnectionReset) {
            Self::Closed
        } else {
            Self::Failed(error)
        }
    }
}

/// One end of the line.
#[derive(Debug)]
pub(crate) struct Line {
    stream: UnixStream,
    until: Option<Instant>,
    sockets: VecDeque<OwnedFd>,
}

impl Line {
    /// This end of a line, without a deadline.
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, until: None, sockets: VecDeque::new() }
    }

    /// A line, and the end of it that becomes somebody's standard input.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (own, other) = UnixStream::pair()?;
        Ok((Self::new(own), other.into()))
    }

    /// Another hold on this end.
    pub(super) fn stream(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }

    /// Everything on this end must be over by then.
    pub(crate) fn must_end_by(&mut self, until: Instant) {
        self.until = Some(until);
    }

    /// From now on this end waits for ever.
    pub(crate) fn may_wait(&mut self) {
        self.until = None;
    }

    /// Sends one message.
    pub(crate) fn send(&mut self, message: &impl Serialize) -> Result<(), Broken> {
        self.send_beside(&[], message)
    }

    /// Sends one message and sockets, of which the other side gets copies.
    pub(crate) fn send_beside(
        &mut self,
        sockets: &[BorrowedFd<'_>],
        message: &impl Serialize,
    ) -> Result<(), Broken> {
        let frame = serde_json::to_vec(message)?;
        if FRAME_BYTES_MAX < frame.len() {
            return Err(Broken::TooLarge(frame.len()));
        }
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes();
        let left = self.time_left()?;
        self.stream.set_write_timeout(left)?;
        let sent = self.send_length(sockets, &length)?;
        self.stream.write_all(length.get(sent..).unwrap_or_default())?;
        self.stream.write_all(&frame)?;
        Ok(())
    }

    /// Waits for one message.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self) -> Result<T, Broken> {
        let length = self.receive_length()?;
        if FRAME_BYTES_MAX < length {
            return Err(Broken::TooLarge(length));
        }
        let mut frame = Vec::new();
        while frame.len() < length {
            let missing = u64::try_from(length - frame.len()).unwrap_or(CHUNK_BYTES);
            let left = self.time_left()?;
            self.stream.set_read_timeout(left)?;
            let mut chunk = (&self.stream).take(missing.min(CHUNK_BYTES));
            if chunk.read_to_end(&mut frame)? == 0 {
                return Err(Broken::Closed);
            }
        }
        Ok(serde_json::from_slice(&frame)?)
    }

    /// Takes sockets that came beside the messages received so far.
    pub(crate) fn take_sockets(&mut self, count: usize) -> Result<Vec<OwnedFd>, Broken> {
        if self.sockets.len() < count {
            return Err(Broken::Sockets);
        }
        Ok(self.sockets.drain(..count).collect())
    }

    fn time_left(&self) -> Result<Option<Duration>, Broken> {
        let Some(until) = self.until else { return Ok(None) };
        let left = until.saturating_duration_since(clock::instant());
        if left.is_zero() { Err(Broken::Late) } else { Ok(Some(left.max(TIME_MIN))) }
    }

    fn send_length(&self, sockets: &[BorrowedFd<'_>], length: &[u8]) -> Result<usize, Broken> {
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_PER_FRAME_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fits = sockets.is_empty() || control.push(SendAncillaryMessage::ScmRights(sockets));
        if SOCKETS_PER_FRAME_MAX < sockets.len() || !fits {
            return Err(Broken::Sockets);
        }
        let slice = [IoSlice::new(length)];
        loop {
            match sendmsg(self.stream.as_fd(), &slice, &mut control, SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                sent => return sent.map_err(|error| io::Error::from(error).into()),
            }
        }
    }

    /// Sockets come with the first byte of a frame, so only its length is read together with them.
    fn receive_length(&mut self) -> Result<usize, Broken> {
        let mut length = [0; LENGTH_BYTES];
        let mut read = 0;
        while let Some(rest) = length.get_mut(read..).filter(|it| !it.is_empty()) {
            let left = self.time_left()?;
            self.stream.set_read_timeout(left)?;
            let (bytes, sockets) = receive_some(&self.stream, rest)?;
            if bytes == 0 {
                return Err(Broken::Closed);
            }
            self.sockets.extend(sockets);
            if SOCKETS_WAITING_MAX < self.sockets.len() {
                return Err(Broken::Sockets);
            }
            read += bytes;
        }
        Ok(usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX))
    }
}

fn receive_some(stream: &UnixStream, into: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Broken> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_PER_FRAME_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slice = [IoSliceMut::new(into)];
    let received = loop {
        match recvmsg(stream.as_fd(), &mut slice, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received.map_err(io::Error::from)?,
        }
    };
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            sockets.extend(received);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Broken::Sockets);
    }
    Ok((received.bytes, sockets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    fn pair() -> (Line, Line) {
        let (one, other) = Line::pair().unwrap();
        (one, Line::new(other.into()))
    }

    fn soon(line: &mut Line, millis: u64) {
        line.must_end_by(clock::instant() + Duration::from_millis(millis));
    }

    #[test]
    fn messages_of_every_size_arrive_whole_and_in_order() {
        let (mut one, mut other) = pair();
        let texts = [0, 1, 100, 65_536, 3_000_000].map(|length| "x".repeat(length));
        let sent = texts.clone();
        let sender = thread::spawn(move || sent.iter().try_for_each(|it| one.send(it)));
        for text in texts {
            assert!(other.receive::<String>().unwrap() == text, "{} bytes", text.len());
        }
        sender.join().unwrap().unwrap();
        assert!(matches!(other.receive::<String>(), Err(Broken::Closed)));
    }

    #[test]
    fn a_listener_that_was_handed_over_takes_the_connections_that_waited() {
        let (mut one, mut other) = pair();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let waiting = TcpStream::connect(address).unwrap();
        one.send_beside(&[listener.as_fd(), listener.as_fd()], &"two").unwrap();
        drop(listener);
        assert_eq!(other.receive::<String>().unwrap(), "two");
        let mut sockets = other.take_sockets(2).unwrap();
        assert!(matches!(other.take_sockets(1), Err(Broken::Sockets)));
        let (_, peer) = TcpListener::from(sockets.remove(0)).accept().unwrap();
        assert_eq!(peer, waiting.local_addr().unwrap());
    }

    #[test]
    fn as_many_sockets_as_a_frame_takes_arrive_and_one_more_is_refused() {
        let (mut one, mut other) = pair();
        let sockets = [one.stream.try_clone().unwrap()];
        let many = |count: usize| vec![sockets[0].as_fd(); count];
        let refused = one.send_beside(&many(SOCKETS_PER_FRAME_MAX + 1), &1);
        assert!(matches!(refused, Err(Broken::Sockets)));
        for nth in 0..3 {
            one.send_beside(&many(SOCKETS_PER_FRAME_MAX), &nth).unwrap();
            assert_eq!(other.receive::<i32>().unwrap(), nth);
        }
        assert_eq!(other.take_sockets(3 * SOCKETS_PER_FRAME_MAX).unwrap().len(), 384);
    }

    #[test]
    fn garbage_is_no_message() {
        let (mut one, mut other) = pair();
        one.stream.write_all(b"\0\0\0\x04what").unwrap();
        assert!(matches!(other.receive::<String>(), Err(Broken::Garbage(_))));
        one.stream.write_all(b"garbage").unwrap();
        assert!(matches!(other.receive::<String>(), Err(Broken::TooLarge(0x6761_7262))));
    }

    #[test]
    fn who_is_silent_or_stops_in_the_middle_is_late() {
        let (mut one, mut other) = pair();
        soon(&mut other, 30);
        assert!(matches!(other.receive::<String>(), Err(Broken::Late)));
        soon(&mut other, 30);
        one.stream.write_all(b"\0\0\0\x04\"").unwrap();
        assert!(matches!(other.receive::<String>(), Err(Broken::Late)));
        other.may_wait();
        drop(one);
        assert!(matches!(other.receive::<String>(), Err(Broken::Closed)));
    }
}
