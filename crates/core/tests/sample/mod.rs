//! The policy that tests start from: every rule at a plain value, for them to change what matters.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tidegate_core::contract::Contract;
use tidegate_core::id::RegionSet;
use tidegate_core::policy::{
    Admin, Balance, DrainRules, EjectionRules, EndpointAddress, EndpointSource, Failback,
    FailbackRules, Matcher, MeasuringRules, PathMatch, PinRule, Policy, Probing, Protocol,
    RegionPolicy, Releases, Require, RetryRules, Route, Stickiness, StickyRules, StopRules,
    Strategy, Timeouts,
};

/// A policy with these regions at these distances, and one route that takes every request.
///
/// Each region lists one endpoint, the contract demands nothing, no region is held back for longer
/// than a second, and slow start is off.
pub(crate) fn policy(regions: &[(&str, u32)]) -> Policy {
    let listed = (0..=u8::MAX).zip(regions);
    Policy {
        site: None,
        listeners: Vec::new(),
        admin: Admin::default(),
        threads: 1,
        access_log: false,
        regions: listed.map(|(place, (name, distance))| region(place, name, *distance)).collect(),
        contract: Contract::default(),
        probing: probing(),
        ejection: ejection(),
        failback: FailbackRules {
            mode: Failback::After(Duration::from_secs(1)),
            hysteresis: Duration::from_secs(1),
            flips: 3,
            within: Duration::from_mins(1),
            freeze: Duration::from_mins(5),
        },
        measuring: MeasuringRules {
            band_percent: 20,
            hold: Duration::from_secs(5),
            stale_after: Duration::from_secs(30),
        },
        releases: Releases::default(),
        routes: vec![route()],
        pins_from: Vec::new(),
        trusted_peers: Vec::new(),
        retries: RetryRules {
            attempts_max: 3,
            budget_percent: 20,
            budget_min_per_second: 10,
            deadline: Duration::from_secs(10),
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

/// The address of an endpoint by the places of its region and of itself.
pub(crate) fn address(region: u8, endpoint: u8) -> SocketAddr {
    (Ipv4Addr::new(10, 0, region, endpoint), 8000).into()
}

fn region(place: u8, name: &str, distance: u32) -> RegionPolicy {
    let endpoint = EndpointAddress { address: address(place, 0), weight: 1 };
    RegionPolicy {
        name: name.into(),
        distance,
        capacity: None,
        endpoints: EndpointSource::Listed(vec![endpoint]),
        protocol: Protocol::default(),
        balance: Balance::default(),
        slow_start: Duration::ZERO,
        green_share_percent: 50,
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
        require: Require::default(),
        pin: PinRule::default(),
        residency: RegionSet::ALL,
        residency_name: None,
        strategy: Strategy::default(),
        sticky: Stickiness::Off,
        fence: None,
        owned: None,
        timeouts: Timeouts {
            connect: Duration::from_secs(1),
            first_byte: Duration::from_mins(2),
            idle: Duration::from_mins(5),
            websocket_idle: Duration::from_secs(1),
            grpc_idle: Duration::from_secs(1),
            body: None,
            total: None,
        },
    }
}

fn probing() -> Probing {
    Probing {
        path: "/contract".into(),
        host: None,
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        body_bytes_max: 65_536,
        rise: 2,
        fall: 2,
        stale_after: Duration::from_secs(10),
        shadow: false,
        mixed_allowed: false,
    }
}

fn ejection() -> EjectionRules {
    EjectionRules {
        enabled: true,
        connect_failures: 3,
        window: Duration::from_secs(10),
        volume_min: 20,
        budget_percent: 50,
        base: Duration::from_secs(10),
        max: Duration::from_mins(1),
    }
}
