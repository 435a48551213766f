//! The access log: one JSON line per request, written by a thread of its own.
//!
//! A request leaves its line in a buffer and goes on. When the thread cannot keep up, lines are lost
//! and counted; traffic never waits for a log.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_core::Moment;
use tidegate_core::id::Generation;

use date::Clockwork;
pub use date::Rfc3339;
use json::{Object, key};

mod date;
mod json;

/// Bytes that may wait to be written in one buffer.
pub const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Buffers in which lines wait.
const BUFFERS: usize = 8;
/// Time from one batch of lines to the next; also how late a line may be.
const BATCH_EVERY: Duration = Duration::from_millis(10);
/// Longest time that the end of the process waits for the log.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(1);
/// Bytes of one field that are kept.
const FIELD_BYTES_MAX: usize = 2048;

/// One request, as it is logged at its end. No body, no cookie, no key, and no query.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// When the request came in.
    pub time: Moment,
    /// The request's name, as `X-Request-Id` has it.
    pub id: &'a str,
    /// The snapshot that decided.
    pub generation: Generation,
    /// The place of the request in this process.
    pub sequence: u64,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The request's method.
    pub method: &'a str,
    /// The request's host.
    pub host: &'a str,
    /// The request's path, without its query.
    pub path: &'a str,
    /// The protocol of the request: `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'static str,
    /// What kind of exchange it was: plain, stream, websocket or grpc.
    pub kind: &'static str,
    /// The route.
    pub route: Option<&'a str>,
    /// Read or write.
    pub intent: Option<&'static str>,
    /// The status that the client got; 0 when it got none.
    pub status: u16,
    /// The code of an answer that tidegate made itself.
    pub code: Option<&'static str>,
    /// How it ended.
    pub end: &'static str,
    /// The region that answered.
    pub region: Option<&'a str>,
    /// Why that region.
    pub reason: Option<&'static str>,
    /// What became of the pin.
    pub pin: Option<&'static str>,
    /// What became of the session.
    pub session: Option<&'static str>,
    /// What the fence made of it.
    pub fence: Option<&'static str>,
    /// The endpoint that answered.
    pub endpoint: Option<SocketAddr>,
    /// The release that it reports.
    pub release_id: Option<&'a str>,
    /// The revision that it reports.
    pub revision: Option<&'a str>,
    /// Attempts, the first one included.
    pub attempts: u32,
    /// Bytes of the request's body.
    pub bytes_in: usize,
    /// Bytes of the answer's body.
    pub bytes_out: usize,
    /// Time to the first byte of the answer, in milliseconds.
    pub first_byte_ms: Option<u64>,
    /// Time in all, in milliseconds.
    pub total_ms: u64,
}

impl Line<'_> {
    /// Writes the line as JSON; what is not known is left out.
    fn write(&self, waiting: &mut Waiting) {
        let mut object = Object::new(&mut waiting.lines);
        object.moment(key!("time"), self.time, &mut waiting.clockwork);
        object.word(key!("target"), "access");
        object.text(key!("id"), self.id);
        object.pair(key!("decision"), self.generation.0, self.sequence);
        if let Some(client) = self.client {
            object.address(key!("client"), client, None);
        }
        object.text(key!("method"), self.method);
        object.text(key!("host"), cut(self.host));
        object.text(key!("path"), cut(self.path));
        object.word(key!("protocol"), self.protocol);
        object.word(key!("kind"), self.kind);
        object.text_if(key!("route"), self.route);
        object.word_if(key!("intent"), self.intent);
        object.number(key!("status"), self.status.into());
        object.word_if(key!("code"), self.code);
        object.word(key!("end"), self.end);
        object.text_if(key!("region"), self.region);
        object.word_if(key!("reason"), self.reason);
        object.word_if(key!("pin"), self.pin);
        object.word_if(key!("session"), self.session);
        object.word_if(key!("fence"), self.fence);
        if let Some(endpoint) = self.endpoint {
            object.address(key!("endpoint"), endpoint.ip(), Some(endpoint.port()));
        }
        object.text_if(key!("release_id"), self.release_id);
        object.text_if(key!("revision"), self.revision);
        object.number(key!("attempts"), self.attempts.into());
        object.size(key!("bytes_in"), self.bytes_in);
        object.size(key!("bytes_out"), self.bytes_out);
        if let Some(first_byte_ms) = self.first_byte_ms {
            object.number(key!("first_byte_ms"), first_byte_ms);
        }
        object.number(key!("total_ms"), self.total_ms);
        object.finish();
    }
}

/// A field cut to what is kept of it, at a character's end.
fn cut(field: &str) -> &str {
    let mut end = field.len().min(FIELD_BYTES_MAX);
    while !field.is_char_boundary(end) {
        end -= 1;
    }
    field.get(..end).unwrap_or_default()
}

/// Where lines go.
#[derive(Clone, Debug)]
pub struct AccessLog(Arc<Buffers>);

/// Lines that wait to be written, in several buffers so that threads do not meet.
#[derive(Debug)]
struct Buffers {
    waiting: [Mutex<Waiting>; BUFFERS],
    /// Whether the process ends, and whether the last line is written.
    end: Mutex<End>,
    turned: Condvar,
}

