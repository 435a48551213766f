//! The validated model of a policy: what the file means, with every default filled in.
//!
//! The `policy` crate writes it and nobody else does, so whatever is required is there, every
//! reference points at something, and every number is inside its bounds.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::ask::Intent;
use crate::contract::Contract;
use crate::gate::rules::GateRules;
use crate::id::{Name, RegionId, RegionSet};

use fencing::{FenceRules, RouteFence};
use owning::{OwnershipRules, RouteOwnership};

pub mod fencing;
pub mod owning;
#[cfg(test)]
mod tests;

/// A whole policy. [`RegionId`]s in it are places in `regions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Where this balancer stands; told in logs and on `/version`.
    pub site: Option<Name>,
    /// Where traffic comes in; at least one.
    pub listeners: Vec<Listener>,
    /// Where operators come in.
    pub admin: Admin,
    /// Threads that carry traffic; at least 1.
    pub threads: usize,
    /// Whether each request writes one line to the access log.
    pub access_log: bool,
    /// The regions, in the order of the file; at least one.
    pub regions: Vec<RegionPolicy>,
    /// What a region must report to be routable.
    pub contract: Contract,
    /// How regions are asked for it.
    pub probing: Probing,
    /// When traffic itself takes an endpoint out.
    pub ejection: EjectionRules,
    /// When a region that was lost takes its traffic back.
    pub failback: FailbackRules,
    /// How measured distances are steadied.
    pub measuring: MeasuringRules,
    /// Releases by other names, and how traffic is split among them.
    pub releases: Releases,
    /// The routes; the first that matches counts. At least one.
    pub routes: Vec<Route>,
    /// Who may pin; everybody when empty.
    pub pins_from: Vec<IpNet>,
    /// Whose forwarding headers are believed; nobody's when empty.
    pub trusted_peers: Vec<IpNet>,
    /// How often a request may be tried again.
    pub retries: RetryRules,
    /// How clients are kept where they were.
    pub sticky: StickyRules,
    /// How a region or an endpoint is emptied.
    pub drain: DrainRules,
    /// How the process ends.
    pub stop: StopRules,
    /// How often the policy's file is looked at for changes; never if `None`.
    pub watch: Option<Duration>,
    /// How writes are remembered; there must be one if a route is fenced.
    pub fence: Option<FenceRules>,
    /// What must be proven before traffic may be moved; nothing may be moved without it.
    pub gates: Option<Arc<GateRules>>,
    /// Who takes which writes; any region takes them if `None`.
    pub ownership: Option<OwnershipRules>,
}

impl Policy {
    /// The place of a region, by name.
    pub fn region(&self, name: &str) -> Option<RegionId> {
        (0..=u8::MAX)
            .map(RegionId)
            .zip(&self.regions)
            .find(|(_, region)| &*region.name == name)
            .map(|(id, _)| id)
    }

    /// The first route that takes the request, and its place among the routes.
    pub fn route(&self, host: &str, path: &str, method: &str) -> Option<(usize, &Route)> {
        self.routes.iter().enumerate().find(|(_, route)| route.matcher.takes(host, path, method))
    }

    /// Whether a client at this address may pin.
    pub fn may_pin(&self, client: IpAddr) -> bool {
        self.pins_from.is_empty() || self.pins_from.iter().any(|net| net.contains(&client))
    }

    /// Whether a peer at this address is believed when it names a client.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_peers.iter().any(|net| net.contains(&peer))
    }
}

/// An address where traffic comes in: HTTP/1.1 and HTTP/2 with prior knowledge on the same port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Address and port.
    pub bind: SocketAddr,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// How long a connection may be idle between two requests.
    pub keepalive: Duration,
}

impl Listener {
    /// A listener with the usual deadlines.
    pub fn at(bind: SocketAddr) -> Self {
        Self { bind, head: Duration::from_secs(10), keepalive: Duration::from_secs(75) }
    }
}

/// Where operators come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// A unix socket, which may change things.
    pub socket: Option<PathBuf>,
    /// A TCP address, which may only look.
    pub http: Option<SocketAddr>,
}

