//! The sections of the file about the fence: where writes are remembered, and which.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DurationText, SizeText};
use crate::secrets::Credential;

/// How writes are remembered, so that each one is delivered at most once.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fence {
    /// Where.
    pub(crate) store: FenceStore,
    /// A file for routes with `on_store_down: node_local`, beside a store that is elsewhere.
    pub(crate) local: Option<EmbeddedStore>,
    /// How long after a flip writes may come again that were sent before it.
    #[serde(default = "window")]
    pub(crate) failover_window: DurationText,
    /// How long a write is remembered after its answer. The window and 24 h without this key, and
    /// never less than that.
    pub(crate) retention: Option<DurationText>,
    /// How long a write is remembered while nobody knows its outcome. A week or the retention
    /// without this key, and never less than either.
    pub(crate) in_doubt_retention: Option<DurationText>,
    /// How long after the end of its lease a write in doubt cannot be told to be not executed.
    #[serde(default = "quarantine")]
    pub(crate) quarantine: DurationText,
    /// New keys that one principal may make; no bound without this key.
    pub(crate) quota: Option<KeyQuota>,
}

fn window() -> DurationText {
    "15m".into()
}

fn quarantine() -> DurationText {
    "5m".into()
}

/// Where writes are remembered.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FenceStore {
    /// In a file on this machine: this balancer knows its own writes only.
    Embedded(EmbeddedStore),
    /// In Redis or Valkey, where several balancers remember together.
    Redis(Box<RedisStore>),
}

/// A file that remembers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmbeddedStore {
    /// Its path, on a local disk; a relative one begins in the folder of the policy.
    #[schemars(length(min = 1))]
    pub(crate) path: String,
}

/// New keys that one principal may make.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyQuota {
    /// How many each second.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) per_second: u64,
    /// How many at once; those of one second without this key.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) burst: Option<u64>,
}

/// A Redis or Valkey, and what is demanded of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedisStore {
    /// How its servers belong together.
    #[serde(default)]
    pub(crate) topology: RedisTopology,
    /// Servers that are asked first, as `host:port`: the one, its Sentinels, or some of a cluster.
    #[schemars(length(min = 1, max = 64))]
    pub(crate) nodes: Vec<String>,
    /// What the Sentinels call the master; only with `topology: sentinel`.
    #[schemars(length(min = 1))]
    pub(crate) master: Option<String>,
    /// Who we are, in its access list.
    #[schemars(length(min = 1))]
    pub(crate) user: Option<String>,
    /// How we prove it: better `file:` or `${NAME}` than literally.
    pub(crate) password: Option<Credential>,
    /// Whether connections are encrypted, and whom to believe.
    pub(crate) tls: Option<RedisTls>,
    /// Copies that must have a claim before its write is delivered. One replica within 50ms without
    /// this key where there are replicas, which is with `sentinel` and `cluster`.
    pub(crate) wait: Option<RedisWait>,
    /// What keeps a restart of the store from forgetting claims.
    #[serde(default)]
    pub(crate) durability: Durability,
    /// What every key begins with, so that several fences may share a Redis.
    #[serde(default = "prefix")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"))]
    pub(crate) prefix: String,
}

fn prefix() -> String {
    "tidegate".to_owned()
}

/// How the servers of a Redis belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RedisTopology {
    /// One server.
    #[default]
    Standalone,
    /// A master and its replicas; Sentinels say which is which.
    Sentinel,
    /// A cluster that shares the keys.
    Cluster,
}

/// How connections to a Redis are encrypted.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum RedisTls {
    /// Whether they are at all, with the system's roots.
    #[serde(rename = "$scalar")]
    Flag(bool),
    /// With these files.
    #[serde(rename = "$mapping")]
    Files(RedisTlsFiles),
}

/// Files for encrypted connections; relative paths begin in the folder of the policy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("dependentRequired" = { "cert": ["key"], "key": ["cert"] }))]
pub(crate) struct RedisTlsFiles {
    /// Certificates in PEM that are believed; the system's roots without this key.
    #[schemars(length(min = 1))]
    pub(crate) ca: Option<String>,
    /// Our own certificate in PEM.
    #[schemars(length(min = 1))]
    pub(crate) cert: Option<String>,
    /// The key of our own certificate in PEM.
    #[schemars(length(min = 1))]
    pub(crate) key: Option<String>,
}

/// Copies of a claim that are waited for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedisWait {
    /// How many replicas; 0 waits for none.
    #[schemars(range(max = 16))]
    pub(crate) replicas: u64,
    /// For how long. A claim with too few copies by then is not delivered.
    #[serde(default = "wait_timeout")]
    pub(crate) timeout: DurationText,
}

fn wait_timeout() -> DurationText {
    "50ms".into()
}

/// What keeps a restart of the store from forgetting claims.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Durability {
    /// An append-only file, which is checked.
    #[default]
    Aof,
    /// The service takes care of it, and cannot be asked.
    Managed,
    /// Nothing: a restart forgets, and writes are refused until the fence is told to begin anew.
    Nothing,
}

/// How the writes of a route are fenced: a preset by its name, or with rules of its own.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum RouteFence {
    /// A preset.
    #[serde(rename = "$scalar")]
    Preset(Preset),
    /// A preset and what differs from it.
    #[serde(rename = "$mapping")]
    Rules(Box<RouteFenceRules>),
}

/// For whom a route is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Preset {
    /// Clients that choose an `Idempotency-Key` and want to see the answer. A write without a key
    /// is not fenced.
    Api,
    /// A sender of webhooks, which only wants to know whether to send again. Needs `sender`.
    Webhook,
    /// Events to be indexed, named by four fields. An event without one of them is refused.
    Ingest,
}

