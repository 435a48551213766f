//! What operators read and count when something turned.

use std::net::SocketAddr;

use tidegate_core::board::Effect;
use tidegate_core::contract::Mismatch;
use tidegate_core::drain::{self, Cause, Flip, Outcomes};
use tidegate_core::health::ProbeFailure;
use tidegate_core::snapshot::Verdict;
use tidegate_core::window;
use tracing::{debug, info, warn};

use crate::clock;
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
        Effect::DrainTurned { flip, turn } => log_drain(flip, *turn),
        Effect::Close(endpoints) => {
            warn!(endpoints = endpoints.len(), "closing what is still open");
        }
        Effect::WindowTurned(turn) => log_window(turn),
        Effect::Probe(targets) => info!(endpoints = targets.len(), "endpoints to probe changed"),
    }
}

/// Counts an effect.
pub(super) fn count(effect: &Effect, metrics: &Metrics) {
    match effect {
        Effect::RegionTurned { region, from, to } => metrics.turned(region, *from, *to),
        Effect::Ejected { region, .. } => metrics.ejected(region),
        Effect::DrainTurned { flip, turn } => match turn {
            drain::Turn::Overdue => metrics.drain_overdue(flip),
            drain::Turn::Drained | drain::Turn::Returned | drain::Turn::Superseded => {
                metrics.drain_ended(flip, turn.word());
            }
            drain::Turn::Began | drain::Turn::Deadline => {}
        },
        Effect::EndpointTurned { .. }
        | Effect::RegionHeld { .. }
        | Effect::Returned { .. }
        | Effect::Close(_)
        | Effect::WindowTurned(_)
        | Effect::Probe(_) => {}
    }
}

fn log_drain(flip: &Flip, turn: drain::Turn) {
    let Flip { region, endpoint, drain } = flip;
    let endpoint = endpoint.map(tracing::field::display);
    let (cause, open) = (drain.cause.word(), drain.open);
    let took = clock::now().since(drain.since);
    let Outcomes { completed, client_closed, upstream_died, forced } = drain.outcomes;
    match turn {
        // Whoever turns dark without a request has nothing to tell.
        _ if drain.open_at_start == 0 && drain.joined == 0 && drain.cause != Cause::Operator => {
            debug!(%region, endpoint, cause, open, turn = turn.word(), "drain of nothing");
        }
        drain::Turn::Began => info!(%region, endpoint, cause, open, "drain began"),
        drain::Turn::Overdue => warn!(%region, endpoint, cause, open, ?took, "drain overdue"),
        drain::Turn::Deadline => {
            warn!(%region, endpoint, cause, open, ?took, "drain reached its hard deadline");
        }
        drain::Turn::Drained if drain.outcomes.is_clean() => {
            info!(%region, endpoint, cause, ?took, completed, client_closed, "drained");
        }
        drain::Turn::Drained => warn!(
            %region, endpoint, cause, ?took, completed, client_closed, upstream_died, forced,
            "drained"
        ),
        drain::Turn::Returned | drain::Turn::Superseded => info!(
            %region, endpoint, cause, ?took, open, completed, client_closed, upstream_died, forced,
            end = turn.word(), "drain ended early"
        ),
    }
}

fn log_window(turn: &window::Turn) {
    match turn {
        window::Turn::Opened(cause) => {
            let region = cause.region().map(|it| &**it);
            warn!(cause = cause.word(), region, detail = %cause, "failover window opened");
        }
        window::Turn::Closed { last, since } => {
            let (region, took) = (last.region().map(|it| &**it), clock::now().since(*since));
            let cause = last.word();
            info!(cause, region, detail = %last, ?took, "failover window closed");
        }
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
