//! Server-sent events, with the moment at which each arrived.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// The field `id`.
    pub id: Option<String>,
    /// The field `event`.
    pub name: Option<String>,
    /// The fields `data`, joined by line ends.
    pub data: String,
    /// When its last byte had been read.
    pub arrived: Instant,
    /// The same moment on the wall clock, to compare with `sent_unix_ns` of a fake region.
    pub arrived_unix_ns: u64,
}

impl Event {
    /// The data as JSON. Panics if it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data)
            .unwrap_or_else(|error| panic!("wanted JSON: {error}: {}", self.data))
    }

    /// How long a fake region's event was on its way, in nanoseconds.
    pub fn delay_ns(&self) -> Option<u64> {
        let sent = serde_json::from_str::<Value>(&self.data).ok()?.get("sent_unix_ns")?.as_u64()?;
        Some(self.arrived_unix_ns.saturating_sub(sent))
    }
}

/// Cuts bytes into events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    buffer: Vec<u8>,
}

impl Events {
    pub(crate) fn arrived(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole event. Only the line ends that fake regions send are understood.
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            let end = self.buffer.windows(2).position(|pair| pair == b"\n\n")?;
            let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
            if let Some(event) = parse(&String::from_utf8_lossy(&block)) {
                return Some(event);
            }
        }
    }
}

fn parse(block: &str) -> Option<Event> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut data = Vec::new();
    let (mut id, mut name) = (None, None);
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match field {
            "data" => data.push(value),
            "id" => id = Some(value),
            "event" => name = Some(value),
            _ => {}
        }
    }
    if data.is_empty() {
        return None;
    }
    Some(Event {
        id,
        name,
        data: data.join("\n"),
        arrived: Instant::now(),
        arrived_unix_ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
    })
}
