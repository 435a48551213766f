//! Tests of the gates: each condition alone, missing, stale, red or contradictory, keeps a gate
//! shut and is named.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::*;
use crate::board::memory::{EndpointMemory, Memory, RegionMemory};
use crate::contract::{
    Accepts, BlobManifest, Contract, Expectation, Found, INDEX_HASH, Queue, Report, Value, Weight,
};
use crate::gate::book::{FenceChecks, NoManifest};
use crate::gate::lambda::Lambda;
use crate::gate::manifest::Inventory;
use crate::gate::probes::{Answer, Measure, Measurement, ProbeSet, Question, Run, Unusable};
use crate::gate::queue::QueueLimits;
use crate::gate::rules::{Asking, BlobRules, EmergencyRules, ProbeRules, QueueRules, StreamRules};
use crate::health::{Health, ProbeFailure};
use crate::policy::fencing::RedisNode;
use crate::sample;
use crate::snapshot::Verdict;

mod emergency;

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What one region tells, for tests to change.
#[derive(Clone)]
struct Told {
    name: &'static str,
    verdict: Verdict,
    drained: bool,
    /// The index of each of its endpoints.
    indexes: Vec<&'static str>,
    list: Option<Result<&'static str, NoManifest>>,
    /// What its contract says of the list; the truth if `None`.
    claims: Option<u64>,
    depths: Vec<u64>,
    delta_s: f64,
    answers: bool,
    change: fn(&mut Answer),
}

struct Scene {
    policy: crate::policy::Policy,
    rules: GateRules,
    regions: Vec<Told>,
    fence: Option<FenceChecks>,
    /// When everything was told, in seconds; now is 1000.
    told: u64,
    probed: u64,
    listed: u64,
    warmed: u64,
}

fn region(name: &'static str) -> Told {
    Told {
        name,
        verdict: Verdict::Green,
        drained: false,
        indexes: vec!["i1"],
        list: Some(Ok("a b")),
        claims: None,
        depths: vec![0],
        delta_s: 0.41,
        answers: true,
        change: |_| (),
    }
}

fn asking() -> Asking {
    let seconds = Duration::from_secs;
    Asking { path: "/".into(), every: seconds(60), timeout: seconds(5), body_bytes_max: 1 << 20 }
}

fn set() -> ProbeSet {
    let question = |at: usize| Question {
        id: format!("q{at}").as_str().into(),
        wordings: vec!["?".into()],
        gold: Vec::new(),
        baseline: None,
    };
    ProbeSet { questions: (0..10).map(question).collect(), seeds: vec![1, 2], top_k: 1 }
}

impl Scene {
    /// Two regions of which nothing is wrong, under rules that demand everything.
    fn good() -> Self {
        let mut policy = sample::policy(&[("us", 0), ("eu", 80)]);
        policy.contract = Contract::default();
        let minutes = Duration::from_mins;
        let probes = ProbeRules {
            set: Arc::new(set()),
            limits: crate::gate::drift::Limits::default(),
            measure: Measure::Told,
            reference: Some("us".into()),
            asking: asking(),
            parallel: 1,
            embeddings: None,
            age_max: minutes(10),
        };
        let rules = GateRules {
            blobs: Some(BlobRules { asking: Some(asking()), age_max: minutes(5) }),
            queue: Some(QueueRules {
                limits: QueueLimits::default(),
                age_max: minutes(1),
                streams: Vec::new(),
            }),
            probes: Some(probes),
            fence_age_max: Some(minutes(1)),
            ..GateRules::default()
        };
        let fence = Some(vec![("answers", true, "it does".to_owned())]);
        let regions = vec![region("us"), region("eu")];
        Self { policy, rules, regions, fence, told: 998, probed: 950, listed: 950, warmed: 960 }
    }

    /// The peer is dead for a while, and was well before.
    fn lost() -> Self {
        let mut scene = Self::good();
        scene.regions[0].verdict = Verdict::Dark;
        scene.regions[0].depths = vec![3];
        scene
    }