/// One buffer.
#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    clockwork: Clockwork,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    NotYet,
    Asked,
    Written,
}

impl AccessLog {
    /// A log that a thread writes to `out` as long as the process runs.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn to(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let buffers = Arc::new(Buffers {
            waiting: std::array::from_fn(|_| Mutex::default()),
            end: Mutex::default(),
            turned: Condvar::new(),
        });
        let writer = std::thread::Builder::new().name("access-log".to_owned());
        let of_writer = Arc::clone(&buffers);
        writer.spawn(move || of_writer.write_all(out))?;
        Ok(Self(buffers))
    }

    /// Hands a line over; answers whether it was taken.
    ///
    /// This never waits: a buffer that somebody else holds just now is passed over.
    pub fn log(&self, line: &Line<'_>) -> bool {
        let Self(buffers) = self;
        let first = THREAD.with(|it| *it);
        let mut places = (0..BUFFERS).map(|step| (first + step) % BUFFERS);
        let buffer = places.find_map(|it| buffers.waiting.get(it)?.try_lock().ok());
        match buffer {
            Some(mut buffer) if buffer.lines.len() < WAITING_BYTES_MAX => {
                line.write(&mut buffer);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Waits until every line that was handed over is written, but not for ever.
    pub fn flush(&self) {
        let Self(buffers) = self;
        let mut end = lock(&buffers.end);
        *end = End::Asked;
        buffers.turned.notify_all();
        let until = |end: &mut End| *end != End::Written;
        match buffers.turned.wait_timeout_while(end, FLUSH_TIME_MAX, until) {
            Ok((_, waited)) if !waited.timed_out() => {}
            // Whoever reads the log may have stopped reading; the process ends all the same.
            Ok(_) | Err(_) => tracing::warn!("the last access lines are lost"),
        }
    }
}

impl Buffers {
    /// Writes what waits, again and again: a thread that woke for each line would cost more than
    /// the line.
    fn write_all(&self, mut out: impl Write) {
        let mut lines = Vec::new();
        loop {
            let asked = *lock(&self.end) == End::Asked;
            for waiting in &self.waiting {
                // The lock is held for the exchange only, never while something is written.
                std::mem::swap(&mut lines, &mut lock(waiting).lines);
                // A log whose reader is gone must not end the balancer; its lines are lost.
                if !lines.is_empty() && out.write_all(&lines).and_then(|()| out.flush()).is_err() {
                    tracing::debug!("access log cannot be written");
                }
                lines.clear();
            }
            let mut end = lock(&self.end);
            if asked {
                *end = End::Written;
                self.turned.notify_all();
                return;
            }
            let until = |end: &mut End| *end == End::NotYet;
            drop(self.turned.wait_timeout_while(end, BATCH_EVERY, until));
        }
    }
}

thread_local! {
    /// Which buffer a thread tries first.
    static THREAD: usize = NEXT_THREAD.fetch_add(1, Ordering::Relaxed) % BUFFERS;
}

static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);

/// Nothing here is left half done by a panic that would make it unusable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    struct Sent(Sender<Vec<u8>>);

    impl Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.to_owned()).map_err(std::io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn line(sequence: u64) -> Line<'static> {
        Line {
            time: Moment(0),
            id: "id",
            generation: Generation(1),
            sequence,
            client: None,
            method: "GET",
            host: "",
            path: "/",
            protocol: "HTTP/2",
            kind: "plain",
            route: None,
            intent: None,
            status: 200,
            code: None,
            end: "complete",
            region: None,
            reason: None,
            pin: None,
            session: None,
            fence: None,
            endpoint: None,
            release_id: None,
            revision: None,
            attempts: 1,
            bytes_in: 0,
            bytes_out: 0,
            first_byte_ms: None,
            total_ms: 0,
        }
    }

    #[test]
    fn every_line_of_every_thread_is_written_once_before_the_end() {
        let (sender, received) = channel();
        let log = AccessLog::to(Sent(sender)).unwrap();
        let taken: usize = std::thread::scope(|scope| {
            let threads = (0..4).map(|thread| {
                let log = log.clone();
                let write = move |it: u64| usize::from(log.log(&line(thread * 1000 + it)));
                scope.spawn(move || (0..1000).map(write).sum::<usize>())
            });
            let threads: Vec<_> = threads.collect();
            threads.into_iter().map(|it| it.join().unwrap()).sum()
        });
        log.flush();
        let written: Vec<u8> = received.try_iter().flatten().collect();
        let text = String::from_utf8(written).unwrap();
        let lines: std::collections::BTreeSet<_> = text.lines().collect();
        assert_eq!((lines.len(), text.lines().count()), (taken, taken));
        assert!(lines.iter().all(|it| serde_json::from_str::<serde_json::Value>(it).is_ok()));
        assert!(3900 < taken, "{taken}");
    }

    #[test]
    fn long_fields_are_cut_between_characters() {
        let long = "é".repeat(FIELD_BYTES_MAX);
        assert_eq!(cut(&long).len(), FIELD_BYTES_MAX);
        let odd = format!("a{long}");
        assert_eq!(cut(&odd).len(), FIELD_BYTES_MAX - 1);
        assert_eq!(cut("short"), "short");
    }
}
