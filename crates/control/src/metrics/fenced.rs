//! How fenced writes ended, by what answered them and by route.

use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tidegate_core::id::Name;

use super::labels::Source;

/// The family, by source, route and outcome.
pub(super) type FencedFamily = Family<Fenced, Counter>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Fenced {
    region: Name,
    release_id: Name,
    revision: Name,
    route: Name,
    outcome: &'static str,
}

/// How the fenced writes of one source ended. Its series are made when they are first counted in.
#[derive(Debug)]
pub(super) struct FencedOutcomes {
    source: Source,
    family: FencedFamily,
    made: Mutex<Vec<Fenced>>,
}

impl FencedOutcomes {
    pub(super) fn new(source: Source, family: FencedFamily) -> Self {
        Self { source, family, made: Mutex::default() }
    }

    pub(super) fn count(&self, route: &Name, outcome: &'static str) {
        let Source { region, release_id, revision } = self.source.clone();
        let series = Fenced { region, release_id, revision, route: route.clone(), outcome };
        if let Some(counter) = self.family.get(&series) {
            counter.inc();
            return;
        }
        self.family.get_or_create(&series).inc();
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(series);
    }

    /// Takes all of its series away.
    pub(super) fn forget(&self) {
        for series in self.made.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            self.family.remove(&series);
        }
    }
}
