//! The loop with real regions to probe.

use super::*;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_core::board::Event;
use tidegate_core::fence::retention::Retention;
use tidegate_core::id::RegionId;
use tidegate_core::policy::fencing::{FenceRules, FenceStore};
use tidegate_core::policy::{EndpointAddress, EndpointSource};
use tidegate_core::snapshot::{Held, Snapshot, Verdict};
use tidegate_harness::{FakeRegion, Fault, TempDir, wait_until};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::World;
use crate::endpoints_file::NotEndpoints;
use crate::handle::{Busy, EVENTS_WAITING_MAX, Message};
use crate::trial;
use crate::world::RegionWorld;

const DEADLINE: Duration = Duration::from_secs(20);

/// A controller that runs, with fake regions to probe.
struct Running {
    handle: Handle,
    runtime: Runtime,
}

impl Running {
    fn start(policy: Policy) -> Self {
        let metrics = Arc::new(Metrics::new());
        let (controller, handle) = Controller::new(Arc::new(policy), metrics, parse, None);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        runtime.spawn(async move {
            let (_stop, shutdown) = watch::channel(false);
            controller.start(shutdown).await;
        });
        Self { handle, runtime }
    }

    fn ask(&self, event: Event) -> Arc<World> {
        self.runtime.block_on(self.handle.ask(event)).expect("the controller runs")
    }

    fn wait(&self, what: &str, holds: impl Fn(&Snapshot) -> bool) {
        wait_until(DEADLINE, what, || holds(&self.handle.world().snapshot));
    }

    fn wait_for(&self, verdict: Verdict) {
        self.wait(verdict.word(), |it| it.regions[0].verdict == verdict);
    }

    fn has(&self, line: &str) -> bool {
        self.handle.metrics().encode().lines().any(|it| it == line)
    }
}

fn parse(text: &str) -> Result<Vec<EndpointAddress>, NotEndpoints> {
    let address = |line: &str| match line.parse() {
        Ok(address) => Ok(EndpointAddress { address, weight: 1 }),
        Err(_) => Err(NotEndpoints(format!("{line} is no address"))),
    };
    text.lines().map(address).collect()
}

fn policy_of(regions: &[&FakeRegion]) -> Policy {
    trial::policy(regions.iter().map(|it| trial::region(it.name(), &[it.address()])).collect())
}

fn region(world: &World, place: u8) -> &RegionWorld {
    world.region(RegionId(place)).expect("the region is there")
}

#[test]
fn the_first_world_is_there_before_anything_runs() {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let policy = trial::policy(vec![trial::region("eu", &[address])]);
    let (_controller, handle) =
        Controller::new(Arc::new(policy), Arc::new(Metrics::new()), parse, None);
    let world = handle.world();
    assert_eq!(world.snapshot.regions[0].verdict, Verdict::Unknown);
    assert_eq!(region(&world, 0).endpoints[0].address, address);
    assert_eq!(region(&world, 0).rotation.pick(0, |_| true), Some(0));
    assert!(!handle.is_ready());
}

#[test]
fn events_beyond_the_limit_are_refused_and_counted() {
    let metrics = Arc::new(Metrics::new());
    let policy = Arc::new(trial::policy(Vec::new()));
    let (controller, handle) = Controller::new(policy, Arc::clone(&metrics), parse, None);
    for _ in 0..EVENTS_WAITING_MAX {
        assert_eq!(handle.send(Event::Tick), Ok(()));
    }
    assert_eq!(handle.send(Event::Tick), Err(Busy::Full));
    assert!(metrics.encode().contains("tidegate_events_refused_total 1\n"));
    drop(controller);
    assert_eq!(handle.send(Event::Tick), Err(Busy::Ended));
}

