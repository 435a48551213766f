//! Which server has which bucket, and how to speak to it.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_core::fence::key::BUCKETS;
use tidegate_core::policy::fencing::{RedisNode, RedisWait};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::checks::Info;
use super::connection::Dial;
use super::lane::{self, Gate, Identity, Lane, Plan};

/// One server that takes writes.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: RedisNode,
    /// Claims, and nothing that must not wait for them.
    pub(super) claims: Lane,
    /// Everything else.
    pub(super) rest: Lane,
    pub(super) gate: watch::Sender<Gate>,
    /// Ends its connections, and lets new ones be made.
    pub(super) hang_up: Arc<Notify>,
    /// There is no room for new keys.
    pub(super) is_full: AtomicBool,
    /// What it said when it was last looked at, and in which life.
    pub(super) last: Mutex<Option<(Identity, Info)>>,
}

/// What all connections have in common.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) dial: Dial,
    pub(super) wait: Option<RedisWait>,
    pub(super) silence: Duration,
    pub(super) poke: Arc<Notify>,
}

impl Node {
    /// Begins to keep up the connections to a server. They end when the node is dropped.
    pub(super) fn begin(at: RedisNode, common: &Common, tasks: &mut JoinSet<()>) -> Arc<Self> {
        let Common { dial, wait, silence, poke } = common.clone();
        let (gate, opened) = watch::channel(Gate::Shut);
        let hang_up = Arc::new(Notify::new());
        let waited = wait.map_or(Duration::ZERO, |wait| wait.timeout);
        let (claims, driver) = lane::lay(Plan {
            to: at.clone(),
            dial: dial.clone(),
            wait,
            gate: Some(opened),
            silence: silence + waited,
            poke: Arc::clone(&poke),
            hang_up: Arc::clone(&hang_up),
        });
        tasks.spawn(driver.run());
        let (rest, driver) = lane::lay(Plan {
            to: at.clone(),
            dial,
            wait: None,
            gate: None,
            silence,
            poke,
            hang_up: Arc::clone(&hang_up),
        });
        tasks.spawn(driver.run());
        let (is_full, last) = (AtomicBool::new(false), Mutex::new(None));
        Arc::new(Self { at, claims, rest, gate, hang_up, is_full, last })
    }

    /// Its address, for people.
    pub(super) fn name(&self) -> String {
        format!("{}:{}", self.at.host, self.at.port)
    }

    /// Lets no claim through before it was looked at again.
    pub(super) fn shut(&self) {
        self.gate.send_if_modified(|gate| {
            let was_open = matches!(gate, Gate::Open(_));
            if was_open {
                *gate = Gate::Shut;
            }
            was_open
        });
    }
}

/// Who has which bucket.
#[derive(Debug, Default)]
pub(super) struct Map {
    pub(super) nodes: Vec<Arc<Node>>,
    /// For each bucket the place of its node.
    of: Vec<Option<usize>>,
}

impl Map {
    /// Each bucket has a place among the nodes, or is nowhere.
    pub(super) fn parted(nodes: Vec<Arc<Node>>, of: Vec<Option<usize>>) -> Self {
        Self { nodes, of }
    }

    pub(super) fn node(&self, bucket: u16) -> Option<&Arc<Node>> {
        let place = *self.of.get(usize::from(bucket))?;
        self.nodes.get(place?)
    }

    pub(super) fn at(&self, address: &RedisNode) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|node| node.at == *address)
    }

    /// The buckets of a node.
    pub(super) fn buckets(&self, node: &Arc<Node>) -> Vec<u16> {
        let is_its = |bucket: &u16| self.node(*bucket).is_some_and(|it| Arc::ptr_eq(it, node));
        (0..BUCKETS).filter(is_its).collect()
    }

    /// Whether every bucket is somewhere.
    pub(super) fn is_whole(&self) -> bool {
        (0..BUCKETS).all(|bucket| self.node(bucket).is_some())
    }
}
