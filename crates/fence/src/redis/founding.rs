//! The first start of a store, which somebody has to ask for: an empty Redis may be one that has lost
//! everything, and only people know.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::answer::{error, list, text};
use super::calls::{Way, refused};
use super::command::Builder;
use super::lane::Gate;
use super::layout::{Kept, buckets};
use super::map::{Map, Node};
use super::{Redis, Shared, scripts};
use crate::store::Failure;

/// How long is waited for the servers.
const WITHIN: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How many keys a server looks at in one step.
const SCANNED: u64 = 1000;

/// How a store is founded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Only where nothing of ours is.
    First,
    /// Whatever was there: what the store has forgotten may be delivered again. Records that are
    /// there stay.
    Anew,
}

/// What has come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Founded {
    /// It remembers from now on.
    Now,
    /// It was founded before, and has lost nothing.
    Before,
}

/// Why a store is not founded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoundError {
    /// It does not do what it is asked for.
    #[error("found the store: {failure}; {}", seen.join("; "))]
    Store {
        /// What comes of it.
        failure: Failure,
        /// What was seen at the servers.
        seen: Vec<String>,
    },
    /// It is not empty, and its markers are missing.
    #[error("{missing} of {} markers are missing, and records are there: the store has lost data, and `--anew` begins anew", buckets().len())]
    Lost {
        /// How many markers are missing.
        missing: usize,
    },
    /// Somebody else does the same.
    #[error("somebody else founds the store at this moment")]
    Raced,
}

impl Redis {
    /// Makes the markers without which no claim is taken.
    ///
    /// # Errors
    /// Why it has none now, or not all of them.
    pub async fn found(&self, how: How) -> Result<Founded, FoundError> {
        let shared = &*self.shared;
        let map = shared.when_reachable().await.map_err(|failure| shared.says(failure))?;
        shared.found(&map, how).await
    }
}

impl Shared {
    fn says(&self, failure: Failure) -> FoundError {
        let map = Arc::clone(&self.map.borrow());
        let nodes = map.nodes.iter().filter_map(|node| {
            let (check, seen) = node.rest.known()?.err()?;
            Some(format!("{}, {}: {seen}", node.name(), check.word()))
        });
        let findings = super::lock(&self.findings);
        // What is about no server in particular.
        let wrong = findings.iter().filter(|it| !it.is_ok && it.node.is_none());
        let wrong = wrong.map(|it| format!("{}: {}", it.check.word(), it.seen));
        FoundError::Store { failure, seen: nodes.chain(wrong).collect() }
    }

    /// The map, once every bucket has a server that answers.
    async fn when_reachable(&self) -> Result<Arc<Map>, Failure> {
        let until = Instant::now() + WITHIN;
        loop {
            let map = Arc::clone(&self.map.borrow());
            let is_up = |lane: &super::lane::Lane| matches!(lane.known(), Some(Ok(_)));
            if map.is_whole() && map.nodes.iter().all(|node| is_up(&node.rest)) {
                return Ok(map);
            }
            let refused = map.nodes.iter().find_map(|node| match node.rest.is_up() {
                Err(failure @ Failure::Unfit(_)) => Some(failure),
                Err(_) | Ok(()) => None,
            });
            if let Some(failure) = refused {
                return Err(failure);
            }
            if until <= Instant::now() {
                return Err(Failure::Down);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn found(&self, map: &Map, how: How) -> Result<Founded, FoundError> {
        let store = |failure| self.says(failure);
        let mut found = HashSet::new();
        let mut missing = 0;
        for node in &map.nodes {
            for marker in self.markers(map, node).await.map_err(store)?.values() {
                match marker {
                    Some(marker) => drop(found.insert(marker.generation)),
                    None => missing += 1,
                }
            }
        }
        if how == How::First {
            if let Some(generation) = found.iter().next()
                && missing == 0
                && found.len() == 1
            {
                self.until_known(map, *generation).await.map_err(store)?;
                return Ok(Founded::Before);
            }
            if !found.is_empty() || self.has_keys(map).await.map_err(store)? {
                return Err(FoundError::Lost { missing });
            }
        }
        let generation = draw();
        if !self.make_markers(map, generation, how).await.map_err(store)? {
            return Err(FoundError::Raced);
        }
        self.until_known(map, generation).await.map_err(store)?;
        Ok(Founded::Now)
    }

    /// Waits until claims of this process are not refused any more because of missing markers.
    async fn until_known(&self, map: &Map, generation: u64) -> Result<(), Failure> {
        let until = Instant::now() + WITHIN;
        let is_cold = |node: &Arc<Node>| *node.gate.borrow() == Gate::Refusing(Failure::Cold);
        while *self.generation.borrow() != Some(generation) || map.nodes.iter().any(is_cold) {
            if until <= Instant::now() {
                return Err(Failure::Cold);
            }
            self.poke.notify_one();
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Makes all markers. Whether they are all of this generation.
    async fn make_markers(&self, map: &Map, generation: u64, how: How) -> Result<bool, Failure> {
        let generation = format!("{generation:016x}");
        let mut commands = Vec::new();
        for bucket in buckets() {
            let node = map.node(bucket).ok_or(Failure::Down)?;
            let marker = [self.names.of(bucket, Kept::Marker)];
            let call = Builder::script(&scripts::FOUND, &marker).text(&generation);
            commands.push((Arc::clone(node), call.flag(how == How::Anew).end()));
        }
        let answers = self.ask_all(commands, Way::Rest).await?;
        Ok(answers.iter().all(|it| text(it) == Some(generation.as_bytes())))
    }

    /// Whether there is anything of ours.
    async fn has_keys(&self, map: &Map) -> Result<bool, Failure> {
        for node in &map.nodes {
            let mut cursor = b"0".to_vec();
            loop {
                let scan = Builder::new("SCAN").bytes(&cursor).text("MATCH");
                let scan = scan.bytes(&self.names.pattern()).text("COUNT").number(SCANNED);
                let answer = self.ask_node(node, scan.end()).await?;
                if let Some(error) = error(&answer) {
                    return Err(refused(error));
                }
                let Some([next, keys]) = list(&answer) else { return Err(Failure::Unreachable) };
                if list(keys).is_some_and(|keys| !keys.is_empty()) {
                    return Ok(true);
                }
                cursor = text(next).unwrap_or(b"0").to_vec();
                if cursor == b"0" {
                    break;
                }
            }
        }
        Ok(false)
    }
}

/// A number that nobody else has drawn.
pub(super) fn draw() -> u64 {
    // The standard library asks the system for the keys of a hash, and has no other way in.
    RandomState::new().hash_one("generation").max(1)
}
