//! A small policy to try things with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::Moment;
use tidegate_core::contract::{Accepts, Contract, Expectation, INDEX_HASH, Value, Weight};
use tidegate_core::id::RegionSet;
use tidegate_core::policy::{
    Admin, Balance, EjectionRules, EndpointAddress, EndpointSource, Failback, FailbackRules,
    MeasuringRules, Policy, Probing, Protocol, RegionPolicy, Releases, RetryRules,
};
use tidegate_core::policy::{
    DrainRules, Matcher, PathMatch, PinRule, Require, Route, Stickiness, StickyRules, StopRules,
    Strategy, Timeouts,
};
use tidegate_core::snapshot::Endpoint;

use crate::ledger::{Facts, Kind, Symbol, Whose};
use crate::traffic::Traffic;

/// What the regions of the harness report at the key that [`policy`] demands.
pub(crate) const INDEX: &str = "a1b2c3";

pub(crate) fn policy(regions: Vec<RegionPolicy>) -> Policy {
    Policy {
        site: None,
        listeners: Vec::new(),
        admin: Admin::default(),
        threads: 1,
        access_log: false,
        regions,
        contract: demanding(INDEX),
        probing: probing(),
        ejection: EjectionRules {
            enabled: true,
            connect_failures: 3,
            window: Duration::from_secs(10),
            volume_min: 10,
            budget_percent: 50,
            base: Duration::from_mins(1),
            max: Duration::from_mins(1),
        },
        failback: FailbackRules {
            mode: Failback::After(Duration::ZERO),
            hysteresis: Duration::ZERO,
            flips: 100,
            within: Duration::from_secs(1),
            freeze: Duration::from_secs(1),
        },
        measuring: MeasuringRules {
            band_percent: 100,
            hold: Duration::from_mins(1),
            stale_after: Duration::from_mins(1),
        },
        releases: Releases::default(),
        routes: vec![route()],
        pins_from: Vec::new(),
        trusted_peers: Vec::new(),
        retries: RetryRules {
            attempts_max: 2,
            budget_percent: 20,
            budget_min_per_second: 10,
            deadline: Duration::from_secs(1),
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

pub(crate) fn demanding(index: &str) -> Contract {
    let mut contract = Contract::default();
    contract.keys[INDEX_HASH.index()].expect =
        Some(Expectation { accepts: Accepts::Exactly(Value::from(index)), weight: Weight::Veto });
    contract
}

pub(crate) fn region(name: &str, endpoints: &[SocketAddr]) -> RegionPolicy {
    let listed = |address: &SocketAddr| EndpointAddress { address: *address, weight: 1 };
    RegionPolicy {
        name: name.into(),
        distance: 1,
        capacity: None,
        endpoints: EndpointSource::Listed(endpoints.iter().map(listed).collect()),
        protocol: Protocol::Http1,
        balance: Balance::RoundRobin,
        slow_start: Duration::ZERO,
        green_share_percent: 50,
    }
}

fn probing() -> Probing {
    Probing {
        path: "/contract".into(),
        host: None,
        interval: Duration::from_millis(50),
        timeout: Duration::from_millis(500),
        body_bytes_max: 64 * 1024,
        rise: 2,
        fall: 2,
        stale_after: Duration::from_secs(30),
        shadow: false,
        mixed_allowed: false,
    }
}

fn route() -> Route {
    Route {
        name: "all".into(),
        matcher: Matcher {
            path: PathMatch::Prefix("/".into()),
            hosts: Vec::new(),
            methods: Vec::new(),
        },
        intent: None,
        stream: false,
        require: Require::Contract,
        pin: PinRule::Soft,
        residency: RegionSet::ALL,
        residency_name: None,
        strategy: Strategy::Nearest,
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

/// Counters of an endpoint that nobody has used yet.
pub(crate) fn traffic(endpoint: &Endpoint) -> Arc<Traffic> {
    let (address, endpoint) = (endpoint.address, endpoint.id);
    let whose = Whose { region: "eu".into(), endpoint, address, open: Arc::default() };
    Arc::new(Traffic::of(whose))
}

/// A plain exchange.
pub(crate) fn facts() -> Facts {
    let (route, release) = (Symbol::default(), Symbol::default());
    Facts { kind: Kind::Plain, route, release, began: Moment(0) }
}
