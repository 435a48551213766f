//! What a policy demands before traffic may be moved.

use std::sync::Arc;
use std::time::Duration;

use super::drift::Limits;
use super::probes::{Measure, ProbeSet};
use super::queue::QueueLimits;
use crate::id::Name;
use crate::policy::fencing::{RedisNode, RedisPassword, RedisTls};

/// How long a fence must have been warm without a break before it counts as warm.
pub const WARM_FOR: Duration = Duration::from_secs(30);

/// What is demanded of regions before traffic may be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateRules {
    /// Whether anything may be moved at all: the master switch.
    pub may_move: bool,
    /// How many regions stay on, whatever is moved.
    pub regions_min: usize,
    /// How old the last word of a region on its contract may be.
    pub contract_age_max: Duration,
    /// What is demanded of what regions store; nothing if `None`.
    pub blobs: Option<BlobRules>,
    /// What is demanded of their queues; nothing if `None`.
    pub queue: Option<QueueRules>,
    /// What is demanded of their answers to a probe set; nothing if `None`.
    pub probes: Option<ProbeRules>,
    /// Whether the memory of writes must be warm, and how old its last word may be.
    pub fence_age_max: Option<Duration>,
    /// What is demanded when a region was lost.
    pub emergency: EmergencyRules,
}

/// How something is asked for again and again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asking {
    /// The path, at an endpoint of the region.
    pub path: Name,
    /// From one time to the next.
    pub every: Duration,
    /// How long one answer may take as a whole.
    pub timeout: Duration,
    /// How large it may be.
    pub body_bytes_max: usize,
}

/// What is demanded of what regions store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobRules {
    /// Where the list is asked for; without it, count and digest come with the contract.
    pub asking: Option<Asking>,
    /// How old it may be.
    pub age_max: Duration,
}

/// What is demanded of the queues of regions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRules {
    /// When a tail is clean.
    pub limits: QueueLimits,
    /// How old the last reading may be.
    pub age_max: Duration,
    /// Regions whose queue is a stream, which is read by itself; those of all others come with
    /// their contract.
    pub streams: Vec<(Name, StreamRules)>,
}

/// A queue that is a Redis stream with a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRules {
    /// A server that has it.
    pub node: RedisNode,
    /// Who we are, in its access list.
    pub user: Option<Name>,
    /// How we prove it.
    pub password: Option<RedisPassword>,
    /// How connections are encrypted; not at all if `None`.
    pub tls: Option<RedisTls>,
    /// The key of the stream.
    pub key: Name,
    /// The group that does the work.
    pub group: Name,
    /// From one reading to the next.
    pub every: Duration,
    /// How long one may take as a whole.
    pub timeout: Duration,
}

/// What is demanded of the answers to a probe set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeRules {
    /// The questions.
    pub set: Arc<ProbeSet>,
    /// What the answers must be like.
    pub limits: Limits,
    /// Where ΔS comes from.
    pub measure: Measure,
    /// With which region the others are compared; with the figures of the set if `None`.
    pub reference: Option<Name>,
    /// How the questions are asked.
    pub asking: Asking,
    /// How many are asked at one time, of one region.
    pub parallel: usize,
    /// Who turns texts into vectors, where regions tell neither figures nor vectors.
    pub embeddings: Option<Embeddings>,
    /// How old the answers may be.
    pub age_max: Duration,
}

/// Who turns texts into vectors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Embeddings {
    /// Where it listens.
    pub address: std::net::SocketAddr,
    /// The path.
    pub path: Name,
    /// The model that it is asked for; always the same, or figures could not be compared.
    pub model: Name,
}

/// What is demanded when a region was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EmergencyRules {
    /// How old the survivor's last word on its contract may be.
    pub age_max: Duration,
    /// How old its last answers to the probe set may be.
    pub probes_age_max: Duration,
    /// Whether writes may go on without what the lost region had still to do.
    pub loss: Loss,
}

/// What becomes of writes when work of a lost region may be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Loss {
    /// They wait for the region, or for the operator.
    #[default]
    Block,
    /// They go on.
    Allow,
}

impl QueueRules {
    /// The stream that is the queue of a region, if it is one.
    pub fn stream(&self, region: &str) -> Option<&StreamRules> {
        self.streams.iter().find(|(name, _)| **name == *region).map(|(_, stream)| stream)
    }
}

impl Default for EmergencyRules {
    fn default() -> Self {
        Self {
            age_max: Duration::from_mins(1),
            probes_age_max: Duration::from_mins(15),
            loss: Loss::Block,
        }
    }
}

impl Default for GateRules {
    fn default() -> Self {
        Self {
            may_move: true,
            regions_min: 1,
            contract_age_max: Duration::from_secs(10),
            blobs: None,
            queue: None,
            probes: None,
            fence_age_max: None,
            emergency: EmergencyRules::default(),
        }
    }
}
