//! Builds the next world, and keeps what stays the same from one world to the next.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::HeaderValue;
use tidegate_core::drain::Reading;
use tidegate_core::ejection::Tally;
use tidegate_core::id::{EndpointId, Name};
use tidegate_core::policy::{Policy, RegionPolicy, StickyKey};
use tidegate_core::snapshot::{Endpoint, Region, Snapshot};

use crate::World;
use crate::ledger::{Ledger, Symbol, Whose};
use crate::metrics::Metrics;
use crate::permits::Permits;
use crate::rotation::Rotation;
use crate::sessions::Sessions;
use crate::traffic::{Open, Traffic};
use crate::world::{EndpointWorld, RegionWorld, RouteWorld};

/// The counters that outlive a world, and the metrics that handles come from.
#[derive(Debug)]
pub(crate) struct Assembly {
    metrics: Arc<Metrics>,
    ledger: Arc<Ledger>,
    process_key: Option<StickyKey>,
    permits: Arc<Permits>,
    open: HashMap<Name, Arc<Open>>,
    traffic: HashMap<EndpointId, Counted>,
    /// Regions that are gone and whose series somebody may still count in, with their keys.
    leaving: HashMap<Name, Vec<Name>>,
}

/// The traffic of an endpoint, and what the board was told of it last.
#[derive(Debug)]
struct Counted {
    traffic: Arc<Traffic>,
    told: Tally,
    read: Reading,
    /// Whether its endpoint is gone; then it stays only until nothing is open there any more.
    is_gone: bool,
}

impl Assembly {
    pub(crate) fn new(
        metrics: Arc<Metrics>,
        ledger: Arc<Ledger>,
        process_key: Option<StickyKey>,
        permits: Arc<Permits>,
    ) -> Self {
        let (open, traffic, leaving) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { metrics, ledger, process_key, permits, open, traffic, leaving }
    }

    /// The world of a snapshot. Regions that are as they were `before` are taken over from there.
    pub(crate) fn world(&mut self, snapshot: Snapshot, before: Option<&World>) -> World {
        self.forget_all_but(&snapshot);
        let routes = self.routes(&snapshot.policy, before);
        let policies = snapshot.policy.regions.iter();
        let regions = policies
            .zip(&snapshot.regions)
            .map(|(policy, region)| self.region(policy, region, Known::find(before, region)))
            .collect();
        let sessions = self.sessions(&snapshot, before);
        let permits = Arc::clone(&self.permits);
        World { snapshot, regions, routes, sessions, permits }
    }

    /// What sessions need, made anew only when the policy says something else about them.
    fn sessions(&self, snapshot: &Snapshot, before: Option<&World>) -> Arc<Sessions> {
        let rules = &snapshot.policy.sticky;
        match before {
            Some(before) if before.snapshot.policy.sticky == *rules => Arc::clone(&before.sessions),
            Some(_) | None => Arc::new(Sessions::of(rules, self.process_key.as_ref())),
        }
    }

    /// The counters of the routes; the ones that are still there go on.
    fn routes(&mut self, policy: &Arc<Policy>, before: Option<&World>) -> Arc<[RouteWorld]> {
        if let Some(before) = before {
            if Arc::ptr_eq(&before.snapshot.policy, policy) {
                return Arc::clone(&before.routes);
            }
            let stays: HashSet<&str> = policy.routes.iter().map(|it| &*it.name).collect();
            let former = before.snapshot.policy.routes.iter().map(|it| &it.name);
            former
                .filter(|it| !stays.contains(&***it))
                .for_each(|it| self.metrics.forget_route(it));
            self.note_leaving(policy, &before.snapshot.policy);
        }
        let route =
            |name: &Name| RouteWorld::new(self.ledger.symbol(name), self.metrics.of_route(name));
        policy.routes.iter().map(|it| route(&it.name)).collect()
    }

    /// Remembers the regions that are gone, until their series can be taken away.
    fn note_leaving(&mut self, policy: &Policy, former: &Policy) {
        let keys = || former.contract.keys.iter().map(|it| Arc::clone(&it.name)).collect();
        for region in former.regions.iter().filter(|it| policy.region(&it.name).is_none()) {
            self.leaving.insert(Arc::clone(&region.name), keys());
        }
    }

    /// The traffic of every endpoint that had some since the last call.
    pub(crate) fn observed(&mut self) -> Vec<(EndpointId, Tally)> {
        let changed = self.traffic.iter_mut().filter_map(|(id, counted)| {
            let tally = counted.traffic.tally();
            let is_news = tally != std::mem::replace(&mut counted.told, tally);
            is_news.then_some((*id, tally))
        });
        let mut changed: Vec<_> = changed.collect();
        // In the order of their numbers: what the board does must not hang on a map's order.
        changed.sort_unstable_by_key(|(id, _)| *id);
        changed
    }

