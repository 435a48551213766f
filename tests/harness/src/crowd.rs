//! Thousands of streams of all kinds at once, each of which checks every byte of its own.
//!
//! A crowd opens its streams, keeps them open while something happens, and ends them when it is
//! told to. It then tells of each whether it was whole. All streams are tasks on the harness's
//! runtime, so two thousand of them need no thread of their own.

mod http_streams;
mod outcome;
mod stream;
#[cfg(test)]
mod tests;
mod websocket;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use hyper::client::conn::http2::SendRequest;
use tokio::sync::{Semaphore, watch};

pub use self::outcome::{CrowdReport, Ended, Outcome};
use self::stream::Stream;
pub use self::stream::{Kind, Protocol};
use crate::limits::need_files;
use crate::region::FakeRegion;
use crate::region::body::Body;
use crate::runtime::{lock, runtime};
use crate::wait::wait_until;

/// Streams that are being opened at one moment; more would only wait for each other.
const OPENING_MAX: usize = 64;
/// Streams that share a connection over HTTP/2.
const SHARING: usize = 16;
/// Open files of this process for each stream: its own end, and the region's.
const FILES_EACH: u64 = 2;
/// Open files besides.
const FILES_BESIDES: u64 = 200;

/// Which streams a crowd consists of.
#[derive(Clone, Copy, Debug)]
pub struct CrowdPlan {
    /// How many.
    pub streams: usize,
    /// Two crowds of one seed send the same bytes.
    pub seed: u64,
    /// How often those that are not silent send something.
    pub gap: Duration,
    /// Only streams of this kind.
    pub only: Option<Kind>,
    /// Whether all streams are silent between their beginning and their end.
    pub silent: bool,
}

impl CrowdPlan {
    /// Streams of all kinds; some are silent, the others send something several times a second.
    pub fn of(streams: usize) -> Self {
        let gap = Duration::from_millis(150);
        Self { streams, seed: 2_000, gap, only: None, silent: false }
    }
}

/// Streams that are open. Dropping it lets them go.
#[derive(Debug)]
pub struct Crowd {
    shared: Arc<Shared>,
    /// How many streams are uploads, and how many had arrived before.
    uploads: (usize, u64),
    /// When all streams were open.
    complete: OnceLock<Instant>,
    tasks: Vec<tokio::task::AbortHandle>,
}

/// What all streams of a crowd have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Its number: regions know by it whose flows are to end.
    id: u64,
    address: SocketAddr,
    plan: CrowdPlan,
    finish: watch::Sender<bool>,
    opening: Arc<Semaphore>,
    open: AtomicUsize,
    ended: Mutex<Vec<Ended>>,
}