/// A preset and what differs from it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteFenceRules {
    /// For whom the route is made; decides whatever is not said here.
    pub(crate) preset: Preset,
    /// Who names a write, and how; `idempotency_key` with `preset: api`.
    pub(crate) sender: Option<Sender>,
    /// Secrets that the sender signs with; several while they rotate. Better `file:` or `${NAME}`
    /// than literally.
    #[schemars(length(min = 1, max = 8))]
    pub(crate) secrets: Option<Vec<Credential>>,
    /// The sender signs, and nobody looks: the endpoints do.
    #[serde(default)]
    pub(crate) unsigned: bool,
    /// How far the time of a signature may be from ours; `5m` without this key.
    pub(crate) tolerance: Option<DurationText>,
    /// Whether a write without a name is refused with 400; otherwise it is not fenced. `false` with
    /// `preset: api`, and `true` with the others.
    pub(crate) required: Option<bool>,
    /// The header in which the tenant stands; it is part of every key.
    #[schemars(length(min = 1))]
    pub(crate) tenant: Option<String>,
    /// The header by which a sender is recognised, which must be proven by it or in front of us;
    /// it is part of every key.
    #[serde(default = "authorization")]
    #[schemars(length(min = 1))]
    pub(crate) principal: String,
    /// Headers in which two requests with one key must not differ. `Content-Type` with
    /// `preset: api`, and none with the others.
    #[schemars(length(max = 16))]
    pub(crate) fingerprint: Option<Vec<String>>,
    /// How long a duplicate waits for the answer to the first request, at most 30s. `1s` with
    /// `preset: api`, and `5s` with the others.
    pub(crate) coalesce_wait: Option<DurationText>,
    /// How much of an answer's body is kept, at most 1MiB; `16KiB` without this key.
    pub(crate) keep: Option<SizeText>,
    /// How much of an answer a duplicate is shown. `full` with `preset: api`; the others have
    /// nothing but `status_only`.
    pub(crate) replay: Option<Replay>,
    /// A 503 of its endpoints means that nothing was executed; with `webhook` and `ingest` it
    /// always does.
    #[serde(default)]
    pub(crate) refuses_with_503: bool,
    /// Its endpoints know keys themselves, so a write whose outcome nobody knows is delivered again.
    #[serde(default)]
    pub(crate) repeatable: bool,
    /// When duplicates are held back.
    #[serde(default)]
    pub(crate) enforce: Enforce,
    /// What becomes of a write while the store cannot be asked.
    #[serde(default)]
    pub(crate) on_store_down: StoreDown,
    /// Where the fields of an event stand; only with `preset: ingest`.
    pub(crate) event: Option<EventFields>,
}

fn authorization() -> String {
    "Authorization".to_owned()
}

/// Who names a write, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sender {
    /// `Idempotency-Key`, in double quotes or bare.
    IdempotencyKey,
    /// `webhook-id`, which is signed.
    StandardWebhooks,
    /// `X-GitHub-Delivery`, which is not signed, together with the digest of the body, which is.
    #[serde(rename = "github")]
    GitHub,
    /// `id` in the signed JSON body.
    Stripe,
    /// `source` and `id` in headers or in the JSON body, which nobody signs.
    #[serde(rename = "cloudevents")]
    CloudEvents,
}

/// How much of an answer a duplicate is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Replay {
    /// Status, some headers, and the body.
    Full,
    /// The status.
    StatusOnly,
}

/// When duplicates are held back.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Enforce {
    /// Always.
    #[default]
    Always,
    /// While a failover window is open. Outside, writes are remembered and never delayed.
    Window,
}

/// What becomes of a write while the store cannot be asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoreDown {
    /// It is refused with 503.
    #[default]
    Refuse,
    /// It is fenced in the file that `fence.local` names: against retries that come to this
    /// balancer, and no others. Refused while a failover window is open.
    NodeLocal,
    /// It is delivered without a fence. Only where `repeatable` is true, and refused while a
    /// failover window is open.
    Pass,
}

/// Where the fields of an event stand. The fourth, the index hash, is `X-Index-Hash` or else what
/// the contract expects.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EventFields {
    /// The header in which the id of the source stands.
    #[schemars(length(min = 1))]
    pub(crate) source_id: String,
    /// The header in which the revision of the event stands.
    #[schemars(length(min = 1))]
    pub(crate) revision: String,
    /// The header in which the partition stands.
    #[schemars(length(min = 1))]
    pub(crate) partition: String,
    /// How the fields become a digest.
    pub(crate) encoding: Encoding,
    /// What becomes of an event that comes again under another index hash.
    pub(crate) other_index: OtherIndex,
}

impl Default for EventFields {
    fn default() -> Self {
        Self {
            source_id: "X-Source-Id".to_owned(),
            revision: "X-Event-Revision".to_owned(),
            partition: "X-Partition".to_owned(),
            encoding: Encoding::default(),
            other_index: OtherIndex::default(),
        }
    }
}

/// How the fields of an event become a digest.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Encoding {
    /// SHA-256 over `len:bytes,` for each field: no two events are the same.
    #[default]
    Netstring,
    /// SHA-256 over the bare bytes one after the other, for tools that compute it that way. It takes
    /// `ab`, `c` and `a`, `bc` for the same event, and so can lose one.
    Concat,
}

/// What becomes of an event that comes again under another index hash.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OtherIndex {
    /// It is another write, and counted.
    #[default]
    Count,
    /// It is the same write, and counted.
    Drop,
}
