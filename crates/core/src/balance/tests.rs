//! The arithmetic of turns, draws and bounds.

use super::*;

fn load(open: u64, peak_us: u64, share: u32) -> Load {
    Load { open, peak_us, share }
}

#[test]
fn turns_follow_the_weights_and_are_spread() {
    assert_eq!(turns(&[500, 100, 100]), [0, 0, 1, 0, 2, 0, 0]);
    assert_eq!(turns(&[100, 100]), [0, 1]);
    assert_eq!(turns(&[0, 300]), [1]);
    assert!(turns(&[]).is_empty() && turns(&[0]).is_empty());
}

#[test]
fn a_table_of_turns_never_grows_beyond_its_bound() {
    let shares: Vec<u32> = (1..=1024).map(|it| it * 7 + 25_000).collect();
    let table = turns(&shares);
    assert!(table.len() <= TURNS_MAX + shares.len());
    let all_have_turns = (0..1024_u16).all(|place| table.contains(&place));
    assert!(all_have_turns);
}

#[test]
fn rounded_weights_keep_their_proportions_and_everybody_keeps_a_turn() {
    let table = turns(&[1, 8191]);
    assert_eq!(table.len(), TURNS_MAX);
    assert_eq!(table.iter().filter(|place| **place == 0).count(), 1);
    let table = turns(&[30_001, 10_000, 1, 0]);
    let count = |place| table.iter().filter(|it| **it == place).count();
    assert_eq!([count(0), count(1), count(2), count(3)], [3071, 1023, 1, 0]);
}

#[test]
fn every_pair_is_drawn_about_as_often() {
    let mut counts = [[0_u32; 4]; 4];
    let mut random = 1_u64;
    for _ in 0..12_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (first, second) = two_of(4, random ^ (random >> 29)).unwrap();
        counts[first][second] += 1;
    }
    for (first, second) in (0..4).flat_map(|it| (0..4).map(move |other| (it, other))) {
        let count = counts[first][second];
        let is_even = if first == second { count == 0 } else { (800..1200).contains(&count) };
        assert!(is_even, "{counts:?}");
    }
}

#[test]
fn two_draws_differ_whenever_they_can() {
    assert_eq!(two_of(0, 7), None);
    assert_eq!(two_of(1, 7), Some((0, 0)));
    for random in 0..10_000_u64 {
        let (first, second) = two_of(5, random.wrapping_mul(0x9E37_79B9_7F4A_7C15)).unwrap();
        assert!(first != second && first < 5 && second < 5);
    }
}

#[test]
fn room_counts_per_share() {
    assert!(is_busier(load(3, 0, 100), load(2, 0, 100)));
    assert!(!is_busier(load(3, 0, 200), load(2, 0, 100)));
    assert!(!is_busier(load(0, 0, 100), load(0, 0, 300)));
    assert!(!is_busier(load(1, 0, 100), load(2, 0, 200)));
    assert!(is_busier(load(1, 0, 100), load(1, 0, 300)));
    assert!(is_busier(load(u64::MAX, 0, 1), load(1, 0, 256)));
    assert!(is_slower(load(0, 9_000, 100), load(1, 1_000, 100)));
    assert!(!is_slower(load(0, 1_000, 100), load(1, 1_000, 100)));
    assert!(!is_slower(load(1, 1_000, 100), load(1, 1_000, 100)));
    assert!(is_slower(load(2, 1_000, 100), load(1, 1_400, 100)));
    // Nothing known is the least there is, and open requests still count.
    assert!(is_slower(load(0, 5, 100), load(0, 0, 100)));
    assert!(is_slower(load(1, 0, 100), load(0, 0, 100)));
}

#[test]
fn the_bound_of_a_hash_follows_the_mean() {
    assert!(is_within_bound(load(0, 0, 100), 0, 300, 125));
    assert!(is_within_bound(load(3, 0, 100), 10, 300, 125));
    assert!(!is_within_bound(load(4, 0, 100), 10, 300, 125));
    // Four of twelve, with this one, at a bound of exactly the mean.
    assert!(is_within_bound(load(3, 0, 100), 11, 300, 100));
    assert!(!is_within_bound(load(3, 0, 100), 10, 300, 100));
    assert!(is_within_bound(load(0, 0, 1), 0, 1_000, 101));
    assert!(!is_within_bound(load(1, 0, 1), 1, 1_000, 101));
}

#[test]
fn a_peak_rises_at_once_and_falls_with_time() {
    assert_eq!(peak(1_000, 5_000, 1, 10_000_000), 5_000);
    assert_eq!(peak(5_000, 1_000, 0, 10_000_000), 5_000);
    assert_eq!(peak(5_000, 1_000, 10_000_000, 10_000_000), 3_000);
}
