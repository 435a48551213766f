//! The part of a policy that is about the fence: where writes are remembered, and which.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::fence::key::Encoding;
use crate::fence::meaning::{Depth, Preset};
use crate::fence::retention::Retention;
use crate::fence::source::Source;
use crate::fence::webhook::{Scheme, Secret};
use crate::id::Name;

/// Largest answer that may be kept for a duplicate, in bytes.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// How writes are remembered; a policy without it fences nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceRules {
    /// Where.
    pub store: FenceStore,
    /// A file for writes that are fenced on this node alone while the store cannot be asked; there
    /// must be one where a route says [`StoreDown::NodeLocal`].
    pub local: Option<PathBuf>,
    /// How long after a flip writes may come again that were sent before it. The window stays open
    /// for so long.
    pub failover_window: Duration,
    /// How long a write is remembered; never below the floor that the window sets.
    pub retention: Retention,
    /// How long after the end of its lease "not executed" is refused for a write in doubt.
    pub quarantine: Duration,
    /// New keys that one principal may make; no bound if `None`.
    pub quota: Option<KeyQuota>,
}

/// New keys that one principal may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyQuota {
    /// At once.
    pub burst: u32,
    /// And so many more each second.
    pub per_second: u32,
}

/// Where writes are remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FenceStore {
    /// In a file on this machine: this balancer knows its own writes only.
    Embedded {
        /// The file.
        path: PathBuf,
    },
    /// In Redis or Valkey, where several balancers remember together.
    Redis(RedisRules),
}

/// A Redis, and what is demanded of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisRules {
    /// How its servers belong together.
    pub topology: RedisTopology,
    /// Servers that are asked first: the one, its Sentinels, or some of a cluster. At least one.
    pub nodes: Vec<RedisNode>,
    /// Who we are, in its access list.
    pub user: Option<Name>,
    /// How we prove it.
    pub password: Option<RedisPassword>,
    /// How connections are encrypted; not at all if `None`.
    pub tls: Option<RedisTls>,
    /// Copies that must have a claim before its write is delivered; none are waited for if `None`.
    pub wait: Option<RedisWait>,
    /// What keeps a restart from forgetting claims.
    pub durability: Durability,
    /// What every key begins with, so that several fences may share a Redis.
    pub prefix: Name,
}

/// How the servers of a Redis belong together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RedisTopology {
    /// One server.
    Standalone,
    /// A master and its replicas; Sentinels say which is which.
    Sentinel {
        /// What the Sentinels call the master.
        master: Name,
    },
    /// A cluster that shares the keys.
    Cluster,
}

/// Where one server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RedisNode {
    /// Its name or address.
    pub host: Name,
    /// Its port.
    pub port: u16,
}

/// A password, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisPassword(pub Arc<str>);

impl fmt::Debug for RedisPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisPassword").finish_non_exhaustive()
    }
}

/// How connections to a Redis are encrypted. Its certificate is always verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RedisTls {
    /// Whom to believe; the system's roots if `None`.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Copies of a claim that are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RedisWait {
    /// How many replicas.
    pub replicas: u8,
    /// For how long. A claim with too few copies by then is not delivered.
    pub timeout: Duration,
}

/// What keeps a restart of the store from forgetting claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// An append-only file, which is checked.
    #[default]
    Aof,
    /// The service takes care of it, and cannot be asked.
    Managed,
    /// Nothing: a restart forgets, and the fence refuses writes until it is told to begin anew.
    Nothing,
}

/// What becomes of a fenced write while the store cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StoreDown {
    /// It is refused with 503.
    #[default]
    Refuse,
    /// It is fenced on this node alone, in the file that [`FenceRules::local`] names; never while a
    /// window is open.
    NodeLocal,
    /// It is delivered unfenced; only for endpoints that are idempotent themselves, and never while
    /// a window is open.
    Pass,
}

/// When duplicates are held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Enforce {
    /// Always.
    #[default]
    Always,
    /// While a failover window is open. Outside, writes are remembered and never delayed.
    Window,
}

/// How the writes of one route are fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteFence {
    /// For whom the route is made.
    pub preset: Preset,
    /// Where the name of a write is read from.
    pub naming: Naming,
    /// Whether a write without a name is refused with 400; otherwise it is not fenced.
    pub required: bool,
    /// How senders sign; nobody looks if `None`.
    pub signature: Option<SignatureRules>,
    /// The header in which the tenant stands, in lower case.
    pub tenant: Option<Name>,
    /// The header by which a sender is recognised, in lower case. It has to be proven by whoever is
    /// in front; by default `authorization`, which proves itself.
    pub principal: Name,
    /// Headers that are part of what a request is, in lower case.
    pub fingerprint: Vec<Name>,
    /// How long a duplicate waits for the answer to the first request.
    pub coalesce_wait: Duration,
    /// How much of an answer's body is kept, in bytes.
    pub answer_bytes_max: usize,
    /// How much of an answer a duplicate is shown.
    pub shown: Depth,
    /// A 503 of its endpoints means "not executed".
    pub is_503_refusal: bool,
    /// Its endpoints know keys themselves, so a write in doubt is delivered again.
    pub is_repeatable: bool,
    /// When duplicates are held back.
    pub enforce: Enforce,
    /// What happens while the store cannot be asked.
    pub store_down: StoreDown,
}

/// Where the name of a write is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Naming {
    /// From where its sender puts it.
    Sender(Source),
    /// From the four fields of an event.
    Event(EventFields),
}

/// The four fields of an event: three in headers, in lower case, and the index hash, which is
/// `X-Index-Hash` of the request or else that of the active contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFields {
    /// Where the source's id stands.
    pub source_id: Name,
    /// Where the event's revision stands.
    pub revision: Name,
    /// Where the partition stands.
    pub partition: Name,
    /// How they become a digest.
    pub encoding: Encoding,
    /// What becomes of an event that comes again under another index hash.
    pub other_index: OtherIndex,
}

/// What becomes of an event that comes again under another index hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OtherIndex {
    /// It is another write, and counted.
    #[default]
    Count,
    /// It is the same write, and counted.
    Drop,
}

/// How senders sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureRules {
    /// In which way.
    pub scheme: Scheme,
    /// With which secrets; at least one. Several while they rotate.
    pub secrets: Vec<Secret>,
    /// How far the time of a signature may be from ours.
    pub tolerance: Duration,
}
