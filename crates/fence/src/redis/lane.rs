//! A lane: one connection to a server, kept up, and those who wait for answers on it.
//!
//! A server has two. Claims have one of their own, because `WAIT` stalls whatever is behind it: there
//! all claims that have gathered go out at once with one `WAIT`, and the next ones gather meanwhile.
//! Everything else goes over the other one without waiting for anything.
//!
//! Whatever was not sent is certain to be undone; whatever was sent and not answered is unsure, and
//! its connection is given up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{ServerError, ServerErrorKind, Value};
use tidegate_core::policy::fencing::{RedisNode, RedisWait};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::answer::{self, Garbled};
use super::checks::Info;
use super::command::{Builder, Command};
use super::connection::{Broken, Connection, Dial};
use crate::store::{Check, Failure};

/// Most that wait to be sent over one lane.
const WAITING_MAX: usize = 8192;
/// Most that is sent at once.
const BATCH_MAX: usize = 128;
/// About how many bytes are handed to the system at once; that must not take longer than an answer.
const SENT_AT_ONCE: usize = 256 * 1024;
/// Most that is sent and not answered.
const UNANSWERED_MAX: usize = 1024;
/// How long it may take to connect, and to be told who the server is.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long is waited between two tries to connect, at first and at most. Meanwhile whoever asks is
/// answered at once.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Which life of which server: another one may have lost something.
pub(super) type Identity = Arc<str>;

/// Whether claims may be made on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Not yet: what is remembered is written again first. They wait.
    Shut,
    /// As long as it is in this life.
    Open(Identity),
    /// Not as it is.
    Refusing(Failure),
}

/// What a server has answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) value: Value,
    /// How many replicas have it; `None` where nobody waits for any.
    pub(super) copies: Option<u64>,
}

/// A command, and who waits for its answer.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) command: Command,
    /// The server has the slot only in part yet, and is told that we know.
    pub(super) is_asking: bool,
    pub(super) told: oneshot::Sender<Result<Reply, Failure>>,
    pub(super) fate: Arc<Fate>,
}

/// Whether a command was sent or given up: never both.
#[derive(Debug, Default)]
pub(super) struct Fate(AtomicU8);

impl Fate {
    const OPEN: u8 = 0;
    const SENT: u8 = 1;
    const GIVEN_UP: u8 = 2;

    fn is_sent_now(&self) -> bool {
        self.0.compare_exchange(Self::OPEN, Self::SENT, Ordering::SeqCst, Ordering::SeqCst)
            != Err(Self::GIVEN_UP)
    }

    /// Whether it was given up before anything of it was sent.
    pub(super) fn give_up(&self) -> bool {
        self.0.compare_exchange(Self::OPEN, Self::GIVEN_UP, Ordering::SeqCst, Ordering::SeqCst)
            != Err(Self::SENT)
    }
}

/// What others know of a lane.
#[derive(Debug)]
pub(super) struct Lane {
    jobs: mpsc::Sender<Job>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// No connection was made when it was last tried.
    is_down: AtomicBool,
    /// The life of the server, or why there is no connection.
    known: Mutex<Option<Known>>,
}

/// The life of a server, or what is wrong with the way to it.
pub(super) type Known = Result<Identity, (Check, String)>;

impl State {
    fn set(&self, is_down: bool, known: Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        self.is_down.store(is_down, Ordering::Relaxed);
    }
}

