//! How far a request has come.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Version};
use tidegate_control::World;
use tidegate_control::ledger::Kind;
use tidegate_control::traffic::Entry;
use tidegate_control::world::{EndpointWorld, RegionWorld};
use tidegate_core::ask::{Intent, Session};
use tidegate_core::drain::Outcome;
use tidegate_core::id::{Epoch, PartitionId, RegionId, RegionSet};
use tidegate_core::policy::Route;
use tidegate_core::route::Choice;

use crate::connection::OnConnection;
use crate::delivery::Delivery;
use crate::peer::Carriage;
use crate::session::Brought;

/// Endpoints of one region to which no connection could be made, before another region is tried.
pub(crate) const FAILED_PER_REGION_MAX: usize = 2;

/// One request: the world it lives in, and how far it has come.
#[derive(Debug)]
pub struct Ctx {
    pub(crate) world: Arc<World>,
    pub(crate) began: Instant,
    pub(crate) sequence: u64,
    pub(crate) id: Option<HeaderValue>,
    pub(crate) client: Option<IpAddr>,
    /// What the request brought along on a sticky route.
    pub(crate) brought: Option<Brought>,
    pub(crate) stage: Stage,
    /// Keeps the request open on the connection of its client.
    pub(crate) on: Option<OnConnection>,
    pub(crate) attempts: u32,
    /// Endpoints that were tried and failed.
    pub(crate) failed: Vec<(RegionId, usize)>,
    /// Whether an endpoint was asked once more because its connection had been used before.
    pub(crate) asked_again: bool,
    /// The code of an answer of our own.
    pub(crate) code: Option<&'static str>,
    pub(crate) end: End,
    /// The fenced route that the request came on, and what the fence made of it, in a word.
    pub(crate) fenced: Option<(usize, &'static str)>,
    /// The partition of the request, where somebody has read it already.
    pub(crate) partition: Option<PartitionId>,
    /// The fenced write that this request delivers.
    pub(crate) delivery: Option<Box<Delivery>>,
    /// Whether another request carries this one out, and says so in the log.
    pub(crate) is_carried: bool,
    /// The protocol of the client, where it is not that of the request.
    pub(crate) version: Option<Version>,
}

/// Who is tried after an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another endpoint.
    Another,
    /// The same endpoint, over a new connection or an older one.
    Same,
    /// Nobody is left.
    Nobody,
}

/// How an exchange ended, as its access line says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    /// The whole answer was passed on.
    #[default]
    Complete,
    /// We answered ourselves.
    Answered,
    /// The client went away.
    ClientGone,
    /// The endpoint broke off.
    EndpointBroken,
    /// A deadline passed.
    TimedOut,
    /// We closed it, because a drain reached its hard deadline.
    Forced,
}

impl End {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Answered => "answered",
            Self::ClientGone => "client_gone",
            Self::EndpointBroken => "endpoint_broken",
            Self::TimedOut => "timed_out",
            Self::Forced => "forced",
        }
    }

    /// The same as the ledger counts it.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Complete | Self::Answered => Outcome::Completed,
            Self::ClientGone => Outcome::ClientClosed,
            Self::EndpointBroken | Self::TimedOut => Outcome::UpstreamDied,
            Self::Forced => Outcome::Forced,
        }
    }
}

/// How far a request has come. Each stage owns what the next one needs.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Its head was read.
    New,
    /// It has a route and a region, but no endpoint now.
    Routed(Routed),
    /// An endpoint has it, or is about to.
    Sent(Routed, Attempt),
}

/// What routing decided.
#[derive(Clone, Debug)]
pub(crate) struct Routed {
    pub(crate) route: usize,
    pub(crate) choice: Choice,
    pub(crate) intent: Intent,
    pub(crate) carriage: Carriage,
    pub(crate) has_body: bool,
    /// What the client was recognised by, before we wrote anything on its request.
    pub(crate) client_hash: u64,
    /// Regions that were full when the request came in: facts of the decision.
    pub(crate) full: RegionSet,
    /// Regions that could not be reached.
    pub(crate) tried: RegionSet,
    /// Its partition, where that decides who may answer it.
    pub(crate) partition: Option<PartitionId>,
}

/// One attempt at one endpoint. Dropping it closes the request there.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) region: RegionId,
    pub(crate) endpoint: usize,
    pub(crate) address: SocketAddr,
    pub(crate) began: Instant,
    pub(crate) first_byte: Option<Duration>,
    /// Whether the answer turned out to be a stream.
    pub(crate) is_stream: bool,
    /// Keeps the exchange open at the endpoint.
    pub(crate) entry: Entry,
}