impl Crowd {
    /// Begins to open streams through the balancer at `address`, which end in `regions`.
    #[track_caller]
    pub fn open(address: SocketAddr, regions: &[FakeRegion], plan: CrowdPlan) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let files = u64::try_from(plan.streams).unwrap_or(u64::MAX).saturating_mul(FILES_EACH);
        need_files(files.saturating_add(FILES_BESIDES));
        let shared = Arc::new(Shared {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            address,
            plan,
            finish: watch::Sender::new(false),
            opening: Arc::new(Semaphore::new(OPENING_MAX)),
            open: AtomicUsize::new(0),
            ended: Mutex::default(),
        });
        let streams: Vec<_> = (0..plan.streams).map(|nth| Stream::nth(nth, &plan)).collect();
        let uploads = streams.iter().filter(|it| it.kind == Kind::Upload).count();
        let over_h2 = streams.iter().filter(|it| it.protocol == Protocol::H2c).count();
        let connections = connect(address, over_h2.div_ceil(SHARING));
        let mut connections = connections.iter().cycle();
        let mut begin = |stream: Stream| {
            let shared = Arc::clone(&shared);
            let h2 = (stream.protocol == Protocol::H2c).then(|| connections.next().cloned());
            runtime().spawn(live(stream, shared, h2.flatten())).abort_handle()
        };
        let before = received_uploads(regions);
        let tasks = streams.into_iter().map(&mut begin).collect();
        Self { shared, uploads: (uploads, before), complete: OnceLock::new(), tasks }
    }

    /// Waits until every stream has reached its region and, if it gets any answer yet, has some.
    ///
    /// Panics when one of them ends, or `deadline` passes.
    #[track_caller]
    pub fn until_open(&self, regions: &[FakeRegion], deadline: Duration) {
        let began = Instant::now();
        let (uploads, before) = self.uploads;
        let uploads = u64::try_from(uploads).unwrap_or(u64::MAX);
        loop {
            let (open, ended) = (self.count(), self.report());
            if open == self.shared.plan.streams && before + uploads <= received_uploads(regions) {
                self.complete.get_or_init(Instant::now);
                return;
            }
            let in_time = began.elapsed() < deadline && ended.streams.is_empty();
            assert!(in_time, "{open} streams are open after {:?}; {ended}", began.elapsed());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until all streams have been open for so long. Panics when one of them ends.
    #[track_caller]
    pub fn until_aged(&self, age: Duration) {
        let since = self.complete.get_or_init(Instant::now);
        while since.elapsed() < age {
            let ended = self.report();
            assert!(ended.streams.is_empty(), "{ended}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// How many streams have begun.
    pub fn count(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// What became of the streams that have ended so far.
    pub fn report(&self) -> CrowdReport {
        CrowdReport { streams: lock(&self.shared.ended).clone() }
    }

    /// Lets every stream come to its end, and tells what became of each.
    ///
    /// A stream that does not end until `deadline` counts as cut.
    pub fn finish(self, regions: &[FakeRegion], deadline: Duration) -> CrowdReport {
        self.shared.finish.send_replace(true);
        for region in regions {
            region.end_flows(self.shared.id);
        }
        let began = Instant::now();
        while lock(&self.shared.ended).len() < self.shared.plan.streams
            && began.elapsed() < deadline
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        // What is dropped here tells that it was still running.
        self.tasks.iter().for_each(tokio::task::AbortHandle::abort);
        wait_until(deadline, "the streams that are left are dropped", || {
            self.report().streams.len() == self.shared.plan.streams
        });
        self.report()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

impl Shared {
    /// Comes back when streams are to end.
    pub(crate) async fn finished(&self) {
        // The sender lives in `self`, so the channel cannot close before.
        self.finish.subscribe().wait_for(|it| *it).await.ok();
    }

    pub(crate) fn is_finished(&self) -> bool {
        *self.finish.borrow()
    }
}

/// How many uploads have arrived, whole or not.
fn received_uploads(regions: &[FakeRegion]) -> u64 {
    let effects = regions.iter().flat_map(FakeRegion::effects);
    effects.filter(|it| it.path == stream::UPLOAD).map(|it| it.received).sum()
}

/// Connections over HTTP/2, each for several streams.
#[track_caller]
fn connect(address: SocketAddr, count: usize) -> Vec<SendRequest<Body>> {
    let connect = |_nth| http_streams::h2(address);
    let connections = (0..count).map(connect).collect::<Result<Vec<_>, _>>();
    connections.expect("the balancer takes connections")
}

/// One stream from its beginning to its end.
async fn live(stream: Stream, shared: Arc<Shared>, h2: Option<SendRequest<Body>>) {
    // The semaphore is never closed.
    let opening = Arc::clone(&shared.opening).acquire_owned().await.ok();
    let mut running = Running { stream, shared, began: Instant::now(), opening, outcome: None };
    let outcome = match stream.kind {
        Kind::WebSocket => websocket::run(&mut running).await,
        Kind::Events | Kind::Download => http_streams::download(&mut running, h2).await,
        Kind::Upload => http_streams::upload(&mut running, h2).await,
        Kind::Grpc => http_streams::grpc(&mut running, h2).await,
    };
    let early = !running.shared.is_finished();
    running.outcome = Some(match outcome {
        Ok(()) if early => Outcome::Cut("it ended before it was to".to_owned()),
        Ok(()) => Outcome::Whole,
        Err(outcome) => outcome,
    });
}

/// A stream that runs. Dropping it tells its outcome, also when the task is aborted.
pub(crate) struct Running {
    pub(crate) stream: Stream,
    pub(crate) shared: Arc<Shared>,
    began: Instant,
    opening: Option<tokio::sync::OwnedSemaphorePermit>,
    outcome: Option<Outcome>,
}

impl Running {
    /// The stream has begun: the next one may.
    pub(crate) fn opened(&mut self) {
        if self.opening.take().is_some() {
            self.shared.open.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Rests until there is something to send. Answers `false` when the stream is to end.
    pub(crate) async fn rest(&self) -> bool {
        let gap = self.stream.gap;
        tokio::select! {
            biased;
            () = self.shared.finished() => false,
            () = tokio::time::sleep(gap.unwrap_or(Duration::MAX)), if gap.is_some() => true,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let has_begun = self.opening.is_none();
        let outcome = match self.outcome.take() {
            // What never began was refused, whatever it was that went wrong.
            Some(Outcome::Cut(why)) if !has_begun => Outcome::Refused(why),
            Some(outcome) => outcome,
            None if has_begun => Outcome::Cut("it did not end in time".to_owned()),
            None => Outcome::Refused("it did not begin in time".to_owned()),
        };
        lock(&self.shared.ended).push(Ended {
            nth: self.stream.nth,
            kind: self.stream.kind,
            protocol: self.stream.protocol,
            age: self.began.elapsed(),
            outcome,
        });
    }
}
