//! Tables, moves, and one balancer that hears of them.

use std::time::Duration;

use super::*;

const LEASE: Duration = Duration::from_secs(10);

fn layout(version: u32) -> Layout {
    let homes = [("a", "eu"), ("b", "us")].map(|(one, home)| (one.into(), home.into()));
    Layout { version, digest: version.into(), homes: homes.into() }
}

fn first() -> Table {
    Table::first(&layout(1), Epoch(7), Moment(0))
}

fn wish(partitions: &[&str], from: Option<&str>, to: &str) -> Move {
    let partitions = partitions.iter().map(|it| (*it).into()).collect();
    let (from, to) = (from.map(Into::into), to.into());
    Move { partitions, from, to, by: "ann".into(), reason: "test".into() }
}

fn seen(table: &Table, oldest: u64) -> Seen {
    Seen { epoch: table.epoch, table: Some(table.clone()), oldest: Epoch(oldest), balancers: 1 }
}

/// A balancer that acts on a table since this moment.
fn steward(table: &Table, now: Moment) -> Steward {
    let mut steward = Steward::new(layout(1), LEASE);
    assert_eq!(steward.heard(steward.ask(now), now, seen(table, 0)), Next::Again);
    assert_eq!(steward.may_write("a", now), None, "nobody knows yet that it acts on it");
    assert_eq!(steward.heard(steward.ask(now), now, seen(table, table.epoch.0)), Next::Rest);
    steward
}

fn owner(steward: &Steward, now: u64) -> Option<String> {
    steward.may_write("a", Moment(now)).map(|(region, epoch)| format!("{region} {epoch}"))
}

#[test]
fn epochs_grow_whatever_the_clock_says() {
    assert_eq!(Epoch(7).next(Moment(0)), Epoch(8));
    assert_eq!(Epoch(7).next(Moment(5_999)), Epoch(5 << 20));
    assert_eq!(Epoch(6 << 20).next(Moment(5_999)), Epoch((6 << 20) + 1), "a clock that is behind");
    assert!(Epoch(0).next(Moment(4_000_000_000_000)).0 < 1 << 53, "scripts can count so far");
}

#[test]
fn a_move_changes_what_is_meant_and_nothing_else() {
    let table = first();
    let moved = table.moved(&wish(&["a"], None, "us"), Moment(9_000)).expect("it can be");
    assert_eq!(moved.epoch, Epoch(9 << 20));
    let of = |name| moved.holding(name).map(|it| (&*it.region, it.epoch, &*it.by, &*it.home));
    assert_eq!(of("a"), Some(("us", moved.epoch, "ann", "eu")));
    assert_eq!(of("b"), Some(("us", Epoch(7), "tidegate", "us")));
    let all = moved.moved(&wish(&[], Some("us"), "eu"), Moment(0)).expect("it can be");
    assert!(all.holdings.iter().all(|it| &*it.region == "eu" && it.epoch == all.epoch));
    let refused = |wish: Move| table.moved(&wish, Moment(0)).expect_err("it cannot be").to_string();
    assert_eq!(refused(wish(&["x"], None, "us")), "no partition is called `x`");
    assert_eq!(refused(wish(&["a"], Some("us"), "us")), "`a` is owned by `eu`");
    assert_eq!(refused(wish(&["a"], None, "eu")), "`eu` owns all of that already");
    assert_eq!(refused(wish(&[], None, "eu")), "`eu` owns all of that already");
}

#[test]
fn another_division_keeps_owners_and_begins_a_new_epoch() {
    let moved = first().moved(&wish(&["a"], None, "us"), Moment(0)).expect("it can be");
    let mut layout = layout(2);
    layout.homes.push(("c".into(), "eu".into()));
    let next = moved.laid_out(&layout, Moment(0));
    let owners: Vec<&str> = next.holdings.iter().map(|it| &*it.region).collect();
    assert_eq!(owners, ["us", "us", "eu"]);
    assert!(next.holdings.iter().all(|it| it.epoch == next.epoch && moved.epoch < it.epoch));
    layout.homes[0].1 = "ap".into();
    let next = next.laid_out(&layout, Moment(0));
    assert_eq!(&*next.holdings[0].region, "ap", "another home");
}

