//! What happens to connections, counted by whoever keeps the listeners.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

/// Counters of the connections of one application. All copies are one.
#[derive(Clone, Debug, Default)]
pub struct ConnectionMetrics {
    /// Connections that are open.
    pub open: Gauge,
    /// Connections that were taken.
    pub taken: Counter,
    /// Connections that could not be taken.
    pub refused: Counter,
    /// Connections that were ended because they were idle.
    pub idle: Counter,
    /// Connections that were ended because the head of a request took too long.
    pub late: Counter,
}

impl ConnectionMetrics {
    /// Registers every family.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { open, taken, refused, .. } = &metrics;
        let help = "Connections of clients that are open";
        registry.register("tidegate_connections", help, open.clone());
        let help = "Connections of clients that were taken";
        registry.register("tidegate_connections_taken", help, taken.clone());
        let help = "Connections of clients that could not be taken";
        registry.register("tidegate_connections_refused", help, refused.clone());
        let ended = Family::<CauseLabel, Counter>::default();
        let help = "Connections of clients that were ended, by what they kept us waiting for";
        registry.register("tidegate_connections_ended", help, ended.clone());
        let of = |cause| ended.get_or_create_owned(&CauseLabel { cause });
        Self { idle: of("idle"), late: of("head"), ..metrics }
    }
}
