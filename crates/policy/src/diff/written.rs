//! How values of a policy are written in a difference; different values are written differently.

use std::fmt::Display;
use std::time::Duration;

use tidegate_core::ask::Intent;
use tidegate_core::contract::{Accepts, Source, Value, Weight};
use tidegate_core::id::RegionSet;
use tidegate_core::policy::{
    Balance, EndpointSource, Failback, HashKey, OnDrain, PathMatch, PinRule, Policy, Protocol,
    Require, Stickiness, Strategy,
};

use crate::{dates, units};

/// The word for what is not there.
pub(super) const NONE: &str = "none";

pub(super) fn duration_or(duration: Option<&Duration>, none: &str) -> String {
    duration.map_or_else(|| none.to_owned(), units::written)
}

pub(super) fn or_none(value: Option<&impl ToString>) -> String {
    let quoted =
        |it: String| if it == NONE || it.starts_with('"') { format!("{it:?}") } else { it };
    value.map_or_else(|| NONE.to_owned(), |it| quoted(it.to_string()))
}

pub(super) fn flag(on: bool) -> String {
    if on { "on" } else { "off" }.to_owned()
}

/// Everything in a row, or what an empty list means.
pub(super) fn list<T: Display>(items: &[T], empty: &str) -> String {
    if items.is_empty() {
        return empty.to_owned();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A text of the contract; in quotes where it could be taken for something else.
fn text(text: &str) -> String {
    let is_plain = !text.is_empty()
        && text.chars().all(|it| it.is_ascii_graphic() && it != '"' && it != '\\')
        && text.parse::<i64>().is_err()
        && !["true", "false", "nothing", "-"].contains(&text);
    if is_plain { text.to_owned() } else { format!("{text:?}") }
}

fn value(value: &Value) -> String {
    match value {
        Value::Text(it) => text(it),
        Value::Integer(it) => it.to_string(),
        Value::Flag(it) => it.to_string(),
    }
}

pub(super) fn accepts(accepts: &Accepts) -> String {
    match accepts {
        Accepts::Exactly(it) => value(it),
        Accepts::Either { new, old, until } => {
            format!("{} or until {} {}", value(new), dates::written(*until), value(old))
        }
        Accepts::Agreed => "any value on which all agree".to_owned(),
    }
}

pub(super) fn weight(weight: Weight) -> &'static str {
    match weight {
        Weight::Veto => "veto",
        Weight::Degrade => "degrade",
        Weight::Observe => "observe",
    }
}

pub(super) fn source(source: &Source) -> String {
    match source {
        Source::Pointer(pointer) => format!("pointer {pointer}"),
        Source::Header(name) => format!("header {name}"),
    }
}

pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http1 => "http1",
        Protocol::H2c => "h2c",
    }
}

pub(super) fn hash_key(key: &HashKey) -> String {
    match key {
        HashKey::ClientAddress => "client address".to_owned(),
        HashKey::Header(name) => format!("header {name}"),
        HashKey::Path => "path".to_owned(),
    }
}

pub(super) fn balance(balance: &Balance) -> String {
    match balance {
        Balance::RoundRobin => "round_robin".to_owned(),
        Balance::LeastRequests => "least_requests".to_owned(),
        Balance::PeakEwma => "peak_ewma".to_owned(),
        Balance::Hash { by, bound_percent } => {
            format!("hash by {}, bound {bound_percent}%", hash_key(by))
        }
    }
}

pub(super) fn endpoints(source: &EndpointSource) -> String {
    match source {
        EndpointSource::Listed(_) => "listed".to_owned(),
        EndpointSource::File { path, every } => {
            format!("file {} every {}", path.display(), units::written(every))
        }
    }
}

pub(super) fn failback(mode: Failback) -> String {
    match mode {
        Failback::Manual => "manual".to_owned(),
        Failback::After(time) => format!("after {}", units::written(&time)),
    }
}

pub(super) fn intent(intent: Option<Intent>) -> &'static str {
    intent.map_or("by method", Intent::word)
}

pub(super) fn path(path: &PathMatch) -> String {
    match path {
        PathMatch::Prefix(path) => format!("path {path}"),
        PathMatch::Exact(path) => format!("exact {path}"),
    }
}

pub(super) fn require(require: Require) -> &'static str {
    match require {
        Require::Contract => "contract",
        Require::Answer => "answer",
    }
}

pub(super) fn pin(pin: PinRule) -> &'static str {
    match pin {
        PinRule::Soft => "soft",
        PinRule::Require => "require",
        PinRule::Ignore => "ignore",
    }
}

pub(super) fn strategy(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Nearest => "nearest",
        Strategy::Measured => "measured",
    }
}

pub(super) fn stickiness(sticky: Stickiness) -> &'static str {
    match sticky {
        Stickiness::Off => "off",
        Stickiness::Session => "session",
        Stickiness::Stream => "stream",
    }
}

pub(super) fn on_drain(on_drain: OnDrain) -> &'static str {
    match on_drain {
        OnDrain::Move => "move",
        OnDrain::Stay => "stay",
    }
}

/// The regions that a route may use, by name, so that another place in the file is no change.
pub(super) fn residency(regions: RegionSet, policy: &Policy) -> String {
    if regions == RegionSet::ALL {
        return "any region".to_owned();
    }
    let names = regions.iter().filter_map(|it| policy.regions.get(it.index()));
    list(&names.map(|it| &*it.name).collect::<Vec<_>>(), "no region")
}