impl Ctx {
    pub(crate) fn new(world: Arc<World>, began: Instant, sequence: u64) -> Self {
        Self {
            world,
            began,
            sequence,
            id: None,
            client: None,
            brought: None,
            stage: Stage::New,
            on: None,
            attempts: 0,
            failed: Vec::new(),
            asked_again: false,
            code: None,
            end: End::default(),
            fenced: None,
            partition: None,
            delivery: None,
            is_carried: false,
            version: None,
        }
    }

    pub(crate) fn routed(&self) -> Option<&Routed> {
        match &self.stage {
            Stage::New => None,
            Stage::Routed(routed) | Stage::Sent(routed, _) => Some(routed),
        }
    }

    /// The partition and the epoch of a write that somebody owns.
    pub(crate) fn owned_write(&self) -> Option<(PartitionId, Epoch)> {
        let routed = self.routed()?;
        routed.partition.zip(routed.choice.epoch)
    }

    pub(crate) fn attempt(&self) -> Option<&Attempt> {
        match &self.stage {
            Stage::New | Stage::Routed(_) => None,
            Stage::Sent(_, attempt) => Some(attempt),
        }
    }

    pub(crate) fn attempt_mut(&mut self) -> Option<&mut Attempt> {
        match &mut self.stage {
            Stage::New | Stage::Routed(_) => None,
            Stage::Sent(_, attempt) => Some(attempt),
        }
    }

    pub(crate) fn route(&self) -> Option<&Route> {
        let place = self.routed().map(|it| it.route).or(self.fenced.map(|(it, _)| it))?;
        self.world.snapshot.policy.routes.get(place)
    }