/// One region as the policy describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionPolicy {
    /// Its name: in headers, logs and metrics.
    pub name: Name,
    /// How far it is, in any unit that is the same for all; smaller is nearer.
    pub distance: u32,
    /// How many requests it may have open at once before others are preferred; no bound if `None`.
    pub capacity: Option<u32>,
    /// Where its endpoints are listed.
    pub endpoints: EndpointSource,
    /// Which protocol its endpoints speak to us for ordinary requests.
    pub protocol: Protocol,
    /// How one of its endpoints is chosen.
    pub balance: Balance,
    /// How long an endpoint that turned green takes to reach its full share; zero turns it off.
    pub slow_start: Duration,
    /// Share of its endpoints, in percent, that must be green before the region is.
    pub green_share_percent: u8,
}

/// Where the endpoints of a region are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointSource {
    /// In the policy itself; at least one.
    Listed(Vec<EndpointAddress>),
    /// In a file, one per line, read again every so often; a bad or empty file changes nothing.
    File {
        /// The file.
        path: PathBuf,
        /// How often it is read.
        every: Duration,
    },
}

/// One endpoint as it is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointAddress {
    /// Address and port.
    pub address: SocketAddr,
    /// Its share among its neighbours, 1 to 256.
    pub weight: u16,
}

/// Largest weight of an endpoint.
pub const WEIGHT_MAX: u16 = 256;

/// The protocol towards endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1; gRPC requests still use HTTP/2, which they cannot do without.
    #[default]
    Http1,
    /// HTTP/2 without TLS, with prior knowledge; WebSocket upgrades still use HTTP/1.1.
    H2c,
}

/// How an endpoint of a region is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// Of two random ones, the one with fewer open requests for its weight.
    #[default]
    LeastRequests,
    /// Of two random ones, the one with the smaller recent peak latency times open requests.
    PeakEwma,
    /// By a key of the request, with no endpoint above its bound.
    Hash {
        /// What is hashed.
        by: HashKey,
        /// The most an endpoint may have open, in percent of the mean; above 100.
        bound_percent: u16,
    },
}

/// What a request is recognised by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum HashKey {
    /// The client's address.
    #[default]
    ClientAddress,
    /// The value of a header, by its lower-case name; the client's address when it is absent.
    Header(Name),
    /// The path without its query.
    Path,
}

/// How endpoints are asked for their contract.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Probing {
    /// The path that is asked for.
    pub path: Name,
    /// The Host header of a probe; the endpoint's address when `None`.
    pub host: Option<Name>,
    /// Time from one probe to the next, before jitter.
    pub interval: Duration,
    /// Time that one whole probe may take.
    pub timeout: Duration,
    /// Largest answer that is read, in bytes.
    pub body_bytes_max: usize,
    /// Good probes in a row that make an endpoint routable.
    pub rise: u32,
    /// Bad probes in a row that take it out.
    pub fall: u32,
    /// Age at which the last result stops counting.
    pub stale_after: Duration,
    /// Report mismatches, act on none.
    pub shadow: bool,
    /// Route to a region even while its green endpoints disagree.
    pub mixed_allowed: bool,
}

impl Probing {
    /// Whether a region whose green endpoints disagree gets requests: where the policy allows it,
    /// and in shadow mode, which reports and does not act.
    pub fn routes_to_mixed(&self) -> bool {
        self.mixed_allowed || self.shadow
    }
}

/// When traffic itself takes an endpoint out: made for few targets, so by budgets, not statistics.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EjectionRules {
    /// Whether anything is ejected.
    pub enabled: bool,
    /// Connection attempts in a row that may fail, with none succeeding between.
    pub connect_failures: u32,
    /// The window over which answers are judged.
    pub window: Duration,
    /// Answers that a window needs before it is judged.
    pub volume_min: u32,
    /// Share of failed answers, in percent, that a window may have.
    pub budget_percent: u8,
    /// Length of the first ejection; each further one in a row doubles it.
    pub base: Duration,
    /// Longest ejection.
    pub max: Duration,
}