    /// What the ledger says of every endpoint where something has changed since the last call.
    pub(crate) fn counted(&mut self) -> Vec<(EndpointId, Reading)> {
        let changed = self.traffic.iter_mut().filter_map(|(id, counted)| {
            let reading = counted.traffic.reading();
            let is_news = reading != std::mem::replace(&mut counted.read, reading);
            is_news.then_some((*id, reading))
        });
        let mut changed: Vec<_> = changed.collect();
        changed.sort_unstable_by_key(|(id, _)| *id);
        self.traffic.retain(|_, it| !it.is_gone || 0 < it.read.open);
        changed
    }

    /// Closes what is open at these endpoints.
    pub(crate) fn close(&self, endpoints: &[EndpointId]) {
        for counted in endpoints.iter().filter_map(|id| self.traffic.get(id)) {
            counted.traffic.close();
        }
    }

    fn region(
        &mut self,
        policy: &RegionPolicy,
        region: &Region,
        known: Option<Known<'_>>,
    ) -> RegionWorld {
        let capacity = policy.capacity.map_or(u64::MAX, u64::from);
        if let Some(Known { region: before, world }) = known
            && before == region
            && world.rotation.fits(region, &policy.balance)
        {
            return RegionWorld { capacity, ..world.clone() };
        }
        let open = self.open(&region.name);
        let rotation = self.rotation(policy, region, known.map(|it| &it.world.rotation));
        let endpoints = region.endpoints.iter().map(|it| self.endpoint(region, it)).collect();
        RegionWorld { name: header(&region.name), open, capacity, rotation, endpoints }
    }

    fn rotation(
        &mut self,
        policy: &RegionPolicy,
        region: &Region,
        before: Option<&Arc<Rotation>>,
    ) -> Arc<Rotation> {
        if let Some(before) = before.filter(|it| it.fits(region, &policy.balance)) {
            return Arc::clone(before);
        }
        let traffic = region.endpoints.iter().map(|it| self.traffic(region, it)).collect();
        Arc::new(match before {
            Some(before) => before.next(region, &policy.balance, traffic),
            None => Rotation::new(region, &policy.balance, traffic),
        })
    }

    fn endpoint(&mut self, region: &Region, endpoint: &Endpoint) -> EndpointWorld {
        let revision = endpoint.report.as_ref().and_then(|it| it.revision.as_deref());
        let reported = endpoint.release();
        let release = reported.map(|it| &**it);
        EndpointWorld {
            address: endpoint.address,
            traffic: self.traffic(region, endpoint),
            metrics: self.metrics.of_source(&region.name, release, revision),
            release: release.and_then(|it| HeaderValue::from_str(it).ok()),
            release_symbol: reported.map_or(Symbol::default(), |it| self.ledger.symbol(it)),
        }
    }

    fn traffic(&mut self, region: &Region, endpoint: &Endpoint) -> Arc<Traffic> {
        if let Some(counted) = self.traffic.get(&endpoint.id) {
            return Arc::clone(&counted.traffic);
        }
        let open = self.open(&region.name);
        let (region, address) = (Arc::clone(&region.name), endpoint.address);
        let whose = Whose { region, endpoint: endpoint.id, address, open };
        let traffic = self.ledger.book(whose);
        let counted = Counted {
            traffic: Arc::clone(&traffic),
            told: Tally::default(),
            read: Reading::default(),
            is_gone: false,
        };
        self.traffic.insert(endpoint.id, counted);
        traffic
    }

    fn open(&mut self, region: &Name) -> Arc<Open> {
        Arc::clone(self.open.entry(Arc::clone(region)).or_default())
    }

    /// Whoever is gone is counted on until nothing is open there any more.
    fn forget_all_but(&mut self, snapshot: &Snapshot) {
        let regions = || snapshot.regions.iter();
        self.open.retain(|name, _| regions().any(|it| it.name == *name));
        let stays: HashSet<EndpointId> =
            regions().flat_map(|it| &it.endpoints).map(|it| it.id).collect();
        for (id, counted) in &mut self.traffic {
            counted.is_gone = !stays.contains(id);
        }
        let Self { leaving, metrics, .. } = self;
        leaving.retain(|name, keys| {
            let is_back = snapshot.regions.iter().any(|it| it.name == *name);
            !is_back && !metrics.forget_region(name, keys)
        });
    }
}

/// A region as it was in the world before.
#[derive(Clone, Copy)]
struct Known<'a> {
    region: &'a Region,
    world: &'a RegionWorld,
}

impl<'a> Known<'a> {
    fn find(before: Option<&'a World>, region: &Region) -> Option<Self> {
        let before = before?;
        let mut known = before.snapshot.regions.iter().zip(&before.regions);
        let (region, world) = known.find(|(it, _)| it.name == region.name)?;
        Some(Self { region, world })
    }
}

/// A name as a header value; a dash for one that a policy should not have let through.
fn header(name: &Name) -> HeaderValue {
    HeaderValue::from_str(name).unwrap_or_else(|_| HeaderValue::from_static("-"))
}
