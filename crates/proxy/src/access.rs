//! The access log: one JSON line per request, written by a thread of its own.
//!
//! A request hands its line over and goes on. When the thread cannot keep up, lines are lost and
//! counted; traffic never waits for a log.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde::Serialize;
use tidegate_core::Moment;

/// Lines that may wait to be written.
pub const WAITING_LINES_MAX: usize = 8192;
/// Bytes of one field that are kept.
const FIELD_BYTES_MAX: usize = 2048;

/// One request, as it is logged at its end. No body, no cookie, no key, and no query.
#[derive(Clone, Debug, Serialize)]
pub struct Line<'a> {
    /// When the request came in (RFC 3339, UTC).
    pub time: String,
    /// Always `access`.
    pub target: &'static str,
    /// The request's name, as `X-Request-Id` has it.
    pub id: &'a str,
    /// The snapshot that decided, and the place of the decision in this process.
    pub decision: String,
    /// The client's address.
    pub client: Option<String>,
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
    pub endpoint: Option<String>,
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
    /// Time to the first byte of the answer.
    pub first_byte_ms: Option<u64>,
    /// Time in all.
    pub total_ms: u64,
}

impl Line<'_> {
    fn bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(768);
        serde_json::to_writer(&mut bytes, self).ok()?;
        bytes.push(b'\n');
        Some(bytes)
    }
}

/// A field cut to what is kept of it, at a character's end.
pub fn cut(field: &str) -> &str {
    let mut end = field.len().min(FIELD_BYTES_MAX);
    while !field.is_char_boundary(end) {
        end -= 1;
    }
    field.get(..end).unwrap_or_default()
}

/// Where lines go.
#[derive(Clone, Debug)]
pub struct AccessLog(Option<SyncSender<Vec<u8>>>);

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
        let Some(sender) = &self.0 else { return true };
        line.bytes().is_some_and(|bytes| sender.try_send(bytes).is_ok())
    }
}

/// Writes lines as they come, many at once when many wait.
fn write_all(lines: &Receiver<Vec<u8>>, mut out: impl Write) {
    while let Ok(mut batch) = lines.recv() {
        lines.try_iter().take(WAITING_LINES_MAX).for_each(|line| batch.extend_from_slice(&line));
        // A log whose reader is gone must not end the balancer; its lines are lost like any other.
        if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
            tracing::debug!("access log cannot be written");
        }
    }
}

/// A moment as RFC 3339 has it, in UTC with milliseconds.
pub fn rfc3339(moment: Moment) -> String {
    let (days, of_day) = (moment.0 / 86_400_000, moment.0 % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, milli) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
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
        assert_eq!(rfc3339(Moment(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(Moment(951_826_154_123)), "2000-02-29T12:09:14.123Z");
        assert_eq!(rfc3339(Moment(4_102_444_799_999)), "2099-12-31T23:59:59.999Z");
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
