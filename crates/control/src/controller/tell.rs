//! What operators read and count when something turned.

use std::net::SocketAddr;

use tidegate_core::board::Effect;
use tidegate_core::contract::Mismatch;
use tidegate_core::health::ProbeFailure;
use tidegate_core::snapshot::Verdict;
use tracing::{info, warn};

use crate::metrics::Metrics;

/// Writes one line about an effect.
pub(super) fn log(effect: &Effect) {
    match effect {
        Effect::EndpointTurned { region, address, from, to, mismatches, failure } => {
            let turn = Turn { region, address: *address, from: *from, to: *to };
            turn.log(mismatches, *failure);
        }
        Effect::RegionTurned { region, from, to } => {
            if is_good(*to) {
                info!(%region, %from, %to, "region turned");
            } else {
                warn!(%region, %from, %to, "region turned");
            }
        }
        Effect::RegionHeld { region, held: Some(held) } => {
            warn!(%region, reason = held.word(), "region held back");
        }
        Effect::RegionHeld { region, held: None } => {
            info!(%region, "region no longer held back");
        }
        Effect::Ejected { region, address } => {
            warn!(%region, endpoint = %address, "endpoint ejected by traffic");
        }
        Effect::Returned { region, address } => {
            info!(%region, endpoint = %address, "endpoint returned");
        }
        Effect::Probe(targets) => info!(endpoints = targets.len(), "endpoints to probe changed"),
    }
}

/// Counts an effect.
pub(super) fn count(effect: &Effect, metrics: &Metrics) {
    match effect {
        Effect::RegionTurned { region, from, to } => metrics.turned(region, *from, *to),
        Effect::Ejected { region, .. } => metrics.ejected(region),
        Effect::EndpointTurned { .. }
        | Effect::RegionHeld { .. }
        | Effect::Returned { .. }
        | Effect::Probe(_) => {}
    }
}

struct Turn<'a> {
    region: &'a str,
    address: SocketAddr,
    from: Verdict,
    to: Verdict,
}

impl Turn<'_> {
    fn log(&self, mismatches: &[Mismatch], failure: Option<ProbeFailure>) {
        let Self { region, address, from, to } = self;
        let mismatches = text(mismatches);
        let failure = failure.map(tracing::field::display);
        if is_good(*to) {
            info!(region, endpoint = %address, %from, %to, failure, mismatches, "endpoint turned");
        } else {
            warn!(region, endpoint = %address, %from, %to, failure, mismatches, "endpoint turned");
        }
    }
}

/// All differences as one text; none at all without differences, so that the field is left out.
fn text(mismatches: &[Mismatch]) -> Option<String> {
    let texts: Vec<String> = mismatches.iter().map(Mismatch::to_string).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

fn is_good(verdict: Verdict) -> bool {
    verdict == Verdict::Green
}