#[test]
fn a_balancer_stops_before_its_lease_ends() {
    let steward = steward(&first(), Moment(1_000));
    assert_eq!(owner(&steward, 9_999).as_deref(), Some("eu 7"));
    assert_eq!(owner(&steward, 10_000), None, "a tenth earlier than the lease");
    assert!(reliable_until(Moment(0), LEASE) < Moment(0).plus(held_for(LEASE)));
}

#[test]
fn an_answer_that_comes_late_is_no_longer_lease() {
    let table = first();
    let mut steward = steward(&table, Moment(0));
    let asked = steward.ask(Moment(3_000));
    steward.heard(asked, Moment(8_000), seen(&table, 7));
    assert_eq!(owner(&steward, 11_999).as_deref(), Some("eu 7"));
    assert_eq!(owner(&steward, 12_000), None);
}

#[test]
fn a_newer_epoch_stops_what_it_changes_at_once_and_nothing_else() {
    let table = first();
    let moved = table.moved(&wish(&["a"], None, "us"), Moment(0)).expect("it can be");
    let mut steward = steward(&table, Moment(0));
    assert_eq!(steward.heard(steward.ask(Moment(1)), Moment(1), seen(&moved, 7)), Next::Again);
    assert_eq!(owner(&steward, 1), None);
    let other = steward.may_write("b", Moment(1));
    assert_eq!(other, Some(("us".into(), Epoch(7))), "it has not changed");
    assert_eq!(steward.may_write("b", Moment(9_000)), None, "its lease is no longer for that");
    steward.heard(steward.ask(Moment(2)), Moment(2), seen(&moved, 7));
    assert_eq!(owner(&steward, 2), None, "another balancer still acts on the one before");
    assert!(!steward.is_settled());
    steward.heard(steward.ask(Moment(3)), Moment(3), seen(&moved, 8));
    assert_eq!(owner(&steward, 3).as_deref(), Some("us 8"));
}

#[test]
fn a_store_that_has_forgotten_is_told_again_and_nothing_is_written_meanwhile() {
    let table = first();
    let moved = table.moved(&wish(&["a"], None, "us"), Moment(0)).expect("it can be");
    let mut steward = steward(&moved, Moment(0));
    let next = steward.heard(steward.ask(Moment(1)), Moment(1), seen(&table, 7));
    assert_eq!(next, Next::Swap(Epoch(7), moved.clone()));
    assert_eq!(owner(&steward, 1), None);
    let nothing = Seen { epoch: Epoch(0), table: None, oldest: Epoch(0), balancers: 0 };
    let next = steward.heard(steward.ask(Moment(1)), Moment(1), nothing);
    assert_eq!(next, Next::Swap(Epoch(0), moved.clone()));
    steward.heard(steward.ask(Moment(2)), Moment(2), seen(&moved, 8));
    assert_eq!(owner(&steward, 2).as_deref(), Some("us 8"));
}

#[test]
fn a_policy_of_another_division_writes_nothing() {
    let table = first();
    let mut steward = steward(&table, Moment(0));
    steward.lay_out(layout(2), LEASE);
    assert_eq!(steward.owned()[0].standing, Standing::Outdated);
    let Next::Swap(Epoch(7), newer) =
        steward.heard(steward.ask(Moment(0)), Moment(0), seen(&table, 7))
    else {
        panic!("a newer version replaces an older one");
    };
    let mut older = Steward::new(layout(1), LEASE);
    older.heard(older.ask(Moment(0)), Moment(0), seen(&newer, 7));
    let next = older.heard(older.ask(Moment(0)), Moment(0), seen(&newer, newer.epoch.0));
    assert_eq!(next, Next::Rest, "an older version replaces nothing");
    assert_eq!((owner(&older, 0), older.owned()[0].standing), (None, Standing::Outdated));
}

#[test]
fn the_first_balancer_makes_the_table() {
    let mut steward = Steward::new(layout(1), LEASE);
    let nothing = Seen { epoch: Epoch(0), table: None, oldest: Epoch(0), balancers: 0 };
    let next = steward.heard(steward.ask(Moment(0)), Moment(5_000), nothing);
    let Next::Swap(Epoch(0), table) = next else { panic!("{next:?}") };
    assert_eq!((table.epoch, &*table.holdings[0].region), (Epoch(5 << 20), "eu"));
}
