//! The file format: what may stand in a policy, as an editor and a reader see it.
//!
//! Nothing here knows what a value means; that is [`crate::lower`]. The comments of the fields are
//! the descriptions in the JSON Schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod contract;
mod fence;
mod forms;
mod gates;
mod ownership;
mod rules;
mod sticky;

pub(crate) use contract::{Contract, Expect, ExpectRule, KeySource, Mixed, Probe, Scalar, Weight};
pub(crate) use fence::{
    Durability, Encoding, Enforce, EventFields, Fence, FenceStore, KeyQuota, OtherIndex, Preset,
    RedisStore, RedisTls, RedisTopology, RedisWait, Replay, RouteFence, RouteFenceRules, Sender,
    StoreDown,
};
pub(crate) use forms::{
    AddressText, DeadlineText, DurationText, Entries, FigureText, PercentText, SizeText, WatchText,
};
pub(crate) use gates::{
    Blobs, DeltaS, DriftBy, Embeddings, Emergency, FromContract, Gates, IgnoredSeeds, Limits, Loss,
    Probes, Question, Questions, Queue, Stream,
};
pub(crate) use ownership::{
    BodyPartition, Crossing, Ownership, OwnershipMode, RoutePartition, TokenPartition,
};
pub(crate) use rules::{
    Drain, Ejection, EjectionRules, Failback, Measured, Off, Releases, Retries, Stop, Timeouts,
};
pub(crate) use sticky::{OnDrain, Stickiness, Sticky, StickyKey};

/// How requests reach the regions of one service, and what a region must report to get them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tidegate policy")]
pub(crate) struct File {
    /// The version of this format.
    #[schemars(range(min = 1, max = 1))]
    #[expect(dead_code, reason = "it is checked before anything else is read")]
    pub(crate) version: u64,
    /// Where this balancer stands, for logs and `/version`.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9-]{0,63}$"))]
    pub(crate) site: Option<String>,
    /// Threads that carry traffic.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1024))]
    pub(crate) threads: u64,
    /// Where traffic comes in.
    #[schemars(length(min = 1))]
    pub(crate) listeners: Vec<Listener>,
    /// Where operators come in.
    #[serde(default)]
    pub(crate) admin: Admin,
    /// Whether each request writes one line to the access log.
    #[serde(default = "yes")]
    pub(crate) access_log: bool,
    /// How often the file and all that it refers to is looked at for changes; `off` for never.
    #[serde(default = "off")]
    pub(crate) watch: WatchText,
    /// Addresses and networks whose clients may pin a region; everybody without this key.
    #[schemars(length(min = 1))]
    pub(crate) pins_from: Option<Vec<String>>,
    /// Addresses and networks whose forwarding headers are believed; nobody without this key.
    pub(crate) trusted_peers: Option<Vec<String>>,
    /// How an endpoint is chosen, in regions that do not say so themselves.
    #[serde(default)]
    pub(crate) balance: Balance,
    /// How long an endpoint that turned green takes to its full share, in regions that do not say
    /// so themselves.
    #[serde(default = "none")]
    pub(crate) slow_start: DurationText,
    /// The regions by name.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 128,
        "propertyNames" = { "pattern": r"^[a-z0-9][a-z0-9-]{0,63}$" }))]
    pub(crate) regions: Entries<Region>,
    /// What a region must report to be routable, and how it is asked.
    pub(crate) contract: Contract,
    /// Lists of regions, by name, that routes may be bound to.
    #[serde(default)]
    pub(crate) residency: Entries<Vec<String>>,
    /// Releases by other names, and how traffic is split among them.
    #[serde(default)]
    pub(crate) releases: Releases,
    /// When a region that was lost takes its traffic back.
    #[serde(default)]
    pub(crate) failback: Failback,
    /// When traffic itself takes an endpoint out; `off` turns it off.
    pub(crate) ejection: Option<Ejection>,
    /// How measured distances are steadied.
    #[serde(default)]
    pub(crate) measured: Measured,
    /// How often a request may be tried again.
    #[serde(default)]
    pub(crate) retries: Retries,
    /// How clients are kept where they were, on routes that are `sticky`.
    #[serde(default)]
    pub(crate) sticky: Sticky,
    /// How writes are remembered, so that each one is delivered at most once; needed where a route
    /// has `fence`.
    pub(crate) fence: Option<Fence>,
    /// What must be proven before traffic may be moved from one region to another.
    pub(crate) gates: Option<Gates>,
    /// Which region takes which writes; any region takes them without this key.
    pub(crate) ownership: Option<Ownership>,
    /// Deadlines of all routes that do not set their own.
    #[serde(default)]
    pub(crate) timeouts: Timeouts,
    /// How a region or an endpoint is emptied.
    #[serde(default)]
    pub(crate) drain: Drain,
    /// How the process ends when it is told to.
    #[serde(default)]
    pub(crate) stop: Stop,
    /// The routes; the first that matches counts.
    #[schemars(length(min = 1))]
    pub(crate) routes: Vec<Route>,
}