impl Lane {
    /// Begins to wait for an answer, if there is room.
    pub(super) fn submit(&self, job: Job) -> Result<(), Failure> {
        self.is_up()?;
        self.jobs.try_send(job).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Failure::Crowded,
            mpsc::error::TrySendError::Closed(_) => Failure::Down,
        })
    }

    /// Waits for room first: an outcome is worth it.
    pub(super) async fn submit_late(&self, job: Job) -> Result<(), Failure> {
        self.is_up()?;
        self.jobs.send(job).await.map_err(|_closed| Failure::Down)
    }

    /// Whether it is worth while to ask.
    pub(super) fn is_up(&self) -> Result<(), Failure> {
        if !self.state.is_down.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.known() {
            Some(Err((Check::Access, _))) => Err(Failure::Unfit(Check::Access)),
            Some(_) | None => Err(Failure::Down),
        }
    }

    /// What is known; nothing while the first connection is made.
    pub(super) fn known(&self) -> Option<Known> {
        self.state.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How a lane is laid.
pub(super) struct Plan {
    pub(super) to: RedisNode,
    pub(super) dial: Dial,
    /// Copies that everything on this lane is waited for.
    pub(super) wait: Option<RedisWait>,
    /// Whether only an open gate lets anything through.
    pub(super) gate: Option<watch::Receiver<Gate>>,
    /// How long an answer may take before the connection is given up.
    pub(super) silence: Duration,
    /// Told of every change.
    pub(super) poke: Arc<Notify>,
    /// Tells that the server is not the one any more that the connection was made to.
    pub(super) hang_up: Arc<Notify>,
}

/// Keeps the connection up, for as long as it is polled and somebody can ask.
pub(super) struct Driver {
    plan: Plan,
    jobs: mpsc::Receiver<Job>,
    state: Arc<State>,
    talk: Talk,
}

/// A lane, and what drives it.
pub(super) fn lay(plan: Plan) -> (Lane, Driver) {
    let (jobs, arriving) = mpsc::channel(WAITING_MAX);
    let state = Arc::new(State::default());
    let talk = Talk { waits: plan.wait.is_some(), ..Talk::default() };
    let driver = Driver { plan, jobs: arriving, state: Arc::clone(&state), talk };
    (Lane { jobs, state }, driver)
}

/// Nobody can ask any more.
struct Over;

impl Driver {
    pub(super) async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        loop {
            let broken = match self.connect().await {
                Err(Over) => return,
                Ok(Err(broken)) => broken,
                Ok(Ok((mut connection, identity))) => {
                    pause = PAUSE_MIN;
                    self.state.set(false, Ok(Arc::clone(&identity)));
                    self.plan.poke.notify_one();
                    let Err(broken) = self.serve(&mut connection, &identity).await else { return };
                    self.talk.give_up();
                    // A server that went away may be back at once, and it is worth a try.
                    if matches!(broken, Broken::Closed | Broken::Io(_)) {
                        self.state.set(false, Err((broken.check(), broken.to_string())));
                        self.plan.poke.notify_one();
                        continue;
                    }
                    broken
                }
            };
            self.state.set(true, Err((broken.check(), broken.to_string())));
            self.plan.poke.notify_one();
            if self.reject_until(Instant::now() + pause).await.is_err() {
                return;
            }
            pause = PAUSE_MAX.min(pause * 2);
        }
    }

    /// Connects. Those who wait already may hope for it for a while, or not, if it is down.
    async fn connect(&mut self) -> Result<Result<(Connection, Identity), Broken>, Over> {
        let Plan { dial, to, silence, .. } = &self.plan;
        let (dial, to) = (dial.clone(), to.clone());
        let now = Instant::now();
        let is_down = self.state.is_down.load(Ordering::Relaxed);
        let patience = if is_down { now } else { now + *silence / 2 };
        let mut opening = std::pin::pin!(open(&dial, &to, now + CONNECT_WITHIN));
        tokio::select! {
            biased;
            opened = &mut opening => return Ok(opened),
            () = sleep_until(patience) => {}
        }
        tokio::select! {
            biased;
            opened = &mut opening => Ok(opened),
            rejected = self.reject_until(now + CONNECT_WITHIN * 2) => {
                rejected.map(|()| Err(Broken::Silent))
            }
        }
    }

    /// Tells whoever asks that nothing was done.
    async fn reject_until(&mut self, until: Instant) -> Result<(), Over> {
        self.talk.again.drain(..).for_each(|job| tell(job, Err(Failure::Down)));
        loop {
            tokio::select! {
                biased;
                () = sleep_until(until) => return Ok(()),
                job = self.jobs.recv() => tell(job.ok_or(Over)?, Err(Failure::Down)),
            }
        }
    }

    /// Sends and receives. Ends well when nobody can ask any more.
    async fn serve(&mut self, connection: &mut Connection, life: &Identity) -> Result<(), Broken> {
        let mut fresh = Vec::with_capacity(BATCH_MAX);
        let mut out = Vec::new();
        loop {
            while let Some(value) = connection.next()? {
                self.talk.take(value)?;
            }
            let pass = self.pass(life);
            if pass == Pass::Send && !self.talk.again.is_empty() {
                self.send(connection, &mut Vec::new(), &mut out).await?;
                continue;
            }
            let silent = self.talk.oldest().map(|sent| sent + self.plan.silence);
            let mut gate = self.plan.gate.clone();
            tokio::select! {
                biased;
                () = self.plan.hang_up.notified() => return Err(Broken::Replica),
                received = connection.receive() => received?,
                () = sleep_until(silent.unwrap_or_else(Instant::now)), if silent.is_some() => {
                    return Err(Broken::Silent);
                }
                () = changed(gate.as_mut()), if pass != Pass::Send => {}
                count = self.jobs.recv_many(&mut fresh, BATCH_MAX), if pass != Pass::Hold => {
                    if count == 0 {
                        return Ok(());
                    }
                    match pass {
                        Pass::Refuse(failure) => {
                            fresh.drain(..).for_each(|job| tell(job, Err(failure)));
                        }
                        Pass::Send | Pass::Hold => {
                            self.send(connection, &mut fresh, &mut out).await?;
                        }
                    }
                }
            }
        }
    }

    /// What is to be done with those who ask now.
    fn pass(&mut self, life: &Identity) -> Pass {
        let has_room = if self.talk.waits {
            self.talk.unanswered.is_empty()
        } else {
            self.talk.unanswered.len() < UNANSWERED_MAX
        };
        match self.plan.gate.as_mut().map(|gate| gate.borrow_and_update().clone()) {
            Some(Gate::Refusing(failure)) => Pass::Refuse(failure),
            None if has_room => Pass::Send,
            Some(Gate::Open(opened)) if has_room && opened == *life => Pass::Send,
            Some(Gate::Shut | Gate::Open(_)) | None => Pass::Hold,
        }
    }

    async fn send(
        &mut self,
        connection: &mut Connection,
        fresh: &mut Vec<Job>,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        out.clear();
        let now = Instant::now();
        let again: Vec<Job> = self.talk.again.drain(..).collect();
        let again = again.into_iter().map(|job| (job, true));
        for (job, by_text) in again.chain(fresh.drain(..).map(|job| (job, false))) {
            // Nobody waits for it any more, so it is not even begun.
            if job.told.is_closed() || !job.fate.is_sent_now() {
                continue;
            }
            if job.is_asking {
                Builder::new("ASKING").end().write(out, false);
                self.talk.unanswered.push_back((now, Sent::Asking));
            }
            job.command.write(out, by_text);
            self.talk.unanswered.push_back((now, Sent::Asked { job, by_text }));
            if SENT_AT_ONCE < out.len() {
                self.hand_over(connection, out).await?;
            }
        }
        if let Some(RedisWait { replicas, timeout }) = self.plan.wait
            && !self.talk.unanswered.is_empty()
        {
            let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
            let wait = Builder::new("WAIT").number(replicas.into()).number(millis).end();
            wait.write(out, false);
            self.talk.unanswered.push_back((now, Sent::Waiting));
        }
        self.hand_over(connection, out).await
    }

    async fn hand_over(
        &self,
        connection: &mut Connection,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        if !out.is_empty() {
            let sent = timeout(self.plan.silence, connection.send(out)).await;
            sent.unwrap_or(Err(Broken::Silent))?;
            out.clear();
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Send,
    Hold,
    Refuse(Failure),
}

/// What goes on over one connection.
#[derive(Default)]
struct Talk {
    waits: bool,
    /// What was sent, and when, in the order in which it is answered.
    unanswered: VecDeque<(Instant, Sent)>,
    /// What was answered, and is not told before copies are known.
    held: Vec<(Job, Value)>,
    /// What has to be sent once more, by its text.
    again: Vec<Job>,
}

enum Sent {
    Asking,
    Asked { job: Job, by_text: bool },
    Waiting,
}

impl Talk {
    fn oldest(&self) -> Option<Instant> {
        self.unanswered.front().map(|(sent, _)| *sent)
    }

    fn take(&mut self, value: Value) -> Result<(), Broken> {
        let (_, sent) = self.unanswered.pop_front().ok_or(Garbled)?;
        let kind = answer::error(&value).and_then(ServerError::kind);
        let is_replica = kind == Some(ServerErrorKind::ReadOnly);
        match sent {
            Sent::Asking => {}
            Sent::Asked { job, by_text: false } if kind == Some(ServerErrorKind::NoScript) => {
                self.again.push(job);
            }
            Sent::Asked { job, .. } if self.waits => self.held.push((job, value)),
            Sent::Asked { job, .. } => tell(job, Ok(Reply { value, copies: None })),
            Sent::Waiting => {
                let copies = Some(answer::number(&value).unwrap_or_default());
                self.held.drain(..).for_each(|(job, value)| tell(job, Ok(Reply { value, copies })));
            }
        }
        if is_replica { Err(Broken::Replica) } else { Ok(()) }
    }

    /// The connection is lost: nobody knows what became of what was sent.
    fn give_up(&mut self) {
        for (_, sent) in self.unanswered.drain(..) {
            if let Sent::Asked { job, .. } = sent {
                tell(job, Err(Failure::Unreachable));
            }
        }
        self.held.drain(..).for_each(|(job, value)| {
            // An error says that nothing was done, however many copies there are of it.
            let is_certain = answer::error(&value).is_some();
            let told = Ok(Reply { value, copies: None });
            tell(job, if is_certain { told } else { Err(Failure::Unreachable) });
        });
    }
}

fn tell(job: Job, told: Result<Reply, Failure>) {
    // Whoever has gone away since has left a release behind.
    job.told.send(told).ok();
}

async fn changed(gate: Option<&mut watch::Receiver<Gate>>) {
    if let Some(gate) = gate
        && gate.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// A connection to a master that has all its data, and the life it is in.
async fn open(
    dial: &Dial,
    to: &RedisNode,
    until: Instant,
) -> Result<(Connection, Identity), Broken> {
    let mut connection = Connection::open(dial, to, until).await?;
    let answer = connection.ask(&Builder::new("INFO").end(), until).await?;
    if let Some(code) = answer::code(&answer) {
        return Err(Broken::Refused(code.to_owned()));
    }
    let info = Info::read(answer::text(&answer).unwrap_or_default());
    if !info.is_loaded() {
        return Err(Broken::Loading);
    }
    if !info.is_master() {
        return Err(Broken::Replica);
    }
    Ok((connection, info.identity()))
}
