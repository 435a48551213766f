//! What is done with all records of a Redis: listing, counting, forgetting.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use redis::Value;
use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::record::{Record, State};
use tidegate_core::fence::rules::{Knows, Resolution};

use super::answer::{list, number, text};
use super::calls::{Way, word};
use super::command::{Builder, Command};
use super::layout::{self, Kept, buckets};
use super::map::Node;
use super::operations::owner;
use super::scripts::{self, Script};
use super::{Redis, Shared};
use crate::store::{Audit, AuditLine, Failure, Filter, Gauges, Maintained};

/// Most records of one bucket that a round of maintenance looks at.
const DUE_MAX: u64 = 64;
/// Most records that are read for one list.
const LISTED_MAX: usize = 8192;
/// Most records that are read to find the one that is open for the longest time.
const OLDEST_MAX: usize = 256;
/// How long one balancer keeps the turn to look after the store, and how long a window is taken to
/// be open that nobody speaks of any more; both in milliseconds.
const TURN: u64 = 900;
const WINDOW: u64 = 60_000;

impl Redis {
    pub(crate) async fn audit(&self, limit: u32) -> Result<Vec<AuditLine>, Failure> {
        let shared = &*self.shared;
        let last = i64::from(limit) - 1;
        let answers = shared
            .each_bucket(|bucket| {
                let name = shared.names.of(bucket, Kept::Audit);
                Builder::new("LRANGE").bytes(&name).number(0).text(&last.to_string()).end()
            })
            .await?;
        let lists = answers.iter().filter_map(|(_, answer)| list(answer)).flatten();
        let mut lines: Vec<AuditLine> =
            lists.filter_map(|it| text(it).and_then(read_line)).collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.at));
        lines.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(if limit == 0 { Vec::new() } else { lines })
    }

    pub(crate) async fn list(
        &self,
        filter: Filter,
        limit: u32,
    ) -> Result<Vec<(FenceKey, Record)>, Failure> {
        let (shared, generation) = (&*self.shared, self.shared.generation().await?);
        let answers = shared
            .each_bucket(|bucket| {
                let call = shared.about_bucket(&scripts::OPEN, bucket, generation);
                call.number(u64::from(limit)).flag(filter == Filter::InDoubt).end()
            })
            .await?;
        let mut found = shared.records(keys(&answers)?, LISTED_MAX, generation).await?;
        found.sort_by_key(|(_, record)| record.lease_until);
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    pub(crate) async fn gauges(&self) -> Result<Gauges, Failure> {
        let (shared, generation) = (&*self.shared, self.shared.generation().await?);
        let answers = shared
            .each_bucket(|bucket| shared.about_bucket(&scripts::STATS, bucket, generation).end())
            .await?;
        let mut gauges = Gauges::default();
        let mut oldest = Vec::new();
        for (_, answer) in &answers {
            word(answer)?;
            let Some([_, flying, doubted, born, first]) = list(answer) else { continue };
            gauges.in_flight += number(flying).unwrap_or_default();
            gauges.in_doubt += number(doubted).unwrap_or_default();
            gauges.born = gauges.born.max(layout::moment(number(born).unwrap_or_default()));
            oldest.extend(text(first).and_then(key));
        }
        let open = shared.records(oldest, OLDEST_MAX, generation).await?;
        let in_flight = open.iter().filter(|(_, record)| record.state == State::InFlight);
        gauges.oldest_open = in_flight.map(|(_, record)| record.created).min();
        let nodes = Arc::clone(&shared.map.borrow());
        for node in &nodes.nodes {
            if let Some((_, info)) = &*super::lock(&node.last) {
                gauges.bytes += info.number("used_memory");
                gauges.bytes_max += info.number("maxmemory");
            }
        }
        Ok(gauges)
    }

    pub(crate) async fn maintain(&self, is_window_open: bool) -> Result<Maintained, Failure> {
        let (shared, generation) = (&*self.shared, self.shared.generation().await?);
        let is_window_open = shared.window(is_window_open).await?;
        shared.is_window_open.store(is_window_open, Ordering::Relaxed);
        let mut maintained = Maintained::default();
        if !shared.has_turn().await? {
            return Ok(maintained);
        }
        let answers = shared
            .each_bucket(|bucket| {
                shared.about_bucket(&scripts::DUE, bucket, generation).number(DUE_MAX).end()
            })
            .await?;
        let due = keys(&answers)?;
        let calls = due.iter().filter_map(|key| {
            let node = shared.node(key.bucket())?;
            Some((node, shared.begin(&scripts::AGE, *key, generation).end()))
        });
        for answer in shared.ask_all(calls.collect(), Way::Rest).await? {
            if word(&answer)? == b"FORGOTTEN" {
                // Only what is open is looked at here; answers go by themselves.
                maintained.forgotten += 1;
                maintained.unsafely += 1;
            }
        }
        maintained.has_more = answers.iter().any(|(_, answer)| {
            let due = list(answer).and_then(|it| it.get(1)).and_then(list);
            due.is_some_and(|due| DUE_MAX <= u64::try_from(due.len()).unwrap_or(u64::MAX))
        });
        Ok(maintained)
    }
}

