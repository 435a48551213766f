//! Handing over: one attempt to be replaced by a successor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use tidegate_control::clock;
use tokio::runtime;
use tokio::time::timeout;

use super::line::{Broken, Line, SOCKETS_PER_FRAME_MAX};
use super::memory::Remembered;
use super::message::{Key, Knowledge, Late, Lot, PROTOCOL, Said, Told};
use super::successor::Successor;
use super::{Called, Inner, Progress, Wanted};
use crate::ending::{Cause, Ending};
use crate::notify;

/// How long we wait for our own listeners to be shut before we say that the successor serves.
const LEFT_WITHIN: Duration = Duration::from_secs(5);
/// Why a successor does not serve.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0} cannot be started: {1}")]
    Start(String, io::Error),
    #[error("the successor was not heard to the end: {0}")]
    Line(#[from] Broken),
    #[error("the successor ended: {0}")]
    Ended(String),
    #[error("the successor says: {0}")]
    Said(String),
    #[error("the successor speaks protocol {0} and not {PROTOCOL}")]
    Protocol(u32),
    #[error("the successor said something out of turn")]
    OutOfTurn,
    #[error("the successor says that it is process {0}, which it is not")]
    Stranger(u32),
    #[error("{0} cannot be handed over")]
    Own(&'static str),
    #[error("this process was told to stop meanwhile")]
    Stopped,
}

/// Tries to be replaced, from the first step to the last word.
pub(super) fn upgrade(
    inner: &Inner,
    runtime: &runtime::Handle,
    (called, wanted): (&Called, &Wanted),
    tell: &dyn Fn(Progress),
) {
    let successor = inner.under_way().clone().unwrap_or_default();
    let attempt = Attempt { inner, runtime, successor: &successor, force: wanted.force, tell };
    let until = clock::instant() + wanted.within;
    let binary = wanted.binary.as_deref().unwrap_or(&called.binary);
    match attempt.hand_over(binary, called, until) {
        Ok(Heir { pid, version, line }) => {
            successor.let_go();
            // Whoever hears that the successor serves will not meet this process any more.
            drop(runtime.block_on(async { timeout(LEFT_WITHIN, inner.ending.left()).await }));
            tracing::info!(pid, version, "the successor serves, this process drains");
            tell(Progress::Done { pid, version });
            listen(inner.ending.clone(), line);
        }
        Err(failure) => {
            successor.end();
            inner.handle.metrics().upgraded("failed");
            let why = failure.to_string();
            tracing::error!(why, "not upgraded, this process goes on");
            tell(Progress::Failed(why));
            inner.stays();
        }
    }
}

/// A successor that serves.
struct Heir {
    pid: u32,
    version: String,
    line: Line,
}

/// Hears what the successor has to say as long as this process drains.
fn listen(ending: Ending, mut line: Line) {
    line.may_wait();
    let hears = move || {
        while let Ok(word) = line.receive::<Late>() {
            match word {
                Late::Stop => ending.begin(Cause::Told),
                Late::Now => ending.at_once(),
            };
        }
        // The line stays open as long as this process lives: its end is how that is known.
        std::mem::forget(line);
    };
    // Without the thread the service merely waits longer for its end.
    drop(thread::Builder::new().name("elder".to_owned()).spawn(hears));
}

struct Attempt<'a> {
    inner: &'a Inner,
    runtime: &'a runtime::Handle,
    successor: &'a Successor,
    force: bool,
    tell: &'a dyn Fn(Progress),
}

