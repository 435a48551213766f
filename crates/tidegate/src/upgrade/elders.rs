//! The processes that this one replaced, directly or not, and that still drain.
//!
//! A service manager kills what is left of a service when its main process ends. So the process
//! that serves waits for those before it, tells them when the service stops, and hands the lines
//! to them on to its own successor.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tidegate_control::clock;

use super::line::Line;
use super::message::Late;

/// How long a word to a process may take that reads it as it comes.
const WORD: Duration = Duration::from_secs(1);

/// The processes that this one replaced and that are not gone yet. All copies are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Elders(Arc<Mutex<Vec<(u32, UnixStream)>>>);

impl Elders {
    /// One more.
    pub(super) fn add(&self, pid: u32, stream: UnixStream) {
        self.lines().push((pid, stream));
    }

    /// The processes that are not gone yet.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let mut lines = self.lines();
        lines.retain(|(_, stream)| is_there(stream));
        lines.iter().map(|(pid, _)| *pid).collect()
    }

    /// Tells them that the service stops: what they have open has the time that the policy gives.
    pub(crate) fn stop(&self) {
        self.tell(Late::Stop);
    }

    /// Tells them that the service ends at once.
    pub(crate) fn end(&self) {
        self.tell(Late::Now);
    }

    /// Another hold on each line, for a successor.
    pub(super) fn lines_for_successor(&self) -> io::Result<Vec<(u32, OwnedFd)>> {
        let mut lines = self.lines();
        lines.retain(|(_, stream)| is_there(stream));
        lines.iter().map(|(pid, stream)| Ok((*pid, stream.try_clone()?.into()))).collect()
    }

    fn tell(&self, word: Late) {
        for (pid, stream) in &*self.lines() {
            let said = stream.try_clone().map_err(Into::into).and_then(|stream| {
                let mut line = Line::new(stream);
                line.must_end_by(clock::instant() + WORD);
                line.send(&word)
            });
            // Whoever is gone needs no word any more.
            tracing::debug!(pid, ?word, ?said, "told a process that drains");
        }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<(u32, UnixStream)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether somebody holds the other end. A process that drains says nothing.
pub(super) fn is_there(stream: &UnixStream) -> bool {
    let look = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match recv(stream, &mut [0; 1], look) {
        Ok((_, bytes)) => 0 < bytes,
        Err(error) => error == Errno::AGAIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_elder_is_there_until_its_end_of_the_line_is_closed() {
        let elders = Elders::default();
        let (own, theirs) = UnixStream::pair().unwrap();
        elders.add(7, own);
        assert_eq!(elders.pids(), [7]);
        elders.stop();
        elders.end();
        let mut line = Line::new(theirs);
        assert_eq!(line.receive::<Late>().unwrap(), Late::Stop);
        assert_eq!(line.receive::<Late>().unwrap(), Late::Now);
        let (_, passed_on) = elders.lines_for_successor().unwrap().remove(0);
        assert_eq!(elders.pids(), [7]);
        drop(line);
        assert!(elders.pids().is_empty());
        assert!(!is_there(&passed_on.into()));
    }
}