    /// Where the client was, as far as the request is routed by it.
    pub(crate) fn session(&self) -> Option<Session<'_>> {
        self.brought.as_ref().and_then(Brought::session)
    }

    /// The region and the endpoint that have the request.
    pub(crate) fn endpoint(&self) -> Option<(&RegionWorld, &EndpointWorld)> {
        let attempt = self.attempt()?;
        let region = self.world.region(attempt.region)?;
        Some((region, region.endpoints.get(attempt.endpoint)?))
    }

    /// The attempt is over, and `next` is to be tried.
    pub(crate) fn leave(&mut self, next: Next) {
        match (next, self.attempt()) {
            (Next::Another | Next::Nobody, Some(attempt)) => {
                let failed = (attempt.region, attempt.endpoint);
                self.failed.push(failed);
            }
            (Next::Same, _) => self.asked_again = true,
            (Next::Another | Next::Nobody, None) => {}
        }
        self.stage = match std::mem::replace(&mut self.stage, Stage::New) {
            Stage::Sent(routed, mut attempt) => {
                let is_closed = attempt.entry.is_closed();
                let outcome = if is_closed { Outcome::Forced } else { Outcome::UpstreamDied };
                attempt.entry.ends(outcome);
                Stage::Routed(routed)
            }
            stage @ (Stage::New | Stage::Routed(_)) => stage,
        };
    }

    /// A piece of the request's body came in.
    pub(crate) fn received(&self, piece: Option<&Bytes>) {
        let (Some(piece), Some(attempt)) = (piece, self.attempt()) else { return };
        if !piece.is_empty() {
            if 0 < attempt.entry.bytes_in() && self.kind() == Kind::Plain {
                attempt.entry.becomes(Kind::Upload);
            }
            attempt.entry.received(piece.len());
        }
    }

    /// A piece of the answer's body went out.
    pub(crate) fn sent(&self, piece: Option<&Bytes>) {
        if let (Some(piece), Some(attempt)) = (piece, self.attempt()) {
            attempt.entry.sent(piece.len());
        }
    }

    /// Whether the exchange was told to close.
    pub(crate) fn is_closed(&self) -> bool {
        self.attempt().is_some_and(|it| it.entry.is_closed())
    }

    /// Tells the ledger how the exchange ended, which is known by now.
    pub(crate) fn ended(&mut self) {
        // From here a connection that we shut down looks as if its endpoint had done it.
        let looks_forced = match self.end {
            End::EndpointBroken => true,
            End::Complete => self.kind() == Kind::Websocket,
            End::Answered | End::ClientGone | End::TimedOut | End::Forced => false,
        };
        if looks_forced && self.is_closed() {
            self.end = End::Forced;
        }
        let outcome = self.end.outcome();
        if let Some(attempt) = self.attempt_mut() {
            attempt.entry.ends(outcome);
        }
    }

    /// What kind of exchange it is, as far as is known.
    pub(crate) fn kind(&self) -> Kind {
        let is_stream = self.attempt().is_some_and(|it| it.is_stream);
        self.routed().map_or(Kind::Plain, |it| it.carriage.kind(is_stream))
    }

    /// Whether the connection of the client is to end after this request.
    pub(crate) fn is_last(&self) -> bool {
        self.on.as_ref().is_some_and(|it| it.connection().is_closing())
    }

    /// The answer has begun, or nobody waits for it any more; answers whether it came too late.
    pub(crate) fn has_answer(&self) -> bool {
        self.on.as_ref().is_some_and(|it| it.connection().has_answer())
    }

    /// Whether this process asks itself.
    pub(crate) fn is_own(&self) -> bool {
        self.on.as_ref().is_some_and(|it| it.connection().is_own())
    }

    pub(crate) fn has_failed(&self, region: RegionId, endpoint: usize) -> bool {
        self.failed.contains(&(region, endpoint))
    }

    pub(crate) fn failures_in(&self, region: RegionId) -> usize {
        self.failed.iter().filter(|(it, _)| *it == region).count()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use tidegate_core::ask::{Ask, Demand, Intent};
    use tidegate_core::contract::Contract;
    use tidegate_core::id::RegionSet;
    use tidegate_core::policy::{
        Admin, DrainRules, EjectionRules, Failback, FailbackRules, Matcher, MeasuringRules,
        PathMatch, PinRule, Policy, Probing, Releases, Require, RetryRules, Route, Stickiness,
        StickyRules, StopRules, Strategy, Timeouts,
    };

    /// The smallest policy there is.
    pub(crate) fn policy() -> Policy {
        Policy {
            site: None,
            listeners: Vec::new(),
            admin: Admin::default(),
            threads: 1,
            access_log: false,
            regions: Vec::new(),
            contract: Contract::default(),
            probing: Probing {
                path: "/contract".into(),
                host: None,
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
                body_bytes_max: 1024,
                rise: 1,
                fall: 1,
                stale_after: Duration::from_secs(5),
                shadow: false,
                mixed_allowed: false,
            },
            ejection: EjectionRules {
                enabled: false,
                connect_failures: 1,
                window: Duration::from_secs(1),
                volume_min: 1,
                budget_percent: 1,
                base: Duration::from_secs(1),
                max: Duration::from_secs(1),
            },
            failback: FailbackRules {
                mode: Failback::Manual,
                hysteresis: Duration::ZERO,
                flips: 1,
                within: Duration::ZERO,
                freeze: Duration::ZERO,
            },
            measuring: MeasuringRules {
                band_percent: 1,
                hold: Duration::ZERO,
                stale_after: Duration::ZERO,
            },
            releases: Releases::default(),
            routes: Vec::new(),
            pins_from: Vec::new(),
            trusted_peers: Vec::new(),
            retries: RetryRules {
                attempts_max: 1,
                budget_percent: 0,
                budget_min_per_second: 0,
                deadline: Duration::ZERO,
            },
            sticky: StickyRules::default(),
            drain: DrainRules::default(),
            stop: StopRules::default(),
            watch: None,
            fence: None,
            gates: None,
            ownership: None,
        }
    }

    /// A route that takes every request.
    pub(crate) fn route() -> Route {
        Route {
            name: "all".into(),
            matcher: Matcher {
                path: PathMatch::Prefix("/".into()),
                hosts: Vec::new(),
                methods: Vec::new(),
            },
            intent: None,
            stream: false,
            require: Require::default(),
            pin: PinRule::default(),
            residency: RegionSet::ALL,
            residency_name: None,
            strategy: Strategy::default(),
            sticky: Stickiness::Off,
            fence: None,
            owned: None,
            timeouts: Timeouts {
                connect: Duration::from_secs(1),
                first_byte: Duration::from_secs(1),
                idle: Duration::from_secs(1),
                websocket_idle: Duration::from_secs(1),
                grpc_idle: Duration::from_secs(1),
                body: None,
                total: None,
            },
        }
    }

    /// An ask for nothing in particular.
    pub(crate) fn ask() -> Ask<'static> {
        Ask {
            route: 0,
            intent: Intent::Read,
            pin: None,
            session: None,
            demand: Demand::default(),
            client_hash: 0,
            full: RegionSet::EMPTY,
            tried: RegionSet::EMPTY,
            belongs: None,
        }
    }
}
