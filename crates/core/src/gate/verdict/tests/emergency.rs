//! The emergency gate: the survivor against what is written down.

use super::*;

#[track_caller]
fn emergency(spoil: impl Fn(&mut Scene), (reads, writes): (bool, bool), expected: &[&str]) {
    let mut scene = Scene::lost();
    spoil(&mut scene);
    let gate = scene.gate(Kind::Emergency, &Move::default());
    assert_eq!(shut_by(&gate), expected);
    assert_eq!((gate.opens_reads(), gate.opens_writes()), (reads, writes));
}

#[test]
fn with_a_dead_peer_reads_open_and_writes_wait_for_the_loss_policy() {
    emergency(|_| (), (true, false), &["loss policy red loss_blocked"]);
    let allow = |it: &mut Scene| it.rules.emergency.loss = Loss::Allow;
    emergency(allow, (true, true), &[]);
    // What it told before it died is what is known of it.
    let gate = Scene::lost().gate(Kind::Emergency, &Move::default());
    let loss = gate.shut_by().next().unwrap();
    let known = "500 s ago the queue of us had 0 entries, the oldest 0 ms old, done up to w7";
    assert_eq!(loss.reason, format!("the policy allows no loss; {known}"));
    // The planned gate stays shut meanwhile.
    assert!(!Scene::lost().gate(Kind::Planned, &Move::default()).opens_reads());
}

#[test]
fn the_survivor_has_to_be_well() {
    let red = "loss policy red loss_blocked";
    let to_eu = |it: &mut Scene, change: fn(&mut Told)| change(&mut it.regions[1]);
    emergency(
        |it| to_eu(it, |eu| eu.answers = false),
        (false, false),
        &["probes eu missing missing", red],
    );
    emergency(|it| to_eu(it, |eu| eu.delta_s = 0.7), (false, false), &["probes eu red drift", red]);
    emergency(|it| it.probed = 99, (false, false), &["probes eu stale stale", red]);
    emergency(|it| it.probed = 100, (true, false), &[red]);
    emergency(|it| it.fence = None, (true, false), &["fence fence missing missing", red]);
    emergency(|it| it.rules.may_move = false, (false, false), &["switch policy red off", red]);
    emergency(
        |it| it.rules.regions_min = 2,
        (false, false),
        &["regions_on policy red too_few", red],
    );
    emergency(
        |it| to_eu(it, |eu| eu.verdict = Verdict::Mismatched),
        (false, false),
        &[
            "regions_on policy red too_few",
            "lost eu red still_answers",
            "contract policy red no_survivor",
            red,
        ],
    );
}

#[test]
fn evidence_of_a_survivor_that_is_too_old_keeps_reads_shut() {
    let old = |it: &mut Scene| {
        it.told = 939;
        it.rules.emergency = EmergencyRules { loss: Loss::Allow, ..EmergencyRules::default() };
    };
    emergency(
        old,
        (false, false),
        &[
            "regions_on policy red too_few",
            "lost us stale stale",
            "contract eu stale stale",
            "index_hash eu stale stale",
        ],
    );
}

#[test]
fn a_region_that_answers_is_not_given_up() {
    let of = Move { from: Some("us".into()), to: Some("eu".into()) };
    let mut scene = Scene::good();
    scene.rules.emergency.loss = Loss::Allow;
    let gate = scene.gate(Kind::Emergency, &of);
    assert_eq!(shut_by(&gate), ["lost us red still_answers"]);
    assert!(gate.opens_reads() && !gate.opens_writes());
    let all = scene.gate(Kind::Emergency, &Move::default());
    assert_eq!(shut_by(&all), ["lost policy red nobody_lost"]);
    // Of a region that was never asked nobody knows whether it is lost.
    scene.regions[0].indexes = Vec::new();
    let mut book = Book::default();
    book.install(Arc::new(scene.rules.clone()), &scene.policy);
    let eu = memory(&scene.regions[1], 0, 999);
    book.heard(&Memory { regions: vec![eu], ..Memory::default() });
    let gate = book.emergency(&of, Moment(1_000_000));
    assert!(shut_by(&gate).contains(&"lost us missing missing".to_owned()));
}
