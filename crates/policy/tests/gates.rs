//! What a policy means that has gates: every key, every default, and what is refused.
#![expect(clippy::expect_used, reason = "a broken test should panic")]

use std::time::Duration;

use tidegate_core::gate::drift::{Aggregate, Limits};
use tidegate_core::gate::millionths::Millionths;
use tidegate_core::gate::probes::Measure;
use tidegate_core::gate::queue::QueueLimits;
use tidegate_core::gate::rules::{EmergencyRules, GateRules, Loss};
use tidegate_core::policy::Policy;

const BEFORE: &str = r#"
version: 1
listeners: [{ bind: "127.0.0.1:8080" }]
regions: { here: { distance: 0, endpoints: ["127.0.0.1:7101"] } }
contract: { probe: { path: /contract } }
routes: [{ name: all }]
"#;

fn load(name: &str, text: &str) -> Result<Policy, String> {
    tidegate_policy::load(name, text, &|_| None).map_err(|report| report.render(false))
}

fn gates(section: &str) -> Result<GateRules, String> {
    let policy = load("p.yaml", &format!("{BEFORE}gates: {section}\n"))?;
    Ok(GateRules::clone(policy.gates.as_deref().expect("gates")))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Ten questions with baselines.
fn questions() -> String {
    let question = |at| format!("{{ id: q{at}, question: what, baseline: 0.4 }}");
    format!("[{}]", (0..10).map(question).collect::<Vec<_>>().join(", "))
}

#[test]
fn gates_that_say_nothing_ask_for_contract_and_index() {
    let rules = gates("{}").expect("a policy");
    assert_eq!(rules, GateRules::default(), "and the probe's `stale_after` is 10 s");
    assert_eq!(load("p.yaml", BEFORE).expect("a policy").gates, None);
}

#[test]
fn defaults_of_each_part() {
    let section = format!(
        "{{ blobs: contract, queue: {{}}, probes: {{ path: /probe, questions: {} }} }}",
        questions()
    );
    let rules = gates(&section).expect("a policy");
    let blobs = rules.blobs.expect("blobs");
    assert_eq!((blobs.asking, blobs.age_max), (None, seconds(10)));
    let queue = rules.queue.expect("a queue");
    assert_eq!((queue.limits, queue.age_max), (QueueLimits::default(), seconds(10)));
    let probes = rules.probes.expect("probes");
    assert_eq!((probes.limits, probes.measure), (Limits::default(), Measure::Told));
    assert_eq!((probes.reference, probes.parallel, probes.embeddings), (None, 2, None));
    assert_eq!((&*probes.set.seeds, probes.set.top_k), (&[1, 2][..], 10));
    assert_eq!((probes.asking.every, probes.asking.timeout), (seconds(300), seconds(10)));
    assert_eq!((probes.age_max, probes.asking.body_bytes_max), (seconds(900), 256 << 10));
    assert_eq!(probes.set.questions[0].baseline, Some(Millionths::new(400_000)));
}

#[test]
fn every_key_of_the_gates_means_something() {
    let text = std::fs::read_to_string("tests/every-key.yaml").expect("the policy is there");
    let policy = load("tests/every-key.yaml", &text).unwrap_or_else(|report| panic!("{report}"));
    let rules = policy.gates.expect("gates");
    assert_eq!((rules.may_move, rules.regions_min), (false, 2));
    assert_eq!((rules.contract_age_max, rules.fence_age_max), (seconds(20), Some(seconds(31))));
    let emergency = EmergencyRules {
        age_max: seconds(61),
        probes_age_max: seconds(17 * 60),
        loss: Loss::Allow,
    };
    assert_eq!(rules.emergency, emergency);
    let blobs = rules.blobs.as_ref().expect("blobs");
    let asking = blobs.asking.as_ref().expect("a list");
    assert_eq!((&*asking.path, asking.body_bytes_max), ("/manifest", 8 << 20));
    assert_eq!(
        (asking.every, asking.timeout, blobs.age_max),
        (seconds(120), seconds(11), seconds(360))
    );
    let queue = rules.queue.as_ref().expect("a queue");
    let limits = QueueLimits { depth_max: Some(10), oldest_max: seconds(6), growth_max: 5 };
    assert_eq!((queue.limits, queue.age_max), (limits, seconds(12)));
    let stream = queue.stream("eu-west-1").expect("a stream");
    assert_eq!((&*stream.node.host, stream.node.port), ("redis.eu", 6380));
    assert_eq!((stream.user.as_deref(), stream.password.is_some()), (Some("tidegate"), true));
    assert_eq!((&*stream.key, &*stream.group, stream.tls.is_some()), ("jobs", "workers", true));
    assert_eq!((stream.every, stream.timeout), (seconds(3), seconds(2)));
    assert!(!format!("{rules:?}").contains("hunter3"));
    let probes = rules.probes.as_ref().expect("probes");
    assert_eq!(
        (&*probes.asking.path, probes.parallel, probes.measure),
        ("/probe", 3, Measure::Vectors)
    );
    assert_eq!((&*probes.set.seeds, probes.set.top_k), (&[7, 8, 9][..], 5));
    assert_eq!(probes.reference.as_deref(), Some("us-east-1"));
    let question = &probes.set.questions[0];
    assert_eq!((question.wordings.len(), &*question.gold[0]), (3, "doc/1"));
    let embeddings = probes.embeddings.as_ref().expect("embeddings");
    assert_eq!((&*embeddings.path, &*embeddings.model), ("/embed", "small"));
    assert_eq!(embeddings.address.to_string(), "10.0.0.9:9000");
    let limits = Limits {
        questions_min: 2,
        drift_max: Millionths::new(20_000),
        aggregate: Aggregate::MedianP95,
        median_max: Millionths::new(400_000),
        risk: Millionths::new(550_000),
        gold_min: Millionths::new(950_000),
        overlap_min: Millionths::new(700_000),
        order_min: Millionths::new(800_000),
        seeds_may_be_ignored: true,
    };
    assert_eq!(probes.limits, limits);
}

#[test]
fn questions_may_stand_in_a_file() {
    let folder = std::env::temp_dir().join(format!("tidegate-questions-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let name = folder.join("p.yaml").display().to_string();
    let asked = "gates: { probes: { path: /probe, questions: \"file:./q.yaml\" } }";
    let load = |text: &str| {
        std::fs::write(folder.join("q.yaml"), text).expect("the file can be written");
        load(&name, &format!("{BEFORE}{asked}\n"))
    };
    let listed = (0..10).map(|it| format!("- id: q{it}\n  question: what\n  baseline: 0.4\n"));
    let policy = load(&listed.collect::<String>()).unwrap_or_else(|report| panic!("{report}"));
    let rules = policy.gates.expect("gates");
    assert_eq!(rules.probes.as_ref().expect("probes").set.questions.len(), 10);
    for (text, said) in [
        ("- id: q0\n  questions: what\n", "unknown field `questions`"),
        ("just words", "this is no list of questions"),
        ("- [", "this is no list of questions"),
    ] {
        let report = load(text).expect_err("no policy");
        assert!(report.contains(said), "{report}");
    }
    std::fs::remove_dir_all(&folder).expect("the folder goes");
}

#[test]
fn what_could_not_be_proven_is_refused() {
    let probes = |more: &str| {
        format!("{{ probes: {{ path: /probe, questions: {}, {more} }} }}", questions())
    };
    let stream = |region: &str, node: &str| {
        format!(
            "{{ queue: {{ streams: {{ {region}: {{ node: \"{node}\", key: k, group: g }} }} }} }}"
        )
    };
    let few = "{ probes: { path: /probe, questions: [{ id: q, question: w, baseline: 0 }] } }";
    let none = "{ probes: { path: /probe, reference: here, limits: { questions_min: 1 }, \
                questions: [{ id: q, question: w }, { id: q, question: '' }] } }";
    for (section, said) in [
        ("{ regions_min: 2 }".to_owned(), "2 is out of bounds"),
        ("{ fence: {} }".to_owned(), "there is no memory of writes"),
        (stream("there", "r:6379"), "there is no region `there`"),
        (stream("here", "r"), "`r` is not a server"),
        ("{ blobs: { path: manifest } }".to_owned(), "`manifest` is not a path"),
        ("{ blobs: { path: /m, every: 5m } }".to_owned(), "is over before the next answer"),
        ("{ blobs: { path: /m, max_size: 1GiB } }".to_owned(), "`1GiB` is out of bounds"),
        (probes("reference: there"), "there is no region `there`"),
        (probes("seeds: [1, 1]"), "these cannot be the seeds"),
        (probes("top_k: 0"), "0 is out of bounds"),
        (probes("limits: { drift_max: 1.5 }"), "`1.5` is not a figure from 0 to 1"),
        (probes("limits: { drift_max: NaN }"), "is not a figure from 0 to 1"),
        (probes("delta_s: { embeddings: { address: \"x:1\", model: m } }"), "is not an address"),
        (probes("age: 1m"), "is over before the next answer"),
        (few.to_owned(), "the set has 1 questions, and 10 are wanted"),
        (few.replace(", baseline: 0", ""), "there is nothing to compare regions with"),
        (none.to_owned(), "`q` is the name of two questions"),
        (none.to_owned(), "has no wordings that can be asked"),
    ] {
        let report = gates(&section).expect_err(said);
        assert!(report.contains(said), "{said}\n{report}");
    }
}

#[test]
fn a_change_of_the_gates_is_told() {
    let policy =
        |section: &str| load("p.yaml", &format!("{BEFORE}gates: {section}\n")).expect("a policy");
    let changes = |old: &str, new: &str| -> Vec<String> {
        let changes = tidegate_policy::diff(&policy(old), &policy(new));
        changes.iter().map(ToString::to_string).collect()
    };
    assert_eq!(changes("{ locked: true }", "{}"), ["gates: locked on → off"]);
    assert_eq!(changes("{}", "{ queue: {} }"), ["gates queue: added"]);
    let probes = |text: &str| format!("{{ probes: {{ path: /probe, questions: {text} }} }}");
    let (old, new) = (probes(&questions()), probes(&questions().replacen("what", "why", 1)));
    let told = changes(&old, &new);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("gates probes: questions 10, "), "{told:?}");
}