#[test]
fn a_region_turns_green_and_is_seen() {
    let eu = FakeRegion::start("eu");
    let running = Running::start(policy_of(&[&eu]));
    running.wait_for(Verdict::Green);
    assert!(running.handle.is_ready());
    let world = running.handle.world();
    let endpoint = &region(&world, 0).endpoints[0];
    assert_eq!(
        endpoint.release.as_ref().map(http::HeaderValue::as_bytes),
        Some(&b"r-2025-08-01"[..])
    );
    endpoint.metrics.answered(200, Duration::from_millis(3));
    let source = r#"region="eu",release_id="r-2025-08-01",revision="rev-1""#;
    assert!(running.has(&format!(r#"tidegate_requests_total{{{source},code="2xx"}} 1"#)));
    assert!(running.has(r#"tidegate_region_verdict{region="eu",verdict="green"} 1"#));
    assert!(running.has(r#"tidegate_region_verdict{region="eu",verdict="dark"} 0"#));
    assert!(running.has(r#"tidegate_queue_depth{region="eu"} 0"#));
    assert!(running.has(r#"tidegate_open_requests{region="eu"} 0"#));
    let turns = r#"tidegate_verdict_turns_total{region="eu",from="unknown",to="green"} 1"#;
    wait_until(DEADLINE, "the turn is counted", || running.has(turns));
}

#[test]
fn a_region_whose_contract_breaks_is_left_and_comes_back() {
    let eu = FakeRegion::start("eu");
    let running = Running::start(policy_of(&[&eu]));
    running.wait_for(Verdict::Green);
    eu.set_fault(Fault::WrongContract);
    running.wait_for(Verdict::Mismatched);
    assert!(running.handle.world().snapshot.routable.is_empty());
    assert!(running.handle.is_ready(), "everybody has been asked");
    let endpoint = eu.address();
    let gauge = format!(
        r#"tidegate_contract_mismatch{{region="eu",endpoint="{endpoint}",key="index_hash",kind="different"}} 1"#
    );
    assert!(running.has(&gauge));
    eu.remove_key("index_hash");
    eu.clear_fault();
    let gauge = gauge.replace("different", "missing");
    wait_until(DEADLINE, "the key is missing", || running.has(&gauge));
    eu.restore_contract();
    running.wait_for(Verdict::Green);
    assert!(!running.handle.metrics().encode().contains("tidegate_contract_mismatch{"));
    let metrics = running.handle.metrics().encode();
    assert!(
        metrics.contains(r#"tidegate_contract_mismatches_total{region="eu",key="index_hash"}"#)
    );
}

#[test]
fn a_region_that_nobody_answers_for_turns_dark_and_comes_back() {
    let eu = FakeRegion::start("eu");
    let running = Running::start(policy_of(&[&eu]));
    running.wait_for(Verdict::Green);
    eu.stop();
    running.wait_for(Verdict::Dark);
    assert!(running.handle.metrics().encode().contains(r#"outcome="connect"}"#));
    eu.resume();
    running.wait_for(Verdict::Green);
}

#[test]
fn a_controller_that_goes_on_from_another_knows_the_world_before_it_runs() {
    let (us, eu) = (FakeRegion::start("us"), FakeRegion::start("eu"));
    us.set_key("index_hash", "broken");
    let policy = policy_of(&[&us, &eu]);
    let running = Running::start(policy.clone());
    running.wait("one green, one not", |it| {
        let verdicts = it.regions.iter().map(|it| it.verdict);
        verdicts.eq([Verdict::Mismatched, Verdict::Green])
    });
    drop(running.ask(Event::Drained { region: "eu".into(), endpoint: None, out: true }));
    let memory = running.runtime.block_on(running.handle.memory()).unwrap();
    let metrics = Arc::new(Metrics::new());
    let (_controller, heir) =
        Controller::remembering(Arc::new(policy), metrics, parse, None, memory);
    let (world, before) = (heir.world(), running.handle.world());
    for (region, before) in world.snapshot.regions.iter().zip(&before.snapshot.regions) {
        assert_eq!((region.verdict, region.since), (before.verdict, before.since));
        assert_eq!(region.drained, before.drained);
        assert_eq!(region.endpoints[0].report, before.endpoints[0].report);
    }
    assert!(world.snapshot.regions[1].drained);
}

#[test]
fn probes_that_say_nothing_new_change_nothing() {
    let eu = FakeRegion::start("eu");
    let running = Running::start(policy_of(&[&eu]));
    running.wait_for(Verdict::Green);
    let (world, probes) = (running.handle.world(), eu.probes());
    wait_until(DEADLINE, "more probes", || probes + 5 < eu.probes());
    assert!(Arc::ptr_eq(&world, &running.handle.world()));
}

#[test]
fn a_new_policy_keeps_what_it_does_not_touch() {
    let (eu, us) = (FakeRegion::start("eu"), FakeRegion::start("us"));
    let running = Running::start(policy_of(&[&eu, &us]));
    running.wait("both green", |it| it.routable.count() == 2);
    let before = running.handle.world();
    let after = running.ask(Event::Installed(Arc::new(policy_of(&[&us]))));
    assert!(before.snapshot.generation < after.snapshot.generation);
    assert_eq!(after.snapshot.regions[0].verdict, Verdict::Green, "what is known stays known");
    let (old, new) = (region(&before, 1), region(&after, 0));
    assert!(Arc::ptr_eq(&old.rotation, &new.rotation));
    assert!(Arc::ptr_eq(&old.open, &new.open));
    assert!(Arc::ptr_eq(&old.endpoints[0].traffic, &new.endpoints[0].traffic));
    assert!(Arc::ptr_eq(&old.endpoints[0].metrics, &new.endpoints[0].metrics));
    assert!(running.has(r#"tidegate_region_verdict{region="us",verdict="green"} 1"#));
    assert!(!running.handle.metrics().encode().contains(r#"_verdict{region="eu""#));
    wait_until(DEADLINE, "nobody probes eu any more", || {
        let probes = eu.probes();
        let others = us.probes();
        wait_until(DEADLINE, "us goes on", || others + 3 < us.probes());
        probes == eu.probes()
    });
}

#[test]
fn a_new_contract_is_asked_for_at_once() {
    let eu = FakeRegion::start("eu");
    let mut policy = policy_of(&[&eu]);
    let running = Running::start(policy.clone());
    running.wait_for(Verdict::Green);
    policy.contract = trial::demanding("another");
    running.ask(Event::Installed(Arc::new(policy)));
    running.wait_for(Verdict::Mismatched);
}

#[test]
fn what_the_operator_says_is_in_the_world_that_answers() {
    let eu = FakeRegion::start("eu");
    let running = Running::start(policy_of(&[&eu]));
    running.wait_for(Verdict::Green);
    let drained = running.ask(Event::Drained { region: "eu".into(), endpoint: None, out: true });
    assert!(drained.snapshot.regions[0].drained && drained.snapshot.routable.is_empty());
    let back = running.ask(Event::Drained { region: "eu".into(), endpoint: None, out: false });
    assert_eq!(back.snapshot.routable.count(), 1);
    let same = running.ask(Event::Released("eu".into()));
    assert!(Arc::ptr_eq(&same, &running.handle.world()));
}

#[test]
fn traffic_that_cannot_connect_ejects_an_endpoint() {
    let eu = FakeRegion::start("eu");
    let running = Running::start(policy_of(&[&eu]));
    running.wait_for(Verdict::Green);
    let world = running.handle.world();
    for _ in 0..3 {
        region(&world, 0).endpoints[0].traffic.unconnected();
    }
    running.wait("ejected", |it| it.regions[0].endpoints[0].ejected);
    running.wait("held back", |it| it.regions[0].held == Some(Held::Ejected));
    assert!(running.has(r#"tidegate_region_held{region="eu",reason="ejected"} 1"#));
    let ejections = r#"tidegate_ejections_total{region="eu"} 1"#;
    wait_until(DEADLINE, "the ejection is counted", || running.has(ejections));
}

/// A policy whose only region is listed in a file.
fn policy_with_file(path: PathBuf) -> Policy {
    let mut region = trial::region("eu", &[]);
    region.endpoints = EndpointSource::File { path, every: Duration::from_millis(20) };
    trial::policy(vec![region])
}

#[test]
fn endpoints_follow_their_file_and_a_bad_file_changes_nothing() {
    let (one, two) = (FakeRegion::start("eu"), FakeRegion::start("eu"));
    let folder = TempDir::new();
    let path = folder.path().join("endpoints");
    let running = Running::start(policy_with_file(path.clone()));
    let errors = || {
        let metrics = running.handle.metrics().encode();
        let prefix = r#"tidegate_endpoint_file_errors_total{region="eu"} "#;
        let counted = metrics.lines().find_map(|it| it.strip_prefix(prefix)?.parse().ok());
        counted.unwrap_or(0_u64)
    };
    // Renamed into place, as an operator should: a file that is being written is half a list.
    let write = |list: &str| {
        let new = folder.write("new", list);
        fs::rename(new, &path).expect("replace the list");
    };
    wait_until(DEADLINE, "the missing file is counted", || 0 < errors());
    write(&one.address().to_string());
    running.wait_for(Verdict::Green);
    for bad in ["nonsense", ""] {
        let before = errors();
        write(bad);
        wait_until(DEADLINE, "the bad file is counted", || before + 1 < errors());
        assert_eq!(running.handle.world().snapshot.regions[0].endpoints.len(), 1);
    }
    write(&format!("{}\n{}", one.address(), two.address()));
    running.wait("both are there", |it| {
        let endpoints = &it.regions[0].endpoints;
        endpoints.len() == 2 && endpoints.iter().all(|it| it.verdict == Verdict::Green)
    });
}

#[test]
fn a_list_that_comes_too_late_does_not_replace_what_the_policy_lists() {
    let eu = FakeRegion::start("eu");
    let running = Running::start(policy_of(&[&eu]));
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let endpoints = vec![EndpointAddress { address, weight: 1 }];
    let world = running.ask(Event::Listed { region: "eu".into(), endpoints });
    assert_eq!(world.snapshot.regions[0].endpoints[0].address, eu.address());
}

#[test]
fn a_probe_under_a_policy_that_is_gone_says_nothing() {
    let eu = FakeRegion::start("eu");
    let policy = policy_of(&[&eu]);
    let running = Running::start(policy.clone());
    running.wait_for(Verdict::Green);
    eu.set_fault(Fault::HangContract);
    let endpoint = running.handle.world().snapshot.regions[0].endpoints[0].id;
    let outcome = Err(tidegate_core::health::ProbeFailure::NotReady);
    let event = Event::Probed { endpoint, took: Duration::ZERO, outcome };
    let late = Message::under(Arc::new(policy), event);
    running.runtime.block_on(running.handle.deliver(late)).expect("the controller runs");
    let world = running.ask(Event::Tick);
    assert_eq!(world.snapshot.regions[0].endpoints[0].failure, None);
}

#[test]
fn a_world_that_is_left_lives_as_long_as_its_last_request() {
    let eu = FakeRegion::start("eu");
    let policy = policy_of(&[&eu]);
    let running = Running::start(policy.clone());
    running.wait_for(Verdict::Green);
    // A request that began before the reloads, and one that nobody waits for.
    let held = running.handle.world();
    let mut left = Vec::new();
    for distance in 2..20 {
        left.push(Arc::downgrade(&running.handle.world()));
        let mut next = policy.clone();
        next.regions[0].distance = distance;
        next.routes[0].name = format!("route-{distance}").into();
        drop(running.ask(Event::Installed(Arc::new(next))));
    }
    let alive = || left.iter().filter(|it| it.strong_count() > 0).count();
    wait_until(DEADLINE, "only the one that is held is left", || alive() == 1);
    assert_eq!(held.snapshot.policy.regions[0].distance, 1);
    drop(held);
    wait_until(DEADLINE, "nothing is left", || alive() == 0);
}

/// Regions and a fence with a window of this length.
fn fenced(regions: &[&FakeRegion], failover_window: Duration) -> Policy {
    let fence = FenceRules {
        store: FenceStore::Embedded { path: "fence.db".into() },
        failover_window,
        retention: Retention::LONGEST,
        quarantine: Duration::ZERO,
        quota: None,
        local: None,
    };
    Policy { fence: Some(fence), ..policy_of(regions) }
}

#[test]
fn the_world_without_a_region_has_the_window_open_and_followers_are_told() {
    let (us, eu) = (FakeRegion::start("us"), FakeRegion::start("eu"));
    let running = Running::start(fenced(&[&us, &eu], Duration::from_hours(1)));
    running.wait("both are green", |it| it.routable.count() == 2);
    let mut window = running.handle.window();
    assert!(!*window.borrow_and_update() && running.has("tidegate_failover_window_open 0"));
    eu.set_fault(Fault::Refuse);
    let open = running.runtime.block_on(async {
        let turned = tokio::time::timeout(DEADLINE, window.changed()).await;
        turned.expect("it opens in time").expect("the controller runs");
        *window.borrow_and_update()
    });
    assert!(open);
    running.wait("the loss is seen", |it| {
        assert!(it.routable.count() == 2 || it.window.is_open(), "lost, and the window is shut");
        it.routable.count() == 1
    });
    assert!(running.has("tidegate_failover_window_open 1"));
    // A reload keeps it, and one without a fence ends it.
    drop(running.ask(Event::Installed(Arc::new(fenced(&[&us, &eu], Duration::from_hours(2))))));
    assert!(*window.borrow_and_update());
    let world = running.ask(Event::Installed(Arc::new(policy_of(&[&us, &eu]))));
    assert!(!world.snapshot.window.is_open() && !*window.borrow_and_update());
}

#[test]
fn what_the_operator_opens_closes_its_length_after_the_operator_closes_it() {
    let eu = FakeRegion::start("eu");
    let running = Running::start(fenced(&[&eu], Duration::from_millis(1)));
    running.wait_for(Verdict::Green);
    let ask = |open| running.ask(Event::WindowAsked { open, reason: "a move".into() });
    assert!(ask(true).snapshot.window.is_open());
    drop(running.ask(Event::Tick));
    assert!(running.handle.world().snapshot.window.is_open());
    drop(ask(false));
    running.wait("it is shut", |it| !it.window.is_open());
}
