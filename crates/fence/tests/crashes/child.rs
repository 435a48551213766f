//! A process that claims keys and says what it did, and the store as its parent sees it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tidegate_core::Moment;
use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::proof::NonDelivery;
use tidegate_core::fence::record::{Answer, Body, Doubt, Record};
use tidegate_core::fence::retention::Retention;
use tidegate_core::id::Epoch;
use tidegate_fence::embedded::{Embedded, Settings};
use tidegate_fence::store::Store;
use tidegate_fence::ticket::Settlement;
use tidegate_fence::{Ask, Claim, Fence, Limits};
use tokio::runtime::Runtime;

const TASKS: u64 = 32;
/// Nobody is late on a busy machine.
const CALL: Duration = Duration::from_secs(20);
/// What stands before each word; the test harness of the child prints lines too.
const MARK: &str = "said";

/// What a process says of a key, once the store has acknowledged it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Claimed,
    Completed,
    Released,
    Doubted,
}

impl Said {
    const ALL: [Self; 4] = [Self::Claimed, Self::Completed, Self::Released, Self::Doubted];

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| format!("{it:?}") == word)
    }
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Claims keys for ever, and settles each of them by its number.
    Settle,
    /// Claims so many keys that another process claims too.
    Race(u64),
    /// Claims keys for ever, and settles none.
    Hold,
}

impl Mode {
    /// How a key ends.
    pub(crate) fn fate(nth: u64) -> Said {
        match nth % 4 {
            0 => Said::Completed,
            1 => Said::Released,
            2 => Said::Doubted,
            _ => Said::Claimed,
        }
    }

    fn write(self) -> String {
        match self {
            Self::Settle => "settle".to_owned(),
            Self::Race(keys) => keys.to_string(),
            Self::Hold => "hold".to_owned(),
        }
    }

    fn parse(word: &str) -> Self {
        match word {
            "settle" => Self::Settle,
            "hold" => Self::Hold,
            keys => Self::Race(keys.parse().expect("a number")),
        }
    }
}

/// A process of its own.
pub(crate) struct Child {
    process: std::process::Child,
    output: BufReader<ChildStdout>,
}

