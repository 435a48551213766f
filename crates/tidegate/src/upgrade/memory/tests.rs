//! Whatever a board remembers arrives as it was, moved to the clock of who reads it.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::board::{Board, Effect, Event};
use tidegate_core::drain::{Outcomes, Reading};
use tidegate_core::health::ProbeFailure;
use tidegate_core::id::EndpointId;
use tidegate_core::window::{Cause, Open, Standing, WindowState};

use super::*;

/// When the memory is written, and when the other process thinks that it is read.
const WRITTEN: Moment = Moment(2_000_000);
const READ: Moment = Moment(500_000);

fn policy() -> tidegate_core::policy::Policy {
    tidegate_policy::load(
        "test",
        "version: 1\nlisteners: [ { bind: \"127.0.0.1:1\" } ]\nregions:\n\
         \x20 us: { distance: 0, endpoints: [ \"127.0.0.1:2\", \"127.0.0.1:3\" ] }\n\
         \x20 eu: { distance: 80, endpoints: [ \"127.0.0.1:4\" ] }\n\
         contract:\n  probe: { path: /contract }\n\
         \x20 sources: { secrets_rev: { header: X-Rev } }\n\
         \x20 expect: { index_hash: a1, secrets_rev: k1 }\n\
         routes: [ { name: all, match: { path: / } } ]\n",
        &|_| None,
    )
    .expect("a policy")
}

fn everything() -> Report {
    let found = vec![
        Found::Value(Value::Integer(-7)),
        Found::Value("a1".into()),
        Found::Value(Value::Flag(true)),
        Found::WrongType("array"),
        Found::Missing,
    ];
    Report {
        found,
        release_id: Some("r1".into()),
        revision: Some("7".into()),
        build_ts: Some("yesterday".into()),
        ready: Some(true),
        blob_manifest: Some(BlobManifest { count: 3, digest: "d".into() }),
        queue: Some(Queue { depth: 1, oldest_age_ms: 2, watermark: Some("w".into()) }),
    }
}

/// A window with everything that there can be.
fn window() -> WindowState {
    let region = || "eu".into();
    let open = Open {
        since: Moment(WRITTEN.0 - 900),
        cause: Cause::Drain { region: region(), endpoint: Some("127.0.0.1:4".parse().unwrap()) },
        last: Cause::Loss { region: region() },
        at: Moment(WRITTEN.0 - 7),
        is_lasting: true,
    };
    let places = ["a", "b", "c", "d"].map(Into::into);
    WindowState {
        standings: places.into_iter().zip(Standing::ALL).collect(),
        asked: Some("a move".into()),
        open: Some(open),
    }
}

/// A board to which everything has happened that can be remembered.
fn memory() -> Memory {
    let began = Moment(WRITTEN.0 - 100_000);
    let (mut board, effects) = Board::new(began, Arc::new(policy()));
    let ids: Vec<EndpointId> = effects
        .iter()
        .filter_map(|it| if let Effect::Probe(all) = it { Some(all) } else { None })
        .flatten()
        .map(|it| it.endpoint)
        .collect();
    let mut tell = |after: u64, event| drop(board.apply(Moment(began.0 + after), event));
    let took = Duration::from_millis(3);
    for (nth, endpoint) in (0..).zip(ids.clone()).chain((10..).zip(ids.clone())) {
        let good =
            Report { found: vec![Found::Missing, Found::Value("a1".into())], ..everything() };
        tell(nth, Event::Probed { endpoint, took, outcome: Ok(good) });
    }
    for nth in 0..3 {
        let failure = Err(ProbeFailure::Status(503));
        tell(20 + nth, Event::Probed { endpoint: ids[2], took, outcome: failure });
    }
    let unconnected = tidegate_core::ejection::Tally { unconnected: 99, ..Default::default() };
    tell(30, Event::Observed { endpoint: ids[0], tally: unconnected });
    let failed = tidegate_core::ejection::Tally { answered: 9, failed: 3, ..Default::default() };
    tell(31, Event::Observed { endpoint: ids[1], tally: failed });
    tell(40, Event::Probed { endpoint: ids[0], took, outcome: Ok(everything()) });
    tell(50, Event::Drained { region: "us".into(), endpoint: None, out: true });
    let endpoint = Some("127.0.0.1:4".parse().unwrap());
    tell(51, Event::Drained { region: "eu".into(), endpoint, out: true });
    let (open, ended) = (2, Outcomes { completed: 3, forced: 1, ..Outcomes::default() });
    tell(52, Event::Counted(vec![(ids[0], Reading { open, ended: Outcomes::default() })]));
    tell(53, Event::Counted(vec![(ids[0], Reading { open, ended })]));
    Memory { window: window(), ..board.memory() }
}

