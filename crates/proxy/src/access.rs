//! The access log: one JSON line per request, written by a thread of its own.
//!
//! A request hands its line over and goes on. When the thread cannot keep up, lines are lost and
//! counted; traffic never waits for a log.

use std::fmt;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tidegate_core::Moment;
use tidegate_core::id::Generation;

use json::Object;

mod json;

/// Lines that may wait to be written.
pub const WAITING_LINES_MAX: usize = 16 * 1024;
/// Time from one batch of lines to the next; also how late a line may be.
const BATCH_EVERY: Duration = Duration::from_millis(10);
/// Longest time that the end of the process waits for the log.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(1);
/// Room for a usual line, in bytes.
const LINE_BYTES_USUAL: usize = 640;
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
    /// The line as JSON; what is not known is left out.
    fn bytes(&self) -> Vec<u8> {
        let mut object = Object::with_capacity(LINE_BYTES_USUAL);
        object.moment("time", Rfc3339(self.time));
        object.word("target", "access");
        object.text("id", self.id);
        object.pair("decision", self.generation.0, self.sequence);
        if let Some(client) = self.client {
            object.address("client", client, None);
        }
        object.text("method", self.method);
        object.text("host", cut(self.host));
        object.text("path", cut(self.path));
        object.word("protocol", self.protocol);
        object.word("kind", self.kind);
        object.text_if("route", self.route);
        object.word_if("intent", self.intent);
        object.number("status", self.status.into());
        object.word_if("code", self.code);
        object.word("end", self.end);
        object.text_if("region", self.region);
        object.word_if("reason", self.reason);
        object.word_if("pin", self.pin);
        if let Some(endpoint) = self.endpoint {
            object.address("endpoint", endpoint.ip(), Some(endpoint.port()));
        }
        object.text_if("release_id", self.release_id);
        object.text_if("revision", self.revision);
        object.number("attempts", self.attempts.into());
        object.size("bytes_in", self.bytes_in);
        object.size("bytes_out", self.bytes_out);
        if let Some(first_byte_ms) = self.first_byte_ms {
            object.number("first_byte_ms", first_byte_ms);
        }
        object.number("total_ms", self.total_ms);
        object.finish()
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
pub struct AccessLog(Option<SyncSender<Message>>);

/// What the writing thread is told.
#[derive(Debug)]
enum Message {
    /// One line.
    Line(Vec<u8>),
    /// Say when everything before this is written.
    Flush(SyncSender<()>),
}

impl AccessLog {
    /// A log that keeps nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// A log that a thread writes to `out` until every handle of the log is gone.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn to(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING_LINES_MAX);
        let writer = std::thread::Builder::new().name("access-log".to_owned());
        writer.spawn(move || write_all(&receiver, out))?;
        Ok(Self(Some(sender)))
    }

    /// Whether lines are kept at all.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Hands a line over; answers whether it was taken.
    pub fn log(&self, line: &Line<'_>) -> bool {
        self.0.as_ref().is_none_or(|it| it.try_send(Message::Line(line.bytes())).is_ok())
    }

    /// Waits until every line that was handed over is written, but not for ever.
    pub fn flush(&self) {
        let Some(sender) = &self.0 else { return };
        let (done, written) = sync_channel(1);
        // Whoever reads the log may have stopped reading; the process ends all the same.
        if sender.send(Message::Flush(done)).is_ok()
            && written.recv_timeout(FLUSH_TIME_MAX).is_err()
        {
            tracing::warn!("the last access lines are lost");
        }
    }
}

/// Writes lines in batches: a thread that woke for each line would cost more than the line.
fn write_all(messages: &Receiver<Message>, mut out: impl Write) {
    let mut batch = Vec::new();
    let mut flushed: Vec<SyncSender<()>> = Vec::new();
    while let Ok(first) = messages.recv() {
        if let Message::Line(_) = first {
            std::thread::sleep(BATCH_EVERY);
        }
        for message in std::iter::once(first).chain(messages.try_iter().take(WAITING_LINES_MAX)) {
            match message {
                Message::Line(line) => batch.extend_from_slice(&line),
                Message::Flush(done) => flushed.push(done),
            }
        }
        // A log whose reader is gone must not end the balancer; its lines are lost like any other.
        if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
            tracing::debug!("access log cannot be written");
        }
        batch.clear();
        for done in flushed.drain(..) {
            // Who waits may have given up.
            done.try_send(()).ok();
        }
    }
}

/// A moment as RFC 3339 has it, in UTC with milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339(pub Moment);

impl Rfc3339 {
    /// The numbers of the date, each with its width and the character behind it.
    fn parts(self) -> [(u64, usize, u8); 7] {
        let (days, of_day) = (self.0.0 / 86_400_000, self.0.0 % 86_400_000);
        let (year, month, day) = civil(days);
        [
            (year, 4, b'-'),
            (month, 2, b'-'),
            (day, 2, b'T'),
            (of_day / 3_600_000, 2, b':'),
            (of_day / 60_000 % 60, 2, b':'),
            (of_day / 1000 % 60, 2, b'.'),
            (of_day % 1000, 3, b'Z'),
        ]
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().into_iter().try_for_each(|(number, width, behind)| {
            write!(f, "{number:0width$}{}", char::from(behind))
        })
    }
}

/// Year, month and day of a day since the Unix epoch, counted in eras of 400 years from March on.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_as_dates() {
        let date = |ms| Rfc3339(Moment(ms)).to_string();
        assert_eq!(date(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(date(951_826_154_123), "2000-02-29T12:09:14.123Z");
        assert_eq!(date(4_102_444_799_999), "2099-12-31T23:59:59.999Z");
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