    fn book(&self) -> Book {
        let mut book = Book::default();
        book.install(Arc::new(self.rules.clone()), &self.policy);
        // All was well once, so there is something to compare with.
        book.heard(&Memory { regions: vec![memory(&region("us"), 0, 500)], ..Memory::default() });
        let seen = |second: u64| Moment(second * 1000);
        let probed = |told: &Told| Seen {
            at: seen(self.probed),
            source: "probe set".into(),
            what: answers(told),
        };
        book.answered("us", Seen { at: seen(500), ..probed(&region("us")) });
        for (place, told) in self.regions.iter().enumerate() {
            for (step, _) in told.depths.iter().enumerate() {
                let second = self.told + 1 + u64::try_from(step).unwrap()
                    - u64::try_from(told.depths.len()).unwrap();
                let memory = memory(told, step, second);
                book.heard(&Memory { regions: vec![memory], ..Memory::default() });
            }
            assert!(place < 2);
            if let Some(list) = &told.list {
                let what = list.clone().map(inventory);
                book.listed(told.name, Seen { at: seen(self.listed), source: "m".into(), what });
            }
            if told.answers {
                book.answered(told.name, probed(told));
            } else {
                book.regions[place].1.probes = None;
            }
        }
        if let Some(checks) = &self.fence {
            let fence = Name::from("redis");
            for at in [self.warmed - 30, self.warmed] {
                let what = checks.clone();
                book.warmed(&fence, Seen { at: seen(at), source: "c".into(), what });
            }
        }
        book
    }

    fn gate(&self, kind: Kind, of: &Move) -> Gate {
        match kind {
            Kind::Planned => self.book().planned(of, Moment(1_000_000)),
            Kind::Emergency => self.book().emergency(of, Moment(1_000_000)),
        }
    }
}

fn inventory(keys: &str) -> Inventory {
    let line = |key: &str| format!("{EMPTY}  0  {key}\n");
    Inventory::parse(&keys.split_whitespace().map(line).collect::<String>()).unwrap()
}

fn answers(told: &Told) -> Result<Measurement, Unusable> {
    let set = set();
    let answer = || {
        let mut answer = Answer {
            delta_s: Some(told.delta_s),
            vectors: None,
            retrieved: vec!["d".into()],
            lambda: Some(Lambda::Convergent),
            seed_applied: Some(true),
            index_hash: Some("i1".into()),
        };
        (told.change)(&mut answer);
        answer
    };
    let runs: Vec<Run> = set.slots().map(|slot| (slot, Ok(answer()))).collect();
    set.measure(Measure::Told, &runs)
}

/// What the board remembers of a region at one of the readings of its queue.
fn memory(told: &Told, step: usize, second: u64) -> RegionMemory {
    let at = Moment(second * 1000);
    let list = told.list.as_ref().and_then(|it| it.as_ref().ok()).map(|it| inventory(it).summary());
    let endpoint = |index: &&str| {
        let mut found = vec![Found::Missing; 4];
        found[INDEX_HASH.index()] =
            if index.is_empty() { Found::Missing } else { Found::Value(Value::from(*index)) };
        let manifest = list
            .clone()
            .map(|it| BlobManifest { count: told.claims.unwrap_or(it.count), digest: it.digest });
        let depth = told.depths[step];
        let report = Report {
            found,
            blob_manifest: manifest,
            queue: Some(Queue { depth, oldest_age_ms: depth, watermark: Some("w7".into()) }),
            ..Report::default()
        };
        let is_dark = told.verdict == Verdict::Dark;
        EndpointMemory {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 80)),
            weight: 1,
            drained: false,
            drain: None,
            health: Health {
                verdict: told.verdict,
                report: Some(Arc::new(report)),
                failure: is_dark.then_some(ProbeFailure::Connect),
                probed: (told.verdict != Verdict::Unknown || !told.indexes.is_empty())
                    .then_some(at),
                ..Health::unknown(at)
            },
            ejection: crate::ejection::Ejection::default(),
            proven: None,
            serving: None,
        }
    };
    RegionMemory {
        name: told.name.into(),
        drained: told.drained,
        verdict: told.verdict,
        since: at,
        drain: None,
        held: None,
        hold: crate::hold::Hold::default(),
        distance: crate::distance::Distance::default(),
        endpoints: told.indexes.iter().map(endpoint).collect(),
    }
}