/// When a region that was lost takes its traffic back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FailbackRules {
    /// Who decides.
    pub mode: Failback,
    /// How long a region must have been green without a break, whatever the mode.
    pub hysteresis: Duration,
    /// Losses within `within` that freeze a region.
    pub flips: u32,
    /// The span in which they are counted.
    pub within: Duration,
    /// How long a frozen region stays the last resort.
    pub freeze: Duration,
}

/// Who decides that a region takes its traffic back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failback {
    /// The operator.
    Manual,
    /// Time: so long after it turned green again.
    After(Duration),
}

/// How measured distances are steadied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MeasuringRules {
    /// A change smaller than this, in percent, is no change.
    pub band_percent: u8,
    /// A larger one counts once it has lasted this long.
    pub hold: Duration,
    /// Age at which a measurement stops counting and the configured distance takes over.
    pub stale_after: Duration,
}

/// Releases by other names, and how traffic is split among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Releases {
    /// Other names: `canary` for `r2025-08-27`.
    pub aliases: Vec<(Name, Name)>,
    /// Releases and their weights; no split when empty.
    pub split: Vec<(Name, u32)>,
    /// What keeps a client on one side of the split.
    pub by: HashKey,
}

impl Releases {
    /// What a name stands for: the aliased release, or itself.
    pub fn resolve<'a>(&'a self, name: &'a str) -> &'a str {
        self.aliases.iter().find(|(alias, _)| &**alias == name).map_or(name, |(_, to)| to)
    }

    /// The release that a client with this stable hash belongs to, as its place in the split.
    pub fn assigned(&self, hash: u64) -> Option<usize> {
        let total: u64 = self.split.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut rest = hash.checked_rem(total)?;
        self.split.iter().position(|(_, weight)| match rest.checked_sub(u64::from(*weight)) {
            Some(left) => {
                rest = left;
                false
            }
            None => true,
        })
    }
}

/// One route: which requests, and how they are treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name: in logs, metrics and explanations.
    pub name: Name,
    /// Which requests it takes.
    pub matcher: Matcher,
    /// Read or write, where the method does not tell.
    pub intent: Option<Intent>,
    /// Answers are streams: no total deadline.
    pub stream: bool,
    /// What an endpoint must have shown to serve it.
    pub require: Require,
    /// What a pin means here.
    pub pin: PinRule,
    /// The regions that may ever serve it; all of them without a residency rule.
    pub residency: RegionSet,
    /// The name of the residency rule, for explanations.
    pub residency_name: Option<Name>,
    /// By which distance the nearest region is found.
    pub strategy: Strategy,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Which of its requests are kept where they were.
    pub sticky: Stickiness,
    /// How its writes are fenced; not at all if `None`.
    pub fence: Option<RouteFence>,
    /// How its requests are owned; not at all if `None`.
    pub owned: Option<RouteOwnership>,
}

/// Which requests a route takes: all that is given must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Matcher {
    /// The path.
    pub path: PathMatch,
    /// Lower-case host names without port; any host when empty.
    pub hosts: Vec<Name>,
    /// Methods; any method when empty.
    pub methods: Vec<Name>,
}

/// How a path is compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// The path itself or anything below it: `/v1` takes `/v1` and `/v1/x`, not `/v10`.
    Prefix(Name),
    /// Only this path.
    Exact(Name),
}

impl Matcher {
    /// Whether the request is one of this route's.
    pub fn takes(&self, host: &str, path: &str, method: &str) -> bool {
        self.path.takes(path)
            && (self.methods.is_empty() || self.methods.iter().any(|it| &**it == method))
            && (self.hosts.is_empty() || self.hosts.iter().any(|it| it.eq_ignore_ascii_case(host)))
    }

    /// Whether every request that `other` takes is taken by this one too.
    pub fn covers(&self, other: &Self) -> bool {
        let subset = |all: &[Name], some: &[Name]| {
            all.is_empty() || (!some.is_empty() && some.iter().all(|it| all.contains(it)))
        };
        self.path.covers(&other.path)
            && subset(&self.hosts, &other.hosts)
            && subset(&self.methods, &other.methods)
    }
}