impl Shared {
    fn node(&self, bucket: u16) -> Option<Arc<Node>> {
        self.map.borrow().node(bucket).map(Arc::clone)
    }

    fn about_bucket(&self, script: &'static Script, bucket: u16, generation: u64) -> Builder {
        let marker = self.names.of(bucket, Kept::Marker);
        self.begin_with(script, marker, bucket, (generation, 0))
    }

    /// Sends a command about every bucket.
    async fn each_bucket(
        &self,
        command: impl Fn(u16) -> Command,
    ) -> Result<Vec<(u16, Value)>, Failure> {
        let map = Arc::clone(&self.map.borrow());
        let mut commands = Vec::with_capacity(buckets().len());
        for bucket in buckets() {
            let node = map.node(bucket).ok_or(Failure::Down)?;
            commands.push((Arc::clone(node), command(bucket)));
        }
        Ok(buckets().zip(self.ask_all(commands, Way::Rest).await?).collect())
    }

    /// The records of some keys, as far as they are still there.
    async fn records(
        &self,
        mut keys: Vec<FenceKey>,
        most: usize,
        generation: u64,
    ) -> Result<Vec<(FenceKey, Record)>, Failure> {
        keys.truncate(most);
        let mut commands = Vec::with_capacity(keys.len());
        for key in &keys {
            let node = self.node(key.bucket()).ok_or(Failure::Down)?;
            commands.push((node, self.begin(&scripts::LOOK, *key, generation).end()));
        }
        let answers = self.ask_all(commands, Way::Rest).await?;
        let mut records = Vec::with_capacity(keys.len());
        for (key, answer) in keys.into_iter().zip(&answers) {
            if word(answer)? == b"HELD" {
                let stored = list(answer).and_then(|it| it.get(1)).and_then(text);
                records.push((key, layout::decode(stored.unwrap_or_default())));
            }
        }
        Ok(records)
    }

    /// Whether a window is open at any balancer: each tells the others until when it surely is.
    async fn window(&self, is_open: bool) -> Result<bool, Failure> {
        let node = self.node(0).ok_or(Failure::Down)?;
        let (sign, id, now) = (self.names.shared("w"), self.id_text(), (self.clock)().0);
        let tell = if is_open {
            Builder::new("ZADD").bytes(&sign).number(now.saturating_add(WINDOW)).text(&id)
        } else {
            Builder::new("ZREM").bytes(&sign).text(&id)
        };
        let count = Builder::new("ZCOUNT").bytes(&sign).number(now).text("+inf");
        let commands = [tell, count].map(|it| (Arc::clone(&node), it.end()));
        let answers = self.ask_all(commands.into(), Way::Rest).await?;
        Ok(answers.last().and_then(number) != Some(0))
    }

    fn id_text(&self) -> String {
        format!("{:016x}", self.id)
    }

    /// Whether it is for this balancer to look after the store now.
    async fn has_turn(&self) -> Result<bool, Failure> {
        let node = self.node(0).ok_or(Failure::Down)?;
        let (sign, id) = (self.names.shared("t"), self.id_text());
        let set = Builder::new("SET").bytes(&sign).text(&id).text("NX").text("PX").number(TURN);
        if self.ask_node(&node, set.end()).await? != Value::Nil {
            return Ok(true);
        }
        let whose = self.ask_node(&node, Builder::new("GET").bytes(&sign).end()).await?;
        Ok(text(&whose) == Some(id.as_bytes()))
    }
}

/// The keys that scripts have told of.
pub(super) fn keys(answers: &[(u16, Value)]) -> Result<Vec<FenceKey>, Failure> {
    let mut keys = Vec::new();
    for (_, answer) in answers {
        word(answer)?;
        let told = list(answer).and_then(|it| it.get(1)).and_then(list);
        keys.extend(told.into_iter().flatten().filter_map(|it| text(it).and_then(key)));
    }
    Ok(keys)
}

fn key(bytes: &[u8]) -> Option<FenceKey> {
    bytes.try_into().ok().map(FenceKey)
}

/// Who resolved what and why, as it is kept behind the moment.
pub(super) fn line(key: FenceKey, resolution: &Resolution, audit: &Audit) -> Vec<u8> {
    let mut line = Vec::new();
    line.extend(key.0);
    line.extend(resolution.owner.to_bytes());
    line.push(u8::from(resolution.knows == Knows::Executed));
    let who = audit.who.as_bytes();
    let length = u16::try_from(who.len()).unwrap_or(u16::MAX);
    line.extend(length.to_be_bytes());
    line.extend(who.iter().take(usize::from(length)));
    line.extend(audit.reason.bytes());
    line
}

pub(super) fn read_line(bytes: &[u8]) -> Option<AuditLine> {
    let (at, rest) = bytes.split_first_chunk()?;
    let (key, rest) = rest.split_first_chunk()?;
    let (whose, rest) = rest.split_at_checked(16)?;
    let ([executed, high, low], rest) = rest.split_first_chunk()?;
    let (who, reason) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Some(AuditLine {
        at: layout::moment(u64::from_be_bytes(*at)),
        key: FenceKey(*key),
        owner: owner(whose),
        executed: *executed == 1,
        audit: Audit { who: text(who), reason: text(reason) },
    })
}