/// What keeps a gate shut, each as `condition owner light code`.
fn shut_by(gate: &Gate) -> Vec<String> {
    let told = |it: &Evidence| {
        assert!(!it.reason.is_empty());
        format!("{} {} {} {}", it.condition, it.owner, it.light, it.code)
    };
    gate.shut_by().map(told).collect()
}

#[track_caller]
fn planned(spoil: impl Fn(&mut Scene), expected: &[&str]) {
    let mut scene = Scene::good();
    spoil(&mut scene);
    let gate = scene.gate(Kind::Planned, &Move::default());
    assert_eq!(shut_by(&gate), expected);
    assert_eq!(
        (gate.opens_reads(), gate.opens_writes()),
        (expected.is_empty(), expected.is_empty())
    );
}

#[test]
fn the_planned_gate_opens_when_everything_is_proven() {
    planned(|_| (), &[]);
    let gate = Scene::good().gate(Kind::Planned, &Move::default());
    let demanded: Vec<_> = gate.evidence.iter().map(|it| it.condition).collect();
    for condition in Condition::ALL {
        let is_asked = !matches!(condition, Condition::Lost | Condition::Loss);
        assert_eq!(demanded.contains(&condition), is_asked, "{condition}");
    }
}

#[test]
fn whatever_nobody_has_looked_at_keeps_it_shut() {
    let mut book = Book::default();
    let scene = Scene::good();
    book.install(Arc::new(scene.rules.clone()), &scene.policy);
    let gate = book.planned(&Move::default(), Moment(1_000_000));
    let missing = ["contract", "index_hash", "blobs", "queue", "probes"];
    let of_regions = missing
        .iter()
        .flat_map(|it| ["us", "eu"].map(|region| format!("{it} {region} missing missing")));
    let mut expected = vec!["regions_on policy red too_few".to_owned()];
    expected.extend(of_regions);
    expected.push("fence fence missing missing".to_owned());
    assert_eq!(shut_by(&gate), expected);
    assert!(!gate.opens_reads());
}

#[test]
fn each_condition_alone_when_it_is_missing() {
    planned(|it| it.regions[1].list = None, &["blobs eu missing missing"]);
    planned(|it| it.regions[1].answers = false, &["probes eu missing missing"]);
    planned(|it| it.fence = None, &["fence fence missing missing"]);
    planned(|it| it.regions[1].indexes = vec![""], &["index_hash eu red unreported"]);
    let silent = |it: &mut Scene| it.regions[1].indexes = Vec::new();
    planned(
        silent,
        &[
            "contract eu missing missing",
            "index_hash eu missing missing",
            "queue eu missing missing",
        ],
    );
}

#[test]
fn each_condition_alone_when_it_is_stale() {
    planned(
        |it| it.told = 989,
        &[
            "contract us stale stale",
            "contract eu stale stale",
            "index_hash us stale stale",
            "index_hash eu stale stale",
        ],
    );
    planned(|it| it.told = 990, &[]);
    planned(|it| it.listed = 699, &["blobs us stale stale", "blobs eu stale stale"]);
    planned(|it| it.listed = 700, &[]);
    planned(|it| it.probed = 399, &["probes us stale stale", "probes eu stale stale"]);
    planned(|it| it.probed = 400, &[]);
    planned(|it| it.warmed = 939, &["fence redis stale stale"]);
    planned(|it| it.warmed = 940, &[]);
    let queue = |age| move |it: &mut Scene| it.rules.queue.as_mut().unwrap().age_max = age;
    planned(queue(Duration::from_secs(1)), &["queue us stale stale", "queue eu stale stale"]);
}

