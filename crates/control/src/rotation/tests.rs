//! Who is picked how often, and who stays with whom.

use super::*;
use std::time::Duration;
use tidegate_core::Moment;
use tidegate_core::id::KeySet;
use tidegate_core::policy::HashKey;
use tidegate_core::snapshot::{Endpoint, Verdict};

use crate::traffic::Entry;
use crate::trial;

const HASH: Balance = Balance::Hash { by: HashKey::Path, bound_percent: 125 };
const ALL: [Balance; 4] = [Balance::RoundRobin, Balance::LeastRequests, Balance::PeakEwma, HASH];

fn endpoint(number: u32, share: u32) -> Endpoint {
    Endpoint {
        id: EndpointId(number),
        address: SocketAddr::from(([10, 0, 0, 1], 8000 + u16::try_from(number).unwrap_or(0))),
        share,
        verdict: Verdict::Green,
        since: Moment(0),
        ejected: false,
        drained: false,
        report: None,
        mismatches: Arc::new([]),
        vetoes: KeySet::EMPTY,
        failure: None,
    }
}

fn region(shares: &[u32]) -> Region {
    Region {
        name: "eu".into(),
        verdict: Verdict::Green,
        since: Moment(0),
        drained: false,
        held: None,
        measured_us: None,
        disputed: KeySet::EMPTY,
        endpoints: (1..).zip(shares).map(|(number, share)| endpoint(number, *share)).collect(),
    }
}

fn rotation(region: &Region, balance: &Balance) -> Rotation {
    Rotation::new(region, balance, region.endpoints.iter().map(trial::traffic).collect())
}

/// How often each place is picked in so many picks with different hashes.
fn picks(rotation: &Rotation, count: u64, admits: impl Fn(usize) -> bool) -> Vec<u64> {
    let mut picked = vec![0; rotation.seats.len()];
    for request in 0..count {
        picked[rotation.pick(mixed(request), &admits).expect("somebody is admitted")] += 1;
    }
    picked
}

/// Opens so many requests, each where the rotation puts it, and leaves them open.
fn opened(rotation: &Rotation, count: u64, hash: impl Fn(u64) -> u64) -> Vec<Entry> {
    let requests = (0..count).map(|request| {
        let place = rotation.pick(hash(request), |_| true).expect("everybody is admitted");
        Entry::open(&rotation.seats[place].traffic, trial::facts())
    });
    requests.collect()
}

fn open_at(rotation: &Rotation) -> Vec<u64> {
    rotation.seats.iter().map(|it| it.load().open).collect()
}

#[test]
fn nobody_is_picked_where_nobody_is_or_nobody_is_admitted() {
    for balance in ALL {
        assert_eq!(rotation(&region(&[]), &balance).pick(7, |_| true), None);
        assert_eq!(rotation(&region(&[100; 5]), &balance).pick(7, |_| false), None);
    }
}

#[test]
fn a_single_endpoint_takes_everything() {
    for balance in ALL {
        let rotation = rotation(&region(&[100]), &balance);
        let held = opened(&rotation, 50, mixed);
        assert_eq!((held.len(), open_at(&rotation)), (50, vec![50]));
    }
}

#[test]
fn round_robin_follows_the_weights_exactly() {
    let rotation = rotation(&region(&[500, 100, 100]), &Balance::RoundRobin);
    assert_eq!(picks(&rotation, 700, |_| true), [500, 100, 100]);
}

#[test]
fn round_robin_gives_a_starting_endpoint_its_part_of_a_turn() {
    let rotation = rotation(&region(&[100, 100, 10]), &Balance::RoundRobin);
    assert_eq!(picks(&rotation, 2100, |_| true), [1000, 1000, 100]);
}

#[test]
fn the_turns_of_who_may_not_serve_go_to_all_others_alike() {
    let rotation = rotation(&region(&[100; 4]), &Balance::RoundRobin);
    assert_eq!(picks(&rotation, 300, |place| place != 1), [100, 0, 100, 100]);
}

#[test]
fn a_new_world_goes_on_where_the_old_one_was() {
    let (balance, mut region) = (Balance::RoundRobin, region(&[100; 3]));
    let first = rotation(&region, &balance);
    let seats = || first.seats.iter().map(|it| Arc::clone(&it.traffic)).collect();
    assert!(first.fits(&region, &balance));
    assert_eq!(first.pick(0, |_| true), Some(0));
    region.endpoints[2].ejected = true;
    assert!(!first.fits(&region, &balance));
    let second = first.next(&region, &balance, seats());
    assert_eq!(second.pick(0, |_| true), Some(1));
    assert!(!second.fits(&region, &Balance::LeastRequests));
}

#[test]
fn idle_equals_are_picked_about_equally() {
    for balance in [Balance::LeastRequests, Balance::PeakEwma] {
        let rotation = rotation(&region(&[100; 5]), &balance);
        for count in picks(&rotation, 10_000, |_| true) {
            assert!((1600..2400).contains(&count), "{balance:?}: {count} of 10000");
        }
    }
}

/// Comparing idle endpoints by their shares would give the lighter one nothing at all.
#[test]
fn idle_endpoints_are_picked_by_their_shares() {
    for balance in [Balance::LeastRequests, Balance::PeakEwma] {
        let rotation = rotation(&region(&[300, 100]), &balance);
        let picked = picks(&rotation, 40_000, |_| true);
        assert!((29_000..31_000).contains(&picked[0]), "{balance:?}: {picked:?}");
    }
}

#[test]
fn fewest_requests_keeps_everybody_equally_busy() {
    let rotation = rotation(&region(&[100; 8]), &Balance::LeastRequests);
    let held = opened(&rotation, 800, mixed);
    let open = open_at(&rotation);
    assert!(open.iter().all(|it| (92..=108).contains(it)), "{open:?} of {}", held.len());
}