/// The memory, as a policy demands nothing of what was merely remembered.
fn without_demands(mut memory: Memory) -> Memory {
    memory.contract.keys.iter_mut().for_each(|it| it.expect = None);
    for health in memory.regions.iter_mut().flat_map(|it| &mut it.endpoints) {
        health.health.mismatches = Arc::new([]);
        health.health.vetoes = tidegate_core::id::KeySet::EMPTY;
    }
    memory
}

fn over_the_line(memory: &Memory, read: Moment) -> Memory {
    let text = serde_json::to_string(&Remembered::of(memory, WRITTEN)).unwrap();
    serde_json::from_str::<Remembered>(&text).unwrap().memory(read).unwrap()
}

#[test]
fn everything_arrives_as_it_was() {
    let memory = without_demands(memory());
    let out =
        memory.regions.iter().flat_map(|it| &it.endpoints).filter(|it| it.ejection.out.is_some());
    assert_eq!(out.count(), 1);
    assert_eq!(over_the_line(&memory, WRITTEN), memory);
    for cause in [
        Cause::Operator { reason: "a move".into() },
        Cause::Drain { region: "us".into(), endpoint: None },
        Cause::Return { region: "us".into() },
    ] {
        let mut memory = memory.clone();
        memory.window.open.as_mut().unwrap().cause = cause;
        assert_eq!(over_the_line(&memory, WRITTEN), memory);
    }
}

#[test]
fn every_age_stays_what_it_was_on_another_clock() {
    let memory = without_demands(memory());
    let read = over_the_line(&memory, READ);
    assert_ne!(read, memory);
    let ages = |memory: &Memory, now: Moment| -> Vec<Option<Duration>> {
        let endpoints = memory.regions.iter().flat_map(|it| &it.endpoints);
        endpoints.map(|it| it.health.probed.map(|at| now.since(at))).collect()
    };
    assert_eq!(ages(&read, READ), ages(&memory, WRITTEN));
    let out = read.regions[0].endpoints[0].ejection.out.unwrap();
    assert!(READ < out.until || out.from < READ, "{out:?}");
    // And back again.
    let text = serde_json::to_string(&Remembered::of(&read, READ)).unwrap();
    let again: Remembered = serde_json::from_str(&text).unwrap();
    assert_eq!(again.memory(WRITTEN).unwrap(), memory);
}

#[test]
fn what_is_left_out_is_not_known_and_what_is_not_understood_is_refused() {
    let memory = |text: &str| serde_json::from_str::<Remembered>(text).unwrap().memory(READ);
    assert_eq!(memory("{}").unwrap().regions, []);
    let unknown = memory(r#"{ "regions": [ { "name": "us", "verdict": "green", "more": 1 } ] }"#);
    assert_eq!(&*unknown.unwrap().regions[0].name, "us");
    let cause = r#"{ "word": "eclipse", "region": "us" }"#;
    let open = format!(r#"{{ "since": -5, "at": -2, "cause": {cause}, "last": {cause} }}"#);
    let window = format!(r#"{{ "standings": {{ "us": "upside_down" }}, "open": {open} }}"#);
    let window = memory(&format!(r#"{{ "window": {window} }}"#)).unwrap().window;
    assert!(window.standings.is_empty());
    let open = window.open.expect("what is not understood does not shut it");
    assert_eq!(open.cause, Cause::Operator { reason: "eclipse".into() });
    assert_eq!((open.since, open.at), (Moment(READ.0 - 5), Moment(READ.0 - 2)));
    assert!(memory(r#"{ "regions": [ { "name": "us", "verdict": "purple" } ] }"#).is_err());
}