#[test]
fn each_condition_alone_when_it_is_red() {
    planned(|it| it.rules.may_move = false, &["switch policy red off"]);
    planned(|it| it.rules.regions_min = 3, &["regions_on policy red too_few"]);
    planned(
        |it| it.regions[1].indexes = vec!["i2"],
        &["index_hash eu red different", "probes eu contradictory index_moved"],
    );
    planned(|it| it.regions[1].list = Some(Ok("a")), &["blobs eu red different"]);
    let failed = Err(NoManifest::Failed(ProbeFailure::Timeout));
    planned(move |it| it.regions[1].list = Some(failed.clone()), &["blobs eu red no_manifest"]);
    planned(|it| it.regions[1].depths = vec![9000], &["queue eu red old"]);
    planned(|it| it.regions[1].depths = vec![3], &["queue eu red unproven"]);
    planned(|it| it.regions[1].depths = vec![3, 4, 5], &["queue eu red growing"]);
    planned(|it| it.regions[1].depths = vec![5, 4, 3], &[]);
    planned(|it| it.regions[1].delta_s = 0.440_001, &["probes eu red drift"]);
    planned(|it| it.regions[1].delta_s = 0.44, &[]);
    planned(
        |it| it.regions[1].change = |it| it.delta_s = Some(f64::NAN),
        &["probes eu red not_finite"],
    );
    planned(
        |it| it.regions[1].change = |it| it.seed_applied = None,
        &["probes eu red seeds_ignored"],
    );
    planned(
        |it| it.fence = Some(vec![("room", false, "full".to_owned())]),
        &["fence redis red cold"],
    );
}

#[test]
fn a_region_that_is_red_keeps_the_gate_shut_for_all() {
    for (verdict, said) in [
        (Verdict::Dark, "contract eu red dark"),
        (Verdict::Mismatched, "contract eu red mismatched"),
        (Verdict::Unknown, "contract eu red unknown"),
    ] {
        let mut scene = Scene::good();
        scene.regions[1].verdict = verdict;
        let shut = shut_by(&scene.gate(Kind::Planned, &Move::default()));
        assert_eq!(shut.first().map(String::as_str), Some(said), "{shut:?}");
    }
}

#[test]
fn a_service_without_an_index_needs_none() {
    let without = |it: &mut Scene| {
        it.rules.probes = None;
        it.regions.iter_mut().for_each(|it| it.indexes = vec![""]);
    };
    planned(without, &[]);
    let one_has = |it: &mut Scene| {
        without(it);
        it.regions[1].indexes = vec!["i1"];
    };
    planned(one_has, &["index_hash us red unreported", "index_hash eu red incomparable"]);
    let demanded = |it: &mut Scene| {
        without(it);
        it.policy.contract.keys[INDEX_HASH.index()].expect = Some(Expectation {
            accepts: Accepts::Exactly(Value::from("i1")),
            weight: Weight::Observe,
        });
    };
    planned(demanded, &["index_hash us red unreported", "index_hash eu red unreported"]);
}

#[test]
fn a_queue_that_is_a_stream_is_read_by_itself() {
    let mut scene = Scene::good();
    let stream = StreamRules {
        node: RedisNode { host: "redis".into(), port: 6379 },
        user: None,
        password: None,
        tls: None,
        key: "jobs".into(),
        group: "workers".into(),
        every: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
    };
    scene.rules.queue.as_mut().unwrap().streams = vec![("eu".into(), stream)];
    let mut book = scene.book();
    let shut = |book: &Book| shut_by(&book.planned(&Move::default(), Moment(1_000_000)));
    assert_eq!(shut(&book), ["queue eu missing missing"], "whatever the contract says");
    let at = |second: u64| Moment(second * 1000);
    let read = |depth: u64| Queue { depth, oldest_age_ms: 0, watermark: None };
    let seen = |second, depth| Seen { at: at(second), source: "s".into(), what: read(depth) };
    book.counted("eu", seen(997, 0));
    assert_eq!(shut(&book), [""; 0]);
    let why = Seen { at: at(998), source: "s".into(), what: "gone".to_owned() };
    book.uncounted("eu", why);
    assert_eq!(shut(&book), ["queue eu red unread"]);
    book.counted("eu", seen(999, 1));
    assert_eq!(shut(&book), ["queue eu red unproven"]);
}

#[test]
fn each_condition_alone_when_it_contradicts_itself() {
    planned(
        |it| it.regions[1].verdict = Verdict::Mixed,
        &[
            "contract eu contradictory mixed",
            "index_hash eu red unreported",
            "queue eu missing missing",
        ],
    );
    planned(
        |it| it.regions[1].indexes = vec!["i1", "i2"],
        &["index_hash eu contradictory contradictory"],
    );
    planned(|it| it.regions[1].claims = Some(9), &["blobs eu contradictory contradictory"]);
    planned(
        |it| it.regions[1].change = |it| it.vectors = Some((vec![1.0], vec![1.0])),
        &["probes eu contradictory contradictory"],
    );
}

