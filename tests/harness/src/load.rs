//! A steady load of reads, with every answer and every failure kept.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::connection::Connection;
use crate::client::message::{Reply, Request};
use crate::runtime::lock;

/// What each worker does with its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// A new connection for every request.
    Fresh,
    /// One connection for as long as it lives.
    Kept,
}

/// What is sent, by how many, how.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// What is sent again and again.
    pub request: Request,
    /// How many send at once.
    pub workers: usize,
    /// Whether connections are kept.
    pub reuse: Reuse,
    /// How long a worker rests between two requests.
    pub pause: Duration,
}

impl LoadPlan {
    /// Four workers that send a GET over kept connections every 5 ms.
    #[track_caller]
    pub fn get(url: &str) -> Self {
        Self {
            request: Request::get(url),
            workers: 4,
            reuse: Reuse::Kept,
            pause: Duration::from_millis(5),
        }
    }
}

/// One request that was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// When it was begun, connecting included.
    pub began: Instant,
    /// How long it took to the last byte.
    pub took: Duration,
    /// The status.
    pub status: u16,
    /// The header `X-Region`.
    pub region: Option<String>,
}

/// One request without a whole answer.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When it was begun.
    pub began: Instant,
    /// How long it took until it failed.
    pub took: Duration,
    /// What kind of thing went wrong, for example a refusal or a reset.
    pub kind: ErrorKind,
    /// What went wrong.
    pub why: String,
}

/// What a load has seen.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// Every answer, in no particular order.
    pub answers: Vec<Answer>,
    /// Every failure, in no particular order.
    pub failures: Vec<Failure>,
}

impl LoadReport {
    /// How many answers had each status.
    pub fn by_status(&self) -> BTreeMap<u16, usize> {
        let mut counts = BTreeMap::new();
        for answer in &self.answers {
            *counts.entry(answer.status).or_default() += 1;
        }
        counts
    }

    /// How many answers came from each region; those without `X-Region` count under `""`.
    pub fn by_region(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for answer in &self.answers {
            *counts.entry(answer.region.clone().unwrap_or_default()).or_default() += 1;
        }
        counts
    }

    /// How many connections were refused.
    pub fn refused(&self) -> usize {
        self.failures.iter().filter(|it| it.kind == ErrorKind::ConnectionRefused).count()
    }

    /// How many requests broke in another way: reset, cut off, or without an answer in time.
    pub fn broken(&self) -> usize {
        self.failures.len() - self.refused()
    }

    /// How many answers had another status than 200.
    pub fn not_ok(&self) -> usize {
        self.answers.iter().filter(|it| it.status != 200).count()
    }

    /// The longest time that a request took, connecting included.
    pub fn longest(&self) -> Duration {
        let took = self.answers.iter().map(|it| it.took);
        took.chain(self.failures.iter().map(|it| it.took)).max().unwrap_or_default()
    }

    /// Panics with what was seen unless there were answers and all of them had status 200.
    #[track_caller]
    pub fn assert_smooth(&self) {
        let is_smooth = self.failures.is_empty() && self.not_ok() == 0;
        assert!(
            is_smooth && !self.answers.is_empty(),
            "{} refused, {} broken: {:?}; answers by status: {:?}",
            self.refused(),
            self.broken(),
            self.failures.iter().take(3).collect::<Vec<_>>(),
            self.by_status(),
        );
    }

    /// Requests begun after `moment` that failed, or were answered with 500 or more.
    pub fn bad_since(&self, moment: Instant) -> Vec<String> {
        let failed = self.failures.iter().filter(|it| moment <= it.began);
        let refused = self.answers.iter().filter(|it| moment <= it.began && 500 <= it.status);
        let failed = failed.map(|it| it.why.clone());
        failed.chain(refused.map(|it| format!("status {}", it.status))).collect()
    }
}

/// A load that runs until it is stopped. Dropping it stops it too.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    plan: LoadPlan,
    ends: AtomicBool,
    done: AtomicU64,
    report: Mutex<LoadReport>,
}

impl Load {
    /// Begins.
    pub fn start(plan: LoadPlan) -> Self {
        let workers = plan.workers;
        let shared = Arc::new(Shared {
            plan,
            ends: AtomicBool::new(false),
            done: AtomicU64::new(0),
            report: Mutex::default(),
        });
        let worker = |_nth| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.work())
        };
        let workers = (0..workers).map(worker).collect();
        Self { shared, workers }
    }

    /// How many requests have been answered or have failed.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// What has been seen so far.
    pub fn report(&self) -> LoadReport {
        lock(&self.shared.report).clone()
    }

    /// Stops when the running requests have ended, and tells what was seen.
    pub fn stop(mut self) -> LoadReport {
        self.end();
        self.report()
    }

    fn end(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            // A worker does not panic; if it did, its panic is already on stderr.
            worker.join().ok();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn work(&self) {
        let mut kept = None;
        while !self.ends.load(Ordering::Relaxed) {
            let began = Instant::now();
            let outcome = self.send(&mut kept);
            let took = began.elapsed();
            let mut report = lock(&self.report);
            match outcome {
                Ok(reply) => {
                    let region = reply.header("x-region").map(str::to_owned);
                    report.answers.push(Answer { began, took, status: reply.status, region });
                }
                Err(error) => {
                    let (kind, why) = (error.kind(), error.to_string());
                    report.failures.push(Failure { began, took, kind, why });
                }
            }
            drop(report);
            self.done.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(self.plan.pause);
        }
    }

    fn send(&self, kept: &mut Option<Connection>) -> std::io::Result<Reply> {
        // A connection that was closed while idle is replaced, as every client does.
        let usable = match kept.take() {
            Some(connection) if !connection.is_closed()? => Some(connection),
            Some(_) | None => None,
        };
        let request = &self.plan.request;
        let mut connection = match usable {
            Some(connection) => connection,
            None => Connection::open(&request.authority)?,
        };
        let reply = connection.send(request)?;
        let ends = reply.header("connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
        if self.plan.reuse == Reuse::Kept && !ends && connection.is_reusable() {
            *kept = Some(connection);
        }
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::FakeRegion;
    use crate::region::faults::Fault;
    use crate::wait::wait_until;

    #[test]
    fn a_load_counts_answers_and_failures_and_survives_a_restart() {
        let region = FakeRegion::start("us-east-1");
        for reuse in [Reuse::Kept, Reuse::Fresh] {
            let mut plan = LoadPlan::get(&region.url("/x"));
            plan.request = plan.request.header("x-reply-x-region", "us-east-1");
            plan.reuse = reuse;
            let load = Load::start(plan);
            let deadline = Duration::from_secs(10);
            wait_until(deadline, "answers", || 20 < load.done());
            region.set_fault(Fault::Refuse);
            wait_until(deadline, "failures", || !load.report().failures.is_empty());
            region.clear_fault();
            let back = Instant::now();
            let answers = load.report().answers.len();
            wait_until(deadline, "answers again", || answers + 20 < load.report().answers.len());
            let report = load.stop();
            assert!(0 < report.refused() && report.not_ok() == 0, "{:?}", report.failures);
            assert!(report.refused() + report.broken() == report.failures.len());
            assert!(report.answers.iter().all(|it| it.took <= report.longest()));
            assert_eq!(report.by_status(), BTreeMap::from([(200, report.answers.len())]));
            let by_region = BTreeMap::from([("us-east-1".to_owned(), report.answers.len())]);
            assert_eq!(report.by_region(), by_region);
            assert_eq!(report.bad_since(back), Vec::<String>::new());
        }
    }
}