impl Child {
    /// Starts one. Its keys have numbers from `first` on.
    pub(crate) fn start(directory: &Path, mode: Mode, first: u64) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("we are running"))
            .args(["--exact", "child", "--nocapture"])
            .args([directory.to_str().expect("a plain path"), &mode.write(), &first.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start ourselves");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { process, output }
    }

    /// What it says next, until it has said so much or ends.
    pub(crate) fn words(&mut self, most: u64) -> impl Iterator<Item = (u64, Said)> {
        let read = move || {
            let mut line = String::new();
            loop {
                line.clear();
                let bytes = self.output.read_line(&mut line).expect("a pipe");
                // A line without an end was cut by the kill.
                if bytes == 0 || !line.ends_with('\n') {
                    return None;
                }
                let mut words = line.split_whitespace();
                if words.next() == Some(MARK) {
                    let nth = words.next()?.parse().ok()?;
                    return Some((nth, Said::parse(words.next()?)?));
                }
            }
        };
        std::iter::from_fn(read).take(usize::try_from(most).unwrap_or(usize::MAX))
    }

    /// Kills it, as the system would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it is our child");
    }

    pub(crate) fn await_end(&mut self) {
        let status = self.process.wait().expect("it is our child");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The key with a number.
pub(crate) fn key(nth: u64) -> FenceKey {
    let mut bytes = [0; 32];
    for (place, salt) in bytes.chunks_mut(8).zip(1_u64..) {
        let mixed = (nth ^ salt << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        place.copy_from_slice(&mixed.to_be_bytes());
    }
    FenceKey(bytes)
}

#[expect(clippy::disallowed_methods, reason = "a test stands where the balancer's clock is")]
pub(crate) fn clock() -> Moment {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Moment(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn retention() -> Retention {
    Retention::unchecked(Duration::from_hours(1), Duration::from_hours(2))
}

fn settings(directory: &Path) -> Settings {
    Settings {
        path: directory.join("fence.db"),
        bytes_max: 1 << 30,
        retention: retention(),
        clock,
        incarnation: Fence::incarnation(),
    }
}

/// The store as the parent sees it.
pub(crate) struct Opened {
    store: Store,
    runtime: Runtime,
}

/// Opens the store of some children. Claims of those that are dead are in doubt afterwards.
pub(crate) fn open(directory: &Path) -> Opened {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let store = Store::Embedded(Embedded::open(&settings(directory)).expect("a file"));
    Opened { store, runtime: runtime.expect("a runtime") }
}

impl Opened {
    pub(crate) fn look(&self, key: FenceKey) -> Option<Record> {
        self.runtime.block_on(self.store.look(key)).expect("it answers")
    }

    pub(crate) fn maintain(&self) {
        self.runtime.block_on(self.store.maintain(false)).expect("it answers");
    }
}

/// What a child does. Returns at once where nobody has started one.
pub(crate) fn play() {
    let mut args = std::env::args().skip_while(|it| it != "--nocapture").skip(1);
    let Some(directory) = args.next().map(PathBuf::from).filter(|it| it.is_absolute()) else {
        return;
    };
    let mode = Mode::parse(&args.next().expect("a mode"));
    let first = args.next().expect("a number").parse().expect("a number");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        let settings = settings(&directory);
        let store = Store::Embedded(Embedded::open(&settings).expect("a file"));
        let limits = Limits { call: CALL, claim: CALL, ..Limits::default() };
        let (fence, keeper) = Fence::new(store, settings.incarnation, limits, clock);
        let next = Arc::new(AtomicU64::new(first));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..TASKS {
            tasks.spawn(claim_on(fence.clone(), mode, Arc::clone(&next)));
        }
        keeper.run(async { drop(tasks.join_all().await) }).await;
    });
}

async fn claim_on(fence: Fence, mode: Mode, next: Arc<AtomicU64>) {
    let ask = Ask {
        fingerprint: None,
        epoch: Epoch(1),
        lease: Duration::from_mins(10),
        retention: retention(),
        is_repeatable: false,
        is_degraded: false,
        charge: None,
        coalesce_wait: Duration::ZERO,
    };
    let mut held = Vec::new();
    loop {
        let nth = next.fetch_add(1, Ordering::Relaxed);
        if matches!(mode, Mode::Race(keys) if keys <= nth) {
            break;
        }
        let claim = fence.claim(key(nth), &ask).await.expect("the store answers");
        let Claim::Won(ticket) = claim else {
            assert!(matches!(mode, Mode::Race(_)), "{nth} is not new: {claim:?}");
            continue;
        };
        say(nth, Said::Claimed);
        let sending = ticket.begin().expect("in time");
        let fate = if mode == Mode::Settle { Mode::fate(nth) } else { Said::Claimed };
        let settlement = match fate {
            Said::Completed => sending.complete(answer(nth)).await,
            Said::Released => sending.release(NonDelivery::ConnectFailed).await,
            Said::Doubted => sending.doubt(Doubt::NoAnswer).await,
            Said::Claimed => {
                held.push(sending);
                continue;
            }
        };
        assert!(matches!(settlement, Settlement::Done(_)), "{settlement:?}");
        say(nth, fate);
    }
}

fn answer(nth: u64) -> Answer {
    let status = u16::try_from(200 + nth % 100).expect("a status");
    Answer { status, headers: Vec::new(), body: Body::Whole(nth.to_be_bytes().into()) }
}

/// One write per line, so that a kill cuts none in two that was begun.
fn say(nth: u64, said: Said) {
    let line = format!("{MARK} {nth} {said:?}\n");
    std::io::stdout().write_all(line.as_bytes()).expect("somebody listens");
}
