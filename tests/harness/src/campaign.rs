//! A campaign: many writes with duplicates from many clients, while somebody breaks things.

mod items;
mod nemesis;
mod told;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use self::items::{Item, items};
pub use self::nemesis::Nemesis;
use crate::client::connection::Connection;
use crate::client::message::Request;
use crate::history::{Attempt, History, Told, Trouble, WriteName};
use crate::region::FakeRegion;
use crate::region::book::{ATTEMPT, PATH, SCOPE};
use crate::runtime::lock;

/// How long a client waits for somebody to take its connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(30);
/// The scope of what only reads. Endpoints may see it as often as they like.
pub(crate) const READS: &str = "reads";

/// What is to be sent.
#[derive(Clone, Debug)]
pub struct CampaignPlan {
    /// Everything that is random comes from it.
    pub seed: u64,
    /// How many writes; each is tried three to six times, and once more when all is over.
    pub writes: u32,
    /// Over how long they are spread.
    pub lasting: Duration,
    /// How many clients there are.
    pub clients: usize,
    /// Of a hundred attempts, so many are met by a fault of the endpoint.
    pub faulty_percent: u32,
}

/// What came of it.
#[derive(Debug)]
pub struct Campaign {
    began: Instant,
    attempts: Vec<Attempt>,
    troubles: Vec<Trouble>,
}

impl CampaignPlan {
    /// So many writes within so many seconds, from sixteen clients; one attempt in ten is met by a
    /// fault of the endpoint.
    pub fn new(seed: u64, writes: u32, seconds: u64) -> Self {
        let lasting = Duration::from_secs(seconds);
        Self { seed, writes, lasting, clients: 16, faulty_percent: 10 }
    }

    /// Sends everything to `door` while `break_things` runs, and then, when that has come back,
    /// tries each write once more.
    #[track_caller]
    pub fn run(&self, door: SocketAddr, break_things: impl FnOnce(&Nemesis) + Send) -> Campaign {
        self.run_at(&[door], break_things)
    }

    /// The same with several doors; which of them an attempt takes is open.
    #[track_caller]
    pub fn run_at(
        &self,
        doors: &[SocketAddr],
        break_things: impl FnOnce(&Nemesis) + Send,
    ) -> Campaign {
        let began = Instant::now();
        let nemesis = Nemesis::new(self.seed, began);
        let (items, last_words) = items(self);
        let mut attempts = std::thread::scope(|scope| {
            let breaking = scope.spawn(|| break_things(&nemesis));
            let attempts = self.send(doors, began, &items);
            nemesis.end();
            if let Err(panic) = breaking.join() {
                std::panic::resume_unwind(panic);
            }
            attempts
        });
        attempts.extend(self.send(doors, began, &last_words));
        let mut troubles = nemesis.troubles();
        let faults = items.iter().filter_map(Item::trouble);
        troubles.extend(faults);
        Campaign { began, attempts, troubles }
    }

    /// Sends items in their order, each not before it is due.
    #[track_caller]
    fn send(&self, doors: &[SocketAddr], began: Instant, items: &[Item]) -> Vec<Attempt> {
        let (next, attempts) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            let client = || {
                let kept = doors.iter().map(|door| (*door, None)).collect();
                let mut client = Client { began, kept };
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    std::thread::sleep(item.due.saturating_sub(began.elapsed()));
                    let attempt = client.attempt(item);
                    lock(&attempts).push(attempt);
                }
            };
            let clients: Vec<_> = (0..self.clients).map(|_nth| scope.spawn(client)).collect();
            for client in clients {
                if let Err(panic) = client.join() {
                    std::panic::resume_unwind(panic);
                }
            }
        });
        attempts.into_inner().unwrap_or_default()
    }
}

impl Campaign {
    /// What was tried and told beside what these regions executed.
    pub fn history(&self, regions: &[&FakeRegion]) -> History {
        let is_write = |name: &WriteName| name.scope != READS;
        let written = regions.iter().flat_map(|it| it.written());
        let executions = written.map(|it| it.execution(self.began));
        History {
            attempts: self.attempts.iter().filter(|it| is_write(&it.name)).cloned().collect(),
            executions: executions.filter(|it| is_write(&it.name)).collect(),
            troubles: self.troubles.clone(),
        }
    }

    /// How many reads were answered, and how many there were.
    pub fn reads(&self) -> (usize, usize) {
        let reads = self.attempts.iter().filter(|it| it.name.scope == READS);
        let answered = reads.clone().filter(|it| it.told.is_success());
        (answered.count(), reads.count())
    }

    /// What was broken on purpose, without the faults of single requests.
    pub fn troubles(&self) -> impl Iterator<Item = &Trouble> {
        self.troubles.iter().filter(|it| it.of.is_none())
    }
}

/// One client, which keeps its connections as long as it can.
struct Client {
    began: Instant,
    /// The doors, each with the connection of before.
    kept: Vec<(SocketAddr, Option<Connection>)>,
}

impl Client {
    fn attempt(&mut self, item: &Item) -> Attempt {
        let place = usize::try_from(item.id).map_or(0, |id| id % self.kept.len());
        let (door, kept) = self.kept.get_mut(place).expect("there is a door");
        let request = request(*door, item);
        let mut connection = connected(*door, kept.take());
        let start = self.began.elapsed();
        let told = match connection.send(&request) {
            Ok(reply) => {
                if connection.is_reusable() && reply.header("connection") != Some("close") {
                    *kept = Some(connection);
                }
                told::told(&reply)
            }
            Err(_gone) => Told::Nothing,
        };
        Attempt {
            id: item.id,
            name: item.name.clone(),
            payload: Sha256::digest(&item.payload).into(),
            start,
            end: self.began.elapsed(),
            told,
        }
    }
}

fn request(door: SocketAddr, item: &Item) -> Request {
    let place = item.place;
    let url = format!("http://{door}{PATH}/{place}");
    let request = Request::new(item.method, &url)
        .body(item.payload.as_bytes())
        .header("idempotency-key", &item.name.key)
        .header(SCOPE, &item.name.scope)
        .header("authorization", &format!("Bearer {}", item.name.scope))
        .header(ATTEMPT, &item.id.to_string())
        .timeout(item.patience);
    match item.fault {
        Some(fault) => request.header("x-fault", fault),
        None => request,
    }
}

/// The connection of before, or a fresh one as soon as somebody listens.
fn connected(door: SocketAddr, kept: Option<Connection>) -> Connection {
    if let Some(connection) = kept
        && connection.is_closed().is_ok_and(|it| !it)
    {
        return connection;
    }
    let (began, door) = (Instant::now(), door.to_string());
    loop {
        match Connection::open(&door) {
            Ok(connection) => return connection,
            Err(error) => {
                let waited = began.elapsed();
                assert!(waited < CONNECT_DEADLINE, "nobody listens at {door}: {error}");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
