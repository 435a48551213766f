//! How ownership is, and how often it was renewed and changed.

use std::collections::HashMap;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tidegate_core::id::{Epoch, Name};
use tidegate_core::ownership::Owned;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Renewal {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Share {
    region: Name,
    standing: &'static str,
}

/// The families about ownership. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct OwnershipMetrics {
    epoch: Gauge,
    balancers: Gauge,
    partitions: Family<Share, Gauge>,
    renewals: Family<Renewal, Counter>,
    changes: Counter,
}

impl OwnershipMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let it = Self::default();
        let help = "The last change of ownership that this balancer has heard of";
        registry.register("tidegate_ownership_epoch", help, it.epoch.clone());
        let help = "Balancers that act on any change of ownership, as the store has told last";
        registry.register("tidegate_ownership_balancers", help, it.balancers.clone());
        let help = "Partitions, by who owns them and whether this balancer may write there";
        registry.register("tidegate_ownership_partitions", help, it.partitions.clone());
        let help = "Renewals of the lease of ownership";
        registry.register("tidegate_ownership_renewals", help, it.renewals.clone());
        let help = "Changes of ownership that operators made at this balancer";
        registry.register("tidegate_ownership_changes", help, it.changes.clone());
        it
    }

    pub(crate) fn renewed(&self, is_done: bool) {
        let outcome = if is_done { "ok" } else { "failed" };
        self.renewals.get_or_create(&Renewal { outcome }).inc();
    }

    pub(crate) fn changed(&self) {
        self.changes.inc();
    }

    pub(crate) fn show(&self, epoch: Epoch, balancers: u32, owned: &[Owned]) {
        self.epoch.set(i64::try_from(epoch.0).unwrap_or(i64::MAX));
        self.balancers.set(balancers.into());
        let mut shares: HashMap<Share, i64> = HashMap::new();
        for owned in owned {
            let (region, standing) = (Name::clone(&owned.region), owned.standing.word());
            *shares.entry(Share { region, standing }).or_default() += 1;
        }
        self.partitions.clear();
        for (share, count) in shares {
            self.partitions.get_or_create(&share).set(count);
        }
    }
}
