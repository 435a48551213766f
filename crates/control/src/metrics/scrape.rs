//! Gauges that are read from the world when somebody asks for them.
//!
//! Nothing is kept up to date between two scrapes, so nothing can be forgotten: a region, an
//! endpoint or a mismatch that is gone has no series any more.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use tidegate_core::contract::Queue;
use tidegate_core::snapshot::{Endpoint, Region, Snapshot, Verdict};

use super::labels::{
    DrainCause, EndpointMismatch, EndpointVerdict, HeldBack, OfRegion, OpenKind, RegionVerdict,
};
use crate::World;
use crate::ledger::{Kind, Ledger};

/// Reads the world once it is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Scrape(pub(super) Arc<OnceLock<Sources>>);

/// What there is to read.
type Sources = (Arc<ArcSwap<World>>, Arc<Ledger>);

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some((world, ledger)) = self.0.get() else { return Ok(()) };
        let world = world.load_full();
        let mut gauges = Gauges(encoder);
        gauges.of_world(&world)?;
        gauges.of_verdicts(&world.snapshot)?;
        gauges.of_mismatches(&world.snapshot)?;
        gauges.of_queues(&world.snapshot)?;
        gauges.of_ledger(ledger)
    }
}

struct Gauges<'a>(DescriptorEncoder<'a>);

/// Name and meaning of a family; the unit is added to the name.
struct About(&'static str, &'static str, Option<Unit>);

impl Gauges<'_> {
    fn of_world(&mut self, world: &World) -> fmt::Result {
        let snapshot = &world.snapshot;
        let about = About("tidegate_generation", "Number of the world in force.", None);
        let mut family = self.0.encode_descriptor(about.0, about.1, None, MetricType::Gauge)?;
        family.encode_gauge(&snapshot.generation.0)?;
        let help =
            "The failover window is open: writes may come again that were sent before a flip.";
        let about = About("tidegate_failover_window_open", help, None);
        let mut family = self.0.encode_descriptor(about.0, about.1, None, MetricType::Gauge)?;
        family.encode_gauge(&u64::from(snapshot.window.is_open()))?;
        let about = About("tidegate_open_requests", "Requests that a region has open.", None);
        let regions = snapshot.regions.iter().zip(&world.regions);
        self.family(&about, regions.map(|(region, it)| (of(region), it.open.count())))?;
        let help = "Measured distance of a region.";
        let about = About("tidegate_measured_distance", help, Some(Unit::Seconds));
        let measured = snapshot.regions.iter().filter_map(|region| {
            let distance = Duration::from_micros(region.measured_us?);
            Some((of(region), distance.as_secs_f64()))
        });
        self.family(&about, measured)?;
        let help = "Why a region that could serve is only the last resort.";
        let about = About("tidegate_region_held", help, None);
        let reasons = snapshot.regions.iter().filter_map(|region| {
            let reason = region.held?.word();
            Some((HeldBack { region: Arc::clone(&region.name), reason }, 1_u64))
        });
        self.family(&about, reasons)
    }

    fn of_verdicts(&mut self, snapshot: &Snapshot) -> fmt::Result {
        let about = About("tidegate_region_verdict", "The verdict on a region is this one.", None);
        let regions = snapshot.regions.iter().flat_map(|region| {
            Verdict::ALL.into_iter().map(move |verdict| {
                let labels =
                    RegionVerdict { region: Arc::clone(&region.name), verdict: verdict.word() };
                (labels, u64::from(region.verdict == verdict))
            })
        });
        self.family(&about, regions)?;
        let help = "The verdict on an endpoint is this one.";
        let about = About("tidegate_endpoint_verdict", help, None);
        let verdicts = endpoints(snapshot).flat_map(|(region, endpoint)| {
            Verdict::ALL.into_iter().map(move |verdict| {
                let labels = EndpointVerdict {
                    region: Arc::clone(&region.name),
                    endpoint: endpoint.address.to_string(),
                    verdict: verdict.word(),
                };
                (labels, u64::from(endpoint.verdict == verdict))
            })
        });
        self.family(&about, verdicts)
    }

    fn of_mismatches(&mut self, snapshot: &Snapshot) -> fmt::Result {
        let help = "An endpoint's last report differs from the contract on a key.";
        let about = About("tidegate_contract_mismatch", help, None);
        let mismatches = endpoints(snapshot).flat_map(|(region, endpoint)| {
            endpoint.mismatches.iter().map(move |mismatch| {
                let labels = EndpointMismatch {
                    region: Arc::clone(&region.name),
                    endpoint: endpoint.address.to_string(),
                    key: Arc::clone(&mismatch.name),
                    kind: mismatch.kind(),
                };
                (labels, 1_u64)
            })
        });
        self.family(&about, mismatches)
    }

    /// What the endpoints of a region say about its queue; where they differ, the worst.
    fn of_queues(&mut self, snapshot: &Snapshot) -> fmt::Result {
        let regions = || snapshot.regions.iter();
        let help = "Entries that wait in a region's queue, as it reports.";
        let about = About("tidegate_queue_depth", help, None);
        let depths = regions()
            .filter_map(|region| Some((of(region), queues(region).map(|it| it.depth).max()?)));
        self.family(&about, depths)?;
        let help = "Age of the oldest entry in a region's queue, as it reports.";
        let about = About("tidegate_queue_oldest_age", help, Some(Unit::Seconds));
        let ages = regions().filter_map(|region| {
            let oldest_ms = queues(region).map(|it| it.oldest_age_ms).max()?;
            Some((of(region), Duration::from_millis(oldest_ms).as_secs_f64()))
        });
        self.family(&about, ages)
    }

    /// Endpoints that have left the policy are in here as long as something is open there.
    fn of_ledger(&mut self, ledger: &Ledger) -> fmt::Result {
        let about = About("tidegate_open", "Exchanges that are open.", None);
        let summary = ledger.summary();
        let open = summary.0.iter().map(|((region, kind), count)| {
            let kind = kind.map_or("unlisted", Kind::word);
            (OpenKind { region: Arc::clone(region), kind }, *count)
        });
        self.family(&about, open)?;
        let help = "Drains of a region and its endpoints that have not ended.";
        let about = About("tidegate_drains_running", help, None);
        let mut running = BTreeMap::new();
        for flip in ledger.drains().iter().filter(|it| !it.drain.is_drained()) {
            let region = Arc::clone(&flip.region);
            let labels = DrainCause { region, cause: flip.drain.cause.word() };
            *running.entry(labels).or_insert(0_u64) += 1;
        }
        self.family(&about, running.into_iter())
    }

    fn family<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        About(name, help, unit): &About,
        samples: impl Iterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }
}

fn of(region: &Region) -> OfRegion {
    OfRegion { region: Arc::clone(&region.name) }
}

fn endpoints(snapshot: &Snapshot) -> impl Iterator<Item = (&Region, &Endpoint)> {
    snapshot.regions.iter().flat_map(|it| it.endpoints.iter().map(move |endpoint| (it, endpoint)))
}

fn queues(region: &Region) -> impl Iterator<Item = &Queue> {
    region.endpoints.iter().filter_map(|it| it.report.as_ref()?.queue.as_ref())
}