fn one() -> u64 {
    1
}

fn yes() -> bool {
    true
}

fn off() -> WatchText {
    "off".into()
}

fn none() -> DurationText {
    "0s".into()
}

/// An address where traffic comes in: HTTP/1.1, and HTTP/2 with prior knowledge.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    /// Address and port, for instance `0.0.0.0:8080`.
    pub(crate) bind: AddressText,
    /// Deadlines of its connections.
    #[serde(default)]
    pub(crate) timeouts: ListenerTimeouts,
}

/// Deadlines of the connections of a listener.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListenerTimeouts {
    /// From the first byte of a request to the end of its head.
    pub(crate) head: DurationText,
    /// How long a connection may be idle between two requests.
    pub(crate) keepalive: DurationText,
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        Self { head: "10s".into(), keepalive: "75s".into() }
    }
}

/// Where operators come in.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    /// Path of a unix socket, which may change things.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 107))]
    pub(crate) socket: Option<String>,
    /// Address and port which may only look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<AddressText>,
}

/// One region.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Region {
    /// How far it is, in any unit that is the same for all regions; smaller is nearer.
    #[schemars(range(max = 4_294_967_295_u64))]
    pub(crate) distance: u64,
    /// How many requests it may have open at once before other regions are preferred.
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    pub(crate) capacity: Option<u64>,
    /// Its endpoints: a list, or a file that is read again and again.
    pub(crate) endpoints: Endpoints,
    /// Which protocol its endpoints speak to us.
    #[serde(default)]
    pub(crate) protocol: Protocol,
    /// How one of its endpoints is chosen.
    pub(crate) balance: Option<Balance>,
    /// How long an endpoint that turned green takes to reach its full share.
    pub(crate) slow_start: Option<DurationText>,
    /// Share of its endpoints that must be green before the region is, from 1% to 100%.
    #[serde(default = "any_green")]
    pub(crate) green_share: PercentText,
}

fn any_green() -> PercentText {
    "1%".into()
}

/// Where the endpoints of a region are listed.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum Endpoints {
    /// Here.
    #[serde(rename = "$list")]
    Listed(#[schemars(length(min = 1, max = 1024))] Vec<Endpoint>),
    /// In a file.
    #[serde(rename = "$mapping")]
    File(EndpointsFile),
}

/// A file that lists endpoints, one `host:port [weight]` per line.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointsFile {
    /// Its path; a relative one begins in the folder of the policy.
    #[schemars(length(min = 1))]
    pub(crate) file: String,
    /// How often it is read.
    #[serde(default = "five_seconds")]
    pub(crate) every: DurationText,
}

fn five_seconds() -> DurationText {
    "5s".into()
}

/// One endpoint: its address, or its address and weight.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum Endpoint {
    /// Address and port, for instance `10.0.0.1:8000`.
    #[serde(rename = "$scalar")]
    Plain(AddressText),
    /// Address and weight.
    #[serde(rename = "$mapping")]
    Weighted(WeightedEndpoint),
}

/// An endpoint with its weight.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WeightedEndpoint {
    /// Address and port, for instance `10.0.0.1:8000`.
    pub(crate) address: AddressText,
    /// Its share among its neighbours.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 256))]
    pub(crate) weight: u64,
}

