//! The world that a request reads: a snapshot and everything that is made once from it.
//!
//! Header values, metric handles and rotations are made when a world is built, so that a request
//! looks nothing up by name.

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;
use prometheus_client::metrics::counter::Counter;
use tidegate_core::id::{RegionId, RegionSet};
use tidegate_core::snapshot::Snapshot;

use crate::ledger::Symbol;
use crate::metrics::EndpointMetrics;
use crate::permits::Permits;
use crate::rotation::Rotation;
use crate::sessions::Sessions;
use crate::traffic::{Open, Traffic};

/// A snapshot and everything that is made once from it; the one thing that is swapped.
#[derive(Debug)]
pub struct World {
    /// The world as data.
    pub snapshot: Snapshot,
    /// What belongs to each region, by [`RegionId`].
    pub regions: Vec<RegionWorld>,
    /// What belongs to each route, in the order of the policy.
    pub routes: Arc<[RouteWorld]>,
    /// The keys of sessions, and where their tokens stand.
    pub sessions: Arc<Sessions>,
    /// Whether writes may be sent; of this moment, and not of this world.
    pub permits: Arc<Permits>,
}

/// What belongs to one route.
#[derive(Clone, Debug)]
pub struct RouteWorld {
    /// Its name, for entries in the ledger.
    pub symbol: Symbol,
    /// How many requests came in on it.
    requests: Counter,
}

impl RouteWorld {
    pub(crate) fn new(symbol: Symbol, requests: Counter) -> Self {
        Self { symbol, requests }
    }
}

/// What belongs to one region.
#[derive(Clone, Debug)]
pub struct RegionWorld {
    /// The region's name as a header value.
    pub name: HeaderValue,
    /// Its open requests.
    pub open: Arc<Open>,
    /// How many it may have before others are preferred; `u64::MAX` without a bound.
    pub capacity: u64,
    /// Who takes which turn.
    pub rotation: Arc<Rotation>,
    /// What belongs to each endpoint, in the order of the snapshot.
    pub endpoints: Vec<EndpointWorld>,
}

/// What belongs to one endpoint.
#[derive(Clone, Debug)]
pub struct EndpointWorld {
    /// Its address.
    pub address: SocketAddr,
    /// Its counters.
    pub traffic: Arc<Traffic>,
    /// Its metrics under the release and revision that it reports.
    pub metrics: Arc<EndpointMetrics>,
    /// The release that it reports, as a header value.
    pub release: Option<HeaderValue>,
    /// The same, for entries in the ledger.
    pub release_symbol: Symbol,
}

impl World {
    /// The regions that have as many requests open as they may take.
    pub fn full(&self) -> RegionSet {
        let places = (0..=u8::MAX).map(RegionId).zip(&self.regions);
        places.filter(|(_, it)| it.capacity <= it.open.count()).map(|(id, _)| id).collect()
    }

    /// A request came in on a route.
    pub fn asked(&self, route: usize) {
        if let Some(route) = self.routes.get(route) {
            route.requests.inc();
        }
    }

    /// What belongs to a region.
    pub fn region(&self, id: RegionId) -> Option<&RegionWorld> {
        self.regions.get(id.index())
    }
}