#[test]
fn fewest_requests_counts_for_the_weight() {
    let rotation = rotation(&region(&[300, 100]), &Balance::LeastRequests);
    let held = opened(&rotation, 400, mixed);
    let open = open_at(&rotation);
    assert!(open[0].abs_diff(300) <= 3, "{open:?} of {}", held.len());
}

#[test]
fn a_filter_leaves_the_choice_among_the_rest_even() {
    for balance in [Balance::LeastRequests, Balance::PeakEwma] {
        let rotation = rotation(&region(&[100; 6]), &balance);
        let picked = picks(&rotation, 6000, |place| place % 2 == 0);
        assert_eq!([picked[1], picked[3], picked[5]], [0, 0, 0]);
        assert!([0, 2, 4].iter().all(|it| (1700..2300).contains(&picked[*it])), "{picked:?}");
        let rest = picks(&rotation, 2000, |place| place == 1 || place == 4);
        assert!((800..1200).contains(&rest[1]), "{rest:?}");
    }
}

#[test]
fn who_was_slow_gets_less_and_is_tried_again_later() {
    let rotation = rotation(&region(&[100; 2]), &Balance::PeakEwma);
    let now = clock::now();
    rotation.seats[0].traffic.answered(now, Duration::from_millis(900), false);
    rotation.seats[1].traffic.answered(now, Duration::from_millis(100), false);
    assert_eq!(picks(&rotation, 1000, |_| true), [0, 1000]);
    let slow = |after_ms: u64| {
        let then = Moment(now.0 + after_ms);
        is_slower(rotation.seats[0].load_at(then), {
            // The other one goes on answering just as fast.
            Load { open: 0, peak_us: 100_000, share: 100 }
        })
    };
    assert!(slow(10_000) && !slow(90_000));
}

#[test]
fn an_ejected_endpoint_is_the_last_resort() {
    for balance in ALL {
        let mut region = region(&[100; 3]);
        region.endpoints[1].ejected = true;
        let rotation = rotation(&region, &balance);
        assert_eq!(picks(&rotation, 100, |_| true)[1], 0, "{balance:?}");
        assert_eq!(rotation.pick(7, |place| place == 1), Some(1), "{balance:?}");
    }
}

#[test]
fn equal_hashes_meet() {
    let rotation = rotation(&region(&[100; 7]), &HASH);
    for request in 0..100 {
        let first = rotation.pick(mixed(request), |_| true);
        assert_eq!(first, rotation.pick(mixed(request), |_| true));
    }
}

#[test]
fn hashes_follow_the_weights() {
    let picked = picks(&rotation(&region(&[400, 100, 100]), &HASH), 6000, |_| true);
    assert!((3300..4700).contains(&picked[0]), "{picked:?}");
}

#[test]
fn few_keys_move_when_an_endpoint_leaves() {
    let before = region(&[100; 10]);
    let mut after = before.clone();
    let gone = after.endpoints.remove(3);
    let (full, smaller) = (rotation(&before, &HASH), rotation(&after, &HASH));
    let address = |region: &Region, rotation: &Rotation, request| {
        let place = rotation.pick(mixed(request), |_| true).expect("everybody is admitted");
        region.endpoints[place].address
    };
    for request in 0..2000 {
        let old = address(&before, &full, request);
        let new = address(&after, &smaller, request);
        assert!(old == new || old == gone.address, "a key moved from {old}, which is still there");
    }
}

#[test]
fn a_hot_key_spills_over_its_bound() {
    let rotation = rotation(&region(&[100; 4]), &HASH);
    let held = opened(&rotation, 400, |_| 42);
    let open = open_at(&rotation);
    assert!(open.iter().all(|it| *it <= 126), "{open:?} of {}", held.len());
    assert!(open.iter().any(|it| 120 <= *it), "{open:?}");
}

#[test]
fn the_bound_is_measured_among_those_who_may_serve() {
    let rotation = rotation(&region(&[100; 6]), &HASH);
    let held: Vec<Entry> = (0..300)
        .map(|_| {
            let place = rotation.pick(42, |place| place < 3).expect("three are admitted");
            Entry::open(&rotation.seats[place].traffic, trial::facts())
        })
        .collect();
    let open = open_at(&rotation);
    assert!(open[..3].iter().all(|it| *it <= 126), "{open:?} of {}", held.len());
}

#[test]
fn the_one_in_a_thousand_is_found_and_kept() {
    let rotation = rotation(&region(&[100; 1000]), &HASH);
    let few = |place: usize| place == 17 || place == 423 || place == 999;
    let picked = picks(&rotation, 300, few);
    assert!([17, 423, 999].iter().all(|it| 30 < picked[*it]), "all three serve");
    assert_eq!(rotation.pick(7, few), rotation.pick(7, few));
}

#[test]
fn a_ring_stays_within_its_bound_and_is_taken_over() {
    let (heavy, balance) = (region(&[25_600; 1000]), HASH);
    assert!(ring::seats(&heavy).iter().all(|(_, weight)| *weight == 2));
    let mut region = region(&[100; 3]);
    let first = rotation(&region, &balance);
    region.endpoints[0].ejected = true;
    region.endpoints[1].share = 50;
    let seats = first.seats.iter().map(|it| Arc::clone(&it.traffic)).collect();
    let second = first.next(&region, &balance, seats);
    let (Way::Hash { ring: old, .. }, Way::Hash { ring: new, .. }) = (&first.way, &second.way)
    else {
        panic!("both hash")
    };
    assert!(Arc::ptr_eq(old, new));
}