/// The protocol towards endpoints.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Protocol {
    /// HTTP/1.1; gRPC requests still use HTTP/2.
    #[default]
    Http1,
    /// HTTP/2 without TLS, with prior knowledge; WebSocket upgrades still use HTTP/1.1.
    H2c,
}

/// How an endpoint of a region is chosen.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// Of two random ones, the one with fewer open requests for its weight.
    #[default]
    LeastRequests,
    /// Of two random ones, the one with the smaller recent peak latency times open requests.
    PeakEwma,
    /// By a key of the request, with no endpoint far above its share.
    Hash(Hash),
}

/// Choice by a key of the request.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hash {
    /// What is hashed.
    #[serde(default)]
    pub(crate) by: HashBy,
    /// The most that an endpoint may have open, in percent of the mean; above 100%.
    #[serde(default = "quarter_above")]
    pub(crate) bound: PercentText,
}

fn quarter_above() -> PercentText {
    "125%".into()
}

/// What a client is recognised by.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HashBy {
    /// The client's address.
    #[default]
    ClientAddress,
    /// The path without its query.
    Path,
    /// The value of this header; the client's address when it is absent.
    Header(#[schemars(length(min = 1))] String),
}

/// One route: which requests, and how they are treated.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// Its name, for logs, metrics and explanations.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"))]
    pub(crate) name: String,
    /// Which requests it takes; all of them without this key.
    #[serde(default, rename = "match")]
    pub(crate) matcher: Matcher,
    /// Whether its requests only read; the method tells without this key.
    pub(crate) intent: Option<Intent>,
    /// Whether its answers are streams, which have no total deadline.
    #[serde(default)]
    pub(crate) stream: bool,
    /// What an endpoint must have shown to serve it.
    #[serde(default)]
    pub(crate) require: Require,
    /// What a pin means here.
    #[serde(default)]
    pub(crate) pin: Pin,
    /// The name of a residency rule: only its regions may ever serve this route.
    pub(crate) residency: Option<String>,
    /// By which distance the nearest region is found.
    #[serde(default)]
    pub(crate) strategy: Strategy,
    /// Which of its requests are kept where their client was.
    #[serde(default)]
    pub(crate) sticky: Stickiness,
    /// How its writes are fenced: `api`, `ingest`, or rules; not at all without this key.
    pub(crate) fence: Option<RouteFence>,
    /// Where the partition of its requests stands; needs `ownership`. Writes of a route without this key
    /// have no owner, except with `mode: active_passive`, where the primary takes them all.
    pub(crate) partition: Option<RoutePartition>,
    /// What another region has to report to answer reads of a partition that is not its own, while its
    /// owner cannot; with `mode: geo_partitioned`. Without this key, reads never leave their owner.
    pub(crate) crossing: Option<Crossing>,
    /// Its own deadlines.
    #[serde(default)]
    pub(crate) timeouts: Timeouts,
}

/// Which requests a route takes: all that is given must hold.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("not" = { "required": ["path", "exact"] }))]
pub(crate) struct Matcher {
    /// This path and everything below it; `/` without this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^/"))]
    pub(crate) path: Option<String>,
    /// This path only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^/"))]
    pub(crate) exact: Option<String>,
    /// Host names without port; any host without this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) hosts: Option<Vec<String>>,
    /// Methods; any method without this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) methods: Option<Vec<String>>,
}

/// Whether a request may change something.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Intent {
    /// It changes nothing.
    Read,
    /// It may change something.
    Write,
}

/// What an endpoint must have shown to serve a route.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Require {
    /// Its contract matches.
    #[default]
    Contract,
    /// It answers probes, whatever it reports.
    Answer,
}

/// What a pin means on a route.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pin {
    /// A wish: when it cannot be met, the nearest region answers and says so.
    #[default]
    Soft,
    /// A demand: when it cannot be met, nobody answers.
    Require,
    /// Nothing.
    Ignore,
}

/// By which distance the nearest region is found.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Strategy {
    /// The distance in the policy.
    #[default]
    Nearest,
    /// The distance that probes and first bytes show.
    Measured,
}
