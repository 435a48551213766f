//! The tail of a queue that is a Redis stream: what one consumer group has still to do.
//!
//! Nothing is changed: it only asks, of the master or of a replica.

use std::sync::Arc;

use redis::Value;
use tidegate_core::contract::Queue;
use tidegate_core::gate::rules::StreamRules;
use tokio::time::Instant;

use super::answer::{code, list, number, text};
use super::command::{Builder, Command};
use super::connection::{Broken, Connection, Dial};
use super::tls::{self, TlsError};

/// Most entries that are counted one by one, where the server does not know how many there are.
pub const COUNTED_MAX: u64 = 1000;

/// Reads one stream for as long as it is held.
pub struct StreamReader {
    rules: StreamRules,
    dial: Dial,
    connection: Option<Connection>,
}

/// Why nobody knows how long a queue is.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// The server cannot be reached, does not answer, or refuses us.
    #[error("{0}")]
    Broken(String),
    /// There is no such stream, or it is none.
    #[error("it has no stream `{0}`")]
    NoStream(Arc<str>),
    /// The stream has no such group.
    #[error("the stream has no consumer group `{0}`")]
    NoGroup(Arc<str>),
    /// It answers something else than a stream would.
    #[error("the server answers what no stream would")]
    Odd,
}

impl From<Broken> for Unread {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken.to_string())
    }
}

/// What a group says of itself.
struct Group {
    pending: u64,
    /// How many entries were never delivered; servers before version 7 do not know.
    lag: Option<u64>,
    last: String,
}

impl StreamReader {
    /// A reader that has not connected yet.
    ///
    /// # Errors
    /// Connections cannot be encrypted as the rules say.
    pub fn new(rules: StreamRules) -> Result<Self, TlsError> {
        let tls = rules.tls.as_ref().map(tls::connector).transpose()?;
        let (user, password) = (rules.user.clone(), rules.password.clone());
        Ok(Self { rules, dial: Dial { user, password, tls }, connection: None })
    }

    /// Reads how much waits, and for how long, within the time that the rules allow.
    ///
    /// # Errors
    /// Nobody knows; the next reading makes a new connection.
    ///
    /// # Cancel safety
    /// A reading that is given up costs its connection.
    pub async fn read(&mut self) -> Result<Queue, Unread> {
        let until = Instant::now() + self.rules.timeout;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.dial, &self.rules.node, until).await?,
        };
        let read = Reading { rules: &self.rules, until }.over(&mut connection).await?;
        self.connection = Some(connection);
        Ok(read)
    }
}

/// One reading of one stream.
struct Reading<'r> {
    rules: &'r StreamRules,
    until: Instant,
}

impl Reading<'_> {
    async fn over(&self, connection: &mut Connection) -> Result<Queue, Unread> {
        let now_ms = now_ms(&self.ask(connection, Builder::new("TIME").end()).await?)?;
        let key = &self.rules.key;
        let groups = Builder::new("XINFO").text("GROUPS").text(key).end();
        let group = self.group(&self.ask(connection, groups).await?)?;
        let pending = Builder::new("XPENDING").text(key).text(&self.rules.group).end();
        let pending = self.ask(connection, pending).await?;
        let oldest_pending = list(&pending).and_then(|it| it.get(1)).and_then(id_ms);
        let waiting = self.waiting(connection, &group).await?;
        let (undelivered, oldest_undelivered) = waiting;
        let oldest = oldest_pending.into_iter().chain(oldest_undelivered).min();
        Ok(Queue {
            depth: group.pending.saturating_add(undelivered),
            oldest_age_ms: oldest.map_or(0, |it| now_ms.saturating_sub(it)),
            watermark: Some(group.last.as_str().into()),
        })
    }

    /// How many entries were never delivered, and when the first of them was added.
    async fn waiting(
        &self,
        connection: &mut Connection,
        group: &Group,
    ) -> Result<(u64, Option<u64>), Unread> {
        // The server's count is exact or nothing; without it they are counted, up to a limit.
        let count = if group.lag.is_some() { 1 } else { COUNTED_MAX };
        let after = format!("({}", group.last);
        let range = Builder::new("XRANGE").text(&self.rules.key).text(&after).text("+");
        let range = range.text("COUNT").number(count).end();
        let entries = self.ask(connection, range).await?;
        let entries = list(&entries).ok_or(Unread::Odd)?;
        let first = entries.first().and_then(list).and_then(|it| it.first());
        let counted = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        // A count and what is there are read one after the other, so the larger one is believed.
        Ok((group.lag.unwrap_or(counted).max(counted), first.and_then(id_ms)))
    }

    fn group(&self, answer: &Value) -> Result<Group, Unread> {
        for group in list(answer).ok_or(Unread::Odd)? {
            let fields = list(group).ok_or(Unread::Odd)?;
            let of = |name: &str| {
                let mut pairs = fields.chunks_exact(2);
                pairs.find_map(|pair| match pair {
                    [key, value] if text(key) == Some(name.as_bytes()) => Some(value),
                    _ => None,
                })
            };
            if of("name").and_then(text) == Some(self.rules.group.as_bytes()) {
                let last = of("last-delivered-id").and_then(text).ok_or(Unread::Odd)?;
                return Ok(Group {
                    pending: of("pending").and_then(number).ok_or(Unread::Odd)?,
                    lag: of("lag").and_then(number),
                    last: String::from_utf8(last.to_vec()).map_err(|_odd| Unread::Odd)?,
                });
            }
        }
        Err(Unread::NoGroup(Arc::clone(&self.rules.group)))
    }

    async fn ask(&self, connection: &mut Connection, command: Command) -> Result<Value, Unread> {
        let answer = connection.ask(&command, self.until).await?;
        match code(&answer) {
            None => Ok(answer),
            // Redis says so of a key that is not there, and of one that is something else.
            Some("ERR" | "WRONGTYPE") => Err(Unread::NoStream(Arc::clone(&self.rules.key))),
            Some("NOGROUP") => Err(Unread::NoGroup(Arc::clone(&self.rules.group))),
            Some(kind) => Err(Unread::Broken(format!("the server refuses us: {kind}"))),
        }
    }
}

impl std::fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamReader").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// The server's time: entries are named by it, and its clock need not be ours.
fn now_ms(answer: &Value) -> Result<u64, Unread> {
    let Some([seconds, micros]) = list(answer) else { return Err(Unread::Odd) };
    let (seconds, micros) = number(seconds).zip(number(micros)).ok_or(Unread::Odd)?;
    Ok(seconds.saturating_mul(1000).saturating_add(micros / 1000))
}

/// When an entry was added, as its name says.
fn id_ms(id: &Value) -> Option<u64> {
    std::str::from_utf8(text(id)?).ok()?.split('-').next()?.parse().ok()
}
