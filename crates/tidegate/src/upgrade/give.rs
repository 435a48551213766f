//! Handing over: one attempt to be replaced by a successor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tidegate_control::clock;
use tokio::runtime;
use tokio::time::timeout;

use super::line::{Broken, Line, SOCKETS_PER_FRAME_MAX};
use super::memory::Remembered;
use super::message::{Key, Knowledge, Late, Lot, PROTOCOL, Said, Told};
use super::{Called, Inner, LINE, Progress, Wanted};
use crate::notify;
use crate::stop::{Cause, Ending};

/// How long a successor that closed the line gets to end by itself, so that we can say how.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often we look whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long we wait for our own listeners to be shut before we say that the successor serves.
const LEFT_WITHIN: Duration = Duration::from_secs(5);
/// Variables that a service manager means for one process alone.
const NOT_INHERITED: [&str; 4] = ["WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

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
    #[error("{0} cannot be handed over")]
    Own(&'static str),
    #[error("this process was told to stop meanwhile")]
    Stopped,
}

/// The successor of an upgrade that is under way, once it is started.
#[derive(Clone, Debug, Default)]
pub(super) struct Running(Arc<Mutex<Option<Child>>>);

impl Running {
    /// Kills the successor, if there is one.
    pub(super) fn end(&self) {
        if let Some(child) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // It may have ended by itself.
            drop(child.kill());
        }
    }

    fn begin(&self, child: Child) -> u32 {
        let pid = child.id();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        pid
    }

    fn taken(&self) -> Option<Child> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// How the successor ended, if it does so by itself soon.
    fn last_words(&self) -> Option<String> {
        let until = clock::instant() + LAST_WORDS;
        while clock::instant() < until {
            if let Some(child) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)
                && let Ok(Some(status)) = child.try_wait()
            {
                return Some(status.to_string());
            }
            thread::sleep(LOOK_EVERY);
        }
        None
    }
}

/// Tries to be replaced, from the first step to the last word.
pub(super) fn upgrade(
    inner: &Inner,
    runtime: &runtime::Handle,
    (called, wanted): (&Called, &Wanted),
    tell: &dyn Fn(Progress),
) {
    let running = inner.under_way().clone().unwrap_or_default();
    let attempt = Attempt { inner, runtime, running: &running, tell };
    let until = clock::instant() + wanted.within;
    let binary = wanted.binary.as_deref().unwrap_or(&called.binary);
    match attempt.hand_over(binary, called, until) {
        Ok((version, line)) => {
            let Some(child) = running.taken() else { return };
            let pid = child.id();
            // Whoever hears that the successor serves will not meet this process any more.
            drop(runtime.block_on(async { timeout(LEFT_WITHIN, inner.ending.left()).await }));
            tracing::info!(pid, version, "the successor serves, this process drains");
            tell(Progress::Done { pid, version });
            after(inner.ending.clone(), line, child);
        }
        Err(failure) => {
            if let Some(mut child) = running.taken() {
                // It may have ended by itself.
                drop(child.kill());
                drop(child.wait());
            }
            inner.handle.metrics().upgraded("failed");
            let why = failure.to_string();
            tracing::error!(why, "not upgraded, this process goes on");
            tell(Progress::Failed(why));
            inner.stays();
        }
    }
}

/// Hears what the successor has to say as long as this process drains, and sees it end.
fn after(ending: Ending, mut line: Line, mut child: Child) {
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
    // Without the threads the service merely waits longer for its end.
    drop(thread::Builder::new().name("elder".to_owned()).spawn(hears));
    let reaps = move || drop(child.wait());
    drop(thread::Builder::new().name("reaper".to_owned()).spawn(reaps));
}

struct Attempt<'a> {
    inner: &'a Inner,
    runtime: &'a runtime::Handle,
    running: &'a Running,
    tell: &'a dyn Fn(Progress),
}

impl Attempt<'_> {
    fn step(&self, step: String) {
        tracing::info!(step, "upgrade");
        (self.tell)(Progress::Step(step));
    }

    fn hand_over(
        &self,
        binary: &Path,
        called: &Called,
        until: Instant,
    ) -> Result<(String, Line), Failure> {
        let (mut line, pid) = self.start(binary, called)?;
        line.must_end_by(until);
        match self.talk(&mut line) {
            Ok(version) => {
                notify::successor(pid);
                Ok((version, line))
            }
            Err(Failure::Line(Broken::Closed)) => Err(match self.running.last_words() {
                Some(status) => Failure::Ended(status),
                None => Failure::Line(Broken::Closed),
            }),
            Err(failure) => Err(failure),
        }
    }

    fn start(&self, binary: &Path, called: &Called) -> Result<(Line, u32), Failure> {
        let start = |error| Failure::Start(binary.display().to_string(), error);
        let (line, theirs) = Line::pair().map_err(start)?;
        let mut command = Command::new(binary);
        command.args(&called.arguments).env(LINE, "1").stdin(Stdio::from(theirs));
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        let pid = self.running.begin(command.spawn().map_err(start)?);
        self.step(format!("started {} as process {pid}", binary.display()));
        Ok((line, pid))
    }

    /// Everything that is said until the successor serves; answers its version.
    fn talk(&self, line: &mut Line) -> Result<String, Failure> {
        let version = match line.receive()? {
            Said::Hello { protocol: PROTOCOL, version } => version,
            Said::Hello { protocol, .. } => return Err(Failure::Protocol(protocol)),
            Said::Failed(why) => return Err(Failure::Said(why)),
            Said::Step(_) | Said::Ready => return Err(Failure::OutOfTurn),
        };
        self.step(format!("version {version} has read its policy"));
        self.give(line)?;
        loop {
            match line.receive()? {
                Said::Step(step) => self.step(step),
                Said::Ready => break,
                Said::Failed(why) => return Err(Failure::Said(why)),
                Said::Hello { .. } => return Err(Failure::OutOfTurn),
            }
        }
        self.step("it is ready".to_owned());
        // As long as nothing else is said, nothing has changed.
        line.send(&Told::Serve)?;
        if !self.inner.ending.begin(Cause::Succeeded) {
            return Err(Failure::Stopped);
        }
        Ok(version)
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
        let process_key = Some(Key::from(&estate.key));
        line.send(&Told::Knowledge(Knowledge { ready, pid, process_key, board }))?;
        Ok(())
    }
}