#[test]
fn the_contract_says_which_index_is_right_if_it_says_so() {
    let demands = |it: &mut Scene, index: &str| {
        it.policy.contract.keys[INDEX_HASH.index()].expect = Some(Expectation {
            accepts: Accepts::Exactly(Value::from(index)),
            weight: Weight::Observe,
        });
    };
    planned(|it| demands(it, "i1"), &[]);
    planned(
        |it| demands(it, "i2"),
        &["index_hash us red different", "index_hash eu red different"],
    );
}

#[test]
fn only_the_two_regions_of_a_move_are_compared_and_the_owner_is_the_reference() {
    let of = Move { from: Some("eu".into()), to: Some("us".into()) };
    let mut scene = Scene::good();
    scene.regions[1].list = Some(Ok("a"));
    let gate = scene.gate(Kind::Planned, &of);
    assert_eq!(shut_by(&gate), ["blobs us red different"]);
    let reason = &gate.shut_by().next().unwrap().reason;
    assert!(reason.ends_with("1 keys differ: b is extra"), "{reason}");
    let unknown = Move { from: None, to: Some("mars".into()) };
    assert!(!scene.gate(Kind::Planned, &unknown).opens_reads());
}

#[test]
fn a_fence_counts_as_warm_after_it_was_so_for_a_while() {
    let mut scene = Scene::good();
    scene.rules.probes = None;
    let mut book = scene.book();
    book.fences.clear();
    let fence = Name::from("redis");
    let mut at = |second: u64, holds: bool| {
        let what = vec![("answers", holds, "x".to_owned())];
        book.warmed(&fence, Seen { at: Moment(second * 1000), source: "c".into(), what });
        let gate = book.planned(&Move::default(), Moment(second * 1000));
        gate.evidence.iter().find(|it| it.condition == Condition::Fence).unwrap().code
    };
    assert_eq!(at(1000, true), "warming");
    assert_eq!(at(1029, true), "warming");
    assert_eq!(at(1030, true), "ok");
    assert_eq!(at(1031, false), "cold");
    assert_eq!(at(1032, true), "warming");
    assert_eq!(at(1062, true), "ok");
    assert_eq!(at(1123, true), "warming", "nobody looked for longer than a minute");
}

#[test]
fn a_reference_that_moves_away_slowly_does_not_take_the_others_along() {
    let mut scene = Scene::good();
    scene.regions[0].delta_s = 0.445;
    scene.regions[1].delta_s = 0.445;
    let gate = scene.gate(Kind::Planned, &Move::default());
    assert_eq!(shut_by(&gate), ["probes us red drift", "probes eu red drift"]);
    let drift = scene.book().figures("eu").unwrap().drift.unwrap();
    assert_eq!(drift.max.to_string(), "0.035");
}

#[test]
fn a_reference_that_is_red_itself_says_why_before_it_says_that_there_is_none() {
    let mut scene = Scene::good();
    scene.regions.iter_mut().for_each(|it| it.delta_s = 0.5);
    let mut book = scene.book();
    book.baseline = None;
    let gate = book.planned(&Move::default(), Moment(1_000_000));
    assert_eq!(shut_by(&gate), ["probes us red median", "probes eu red median"]);
    let reason = &gate.shut_by().next().unwrap().reason;
    assert!(reason.ends_with("there is nothing of this probe set to compare with"), "{reason}");
}

#[test]
fn without_a_baseline_nothing_is_proven() {
    let mut scene = Scene::good();
    let mut book = scene.book();
    scene.policy.contract.keys[0].expect =
        Some(Expectation { accepts: Accepts::Agreed, weight: Weight::Observe });
    book.install(Arc::new(scene.rules.clone()), &scene.policy);
    let gate = book.planned(&Move::default(), Moment(1_000_000));
    assert_eq!(shut_by(&gate), ["probes us red no_reference", "probes eu red no_reference"]);
}