impl PathMatch {
    /// Whether the path is one of these.
    pub fn takes(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == &**exact,
            Self::Prefix(prefix) => match path.strip_prefix(prefix.trim_end_matches('/')) {
                Some(rest) => rest.is_empty() && !prefix.ends_with('/') || rest.starts_with('/'),
                None => false,
            },
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Exact(_), Self::Prefix(_)) => false,
            (Self::Prefix(_), Self::Exact(path) | Self::Prefix(path)) => self.takes(path),
        }
    }
}

/// What an endpoint must have shown to serve a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Require {
    /// Its contract matches.
    #[default]
    Contract,
    /// It answers probes, whatever it reports.
    Answer,
}

/// What a pin means on a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PinRule {
    /// A wish: when it cannot be met, the nearest region answers and says so.
    #[default]
    Soft,
    /// A demand: when it cannot be met, nobody answers.
    Require,
    /// Nothing.
    Ignore,
}

/// By which distance the nearest region is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// The distance in the policy.
    #[default]
    Nearest,
    /// The distance that probes and first bytes show.
    Measured,
}

/// Deadlines of one route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// For one connection attempt.
    pub connect: Duration,
    /// From the request's end to the first byte of the answer.
    pub first_byte: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// The same for an upgraded connection, in either direction.
    pub websocket_idle: Duration,
    /// The same for gRPC.
    pub grpc_idle: Duration,
    /// From the end of a request's head to the end of its body; none for streams.
    pub body: Option<Duration>,
    /// For the whole exchange; none for streams.
    pub total: Option<Duration>,
}

/// How often a request may be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RetryRules {
    /// Attempts in all, the first one included.
    pub attempts_max: u32,
    /// Retries allowed, in percent of the requests of the last seconds.
    pub budget_percent: u8,
    /// Retries a second that are always allowed.
    pub budget_min_per_second: u32,
    /// Age of a request beyond which it is not tried again.
    pub deadline: Duration,
}

/// How clients are kept where they were, by a signed token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickyRules {
    /// The keys, the one that signs first; with none, a key is made when the process starts.
    pub keys: Vec<StickyKey>,
    /// How long a token is good after its last use.
    pub ttl: Duration,
    /// The cookie that carries it.
    pub cookie: Name,
    /// The header that carries it, in lower case.
    pub header: Name,
    /// What becomes of clients whose region is being drained.
    pub on_drain: OnDrain,
}

impl Default for StickyRules {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            ttl: Duration::from_mins(15),
            cookie: "tidegate".into(),
            header: "x-region-session".into(),
            on_drain: OnDrain::default(),
        }
    }
}

/// A key that signs tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct StickyKey {
    /// Its name, which stands in the token.
    pub id: Name,
    /// The secret itself.
    pub secret: Arc<[u8]>,
}

impl fmt::Debug for StickyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StickyKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What becomes of clients whose region is being drained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnDrain {
    /// Their new requests go elsewhere.
    #[default]
    Move,
    /// They stay as long as they come back.
    Stay,
}

/// Which requests of a route are kept where they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Stickiness {
    /// None.
    #[default]
    Off,
    /// All of them.
    Session,
    /// Streams that are resumed: requests with `Last-Event-ID`.
    Stream,
}

/// How a region or an endpoint is emptied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DrainRules {
    /// Time after which a drain that has not ended is reported as overdue.
    pub overdue_after: Duration,
    /// Time after which what is still open is closed; never if `None`.
    pub hard_deadline: Option<Duration>,
}

impl Default for DrainRules {
    fn default() -> Self {
        Self { overdue_after: Duration::from_secs(90), hard_deadline: None }
    }
}

/// How the process ends when it is told to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StopRules {
    /// Time in which it is not ready and still takes connections.
    pub lame_duck: Duration,
    /// Longest time that open requests and streams are waited for after that; no bound if `None`.
    pub within: Option<Duration>,
}