impl Attempt<'_> {
    fn step(&self, step: String) {
        tracing::info!(step, "upgrade");
        (self.tell)(Progress::Step(step));
    }

    fn hand_over(&self, binary: &Path, called: &Called, until: Instant) -> Result<Heir, Failure> {
        let start = |error| Failure::Start(binary.display().to_string(), error);
        let (mut line, theirs) = Line::pair().map_err(start)?;
        line.must_end_by(until);
        self.successor.start(binary, called, theirs).map_err(start)?;
        self.step(format!("started {}", binary.display()));
        match self.talk(&mut line) {
            Ok((pid, version)) => Ok(Heir { pid, version, line }),
            Err(Failure::Line(Broken::Closed)) => Err(match self.successor.last_words() {
                Some(status) => Failure::Ended(status),
                None => Failure::Line(Broken::Closed),
            }),
            Err(failure) => Err(failure),
        }
    }

    /// Everything that is said until the successor serves; answers its process and version.
    fn talk(&self, line: &mut Line) -> Result<(u32, String), Failure> {
        let (pid, version) = match line.receive()? {
            Said::Hello { protocol: PROTOCOL, pid, version } => (pid, version),
            Said::Hello { protocol, .. } => return Err(Failure::Protocol(protocol)),
            Said::Failed(why) => return Err(Failure::Said(why)),
            Said::Step(_) | Said::Ready => return Err(Failure::OutOfTurn),
        };
        self.step(format!("process {pid}, version {version}, has read its policy"));
        self.give(line)?;
        loop {
            match line.receive()? {
                Said::Step(step) => self.step(step),
                Said::Ready => break,
                Said::Failed(why) => return Err(Failure::Said(why)),
                Said::Hello { .. } => return Err(Failure::OutOfTurn),
            }
        }
        if !self.successor.is(pid) {
            return Err(Failure::Stranger(pid));
        }
        self.step("it is ready".to_owned());
        // The manager hears who is the main process before it hears from there.
        notify::main_process(pid);
        if let Err(failure) = self.let_serve(line) {
            notify::main_process(std::process::id());
            return Err(failure);
        }
        Ok((pid, version))
    }

    /// Says the last word: until then nothing has changed.
    fn let_serve(&self, line: &mut Line) -> Result<(), Failure> {
        line.send(&Told::Serve)?;
        if self.inner.ending.begin(Cause::Succeeded) { Ok(()) } else { Err(Failure::Stopped) }
    }

    /// Hands over the sockets, and then all that is known.
    fn give(&self, line: &mut Line) -> Result<(), Failure> {
        let own = |what: &'static str| {
            move |error: io::Error| {
                tracing::error!(%error, what, "nothing to hand over");
                Failure::Own(what)
            }
        };
        let estate = self.inner.estate.get().ok_or(Failure::Own("a listener"))?;
        let mut lots: Vec<(Lot, OwnedFd)> = Vec::new();
        for (name, socket) in (estate.sockets)().map_err(own("a listener"))? {
            lots.push((Lot::Listens(name), socket));
        }
        for (name, socket) in estate.lent.sockets().map_err(own("a listener"))? {
            lots.push((Lot::Lent(name), socket));
        }
        for (pid, elder) in self.inner.elders.lines_for_successor().map_err(own("a line"))? {
            lots.push((Lot::Drains(pid), elder));
        }
        for lots in lots.chunks(SOCKETS_PER_FRAME_MAX) {
            let sockets: Vec<BorrowedFd<'_>> = lots.iter().map(|(_, it)| it.as_fd()).collect();
            let names = lots.iter().map(|(lot, _)| lot.clone()).collect();
            line.send_beside(&sockets, &Told::Sockets(names))?;
        }
        self.step(format!("handed over {} sockets", lots.len()));
        let handle = &self.inner.handle;
        let memory = self.runtime.block_on(handle.memory());
        let memory = memory.map_err(|_ended| Failure::Stopped)?;
        let board = serde_json::to_value(Remembered::of(&memory, clock::now()));
        let board = board.map_err(Broken::from)?;
        let (ready, pid) = (handle.is_ready(), std::process::id());
        let reaches = if self.force { Vec::new() } else { handle.reaches() };
        let process_key = Some(Key::from(&estate.key));
        line.send(&Told::Knowledge(Knowledge { ready, reaches, pid, process_key, board }))?;
        Ok(())
    }
}
